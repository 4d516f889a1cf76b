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
use luxchat_media::{Found, envelope};
use ruma::api::federation::authenticated_media::{
    get_content::v1::Request as Download, get_content_thumbnail::v1::Request as Thumbnail,
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

/// The original, if it is an image that is small enough.
async fn thumbnail(state: State, Matrix(request): Matrix<Thumbnail>) -> Result<Response, Error> {
    let patience = request.timeout_ms.min(MAX_PATIENCE);
    let found = state.media.local(&request.media_id, patience).await?;
    Ok(send(&state.media.as_thumbnail(found)?))
}

fn send(found: &Found) -> Response {
    let envelope = envelope(found);
    let headers = [
        (CONTENT_TYPE, envelope.content_type),
        (CONTENT_LENGTH, envelope.length.to_string()),
    ];
    (headers, Body::from_stream(envelope.body)).into_response()
}
