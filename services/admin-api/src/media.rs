//! What the operator does to media.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use luxchat_media::Target;
use luxchat_store::ContentHash;
use ruma::{ServerName, UserId};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{ACTOR, Services, error::Error};

/// Files on one page of a listing.
const PAGE: u32 = 500;

/// A file that a user uploaded.
#[derive(Debug, Deserialize, Serialize)]
pub struct MediaSummary {
    /// Its `mxc:` URI.
    pub uri: String,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// How many bytes it has.
    pub size: u64,
    /// The media type that the user gave.
    pub content_type: Option<String>,
    /// The name that the user gave.
    pub file_name: Option<String>,
    /// When it was uploaded, in milliseconds since the Unix epoch.
    pub uploaded_ts: u64,
    /// Whether it is withheld.
    pub quarantined: bool,
}

/// A content to withhold, or to hand out again.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// The `mxc:` URI of a file that lies on this box, or the SHA-256 of any content in hexadecimal.
    pub target: String,
    /// Why, in a few words. For the list and the audit log.
    #[serde(default)]
    pub reason: String,
}

/// A content that is withheld.
#[derive(Debug, Deserialize, Serialize)]
pub struct QuarantinedFile {
    /// The SHA-256 of the content, in hexadecimal.
    pub sha256: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ts: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    after: String,
}

pub(crate) async fn list(
    State(services): State<Services>,
    Path(user_id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<MediaSummary>>, Error> {
    let user_id = UserId::parse(&user_id)
        .map_err(|error| bad_request(format!("{user_id:?} is not a user id: {error}")))?;
    let uploads = services
        .media
        .uploads_of(&user_id, page.after, PAGE)
        .await?;
    let server = services.store.server_name();
    let summaries = uploads.into_iter().map(|upload| MediaSummary {
        uri: format!("mxc://{server}/{}", upload.media_id),
        sha256: hex(&upload.kept.media.sha256),
        size: upload.kept.media.size,
        content_type: upload.kept.media.content_type,
        file_name: upload.kept.media.file_name,
        uploaded_ts: upload.kept.since_ts,
        quarantined: upload.kept.is_quarantined,
    });
    Ok(Json(summaries.collect()))
}

pub(crate) async fn delete(
    State(services): State<Services>,
    Path((server, media_id)): Path<(String, String)>,
) -> Result<Json<()>, Error> {
    let server = ServerName::parse(&server)
        .map_err(|error| bad_request(format!("{server:?} is not a server name: {error}")))?;
    services
        .media
        .delete(server, media_id, ACTOR.to_owned())
        .await?;
    info!("the operator deleted a file");
    Ok(Json(()))
}

pub(crate) async fn quarantined(
    State(services): State<Services>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<QuarantinedFile>>, Error> {
    let after = match page.after.as_str() {
        "" => None,
        after => match after.parse()? {
            Target::Content(sha256) => Some(sha256),
            Target::Medium { .. } => return Err(bad_request("after must be a SHA-256".to_owned())),
        },
    };
    let contents = services.media.quarantined(after, PAGE).await?;
    let files = contents.into_iter().map(|content| QuarantinedFile {
        sha256: hex(&content.sha256),
        reason: content.reason,
        since_ts: content.since_ts,
    });
    Ok(Json(files.collect()))
}

pub(crate) async fn quarantine(
    State(services): State<Services>,
    Json(request): Json<Quarantine>,
) -> Result<Json<String>, Error> {
    let target = request.target.parse()?;
    let sha256 = services
        .media
        .quarantine(target, request.reason, ACTOR.to_owned())
        .await?;
    info!(content = hex(&sha256), "the operator withholds a content");
    Ok(Json(hex(&sha256)))
}

pub(crate) async fn release(
    State(services): State<Services>,
    Json(request): Json<Quarantine>,
) -> Result<Json<String>, Error> {
    let target = request.target.parse()?;
    let sha256 = services
        .media
        .end_quarantine(target, ACTOR.to_owned())
        .await?;
    info!(content = hex(&sha256), "the operator lets a content out");
    Ok(Json(hex(&sha256)))
}

fn hex(sha256: &ContentHash) -> String {
    use std::fmt::Write;
    sha256.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

fn bad_request(why: String) -> Error {
    Error::new(StatusCode::BAD_REQUEST, why)
}
