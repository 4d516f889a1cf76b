//! Files and trees, handled so that neither umask, order nor clock leaves a trace.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// All paths below a folder, sorted, without the folder itself. Links are not followed.
pub(crate) fn walk(root: &Path) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path.clone());
            }
            let text = path.to_str().ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidFilename, "a name is not UTF-8")
            })?;
            paths.push(text.to_owned());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let context = || format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    fs::write(path, bytes).with_context(context)
}

/// Copies a file, a link or a whole tree over what is there.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("copying {} to {}", from.display(), to.display());
    let metadata = fs::symlink_metadata(from).with_context(context)?;
    if metadata.is_dir() {
        fs::create_dir_all(to).with_context(context)?;
        for entry in fs::read_dir(from).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    if to.is_symlink() || to.exists() {
        fs::remove_file(to).with_context(context)?;
    }
    if metadata.is_symlink() {
        symlink(fs::read_link(from).with_context(context)?, to).with_context(context)
    } else {
        fs::copy(from, to).map(drop).with_context(context)
    }
}

/// Makes a folder anew, empty.
pub(crate) fn fresh(folder: &Path) -> Result<()> {
    let context = || format!("making {} anew", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(context)?;
    }
    fs::create_dir_all(folder).with_context(context)
}

/// Gives every file and folder one of four modes: what git keeps, and nothing that a umask changed.
pub(crate) fn normalise_modes(root: &Path, special: &[(&str, u32)]) -> Result<()> {
    for path in walk(root)? {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        if metadata.is_symlink() {
            continue;
        }
        let executable = metadata.is_dir() || metadata.permissions().mode() & 0o111 != 0;
        let usual = if executable { 0o755 } else { 0o644 };
        let mode =
            (special.iter().find(|(name, _)| *name == path)).map_or(usual, |(_, mode)| *mode);
        fs::set_permissions(&full, fs::Permissions::from_mode(mode))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Gives every file and folder one time (seconds since 1970), for tools that copy times.
pub(crate) fn normalise_times(root: &Path, time: u32) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(time));
    for path in walk(root)?.iter().rev() {
        let full = root.join(path);
        if !full.is_symlink() {
            File::open(&full)?.set_modified(time)?;
        }
    }
    File::open(root)?.set_modified(time)?;
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let context = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).with_context(context)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn modes_are_of_a_few_kinds() {
        let root = tempfile::tempdir().unwrap();
        for (name, bits) in [("a", 0o600), ("b", 0o4711), ("shadow", 0o644)] {
            write(&root.path().join("etc").join(name), name).unwrap();
            let path = root.path().join("etc").join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
        }
        normalise_modes(root.path(), &[("etc/shadow", 0o600)]).unwrap();
        let etc = root.path().join("etc");
        assert_eq!(
            [
                mode(&etc),
                mode(&etc.join("a")),
                mode(&etc.join("b")),
                mode(&etc.join("shadow"))
            ],
            [0o755, 0o644, 0o755, 0o600]
        );
    }

    #[test]
    fn copies_replace_files_and_keep_links() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from.join("sub/file"), "new").unwrap();
        symlink("sub/file", from.join("link")).unwrap();
        write(&to.join("sub/file"), "old").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("sub/file")).unwrap(), "new");
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("sub/file")
        );
        assert_eq!(walk(&to).unwrap(), ["link", "sub", "sub/file"]);
    }

    #[test]
    fn hashes_are_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write(&file, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&file).unwrap(), expected);
        assert_eq!(sha256_of(b"abc"), expected);
    }
}
