//! Handshakes that hold and handshakes that must not, over real sockets.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use jiff::SignedDuration;
use luxchat_bundle::Bundle;
use ruma::{
    ServerName,
    api::federation::discovery::get_server_version::v1::{Request as Version, Response},
    server_name,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, version::TLS13};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    ClientCertificates, Config, Error, Federation, PeerIdentity, Result,
    testing::{Nation, TestBox, active, now, revoked, suspended},
};

/// Answers with the peer's name as the server's version.
fn router() -> Router {
    let version = async |Extension(peer): Extension<PeerIdentity>| {
        let name = peer.server_name().map(ToString::to_string);
        axum::Json(json!({ "server": { "name": "test", "version": name } }))
    };
    Router::new().route("/_matrix/federation/v1/version", get(version))
}

async fn ask(federation: &Federation, server: &ServerName) -> Result<Response> {
    federation.request(server, Version::new()).await
}

/// What a caller that trusts `callers_list` hears from a callee that trusts `callees_list`.
async fn call(
    caller: &TestBox,
    callers_list: Bundle,
    callee: &mut TestBox,
    callees_list: Bundle,
) -> Result<Response> {
    let serving = callee.federation(callees_list);
    let _stop = callee.serve(&serving, router()).drop_guard();
    let calling = caller.federation(callers_list);
    ask(&calling, &callee.name).await
}

fn refusal(result: Result<Response>) -> String {
    match result {
        Err(Error::Unreachable { why, .. }) => why,
        other => panic!("expected a refused connection, got {other:?}"),
    }
}

#[tokio::test]
async fn members_know_each_other() {
    let nation = Nation::new();
    let (a, mut b) = (nation.make_box("a.lu"), nation.make_box("b.lu"));
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let answer = call(&a, list.clone(), &mut b, list).await.unwrap();
    assert_eq!(answer.server.unwrap().version.unwrap(), "a.lu");
}

#[tokio::test]
async fn who_may_not_federate_is_refused_with_the_reason() {
    let nation = Nation::new();
    let (a, b) = (nation.make_box("a.lu"), nation.make_box("b.lu"));
    for (callees_list, alert) in [
        (nation.list(&[(&b, active())]), "AccessDenied"),
        (
            nation.list(&[(&a, suspended()), (&b, active())]),
            "AccessDenied",
        ),
        (
            nation.list(&[(&a, revoked()), (&b, active())]),
            "CertificateRevoked",
        ),
    ] {
        let mut b = nation.make_box("b.lu");
        let callers_list = nation.list(&[(&a, active()), (&b, active())]);
        let why = refusal(call(&a, callers_list, &mut b, callees_list).await);
        assert!(why.contains(alert), "{why}");
    }
}

