//! Requests of other servers about rooms that this server is in.

use luxchat_store::{ReadTx, Room};
use ruma::{RoomId, ServerName};

use crate::{Error, Result, server_acl};

/// The room, for a server that asks to get in or that may be in it.
///
/// # Errors
///
/// [`Error::NotFound`] where this server is not in the room, [`Error::Forbidden`] where its ACL denies the asking server.
pub(crate) fn open_room(tx: &ReadTx<'_>, origin: &ServerName, room_id: &RoomId) -> Result<Room> {
    let room = tx.room_by_id(room_id)?.ok_or(Error::NotFound("room"))?;
    if room.current.is_none() || !tx.is_resident(room.nid)? {
        return Err(Error::NotFound("room"));
    }
    if !server_acl::is_allowed(tx, room.nid, origin)? {
        return Err(Error::Forbidden(format!(
            "the room's server ACL denies {origin}"
        )));
    }
    Ok(room)
}

/// The same for a server whose user asks to get in: where members are missing from the room's state, this server cannot
/// tell who may, nor what a joining server has to know.
///
/// # Errors
///
/// As [`open_room`].
pub(crate) fn open_whole_room(
    tx: &ReadTx<'_>,
    origin: &ServerName,
    room_id: &RoomId,
) -> Result<Room> {
    let room = open_room(tx, origin, room_id)?;
    if room.is_partial() {
        return Err(Error::NotFound("room"));
    }
    Ok(room)
}

/// The same as [`open_room`] for a server that must be in the room.
///
/// # Errors
///
/// Also [`Error::Forbidden`] where it is not.
pub(crate) fn open_room_for_member(
    tx: &ReadTx<'_>,
    origin: &ServerName,
    room_id: &RoomId,
) -> Result<Room> {
    let room = open_room(tx, origin, room_id)?;
    let is_member = match tx.server_nid(origin)? {
        Some(server) => tx.is_server_in_room(server, room.nid)?,
        None => false,
    };
    if is_member {
        Ok(room)
    } else {
        Err(Error::Forbidden(format!("{origin} is not in the room")))
    }
}
