//! How a box becomes a member: it makes its keys, asks, and takes in what the authority answers.

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use luxchat_bundle::{BoxKeys, Enrolment, RequestDetails, Role, SigningRequest, TrustStore, files};

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

/// Takes in the authority's answer: checks that it is for this box and its keys, keeps the root of trust, then the answer.
/// A later answer renews the certificate; it cannot change the root of trust.
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
    if let Some(previous) = installed(data)? {
        if previous.root_fingerprint() != enrolment.root_fingerprint() {
            bail!("the answer comes from another authority than the one this box is enrolled with");
        }
    } else if !data.trust().exists() {
        TrustStore::create(&data.trust(), enrolment.trusted_root.as_bytes())?;
    }
    files::replace(
        &data.enrolment(),
        &enrolment.to_json(),
        files::Access::Public,
    )?;
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
