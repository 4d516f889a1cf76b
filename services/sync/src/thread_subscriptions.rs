//! Threads that a user wants to hear of.
//! [MSC4306](https://github.com/matrix-org/matrix-spec-proposals/pull/4306),
//! [MSC4308](https://github.com/matrix-org/matrix-spec-proposals/pull/4308).

use std::collections::BTreeMap;

use luxchat_store::{Position, ReadTx, RoomNid};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde::Serialize;

use crate::{
    Error, Result, Sync, SyncToken, Viewer,
    access::Readable,
    history::{History, HistoryKeys},
    messages::token,
};

/// Threads that one user may decide about.
const THREADS: u64 = 10_000;

/// Decisions in one page, unless the client says how many, and at most.
const PAGE: u32 = 100;
const LONGEST_PAGE: u32 = 1_000;

/// Decisions about threads, as clients get them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ThreadSubscriptions {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    subscribed: BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, Subscribed>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unsubscribed: BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, Unsubscribed>>,
    /// Where older ones are found, if there are more.
    #[serde(skip)]
    pub rest: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Subscribed {
    automatic: bool,
    bump_stamp: i64,
}

#[derive(Clone, Debug, Serialize)]
struct Unsubscribed {
    bump_stamp: i64,
}

impl ThreadSubscriptions {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.subscribed.is_empty() && self.unsubscribed.is_empty()
    }

    /// A user's decisions in (`after`, `until`], as many of the newest as fit.
    pub(crate) fn read(
        tx: &ReadTx<'_>,
        viewer: &Viewer,
        (after, until): (Position, Position),
        limit: Option<u32>,
    ) -> Result<Self> {
        let limit = limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE);
        let mut rows = tx.thread_subscriptions(viewer.user, after, until, limit + 1)?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let mut found = Self::default();
        if has_more && let Some(last) = rows.last() {
            found.rest = Some(SyncToken::before(last.seq.0).to_string());
        }
        for row in rows {
            let bump_stamp = row.seq.0;
            if row.is_subscribed {
                let room = found.subscribed.entry(row.room_id).or_default();
                let automatic = row.is_automatic;
                room.insert(
                    row.root,
                    Subscribed {
                        automatic,
                        bump_stamp,
                    },
                );
            } else {
                let room = found.unsubscribed.entry(row.room_id).or_default();
                room.insert(row.root, Unsubscribed { bump_stamp });
            }
        }
        Ok(found)
    }
}

impl Sync {
    /// Whether a user subscribes to a thread, and whether a client did it for them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where they do not, or there is no such thread that they may see.
    pub async fn thread_subscription(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
        root: OwnedEventId,
    ) -> Result<bool> {
        self.store
            .read(move |tx| {
                let room = thread(tx, &viewer, &room_id, &root)?;
                let held = tx.thread_subscription(viewer.user, room, &root)?;
                held.filter(|held| held.is_subscribed)
                    .map(|held| held.is_automatic)
                    .ok_or(Error::NotFound("thread subscription"))
            })
            .await
    }

    /// Subscribes a user to a thread; with `automatic`, a client does it because of that reply.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no such thread that the user may see, [`Error::NotInThread`] where the reply is
    /// none in it, [`Error::Unsubscribed`] where the user unsubscribed after it, [`Error::Invalid`] where they have too
    /// many.
    pub async fn subscribe_thread(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
        root: OwnedEventId,
        automatic: Option<OwnedEventId>,
    ) -> Result<()> {
        self.store
            .write(move |tx| {
                let room = thread(tx, &viewer, &room_id, &root)?;
                let held = tx.thread_subscription(viewer.user, room, &root)?;
                if let Some(cause) = &automatic {
                    if !tx.is_in_thread(room, &root, cause)? {
                        return Err(Error::NotInThread);
                    }
                    let pos = tx.timeline_pos(room, cause)?.unwrap_or(i64::MIN);
                    match &held {
                        Some(held) if held.is_subscribed => return Ok(()),
                        Some(held) if held.seq.0 > pos => return Err(Error::Unsubscribed),
                        _ => {}
                    }
                }
                if held.is_none() && tx.thread_subscription_count(viewer.user)? >= THREADS {
                    return Err(Error::Invalid("too many thread subscriptions"));
                }
                let is_automatic = automatic.is_some();
                tx.set_thread_subscription(viewer.user, room, &root, true, is_automatic)?;
                Ok(())
            })
            .await
    }

    /// Ends a user's subscription to a thread, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no such thread that the user may see.
    pub async fn unsubscribe_thread(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
        root: OwnedEventId,
    ) -> Result<()> {
        self.store
            .write(move |tx| {
                let room = thread(tx, &viewer, &room_id, &root)?;
                let held = tx.thread_subscription(viewer.user, room, &root)?;
                if held.is_some_and(|held| held.is_subscribed) {
                    tx.set_thread_subscription(viewer.user, room, &root, false, false)?;
                }
                Ok(())
            })
            .await
    }

    /// A page of a user's decisions about threads, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`].
    pub async fn thread_subscriptions(
        &self,
        viewer: Viewer,
        from: Option<String>,
        to: Option<String>,
        limit: Option<u32>,
    ) -> Result<ThreadSubscriptions> {
        self.store
            .read(move |tx| {
                let until = token(from.as_deref())?.map_or(tx.position()?, Position);
                let after = token(to.as_deref())?.map_or(Position::START, Position);
                ThreadSubscriptions::read(tx, &viewer, (after, until), limit)
            })
            .await
    }
}

/// The room of a thread whose root the user may see.
fn thread(tx: &ReadTx<'_>, viewer: &Viewer, room_id: &RoomId, root: &EventId) -> Result<RoomNid> {
    let missing = Error::NotFound("thread");
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let Ok(readable) = Readable::find(tx, viewer, &keys, room_id) else {
        return Err(missing);
    };
    let history = History::read(tx, &readable.room, &keys)?;
    match tx.client_event(readable.room.nid, root)? {
        Some(row) if history.can_see(tx, &row)? => Ok(readable.room.nid),
        _ => Err(missing),
    }
}
