//! What relates to an event, summed up within it.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events).

use luxchat_store::{ClientRow, EventNid, RelationCount, Stretch};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Result, client_event::Composer, history::History};

/// Events that refer to one, listed in it.
const REFERENCES: u32 = 100;

/// `unsigned.m.relations` of an event.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Relations {
    #[serde(rename = "m.replace", skip_serializing_if = "Option::is_none")]
    replacement: Option<Box<RawValue>>,
    #[serde(rename = "m.thread", skip_serializing_if = "Option::is_none")]
    thread: Option<Thread>,
    #[serde(rename = "m.reference", skip_serializing_if = "Option::is_none")]
    references: Option<References>,
}

#[derive(Debug, Serialize)]
struct Thread {
    latest_event: Box<RawValue>,
    count: u64,
    current_user_participated: bool,
}

#[derive(Debug, Serialize)]
struct References {
    chunk: Vec<Reference>,
}

#[derive(Debug, Serialize)]
struct Reference {
    event_id: String,
}

/// What relates to an event, if anything does. State and what is redacted has no relations.
pub(crate) fn relations(
    composer: &Composer<'_, '_>,
    row: &ClientRow,
    history: &History<'_>,
) -> Result<Option<Relations>> {
    if row.state_key.is_some() || row.redacted_by.is_some() {
        return Ok(None);
    }
    let user = composer.viewer.user;
    let counts = composer.tx.relation_counts(row.room, &row.event_id, user)?;
    let mut relations = None;
    for count in counts {
        let relations: &mut Relations = relations.get_or_insert_default();
        match &*count.rel_type {
            "m.replace" => {
                let latest = composer.tx.latest_replacement(row.room, &row.event_id)?;
                relations.replacement = match latest {
                    Some(latest) => event(composer, history, latest)?,
                    None => None,
                };
            }
            "m.thread" => relations.thread = thread(composer, history, row, &count)?,
            "m.reference" => relations.references = Some(references(composer, row)?),
            _ => {}
        }
    }
    Ok(relations.filter(|relations| !relations.is_empty()))
}

impl Relations {
    fn is_empty(&self) -> bool {
        self.replacement.is_none() && self.thread.is_none() && self.references.is_none()
    }
}

fn thread(
    composer: &Composer<'_, '_>,
    history: &History<'_>,
    root: &ClientRow,
    count: &RelationCount,
) -> Result<Option<Thread>> {
    let latest_event = event(composer, history, count.latest)?;
    Ok(latest_event.map(|latest_event| Thread {
        latest_event,
        count: count.count,
        current_user_participated: count.by_user || root.sender == composer.viewer.user,
    }))
}

fn references(composer: &Composer<'_, '_>, row: &ClientRow) -> Result<References> {
    let Ok(event_id) = row.event_id.as_str().try_into() else {
        return Ok(References { chunk: Vec::new() });
    };
    let whole = Stretch {
        after: i64::MIN,
        until: i64::MAX,
    };
    let kind = (Some("m.reference"), None);
    let related = composer
        .tx
        .relations(row.room, event_id, kind, whole, false, REFERENCES)?;
    let mut chunk = Vec::with_capacity(related.len());
    for relation in related {
        let event_id = composer.tx.event_id(relation.child)?.to_string();
        chunk.push(Reference { event_id });
    }
    Ok(References { chunk })
}

/// A related event, unless the user may not see it.
fn event(
    composer: &Composer<'_, '_>,
    history: &History<'_>,
    event: EventNid,
) -> Result<Option<Box<RawValue>>> {
    let row = composer.tx.client_event_by_nid(event)?;
    if !history.can_see(composer.tx, &row)? || composer.erased(&row, history)?.is_some() {
        return Ok(None);
    }
    Ok(Some(
        composer.bare_event::<serde_json::Value>(&row)?.into_json(),
    ))
}
