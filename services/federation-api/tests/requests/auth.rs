use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::fixture::{code, two_servers};

const SEND: &str = "/_matrix/federation/v1/send/1";

#[tokio::test]
async fn requests_must_be_signed() {
    let (_, b) = two_servers();
    let request = Request::put(SEND).body(Body::from("{}")).unwrap();
    let answer = b.answer("a.lu", request).await;
    assert_eq!(code(&answer), (401, "M_UNAUTHORIZED"));
}

#[tokio::test]
async fn the_origin_is_whom_the_certificate_names() {
    let (a, b) = two_servers();
    let body = json!({ "origin": "a.lu", "origin_server_ts": 1, "pdus": [] });
    let request = a.signed(&b, "PUT", SEND, Some(&body));
    let answer = b.answer("evil.lu", request).await;
    assert_eq!(code(&answer), (403, "M_FORBIDDEN"));
    let reason = answer.1["error"].as_str().unwrap();
    assert!(
        reason.contains("evil.lu") && reason.contains("a.lu"),
        "{reason}"
    );

    let request = a.signed(&b, "PUT", SEND, Some(&body));
    let answer = b.answer("a.lu", request).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

#[tokio::test]
async fn a_transaction_in_anothers_name_is_refused() {
    let (a, b) = two_servers();
    let body = json!({ "origin": "evil.lu", "origin_server_ts": 1, "pdus": [] });
    let request = a.signed(&b, "PUT", SEND, Some(&body));
    assert_eq!(code(&b.answer("a.lu", request).await), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn bodies_must_be_json_within_limits() {
    let (a, b) = two_servers();
    let signed = a.signed(&b, "PUT", SEND, Some(&json!({})));
    let with = |body: Vec<u8>| {
        let (parts, _) = a.signed(&b, "PUT", SEND, Some(&json!({}))).into_parts();
        Request::from_parts(parts, Body::from(body))
    };
    let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
    for (body, expected) in [
        (b"{\"a\":".to_vec(), (400, "M_NOT_JSON")),
        (b"{\"a\":1.5}".to_vec(), (400, "M_BAD_JSON")),
        (b"{\"a\":9007199254740993}".to_vec(), (400, "M_BAD_JSON")),
        (vec![0xff, 0xfe], (400, "M_NOT_JSON")),
        (deep, (400, "M_BAD_JSON")),
        (vec![b' '; 17 * 1024 * 1024], (413, "M_TOO_LARGE")),
    ] {
        assert_eq!(code(&b.answer("a.lu", with(body)).await), expected);
    }
    // Signed, but not what the endpoint takes.
    assert_eq!(code(&b.answer("a.lu", signed).await), (400, "M_BAD_JSON"));
}

#[tokio::test]
async fn what_is_not_there_is_unrecognized() {
    let (_, b) = two_servers();
    let unknown = Request::get("/_matrix/federation/v9/nothing")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        code(&b.answer("a.lu", unknown).await),
        (404, "M_UNRECOGNIZED")
    );
    let method = Request::delete("/_matrix/federation/v1/version")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        code(&b.answer("a.lu", method).await),
        (405, "M_UNRECOGNIZED")
    );
}