#[tokio::test]
async fn a_revoked_certificate_of_an_active_member_is_refused() {
    let nation = Nation::new();
    let (a, mut b) = (nation.make_box("a.lu"), nation.make_box("b.lu"));
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let mut entry = a.member(active());
    entry.tls.revoked_serials = vec![a.certificate.leaf().serial.clone()];
    let authorities = list.members.authorities().to_vec();
    let members = vec![entry, b.member(active())];
    let stricter = Bundle {
        members: luxchat_bundle::Members::new(now(), authorities, members).unwrap(),
        ..list.clone()
    };
    let why = refusal(call(&a, list, &mut b, stricter).await);
    assert!(why.contains("CertificateRevoked"), "{why}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let nation = Nation::new();
    let long_ago = now() - SignedDuration::from_hours(24 * 60);
    let a = nation.make_box_valid("a.lu", long_ago, 30);
    let mut b = nation.make_box("b.lu");
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let why = refusal(call(&a, list.clone(), &mut b, list).await);
    assert!(why.contains("CertificateExpired"), "{why}");
}

#[tokio::test]
async fn a_certificate_of_a_foreign_authority_is_refused() {
    let (nation, foreign) = (Nation::new(), Nation::named("Foreign authority"));
    let a = foreign.make_box("a.lu");
    let mut b = nation.make_box("b.lu");
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let why = refusal(call(&a, list.clone(), &mut b, list).await);
    assert!(why.contains("UnknownCA"), "{why}");
}

#[tokio::test]
async fn a_server_with_another_name_or_authority_is_not_talked_to() {
    let (nation, foreign) = (Nation::new(), Nation::named("Foreign authority"));
    let a = nation.make_box("a.lu");
    // Listens at b's address with the certificate of another member.
    let mut c = nation.make_box("c.lu");
    let mut impostor = nation.make_box("b.lu");
    impostor.address = c.address;
    let list = nation.list(&[(&a, active()), (&impostor, active()), (&c, active())]);
    let serving = c.federation(list.clone());
    let _stop = c.serve(&serving, router()).drop_guard();
    let why = refusal(ask(&a.federation(list), &impostor.name).await);
    assert!(why.contains("NotValidForName"), "{why}");

    let mut d = foreign.make_box("d.lu");
    let list = nation.list(&[(&a, active()), (&d, active())]);
    let a = nation.make_box("a.lu");
    let why = refusal(call(&a, list.clone(), &mut d, list).await);
    assert!(why.contains("UnknownIssuer"), "{why}");
}

#[tokio::test]
async fn nobody_federates_by_an_expired_list() {
    let nation = Nation::new();
    let (a, mut b) = (nation.make_box("a.lu"), nation.make_box("b.lu"));
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let serving = b.federation(list.clone());
    let _stop = b.serve(&serving, router()).drop_guard();
    let calling = a.federation(list);
    b.clock.advance(Duration::from_hours(25));
    let why = refusal(ask(&calling, &b.name).await);
    assert!(why.contains("AccessDenied"), "{why}");
    a.clock.advance(Duration::from_hours(25));
    let denied = ask(&calling, &b.name).await;
    assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
}

/// A TLS client as anyone could write it, with or without a certificate.
async fn connect(
    nation: &Nation,
    to: &TestBox,
    with: Option<&TestBox>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(nation.authority.certificate().der().clone())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let config = match with {
        Some(server) => {
            let identity = server.tls();
            builder
                .with_client_auth_cert(identity.chain, identity.key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let socket = TcpStream::connect(to.address).await.unwrap();
    let name = to.name.as_str().to_owned().try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, socket).await.unwrap()
}

/// Trusts whoever answers: what is tested is the other side.
#[derive(Debug)]
struct AnyServer;

mod any_server {
    use rustls::{
        DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    };
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    impl ServerCertVerifier for super::AnyServer {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::ring::default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
}

#[tokio::test]
async fn without_a_certificate_there_is_no_connection() {
    let nation = Nation::new();
    let mut b = nation.make_box("b.lu");
    let serving = b.federation(nation.list(&[(&b, active())]));
    let _stop = b.serve(&serving, router()).drop_guard();
    let mut stream = connect(&nation, &b, None).await;
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn certificates_may_be_made_optional() {
    let nation = Nation::new();
    let (c, mut b) = (nation.make_box("c.lu"), nation.make_box("b.lu"));
    let config = Config {
        client_certificates: ClientCertificates::Optional,
        ..Config::default()
    };
    let list = nation.list(&[(&b, active()), (&c, revoked())]);
    let serving = b.federation_with(Some(list), &config);
    let _stop = b.serve(&serving, router()).drop_guard();
    let mut stream = connect(&nation, &b, None).await;
    let request = b"GET /_matrix/federation/v1/version HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("200 OK") && answer.contains(r#""version":null"#),
        "{answer}"
    );
    // One that is shown must hold all the same.
    let mut stream = connect(&nation, &b, Some(&c)).await;
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRevoked"), "{error}");
}

#[tokio::test]
async fn strangers_may_show_certificates_of_the_extra_authorities() {
    let (nation, others) = (Nation::new(), Nation::named("Another authority"));
    let (plain, impostor) = (others.make_box("plain.lu"), others.make_box("c.lu"));
    let (c, mut b) = (nation.make_box("c.lu"), nation.make_box("b.lu"));
    let config = Config {
        client_certificates: ClientCertificates::Optional,
        extra_authorities: vec![others.authority.certificate().der().clone()],
        ..Config::default()
    };
    let list = nation.list(&[(&b, active()), (&c, active())]);
    let serving = b.federation_with(Some(list), &config);
    let _stop = b.serve(&serving, router()).drop_guard();
    let mut stream = connect(&nation, &b, Some(&plain)).await;
    let request = b"GET /_matrix/federation/v1/version HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(r#""version":"plain.lu""#), "{answer}");
    // For members, only the nation's authority speaks.
    let mut stream = connect(&nation, &b, Some(&impostor)).await;
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert!(error.to_string().contains("UnknownCA"), "{error}");
}

#[tokio::test]
async fn a_plain_server_is_called_by_its_own_authority() {
    let (nation, others) = (Nation::new(), Nation::named("Another authority"));
    let (a, b) = (nation.make_box("a.lu"), nation.make_box("b.lu"));
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let ours = nation.authority.certificate().der().clone();
    let theirs = others.authority.certificate().der().clone();
    for (authority, holds) in [(theirs, true), (ours, false)] {
        let mut plain = others.make_box("plain.lu");
        let serving = Config {
            client_certificates: ClientCertificates::Optional,
            extra_authorities: vec![nation.authority.certificate().der().clone()],
            ..Config::default()
        };
        let serving = plain.federation_with(None, &serving);
        let _stop = plain.serve(&serving, router()).drop_guard();
        let peer = crate::PlainPeer {
            endpoints: vec![plain.address.into()],
            authorities: vec![authority],
        };
        let config = Config {
            client_certificates: ClientCertificates::Optional,
            plain_peers: [(plain.name.clone(), peer)].into(),
            ..Config::default()
        };
        let a = nation.make_box("a.lu");
        let calling = a.federation_with(Some(list.clone()), &config);
        let answer = ask(&calling, &plain.name).await;
        assert_eq!(answer.is_ok(), holds, "{answer:?}");
        // Nobody else is spoken to.
        let stranger = ask(&calling, server_name!("stranger.lu")).await;
        assert!(
            matches!(stranger, Err(Error::Denied { .. })),
            "{stranger:?}"
        );
    }
}

/// What the TLS port answers to these bytes before it closes the connection.
async fn answer_to(bytes: &[u8]) -> Vec<u8> {
    let nation = Nation::new();
    let mut b = nation.make_box("b.lu");
    let serving = b.federation(nation.list(&[(&b, active())]));
    let _stop = b.serve(&serving, router()).drop_guard();
    let mut socket = TcpStream::connect(b.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn plain_http_gets_an_alert_and_no_answer() {
    let answer =
        answer_to(b"GET /_matrix/federation/v1/version HTTP/1.1\r\nHost: b.lu\r\n\r\n").await;
    assert_eq!(answer.first(), Some(&0x15), "{answer:?}");
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    // A whole ClientHello of TLS 1.2: one cipher suite, groups and signature algorithms, no supported_versions.
    let mut hello = vec![0x03, 0x03];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let extensions = [
        0x00, 0x0a, 0, 4, 0, 2, 0x00, 0x1d, // supported_groups: x25519
        0x00, 0x0b, 0, 2, 1, 0, // ec_point_formats: uncompressed
        0x00, 0x0d, 0, 4, 0, 2, 0x04, 0x03, // signature_algorithms: ecdsa_secp256r1_sha256
    ];
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let length = u16::try_from(hello.len()).unwrap().to_be_bytes();
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend((u16::from_be_bytes(length) + 4).to_be_bytes());
    record.extend([0x01, 0x00, length[0], length[1]]);
    record.extend(hello);
    let answer = answer_to(&record).await;
    // A fatal alert: protocol_version.
    assert_eq!(answer.get(5..), Some(&[2, 70][..]), "{answer:?}");
}

#[tokio::test]
async fn revocation_closes_open_connections() {
    let nation = Nation::new();
    let (mut a, mut b) = (nation.make_box("a.lu"), nation.make_box("b.lu"));
    let list = nation.list(&[(&a, active()), (&b, active())]);
    let (at_a, at_b) = (a.federation(list.clone()), b.federation(list));
    let _stop_a = a.serve(&at_a, router()).drop_guard();
    let _stop_b = b.serve(&at_b, router()).drop_guard();
    let stop = tokio_util::sync::CancellationToken::new();
    let _background = at_b.start(stop.clone());
    let _guard = stop.drop_guard();

    let mut inbound = connect(&nation, &b, Some(&a)).await;
    let request = b"GET /_matrix/federation/v1/version HTTP/1.1\r\nHost: b.lu\r\n\r\n";
    inbound.write_all(request).await.unwrap();
    assert!(inbound.read(&mut [0; 1024]).await.unwrap() > 0);
    ask(&at_b, &a.name).await.unwrap();
    assert_eq!(at_b.open_connections(), 2);

    let list = nation.list(&[(&a, revoked()), (&b, active())]);
    at_b.membership().update(list);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), inbound.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection stayed open");
    let all_closed = async {
        while at_b.open_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_closed)
        .await
        .unwrap();
    assert!(matches!(
        ask(&at_b, &a.name).await,
        Err(Error::Denied { .. })
    ));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_connection_on() {
    let nation = Nation::new();
    let long_ago = now() - SignedDuration::from_hours(24 * 60);
    let stale = nation.make_box_valid("a.lu", long_ago, 30);
    let mut b = nation.make_box("b.lu");
    let list = nation.list(&[(&stale, active()), (&b, active())]);
    let serving = b.federation(list.clone());
    let _stop = b.serve(&serving, router()).drop_guard();
    let calling = stale.federation(list);
    refusal(ask(&calling, &b.name).await);
    calling
        .renew_certificate(&nation.make_box("a.lu").tls())
        .unwrap();
    ask(&calling, &b.name).await.unwrap();
}
