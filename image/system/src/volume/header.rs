//! What stands at the beginning of the data partition.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, Result};

use super::commands::{FRESH, WIPE};

/// How a LUKS header begins, and how its copy does.
const MAGIC: &[u8; 6] = b"LUKS\xba\xbe";
const COPY_MAGIC: &[u8; 6] = b"SKUL\xba\xbe";
/// Where the copy lies: as far in as cryptsetup makes a header by default.
const COPY_AT: usize = 0x4000;
/// Where the label stands in a header, by the LUKS2 on-disk format.
const LABEL: std::ops::Range<usize> = 24..72;
/// So much is looked at.
const LOOK: usize = 1024 * 1024;

/// What the data partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing: it is new, or was reset.
    Empty,
    /// A volume whose making was not finished: nothing was ever kept in it.
    Unfinished,
    /// A volume.
    Volume,
    /// Something that these programs did not write.
    Foreign,
}

/// Looks at a partition.
pub fn read_header(partition: &Path) -> Result<Header> {
    let name = || partition.display().to_string();
    let mut bytes = Vec::with_capacity(LOOK);
    let file = File::open(partition).with_context(name)?;
    file.take(LOOK as u64)
        .read_to_end(&mut bytes)
        .with_context(name)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Header {
    let first = bytes.starts_with(MAGIC).then_some(bytes);
    // Where the first header is damaged, its copy counts: cryptsetup repairs the one from the other.
    let copy = bytes
        .get(COPY_AT..)
        .filter(|copy| copy.starts_with(COPY_MAGIC));
    let Some(header) = first.or(copy) else {
        let empty = bytes.iter().all(|byte| *byte == 0);
        return if empty {
            Header::Empty
        } else {
            Header::Foreign
        };
    };
    let label = header.get(LABEL).unwrap_or_default();
    let end = label.iter().position(|byte| *byte == 0);
    match &label[..end.unwrap_or(label.len())] {
        label if label == FRESH.as_bytes() => Header::Unfinished,
        _ => Header::Volume,
    }
}

/// Overwrites where the headers and the key slots are, so that nothing is left to try passphrases on.
pub fn wipe(partition: &Path) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).open(partition)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        let zeros = vec![0; LOOK];
        let mut left = end.min(WIPE);
        while left > 0 {
            let piece = left.min(LOOK as u64);
            file.write_all(&zeros[..usize::try_from(piece).unwrap_or(LOOK)])?;
            left -= piece;
        }
        file.sync_all()
    };
    write().with_context(|| format!("cannot overwrite {}", partition.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(magic: &[u8], label: &str) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..6].copy_from_slice(magic);
        bytes[LABEL][..label.len()].copy_from_slice(label.as_bytes());
        bytes
    }

    #[test]
    fn a_volume_is_known_by_its_header_or_by_the_copy() {
        let whole = header(MAGIC, "luxchat-data");
        assert_eq!(parse(&whole), Header::Volume);
        let mut damaged = vec![0xff; COPY_AT];
        damaged.extend(header(COPY_MAGIC, "luxchat-data"));
        assert_eq!(parse(&damaged), Header::Volume);
        assert_eq!(parse(&header(MAGIC, FRESH)), Header::Unfinished);
        assert_eq!(parse(&[0; 4096]), Header::Empty);
        assert_eq!(parse(&[]), Header::Empty);
        assert_eq!(parse(b"something else"), Header::Foreign);
        assert_eq!(parse(MAGIC), Header::Volume);
    }

    #[test]
    fn wiping_leaves_no_header_and_no_more_than_there_was() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = header(MAGIC, "luxchat-data");
        bytes.resize(usize::try_from(WIPE).unwrap() + 4096, 0xaa);
        std::fs::write(file.path(), &bytes).unwrap();
        wipe(file.path()).unwrap();
        assert_eq!(read_header(file.path()).unwrap(), Header::Empty);
        let after = std::fs::read(file.path()).unwrap();
        assert_eq!(after.len(), bytes.len());
        assert!(
            after[usize::try_from(WIPE).unwrap()..]
                .iter()
                .all(|byte| *byte == 0xaa)
        );
        std::fs::write(file.path(), b"short").unwrap();
        wipe(file.path()).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), [0; 5]);
    }
}
