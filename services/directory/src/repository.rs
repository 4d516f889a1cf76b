//! `GET /_luxchat/directory/v1/repository/{part}/{name}`: the signed repository, file by file.

use std::{
    io::{self, SeekFrom},
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
use luxchat_bundle::{Fingerprint, MAX_MEMBERS_BYTES, PIECE_BYTES, TrustStore};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tracing::error;

use crate::files::{Kind, kind};

/// Where the repository begins; `metadata/…` and `targets/…` follow.
pub const REPOSITORY_PATH: &str = "/_luxchat/directory/v1/repository";

/// The largest piece of a release that one request gets, in bytes.
const MAX_PIECE: u64 = 4 * PIECE_BYTES;

/// The routes that serve what `trust` holds at the moment of each request. Whoever reaches them
/// may read: the listener in front admits members alone, and the repository holds no secret.
///
/// The answer to a request bears an `ETag`; `If-None-Match` is answered by 304 without a body.
///
/// The files of releases are too large to be kept twice: they are served from `publication`, the
/// folder from which `trust` is kept up to date, piece by piece. Boxes check them against what was
/// signed.
pub fn repository(trust: Arc<TrustStore>, publication: &FilePath) -> Router {
    let state = Folders {
        trust,
        publication: publication.into(),
    };
    Router::new()
        .route(&format!("{REPOSITORY_PATH}/{{part}}/{{name}}"), get(serve))
        .with_state(state)
}

#[derive(Clone, Debug)]
struct Folders {
    trust: Arc<TrustStore>,
    publication: Arc<FilePath>,
}

async fn serve(
    State(folders): State<Folders>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let Ok(Path((part, name))) = path else {
        return not_found();
    };
    let Some(kind) = kind(&part, &name) else {
        return not_found();
    };
    if kind == Kind::Release {
        return serve_piece(&folders.publication.join(part).join(name), &request).await;
    }
    let path: PathBuf = folders.trust.folder().join(part).join(name);
    match read(&path).await {
        Ok(bytes) => answer(kind, bytes, &request),
        Err(fault) => unreadable(&path, &fault),
    }
}

/// A piece of a large file (RFC 9110, section 14.2), at most [`MAX_PIECE`] long.
async fn serve_piece(path: &FilePath, request: &HeaderMap) -> Response {
    let range = request.get(header::RANGE).and_then(|it| it.to_str().ok());
    let Some((from, to)) = range.and_then(parse_range) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "M_MISSING_PARAM",
            "A file of a release is served in pieces: ask for bytes=FROM-TO",
        );
    };
    match read_piece(path, from, to).await {
        Ok((bytes, length)) if bytes.is_empty() => {
            let range = format!("bytes */{length}");
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            (status, [(header::CONTENT_RANGE, range)]).into_response()
        }
        Ok((bytes, length)) => {
            let to = from + bytes.len() as u64 - 1;
            let headers = [
                (header::CONTENT_RANGE, format!("bytes {from}-{to}/{length}")),
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            ];
            (StatusCode::PARTIAL_CONTENT, headers, bytes).into_response()
        }
        Err(fault) => unreadable(path, &fault),
    }
}

/// The first and the last byte that `bytes=FROM-TO` asks for, cut to what is served at once.
fn parse_range(range: &str) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    let most = from.checked_add(MAX_PIECE - 1)?;
    let to = if to.is_empty() {
        most
    } else {
        to.parse().ok()?
    };
    (from <= to).then(|| (from, to.min(most)))
}

/// The bytes from `from` to `to`, as far as there are any, and the length of the file.
async fn read_piece(path: &FilePath, from: u64, to: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    file.take(to - from + 1).read_to_end(&mut bytes).await?;
    Ok((bytes, length))
}

fn unreadable(path: &FilePath, fault: &io::Error) -> Response {
    if fault.kind() == io::ErrorKind::NotFound {
        return not_found();
    }
    error!(path = %path.display(), error = %fault, "a file of the repository cannot be read");
    refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        "M_UNKNOWN",
        "The file cannot be read",
    )
}

fn answer(kind: Kind, bytes: Vec<u8>, request: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", Fingerprint::of(&bytes));
    let caching = match kind {
        Kind::Changing => "no-cache",
        Kind::Lasting | Kind::Release => "max-age=31536000, immutable",
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
