//! Whom a whole box does not let in on its federation port. Every kind of handshake is tested where it is decided, in the
//! federation crate; here real boxes hold certificates of a real authority.

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use luxchat_appliance::{data_dir::DataDir, enrolment};
use luxchat_bundle::{
    BoxKeys, CertificateAuthority, RequestDetails, Role, SigningRequest, Validity,
};
use luxchat_provision::EnrolOptions;
use luxchat_testkit::Kit;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    health::assert_healthy,
    impostor::{Impostor, TARGET},
};

const VERSION: &str = "/_matrix/federation/v1/version";

/// The reason is in the alert, and the box serves on.
#[tokio::test]
async fn only_listed_boxes_with_a_valid_certificate_are_let_in() -> Result<()> {
    let kit = Kit::start().await?;
    let folder = tempfile::tempdir()?;
    let now = Timestamp::now();
    let (answer, _) = Impostor::with_identity_of(&kit, "sante")?
        .call("GET", VERSION, None)
        .await?;
    ensure!(answer == 200, "a good certificate is let in: {answer}");

    let keys = BoxKeys::generate(folder.path())?;
    let nobody = Impostor::with(&kit, &keys, None)?;
    assert_refused(&nobody, "CertificateRequired").await?;

    let year = Validity::days_from(now, 365)?;
    let foreign = CertificateAuthority::generate("Foreign authority", year)?;
    let certificate = foreign.issue(&keys.certificate_request(&"sante.demo.lu".parse()?)?, year)?;
    let foreigner = Impostor::with(&kit, &keys, Some(&certificate))?;
    assert_refused(&foreigner, "UnknownCA").await?;

    // The authority has signed it, but published no list with it.
    let details = RequestDetails {
        server_name: "culture.demo.lu".parse()?,
        display_name: "culture".to_owned(),
        role: Role::Ministry,
        endpoints: vec!["127.0.0.1:8448".parse()?],
        created_at: now,
    };
    let request = SigningRequest::new(details, &keys)?;
    let (options, passphrase) = (EnrolOptions::default(), kit.nation().passphrase());
    let mut authority = kit.nation().authority()?;
    let enrolment = authority.enrol(&request, options, passphrase, now)?;
    let unlisted = Impostor::with(&kit, &keys, Some(&enrolment.certificate))?;
    assert_refused(&unlisted, "AccessDenied").await?;

    // A member's own, of some years ago.
    let site = kit.nation().site("sante")?;
    let data = DataDir::open(&site.config.data_dir)?;
    let long_ago = now - SignedDuration::from_hours(24 * 365 * 3);
    let request = enrolment::request(&site.config, &data, now)?;
    let stale = authority.renew(&request, options, passphrase, long_ago)?;
    let expired = Impostor::with(&kit, &enrolment::keys(&data)?, Some(&stale.certificate))?;
    assert_refused(&expired, "CertificateExpired").await?;

    assert_healthy(&kit, TARGET).await
}

/// Plain HTTP gets an alert and no answer, and so does noise.
#[tokio::test]
async fn what_is_no_tls_gets_no_answer() -> Result<()> {
    let kit = Kit::start().await?;
    let address = kit.nation().site(TARGET)?.config.federation.listen;
    let request = format!("GET {VERSION} HTTP/1.1\r\nHost: {TARGET}.demo.lu\r\n\r\n");
    for bytes in [request.as_bytes(), &[0; 64], b"\x16\x03\x01\xff\xff"] {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(bytes).await?;
        socket.shutdown().await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        let alert_or_nothing = answer.first().is_none_or(|first| *first == 0x15);
        ensure!(alert_or_nothing && answer.len() < 16, "{answer:?}");
    }
    assert_healthy(&kit, TARGET).await
}

/// What is not covered by the list in force is refused, and `status` says why the newest one is not: here the directory's
/// publication is put back to an older one, in which a stolen box was still a member.
#[tokio::test]
async fn an_older_members_list_is_refused() -> Result<()> {
    let kit = Kit::start().await?;
    let publication = kit.nation().publication();
    let older = tempfile::tempdir()?;
    copy(&publication, older.path())?;
    kit.revoke("sante", "the box was stolen")?;
    for name in ["directory", TARGET] {
        kit.running(name)?.look_for_members().await?;
    }
    let stolen = Impostor::with_identity_of(&kit, "sante")?;
    assert_refused(&stolen, "CertificateRevoked").await?;

    // On the directory's own disk, and, as a directory gone bad would do it, in what it serves to others.
    let served = kit
        .nation()
        .site("directory")?
        .config
        .data_dir
        .join("trust");
    for (name, place) in [("directory", publication), (TARGET, served)] {
        copy(older.path(), &place)?;
        let refusal = kit.running(name)?.look_for_members().await;
        let refusal = refusal.err().context("the older list was taken over")?;
        ensure!(
            refusal.to_string().contains("rollback refused"),
            "{refusal}"
        );
        let membership = status(&kit, name).await?["membership"].take();
        let error = membership["last_error"].as_str().unwrap_or_default();
        ensure!(error.contains("rollback refused"), "{membership}");
        ensure!(membership["version"] == 2, "{membership}");
    }
    assert_refused(&stolen, "CertificateRevoked").await?;
    assert_healthy(&kit, TARGET).await
}

async fn assert_refused(impostor: &Impostor, alert: &str) -> Result<()> {
    let refusal = impostor.refusal().await?;
    ensure!(refusal.contains(alert), "expected {alert}, got {refusal}");
    Ok(())
}

async fn status(kit: &Kit, name: &str) -> Result<Value> {
    let address = kit.running(name)?.admin_address();
    let answer = reqwest::get(format!("http://{address}/status")).await?;
    Ok(answer.error_for_status()?.json().await?)
}

/// Copies a repository's files over those of another.
fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    for part in ["metadata", "targets"] {
        std::fs::create_dir_all(to.join(part))?;
        for entry in std::fs::read_dir(from.join(part))? {
            let entry = entry?;
            std::fs::copy(entry.path(), to.join(part).join(entry.file_name()))?;
        }
    }
    Ok(())
}
