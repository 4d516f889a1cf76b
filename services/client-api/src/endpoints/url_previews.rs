//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url>

use axum::{
    Router,
    body::Bytes,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{StatusCode, header::CONTENT_TYPE};
use luxchat_http::{ApiError, Endpoints, Matrix};
use luxchat_media::Upload;
use luxchat_previews::Picture;
use ruma::{
    OwnedUserId, UserId,
    api::{
        client::authenticated_media::get_media_preview::v1::Request as Preview, error::ErrorKind,
    },
};
use tracing::debug;

use crate::{State, auth::Session, error::Error};

/// The path that is superseded by the one in [`Preview`]'s history. It takes the same and answers the same.
const OLD_PATHS: [&str; 2] = [
    "/_matrix/media/r0/preview_url",
    "/_matrix/media/v3/preview_url",
];

/// To whom the pictures of pages belong: no account may have this name.
const OWNER: &str = "url-previews";

pub(crate) fn routes() -> Router<State> {
    OLD_PATHS.into_iter().fold(
        Router::new().endpoint::<Preview, _>(preview),
        |router, path| router.endpoint_at::<Preview, _>(path, preview),
    )
}

async fn preview(
    state: State,
    session: Session,
    Matrix(request): Matrix<Preview>,
) -> Result<Response, Error> {
    let Some(previews) = &state.previews else {
        // A box that does not preview is like a server that does not know how.
        let message = "This server previews no pages";
        let error = ApiError::new(StatusCode::NOT_FOUND, ErrorKind::Unrecognized, message);
        return Err(error.into());
    };
    let keep = async |picture: Picture| keep(&state, picture).await;
    let preview = previews
        .preview(&session.user_id, &request.url, keep)
        .await?;
    Ok(([(CONTENT_TYPE, "application/json")], preview).into_response())
}

async fn keep(state: &State, picture: Picture) -> Option<String> {
    let upload = Upload {
        user: owner(state)?,
        content_type: Some(picture.media_type.to_owned()),
        file_name: None,
        length: u64::try_from(picture.bytes.len()).ok(),
    };
    let body = stream::iter([Ok::<Bytes, std::convert::Infallible>(picture.bytes)]);
    match state.media.upload(upload, body).await {
        Ok(media_id) => Some(media_id),
        Err(error) => {
            debug!(%error, "the picture of a page is not kept");
            None
        }
    }
}

fn owner(state: &State) -> Option<OwnedUserId> {
    UserId::parse(format!("@{OWNER}:{}", state.store.server_name())).ok()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use luxchat_accounts::Config as AccountsConfig;
    use luxchat_previews::{Config as PreviewsConfig, Previews};
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use crate::{Config, testing::Server};

    const PREVIEW: &str = "/_matrix/client/v1/media/preview_url";

    /// Serves a page with a picture on this machine; returns its URL.
    async fn page() -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 2048];
                let read = stream.read(&mut request).await.unwrap();
                let is_picture = request[..read].starts_with(b"GET /p.gif");
                let (kind, body) = if is_picture {
                    ("image/gif", &b"GIF89a\x05\0\x04\0\x80\0\0;"[..])
                } else {
                    let page = "<title>Page</title><meta property=og:image content=/p.gif>";
                    ("text/html", page.as_bytes())
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                stream
                    .write_all(&[head.as_bytes(), body].concat())
                    .await
                    .unwrap();
            }
        });
        format!("http://127.0.0.1:{port}/")
    }

    #[tokio::test]
    async fn a_preview_has_its_picture_among_the_media() {
        let config = PreviewsConfig {
            allowed_networks: vec!["127.0.0.1/32".parse().unwrap()],
            ports: Vec::new(),
            ..PreviewsConfig::default()
        };
        let server = Server::with_services_changed(
            AccountsConfig::default(),
            Config::default(),
            Vec::new(),
            |services| {
                let store = services.store.clone();
                services.previews = Some(Previews::new(store, config).unwrap());
            },
        );
        let alice = server.user("alice").await;
        let url = page().await;
        for path in [PREVIEW, super::OLD_PATHS[1]] {
            let asked = format!("{path}?url={url}");
            let refused = server.send(Method::GET, &asked, None, Value::Null).await;
            assert_eq!(refused.error(), (401, "M_MISSING_TOKEN"));
            let found = server.get(&asked, &alice).await.ok();
            assert_eq!(found["og:title"], "Page");
            assert_eq!(found["og:image:width"], 5);
            assert_eq!(found["matrix:image:size"], 14);
            let media_id = found["og:image"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap();
            let picture = format!("/_matrix/client/v1/media/download/example.org/{media_id}");
            let picture = server.get(&picture, &alice).await;
            assert_eq!(picture.status, 200);
        }
        for (wrong, expected) in [
            ("nonsense", (400, "M_INVALID_PARAM")),
            ("http://10.0.0.1/", (502, "M_UNKNOWN")),
        ] {
            let refused = server.get(&format!("{PREVIEW}?url={wrong}"), &alice).await;
            assert_eq!(refused.error(), expected, "{wrong}");
        }
        let nothing = server.get(PREVIEW, &alice).await;
        assert_eq!(nothing.status, 400);
    }

    #[tokio::test]
    async fn a_site_that_wants_none_has_none() {
        let server = Server::with_services_changed(
            AccountsConfig::default(),
            Config::default(),
            Vec::new(),
            |services| services.previews = None,
        );
        let alice = server.user("alice").await;
        let refused = server
            .get(&format!("{PREVIEW}?url=http://a.example/"), &alice)
            .await;
        assert_eq!(refused.error(), (404, "M_UNRECOGNIZED"));
    }
}
