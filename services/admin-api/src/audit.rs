//! What administrators did, for the operator to read.

use axum::{
    Json,
    extract::{Query, State},
};
use luxchat_store::AuditEntry;
use serde::{Deserialize, Serialize};

use crate::{Services, error::Error};

/// Entries on one page.
const PAGE: u32 = 500;

/// Something that an administrator did.
#[derive(Debug, Deserialize, Serialize)]
pub struct AuditLine {
    /// Its number: later ones have larger numbers.
    pub number: i64,
    /// When, in milliseconds since the Unix epoch.
    pub ts: u64,
    /// Who: a user id, or the console.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    before: Option<i64>,
}

/// The newest first.
pub(crate) async fn list(
    State(services): State<Services>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<AuditLine>>, Error> {
    let entries: Vec<AuditEntry> = services
        .store
        .read(move |tx| tx.audit_log(page.before, PAGE))
        .await?;
    Ok(Json(entries.into_iter().map(line).collect()))
}

fn line(entry: AuditEntry) -> AuditLine {
    AuditLine {
        number: entry.nid,
        ts: entry.ts,
        actor: entry.actor,
        action: entry.action,
        target: entry.target,
    }
}

/// Notes what the operator does, before it is done.
pub(crate) async fn note(
    services: &Services,
    action: &'static str,
    target: &str,
) -> Result<(), Error> {
    let target = target.to_owned();
    let write = services
        .store
        .write(move |tx| tx.audit(crate::ACTOR, action, &target));
    let written: Result<(), luxchat_store::Error> = write.await;
    Ok(written?)
}
