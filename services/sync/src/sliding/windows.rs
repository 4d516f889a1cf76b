//! Lists: a user's rooms, filtered, sorted by what happened last, and cut to ranges.

use std::collections::{BTreeMap, HashMap, HashSet};

use luxchat_store::{EventNid, InvitePermission, Position, ReadTx, RoomNid, UserNid, UserRoom};
use ruma::{
    OwnedRoomId, UInt,
    api::client::sync::sync_events::v5::request::{List, ListFilters},
    directory::RoomTypeFilter,
    events::{AnyStrippedStateEvent, room::member::MembershipState},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{SlidingRequest, groups::Groups};
use crate::Result;

/// Events that move a room up a list.
const BUMPING: &[&str] = &[
    "m.call.invite",
    "m.poll.start",
    "m.room.create",
    "m.room.encrypted",
    "m.room.message",
    "m.sticker",
    "org.matrix.msc3381.poll.start",
    "org.matrix.msc3672.beacon_info",
];

/// Events among which one that moves the room is looked for.
const LOOKED_AT: u32 = 200;

/// Rooms that are known to be direct ones.
const DIRECT_ROOMS: usize = 10_000;

/// What lists sort and filter a room by.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) membership: MembershipState,
    /// The event that says so, and when it came.
    pub(super) event: EventNid,
    pub(super) seq: Position,
    /// When something last happened that the user wants to see.
    pub(super) bump_stamp: u64,
    /// Who invited the user, if somebody did.
    inviter: Option<UserNid>,
    /// Whether the user wants no invites of them.
    is_unwanted: bool,
    is_encrypted: bool,
    room_type: Option<String>,
}

impl Facts {
    /// Reads them; `older` are those from before something happened.
    pub(super) fn read(
        tx: &ReadTx<'_>,
        room: &UserRoom,
        user: UserNid,
        position: Position,
        older: Option<&Self>,
    ) -> Result<Self> {
        let is_joined = room.membership == MembershipState::Join;
        let is_invited = room.membership == MembershipState::Invite;
        let stripped = if is_joined {
            None
        } else {
            tx.stripped_state(room.room, user)?
        };
        let (is_encrypted, room_type) = match (stripped, older) {
            (Some(stripped), _) => from_stripped(&stripped),
            // Neither ever changes again.
            (None, Some(older)) if older.is_encrypted => (true, older.room_type.clone()),
            (None, _) => from_state(tx, room.room)?,
        };
        let bump = if is_joined {
            let place = tx.newest_place_of_types(room.room, BUMPING, position, LOOKED_AT)?;
            place.unwrap_or(0)
        } else {
            room.seq.0
        };
        let inviter = if is_invited {
            Some(tx.client_event_by_nid(room.event)?.sender)
        } else {
            None
        };
        let permission = match inviter {
            Some(inviter) => tx.invite_permission(user, &tx.user_id(inviter)?)?,
            None => InvitePermission::Allowed,
        };
        Ok(Self {
            membership: room.membership.clone(),
            event: room.event,
            seq: room.seq,
            bump_stamp: u64::try_from(bump).unwrap_or(0),
            inviter,
            is_unwanted: permission != InvitePermission::Allowed,
            is_encrypted,
            room_type,
        })
    }

    /// Whether the user was invited by somebody whom they ignore or want no invites of.
    pub(super) fn is_ignored(&self, ignored: &HashSet<UserNid>) -> bool {
        self.is_unwanted
            || self
                .inviter
                .is_some_and(|inviter| ignored.contains(&inviter))
    }

    fn passes(&self, filters: &ListFilters, is_direct: bool) -> bool {
        let is_invited = self.membership == MembershipState::Invite;
        let is_type = |wanted: &RoomTypeFilter| wanted.as_str() == self.room_type.as_deref();
        filters.is_dm.is_none_or(|wanted| wanted == is_direct)
            && filters
                .is_encrypted
                .is_none_or(|wanted| wanted == self.is_encrypted)
            && filters.is_invite.is_none_or(|wanted| wanted == is_invited)
            && (filters.room_types.is_empty() || filters.room_types.iter().any(is_type))
            && !filters.not_room_types.iter().any(is_type)
    }
}

/// The rooms that lists show.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    /// What was asked for.
    asked: String,
    pub(super) lists: BTreeMap<String, Window>,
}

