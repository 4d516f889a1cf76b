//! Memberships of rooms that only other servers are in.

use ruma::{CanonicalJsonObject, OwnedEventId, OwnedServerName, RoomId, UserId};

use crate::{Error, Result, Rooms};

impl Rooms {
    /// Joins a user through one of the servers `via`; `content` is that of the membership event.
    pub(crate) async fn join_remote(
        &self,
        _user: &UserId,
        room_id: &RoomId,
        _via: &[OwnedServerName],
        _content: CanonicalJsonObject,
    ) -> Result<()> {
        Err(Error::RoomNotResident(room_id.to_owned()))
    }

    /// Knocks for a user through one of the servers `via`.
    pub(crate) async fn knock_remote(
        &self,
        _user: &UserId,
        room_id: &RoomId,
        _via: &[OwnedServerName],
        _content: CanonicalJsonObject,
    ) -> Result<()> {
        Err(Error::RoomNotResident(room_id.to_owned()))
    }

    /// Declines an invite to a room of other servers, or takes a knock back.
    pub(crate) async fn leave_remote(
        &self,
        _user: &UserId,
        room_id: &RoomId,
        _content: CanonicalJsonObject,
    ) -> Result<()> {
        Err(Error::RoomNotResident(room_id.to_owned()))
    }

    /// Invites a user of another server to a room that this one is in. Answers with the invite's id.
    pub(crate) async fn invite_remote(
        &self,
        _sender: &UserId,
        _target: &UserId,
        room_id: &RoomId,
        _content: CanonicalJsonObject,
    ) -> Result<OwnedEventId> {
        Err(Error::RoomNotResident(room_id.to_owned()))
    }
}
