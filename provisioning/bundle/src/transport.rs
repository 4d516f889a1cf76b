//! Between a [`Source`] and tough: fetches, and keeps what was fetched.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::{MAX_MEMBERS_BYTES, Source, SourceError};

/// Every address in the repository begins so.
pub(crate) const BASE: &str = "repository:/";

/// The largest metadata file, in bytes.
pub(crate) const MAX_METADATA_BYTES: u64 = 1024 * 1024;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryFile {
    /// Its path inside the repository, such as `metadata/timestamp.json`.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl RepositoryFile {
    /// The root of trust of that version.
    pub fn root(version: u64, bytes: Vec<u8>) -> Self {
        Self {
            path: format!("metadata/{version}.root.json"),
            bytes,
        }
    }
}

/// Fetches from a source and keeps every file, in order.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    source: Arc<dyn Source>,
    files: Arc<Mutex<Vec<RepositoryFile>>>,
}

impl Recorder {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            files: Arc::default(),
        }
    }

    /// What was fetched since the start.
    pub(crate) fn files(&self) -> Vec<RepositoryFile> {
        self.lock().clone()
    }

    /// How many signatures stand under the metadata of `role` that was fetched last.
    pub(crate) fn signatures(&self, role: &str) -> u64 {
        #[derive(serde::Deserialize)]
        struct Signed {
            signatures: Vec<serde::de::IgnoredAny>,
        }
        let files = self.lock();
        let of_role = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            let name = name.strip_suffix(".json").unwrap_or(name);
            name.rsplit('.').next() == Some(role)
        };
        files
            .iter()
            .rfind(|file| of_role(&file.path))
            .and_then(|file| serde_json::from_slice::<Signed>(&file.bytes).ok())
            .map_or(0, |it| it.signatures.len() as u64)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RepositoryFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path = url.path().trim_start_matches('/').to_owned();
        let limit = if path.starts_with("metadata/") {
            MAX_METADATA_BYTES
        } else {
            MAX_MEMBERS_BYTES as u64
        };
        let item = match self.source.fetch(&path, limit).await {
            Ok(bytes) => {
                self.lock().push(RepositoryFile {
                    path,
                    bytes: bytes.clone(),
                });
                Ok(bytes.into())
            }
            Err(SourceError::NotFound) => {
                Err(TransportError::new(TransportErrorKind::FileNotFound, url))
            }
            Err(SourceError::Failed(why)) => Err(TransportError::new_with_cause(
                TransportErrorKind::Other,
                url,
                why,
            )),
        };
        // A failure goes into the stream: tough takes a refusal to open one for the end of the
        // chain of roots, whatever the reason.
        Ok(Box::pin(Once(Some(item))))
    }
}

/// A stream of one item.
struct Once<T>(Option<T>);

impl<T: Unpin> futures_util::Stream for Once<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(self.get_mut().0.take())
    }
}
