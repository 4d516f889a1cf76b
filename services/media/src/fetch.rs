//! Media of other servers. What does not arrive whole leaves nothing behind.

use std::sync::Arc;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use luxchat_store::MediaRow;
use ruma::{
    OwnedServerName, ServerName, api::federation::authenticated_media::get_content::v1::Request,
};
use tokio::time::timeout;

use crate::{
    Error, Found, Media, Result,
    media::{Shared, content_type, file_name},
    multipart::{Head, Parser, Piece},
};

impl Media {
    /// Fetches a medium, unless somebody else just did.
    pub(crate) async fn fetch(&self, server: &ServerName, media_id: &str) -> Result<Found> {
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
            shared.fetch(server, &media_id).await
        });
        fetch.await.unwrap_or(Err(Error::NotYet))
    }
}

impl Shared {
    async fn fetch(&self, server: OwnedServerName, media_id: &str) -> Result<Found> {
        let lane = media_id.bytes().map(usize::from).sum::<usize>() % self.lanes_each;
        let _lane = self.lanes.take(&(server.clone(), lane)).await;
        let Ok(_place) = self.places.acquire().await else {
            return Err(Error::NotYet);
        };
        self.check_disk(0)?;
        let transfer = self.transfer(&server, media_id);
        timeout(self.config.transfer_time, transfer)
            .await
            .unwrap_or_else(|_| Err(invalid(&server, "it took too long")))
    }

    async fn transfer(&self, server: &ServerName, media_id: &str) -> Result<Found> {
        let request = Request::new(media_id.to_owned());
        let answer = self.federation.open(server, request).await?;
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
        if head.location.is_some() {
            // Nothing is fetched from hosts that the site does not name.
            return Err(invalid(server, "it points elsewhere"));
        }
        let content = stream::try_unfold(content, |mut content| async move {
            let bytes = content.data().await?;
            Ok::<_, Error>(bytes.map(|bytes| (bytes, content)))
        });
        let received = self.receive(content, invalid(server, STALLED)).await;
        let written = received.map_err(|error| match error {
            Error::TooLarge(limit) => Error::RemoteTooLarge(limit),
            other => other,
        })?;
        let row = MediaRow {
            sha256: written.sha256,
            size: written.size,
            content_type: content_type(head.content_type),
            file_name: head.file_name.and_then(file_name),
        };
        self.keep(server, media_id, written, row).await
    }
}

/// What is wrong with a peer that sends no more.
const STALLED: &str = "it stalled";

/// A content as it arrives.
struct Content {
    server: OwnedServerName,
    body: BodyDataStream,
    parser: Parser,
    stall_time: std::time::Duration,
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
