//! Whether a user may read a room, and how far.

use luxchat_store::{Coordinate, ReadTx, Room};
use ruma::{OwnedRoomId, RoomId, events::room::member::MembershipState};

use crate::{
    Error, Result, Sync, Viewer,
    history::{History, HistoryKeys},
};

impl Sync {
    /// Makes sure that a user may read a room at all.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where they may not.
    pub async fn check_readable(&self, viewer: Viewer, room_id: OwnedRoomId) -> Result<()> {
        self.store
            .read(move |tx| {
                let keys = HistoryKeys::of(tx, &viewer.user_id)?;
                Readable::find(tx, &viewer, &keys, &room_id).map(|_| ())
            })
            .await
    }
}

const NOT_IN_ROOM: Error = Error::Forbidden("you are not in the room");

/// A room that a user may read.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) room: Room,
    /// The newest place in the timeline that they may read, if they may not read all of it.
    pub(crate) until: i64,
    /// The newest state that they may read.
    pub(crate) state: Coordinate,
    /// Whether they are joined now.
    pub(crate) is_joined: bool,
}

impl Readable {
    /// Whoever is in a room may read it, whoever was may read it up to where they left, and anyone where it is
    /// world-readable.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`], also where there is no such room: that is nobody's business.
    pub(crate) fn find(
        tx: &ReadTx<'_>,
        viewer: &Viewer,
        keys: &HistoryKeys,
        room_id: &RoomId,
    ) -> Result<Self> {
        let room = tx.room_by_id(room_id)?.ok_or(NOT_IN_ROOM)?;
        let state = room.current.ok_or(NOT_IN_ROOM)?;
        let member = tx.member(room.nid, viewer.user)?;
        if let Some(member) = &member
            && member.membership == MembershipState::Join
        {
            return Ok(Self {
                room,
                until: i64::MAX,
                state,
                is_joined: true,
            });
        }
        let history = History::read(tx, &room, keys)?;
        if history.is_world_readable() {
            return Ok(Self {
                room,
                until: i64::MAX,
                state,
                is_joined: false,
            });
        }
        let member = member.ok_or(NOT_IN_ROOM)?;
        let has_left = matches!(
            member.membership,
            MembershipState::Leave | MembershipState::Ban
        );
        if !has_left || member.forgotten || !history.was_ever_joined() {
            return Err(NOT_IN_ROOM);
        }
        let leave = tx.client_event_by_nid(member.event)?;
        Ok(Self {
            room,
            until: leave.pos.ok_or(NOT_IN_ROOM)?,
            state: leave.after.ok_or(NOT_IN_ROOM)?,
            is_joined: false,
        })
    }
}
