//! Single events, and what is around them.

use luxchat_store::{ClientRow, ReadTx, Stretch};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId,
    api::client::context::get_context::v3,
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};

use crate::{
    Error, RelationFilter, Result, Sync, SyncToken, Viewer,
    access::Readable,
    client_event::{Composer, Fields},
    filter::wants_event,
    history::{History, HistoryKeys},
    messages::lazy_state,
    response::ignored_users,
    timeline::{Sight, newest, oldest},
};

/// The most events around one.
const MOST_AROUND: usize = 200;

impl Sync {
    /// An event of a room.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is none, or none that the user may see.
    pub async fn event(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
        event_id: OwnedEventId,
    ) -> Result<Raw<AnyTimelineEvent>> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| {
                let keys = HistoryKeys::of(tx, &viewer.user_id)?;
                let readable = Readable::find(tx, &viewer, &keys, &room_id)
                    .map_err(|_| Error::NotFound("event"))?;
                let history = History::read(tx, &readable.room, &keys)?;
                let row = visible(tx, &readable, &history, &event_id)?;
                let composer = Composer {
                    tx,
                    viewer: &viewer,
                    now_ms,
                    room_id: Some(&room_id),
                };
                composer.timeline_event(&row, &history)
            })
            .await
    }

    /// An event with those before and after it.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not read the room, [`Error::NotFound`] where it has no such event, or none
    /// that the user may see.
    pub async fn context(
        &self,
        viewer: Viewer,
        request: v3::Request,
        relations: RelationFilter,
    ) -> Result<v3::Response> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| context(tx, &viewer, &request, &relations, now_ms))
            .await
    }
}

fn context(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    request: &v3::Request,
    relations: &RelationFilter,
    now_ms: u64,
) -> Result<v3::Response> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let readable = Readable::find(tx, viewer, &keys, &request.room_id)?;
    let history = History::read(tx, &readable.room, &keys)?;
    let row = visible(tx, &readable, &history, &request.event_id)?;
    let composer = Composer {
        tx,
        viewer,
        now_ms,
        room_id: Some(&request.room_id),
    };
    let mut response = v3::Response::new();
    response.event = Some(composer.timeline_event(&row, &history)?);
    let Some(pos) = row.pos else {
        // It has no place in the timeline, so nothing is before or after it.
        return Ok(response);
    };
    let sight = Sight {
        history: &history,
        filter: &request.filter,
        relations: Some(relations),
        ignored: &ignored_users(tx, viewer.user)?,
    };
    let limit = request.filter.limit.unwrap_or(request.limit);
    let limit = usize::try_from(u64::from(limit)).map_or(MOST_AROUND, |l| l.min(MOST_AROUND));
    let before = Stretch {
        after: i64::MIN,
        until: pos.saturating_sub(1),
    };
    let before = newest(tx, readable.room.nid, before, sight, limit / 2)?.rows;
    let after = Stretch {
        after: pos,
        until: readable.until,
    };
    let after = oldest(tx, readable.room.nid, after, sight, limit - limit / 2)?.rows;

    let first = before.last().and_then(|row| row.pos).unwrap_or(pos);
    let last = after.last().unwrap_or(&row);
    response.start = Some(SyncToken::before(first).to_string());
    response.end = Some(SyncToken::after(last.pos.unwrap_or(pos)).to_string());
    response.state = if request.filter.lazy_load_options.is_disabled() {
        state_at(composer, &request.filter, last)?
    } else {
        let rows: Vec<_> = [&before[..], std::slice::from_ref(&row), &after[..]].concat();
        lazy_state(composer, &readable, &request.filter, &rows)?
    };
    let write = |rows: Vec<ClientRow>| -> Result<Vec<Raw<AnyTimelineEvent>>> {
        let rows = rows.iter();
        rows.map(|row| composer.timeline_event(row, &history))
            .collect()
    };
    response.events_before = write(before)?;
    response.events_after = write(after)?;
    Ok(response)
}

fn visible(
    tx: &ReadTx<'_>,
    readable: &Readable,
    history: &History<'_>,
    event_id: &EventId,
) -> Result<ClientRow> {
    let row = tx.client_event(readable.room.nid, event_id)?;
    let row = row.filter(|row| row.pos.is_none_or(|pos| pos <= readable.until));
    match row {
        Some(row) if history.can_see(tx, &row)? => Ok(row),
        _ => Err(Error::NotFound("event")),
    }
}

fn state_at(
    composer: Composer<'_, '_>,
    filter: &ruma::api::client::filter::RoomEventFilter,
    row: &ClientRow,
) -> Result<Vec<Raw<AnyStateEvent>>> {
    let Some(at) = row.after else {
        return Ok(Vec::new());
    };
    let mut state = Vec::new();
    for event in composer.tx.state_at(at)?.into_values() {
        let row = composer.tx.client_event_by_nid(event)?;
        if wants_event(filter, &Fields::parse(&row.json)?) {
            state.push(composer.bare_event(&row)?);
        }
    }
    Ok(state)
}
