//! One sync response, from one snapshot.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use luxchat_store::{
    CountUnread, PUSH_RULES, Position, ReadTx, RoomAccountData, RoomNid, Store, UserNid, UserRoom,
    push_rules_content,
};
use ruma::{
    RoomId, UserId,
    api::client::{
        filter::FilterDefinition,
        sync::sync_events::{DeviceLists, v3},
    },
    events::{AnyGlobalAccountDataEvent, AnyRoomAccountDataEvent, room::member::MembershipState},
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Presence, Result, SyncRequest, SyncToken, Typing, Viewer,
    client_event::raw,
    filter::{wants_room, wants_type, wants_type_of},
    history::HistoryKeys,
};

/// To-device messages in one response; the rest comes with the next.
pub(crate) const TO_DEVICE: u32 = 100;

/// Ignored users that are told apart.
const IGNORED_USERS: usize = 1_000;

/// Up to this many rooms that changed on the server, it is cheaper to ask whether the user is in each than to look at all
/// of the user's rooms.
const FEW_ROOMS: usize = 200;

/// What is not in the store's tables.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) store: Store,
    pub(crate) typing: Typing,
    pub(crate) presence: Presence,
    /// What users have not read, by their push rules.
    pub(crate) unread: Arc<dyn CountUnread>,
    /// Milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
}

/// Rooms that there may be news of.
#[derive(Debug)]
pub(crate) struct UserRooms {
    pub(crate) rooms: Vec<UserRoom>,
    /// The rooms that were looked at, the user's or not; `None`: all of the user's.
    pub(crate) asked: Option<BTreeSet<RoomNid>>,
}

/// A response in the making.
#[derive(Debug)]
pub(crate) struct Pass<'p, 'tx> {
    pub(crate) tx: &'p ReadTx<'tx>,
    pub(crate) viewer: &'p Viewer,
    pub(crate) request: &'p SyncRequest,
    pub(crate) live: &'p Live,
    /// The snapshot's position.
    pub(crate) position: Position,
    /// Up to where the client has seen everything.
    pub(crate) since: Option<SyncToken>,
    pub(crate) keys: HistoryKeys,
    pub(crate) ignored: HashSet<UserNid>,
    /// Users whom the viewer got to know with this response.
    pub(crate) met: RefCell<BTreeSet<UserNid>>,
}

impl<'p, 'tx> Pass<'p, 'tx> {
    pub(crate) fn new(
        tx: &'p ReadTx<'tx>,
        viewer: &'p Viewer,
        request: &'p SyncRequest,
        live: &'p Live,
        position: Position,
    ) -> Result<Self> {
        Ok(Self {
            tx,
            viewer,
            request,
            live,
            position,
            // A token from a future that a restored backup has not seen: the client starts anew.
            since: request.since.filter(|since| since.position <= position),
            keys: HistoryKeys::of(tx, &viewer.user_id)?,
            ignored: ignored_users(tx, viewer.user)?,
            met: RefCell::default(),
        })
    }

    /// The response, and whether it holds any news.
    pub(crate) fn run(&self) -> Result<(v3::Response, bool)> {
        let user_rooms = self.user_rooms()?.rooms;
        let mut response = v3::Response::new(String::new());
        response.rooms = self.rooms(user_rooms)?;
        let since = self.since.map(|since| since.position);
        response.account_data.events = self.account_data_since(since)?;
        response.presence.events = self.presence_events()?;
        let to_device = self.to_device(&mut response)?;
        response.device_lists = self.device_lists_since(since)?;
        let is_empty = response.rooms.is_empty()
            && response.account_data.is_empty()
            && response.to_device.is_empty()
            && response.device_lists.is_empty()
            && !self.others_are_news(&response.presence.events);
        let (user, device_id) = (self.viewer.user, &self.viewer.device_id);
        response.device_one_time_keys_count = self.tx.one_time_key_counts(user, device_id)?;
        let unused = self.tx.unused_fallback_key_types(user, device_id)?;
        response.device_unused_fallback_key_types = Some(unused);
        response.next_batch = SyncToken {
            position: self.position,
            to_device,
        }
        .to_string();
        Ok((response, is_empty))
    }

