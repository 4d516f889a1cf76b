//! What clients may send to a box and must not: each the specific error, and the box serves on.

use anyhow::{Result, ensure};
use luxchat_testkit::{Kit, PASSWORD};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::health::assert_healthy;

const BOX: &str = "interieur";
const API: &str = "/_matrix/client/v3";

/// A client that sends whatever bytes it is told to.
struct Raw {
    base_url: String,
    authorization: Option<String>,
    http: reqwest::Client,
}

impl Raw {
    async fn logged_in(kit: &Kit, localpart: &str) -> Result<Self> {
        kit.agent(BOX, localpart).await?;
        let mut raw = Self {
            base_url: kit.base_url(BOX)?.trim_end_matches('/').to_owned(),
            authorization: None,
            http: reqwest::Client::new(),
        };
        let login = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": localpart },
            "password": PASSWORD,
        });
        let path = format!("{API}/login");
        let (status, session) = raw.send(Method::POST, &path, login.to_string()).await?;
        ensure!(status == 200, "{session}");
        let token = session["access_token"].as_str().unwrap_or_default();
        raw.authorization = Some(format!("Bearer {token}"));
        Ok(raw)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<(u16, Value)> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base_url));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = request.body(body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn assert_refused(
        &self,
        (method, path, body): (Method, &str, impl Into<reqwest::Body>),
        expected: (u16, &str),
    ) -> Result<()> {
        let (status, answer) = self.send(method, path, body).await?;
        let code = answer["errcode"].as_str().unwrap_or_default();
        ensure!(
            (status, code) == expected,
            "{path}: {status} {answer}, not {expected:?}"
        );
        Ok(())
    }
}

fn nested(depth: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn bodies_are_refused_for_what_they_are() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = Raw::logged_in(&kit, "alice").await?;
    let path = format!("{API}/createRoom");
    for (body, expected) in [
        (b"{\"preset\":".to_vec(), (400, "M_NOT_JSON")),
        (b"{\"name\":\"\xff\xfe\"}".to_vec(), (400, "M_NOT_JSON")),
        (b"{\"name\":\"\\ud800\"}".to_vec(), (400, "M_NOT_JSON")),
        (b"{} {}".to_vec(), (400, "M_NOT_JSON")),
        (b"nil".to_vec(), (400, "M_NOT_JSON")),
        (b"[]".to_vec(), (400, "M_BAD_JSON")),
        (b"{\"preset\":7}".to_vec(), (400, "M_BAD_JSON")),
        (b"{\"invite\":[\"nobody\"]}".to_vec(), (400, "M_BAD_JSON")),
        (
            b"{\"room_version\":\"0\"}".to_vec(),
            (400, "M_UNSUPPORTED_ROOM_VERSION"),
        ),
        (nested(500).into_bytes(), (400, "M_BAD_JSON")),
        (vec![b'['; 900_000], (400, "M_NOT_JSON")),
        (vec![b' '; 2 * 1024 * 1024], (413, "M_TOO_LARGE")),
    ] {
        let request = (Method::POST, path.as_str(), body);
        alice.assert_refused(request, expected).await?;
    }
    assert_healthy(&kit, BOX).await
}