/// The rooms of one list.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// How many there are.
    pub(super) count: usize,
    /// Those in its ranges, range by range.
    pub(super) rooms: Vec<RoomNid>,
}

impl Windows {
    /// Whether these are the answer to the same question.
    pub(super) fn answer(&self, request: &SlidingRequest) -> bool {
        self.asked == question(request)
    }

    pub(super) fn cut(
        request: &SlidingRequest,
        facts: &HashMap<RoomNid, Facts>,
        groups: &Groups,
        direct: &HashSet<RoomNid>,
        ignored: &HashSet<UserNid>,
    ) -> Self {
        let mut rooms: Vec<_> = facts
            .iter()
            .filter(|(_, facts)| !facts.is_ignored(ignored))
            .collect();
        rooms.sort_by_key(|(room, facts)| (std::cmp::Reverse(facts.bump_stamp), **room));
        let window = |name: &String, list: &List| {
            let extra = request.lists.get(name).filter(|it| it.looks_at_groups());
            let passing = rooms.iter().filter(|(room, facts)| {
                let filters = list.filters.as_ref();
                filters.is_none_or(|filters| facts.passes(filters, direct.contains(room)))
                    && extra.is_none_or(|extra| groups.pass(extra, **room))
            });
            let passing: Vec<RoomNid> = passing.map(|(room, _)| **room).collect();
            let mut seen = HashSet::new();
            Window {
                count: passing.len(),
                rooms: list
                    .ranges
                    .iter()
                    .flat_map(|range| in_range(&passing, *range))
                    .copied()
                    .filter(|room| seen.insert(*room))
                    .collect(),
            }
        };
        Self {
            asked: question(request),
            lists: request
                .common
                .lists
                .iter()
                .map(|(name, list)| (name.clone(), window(name, list)))
                .collect(),
        }
    }
}

/// The rooms that the user calls direct ones.
pub(super) fn direct_rooms(tx: &ReadTx<'_>, user: UserNid) -> Result<HashSet<RoomNid>> {
    let Some(content) = tx.account_data(user, "m.direct")? else {
        return Ok(HashSet::new());
    };
    // Clients write this; what makes no sense names no rooms.
    let users: BTreeMap<String, Vec<OwnedRoomId>> =
        serde_json::from_str(content.get()).unwrap_or_default();
    let mut rooms = HashSet::new();
    for room_id in users.into_values().flatten().take(DIRECT_ROOMS) {
        rooms.extend(tx.room_by_id(&room_id)?.map(|room| room.nid));
    }
    Ok(rooms)
}

/// Both ends belong to the range.
fn in_range(rooms: &[RoomNid], (first, last): (UInt, UInt)) -> &[RoomNid] {
    let place = |place: UInt| usize::try_from(u64::from(place)).unwrap_or(usize::MAX);
    let end = place(last).saturating_add(1).min(rooms.len());
    rooms.get(place(first)..end).unwrap_or_default()
}

fn question(request: &SlidingRequest) -> String {
    let lists = serde_json::to_string(&request.common.lists);
    let lists = lists.expect("lists came as JSON and go as JSON");
    if request.lists.is_empty() {
        return lists;
    }
    format!("{lists} {:?}", request.lists)
}

fn from_state(tx: &ReadTx<'_>, room: RoomNid) -> Result<(bool, Option<String>)> {
    #[derive(Deserialize)]
    struct Create {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "type")]
        room_type: Option<String>,
    }
    let (create, is_encrypted) = tx.room_kind(room)?;
    let create = create.and_then(|json| serde_json::from_str::<Create>(&json).ok());
    Ok((
        is_encrypted,
        create.and_then(|create| create.content.room_type),
    ))
}

/// The same, as another server tells it to somebody it invites.
fn from_stripped(events: &str) -> (bool, Option<String>) {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "type")]
        room_type: Option<String>,
    }
    let events: Vec<Box<RawValue>> = serde_json::from_str(events).unwrap_or_default();
    let mut found = (false, None);
    for event in events
        .into_iter()
        .map(Raw::<AnyStrippedStateEvent>::from_json)
    {
        match event.get_field::<String>("type").ok().flatten().as_deref() {
            Some("m.room.encryption") => found.0 = true,
            Some("m.room.create") => {
                let content = event.get_field::<Content>("content").ok().flatten();
                found.1 = content.and_then(|content| content.room_type);
            }
            _ => {}
        }
    }
    found
}
