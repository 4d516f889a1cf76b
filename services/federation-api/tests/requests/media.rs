//! Media of one server, asked for by the other.

use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use http::StatusCode;
use http_body_util::BodyExt;
use luxchat_federation::PeerIdentity;
use luxchat_media::{Error, Upload};
use ruma::ServerName;
use tower::ServiceExt;

use crate::fixture::{Server, code, two_servers};

const PATIENCE: Duration = Duration::from_secs(20);

async fn upload(server: &Server, content_type: &str, bytes: &'static [u8]) -> String {
    let upload = Upload {
        user: server.user("alice").await,
        content_type: Some(content_type.to_owned()),
        file_name: Some("name.bin".to_owned()),
        length: None,
    };
    let body = stream::iter([Ok::<_, Error>(bytes.into())]);
    server.media.upload(upload, body).await.unwrap()
}

#[tokio::test]
async fn media_cross_whole() {
    let (a, b) = two_servers();
    let id = upload(&a, "image/gif", b"a picture").await;
    let found = b.media.get(a.name(), &id, PATIENCE).await.unwrap();
    assert_eq!(found.content_type(), "image/gif");
    let chunks: Vec<_> = found.read(0, 9).try_collect().await.unwrap();
    assert_eq!(chunks.concat(), b"a picture");
    let missing = b.media.get(a.name(), "missing", PATIENCE).await;
    assert!(matches!(missing, Err(Error::NotFound)), "{missing:?}");
}

#[tokio::test]
async fn an_upload_that_is_still_to_come_is_waited_for() {
    let (a, b) = two_servers();
    let reserved = a.media.reserve(a.user("alice").await).await.unwrap();
    let id = reserved.media_id;
    let none = Duration::ZERO;
    let path = format!("/_matrix/federation/v1/media/download/{id}?timeout_ms=0");
    let answer = a.answer("b.lu", b.signed(&a, "GET", &path, None)).await;
    assert_eq!(code(&answer), (504, "M_NOT_YET_UPLOADED"));
    let early = b.media.get(a.name(), &id, none).await;
    assert!(matches!(early, Err(Error::NotYet)), "{early:?}");

    let upload = Upload {
        user: a.user("alice").await,
        content_type: None,
        file_name: None,
        length: None,
    };
    let body = stream::iter([Ok::<_, Error>("it came".into())]);
    let fill = a.media.upload_to(a.name(), &id, upload, body);
    let (found, filled) = tokio::join!(b.media.get(a.name(), &id, PATIENCE), fill);
    filled.unwrap();
    assert_eq!(found.unwrap().size(), 7);
}

#[tokio::test]
async fn an_answer_is_multipart_and_says_its_length() {
    let (a, b) = two_servers();
    let id = upload(&a, "text/html", b"<html>").await;
    let path = format!("/_matrix/federation/v1/media/download/{id}");
    let mut request = b.signed(&a, "GET", &path, None);
    let peer = PeerIdentity::certified(ServerName::parse("b.lu").unwrap());
    request.extensions_mut().insert(peer);
    let answer = a.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let headers = answer.headers().clone();
    let kind = headers["content-type"].to_str().unwrap();
    let boundary = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(headers["content-length"], body.len().to_string());
    let expected = format!(
        "--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n\
         Content-Type: text/html\r\nContent-Disposition: attachment; filename=name.bin\r\n\r\n\
         <html>\r\n--{boundary}--\r\n"
    );
    assert_eq!(body, expected);
}

#[tokio::test]
async fn thumbnails_are_of_images_alone_and_strangers_get_nothing() {
    let (a, b) = two_servers();
    let id = upload(&a, "text/plain", b"no image").await;
    let path = format!("/_matrix/federation/v1/media/thumbnail/{id}?width=32&height=32");
    let answer = a.answer("b.lu", b.signed(&a, "GET", &path, None)).await;
    assert_eq!(code(&answer), (400, "M_UNKNOWN"));
    let unsigned = http::Request::get(&path).body(axum::body::Body::empty());
    let answer = a.answer("b.lu", unsigned.unwrap()).await;
    assert_eq!(code(&answer), (401, "M_UNAUTHORIZED"));
}
