//! Interactive verification with short authentication strings.

use anyhow::{Context as _, Result, ensure};
use matrix_sdk::encryption::verification::{
    SasVerification, Verification, VerificationRequest, VerificationRequestState,
};

use crate::{Device, eventually, eventually_some};

/// Lets two devices verify each other by emoji, as two people who compare seven pictures would.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#short-authentication-string-sas-verification>
pub async fn verify_by_emoji(asking: &Device, asked: &Device) -> Result<()> {
    let peer = asking
        .client
        .encryption()
        .get_device(&asked.user_id, &asked.device_id)
        .await?;
    let peer = peer.context("the device to verify is unknown")?;
    let request = peer.request_verification().await?;

    let flow = asked.verification_request(&asking.user_id).await?;
    let encryption = asked.client.encryption();
    let received = eventually_some("the request is known to the asked device", async || {
        encryption
            .get_verification_request(&asking.user_id, &flow)
            .await
    })
    .await?;
    received.accept().await?;
    eventually("the asked device is ready", async || request.is_ready()).await?;

    let ours = request
        .start_sas()
        .await?
        .context("the verification cannot start")?;
    let theirs = eventually_some("the verification starts on the asked device", async || {
        started(&received)
    })
    .await?;
    theirs.accept().await?;

    for sas in [&ours, &theirs] {
        eventually("the pictures can be compared", async || {
            sas.can_be_presented()
        })
        .await?;
    }
    ensure!(
        pictures(&ours)? == pictures(&theirs)?,
        "the two devices show different pictures"
    );
    ours.confirm().await?;
    theirs.confirm().await?;
    for sas in [&ours, &theirs] {
        eventually("the verification is done", async || {
            sas.is_done() || sas.is_cancelled()
        })
        .await?;
        ensure!(
            sas.is_done(),
            "the verification was cancelled: {:?}",
            sas.cancel_info()
        );
    }
    Ok(())
}

fn started(request: &VerificationRequest) -> Option<SasVerification> {
    match request.state() {
        VerificationRequestState::Transitioned {
            verification: Verification::SasV1(sas),
        } => Some(sas),
        _ => None,
    }
}

fn pictures(sas: &SasVerification) -> Result<[&'static str; 7]> {
    let emoji = sas.emoji().context("the devices did not agree on emoji")?;
    Ok(emoji.map(|emoji| emoji.symbol))
}
