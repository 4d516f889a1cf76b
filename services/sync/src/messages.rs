//! Reading a room's timeline in pages.

use std::collections::HashSet;

use luxchat_store::{ClientRow, ReadTx, Stretch, UserNid};
use ruma::{
    api::{
        Direction,
        client::{filter::RoomEventFilter, message::get_message_events::v3},
    },
    events::{AnyStateEvent, StateEventType},
    serde::Raw,
};

use crate::{
    RelationFilter, Result, Sync, SyncToken, Viewer,
    access::Readable,
    client_event::Composer,
    history::{History, HistoryKeys},
    response::ignored_users,
    timeline::{Sight, newest, oldest},
};

/// The most events in one page.
const LONGEST_PAGE: usize = 500;

/// A page of a room's timeline.
#[derive(Debug)]
pub struct Messages {
    /// What to answer.
    pub response: v3::Response,
    /// Where the page ends at an event although other servers have some that come before it: its place. Ask them, and
    /// read the page again.
    pub wants_backfill: Option<i64>,
}

/// What a page does about events that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// It ends there.
    End,
    /// It goes on with what there is.
    Skip,
}

impl Sync {
    /// A page of a room's timeline.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`](crate::Error::Forbidden) where the user may not read the room,
    /// [`Error::UnknownToken`](crate::Error::UnknownToken).
    pub async fn messages(
        &self,
        viewer: Viewer,
        request: v3::Request,
        relations: RelationFilter,
        gaps: Gaps,
    ) -> Result<Messages> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| page(tx, &viewer, &request, (&relations, gaps), now_ms))
            .await
    }
}

fn page(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    request: &v3::Request,
    (relations, gaps): (&RelationFilter, Gaps),
    now_ms: u64,
) -> Result<Messages> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let readable = Readable::find(tx, viewer, &keys, &request.room_id)?;
    let room = readable.room.nid;
    let history = History::read(tx, &readable.room, &keys)?;
    let sight = Sight {
        history: &history,
        filter: &request.filter,
        relations: Some(relations),
        ignored: &ignored_users(tx, viewer.user)?,
    };
    let limit = request.filter.limit.unwrap_or(request.limit);
    let limit = usize::try_from(u64::from(limit)).map_or(LONGEST_PAGE, |l| l.min(LONGEST_PAGE));
    let from = token(request.from.as_deref())?;
    let to = token(request.to.as_deref())?;
    let newest_place = tx.position()?.0;
    let mut gap = None;
    let (start, found) = match request.dir {
        Direction::Backward => {
            let start = from.unwrap_or(newest_place);
            let mut stretch = Stretch {
                after: to.unwrap_or(i64::MIN),
                until: start.min(readable.until),
            };
            // A page that ended at a gap goes on from right before the event behind it.
            let with_start = Stretch {
                until: start.saturating_add(1).min(readable.until),
                ..stretch
            };
            gap = tx.newest_gap(room, with_start)?;
            if let (Some(gap), Gaps::End) = (gap, gaps) {
                stretch.after = gap.saturating_sub(1);
            }
            (start, newest(tx, room, stretch, sight, limit)?)
        }
        Direction::Forward => {
            let start = from.unwrap_or(i64::MIN);
            let stretch = Stretch {
                after: start,
                until: to.unwrap_or(i64::MAX).min(readable.until),
            };
            (start, oldest(tx, room, stretch, sight, limit)?)
        }
    };
    let composer = Composer {
        tx,
        viewer,
        now_ms,
        room_id: Some(&request.room_id),
    };
    let mut response = v3::Response::new();
    response.start = SyncToken::after(start).to_string();
    response.end = found.rest.map(|rest| SyncToken::after(rest).to_string());
    let events = found.rows.iter();
    let events = events.map(|row| composer.timeline_event(row, &history));
    response.chunk = events.collect::<Result<_>>()?;
    response.state = lazy_state(composer, &readable, &request.filter, &found.rows)?;
    let wants_backfill = gap.filter(|_| found.rest.is_none() && gaps == Gaps::End);
    if let Some(gap) = wants_backfill {
        // There is more, if not here.
        response.end = Some(SyncToken::before(gap).to_string());
    } else if response.end.is_none()
        && request.dir == Direction::Backward
        && leaves_out(&request.filter)
    {
        // Nothing more passes the filter; but the room goes on, and a client may from here with another one.
        let oldest = found.rows.last().and_then(|row| row.pos);
        response.end = oldest.map(|oldest| SyncToken::before(oldest).to_string());
    }
    Ok(Messages {
        response,
        wants_backfill,
    })
}

/// Whether a filter lets only some events pass.
fn leaves_out(filter: &RoomEventFilter) -> bool {
    filter.types.is_some()
        || filter.senders.is_some()
        || filter.url_filter.is_some()
        || !filter.not_types.is_empty()
        || !filter.not_senders.is_empty()
}

/// The place that a client names, if it names one.
pub(crate) fn token(token: Option<&str>) -> Result<Option<i64>> {
    // Some clients send an empty one for none.
    let token = token.filter(|token| !token.is_empty());
    let token = token.map(str::parse::<SyncToken>).transpose()?;
    Ok(token.map(|token| token.position.0))
}

/// With lazy loading, the memberships of the senders of some events, as far as the user may know them.
pub(crate) fn lazy_state(
    composer: Composer<'_, '_>,
    readable: &Readable,
    filter: &RoomEventFilter,
    rows: &[ClientRow],
) -> Result<Vec<Raw<AnyStateEvent>>> {
    if filter.lazy_load_options.is_disabled() {
        return Ok(Vec::new());
    }
    let senders: HashSet<UserNid> = rows.iter().map(|row| row.sender).collect();
    let mut state = Vec::with_capacity(senders.len());
    for sender in senders {
        let user_id = composer.tx.user_id(sender)?;
        let member = composer.tx.state_entry_at(
            readable.state,
            &StateEventType::RoomMember,
            user_id.as_str(),
        )?;
        if let Some(member) = member {
            let row = composer.tx.client_event_by_nid(member)?;
            state.push(composer.bare_event(&row)?);
        }
    }
    Ok(state)
}
