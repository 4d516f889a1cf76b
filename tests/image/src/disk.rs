//! Where things lie on an image's disk, and how one bit of them is flipped.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::bench::run;

const SECTOR: u64 = 512;

/// The longest partition table that is read.
const MAX_ENTRIES: u32 = 256;

/// The byte at which the partition of a name begins.
///
/// <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>
pub(crate) fn partition(disk: &Path, name: &str) -> Result<u64> {
    let mut file = File::open(disk).with_context(|| disk.display().to_string())?;
    let mut header = [0; 92];
    file.seek(SeekFrom::Start(SECTOR))?;
    file.read_exact(&mut header)?;
    ensure!(&header[..8] == b"EFI PART", "{} has no GPT", disk.display());
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let (entries, size) = (number(80), number(84));
    ensure!(entries <= MAX_ENTRIES && size >= 128, "a strange GPT");
    let table = u64::from_le_bytes(header[72..80].try_into().expect("8 bytes"));
    for index in 0..entries {
        let mut entry = [0; 128];
        file.seek(SeekFrom::Start(table * SECTOR + u64::from(index * size)))?;
        file.read_exact(&mut entry)?;
        let units: Vec<u16> = (entry[56..].chunks_exact(2))
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|unit| *unit != 0)
            .collect();
        if String::from_utf16_lossy(&units) == name {
            let first = u64::from_le_bytes(entry[32..40].try_into().expect("8 bytes"));
            return Ok(first * SECTOR);
        }
    }
    bail!("{} has no partition {name}", disk.display())
}

/// The byte of a file system image at which the data of a file begins.
pub(crate) fn data_of(root: &Path, path: &str) -> Result<u64> {
    let mut command = Command::new("dump.erofs");
    command.arg(format!("--path={path}")).arg("-e").arg(root);
    first_extent(&run(&mut command)?).with_context(|| format!("where {path} lies"))
}

/// Flips the lowest bit of a byte.
pub(crate) fn flip(disk: &Path, at: u64) -> Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&byte)?;
    Ok(())
}

/// `   0:       0..   65536 |   65536 :     4096..   40960 |   36864`: the physical start of the first extent.
fn first_extent(report: &str) -> Result<u64> {
    let line = (report.lines())
        .find(|line| line.trim_start().starts_with("0:"))
        .context("dump.erofs lists no extent")?;
    let physical = line.rsplit_once(" : ").context("an extent has no place")?.1;
    let start = physical.split("..").next().unwrap_or_default().trim();
    start
        .parse()
        .with_context(|| format!("{start:?} is no place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_read() {
        let report = "Path : /usr/bin/x\n\n Ext:   logical offset   |  length :     physical offset    |  length\n   \
                      0:        0..   65536 |   65536 :    4096000..   4136960 |   40960\n   \
                      1:    65536..  131072 |   65536 :    4136960..   4177920 |   40960\n";
        assert_eq!(first_extent(report).unwrap(), 4_096_000);
        assert!(first_extent("nothing").is_err());
    }

    #[test]
    fn partitions_are_found_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 4096];
        bytes[512..520].copy_from_slice(b"EFI PART");
        bytes[512 + 72] = 2;
        bytes[512 + 80] = 4;
        bytes[512 + 84] = 128;
        bytes[1024 + 128 + 32] = 40;
        for (index, unit) in "root".encode_utf16().enumerate() {
            let at = 1024 + 128 + 56 + 2 * index;
            bytes[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        std::fs::write(file.path(), bytes).unwrap();
        assert_eq!(partition(file.path(), "root").unwrap(), 40 * 512);
        assert!(partition(file.path(), "other").is_err());
    }

    #[test]
    fn flipping_twice_is_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        flip(file.path(), 1).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"acc");
        flip(file.path(), 1).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"abc");
    }
}
