//! Looking into one room: at what it is, and at what happens there next. For users who are not in it, too, where anybody
//! may read it.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#room-previews).

use std::{collections::HashSet, time::Duration};

use luxchat_store::{ReadTx, RoomNid, StateSelection, Stretch, Topic, UserNid};
use ruma::{
    OwnedRoomId,
    api::client::{
        filter::RoomEventFilter,
        peeking::{
            get_current_state::v3::{self as current, PaginationChunk},
            listen_to_new_events::v3 as events,
        },
        room::Visibility,
    },
};
use tokio::time::{Instant, timeout_at};

use crate::{
    Result, Sync, SyncToken, Viewer,
    access::Readable,
    client_event::Composer,
    history::{History, HistoryKeys},
    messages::token,
    response::{account_data_event, ignored_users},
    timeline::{Sight, newest, oldest},
};

/// Events of a room shown with what it is.
const NEWEST: usize = 20;

/// Events told at once.
const MOST_EVENTS: usize = 100;

/// The longest wait for something to happen.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Sync {
    /// A room's state, and the newest that happened there.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`](crate::Error::Forbidden) where the user may not read the room.
    pub async fn peek(&self, viewer: Viewer, room_id: OwnedRoomId) -> Result<current::Response> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| peek(tx, &viewer, room_id, now_ms))
            .await
    }

    /// What happens in a room after a place, or from now on. Where nothing did, waits until something does or the time is
    /// up.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`](crate::Error::Forbidden) where the user may not read the room,
    /// [`Error::UnknownToken`](crate::Error::UnknownToken).
    pub async fn events_of_room(
        &self,
        viewer: Viewer,
        request: events::Request,
    ) -> Result<events::Response> {
        let from = token(request.from.as_deref())?;
        let deadline = Instant::now() + request.timeout.unwrap_or_default().min(LONGEST_WAIT);
        let mut place = from;
        loop {
            let (viewer, room_id) = (viewer.clone(), request.room_id.clone());
            let now_ms = self.store.clock().now_ms();
            let (room, seen, response) = self
                .store
                .read(move |tx| {
                    let from = match place {
                        Some(from) => from,
                        None => tx.position()?.0,
                    };
                    let (room, response) = behind(tx, &viewer, room_id, from, now_ms)?;
                    Ok::<_, crate::Error>((room, from, response))
                })
                .await?;
            if !response.chunk.is_empty() {
                return Ok(response);
            }
            let listener = self.store.listen([Topic::Room(room)]);
            // What came between the look and the listener woke nobody.
            let newest = self.store.read(move |tx| tx.newest_pos(room)).await?;
            let is_quiet = newest.is_none_or(|newest| newest <= seen);
            if is_quiet && timeout_at(deadline, listener.changed()).await.is_err()
                || Instant::now() >= deadline
            {
                return Ok(response);
            }
            place = Some(seen);
        }
    }
}

fn peek(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    room_id: OwnedRoomId,
    now_ms: u64,
) -> Result<current::Response> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let readable = Readable::find(tx, viewer, &keys, &room_id)?;
    let room = readable.room.nid;
    let history = History::read(tx, &readable.room, &keys)?;
    let composer = Composer {
        tx,
        viewer,
        now_ms,
        room_id: Some(&room_id),
    };
    let filter = RoomEventFilter::default();
    let ignored = ignored_users(tx, viewer.user)?;
    let sight = sight(&history, &filter, &ignored);
    let until = readable.until.min(tx.position()?.0);
    let stretch = Stretch {
        after: i64::MIN,
        until,
    };
    let mut rows = newest(tx, room, stretch, sight, NEWEST)?.rows;
    rows.reverse();

    let mut response = current::Response::new(room_id.clone());
    response.state = if Some(readable.state) == readable.room.current {
        let rows = tx.client_state(room, StateSelection::All)?;
        let rows = rows.iter();
        rows.map(|row| composer.bare_event(row))
            .collect::<Result<_>>()?
    } else {
        let events = tx.state_at(readable.state)?.into_values();
        events
            .map(|event| composer.bare_event(&tx.client_event_by_nid(event)?))
            .collect::<Result<_>>()?
    };
    let first = rows.first().and_then(|row| row.pos).unwrap_or(until);
    let chunk = rows.iter();
    let chunk = chunk.map(|row| composer.timeline_event(row, &history));
    let mut messages = PaginationChunk::new(
        chunk.collect::<Result<_>>()?,
        SyncToken::after(until).to_string(),
    );
    messages.start = Some(SyncToken::before(first).to_string());
    response.messages = Some(messages);
    response.membership = tx
        .member(room, viewer.user)?
        .map(|member| member.membership);
    response.visibility = Some(if tx.is_published(room)? {
        Visibility::Public
    } else {
        Visibility::Private
    });
    let kept = tx.room_account_data_of(viewer.user, room)?;
    let kept = kept.iter();
    response.account_data = kept
        .map(|data| account_data_event(&data.event_type, &data.content))
        .collect::<Result<_>>()?;
    Ok(response)
}

/// What lies behind a place.
fn behind(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    room_id: OwnedRoomId,
    from: i64,
    now_ms: u64,
) -> Result<(RoomNid, events::Response)> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let readable = Readable::find(tx, viewer, &keys, &room_id)?;
    let room = readable.room.nid;
    let history = History::read(tx, &readable.room, &keys)?;
    let composer = Composer {
        tx,
        viewer,
        now_ms,
        room_id: Some(&room_id),
    };
    let filter = RoomEventFilter::default();
    let ignored = ignored_users(tx, viewer.user)?;
    let sight = sight(&history, &filter, &ignored);
    let stretch = Stretch {
        after: from,
        until: readable.until,
    };
    let rows = oldest(tx, room, stretch, sight, MOST_EVENTS)?.rows;
    let end = rows.last().and_then(|row| row.pos).unwrap_or(from);
    let chunk = rows.iter();
    let chunk = chunk.map(|row| composer.timeline_event(row, &history));
    let mut response = events::Response::new();
    response.chunk = chunk.collect::<Result<_>>()?;
    response.start = Some(SyncToken::after(from).to_string());
    response.end = Some(SyncToken::after(end).to_string());
    Ok((room, response))
}

fn sight<'s>(
    history: &'s History<'s>,
    filter: &'s RoomEventFilter,
    ignored: &'s HashSet<UserNid>,
) -> Sight<'s> {
    Sight {
        history,
        filter,
        relations: None,
        ignored,
    }
}