    /// Whether the client wants all members of a room, not only those it needs. Then it is told nothing of a room as long as
    /// some are missing here.
    pub(crate) fn wants_all_members(&self) -> bool {
        let state = &self.filter().room.state;
        state.lazy_load_options.is_disabled()
    }

    pub(crate) fn filter(&self) -> &FilterDefinition {
        &self.request.filter
    }

    /// Up to where the client has seen everything; the very start for an initial sync.
    pub(crate) fn since_position(&self) -> Position {
        self.since.map_or(Position::START, |since| since.position)
    }

    pub(crate) fn is_ignored(&self, user_id: &UserId) -> bool {
        // Most ignore nobody; then nobody needs looking up.
        !self.ignored.is_empty()
            && matches!(self.tx.user_nid(user_id), Ok(Some(user)) if self.ignored.contains(&user))
    }

    /// The rooms that there may be news of. Where the store remembers which rooms changed since the client was here, and
    /// those are few, the user's other rooms are not even looked at.
    pub(crate) fn user_rooms(&self) -> Result<UserRooms> {
        let (user, since) = (self.viewer.user, self.since_position());
        let is_incremental = self.since.is_some() && !self.request.full_state;
        let recent = is_incremental
            .then(|| self.live.store.rooms_changed_since(since, FEW_ROOMS))
            .flatten();
        let Some(mut asked) = recent else {
            let rooms = self.tx.user_rooms(user, since)?;
            return Ok(UserRooms { rooms, asked: None });
        };
        asked.extend(self.live.typing.rooms_changed_since(since));
        for data in self.tx.room_account_data_since(user, since)? {
            asked.insert(data.room);
        }
        let rooms = self.tx.user_rooms_among(user, since, &mut asked)?;
        Ok(UserRooms {
            rooms,
            asked: Some(asked),
        })
    }

    fn rooms(&self, user_rooms: Vec<UserRoom>) -> Result<v3::Rooms> {
        let mut rooms = v3::Rooms::new();
        let mut account_data = self.room_account_data()?;
        let typing: HashSet<RoomNid> = match self.since {
            Some(since) => self.live.typing.rooms_changed_since(since.position),
            None => Vec::new(),
        }
        .into_iter()
        .collect();
        for user_room in user_rooms {
            let own_data = account_data.remove(&user_room.room).unwrap_or_default();
            if self.is_quiet(&user_room, &own_data, &typing) {
                continue;
            }
            let room_id = self.tx.room_id(user_room.room)?;
            if wants_room(&self.filter().room, &room_id) {
                self.add_room(&mut rooms, &room_id, &user_room, own_data)?;
            }
        }
        Ok(rooms)
    }

    fn add_room(
        &self,
        rooms: &mut v3::Rooms,
        room_id: &RoomId,
        user_room: &UserRoom,
        own_data: Vec<RoomAccountData>,
    ) -> Result<()> {
        match user_room.membership {
            MembershipState::Join => {
                if let Some(room) = self.joined_room(room_id, user_room, own_data)? {
                    rooms.join.insert(room_id.to_owned(), room);
                }
            }
            MembershipState::Invite => {
                if let Some(room) = self.invited_room(user_room)? {
                    rooms.invite.insert(room_id.to_owned(), room);
                }
            }
            MembershipState::Knock => {
                let room = self.knocked_room(user_room)?;
                rooms.knock.insert(room_id.to_owned(), room);
            }
            _ => {
                if self.since.is_some() || self.filter().room.include_leave {
                    let room = self.left_room(room_id, user_room, own_data)?;
                    rooms.leave.insert(room_id.to_owned(), room);
                }
            }
        }
        Ok(())
    }

    /// Whether nothing happened in a room that the user is joined to.
    fn is_quiet(
        &self,
        room: &UserRoom,
        own_data: &[RoomAccountData],
        typing: &HashSet<RoomNid>,
    ) -> bool {
        room.membership == MembershipState::Join
            && self.since.is_some_and(|since| room.seq <= since.position)
            && !self.request.full_state
            && !(room.has_events || room.has_receipts || room.has_read)
            && !(room.was_completed && self.wants_all_members())
            && own_data.is_empty()
            && !typing.contains(&room.room)
    }

