//! The rooms of a space.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use luxchat_store::{ReadTx, Room};
use ruma::{
    OwnedRoomId, OwnedServerName, UInt,
    api::{
        client::space::{SpaceHierarchyRoomsChunk, get_hierarchy::v1},
        federation::space::SpaceHierarchyParentSummary,
    },
    events::space::child::HierarchySpaceChildEvent,
    room::{RoomSummary, RoomType},
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

/// What peers say of rooms that this server is not in, by room. `None`: nobody says anything.
pub type RemoteRooms = HashMap<OwnedRoomId, Option<SpaceHierarchyParentSummary>>;

/// A page of a space, as far as it is known.
#[derive(Debug)]
pub enum Hierarchy {
    /// The page.
    Page(v1::Response),
    /// Rooms that others have to be asked for first, and whom.
    Missing(Vec<(OwnedRoomId, Vec<OwnedServerName>)>),
}

impl Sync {
    /// A page of the rooms of a space, and of the spaces in it, that the user may know of: those that this server is in,
    /// and those that `remote` tells of.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not know of the space, [`Error::UnknownToken`].
    pub async fn hierarchy(
        &self,
        viewer: Viewer,
        request: v1::Request,
        remote: Arc<RemoteRooms>,
    ) -> Result<Hierarchy> {
        self.store
            .read(move |tx| page(tx, &viewer, &request, &remote))
            .await
    }
}

fn page(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    request: &v1::Request,
    remote: &RemoteRooms,
) -> Result<Hierarchy> {
    let length = |limit: UInt| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX);
    let limit = request.limit.map_or(PAGE, length).clamp(1, LONGEST_PAGE);
    let depth = request.max_depth.map_or(DEPTH, length).min(DEPTH);
    let start = token(request.from.as_deref())?.unwrap_or(0);
    let start = usize::try_from(start).unwrap_or(0);
    let first = Place {
        room_id: request.room_id.clone(),
        via: Vec::new(),
        depth,
    };
    let mut walk = Walk {
        tx,
        viewer,
        remote,
        suggested_only: request.suggested_only,
        seen: HashSet::new(),
        left: vec![first],
        missing: Vec::new(),
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
    if !walk.missing.is_empty() {
        return Ok(Hierarchy::Missing(walk.missing));
    }
    if place == 0 {
        return Err(Error::Forbidden("you are not in the room"));
    }
    Ok(Hierarchy::Page(response))
}

/// A room to visit.
struct Place {
    room_id: OwnedRoomId,
    /// Servers that know it.
    via: Vec<OwnedServerName>,
    /// How deep to look into it.
    depth: usize,
}

/// From room to room, depth first, each once.
struct Walk<'w, 'tx> {
    tx: &'w ReadTx<'tx>,
    viewer: &'w Viewer,
    remote: &'w RemoteRooms,
    suggested_only: bool,
    seen: HashSet<OwnedRoomId>,
    /// Rooms to visit, the next one last.
    left: Vec<Place>,
    /// Rooms that neither this server is in nor a peer has been asked for.
    missing: Vec<(OwnedRoomId, Vec<OwnedServerName>)>,
}

impl Walk<'_, '_> {
    fn next(&mut self) -> Result<Option<SpaceHierarchyRoomsChunk>> {
        while let Some(place) = self.left.pop() {
            if self.seen.len() >= WALKED || !self.seen.insert(place.room_id.clone()) {
                continue;
            }
            let room = match self.tx.room_by_id(&place.room_id)? {
                Some(room) if self.tx.is_resident(room.nid)? => Some(room),
                _ => None,
            };
            let found = match room {
                Some(room) => self.own(&room)?,
                None => self.of_peers(place.room_id, place.via)?,
            };
            let Some((summary, children)) = found else {
                continue;
            };
            if place.depth > 0 {
                let next = children.iter().rev().map(|child| Place {
                    room_id: child.room_id.clone(),
                    via: child.parsed.content.via.clone(),
                    depth: place.depth - 1,
                });
                self.left.extend(next);
            }
            let children = children.into_iter().map(|child| child.raw).collect();
            return Ok(Some(SpaceHierarchyRoomsChunk::new(summary, children)));
        }
        Ok(None)
    }

    /// A room that this server is in, where the user may know of it.
    fn own(&self, room: &Room) -> Result<Option<(RoomSummary, Vec<Child>)>> {
        let summary = summarise(self.tx, room)?;
        if !may_know(self.tx, Some(self.viewer), Some(room.nid), &summary)? {
            return Ok(None);
        }
        let mut children = Vec::new();
        if summary.room_type == Some(RoomType::Space) {
            children = self::children(self.tx, room, self.suggested_only)?;
        }
        Ok(Some((summary, children)))
    }

    /// A room of which only peers know, where the user may.
    fn of_peers(
        &mut self,
        room_id: OwnedRoomId,
        via: Vec<OwnedServerName>,
    ) -> Result<Option<(RoomSummary, Vec<Child>)>> {
        let Some(told) = self.remote.get(&room_id) else {
            if !via.is_empty() {
                self.missing.push((room_id, via));
            }
            return Ok(None);
        };
        let Some(told) = told else {
            return Ok(None);
        };
        let own = self.tx.room_by_id(&room_id)?.map(|room| room.nid);
        if !may_know(self.tx, Some(self.viewer), own, &told.summary)? {
            return Ok(None);
        }
        let mut children: Vec<Child> = told
            .children_state
            .iter()
            .take(WALKED)
            .filter_map(|raw| Child::parse(raw.clone()))
            .filter(|child| child.counts(self.suggested_only))
            .collect();
        children.sort_by(|one, other| one.parsed.cmp(&other.parsed));
        Ok(Some((told.summary.clone(), children)))
    }
}

impl Child {
    fn parse(raw: Raw<HierarchySpaceChildEvent>) -> Option<Self> {
        raw.deserialize().ok().map(|parsed| Self {
            room_id: parsed.state_key.clone(),
            parsed,
            raw,
        })
    }

    /// Whether it is a child still, and one that is asked for.
    fn counts(&self, suggested_only: bool) -> bool {
        let content = &self.parsed.content;
        !content.via.is_empty() && (content.suggested || !suggested_only)
    }
}

/// The children that a space names, in its order.
pub(crate) fn children(tx: &ReadTx<'_>, space: &Room, suggested_only: bool) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    for row in tx.client_state_of_type(space.nid, "m.space.child")? {
        // What is no child, or one no longer, is skipped.
        if let Some(child) = child(&row.json)?
            && child.counts(suggested_only)
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
    Ok(Child::parse(raw))
}