#[tokio::test]
async fn events_are_refused_for_what_they_are() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = Raw::logged_in(&kit, "alice").await?;
    let (_, room) = alice
        .send(Method::POST, &format!("{API}/createRoom"), "{}")
        .await?;
    let room = room["room_id"].as_str().unwrap_or_default();
    let long = "x".repeat(256);
    let message = format!("{API}/rooms/{room}/send/m.room.message/1");
    let huge = json!({ "body": "x".repeat(70_000) }).to_string();
    let send = |kind: &str| format!("{API}/rooms/{room}/send/{kind}/1");
    let state = |rest: &str| format!("{API}/rooms/{room}/state/{rest}");
    for (path, body, expected) in [
        (message.clone(), "{\"a\":1.5}", (400, "M_BAD_JSON")),
        (message.clone(), "{\"a\":1e3}", (400, "M_BAD_JSON")),
        (
            message.clone(),
            "{\"a\":[{\"b\":9007199254740992}]}",
            (400, "M_BAD_JSON"),
        ),
        (
            message.clone(),
            "{\"a\":-9007199254740992}",
            (400, "M_BAD_JSON"),
        ),
        (
            message.clone(),
            "{\"a\":123456789012345678901234567890}",
            (400, "M_BAD_JSON"),
        ),
        (message.clone(), "\"text\"", (400, "M_BAD_JSON")),
        (message.clone(), huge.as_str(), (413, "M_TOO_LARGE")),
        (send(&long), "{}", (413, "M_TOO_LARGE")),
        (
            state(&format!("lu.test/{long}")),
            "{}",
            (413, "M_TOO_LARGE"),
        ),
        (
            state("m.room.power_levels/"),
            "{\"users\":{\"nobody\":1}}",
            (403, "M_FORBIDDEN"),
        ),
        (state("m.room.create/"), "{}", (400, "M_INVALID_PARAM")),
        (
            format!("{API}/rooms/nonsense/send/m.room.message/1"),
            "{}",
            (400, "M_INVALID_PARAM"),
        ),
        (
            format!("{API}/rooms/{room}/send/%ff/1"),
            "{}",
            (400, "M_INVALID_PARAM"),
        ),
    ] {
        alice
            .assert_refused((Method::PUT, &path, body.to_owned()), expected)
            .await?;
    }
    // After all that the same transaction id is still free, and the room still takes what is right.
    let (status, answer) = alice
        .send(Method::PUT, &message, "{\"body\":\"\\u0000\"}")
        .await?;
    ensure!(status == 200, "{answer}");
    assert_healthy(&kit, BOX).await
}

#[tokio::test]
async fn tokens_paths_and_queries_are_refused_for_what_they_are() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = Raw::logged_in(&kit, "alice").await?;
    for (method, path, expected) in [
        (Method::GET, "/", (404, "M_UNRECOGNIZED")),
        (
            Method::GET,
            "/_matrix/client/v9/sync",
            (404, "M_UNRECOGNIZED"),
        ),
        (
            Method::GET,
            "/_matrix/federation/v1/state/!a:b.lu",
            (404, "M_UNRECOGNIZED"),
        ),
        (
            Method::POST,
            "/_matrix/client/v3/sync",
            (405, "M_UNRECOGNIZED"),
        ),
        (
            Method::GET,
            "/_matrix/client/v3/sync?since=garbage",
            (400, "M_INVALID_PARAM"),
        ),
        (
            Method::GET,
            "/_matrix/client/v3/sync?since=%ff",
            (400, "M_INVALID_PARAM"),
        ),
        (
            Method::GET,
            "/_matrix/client/v3/sync?timeout=-1",
            (400, "M_INVALID_PARAM"),
        ),
        (
            Method::GET,
            "/_matrix/client/v3/rooms/!a:b.lu/messages?dir=x",
            (403, "M_FORBIDDEN"),
        ),
        (
            Method::GET,
            "/_matrix/client/v3/rooms/!a:b.lu/event/x%00",
            (400, "M_INVALID_PARAM"),
        ),
        (
            Method::GET,
            "/_matrix/client/v3/profile/nobody",
            (400, "M_INVALID_PARAM"),
        ),
    ] {
        alice.assert_refused((method, path, ""), expected).await?;
    }
    let whoami = || (Method::GET, "/_matrix/client/v3/account/whoami", "");
    for (authorization, expected) in [
        (None, (401, "M_MISSING_TOKEN")),
        (Some("Bearer wrong"), (401, "M_UNKNOWN_TOKEN")),
        (Some("Basic YWxpY2U6cGFzcw=="), (401, "M_MISSING_TOKEN")),
    ] {
        let other = Raw {
            authorization: authorization.map(ToOwned::to_owned),
            base_url: alice.base_url.clone(),
            http: alice.http.clone(),
        };
        other.assert_refused(whoami(), expected).await?;
    }
    assert_healthy(&kit, BOX).await
}

