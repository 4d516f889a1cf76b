//! Looking into one room: at what it is, and at what happens there next. For users who are not in it, too, where anybody
//! may read it.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#room-previews).

use std::time::Duration;

use luxchat_store::{ReadTx, RoomNid, StateSelection, Stretch, Topic};
use ruma::{
    OwnedRoomId, RoomId,
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
            .read(move |tx| {
                let look = |view: &View<'_, '_>| peek(view, room_id.clone());
                look_into(tx, &viewer, &room_id, look, now_ms)
            })
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
                    let look = |view: &View<'_, '_>| behind(view, from);
                    let (room, response) = look_into(tx, &viewer, &room_id, look, now_ms)?;
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

/// A room that a user looks into, with nothing filtered out.
struct View<'v, 't> {
    readable: &'v Readable,
    history: &'v History<'v>,
    sight: Sight<'v>,
    composer: Composer<'v, 't>,
}

fn look_into<T>(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    room_id: &RoomId,
    look: impl FnOnce(&View<'_, '_>) -> Result<T>,
    now_ms: u64,
) -> Result<T> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let readable = Readable::find(tx, viewer, &keys, room_id)?;
    let history = History::read(tx, &readable.room, &keys)?;
    look(&View {
        readable: &readable,
        history: &history,
        sight: Sight {
            history: &history,
            filter: &RoomEventFilter::default(),
            relations: None,
            ignored: &ignored_users(tx, viewer.user)?,
        },
        composer: Composer {
            tx,
            viewer,
            now_ms,
            room_id: Some(room_id),
        },
    })
}

fn peek(view: &View<'_, '_>, room_id: OwnedRoomId) -> Result<current::Response> {
    let &View {
        readable,
        history,
        sight,
        composer,
    } = view;
    let (tx, user, room) = (composer.tx, composer.viewer.user, readable.room.nid);
    let until = readable.until.min(tx.position()?.0);
    let stretch = Stretch {
        after: i64::MIN,
        until,
    };
    let mut rows = newest(tx, room, stretch, sight, NEWEST)?.rows;
    rows.reverse();

    let mut response = current::Response::new(room_id);
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
    let chunk = chunk.map(|row| composer.timeline_event(row, history));
    let mut messages = PaginationChunk::new(
        chunk.collect::<Result<_>>()?,
        SyncToken::after(until).to_string(),
    );
    messages.start = Some(SyncToken::before(first).to_string());
    response.messages = Some(messages);
    response.membership = tx.member(room, user)?.map(|member| member.membership);
    response.visibility = Some(if tx.is_published(room)? {
        Visibility::Public
    } else {
        Visibility::Private
    });
    let kept = tx.room_account_data_of(user, room)?;
    let kept = kept.iter();
    response.account_data = kept
        .map(|data| account_data_event(&data.event_type, &data.content))
        .collect::<Result<_>>()?;
    Ok(response)
}

/// What lies behind a place.
fn behind(view: &View<'_, '_>, from: i64) -> Result<(RoomNid, events::Response)> {
    let &View {
        readable,
        history,
        sight,
        composer,
    } = view;
    let room = readable.room.nid;
    let stretch = Stretch {
        after: from,
        until: readable.until,
    };
    let rows = oldest(composer.tx, room, stretch, sight, MOST_EVENTS)?.rows;
    let end = rows.last().and_then(|row| row.pos).unwrap_or(from);
    let chunk = rows.iter();
    let chunk = chunk.map(|row| composer.timeline_event(row, history));
    let mut response = events::Response::new();
    response.chunk = chunk.collect::<Result<_>>()?;
    response.start = Some(SyncToken::after(from).to_string());
    response.end = Some(SyncToken::after(end).to_string());
    Ok((room, response))
}
