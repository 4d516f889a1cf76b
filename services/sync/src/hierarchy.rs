//! The rooms of a space.

use std::collections::HashSet;

use luxchat_store::{ReadTx, Room};
use ruma::{
    OwnedRoomId, UInt,
    api::client::space::{SpaceHierarchyRoomsChunk, get_hierarchy::v1},
    events::space::child::HierarchySpaceChildEvent,
    room::RoomType,
    serde::Raw,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    Error, Result, Sync, Viewer,
    client_event::{Fields, raw},
    messages::token,
    room_summary::{may_know, summarise},
};

/// Rooms in one page, unless the client says how many, and at most.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 200;

/// Rooms that are looked at of one space.
const WALKED: usize = 1_000;

/// Spaces within spaces that are looked into.
const DEPTH: usize = 20;

/// A child of a space.
pub(crate) struct Child {
    pub(crate) room_id: OwnedRoomId,
    parsed: HierarchySpaceChildEvent,
    pub(crate) raw: Raw<HierarchySpaceChildEvent>,
}

impl Sync {
    /// A page of the rooms of a space, and of the spaces in it, that this server is in and the user may know of.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not know of the space, [`Error::UnknownToken`].
    pub async fn hierarchy(&self, viewer: Viewer, request: v1::Request) -> Result<v1::Response> {
        self.store.read(move |tx| page(tx, &viewer, &request)).await
    }
}

fn page(tx: &ReadTx<'_>, viewer: &Viewer, request: &v1::Request) -> Result<v1::Response> {
    let length = |limit: UInt| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX);
    let limit = request.limit.map_or(PAGE, length).clamp(1, LONGEST_PAGE);
    let depth = request.max_depth.map_or(DEPTH, length).min(DEPTH);
    let start = token(request.from.as_deref())?.unwrap_or(0);
    let start = usize::try_from(start).unwrap_or(0);
    let mut walk = Walk {
        tx,
        viewer,
        suggested_only: request.suggested_only,
        seen: HashSet::new(),
        left: vec![(request.room_id.clone(), depth)],
    };
    let mut response = v1::Response::new();
    let mut place = 0;
    while let Some(room) = walk.next()? {
        if place >= start + limit {
            response.next_batch = Some(place.to_string());
            break;
        }
        if place >= start {
            response.rooms.push(room);
        }
        place += 1;
    }
    if place == 0 {
        return Err(Error::Forbidden("you are not in the room"));
    }
    Ok(response)
}

/// From room to room, depth first, each once.
struct Walk<'w, 'tx> {
    tx: &'w ReadTx<'tx>,
    viewer: &'w Viewer,
    suggested_only: bool,
    seen: HashSet<OwnedRoomId>,
    /// Rooms to visit, the next one last, and how deep to look into each.
    left: Vec<(OwnedRoomId, usize)>,
}

impl Walk<'_, '_> {
    fn next(&mut self) -> Result<Option<SpaceHierarchyRoomsChunk>> {
        while let Some((room_id, depth)) = self.left.pop() {
            if self.seen.len() >= WALKED || !self.seen.insert(room_id.clone()) {
                continue;
            }
            let Some(room) = self.tx.room_by_id(&room_id)? else {
                continue;
            };
            if !self.tx.is_resident(room.nid)? {
                continue;
            }
            let summary = summarise(self.tx, &room)?;
            if !may_know(self.tx, Some(self.viewer), &room, &summary)? {
                continue;
            }
            let mut children = Vec::new();
            if summary.room_type == Some(RoomType::Space) {
                children = self::children(self.tx, &room, self.suggested_only)?;
            }
            if depth > 0 {
                let next = children.iter().rev();
                let next = next.map(|child| (child.room_id.clone(), depth - 1));
                self.left.extend(next);
            }
            let children = children.into_iter().map(|child| child.raw).collect();
            return Ok(Some(SpaceHierarchyRoomsChunk::new(summary, children)));
        }
        Ok(None)
    }
}

/// The children that a space names, in its order.
pub(crate) fn children(tx: &ReadTx<'_>, space: &Room, suggested_only: bool) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    for row in tx.client_state_of_type(space.nid, "m.space.child")? {
        // What is no child, or one no longer, is skipped.
        if let Some(child) = child(&row.json)?
            && !child.parsed.content.via.is_empty()
            && (child.parsed.content.suggested || !suggested_only)
        {
            children.push(child);
        }
    }
    children.sort_by(|one, other| one.parsed.cmp(&other.parsed));
    Ok(children)
}

fn child(json: &str) -> Result<Option<Child>> {
    #[derive(Serialize)]
    struct ChildState<'a> {
        content: &'a RawValue,
        origin_server_ts: i64,
        sender: &'a str,
        state_key: Option<&'a str>,
        #[serde(rename = "type")]
        event_type: &'a str,
    }
    let fields = Fields::parse(json)?;
    let raw: Raw<HierarchySpaceChildEvent> = raw(&ChildState {
        content: fields.content,
        origin_server_ts: fields.origin_server_ts,
        sender: &fields.sender,
        state_key: fields.state_key.as_deref(),
        event_type: &fields.event_type,
    })?;
    Ok(raw.deserialize().ok().map(|parsed| Child {
        room_id: parsed.state_key.clone(),
        parsed,
        raw,
    }))
}
