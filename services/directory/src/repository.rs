//! `GET /_luxchat/directory/v1/repository/{part}/{name}`: the signed repository, file by file.

use std::{
    io,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use luxchat_bundle::{Fingerprint, MAX_MEMBERS_BYTES, TrustStore};
use tokio::io::AsyncReadExt;
use tracing::error;

use crate::files::{Kind, kind};

/// Where the repository begins; `metadata/…` and `targets/…` follow.
pub const REPOSITORY_PATH: &str = "/_luxchat/directory/v1/repository";

/// The routes that serve what `trust` holds at the moment of each request. Whoever reaches them
/// may read: the listener in front admits members alone, and the repository holds no secret.
///
/// The answer to a request bears an `ETag`; `If-None-Match` is answered by 304 without a body.
pub fn repository(trust: Arc<TrustStore>) -> Router {
    Router::new()
        .route(&format!("{REPOSITORY_PATH}/{{part}}/{{name}}"), get(serve))
        .with_state(trust)
}

async fn serve(
    State(trust): State<Arc<TrustStore>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let Ok(Path((part, name))) = path else {
        return not_found();
    };
    let Some(kind) = kind(&part, &name) else {
        return not_found();
    };
    let path: PathBuf = trust.folder().join(part).join(name);
    match read(&path).await {
        Ok(bytes) => answer(kind, bytes, &request),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => not_found(),
        Err(fault) => {
            error!(path = %path.display(), error = %fault, "a file of the repository cannot be read");
            refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "M_UNKNOWN",
                "The file cannot be read",
            )
        }
    }
}

fn answer(kind: Kind, bytes: Vec<u8>, request: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", Fingerprint::of(&bytes));
    let caching = match kind {
        Kind::Changing => "no-cache",
        Kind::Lasting => "max-age=31536000, immutable",
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    let matches = is_known(request, &tag);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    if matches {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    (headers, bytes).into_response()
}

/// Whether the peer has the file with this tag already (RFC 9110, section 13.1.2).
fn is_known(request: &HeaderMap, tag: &str) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim())
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Reads a file, whole, of at most the size that anything in a repository may have.
async fn read(path: &FilePath) -> io::Result<Vec<u8>> {
    let limit = MAX_MEMBERS_BYTES as u64;
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}

fn not_found() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "M_NOT_FOUND",
        "The repository has no such file",
    )
}

fn refuse(status: StatusCode, code: &'static str, message: &'static str) -> Response {
    let body = [("errcode", code), ("error", message)];
    let body: std::collections::BTreeMap<_, _> = body.into_iter().collect();
    (status, Json(body)).into_response()
}
