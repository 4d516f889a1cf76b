//! The event nearest to a point in time.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event).

use luxchat_store::{ReadTx, TimedEvent};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, UInt, api::Direction};

use crate::{
    Result, Sync, Viewer,
    access::Readable,
    history::{History, HistoryKeys},
};

/// Events looked at for one that the user may see.
const SCANNED: usize = 2_000;

/// Events read in one go.
const PAGE: u32 = 50;

/// The event of a room that is nearest to a point in time.
#[derive(Clone, Debug)]
pub struct EventNear {
    /// The event and when it was sent; `None` where this server has none that the user may see.
    pub event: Option<(OwnedEventId, MilliSecondsSinceUnixEpoch)>,
    /// Whether other servers may have a nearer one: this one does not have all of the room's history.
    pub wants_peers: bool,
}

impl Sync {
    /// The nearest event at or after (forward), or at or before (backward) a point in time.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`](crate::Error::Forbidden) where the user may not read the room.
    pub async fn event_near(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<EventNear> {
        self.store
            .read(move |tx| {
                let keys = HistoryKeys::of(tx, &viewer.user_id)?;
                let readable = Readable::find(tx, &viewer, &keys, &room_id)?;
                let history = History::read(tx, &readable.room, &keys)?;
                let found = nearest(tx, &readable, &history, time, direction)?;
                Ok(EventNear {
                    event: found.map(|found| identify(tx, found)).transpose()?,
                    wants_peers: found.is_none() || tx.has_missing_prevs(readable.room.nid)?,
                })
            })
            .await
    }
}

fn nearest(
    tx: &ReadTx<'_>,
    readable: &Readable,
    history: &History<'_>,
    time: MilliSecondsSinceUnixEpoch,
    direction: Direction,
) -> Result<Option<TimedEvent>> {
    let room = readable.room.nid;
    let sent_ms = i64::from(time.0);
    let mut from = match direction {
        Direction::Forward => (sent_ms, i64::MIN),
        Direction::Backward => (sent_ms, i64::MAX),
    };
    let mut scanned = 0;
    while scanned < SCANNED {
        let (sent_ms, pos) = from;
        let page = match direction {
            Direction::Forward => tx.events_after_time(room, sent_ms, pos, PAGE)?,
            Direction::Backward => tx.events_before_time(room, sent_ms, pos, PAGE)?,
        };
        let Some(last) = page.last() else {
            return Ok(None);
        };
        from = (last.sent_ms, last.pos);
        scanned += page.len();
        for found in page {
            let may_read = found.pos <= readable.until;
            if may_read && history.can_see(tx, &tx.client_event_by_nid(found.event)?)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn identify(
    tx: &ReadTx<'_>,
    found: TimedEvent,
) -> Result<(OwnedEventId, MilliSecondsSinceUnixEpoch)> {
    let sent_ms = UInt::try_from(found.sent_ms).unwrap_or_default();
    Ok((
        tx.event_id(found.event)?,
        MilliSecondsSinceUnixEpoch(sent_ms),
    ))
}
