//! What users reported, for the operator to read. It names events and does not show them.

use axum::{
    Json,
    extract::{Query, State},
};
use luxchat_store::{Report, Reported};
use serde::{Deserialize, Serialize};

use crate::{Services, error::Error};

/// Reports on one page.
const PAGE: u32 = 500;

/// A report.
#[derive(Debug, Deserialize, Serialize)]
pub struct ReportLine {
    /// Its number: later ones have larger numbers.
    pub number: i64,
    /// When, in milliseconds since the Unix epoch.
    pub ts: u64,
    /// Who reports.
    pub reporter: String,
    /// What: an event with its room and sender, a room, or a user.
    pub reported: Vec<String>,
    /// Why, in the reporter's words.
    pub reason: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    before: Option<i64>,
}

/// The newest first.
pub(crate) async fn list(
    State(services): State<Services>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<ReportLine>>, Error> {
    let reports = services.accounts.reports(page.before, PAGE).await?;
    Ok(Json(reports.into_iter().map(line).collect()))
}

fn line(report: Report) -> ReportLine {
    let reported = match report.reported {
        Reported::Event {
            room_id,
            event_id,
            sender,
        } => vec![event_id, room_id, sender],
        Reported::Room(room_id) => vec![room_id],
        Reported::User(user_id) => vec![user_id],
    };
    ReportLine {
        number: report.nid,
        ts: report.ts,
        reporter: report.reporter.into(),
        reported,
        reason: report.reason,
    }
}
