//! Files that are there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::Error;

/// Whether a file may be read by its owner alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0600.
    Private,
    /// Mode 0644.
    Public,
}

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    let fault = |source| io_error("read", path, source);
    // A pipe on a stick would keep its reader waiting for ever.
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err(fault(io::Error::other("it is not a file")));
    }
    let file = File::open(path).map_err(fault)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() > limit {
        return Err(Error::TooLarge {
            what: format!("{} in bytes", path.display()),
            limit,
        });
    }
    Ok(bytes)
}

/// Puts a new file in place, on disk when this returns.
///
/// # Errors
/// [`Error::Exists`] if something is there already.
pub fn create(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    let file = write_beside(path, bytes, access)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_parent(path),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::Exists(path.to_owned()))
        }
        Err(error) => Err(io_error("write", path, error.error)),
    }
}

/// Puts a file in place of whatever was there, on disk when this returns. A reader sees the old
/// one or the new one.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    let file = write_beside(path, bytes, access)?;
    file.persist(path)
        .map_err(|error| io_error("write", path, error.error))?;
    sync_parent(path)
}

/// Makes a folder and those above it, if they are not there.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| io_error("create the folder", path, source))
}

fn write_beside(path: &Path, bytes: &[u8], access: Access) -> Result<NamedTempFile, Error> {
    let fault = |source| io_error("write", path, source);
    let mode = match access {
        Access::Private => 0o600,
        Access::Public => 0o644,
    };
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder_of(path))
        .map_err(fault)?;
    file.write_all(bytes).map_err(fault)?;
    file.as_file().sync_all().map_err(fault)?;
    Ok(file)
}

/// Makes the names in a folder as durable as the bytes are.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| io_error("write", folder, source))
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    sync_folder(&folder_of(path))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_never_overwrites_and_replace_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"one", Access::Private).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(
            create(&path, b"two", Access::Private),
            Err(Error::Exists(_))
        ));
        assert_eq!(read(&path, 3).unwrap(), b"one");
        replace(&path, b"three", Access::Public).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert!(matches!(read(&path, 3), Err(Error::TooLarge { .. })));
        let error = read(folder.path(), 3).unwrap_err().to_string();
        assert!(error.ends_with("it is not a file"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
