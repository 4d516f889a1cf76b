use ruma::{
    OwnedServerName, ServerName,
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    server_name,
    signatures::Ed25519KeyPair,
};

use super::Unauthenticated;
use crate::{
    ClientCertificates, Config, Federation, PeerIdentity, PlainPeer,
    testing::{Nation, TestBox, active, revoked},
};

const BODY: &[u8] = br#"{"pdus":[]}"#;

/// A request signed by `origin`'s key in the name of `claimed`.
fn request(
    origin: &TestBox,
    claimed: &ServerName,
    destination: &ServerName,
    body: &[u8],
) -> http::Request<Vec<u8>> {
    let version = origin.keys.signing_key_id().version().to_owned();
    let key = Ed25519KeyPair::from_der(&origin.keys.signing_key_pkcs8(), version).unwrap();
    let mut request = http::Request::put("https://b.lu/_matrix/federation/v1/send/1?x=%20y")
        .body(body.to_vec())
        .unwrap();
    let input = XMatrixSigningInput::new(claimed.to_owned(), destination.to_owned(), &key);
    let header = XMatrix::sign_http_request(&request, input).unwrap();
    let header = http::HeaderValue::from(&header);
    request.headers_mut().insert("authorization", header);
    request
}

struct Fixture {
    a: TestBox,
    c: TestBox,
    at_b: Federation,
    _b: TestBox,
}

impl Fixture {
    fn new() -> Self {
        let nation = Nation::new();
        let (a, b, c) = (
            nation.make_box("a.lu"),
            nation.make_box("b.lu"),
            nation.make_box("c.lu"),
        );
        let list = nation.list(&[(&a, active()), (&b, active()), (&c, revoked())]);
        let at_b = b.federation(list);
        Self { a, c, at_b, _b: b }
    }

    async fn verify(
        &self,
        certified: Option<&str>,
        request: http::Request<Vec<u8>>,
    ) -> Result<OwnedServerName, Unauthenticated> {
        let peer = match certified {
            Some(name) => PeerIdentity::certified(ServerName::parse(name).unwrap()),
            None => PeerIdentity::anonymous(),
        };
        self.at_b.verify_request(&peer, &request).await
    }
}

#[tokio::test]
async fn certificate_header_and_signature_agree() {
    let it = Fixture::new();
    let (a, b) = (server_name!("a.lu"), server_name!("b.lu"));
    let origin = it.verify(Some("a.lu"), request(&it.a, a, b, BODY)).await;
    assert_eq!(origin.unwrap(), "a.lu");
}

#[tokio::test]
async fn a_forged_origin_is_refused() {
    let it = Fixture::new();
    let (a, b, c) = (
        server_name!("a.lu"),
        server_name!("b.lu"),
        server_name!("c.lu"),
    );
    // Another name in the header than on the certificate, whoever signed.
    for signer in [&it.a, &it.c] {
        let forged = it.verify(Some("c.lu"), request(signer, a, b, BODY)).await;
        assert!(
            matches!(forged, Err(Unauthenticated::ForgedOrigin { .. })),
            "{forged:?}"
        );
    }
    // The name on the certificate, another's key.
    let forged = it.verify(Some("a.lu"), request(&it.c, a, b, BODY)).await;
    assert!(
        matches!(forged, Err(Unauthenticated::Key { .. })),
        "{forged:?}"
    );
    let own = it.verify(Some("a.lu"), request(&it.a, b, b, BODY)).await;
    assert!(matches!(own, Err(Unauthenticated::OwnName)), "{own:?}");
    let revoked = it.verify(Some("c.lu"), request(&it.c, c, b, BODY)).await;
    assert!(
        matches!(revoked, Err(Unauthenticated::Denied { .. })),
        "{revoked:?}"
    );
    let nobody = it.verify(None, request(&it.a, a, b, BODY)).await;
    assert!(
        matches!(nobody, Err(Unauthenticated::NoCertificate)),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn a_request_that_was_changed_or_is_for_another_is_refused() {
    let it = Fixture::new();
    let (a, b, d) = (
        server_name!("a.lu"),
        server_name!("b.lu"),
        server_name!("d.lu"),
    );
    let mut changed = request(&it.a, a, b, BODY);
    *changed.body_mut() = br#"{"pdus":[1]}"#.to_vec();
    let refused = it.verify(Some("a.lu"), changed).await;
    assert!(
        matches!(refused, Err(Unauthenticated::Signature { .. })),
        "{refused:?}"
    );

    let mut moved = request(&it.a, a, b, BODY);
    *moved.uri_mut() = "https://b.lu/_matrix/federation/v1/send/2".parse().unwrap();
    let refused = it.verify(Some("a.lu"), moved).await;
    assert!(
        matches!(refused, Err(Unauthenticated::Signature { .. })),
        "{refused:?}"
    );

    let refused = it.verify(Some("a.lu"), request(&it.a, a, d, BODY)).await;
    assert!(
        matches!(refused, Err(Unauthenticated::OtherDestination(_))),
        "{refused:?}"
    );

    let unsigned = http::Request::new(BODY.to_vec());
    let refused = it.verify(Some("a.lu"), unsigned).await;
    assert!(
        matches!(refused, Err(Unauthenticated::Header(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn only_plain_peers_speak_without_a_certificate() {
    let nation = Nation::new();
    let [a, b, plain] = ["a.lu", "b.lu", "plain.lu"].map(|name| nation.make_box(name));
    let peer = |server: &TestBox| {
        let peer = PlainPeer {
            // Nobody listens there.
            endpoints: vec!["127.0.0.1:1".parse().unwrap()],
            authorities: Vec::new(),
        };
        (server.name.clone(), peer)
    };
    // Where the site names a member as well, only the list speaks of it.
    let config = Config {
        client_certificates: ClientCertificates::Optional,
        plain_peers: [peer(&a), peer(&plain)].into(),
        ..Config::default()
    };
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let at_b = b.federation_with(Some(list), &config);
    let ask = async |server: &TestBox| {
        let request = request(server, &server.name, &b.name, BODY);
        at_b.verify_request(&PeerIdentity::anonymous(), &request)
            .await
    };
    let member = ask(&a).await.unwrap_err();
    assert!(
        matches!(member, Unauthenticated::NoCertificate),
        "{member:?}"
    );
    let stranger = ask(&nation.make_box("stranger.lu")).await.unwrap_err();
    assert!(
        matches!(stranger, Unauthenticated::NoCertificate),
        "{stranger:?}"
    );
    // Its keys are not to be had here, but its claim is heard.
    let known = ask(&plain).await.unwrap_err();
    assert!(matches!(known, Unauthenticated::Key { .. }), "{known:?}");
    assert_eq!(at_b.membership().plain_servers(), [plain.name]);
}
