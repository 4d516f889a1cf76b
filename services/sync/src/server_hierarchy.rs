//! The rooms of a space, for other servers.

use luxchat_store::{ReadTx, Room, Store};
use ruma::{
    OwnedServerName, RoomId,
    api::federation::space::{SpaceHierarchyParentSummary, get_hierarchy::v1},
    room::{JoinRuleSummary, RoomSummary, RoomType},
};

use crate::{Error, Result, hierarchy::children, room_summary::summarise};

/// Children told of at most.
const MAX_CHILDREN: usize = 100;

/// A space and its children, those that this server is in and the asking server may know of.
/// [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid).
///
/// # Errors
///
/// [`Error::NotFound`] where there is no such room here, or none that the server may know of.
pub async fn hierarchy_for_server(
    store: &Store,
    server: OwnedServerName,
    request: v1::Request,
) -> Result<v1::Response> {
    store.read(move |tx| answer(tx, &server, &request)).await
}

fn answer(
    tx: &ReadTx<'_>,
    server: &OwnedServerName,
    request: &v1::Request,
) -> Result<v1::Response> {
    let known = resident(tx, &request.room_id)?.ok_or(Error::NotFound("room"))?;
    let summary = summarise(tx, &known)?;
    if !may_know(tx, server, &known, &summary)? {
        return Err(Error::NotFound("room"));
    }
    let mut named = Vec::new();
    if summary.room_type == Some(RoomType::Space) {
        named = children(tx, &known, request.suggested_only)?;
        named.truncate(MAX_CHILDREN);
    }
    let (mut told, mut inaccessible) = (Vec::new(), Vec::new());
    let mut raw = Vec::with_capacity(named.len());
    for child in named {
        // Of a room that this server is not in, another may know more.
        if let Some(room) = resident(tx, &child.room_id)? {
            let summary = summarise(tx, &room)?;
            if may_know(tx, server, &room, &summary)? {
                told.push(summary);
            } else {
                inaccessible.push(child.room_id);
            }
        }
        raw.push(child.raw);
    }
    let room = SpaceHierarchyParentSummary::new(summary, raw);
    let mut response = v1::Response::new(room);
    response.children = told;
    response.inaccessible_children = inaccessible;
    Ok(response)
}

fn resident(tx: &ReadTx<'_>, room_id: &RoomId) -> Result<Option<Room>> {
    match tx.room_by_id(room_id)? {
        Some(room) if tx.is_resident(room.nid)? => Ok(Some(room)),
        _ => Ok(None),
    }
}

/// Whether some user of a server could see the room, or come in.
fn may_know(
    tx: &ReadTx<'_>,
    server: &OwnedServerName,
    room: &Room,
    summary: &RoomSummary,
) -> Result<bool> {
    let is_open = matches!(
        summary.join_rule,
        JoinRuleSummary::Public | JoinRuleSummary::Knock | JoinRuleSummary::KnockRestricted(_)
    );
    if summary.world_readable || is_open {
        return Ok(true);
    }
    let Some(server) = tx.server_nid(server)? else {
        return Ok(false);
    };
    let mut rooms = vec![room.nid];
    if let JoinRuleSummary::Restricted(restricted) = &summary.join_rule {
        for allowed in &restricted.allowed_room_ids {
            rooms.extend(tx.room_by_id(allowed)?.map(|room| room.nid));
        }
    }
    for room in rooms {
        if tx.is_server_in_room(server, room)? {
            return Ok(true);
        }
    }
    Ok(false)
}
