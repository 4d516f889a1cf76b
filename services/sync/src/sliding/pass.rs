//! One sliding sync response, from one snapshot.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use luxchat_store::{Position, RoomNid, UserRoom};
use ruma::{
    OwnedRoomId, UInt,
    api::client::sync::sync_events::v5::{Response, response},
    events::room::member::MembershipState,
};

use super::{
    ListExtra, RoomExtra, SlidingRequest, SlidingResponse,
    connection::{Extent, Known, Sent},
    groups::Groups,
    scope::{Detail, Scope},
    windows::{Facts, Windows, direct_rooms},
};
use crate::{
    Result, ThreadSubscriptions,
    response::{Pass, UserRooms},
};

/// Rooms in one response. The rest comes with the next one, which does not wait.
const ROOMS: usize = 500;

/// What a client is told.
pub(super) struct Told {
    pub(super) response: SlidingResponse,
    /// What it knows then.
    pub(super) next: Known,
    pub(super) is_empty: bool,
}

/// A response in the making.
pub(super) struct SlidingPass<'p, 'tx> {
    /// What reads as the classic sync does.
    pub(super) base: Pass<'p, 'tx>,
    pub(super) request: &'p SlidingRequest,
    pub(super) known: &'p Known,
    pub(super) next: Known,
    /// The position of the response before this one.
    pub(super) last: Position,
    /// The rooms of which the store says that something may have happened.
    pub(super) changed: HashMap<RoomNid, UserRoom>,
    /// Rooms that this response tells from the start, by the ids of the events told.
    pub(super) initial: HashMap<RoomNid, HashSet<String>>,
}

