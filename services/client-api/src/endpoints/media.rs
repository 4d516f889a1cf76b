//! Uploads, downloads and thumbnails. The endpoints that ask for no token serve what was there before the site froze them,
//! which by default is nothing.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use std::time::Duration;

use axum::{
    Json, Router,
    body::{Body, BodyDataStream},
    extract::{Query, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, header};
use luxchat_http::{ApiError, Endpoints, Matrix, Path, Reply};
use luxchat_media::{
    Found, Upload,
    thumbnailer::{Method as Fit, Wanted},
};
#[expect(deprecated, reason = "they are frozen, not gone")]
use ruma::api::client::media::{
    get_content::v3::Request as FrozenDownload,
    get_content_as_filename::v3::Request as FrozenDownloadAs,
    get_content_thumbnail::v3::Request as FrozenThumbnail,
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedMxcUri, ServerName, UInt,
    api::client::{
        authenticated_media::{
            get_content::v1::Request as Download,
            get_content_as_filename::v1::Request as DownloadAs,
            get_content_thumbnail::v1::Request as Thumbnail,
        },
        media::{
            create_content::v3::{Request as Create, Response as Created},
            create_content_async::v3::Request as Fill,
            create_mxc_uri::v1::{Request as Reserve, Response as Reserved},
        },
    },
    media::Method,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    State,
    auth::Session,
    endpoints::media_response::{MediaResponse, serve},
    error::{Answer, Error},
};

/// How long a client may be kept waiting for an upload, or for another server's media.
const MAX_PATIENCE: Duration = Duration::from_mins(1);

/// What is read of an upload that is already refused, in bytes, and for how long.
const HEARD_OUT: usize = 64 * 1024 * 1024;
const HEARD_OUT_TIME: Duration = Duration::from_secs(10);

pub(crate) fn routes() -> Router<State> {
    let router = Router::new()
        .endpoint::<Create, _>(upload)
        .endpoint::<Reserve, _>(reserve)
        .endpoint::<Fill, _>(upload_to)
        .endpoint::<Download, _>(download)
        .endpoint::<DownloadAs, _>(download_as)
        .endpoint::<Thumbnail, _>(thumbnail);
    #[expect(deprecated, reason = "they are frozen, not gone")]
    router
        .endpoint::<FrozenDownload, _>(frozen_download)
        .endpoint::<FrozenDownloadAs, _>(frozen_download_as)
        .endpoint::<FrozenThumbnail, _>(frozen_thumbnail)
}

/// An upload that is refused, maybe with a part of its body unread: the client must not go on on the same connection.
struct Refused(Error);

/// Refuses an upload once its body has come, unless that is long: most clients read no answer before they have said all,
/// and would only see that the connection breaks.
async fn refuse(error: Error, mut body: BodyDataStream) -> Refused {
    let listen = async {
        let mut left = HEARD_OUT;
        while let Some(Ok(bytes)) = body.next().await
            && let Some(less) = left.checked_sub(bytes.len())
        {
            left = less;
        }
    };
    // Whether it came to its end does not matter any more.
    let _ = timeout(HEARD_OUT_TIME, listen).await;
    Refused(error)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        ([(header::CONNECTION, "close")], self.0).into_response()
    }
}

#[derive(Deserialize)]
struct UploadName {
    filename: Option<String>,
}