    fn room_account_data(&self) -> Result<BTreeMap<RoomNid, Vec<RoomAccountData>>> {
        let since = self.since_position();
        let mut rooms: BTreeMap<RoomNid, Vec<RoomAccountData>> = BTreeMap::new();
        for data in self.tx.room_account_data_since(self.viewer.user, since)? {
            rooms.entry(data.room).or_default().push(data);
        }
        Ok(rooms)
    }

    pub(crate) fn room_account_data_events(
        &self,
        data: &[RoomAccountData],
    ) -> Result<Vec<Raw<AnyRoomAccountDataEvent>>> {
        let filter = &self.filter().room.account_data;
        let wanted = data
            .iter()
            .filter(|data| wants_type(filter, &data.event_type));
        wanted
            .map(|data| account_data_event(&data.event_type, &data.content))
            .collect()
    }

    /// What a user keeps for themselves that changed after a position; without one, all.
    pub(crate) fn account_data_since(
        &self,
        since: Option<Position>,
    ) -> Result<Vec<Raw<AnyGlobalAccountDataEvent>>> {
        let filter = &self.filter().account_data;
        let after = since.unwrap_or(Position::START);
        let data = self.tx.account_data_since(self.viewer.user, after)?;
        let mut events = data
            .iter()
            .filter(|data| wants_type_of(filter, &data.event_type))
            .map(|data| account_data_event(&data.event_type, &data.content))
            .collect::<Result<Vec<_>>>()?;
        // Clients expect rules even of a user who never changed any.
        let has_rules = || data.iter().any(|data| data.event_type == PUSH_RULES);
        if since.is_none() && wants_type_of(filter, PUSH_RULES) && !has_rules() {
            events.push(default_push_rules(&self.viewer.user_id)?);
        }
        Ok(events)
    }

    /// Adds the messages to the device, and says up to where they go.
    fn to_device(&self, response: &mut v3::Response) -> Result<Position> {
        // Without a token nothing counts as received.
        let after = self.since.map_or(Position::START, |since| since.to_device);
        let (user, device_id) = (self.viewer.user, &self.viewer.device_id);
        let batch = self
            .tx
            .to_device_messages(user, device_id, after, self.position, TO_DEVICE)?;
        response.to_device.events = batch.events;
        Ok(batch.cut_at.unwrap_or(self.position))
    }

    /// Whose keys changed after a position; without one, the client knows none that could have.
    pub(crate) fn device_lists_since(&self, since: Option<Position>) -> Result<DeviceLists> {
        let mut lists = DeviceLists::new();
        if let Some(since) = since {
            let user = self.viewer.user;
            let changes = self.tx.device_list_changes(user, since, self.position)?;
            lists.changed = changes.changed;
            lists.left = changes.left;
        }
        Ok(lists)
    }
}

pub(crate) fn account_data_event<T>(event_type: &str, content: &RawValue) -> Result<Raw<T>> {
    #[derive(Serialize)]
    struct Event<'a> {
        content: &'a RawValue,
        #[serde(rename = "type")]
        event_type: &'a str,
    }
    raw(&Event {
        content,
        event_type,
    })
}

fn default_push_rules<T>(user_id: &UserId) -> Result<Raw<T>> {
    let rules = luxchat_store::default_push_rules(user_id);
    account_data_event(PUSH_RULES, &push_rules_content(rules)?)
}

/// Users whose messages and invites a user does not want to see.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users).
pub(crate) fn ignored_users(tx: &ReadTx<'_>, user: UserNid) -> Result<HashSet<UserNid>> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        ignored_users: BTreeMap<String, &'a RawValue>,
    }
    let Some(content) = tx.account_data(user, "m.ignored_user_list")? else {
        return Ok(HashSet::new());
    };
    let Ok(content) = serde_json::from_str::<Content<'_>>(content.get()) else {
        return Ok(HashSet::new());
    };
    let mut ignored = HashSet::new();
    for user_id in content.ignored_users.keys().take(IGNORED_USERS) {
        if let Ok(user_id) = <&UserId>::try_from(user_id.as_str())
            && let Some(other) = tx.user_nid(user_id)?
            && other != user
        {
            ignored.insert(other);
        }
    }
    Ok(ignored)
}
