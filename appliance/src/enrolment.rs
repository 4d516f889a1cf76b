//! How a box becomes a member: it makes its keys, asks, and takes in what the authority answers.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use luxchat_bundle::{
    BoxKeys, DirectorySource, Enrolment, RequestDetails, Role, SigningRequest, TrustStore, Voucher,
    VoucherRequest, files,
};
use luxchat_federation::EnrolledDirectory;
use luxchat_store::Clock;

use crate::{config::Config, data_dir::DataDir};

/// The box's keys, made where they are missing.
///
/// # Errors
///
/// When they cannot be read or written.
pub fn keys(data: &DataDir) -> Result<BoxKeys> {
    let folder = data.keys();
    let keys = if BoxKeys::exist(&folder) {
        BoxKeys::load(&folder)
    } else {
        BoxKeys::generate(&folder)
    };
    keys.with_context(|| format!("the keys in {}", folder.display()))
}

/// The request that a technician carries to the authority. It holds public keys only.
///
/// # Errors
///
/// When the keys cannot be had, or the site file says something the authority would refuse.
pub fn request(config: &Config, data: &DataDir, now: Timestamp) -> Result<SigningRequest> {
    let details = RequestDetails {
        server_name: config.server_name.clone(),
        display_name: config.display_name.clone(),
        role: if config.directory.is_some() {
            Role::Directory
        } else {
            Role::Ministry
        },
        endpoints: config.federation.endpoints.clone(),
        created_at: now,
    };
    Ok(SigningRequest::new(details, &keys(data)?)?)
}

/// Takes a voucher to the directory that it names, with the request of this box, and returns the answer. Nothing is changed.
///
/// # Errors
///
/// Why the voucher is not for this box, why the directory refuses it, or that it cannot be reached.
pub async fn redeem(
    config: &Config,
    data: &DataDir,
    voucher: Voucher,
    clock: Arc<dyn Clock>,
) -> Result<Enrolment> {
    let now = crate::timestamp(clock.now_ms())?;
    voucher.check_for(&config.server_name, now)?;
    let details = voucher.details();
    let directory = EnrolledDirectory {
        pointer: details.directory.clone(),
        authority: details.authority.clone(),
    };
    let asked = VoucherRequest {
        request: request(config, data, now)?,
        voucher: voucher.clone(),
    };
    let answer = luxchat_federation::enrol(directory, asked.to_json(), clock).await?;
    let answer = Enrolment::from_json(&answer).context("the directory's answer")?;
    if !voucher.is_answered_by(&answer) {
        bail!("the directory's answer is not one to this voucher");
    }
    Ok(answer)
}

/// Takes in the authority's answer: checks that it is for this box and its keys, keeps the root of trust, then the answer.
/// A later answer renews the certificate; its root of trust must follow from the one at hand.
///
/// # Errors
///
/// When the answer is not for this box, is broken, or comes from another authority. Nothing is changed then.
pub fn install(
    config: &Config,
    data: &DataDir,
    enrolment: &Enrolment,
    now: Timestamp,
) -> Result<()> {
    enrolment.check(&config.server_name, &keys(data)?, now)?;
    let root = enrolment.trusted_root.as_bytes();
    if !data.trust().exists() {
        TrustStore::create(&data.trust(), root)?;
    } else if !TrustStore::open(&data.trust())?.knows_root(root) {
        bail!(
            "the answer's root of trust does not follow from the one this box is enrolled with: it is another \
             authority's, or newer than the publications the box has seen (then add --repository)"
        );
    }
    files::replace(
        &data.enrolment(),
        &enrolment.to_json(),
        files::Access::Public,
    )?;
    Ok(())
}

/// Takes over a publication that came on a stick.
///
/// # Errors
///
/// Why it was refused: rollback, expiry, signatures. The last good one stays in force.
pub async fn import(data: &DataDir, repository: &Path, now: Timestamp) -> Result<()> {
    let trust = TrustStore::open(&data.trust())?;
    trust
        .update(Arc::new(DirectorySource::new(repository)), now)
        .await?;
    Ok(())
}

/// The answer that was taken in, if any.
///
/// # Errors
///
/// When it is there and cannot be read.
pub fn installed(data: &DataDir) -> Result<Option<Enrolment>> {
    let path = data.enrolment();
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(Some(
        Enrolment::from_json(&bytes).with_context(|| path.display().to_string())?,
    ))
}