/// The body is not the [`Matrix`] extractor's: it goes to disk as it arrives.
async fn upload(
    state: State,
    session: Session,
    name: Result<Query<UploadName>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<Created>, Refused> {
    let mut body = body.into_data_stream();
    let uploaded = async {
        session.check_not_suspended()?;
        let upload = described(&session, name, &headers)?;
        Ok(state.media.upload(upload, &mut body).await?)
    };
    match uploaded.await {
        Ok(media_id) => Ok(Reply(Created::new(uri(&state, &media_id)))),
        Err(error) => Err(refuse(error, body).await),
    }
}

async fn reserve(state: State, session: Session, _: Matrix<Reserve>) -> Answer<Reserved> {
    session.check_not_suspended()?;
    let reserved = state.media.reserve(session.user_id.clone()).await?;
    let mut response = Reserved::new(uri(&state, &reserved.media_id));
    let expires = UInt::new_saturating(reserved.expires_ts);
    response.unused_expires_at = Some(MilliSecondsSinceUnixEpoch(expires));
    Ok(Reply(response))
}

async fn upload_to(
    state: State,
    session: Session,
    Path((server, media_id)): Path<(String, String)>,
    name: Result<Query<UploadName>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let mut body = body.into_data_stream();
    let uploaded = async {
        let server = ServerName::parse(server)
            .map_err(|_| ApiError::invalid_param("The path has no server name"))?;
        session.check_not_suspended()?;
        let upload = described(&session, name, &headers)?;
        let media = &state.media;
        Ok(media
            .upload_to(&server, &media_id, upload, &mut body)
            .await?)
    };
    match uploaded.await {
        Ok(()) => Ok(Json(json!({}))),
        Err(error) => Err(refuse(error, body).await),
    }
}

async fn download(
    state: State,
    _: Session,
    headers: HeaderMap,
    Matrix(request): Matrix<Download>,
) -> MediaResponse {
    let patience = request.timeout_ms;
    let found = get(&state, &request.server_name, &request.media_id, patience).await?;
    serve(found, None, &headers)
}

async fn download_as(
    state: State,
    _: Session,
    headers: HeaderMap,
    Matrix(request): Matrix<DownloadAs>,
) -> MediaResponse {
    let patience = request.timeout_ms;
    let found = get(&state, &request.server_name, &request.media_id, patience).await?;
    serve(found, Some(request.filename), &headers)
}

async fn thumbnail(
    state: State,
    _: Session,
    headers: HeaderMap,
    Matrix(request): Matrix<Thumbnail>,
) -> MediaResponse {
    let patience = request.timeout_ms;
    let found = get(&state, &request.server_name, &request.media_id, patience).await?;
    let size = size(request.width, request.height, request.method.as_ref());
    let moving = request.animated.unwrap_or_default();
    let found = state.media.thumbnail(found, size, moving).await?;
    serve(found, None, &headers)
}

#[expect(deprecated, reason = "it is frozen, not gone")]
async fn frozen_download(
    state: State,
    headers: HeaderMap,
    Matrix(request): Matrix<FrozenDownload>,
) -> MediaResponse {
    let (server, id, patience) = (&request.server_name, &request.media_id, request.timeout_ms);
    let found = get_frozen(&state, server, id, patience, request.allow_remote).await?;
    serve(found, None, &headers)
}

#[expect(deprecated, reason = "it is frozen, not gone")]
async fn frozen_download_as(
    state: State,
    headers: HeaderMap,
    Matrix(request): Matrix<FrozenDownloadAs>,
) -> MediaResponse {
    let (server, id, patience) = (&request.server_name, &request.media_id, request.timeout_ms);
    let found = get_frozen(&state, server, id, patience, request.allow_remote).await?;
    serve(found, Some(request.filename), &headers)
}

#[expect(deprecated, reason = "it is frozen, not gone")]
async fn frozen_thumbnail(
    state: State,
    headers: HeaderMap,
    Matrix(request): Matrix<FrozenThumbnail>,
) -> MediaResponse {
    let (server, id, patience) = (&request.server_name, &request.media_id, request.timeout_ms);
    let found = get_frozen(&state, server, id, patience, request.allow_remote).await?;
    let size = size(request.width, request.height, request.method.as_ref());
    let moving = request.animated.unwrap_or_default();
    let found = state.media.thumbnail(found, size, moving).await?;
    serve(found, None, &headers)
}

async fn get(
    state: &State,
    server: &ServerName,
    media_id: &str,
    patience: Duration,
) -> Result<Found, Error> {
    let patience = patience.min(MAX_PATIENCE);
    Ok(state.media.get(server, media_id, patience).await?)
}

async fn get_frozen(
    state: &State,
    server: &ServerName,
    media_id: &str,
    patience: Duration,
    may_fetch: bool,
) -> Result<Found, Error> {
    let patience = patience.min(MAX_PATIENCE);
    let found = state
        .media
        .get_unauthenticated(server, media_id, patience, may_fetch);
    Ok(found.await?)
}

/// The size that a client wants; a number beyond all measure is as good as the largest.
fn size(width: UInt, height: UInt, method: Option<&Method>) -> Wanted {
    let side = |side: UInt| u32::try_from(u64::from(side)).unwrap_or(u32::MAX);
    Wanted {
        width: side(width),
        height: side(height),
        method: match method {
            Some(Method::Crop) => Fit::Crop,
            _ => Fit::Scale,
        },
    }
}

/// What the head of a request says of the upload that follows.
fn described(
    session: &Session,
    name: Result<Query<UploadName>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<Upload, Error> {
    let Query(name) = name.map_err(|error| ApiError::invalid_param(error.body_text()))?;
    Ok(Upload {
        user: session.user_id.clone(),
        content_type: text(headers, &header::CONTENT_TYPE).map(ToOwned::to_owned),
        file_name: name.filename,
        length: text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    })
}

fn uri(state: &State, media_id: &str) -> OwnedMxcUri {
    let server = state.federation.server_name();
    OwnedMxcUri::from(format!("mxc://{server}/{media_id}"))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Method, Request};
    use serde_json::Value;

    use crate::testing::{Answered, Server};

    const UPLOAD: &str = "/_matrix/media/v3/upload";

    /// Uploads and returns the path below `download/` and `thumbnail/`.
    async fn upload(server: &Server, token: &str, kind: &str, bytes: &'static [u8]) -> String {
        let request = Request::post(format!("{UPLOAD}?filename=a%20name.bin"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", kind)
            .body(Body::from(bytes));
        let answer = server.request(request.unwrap()).await.ok();
        let uri = answer["content_uri"].as_str().unwrap();
        uri.strip_prefix("mxc://").unwrap().to_owned()
    }

    async fn get(server: &Server, token: &str, path: &str, header: (&str, &str)) -> Answered {
        let request = Request::get(format!("/_matrix/client/v1/media/{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header(header.0, header.1)
            .body(Body::empty());
        server.request(request.unwrap()).await
    }

    #[tokio::test]
    async fn uploads_come_back_under_a_sandbox() {
        let server = Server::new();
        let token = server.user("alice").await;
        let image = upload(&server, &token, "image/png", b"pixels").await;
        let path = format!("download/{image}");
        let answer = get(&server, &token, &path, ("accept", "*/*")).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.bytes),
            (200, &b"pixels"[..])
        );
        for (name, value) in [
            ("content-type", "image/png"),
            ("content-length", "6"),
            ("content-disposition", "inline; filename=\"a name.bin\""),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-content-type-options", "nosniff"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(answer.headers[name], value);
        }
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("sandbox; default-src 'none';"),
            "{policy}"
        );

        let page = upload(&server, &token, "text/html", b"<script>").await;
        let path = format!("download/{page}/p%C3%A4ge.html");
        let answer = get(&server, &token, &path, ("accept", "*/*")).await;
        let disposition = &answer.headers["content-disposition"];
        assert_eq!(disposition, "attachment; filename*=utf-8''p%C3%A4ge.html");
    }

    #[tokio::test]
    async fn parts_and_what_clients_have_already() {
        let server = Server::new();
        let token = server.user("alice").await;
        let file = upload(&server, &token, "video/mp4", b"0123456789").await;
        let path = format!("download/{file}");
        let part = get(&server, &token, &path, ("range", "bytes=2-4")).await;
        assert_eq!((part.status.as_u16(), &*part.bytes), (206, &b"234"[..]));
        assert_eq!(part.headers["content-range"], "bytes 2-4/10");
        assert_eq!(part.headers["content-length"], "3");
        let beyond = get(&server, &token, &path, ("range", "bytes=10-")).await;
        assert_eq!(beyond.status.as_u16(), 416);
        assert_eq!(beyond.headers["content-range"], "bytes */10");
        let tag = part.headers["etag"].to_str().unwrap();
        let known = get(&server, &token, &path, ("if-none-match", tag)).await;
        assert_eq!((known.status.as_u16(), known.bytes.len()), (304, 0));
        let other = get(&server, &token, &path, ("if-none-match", "\"0\"")).await;
        assert_eq!(other.status.as_u16(), 200);
    }

    #[tokio::test]
    async fn thumbnails_are_small_images() {
        let server = Server::new();
        let token = server.user("alice").await;
        let accept = ("accept", "*/*");
        for (kind, expected) in [("image/webp", 200), ("image/svg+xml", 400)] {
            let file = upload(&server, &token, kind, b"pixels").await;
            let path = format!("thumbnail/{file}?width=64&height=64&method=crop");
            let answer = get(&server, &token, &path, accept).await;
            assert_eq!(answer.status.as_u16(), expected, "{kind}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_or_not_allowed_is_refused() {
        let server = Server::new();
        let token = server.user("alice").await;
        let file = upload(&server, &token, "image/png", b"pixels").await;
        for path in [
            format!("/_matrix/client/v1/media/download/{file}"),
            format!("/_matrix/client/v1/media/thumbnail/{file}?width=1&height=1"),
        ] {
            let bare = server.send(Method::GET, &path, None, Value::Null).await;
            assert_eq!(bare.error(), (401, "M_MISSING_TOKEN"));
        }
        let bare = server.send(Method::POST, UPLOAD, None, Value::Null).await;
        assert_eq!(bare.error(), (401, "M_MISSING_TOKEN"));
        let frozen = format!("/_matrix/media/v3/download/{file}");
        let frozen = server.get(&frozen, &token).await;
        assert_eq!(frozen.error(), (404, "M_NOT_FOUND"));
        let missing = "/_matrix/client/v1/media/download/example.org/missing";
        let missing = server.get(missing, &token).await;
        assert_eq!(missing.error(), (404, "M_NOT_FOUND"));
        let remote = "/_matrix/client/v1/media/download/peer.lu/missing";
        let remote = server.get(remote, &token).await;
        assert_eq!(remote.error(), (502, "M_UNKNOWN"));

        let announced = Request::post(UPLOAD)
            .header("authorization", format!("Bearer {token}"))
            .header("content-length", "104857601")
            .body(Body::empty());
        let refused = server.request(announced.unwrap()).await;
        assert_eq!(refused.error(), (413, "M_TOO_LARGE"));
        assert_eq!(refused.headers["connection"], "close");
    }

    #[tokio::test]
    async fn an_id_comes_before_its_content() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let create = "/_matrix/media/v1/create";
        let reserved = server.post(create, &alice, Value::Null).await.ok();
        assert!(reserved["unused_expires_at"].as_u64() > Some(0));
        let uri = reserved["content_uri"].as_str().unwrap();
        let path = uri.strip_prefix("mxc://").unwrap().to_owned();
        let download = format!("/_matrix/client/v1/media/download/{path}");
        let early = server
            .get(&format!("{download}?timeout_ms=0"), &alice)
            .await;
        assert_eq!(early.error(), (504, "M_NOT_YET_UPLOADED"));

        let fill = async |token: &str, path: &str| {
            let request = Request::put(format!("/_matrix/media/v3/upload/{path}?filename=a.txt"))
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "text/plain")
                .body(Body::from("late"));
            server.request(request.unwrap()).await
        };
        assert_eq!(fill(&bob, &path).await.error(), (403, "M_FORBIDDEN"));
        let unknown = fill(&alice, "example.org/unknown").await;
        assert_eq!(unknown.error(), (404, "M_NOT_FOUND"));
        let elsewhere = fill(&alice, "peer.lu/unknown").await;
        assert_eq!(elsewhere.error(), (404, "M_NOT_FOUND"));
        // Whoever waits gets it when it comes.
        let waiting = server.get(&download, &bob);
        let (waited, filled) = tokio::join!(waiting, fill(&alice, &path));
        assert_eq!(filled.ok(), serde_json::json!({}));
        assert_eq!(
            (waited.status.as_u16(), &*waited.bytes),
            (200, &b"late"[..])
        );
        let again = fill(&alice, &path).await;
        assert_eq!(again.error(), (409, "M_CANNOT_OVERWRITE_MEDIA"));
    }

    #[tokio::test]
    async fn only_so_many_ids_wait_for_their_content() {
        let server = Server::new();
        let token = server.user("alice").await;
        let create = "/_matrix/media/v1/create";
        for _ in 0..50 {
            server.post(create, &token, Value::Null).await.ok();
        }
        let refused = server.post(create, &token, Value::Null).await;
        assert_eq!(refused.error(), (429, "M_LIMIT_EXCEEDED"));
        assert!(refused.body["retry_after_ms"].as_u64() > Some(0));
    }

    #[tokio::test]
    async fn an_erased_user_s_media_are_gone() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let hers = upload(&server, &alice, "image/png", b"pixels").await;
        let his = upload(&server, &bob, "image/png", b"pixels").await;
        let path = "/_matrix/client/v3/account/deactivate";
        let mut body = serde_json::json!({ "erase": true });
        let challenge = server.post(path, &alice, body.clone()).await;
        body["auth"] = serde_json::json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": "alice" },
            "password": crate::testing::PASSWORD,
            "session": challenge.body["session"],
        });
        server.post(path, &alice, body).await.ok();
        let accept = ("accept", "*/*");
        let gone = get(&server, &bob, &format!("download/{hers}"), accept).await;
        assert_eq!(gone.error(), (404, "M_NOT_FOUND"));
        let kept = get(&server, &bob, &format!("download/{his}"), accept).await;
        assert_eq!(kept.status.as_u16(), 200);
    }
}
