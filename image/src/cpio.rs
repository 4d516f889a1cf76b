//! The archive that the kernel unpacks first: cpio in its "new ASCII" form, written the same way every time.
//!
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>

use std::{
    fs,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use crate::files::walk;

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;

/// Writes a tree: sorted by path, all owned by root, all of one time (seconds since 1970).
pub(crate) fn write(root: &Path, time: u32, out: &mut impl Write) -> io::Result<()> {
    let mut inode = 0;
    for path in walk(root)? {
        inode += 1;
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let (kind, links, data) = if metadata.is_symlink() {
            let target = fs::read_link(&full)?;
            (SYMLINK | 0o777, 1, target.as_os_str().as_bytes().to_vec())
        } else if metadata.is_dir() {
            (DIRECTORY | mode, 2, Vec::new())
        } else {
            (REGULAR | mode, 1, fs::read(&full)?)
        };
        entry(out, inode, kind, links, time, path.as_bytes(), &data)?;
    }
    entry(out, 0, 0, 1, 0, b"TRAILER!!!", &[])
}

fn entry(
    out: &mut impl Write,
    inode: u32,
    mode: u32,
    links: u32,
    time: u32,
    name: &[u8],
    data: &[u8],
) -> io::Result<()> {
    let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "above 4 GiB");
    let size = u32::try_from(data.len()).map_err(too_large)?;
    let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
    // inode, mode, uid, gid, links, time, size, device, special device, name's size, checksum
    let fields = [
        inode, mode, 0, 0, links, time, size, 0, 0, 0, 0, name_size, 0,
    ];
    out.write_all(b"070701")?;
    for field in fields {
        write!(out, "{field:08X}")?;
    }
    out.write_all(name)?;
    out.write_all(&[0])?;
    pad(out, 110 + name.len() + 1)?;
    out.write_all(data)?;
    pad(out, data.len())
}

fn pad(out: &mut impl Write, length: usize) -> io::Result<()> {
    out.write_all(&[0; 3][..(4 - length % 4) % 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tree_gives_the_same_archive() {
        let archive = |names: [&str; 2]| {
            let root = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(root.path().join(name), name).unwrap();
            }
            let mut bytes = Vec::new();
            write(root.path(), 7, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(archive(["a", "bc"]), archive(["bc", "a"]));
    }

    #[test]
    fn an_archive_has_the_kernels_form() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("init"), "hello").unwrap();
        fs::set_permissions(root.path().join("init"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut bytes = Vec::new();
        write(root.path(), 1, &mut bytes).unwrap();
        let header = "07070100000001000081ED00000000000000000000000100000001\
                      0000000500000000000000000000000000000000\
                      0000000500000000init\0";
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.starts_with(header), "{text:?}");
        assert_eq!(bytes.len() % 4, 0);
        assert!(text.contains(concat!("hello\0\0\0", "070701")));
        assert!(text.contains("TRAILER!!!"));
    }
}
