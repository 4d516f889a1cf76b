//! What a server keeps and relays for end-to-end encryption: device keys, one-time keys, cross-signing, signatures,
//! sealed backups, to-device messages. It never holds a secret that opens a message.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption)

mod backup;
mod claim;
mod config;
mod cross_signing;
mod encryption;
mod error;
mod query;
mod questions;
mod receive;
mod remote;
mod serve;
mod signatures;
mod signed_json;
#[cfg(test)]
mod tests;
mod to_device;
mod upload;

pub use self::{
    backup::{BackupInfo, BackupState},
    claim::ClaimedKeys,
    config::Config,
    cross_signing::CrossSigningUpload,
    encryption::Encryption,
    error::{Error, Result},
    query::{QueriedKeys, UserKeys},
    serve::DeviceList,
    signatures::{SignatureFailure, SignatureFailures},
    upload::KeyUpload,
};
pub use luxchat_store::{BackedUpSession, CrossSigningUsage, DeviceListChanges, SessionFilter};
