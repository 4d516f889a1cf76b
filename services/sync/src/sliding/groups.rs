//! What lists narrow rooms down by beside what the rooms say of themselves: tags and spaces.

use std::collections::{BTreeMap, HashMap, HashSet};

use luxchat_store::{ReadTx, RoomNid, StateSelection, UserNid};
use ruma::{OwnedRoomId, events::room::member::MembershipState};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ListExtra, SlidingRequest};
use crate::{Result, client_event::Fields};

/// Spaces looked into for one request.
const SPACES: usize = 100;

/// Tags and spaces of a user's rooms, as far as lists ask for them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    tags: HashMap<RoomNid, HashSet<String>>,
    spaces: HashMap<OwnedRoomId, HashSet<RoomNid>>,
}

impl Groups {
    pub(super) fn read(tx: &ReadTx<'_>, user: UserNid, request: &SlidingRequest) -> Result<Self> {
        let mut groups = Self::default();
        let lists = || request.lists.values();
        if lists().any(|list| list.tags.is_some() || !list.not_tags.is_empty()) {
            for (room, content) in tx.room_account_data_of_type(user, "m.tag")? {
                groups.tags.insert(room, tags(content.get()));
            }
        }
        let spaces = lists().filter_map(|list| list.spaces.as_ref()).flatten();
        for space in spaces.take(SPACES) {
            if let Some(room) = tx.room_by_id(space)?
                && let Some(member) = tx.member(room.nid, user)?
                && member.membership == MembershipState::Join
            {
                let children = children(tx, room.nid)?;
                groups.spaces.insert(space.clone(), children);
            }
        }
        Ok(groups)
    }

    /// Whether a list that asks for this shows a room.
    pub(super) fn pass(&self, list: &ListExtra, room: RoomNid) -> bool {
        let tags = self.tags.get(&room);
        let has = |tag: &String| tags.is_some_and(|tags| tags.contains(tag));
        let is_in = |space: &OwnedRoomId| {
            let rooms = self.spaces.get(space);
            rooms.is_some_and(|rooms| rooms.contains(&room))
        };
        list.tags.as_ref().is_none_or(|tags| tags.iter().any(has))
            && !list.not_tags.iter().any(has)
            && (list.spaces.as_ref()).is_none_or(|spaces| spaces.iter().any(is_in))
    }
}

fn tags(content: &str) -> HashSet<String> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        tags: BTreeMap<String, &'a RawValue>,
    }
    // Clients write this; what makes no sense names no tags.
    let content = serde_json::from_str::<Content<'_>>(content);
    content.map_or_else(
        |_| HashSet::new(),
        |content| content.tags.into_keys().collect(),
    )
}

/// The rooms that a space names as its children.
fn children(tx: &ReadTx<'_>, space: RoomNid) -> Result<HashSet<RoomNid>> {
    #[derive(Deserialize)]
    struct Child {
        #[serde(default)]
        via: Vec<String>,
    }
    let mut children = HashSet::new();
    for row in tx.client_state(space, StateSelection::WithoutMembers)? {
        let fields = Fields::parse(&row.json)?;
        if fields.event_type != "m.space.child" {
            continue;
        }
        let child = serde_json::from_str::<Child>(fields.content.get());
        // Without servers to go by it is no child any more.
        if child.is_ok_and(|child| !child.via.is_empty())
            && let Some(room_id) = fields
                .state_key
                .and_then(|key| OwnedRoomId::try_from(key).ok())
            && let Some(room) = tx.room_by_id(&room_id)?
        {
            children.insert(room.nid);
        }
    }
    Ok(children)
}