impl<'p, 'tx> SlidingPass<'p, 'tx> {
    pub(super) fn new(base: Pass<'p, 'tx>, request: &'p SlidingRequest, known: &'p Known) -> Self {
        let mut next = known.clone();
        next.position = Some(base.position);
        Self {
            base,
            request,
            known,
            next,
            last: known.position.unwrap_or(Position::START),
            changed: HashMap::new(),
            initial: HashMap::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Told> {
        let UserRooms { rooms, asked } = self.base.user_rooms()?;
        self.changed = rooms.into_iter().map(|room| (room.room, room)).collect();
        let moved = self.update_facts(asked.as_ref())?;
        let windows = self.windows(moved)?;
        let subscribed = self.subscribed()?;
        let scope = Scope::of(
            self.request,
            &windows,
            subscribed,
            &self.base.viewer.user_id,
        );
        let mut response = SlidingResponse {
            common: Response::new(String::new()),
            rooms: BTreeMap::new(),
            thread_subscriptions: self.thread_subscriptions()?,
        };
        response.common.txn_id.clone_from(&self.request.txn_id);
        for (name, window) in &windows.lists {
            let mut list = response::List::default();
            list.count = UInt::new_saturating(u64::try_from(window.count).unwrap_or(u64::MAX));
            response.common.lists.insert(name.clone(), list);
        }
        self.add_rooms(&scope, &mut response)?;
        self.add_left_rooms(&mut response)?;
        let has_news = self.add_extensions(&scope, &mut response.common)?;
        self.next.windows = Arc::clone(&windows);
        Ok(Told {
            is_empty: response.common.rooms.is_empty()
                && response.thread_subscriptions.is_empty()
                && !has_news,
            response,
            next: self.next,
        })
    }

    /// What the client knows of a room, to be changed.
    pub(super) fn sent_mut(&mut self, room: RoomNid) -> &mut Sent {
        Arc::make_mut(&mut self.next.rooms).entry(room).or_default()
    }

    /// Reads anew what lists sort and filter by, where something happened. Says whether anything did.
    fn update_facts(&mut self, asked: Option<&BTreeSet<RoomNid>>) -> Result<bool> {
        let (tx, user) = (self.base.tx, self.base.viewer.user);
        let mut fresh: Vec<(RoomNid, Option<Facts>)> = Vec::new();
        for room in self.changed.values() {
            let older = self.known.facts.get(&room.room);
            let is_listed = matches!(
                room.membership,
                MembershipState::Join | MembershipState::Invite | MembershipState::Knock
            );
            let is_same = older.is_some_and(|older| {
                older.seq == room.seq
                    && older.membership == room.membership
                    && !(room.has_events && room.membership == MembershipState::Join)
            });
            if !is_listed && older.is_some() {
                fresh.push((room.room, None));
            } else if is_listed && !is_same {
                let facts = Facts::read(tx, room, user, self.base.position, older)?;
                fresh.push((room.room, Some(facts)));
            }
        }
        // What a room's state lost by resolution leaves no trace of the user.
        let known = &self.known.facts;
        let suspects: Vec<RoomNid> = match asked {
            Some(asked) => asked
                .iter()
                .filter(|room| known.contains_key(room))
                .copied()
                .collect(),
            None => known.keys().copied().collect(),
        };
        for room in suspects {
            if self.changed.contains_key(&room) {
                continue;
            }
            if tx.member(room, user)?.is_none_or(|member| member.forgotten) {
                fresh.push((room, None));
                Arc::make_mut(&mut self.next.rooms).remove(&room);
            }
        }
        let moved = !fresh.is_empty();
        if moved {
            let facts = Arc::make_mut(&mut self.next.facts);
            for (room, fresh) in fresh {
                match fresh {
                    Some(fresh) => facts.insert(room, fresh),
                    None => facts.remove(&room),
                };
            }
        }
        Ok(moved)
    }

    /// What lists show; the same as before where nothing moved.
    fn windows(&mut self, moved: bool) -> Result<Arc<Windows>> {
        let (tx, user) = (self.base.tx, self.base.viewer.user);
        let data = tx.account_data_since(user, self.last)?;
        let has = |event_type| data.iter().any(|data| data.event_type == event_type);
        let looks_at_groups = (self.request.lists.values()).any(ListExtra::looks_at_groups);
        let regrouped = looks_at_groups && self.is_retagged()?;
        let known = self.known;
        let is_new = |room| !known.facts.contains_key(room);
        if has("m.direct") || moved && self.next.facts.keys().any(is_new) {
            self.next.direct = Arc::new(direct_rooms(tx, user)?);
        } else if !moved
            && !regrouped
            && !has("m.ignored_user_list")
            && known.windows.answer(self.request)
        {
            return Ok(Arc::clone(&known.windows));
        }
        let (facts, ignored) = (&self.next.facts, &self.base.ignored);
        let groups = if looks_at_groups {
            Groups::read(tx, user, self.request)?
        } else {
            Groups::default()
        };
        let windows = Windows::cut(self.request, facts, &groups, &self.next.direct, ignored);
        Ok(Arc::new(windows))
    }

    /// Whether the user changed a tag of a room.
    fn is_retagged(&self) -> Result<bool> {
        let (tx, user) = (self.base.tx, self.base.viewer.user);
        let data = tx.room_account_data_since(user, self.last)?;
        Ok(data.iter().any(|data| data.event_type == "m.tag"))
    }

    /// What the user decided about threads, if the client asks for it.
    fn thread_subscriptions(&mut self) -> Result<ThreadSubscriptions> {
        let Some(limit) = self.request.thread_subscriptions else {
            self.next.thread_subscriptions.miss(self.last);
            return Ok(ThreadSubscriptions::default());
        };
        let after = self.known.thread_subscriptions.position(self.last);
        let until = (after.unwrap_or(Position::START), self.base.position);
        self.next.thread_subscriptions = Extent::All;
        ThreadSubscriptions::read(self.base.tx, self.base.viewer, until, limit)
    }

    /// The rooms subscribed to, as far as the user has anything to do with them.
    fn subscribed(&self) -> Result<HashMap<RoomNid, &'p OwnedRoomId>> {
        let mut subscribed = HashMap::new();
        for room_id in self.request.room_subscriptions.keys() {
            if let Some(room) = self.base.tx.room_by_id(room_id)?
                && let Some(facts) = self.next.facts.get(&room.nid)
                && !facts.is_ignored(&self.base.ignored)
            {
                subscribed.insert(room.nid, room_id);
            }
        }
        Ok(subscribed)
    }

    fn add_rooms(&mut self, scope: &Scope<'_>, response: &mut SlidingResponse) -> Result<()> {
        let mut told = HashSet::new();
        for (room, detail) in &scope.rooms {
            if response.common.rooms.len() == ROOMS {
                break;
            }
            told.insert(*room);
            let Some(facts) = self.next.facts.get(room).cloned() else {
                continue;
            };
            if !self.may_have_news(*room, &facts, detail) {
                continue;
            }
            let room_id = self.base.tx.room_id(*room)?;
            let written = match facts.membership {
                MembershipState::Join => self.joined_room(*room, &facts, detail)?,
                _ => Some(self.stripped_room(*room, &facts)?),
            };
            let sent = self.sent_mut(*room);
            sent.room = Extent::All;
            sent.as_joined = facts.membership == MembershipState::Join;
            sent.timeline_limit = detail.timeline_limit;
            sent.required = Arc::clone(&detail.required);
            if let Some(written) = written {
                let known = self.known.rooms.get(room);
                let is_longer = known.is_some_and(|it| it.timeline_limit < detail.timeline_limit);
                let extra = RoomExtra {
                    membership: facts.membership.clone(),
                    lists: scope.lists_of(*room),
                    is_expanded: is_longer && written.initial != Some(true),
                };
                response.rooms.insert(room_id.clone(), extra);
                response.common.rooms.insert(room_id, written);
            }
        }
        let last = self.last;
        let missed: Vec<RoomNid> = self
            .changed
            .values()
            .filter(|room| happened(room, last) && !told.contains(&room.room))
            .map(|room| room.room)
            .filter(|room| self.known.rooms.contains_key(room))
            .collect();
        for room in missed {
            self.sent_mut(room).room.miss(last);
        }
        Ok(())
    }

    fn may_have_news(&self, room: RoomNid, facts: &Facts, detail: &Detail) -> bool {
        let Some(sent) = self.known.rooms.get(&room) else {
            return true;
        };
        sent.room != Extent::All
            || self
                .changed
                .get(&room)
                .is_some_and(|room| happened(room, self.last))
            || sent.as_joined != (facts.membership == MembershipState::Join)
            || sent.timeline_limit < detail.timeline_limit
            || sent.required != detail.required
    }

    /// The end of rooms that the client knows and the user is no longer in.
    fn add_left_rooms(&mut self, response: &mut SlidingResponse) -> Result<()> {
        let known = self.known;
        let left: Vec<UserRoom> = self
            .changed
            .values()
            .filter(|room| !self.next.facts.contains_key(&room.room))
            .filter(|room| known.rooms.contains_key(&room.room))
            .cloned()
            .collect();
        for room in left {
            let room_id = self.base.tx.room_id(room.room)?;
            let written = self.left_room(&room, &known.rooms[&room.room])?;
            Arc::make_mut(&mut self.next.rooms).remove(&room.room);
            let extra = RoomExtra {
                membership: room.membership,
                lists: Vec::new(),
                is_expanded: false,
            };
            response.rooms.insert(room_id.clone(), extra);
            response.common.rooms.insert(room_id, written);
        }
        Ok(())
    }
}

/// Whether something happened in a room that its part of a response tells.
fn happened(room: &UserRoom, last: Position) -> bool {
    room.has_events || room.has_read || room.seq > last
}
