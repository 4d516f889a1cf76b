//! Bodies of transactions from another server, signed by it, at the door of the federation API.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#transactions>

#![no_main]

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use luxchat_federation::PeerIdentity;
use luxchat_fuzz::{Input, Nation, with_nation};
use ruma::server_name;
use serde_json::Value;
use tower::ServiceExt;

fuzz_target!(|data: &[u8]| {
    if let Some(input) = Input::parse(data) {
        with_nation(|nation| send(nation, &input));
    }
});

fn send(nation: &mut Nation, input: &Input) {
    let runtime = nation.runtime.handle().clone();
    runtime.block_on(async {
        let (body, answers) = nation.script(input).await;
        nation.two.will_answer(answers);

        let uri = format!("/_matrix/federation/v1/send/{}", nation.input());
        let request = http::Request::put(uri).body(Bytes::from(body.clone()));
        let mut request = request.expect("the path is well-formed");
        // What is not JSON cannot be signed: that is refused elsewhere.
        if serde_json::from_slice::<ruma::CanonicalJsonValue>(request.body()).is_ok() {
            nation.two.sign(&mut request);
        }
        let peer = PeerIdentity::certified(server_name!("two").to_owned());
        request.extensions_mut().insert(peer);
        let router = nation.one.router.clone();
        let response = router.oneshot(request.map(axum::body::Body::from)).await;
        let response = response.unwrap_or_else(|never| match never {});
        let status = response.status();
        let answer = response.into_body().collect().await;
        let answer = answer.expect("the answer is in memory").to_bytes();
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer:?}");
        let answer: Value = serde_json::from_slice(&answer).expect("answers are JSON");
        let expected = if status.is_success() {
            "pdus"
        } else {
            "errcode"
        };
        assert!(answer.get(expected).is_some(), "{answer}");
    });
}
