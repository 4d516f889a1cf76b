//! Which rooms a response may speak of, and in what detail.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use luxchat_store::RoomNid;
use ruma::{
    OwnedRoomId, UInt, UserId, api::client::sync::sync_events::v5::request::ExtensionRoomConfig,
    events::StateEventType,
};

use super::{SlidingRequest, required::Required, windows::Windows};

/// The longest timeline of one room.
const LONGEST_TIMELINE: usize = 100;

/// What to tell of a room.
#[derive(Clone, Debug, Default)]
pub(super) struct Detail {
    pub(super) timeline_limit: usize,
    pub(super) required: Arc<Required>,
}

impl Detail {
    /// Adds what a list or a subscription asks for.
    fn extend(
        &mut self,
        limit: UInt,
        required: &[(StateEventType, String)],
        excluded: &[(String, String)],
        viewer: &UserId,
    ) {
        let limit = usize::try_from(u64::from(limit)).unwrap_or(LONGEST_TIMELINE);
        self.timeline_limit = self.timeline_limit.max(limit.min(LONGEST_TIMELINE));
        Arc::make_mut(&mut self.required).extend(required, excluded, viewer);
    }
}

/// The rooms that a client looks at.
#[derive(Debug)]
pub(super) struct Scope<'p> {
    windows: &'p Windows,
    subscribed: HashMap<RoomNid, &'p OwnedRoomId>,
    /// Which lists show a room, as bits.
    shown_in: HashMap<RoomNid, u128>,
    /// In the order in which they are told.
    pub(super) rooms: Vec<(RoomNid, Detail)>,
}

impl<'p> Scope<'p> {
    /// What lists show, and what is subscribed to.
    pub(super) fn of(
        request: &'p SlidingRequest,
        windows: &'p Windows,
        subscribed: HashMap<RoomNid, &'p OwnedRoomId>,
        viewer: &UserId,
    ) -> Self {
        // As bits: most rooms are in the same ones and share their detail.
        let mut shown_in: HashMap<RoomNid, u128> = HashMap::new();
        let mut order: Vec<RoomNid> = subscribed.keys().copied().collect();
        order.sort_unstable();
        for (number, window) in windows.lists.values().enumerate() {
            for room in &window.rooms {
                let lists = shown_in.entry(*room).or_insert_with(|| {
                    if !subscribed.contains_key(room) {
                        order.push(*room);
                    }
                    0
                });
                *lists |= 1 << number;
            }
        }
        let mut details: HashMap<u128, Detail> = HashMap::new();
        let rooms = order.into_iter().map(|room| {
            let lists = shown_in.get(&room).copied().unwrap_or_default();
            let of_lists = details
                .entry(lists)
                .or_insert_with(|| of_lists(request, lists, viewer));
            let mut detail = of_lists.clone();
            if let Some(room_id) = subscribed.get(&room) {
                let asked = &request.room_subscriptions[*room_id];
                let excluded = request
                    .excluded
                    .get(*room_id)
                    .map_or(&[][..], Vec::as_slice);
                detail.extend(
                    asked.timeline_limit,
                    &asked.required_state,
                    excluded,
                    viewer,
                );
            }
            (room, detail)
        });
        Self {
            rooms: rooms.collect(),
            windows,
            subscribed,
            shown_in,
        }
    }

    /// The lists that show a room.
    pub(super) fn lists_of(&self, room: RoomNid) -> Vec<String> {
        let shown_in = self.shown_in.get(&room).copied().unwrap_or_default();
        let names = self.windows.lists.keys().enumerate();
        let showing = names.filter(|(number, _)| shown_in & (1 << number) != 0);
        showing.map(|(_, name)| name.clone()).collect()
    }

    /// The rooms that an extension is about.
    pub(super) fn of_extension(
        &self,
        lists: Option<&[String]>,
        rooms: Option<&[ExtensionRoomConfig]>,
    ) -> HashSet<RoomNid> {
        let windows = self.windows.lists.iter();
        let windows = windows.filter(|(name, _)| lists.is_none_or(|lists| lists.contains(name)));
        let mut found: HashSet<RoomNid> = windows
            .flat_map(|(_, window)| window.rooms.iter().copied())
            .collect();
        let is_meant = |room_id: &OwnedRoomId| {
            rooms.is_none_or(|rooms| {
                rooms.iter().any(|room| match room {
                    ExtensionRoomConfig::AllSubscribed => true,
                    ExtensionRoomConfig::Room(room) => room == room_id,
                    // ruma may learn of more ways to name rooms; this server knows none.
                    _ => false,
                })
            })
        };
        let subscribed = self.subscribed.iter();
        found.extend(
            subscribed
                .filter(|(_, room_id)| is_meant(room_id))
                .map(|(room, _)| *room),
        );
        found
    }
}

fn of_lists(request: &SlidingRequest, lists: u128, viewer: &UserId) -> Detail {
    let mut detail = Detail::default();
    for (number, (name, list)) in request.common.lists.iter().enumerate() {
        if lists & (1 << number) != 0 {
            let asked = &list.room_details;
            let extra = request.lists.get(name);
            let excluded = extra.map_or(&[][..], |extra| &extra.excluded);
            detail.extend(
                asked.timeline_limit,
                &asked.required_state,
                excluded,
                viewer,
            );
        }
    }
    detail
}
