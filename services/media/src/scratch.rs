use std::path::{Path, PathBuf};

use luxchat_store::ContentHash;
use sha2::{Digest, Sha256};
use tokio::{fs::File, io::AsyncWriteExt};

use crate::{Error, Result};

/// A content in the making: gone when dropped, unless it finds its place.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: ScratchPath,
    file: File,
    hash: Sha256,
    size: u64,
    limit: u64,
}

/// A content that is on disk, not yet in its place.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) path: ScratchPath,
    pub(crate) sha256: ContentHash,
    pub(crate) size: u64,
}

/// A file that goes with its owner.
#[derive(Debug)]
pub(crate) struct ScratchPath(PathBuf);

impl Scratch {
    /// An empty file that does not exist yet, to hold at most `limit` bytes.
    pub(crate) async fn create(path: PathBuf, limit: u64) -> Result<Self> {
        let file = File::create_new(&path).await;
        let file = file.map_err(|why| Error::file(&path, why))?;
        Ok(Self {
            path: ScratchPath(path),
            file,
            hash: Sha256::new(),
            size: 0,
            limit,
        })
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] beyond the limit.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(Error::TooLarge(self.limit));
        }
        self.hash.update(bytes);
        let written = self.file.write_all(bytes).await;
        written.map_err(|why| Error::file(self.path.as_path(), why))
    }

    /// Flushes to disk.
    pub(crate) async fn finish(mut self) -> Result<Written> {
        let flushed = async {
            self.file.flush().await?;
            self.file.sync_all().await
        };
        let flushed = flushed.await;
        flushed.map_err(|why| Error::file(self.path.as_path(), why))?;
        Ok(Written {
            path: self.path,
            sha256: self.hash.finalize().into(),
            size: self.size,
        })
    }
}

impl ScratchPath {
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchPath {
    fn drop(&mut self) {
        // Renamed files are not there any more; what cannot be removed goes at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}
