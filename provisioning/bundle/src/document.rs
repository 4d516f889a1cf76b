//! How documents are read and written.

use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// Parses a JSON document that is at most `limit` bytes long.
pub(crate) fn from_json<T: DeserializeOwned>(
    document: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, Error> {
    if bytes.len() > limit {
        return Err(Error::TooLarge {
            what: format!("{document} in bytes"),
            limit,
        });
    }
    serde_json::from_slice(bytes).map_err(|error| Error::Malformed {
        document,
        why: printable(&error.to_string()),
    })
}

/// Keeps what a foreign document says out of the reader's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(500)
        .collect()
}

/// Writes a document indented and with a final newline.
pub(crate) fn to_json<T: Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .expect("documents hold only strings, numbers and maps with string keys");
    bytes.push(b'\n');
    bytes
}

/// Refuses a format that this program does not know.
pub(crate) fn check_format(document: &'static str, found: u32, known: u32) -> Result<(), Error> {
    if found == known {
        return Ok(());
    }
    Err(Error::Format {
        document,
        found,
        known,
    })
}