/// Whatever a client sends to whichever endpoint: the answer is no error of the box's.
#[tokio::test]
async fn requests_that_make_no_sense_are_the_clients_error() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = Raw::logged_in(&kit, "alice").await?;
    let (_, room) = alice
        .send(Method::POST, &format!("{API}/createRoom"), "{}")
        .await?;
    let room = room["room_id"].as_str().unwrap_or_default();
    let me = format!("@alice:{BOX}.demo.lu");
    let bodies = [
        String::new(),
        "{}".to_owned(),
        "{\"".to_owned(),
        nested(90),
        json!({ "user_id": 1, "membership": [], "device_keys": [], "one_time_keys": 7, "type": {}, "auth": 3 }).to_string(),
        json!({ "user_id": "@x:y", "reason": "\u{0}", "typing": "yes", "timeout": -1, "limit": -1, "since": "x" }).to_string(),
        json!({ "messages": { "x": { "*": 1 } }, "rooms": [1], "room": { "timeline": { "limit": 1e300 } } }).to_string(),
        json!({ "auth": { "type": "m.login.password", "session": "\u{202e}" }, "new_version": "", "displayname": {} }).to_string(),
    ];
    for (method, path) in [
        (Method::POST, "/login".to_owned()),
        (Method::POST, "/refresh".to_owned()),
        (Method::POST, "/register".to_owned()),
        (Method::POST, "/account/password".to_owned()),
        (Method::POST, "/account/deactivate".to_owned()),
        (Method::POST, "/keys/upload".to_owned()),
        (Method::POST, "/keys/query".to_owned()),
        (Method::POST, "/keys/claim".to_owned()),
        (Method::POST, "/keys/signatures/upload".to_owned()),
        (Method::POST, "/keys/device_signing/upload".to_owned()),
        (Method::GET, "/keys/changes?from=x&to=y".to_owned()),
        (Method::POST, "/room_keys/version".to_owned()),
        (Method::PUT, "/room_keys/keys?version=x".to_owned()),
        (Method::PUT, "/sendToDevice/lu.test/1".to_owned()),
        (Method::PUT, "/devices/x".to_owned()),
        (Method::POST, "/delete_devices".to_owned()),
        (Method::PUT, format!("/profile/{me}/displayname")),
        (Method::PUT, format!("/user/{me}/account_data/lu.test")),
        (Method::POST, format!("/user/{me}/filter")),
        (
            Method::GET,
            format!("/user/{me}/filter/99999999999999999999"),
        ),
        (Method::PUT, format!("/user/{me}/rooms/{room}/tags/u.x")),
        (Method::POST, "/publicRooms".to_owned()),
        (Method::GET, "/publicRooms?limit=x&since=y".to_owned()),
        (
            Method::PUT,
            "/directory/room/%23x:interieur.demo.lu".to_owned(),
        ),
        (Method::PUT, format!("/directory/list/room/{room}")),
        (Method::POST, format!("/join/{room}x")),
        (Method::POST, "/knock/%23x:nowhere".to_owned()),
        (Method::POST, format!("/rooms/{room}/invite")),
        (Method::POST, format!("/rooms/{room}/kick")),
        (Method::POST, format!("/rooms/{room}/ban")),
        (Method::POST, format!("/rooms/{room}/upgrade")),
        (Method::POST, format!("/rooms/{room}/read_markers")),
        (Method::POST, format!("/rooms/{room}/receipt/m.read/$x")),
        (Method::PUT, format!("/rooms/{room}/typing/{me}")),
        (
            Method::PUT,
            format!("/rooms/{room}/state/m.room.member/{me}x"),
        ),
        (
            Method::PUT,
            format!("/rooms/{room}/state/m.room.join_rules"),
        ),
        (Method::PUT, format!("/rooms/{room}/redact/$x/1")),
        (
            Method::GET,
            format!("/rooms/{room}/messages?dir=b&from=%00&limit=99999999999"),
        ),
        (Method::GET, format!("/rooms/{room}/context/$x?limit=-1")),
        (
            Method::GET,
            format!("/rooms/{room}/members?at=x&membership=y"),
        ),
        (Method::GET, "/sync?filter=%7B%22room%22%3A1%7D".to_owned()),
    ] {
        for body in &bodies {
            let path = format!("{API}{path}");
            let (status, answer) = alice.send(method.clone(), &path, body.clone()).await?;
            let told = status == 200 || answer["errcode"].is_string() || answer["flows"].is_array();
            ensure!(
                status < 500 && told,
                "{method} {path} {body}: {status} {answer}"
            );
        }
    }
    assert_healthy(&kit, BOX).await
}

/// What is no HTTP, or too much of it, ends the connection or is refused, and nothing more.
#[tokio::test]
async fn what_is_no_http_does_no_harm() -> Result<()> {
    let kit = Kit::start().await?;
    let address = kit.running(BOX)?.client_address();
    let long_header = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    for bytes in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        long_header.as_bytes(),
    ] {
        let mut socket = TcpStream::connect(address).await?;
        // The box may have closed the connection before all was written.
        let _ = socket.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        ensure!(refused, "{answer}");
    }
    assert_healthy(&kit, BOX).await
}
