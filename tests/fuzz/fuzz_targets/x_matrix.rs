//! `Authorization` headers of requests from another server.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

#![no_main]

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use luxchat_federation::PeerIdentity;
use luxchat_fuzz::{Nation, with_nation};
use ruma::server_name;
use tower::ServiceExt;

/// Stands for the signature that the peer makes for the request.
const SIGNATURE: &[u8] = b"SIG";

fuzz_target!(|data: &[u8]| {
    if let Some((mode, lines)) = data.split_first() {
        with_nation(|nation| verify(nation, *mode, lines));
    }
});

fn verify(nation: &mut Nation, mode: u8, text: &[u8]) {
    let has_body = mode & 1 != 0;
    let path = if mode & 2 != 0 {
        "/_matrix/federation/v1/query/profile?user_id=%40alice%3Aone"
    } else {
        "/_matrix/federation/v1/version?a=b%20c"
    };
    let method = if has_body { Method::PUT } else { Method::GET };
    let body = Bytes::from_static(if has_body { b"{\"a\":1}" } else { b"" });
    let request = http::Request::builder().method(method).uri(path).body(body);
    let mut request = request.expect("the path is well-formed");
    let signature = nation.two.signature(&request).encode();
    let mut is_signed = false;
    for line in text.split(|byte| *byte == b'\n').take(8) {
        let at = line
            .windows(SIGNATURE.len())
            .position(|word| word == SIGNATURE);
        let line = match at {
            Some(at) => {
                is_signed = true;
                let (before, rest) = line.split_at(at);
                [before, signature.as_bytes(), &rest[SIGNATURE.len()..]].concat()
            }
            None => line.to_vec(),
        };
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            request.headers_mut().append(AUTHORIZATION, value);
        }
    }
    let peer = match mode & 12 {
        4 => PeerIdentity::anonymous(),
        8 => PeerIdentity::certified(server_name!("three").to_owned()),
        _ => PeerIdentity::certified(server_name!("two").to_owned()),
    };
    let runtime = nation.runtime.handle().clone();
    runtime.block_on(async {
        let federation = &nation.one.federation;
        let verified = federation.verify_request(&peer, &request).await;
        let origin = verified.as_ref().ok();
        if let Some(origin) = origin {
            assert!(is_signed, "nobody signed, yet {origin} asks");
            assert_eq!(origin, "two");
            assert_ne!(mode & 12, 8, "the certificate names another server");
        }
        request.extensions_mut().insert(peer);
        let router = nation.one.router.clone();
        let response = router.oneshot(request.map(axum::body::Body::from)).await;
        let status = response.unwrap_or_else(|never| match never {}).status();
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR);
        if mode & 3 == 2 {
            let is_let_in = matches!(status, StatusCode::OK | StatusCode::NOT_FOUND);
            assert_eq!(is_let_in, verified.is_ok(), "{status} {verified:?}");
        }
    });
}
