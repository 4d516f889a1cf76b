//! Media of other servers. What does not arrive whole leaves nothing behind.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{Response, header::CONTENT_TYPE};
use luxchat_federation::Error as FederationError;
use luxchat_store::MediaRow;
use ruma::{
    OwnedServerName, ServerName,
    api::{error::ErrorKind, federation::authenticated_media::get_content::v1::Request},
};
use tokio::time::timeout;

use crate::{
    Error, Found, Media, Result,
    media::{Shared, content_type, file_name},
    multipart::{Head, Parser, Piece},
    old_servers,
};

/// How long another server is asked to wait for an upload: less than requests to it may take.
const MAX_PATIENCE: Duration = Duration::from_secs(20);

impl Media {
    /// Fetches a medium, unless somebody else just did. The other server is asked to wait for its upload as long as the
    /// first who wants it does.
    pub(crate) async fn fetch(
        &self,
        server: &ServerName,
        media_id: &str,
        patience: Duration,
    ) -> Result<Found> {
        let turn = self
            .shared
            .fetches
            .take(&format!("{server}/{media_id}"))
            .await;
        if let Some(found) = self.shared.cached(server, media_id).await? {
            return Ok(found);
        }
        let shared = Arc::clone(&self.shared);
        let (server, media_id) = (server.to_owned(), media_id.to_owned());
        // A task of its own, so that a client that gives up does not waste what has arrived.
        let fetch = tokio::spawn(async move {
            let _turn = turn;
            shared.fetch(server, &media_id, patience).await
        });
        fetch.await.unwrap_or(Err(Error::NotYet))
    }
}

impl Shared {
    async fn fetch(
        &self,
        server: OwnedServerName,
        media_id: &str,
        patience: Duration,
    ) -> Result<Found> {
        let lane = media_id.bytes().map(usize::from).sum::<usize>() % self.lanes_each;
        let _lane = self.lanes.take(&(server.clone(), lane)).await;
        let Ok(_place) = self.places.acquire().await else {
            return Err(Error::NotYet);
        };
        self.make_room(0).await?;
        let transfer = self.transfer(&server, media_id, patience.min(MAX_PATIENCE));
        timeout(self.config.transfer_time, transfer)
            .await
            .unwrap_or_else(|_| Err(invalid(&server, "it took too long")))
    }

    async fn transfer(
        &self,
        server: &ServerName,
        media_id: &str,
        patience: Duration,
    ) -> Result<Found> {
        let mut request = Request::new(media_id.to_owned());
        request.timeout_ms = patience;
        match self.federation.open(server, request).await {
            Ok(answer) => self.take_multipart(server, media_id, answer).await,
            Err(error) if self.config.fetch_unauthenticated && old_servers::is_unknown(&error) => {
                let request = old_servers::Request::new(server, media_id, patience);
                let answer = self.federation.open(server, request).await;
                let answer = answer.map_err(refusal)?;
                self.take_plain(server, media_id, answer).await
            }
            Err(error) => Err(refusal(error)),
        }
    }

    async fn take_multipart(
        &self,
        server: &ServerName,
        media_id: &str,
        answer: Response<Body>,
    ) -> Result<Found> {
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let parser = Parser::new(kind).map_err(|why| invalid(server, why))?;
        let mut content = Content {
            server: server.to_owned(),
            body: answer.into_body().into_data_stream(),
            parser,
            stall_time: self.config.stall_time,
        };
        let head = content.head().await?;
        let content = stream::try_unfold(content, |mut content| async move {
            let bytes = content.data().await?;
            Ok::<_, Error>(bytes.map(|bytes| (bytes, content)))
        });
        self.take_content(server, media_id, head, content).await
    }

    /// An answer of the endpoint that was before: the content, and nothing else.
    async fn take_plain(
        &self,
        server: &ServerName,
        media_id: &str,
        answer: Response<Body>,
    ) -> Result<Found> {
        let head = old_servers::head(answer.headers());
        let content = answer.into_body().into_data_stream();
        let content = content.map_err(|error| invalid(server, &error.to_string()));
        self.take_content(server, media_id, head, content).await
    }

    async fn take_content(
        &self,
        server: &ServerName,
        media_id: &str,
        head: Head,
        content: impl Stream<Item = Result<Bytes>>,
    ) -> Result<Found> {
        if head.location.is_some() {
            // Nothing is fetched from hosts that the site does not name.
            return Err(invalid(server, "it points elsewhere"));
        }
        let received = self.receive(content, invalid(server, STALLED)).await;
        let written = received.map_err(|error| match error {
            Error::TooLarge(limit) => Error::RemoteTooLarge(limit),
            other => other,
        })?;
        if head.length.is_some_and(|length| length != written.size) {
            return Err(invalid(server, "it is not as long as it was said to be"));
        }
        let row = MediaRow {
            sha256: written.sha256,
            size: written.size,
            content_type: content_type(head.content_type),
            file_name: head.file_name.and_then(file_name),
        };
        self.keep(server, media_id, written, row).await
    }
}

/// Another server's refusal, in the terms of this one.
fn refusal(error: FederationError) -> Error {
    match error.remote_kind() {
        Some(ErrorKind::NotYetUploaded) => Error::NotYet,
        Some(ErrorKind::NotFound) => Error::NotFound,
        _ => error.into(),
    }
}

/// What is wrong with a peer that sends no more.
const STALLED: &str = "it stalled";

/// A content as it arrives.
struct Content {
    server: OwnedServerName,
    body: BodyDataStream,
    parser: Parser,
    stall_time: Duration,
}

impl Content {
    async fn head(&mut self) -> Result<Head> {
        match self.piece().await? {
            Piece::Head(head) => Ok(head),
            Piece::Data(_) | Piece::End => Err(invalid(&self.server, "it has no content")),
        }
    }

    /// The next bytes; `None` when all have arrived.
    async fn data(&mut self) -> Result<Option<Bytes>> {
        match self.piece().await? {
            Piece::Data(bytes) => Ok(Some(bytes)),
            Piece::Head(_) | Piece::End => Ok(None),
        }
    }

    async fn piece(&mut self) -> Result<Piece> {
        loop {
            let piece = self.parser.next();
            if let Some(piece) = piece.map_err(|why| invalid(&self.server, why))? {
                return Ok(piece);
            }
            let Ok(bytes) = timeout(self.stall_time, self.body.next()).await else {
                return Err(invalid(&self.server, STALLED));
            };
            match bytes {
                Some(Ok(bytes)) => self.parser.push(&bytes),
                Some(Err(error)) => return Err(invalid(&self.server, &error.to_string())),
                None => return Err(invalid(&self.server, "it broke off")),
            }
        }
    }
}

fn invalid(server: &ServerName, why: &str) -> Error {
    Error::InvalidAnswer {
        server: server.to_owned(),
        why: why.to_owned(),
    }
}
