//! Files named by their content: `ab/cd/<the other 60 digits>`, beside `scratch/` for those in the making.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use luxchat_store::ContentHash;
use nix::sys::statvfs::statvfs;

use crate::{
    Error, Result,
    scratch::{Scratch, Written},
};

/// The folder of the contents.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder where it is missing, and clears it of what was in the making when the last run ended.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let scratch = root.join("scratch");
        let cleared = match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&scratch),
        };
        cleared.map_err(|why| Error::file(&scratch, why))?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// A new content of at most `limit` bytes.
    pub(crate) fn scratch(&self, limit: u64) -> Scratch {
        let name = format!("{:032x}", rand::random::<u128>());
        Scratch::new(self.root.join("scratch").join(name), limit)
    }

    /// Puts a content where it belongs, on disk when this returns. One that is there already stays.
    pub(crate) async fn place(&self, content: Written) -> Result<()> {
        let target = self.path(&content.sha256);
        let at = target.clone();
        blocking(move || {
            if !target.exists() {
                let parent = parent(&target)?;
                fs::create_dir_all(parent)?;
                fs::rename(content.path.as_path(), &target)?;
                // The name must last, too, and those of the folders above it.
                for folder in parent.ancestors().take(3) {
                    fs::File::open(folder)?.sync_all()?;
                }
            }
            Ok(())
        })
        .await
        .map_err(|why| Error::file(&at, why))
    }

    /// Opens a content. `None` where there is none.
    pub(crate) async fn open_content(&self, sha256: &ContentHash) -> Result<Option<Arc<fs::File>>> {
        let path = self.path(sha256);
        let at = path.clone();
        match blocking(move || fs::File::open(at)).await {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(Error::file(&path, why)),
        }
    }

    /// Removes contents; those that are not there are as good as removed.
    pub(crate) async fn remove(&self, contents: Vec<ContentHash>) -> Result<()> {
        let paths: Vec<PathBuf> = contents.iter().map(|sha256| self.path(sha256)).collect();
        blocking(move || {
            for path in paths {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
        .map_err(|why| Error::file(&self.root, why))
    }

    /// The contents whose names begin with a byte.
    pub(crate) async fn contents(&self, first: u8) -> Result<Vec<ContentHash>> {
        let folder = self.root.join(format!("{first:02x}"));
        blocking(move || {
            let mut found = Vec::new();
            for second in list(&folder)? {
                for file in list(&second)? {
                    found.extend(hash_of(&file));
                }
            }
            Ok(found)
        })
        .await
        .map_err(|why| Error::file(&self.root, why))
    }

    /// The bytes that are free on the disk.
    pub(crate) fn free_bytes(&self) -> Result<u64> {
        let disk = statvfs(&self.root).map_err(|why| Error::file(&self.root, why.into()))?;
        Ok(disk.blocks_available() * disk.fragment_size())
    }

    fn path(&self, sha256: &ContentHash) -> PathBuf {
        let hex = hex(sha256);
        self.root.join(&hex[..2]).join(&hex[2..4]).join(&hex[4..])
    }
}

/// A content's name in hexadecimal.
pub(crate) fn hex(sha256: &ContentHash) -> String {
    sha256.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// What is in a folder; nothing where there is none.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The content that a file `.../ab/cd/<60 digits>` is named by. `None` for a file that is none of ours.
fn hash_of(file: &Path) -> Option<ContentHash> {
    let mut names = file
        .components()
        .rev()
        .take(3)
        .map(|name| name.as_os_str().to_str())
        .collect::<Option<Vec<_>>>()?;
    names.reverse();
    parse_hex(&names.concat())
}

/// A content's hash from 64 hexadecimal digits.
pub(crate) fn parse_hex(hex: &str) -> Option<ContentHash> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut sha256 = [0; 32];
    for (index, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(sha256)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
