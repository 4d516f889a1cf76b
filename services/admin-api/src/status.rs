//! The state of a box on one page, for `luxchat-appliance status` and for monitoring.

use std::fmt;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use crate::Services;

/// The state of a box.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// The Matrix server name.
    pub server_name: String,
    /// The program's version.
    pub version: String,
    /// Seconds since the box started to serve.
    pub uptime_seconds: u64,
    /// The newest position on disk.
    pub position: i64,
    /// `required`, or `optional`: then peers without a certificate are let in.
    pub client_certificates: String,
    /// The certificate the box shows its peers; absent before enrolment.
    pub certificate: Option<Certificate>,
    /// Who may federate, as the box knows it.
    pub membership: Membership,
    /// How it stands with other servers.
    pub peers: Peers,
    /// Rooms that were joined before all of their members were known.
    #[serde(default)]
    pub incomplete_rooms: IncompleteRooms,
    /// How much media there is, and whether it is scanned.
    pub media: MediaUsage,
}

/// Rooms that were joined before all of their members were known, and lack some still.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct IncompleteRooms {
    /// All of them.
    pub rooms: u64,
    /// Those for which an attempt to fetch the members has failed.
    pub failing: u64,
}

/// How much media there is, and whether it is scanned.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MediaUsage {
    /// What users uploaded, in bytes.
    pub upload_bytes: u64,
    /// The cache of other servers' media, in bytes.
    pub cache_bytes: u64,
    /// Contents in quarantine.
    pub quarantined: u64,
    /// `none`, `up`, or why it is down and what happens meanwhile.
    pub scanner: String,
    /// How the decoders of images are confined, or why they do not work.
    pub thumbnails: String,
}

/// The certificate the box shows its peers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Certificate {
    /// RFC 3339.
    pub not_after: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

/// Who may federate, as the box knows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Membership {
    /// Whether the list is in force.
    pub state: ListState,
    /// The version of the list in force; 0 before the first.
    pub version: u64,
    /// RFC 3339; absent before the first list.
    pub expires: Option<String>,
    /// Members by status: active, and all others.
    pub active: usize,
    /// Members that are suspended or revoked.
    pub inactive: usize,
    /// When the directory last answered, RFC 3339.
    pub last_checked: Option<String>,
    /// Why the newest publication was refused or could not be fetched.
    pub last_error: Option<String>,
}

/// Whether a members list is in force.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListState {
    /// The list in force has time left.
    Valid,
    /// The list has run out: nobody federates until a new one arrives.
    Expired,
    /// No list was ever accepted.
    Missing,
}

/// How it stands with other servers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Peers {
    /// Servers with an open connection, either way.
    pub connected: usize,
    /// Servers that have something to be sent and could not be reached at the last try.
    pub failing: usize,
    /// The plain Matrix servers of the site file, which federate without a certificate of the nation.
    #[serde(default)]
    pub plain: Vec<String>,
    /// Servers that are slowed or refused for what they did, the worst first.
    #[serde(default)]
    pub offenders: Vec<Offender>,
}

/// A server that is slowed or refused for what it did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Offender {
    /// Its name.
    pub server_name: String,
    /// For how many more seconds it is refused; absent where it is only slowed.
    pub refused_seconds: Option<u64>,
    /// What it did last.
    pub reason: String,
    /// How often it did the like since it was last in good standing.
    pub offences: u64,
}

/// Puts a [`Status`] together.
pub trait StatusSource: fmt::Debug + Send + Sync {
    /// The state of the box now.
    fn status(&self) -> futures_util::future::BoxFuture<'_, Result<Status, luxchat_store::Error>>;
}

pub(crate) async fn show(
    State(services): State<Services>,
) -> Result<Json<Status>, crate::error::Error> {
    Ok(Json(services.status.status().await?))
}
