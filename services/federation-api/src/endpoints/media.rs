//! What users of this server uploaded, for other servers.
//! <https://spec.matrix.org/v1.19/server-server-api/#content-repository>

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use luxchat_http::{Endpoints, Matrix};
use luxchat_media::{
    Found, envelope,
    thumbnailer::{Method as Fit, Wanted},
};
use ruma::{
    UInt,
    api::federation::authenticated_media::{
        get_content::v1::Request as Download, get_content_thumbnail::v1::Request as Thumbnail,
    },
    media::Method,
};

use crate::{State, error::Error};

/// How long another server may be kept waiting for an upload.
const MAX_PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<Download, _>(download)
        .endpoint::<Thumbnail, _>(thumbnail)
}

async fn download(state: State, Matrix(request): Matrix<Download>) -> Result<Response, Error> {
    let patience = request.timeout_ms.min(MAX_PATIENCE);
    Ok(send(&state.media.local(&request.media_id, patience).await?))
}

async fn thumbnail(state: State, Matrix(request): Matrix<Thumbnail>) -> Result<Response, Error> {
    let patience = request.timeout_ms.min(MAX_PATIENCE);
    let found = state.media.local(&request.media_id, patience).await?;
    let side = |side: UInt| u32::try_from(u64::from(side)).unwrap_or(u32::MAX);
    let size = Wanted {
        width: side(request.width),
        height: side(request.height),
        method: match request.method {
            Some(Method::Crop) => Fit::Crop,
            _ => Fit::Scale,
        },
    };
    let moving = request.animated.unwrap_or_default();
    Ok(send(&state.media.thumbnail(found, size, moving).await?))
}

fn send(found: &Found) -> Response {
    let envelope = envelope(found);
    let headers = [
        (CONTENT_TYPE, envelope.content_type),
        (CONTENT_LENGTH, envelope.length.to_string()),
    ];
    (headers, Body::from_stream(envelope.body)).into_response()
}
