//! Between a [`Source`] and tough: fetches, and keeps what was fetched.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::{MAX_MEMBERS_BYTES, Source, SourceError};

/// Every address in the repository begins so.
pub(crate) const BASE: &str = "repository:/";

/// The largest metadata file, in bytes.
pub(crate) const MAX_METADATA_BYTES: u64 = 1024 * 1024;

/// Fetches from a source and keeps every file, by its path inside the repository.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    source: Arc<dyn Source>,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Recorder {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            files: Arc::default(),
        }
    }

    /// What was fetched since the start.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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
                self.files
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(path, bytes.clone());
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
