//! Ids that clients may send in messages before the content is there.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create).

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use ruma::{OwnedUserId, ServerName};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, timeout_at},
};

use crate::{
    Error, Media, Result, Upload,
    media::{Shared, is_media_id, new_media_id},
};

/// Arrivals that somebody who waits may be behind; more make them look again.
const BACKLOG: usize = 64;

/// An id to upload to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The id.
    pub media_id: String,
    /// Until when, in milliseconds since the Unix epoch.
    pub expires_ts: u64,
}

/// Tells those who wait which content has come.
#[derive(Debug)]
pub(crate) struct Arrivals(broadcast::Sender<String>);

impl Default for Arrivals {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

/// Where the content of an id is.
enum Upcoming {
    Here,
    Pending,
    Nowhere,
}

impl Media {
    /// Gives out an id whose content comes later.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPending`].
    pub async fn reserve(&self, user: OwnedUserId) -> Result<Reserved> {
        let shared = &self.shared;
        let (limit, time) = (shared.config.max_pending, shared.config.pending_time);
        let now_ms = shared.store.clock().now_ms();
        let reserved = Reserved {
            media_id: new_media_id(),
            expires_ts: now_ms.saturating_add(milliseconds(time)),
        };
        let Reserved {
            media_id,
            expires_ts,
        } = reserved.clone();
        let full_until: luxchat_store::Result<Option<u64>> = shared
            .store
            .write(move |tx| tx.insert_pending_media(&media_id, &user, expires_ts, limit))
            .await;
        match full_until? {
            None => Ok(reserved),
            Some(ts) => Err(Error::TooManyPending(Duration::from_millis(
                ts.saturating_sub(now_ms),
            ))),
        }
    }

    /// Stores the content of an id that was given out before.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotYours`], [`Error::AlreadyUploaded`], and as [`Media::upload`].
    pub async fn upload_to<E: std::fmt::Display>(
        &self,
        server: &ServerName,
        media_id: &str,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<()> {
        let shared = &self.shared;
        if server != shared.store.server_name() || !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        match shared.upcoming(media_id).await? {
            Upcoming::Here => return Err(Error::AlreadyUploaded),
            Upcoming::Nowhere => return Err(Error::NotFound),
            Upcoming::Pending => {}
        }
        let id = media_id.to_owned();
        let pending: luxchat_store::Result<_> =
            shared.store.read(move |tx| tx.pending_media(&id)).await;
        if pending?.is_none_or(|pending| pending.uploader != upload.user) {
            return Err(Error::NotYours);
        }
        shared.take_in(media_id, true, upload, body).await?;
        self.premake(media_id);
        // Nobody may be waiting.
        let _ = shared.arrivals.0.send(media_id.to_owned());
        Ok(())
    }
}

impl Shared {
    /// Waits until the content of an id that was given out is there.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotYet`].
    pub(crate) async fn await_upload(&self, media_id: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut arrivals = None;
        loop {
            match self.upcoming(media_id).await? {
                Upcoming::Here => return Ok(()),
                Upcoming::Nowhere => return Err(Error::NotFound),
                Upcoming::Pending => {}
            }
            // It may have come before anybody listened: then one more look finds it.
            let Some(arrivals) = &mut arrivals else {
                arrivals = Some(self.arrivals.0.subscribe());
                continue;
            };
            let arrived = timeout_at(deadline, arrival_of(media_id, arrivals));
            arrived.await.map_err(|_| Error::NotYet)?;
        }
    }

    async fn upcoming(&self, media_id: &str) -> Result<Upcoming> {
        let now_ms = self.store.clock().now_ms();
        let id = media_id.to_owned();
        self.store
            .read(move |tx| {
                if tx.local_media(&id)?.is_some() {
                    return Ok(Upcoming::Here);
                }
                Ok(match tx.pending_media(&id)? {
                    Some(pending) if pending.expires_ts > now_ms => Upcoming::Pending,
                    _ => Upcoming::Nowhere,
                })
            })
            .await
    }
}

/// Returns when a content may have come.
async fn arrival_of(media_id: &str, arrivals: &mut broadcast::Receiver<String>) {
    loop {
        match arrivals.recv().await {
            Ok(arrived) if arrived != media_id => {}
            Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
