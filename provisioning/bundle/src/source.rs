//! Where the files of a repository come from.

use std::{
    fmt::Debug,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
};

use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// What [`Source::fetch`] returns.
pub type SourceFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, SourceError>> + Send + 'a>>;

/// Where the files of a repository come from: a stick, or a directory over the network. Nothing
/// that it delivers is trusted before it is verified.
pub trait Source: Debug + Send + Sync + 'static {
    /// Delivers the file at `path` inside the repository, such as `metadata/timestamp.json`. Must
    /// give up with an error once the file proves longer than `limit` bytes.
    fn fetch<'a>(&'a self, path: &'a str, limit: u64) -> SourceFuture<'a>;

    /// Delivers at most `length` bytes of a large file, those from `from` on. Only release files
    /// are fetched so; a source of metadata alone has none.
    fn fetch_part<'a>(&'a self, path: &'a str, from: u64, length: u64) -> SourceFuture<'a> {
        let (_, _, _) = (path, from, length);
        Box::pin(async { Err(SourceError::NotFound) })
    }
}

/// Why a file was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is no such file. For some files that is an answer, not a fault.
    #[error("there is no such file")]
    NotFound,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A repository in a folder, for example on a stick.
#[derive(Clone, Debug)]
pub struct DirectorySource(PathBuf);

impl DirectorySource {
    /// The repository in `folder`, which holds `metadata` and `targets`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Source for DirectorySource {
    fn fetch<'a>(&'a self, path: &'a str, limit: u64) -> SourceFuture<'a> {
        Box::pin(async move {
            read_bounded(&self.0.join(path), limit)
                .await
                .map_err(|error| self.failure(path, &error))
        })
    }

    fn fetch_part<'a>(&'a self, path: &'a str, from: u64, length: u64) -> SourceFuture<'a> {
        Box::pin(async move {
            read_part(&self.0.join(path), from, length)
                .await
                .map_err(|error| self.failure(path, &error))
        })
    }
}

impl DirectorySource {
    fn failure(&self, path: &str, error: &io::Error) -> SourceError {
        match error.kind() {
            io::ErrorKind::NotFound => SourceError::NotFound,
            _ => SourceError::Failed(format!("{}: {error}", self.0.join(path).display())),
        }
    }
}

async fn read_part(path: &Path, from: u64, length: u64) -> io::Result<Vec<u8>> {
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(io::SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

async fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // A pipe on a stick would keep its reader waiting for ever.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}
