//! Events that users reported.
//! [Format](https://element-hq.github.io/synapse/latest/admin_api/event_reports.html).

use axum::{Json, Router, routing::get};
use luxchat_store::{Report, Reported};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, Asked, page};
use crate::{State, error::Error};

pub(super) fn routes() -> Router<State> {
    Router::new().route("/_synapse/admin/v1/event_reports", get(list))
}

#[derive(Deserialize)]
struct Filter {
    /// `next_token` of the page before.
    from: Option<i64>,
    limit: Option<u32>,
}

async fn list(state: State, _: Admin, Asked(filter): Asked<Filter>) -> Result<Json<Value>, Error> {
    let (before, limit) = (filter.from.filter(|from| *from > 0), page(filter.limit));
    let (reports, total) = state
        .store
        .read(move |tx| {
            Ok::<_, luxchat_store::Error>((tx.reports(before, limit)?, tx.report_count()?))
        })
        .await?;
    let is_full = u32::try_from(reports.len()).is_ok_and(|count| count == limit);
    let next = reports.last().filter(|_| is_full).map(|report| report.nid);
    let events: Vec<Value> = reports.into_iter().filter_map(written).collect();
    let mut answer = json!({ "event_reports": events, "total": total });
    if let Some(next) = next {
        answer["next_token"] = next.into();
    }
    Ok(Json(answer))
}

fn written(report: Report) -> Option<Value> {
    let Reported::Event {
        room_id,
        event_id,
        sender,
    } = report.reported
    else {
        return None;
    };
    Some(json!({
        "id": report.nid,
        "received_ts": report.ts,
        "room_id": room_id,
        "event_id": event_id,
        "user_id": report.reporter,
        "sender": sender,
        "reason": report.reason,
        "score": null,
        "name": null,
        "canonical_alias": null,
    }))
}
