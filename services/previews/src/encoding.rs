//! The text of a page.

use encoding_rs::{Encoding, UTF_8};

/// Where a page may say how it is encoded, in bytes from its start.
const DECLARED_WITHIN: usize = 1024;

/// Decodes a page as it says it is: by its byte order mark, its Content-Type, or itself; else as UTF-8. What makes no
/// sense becomes U+FFFD.
pub(crate) fn decode(content_type: &str, bytes: &[u8]) -> String {
    let declared = label_in(content_type.as_bytes())
        .or_else(|| label_in(&bytes[..bytes.len().min(DECLARED_WITHIN)]))
        .unwrap_or(UTF_8);
    // Takes note of a byte order mark by itself.
    declared.decode(bytes).0.into_owned()
}

/// The encoding that `charset=` names in a text.
fn label_in(text: &[u8]) -> Option<&'static Encoding> {
    const KEY: &[u8] = b"charset=";
    let start = text
        .windows(KEY.len())
        .position(|window| window.eq_ignore_ascii_case(KEY))?;
    let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'');
    let rest = text[start + KEY.len()..].iter();
    let label: Vec<u8> = rest
        .copied()
        .skip_while(|byte| byte.is_ascii_whitespace() || is_quote(byte))
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"-_:.+".contains(byte))
        .take(40)
        .collect();
    Encoding::for_label(&label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_says() {
        let latin = b"<meta charset=\"iso-8859-1\"><title>Bj\xf6rk</title>";
        assert!(decode("text/html", latin).contains("Björk"));
        let by_header = decode("text/html; Charset='windows-1252'", b"Bj\xf6rk");
        assert_eq!(by_header, "Björk");
        assert_eq!(decode("text/html", "Björk".as_bytes()), "Björk");
        assert_eq!(decode("text/html", b"\xff\xfeB\0j\0"), "Bj");
        assert_eq!(decode("text/html; charset=nonsense", b"a\xff"), "a\u{fffd}");
    }
}
