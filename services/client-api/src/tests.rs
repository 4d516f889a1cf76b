//! What holds for every endpoint: authentication, limits, malformed requests, unknown endpoints.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use luxchat_accounts::Config as AccountsConfig;
use luxchat_http::Limits;
use ruma::user_id;
use serde_json::{Value, json};

use crate::{Config, Rate, RateLimits, testing::Server};

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

#[tokio::test]
async fn authentication_fails_with_its_reason() {
    let server = Server::new();
    let token = server.user("alice").await;
    let bare = server.send(Method::GET, WHOAMI, None, Value::Null).await;
    assert_eq!(bare.error(), (401, "M_MISSING_TOKEN"));
    let wrong = server.get(WHOAMI, "wrong").await;
    assert_eq!(wrong.error(), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(wrong.body["soft_logout"], Value::Null);
    let query = format!("{WHOAMI}?access_token={token}");
    let by_query = server.send(Method::GET, &query, None, Value::Null).await;
    assert_eq!(by_query.ok()["user_id"], "@alice:example.org");

    let alice = user_id!("@alice:example.org");
    let accounts = &server.services.accounts;
    accounts.set_locked(alice, true).await.unwrap();
    let locked = server.get(WHOAMI, &token).await;
    assert_eq!(locked.error(), (401, "M_USER_LOCKED"));
    assert_eq!(locked.body["soft_logout"], true);
    assert_eq!(
        server.log_in("alice", json!({})).await.error(),
        (401, "M_USER_LOCKED")
    );
}

#[tokio::test]
async fn an_expired_token_is_a_soft_logout() {
    let accounts = AccountsConfig {
        access_token_lifetime: Duration::ZERO,
        ..AccountsConfig::default()
    };
    let server = Server::with(accounts, Config::default());
    server.user("alice").await;
    let login = server
        .log_in("alice", json!({ "refresh_token": true }))
        .await
        .ok();
    assert_eq!(login["expires_in_ms"], 0);
    let token = login["access_token"].as_str().unwrap();
    let expired = server.get(WHOAMI, token).await;
    assert_eq!(expired.error(), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(expired.body["soft_logout"], true);

    let refresh = async |token: &Value| {
        let body = json!({ "refresh_token": token });
        let path = "/_matrix/client/v3/refresh";
        server.send(Method::POST, path, None, body).await
    };
    let refreshed = refresh(&login["refresh_token"]).await.ok();
    assert_ne!(refreshed["access_token"], login["access_token"]);
    assert!(refreshed["refresh_token"].is_string());
    let unknown = refresh(&json!("lxr_none")).await;
    assert_eq!(unknown.error(), (401, "M_UNKNOWN_TOKEN"));
}

#[tokio::test]
async fn unknown_endpoints_and_methods_are_unrecognized() {
    let server = Server::new();
    for path in ["/", "/_matrix/client/v3/nothing", "/_matrix/client/v9/sync"] {
        let unknown = server.get(path, "t").await;
        assert_eq!(unknown.error(), (404, "M_UNRECOGNIZED"), "{path}");
    }
    let method = server.post(WHOAMI, "t", json!({})).await;
    assert_eq!(method.error(), (405, "M_UNRECOGNIZED"));
}

#[tokio::test]
async fn browsers_of_any_origin_may_ask() {
    let server = Server::new();
    let preflight = Request::options(WHOAMI)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .body(Body::empty())
        .unwrap();
    let answer = server.request(preflight).await;
    assert!(answer.status.is_success());
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let methods = answer.headers["access-control-allow-methods"]
        .to_str()
        .unwrap();
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        assert!(methods.contains(method), "{methods}");
    }
    let headers = answer.headers["access-control-allow-headers"]
        .to_str()
        .unwrap();
    for header in ["x-requested-with", "content-type", "authorization"] {
        assert!(headers.contains(header), "{headers}");
    }
    let refused = server.get(WHOAMI, "wrong").await;
    assert_eq!(refused.headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn malformed_bodies_are_refused_for_what_they_are() {
    let server = Server::new();
    let token = server.user("alice").await;
    let path = "/_matrix/client/v3/user/@alice:example.org/account_data/org.example";
    let put = async |body: Vec<u8>| {
        let request = Request::put(path)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body))
            .unwrap();
        let answer = server.request(request).await;
        let (status, code) = answer.error();
        (status, code.to_owned())
    };
    let error = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(put(b"{\"a\":".to_vec()).await, error(400, "M_NOT_JSON"));
    assert_eq!(
        put(b"{\"a\":\"\xff\"}".to_vec()).await,
        error(400, "M_NOT_JSON")
    );
    assert_eq!(put(b"[]".to_vec()).await, error(400, "M_BAD_JSON"));
    let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
    let deep = [b"{\"a\":".to_vec(), deep, b"}".to_vec()].concat();
    assert_eq!(put(deep).await, error(400, "M_BAD_JSON"));
    let wide = format!("{{\"a\":[{}1]}}", "[1],".repeat(1_000));
    assert_eq!(put(wide.into_bytes()).await, error(200, ""));

    let login = "/_matrix/client/v3/login";
    for (body, expected) in [
        (json!({}), (400, "M_BAD_JSON")),
        (json!([1]), (400, "M_BAD_JSON")),
        (json!({ "type": 7 }), (400, "M_BAD_JSON")),
        (json!({ "type": "m.login.password" }), (400, "M_BAD_JSON")),
        (json!({ "type": "m.login.unheard_of" }), (400, "M_UNKNOWN")),
    ] {
        let answer = server.send(Method::POST, login, None, body.clone()).await;
        assert_eq!(answer.error(), expected, "{body}");
    }
}

#[tokio::test]
async fn bad_identifiers_are_refused() {
    let server = Server::new();
    let token = server.user("alice").await;
    for path in [
        "/_matrix/client/v3/profile/nobody",
        "/_matrix/client/v3/profile/%FF",
        "/_matrix/client/v3/user/@alice:example.org/rooms/nowhere/tags",
    ] {
        let answer = server.get(path, &token).await;
        assert_eq!(answer.error(), (400, "M_INVALID_PARAM"), "{path}");
    }
    let encoded = "/_matrix/client/v3/profile/%40alice%3Aexample.org";
    server.get(encoded, &token).await.ok();
}

#[tokio::test]
async fn oversize_bodies_are_refused_announced_or_not() {
    let limits = Limits {
        body_bytes: 1_000,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let server = Server::with(AccountsConfig::default(), config);
    let send = async |length: Option<&str>, bytes: usize| {
        let mut request = Request::post("/_matrix/client/v3/login");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(Body::from(vec![b' '; bytes])).unwrap();
        let answer = server.request(request).await;
        let (status, code) = answer.error();
        (status, code.to_owned())
    };
    let too_large = (413, "M_TOO_LARGE".to_owned());
    assert_eq!(send(Some("1001"), 0).await, too_large);
    assert_eq!(send(None, 1_001).await, too_large);
    assert_eq!(send(None, 1_000).await, (400, "M_NOT_JSON".to_owned()));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        body_time: Duration::from_millis(10),
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let server = Server::with(AccountsConfig::default(), config);
    let never = Body::from_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let request = Request::post("/_matrix/client/v3/login")
        .body(never)
        .unwrap();
    assert_eq!(server.request(request).await.error(), (408, "M_UNKNOWN"));
}

#[tokio::test]
async fn whoever_asks_too_fast_waits() {
    // However long the passwords take, no bucket fills up again.
    let rate = |burst| Rate {
        every: Duration::from_hours(1),
        ..Rate::new(burst, 1)
    };
    let rates = RateLimits {
        user: rate(3),
        address: rate(4),
        login: rate(2),
    };
    let config = Config {
        rate_limits: Some(rates),
        ..Config::default()
    };
    let server = Server::with(AccountsConfig::default(), config);
    let alice = server.user("alice").await;
    let bob = server.user("bob").await;
    let third = server.log_in("alice", json!({})).await;
    assert_eq!(third.error(), (429, "M_LIMIT_EXCEEDED"));

    for _ in 0..3 {
        server.get(WHOAMI, &alice).await.ok();
    }
    let refused = server.get(WHOAMI, &alice).await;
    assert_eq!(refused.error(), (429, "M_LIMIT_EXCEEDED"));
    assert!(refused.body["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(refused.headers.contains_key("retry-after"));
    server.get(WHOAMI, &bob).await.ok();

    // Three of the address's four went into logins; guessing tokens takes from it, too.
    let guess = server.get(WHOAMI, "guess").await;
    assert_eq!(guess.error(), (401, "M_UNKNOWN_TOKEN"));
    let guess = server.get(WHOAMI, "guess").await;
    assert_eq!(guess.error(), (429, "M_LIMIT_EXCEEDED"));
}

#[tokio::test]
async fn limits_can_be_off() {
    let config = Config {
        rate_limits: None,
        ..Config::default()
    };
    let server = Server::with(AccountsConfig::default(), config);
    let token = server.user("alice").await;
    for _ in 0..450 {
        server.get(WHOAMI, &token).await.ok();
    }
}

#[tokio::test]
async fn a_suspended_user_reads_and_does_not_speak() {
    let server = Server::new();
    let token = server.user("alice").await;
    let alice = user_id!("@alice:example.org");
    server
        .services
        .accounts
        .set_suspended(alice, true)
        .await
        .unwrap();
    server.get(WHOAMI, &token).await.ok();
    let path = "/_matrix/client/v3/profile/@alice:example.org/displayname";
    let refused = server
        .put(path, &token, json!({ "displayname": "A" }))
        .await;
    assert_eq!(refused.error(), (403, "M_USER_SUSPENDED"));
}

#[tokio::test]
async fn what_is_absent_is_left_out() {
    let accounts = AccountsConfig {
        registration: luxchat_accounts::Registration {
            open: true,
            ..luxchat_accounts::Registration::default()
        },
        ..AccountsConfig::default()
    };
    let server = Server::with(accounts, Config::default());
    let request = json!({
        "username": "alice",
        "password": crate::testing::PASSWORD,
        "auth": { "type": "m.login.dummy" },
        "inhibit_login": true,
    });
    let path = "/_matrix/client/v3/register";
    let registered = server.send(Method::POST, path, None, request).await.ok();
    assert_eq!(registered, json!({ "user_id": "@alice:example.org" }));

    let login = server.log_in("alice", json!({})).await.ok();
    let token = login["access_token"].as_str().unwrap();
    let listed = server.get("/_matrix/client/v3/devices", token).await.ok();
    let device = json!({ "device_id": login["device_id"] });
    assert_eq!(listed["devices"][0], device);
}

/// Endpoints that look at no session, as the specification has them. Those for anyone that take an `Option<Session>` are
/// not among them: a token that they are shown counts, and a wrong one is limited by address.
const PUBLIC: &[(&str, &str)] = &[
    // Its secret is the name of the event.
    ("delayed_events.rs", "change"),
    ("discovery.rs", "homeserver"),
    ("discovery.rs", "support"),
    ("discovery.rs", "supported_versions"),
    ("email.rs", "no_phone_for_password"),
    ("email.rs", "no_phone_for_registration"),
    ("email.rs", "no_phone_to_add"),
    ("email.rs", "send_for_adding"),
    ("email.rs", "send_for_password"),
    ("email.rs", "send_for_registration"),
    ("fallback_pages.rs", "ask"),
    ("fallback_pages.rs", "login_page"),
    ("login.rs", "log_in"),
    ("login.rs", "login_types"),
    ("login.rs", "refresh"),
    // Frozen by the specification, which asks for no token there.
    ("media.rs", "frozen_download"),
    ("media.rs", "frozen_download_as"),
    ("media.rs", "frozen_thumbnail"),
    ("register.rs", "is_available"),
    ("register.rs", "is_token_valid"),
    ("register.rs", "register"),
];

#[test]
fn every_other_endpoint_asks_for_a_session() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/endpoints");
    let mut checked = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = std::fs::read_to_string(&path).unwrap();
        for handler in handlers(&source) {
            let has_session = arguments(&source, handler).contains("Session");
            let is_public = PUBLIC.contains(&(name, handler));
            assert_ne!(has_session, is_public, "{name}: {handler}");
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} endpoints were found");
}

#[test]
fn the_administration_api_is_for_administrators() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("src/endpoints/synapse_admin");
    let mut checked = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let Some((_, routes)) = source.split_once("fn routes()") else {
            continue;
        };
        let (routes, _) = routes.split_once("\n}").unwrap();
        for method in ["get(", "post(", "put(", "delete("] {
            for call in routes.split(method).skip(1) {
                let (handler, _) = call.split_once(')').unwrap();
                let arguments = arguments(&source, handler);
                assert!(arguments.contains("Admin"), "{}: {handler}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "only {checked} endpoints were found");
}

/// What a handler takes.
fn arguments<'s>(source: &'s str, handler: &str) -> &'s str {
    source
        .split_once(&format!("async fn {handler}("))
        .and_then(|(_, rest)| rest.split_once("->"))
        .map_or("", |(arguments, _)| arguments)
}

/// The names of the functions that a file routes endpoints to.
fn handlers(source: &str) -> impl Iterator<Item = &str> {
    source
        .split(".endpoint")
        .skip(1)
        .filter_map(|call| call.split_once('(')?.1.split_once(')'))
        .filter_map(|(arguments, _)| arguments.rsplit(',').next())
        .map(str::trim)
}
