//! What a sync says of one room.

use luxchat_store::{
    ClientRow, InvitePermission, Position, RoomAccountData, RoomNid, StateSelection, Stretch,
    UnreadCount, UserNid, UserRoom,
};
use ruma::{
    RoomId, UInt,
    api::client::{
        filter::EventFormat,
        sync::sync_events::{UnreadNotificationsCount, v3},
    },
    events::{AnyStrippedStateEvent, AnySyncEphemeralRoomEvent},
    serde::Raw,
};
use serde_json::value::RawValue;

use crate::{
    Result, SyncToken,
    client_event::{Composer, Fields},
    ephemeral,
    filter::wants_events_of,
    history::History,
    member_summary::summary,
    response::Pass,
    state::{StateRequest, StateUpdate},
    timeline::{Sight, Timeline},
};

/// Events of a timeline unless the client says how many.
const TIMELINE: usize = 10;

/// The most that a client can ask for.
const LONGEST_TIMELINE: usize = 250;

/// Receipts told of one room.
pub(crate) const RECEIPTS: u32 = 1_000;

/// The most members of a room whose presence is told to whoever joins it.
const MET: u32 = 100;

/// What an invited user is shown of a room that this server is in.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#stripped-state).
const STRIPPED: &[&str] = &[
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.create",
    "m.room.encryption",
    "m.room.join_rules",
    "m.room.name",
    "m.room.topic",
];

impl Pass<'_, '_> {
    /// News of a room that the user is joined to, if there are any.
    pub(crate) fn joined_room(
        &self,
        room_id: &RoomId,
        user_room: &UserRoom,
        own_data: Vec<RoomAccountData>,
    ) -> Result<Option<v3::JoinedRoom>> {
        let room = self.tx.room(user_room.room)?;
        let history = History::read(self.tx, &room, &self.keys)?;
        if room.is_partial() && self.wants_all_members() {
            return Ok(None);
        }
        // Whoever was not in the room before knows nothing of it.
        let known = self
            .since
            .map(|since| since.position)
            .filter(|since| user_room.seq <= *since || history.was_joined_at(*since))
            .filter(|since| !self.wants_all_members() || room.complete_from <= Some(*since));
        let stretch = Stretch {
            after: known.map_or(i64::MIN, |known| known.0),
            until: self.position.0,
        };
        let mut timeline = self.timeline(room_id, room.nid, stretch, &history)?;
        // What the client may hold of an earlier stay does not join up with this.
        timeline.is_limited |= known.is_none() && self.since.is_some();
        let own_data = match (known, self.since) {
            // What was kept of the room from an earlier stay.
            (None, Some(_)) => self.tx.room_account_data_of(self.viewer.user, room.nid)?,
            _ => own_data,
        };
        let known_state = known.filter(|_| !self.request.full_state);
        let mut joined = v3::JoinedRoom::new();
        let mut members = Vec::new();
        if known_state.is_none() {
            joined.summary = summary(self.tx, room.nid, self.viewer.user)?;
            members.push(self.viewer.user);
            for hero in &joined.summary.heroes {
                members.extend(self.tx.user_nid(hero)?);
            }
        }
        self.meet(room.nid, known, &timeline)?;
        let state = self.state(room_id, room.nid, known_state, None, &timeline, members)?;
        if known_state.is_some() && state.members_changed {
            joined.summary = summary(self.tx, room.nid, self.viewer.user)?;
        }
        joined.ephemeral.events = self.ephemeral(room_id, room.nid, known)?;
        joined.account_data.events = self.room_account_data_events(&own_data)?;
        joined.state = self.write_state(state)?;
        joined.timeline = self.write_timeline(&timeline, stretch, &history)?;
        let has_news = known_state.is_none()
            || user_room.has_read
            || !timeline.rows.is_empty()
            || timeline.is_limited
            || !joined.state.is_empty()
            || !joined.ephemeral.is_empty()
            || !joined.account_data.is_empty();
        self.count_unread(room.nid, &mut joined)?;
        Ok(has_news.then_some(joined))
    }

    /// Notes whom the user gets to know: all members of a small room that is new to them, and whoever came to one.
    fn meet(&self, room: RoomNid, known: Option<Position>, timeline: &Timeline) -> Result<()> {
        if self.since.is_none() {
            return Ok(());
        }
        let mut met = self.met.borrow_mut();
        if known.is_none() && !self.tx.has_more_members(room, MET)? {
            met.extend(self.tx.joined_users(room, MET)?);
        }
        let members = timeline.rows.iter().filter(|row| row.is_membership);
        met.extend(members.map(|row| row.sender));
        Ok(())
    }

    /// A room that the user left, up to where they did.
    pub(crate) fn left_room(
        &self,
        room_id: &RoomId,
        user_room: &UserRoom,
        own_data: Vec<RoomAccountData>,
    ) -> Result<v3::LeftRoom> {
        let room = self.tx.room(user_room.room)?;
        let history = History::read(self.tx, &room, &self.keys)?;
        let leave = self.tx.client_event_by_nid(user_room.event)?;
        let mut left = v3::LeftRoom::default();
        left.account_data.events = self.room_account_data_events(&own_data)?;
        let place = leave.pos.zip(leave.after);
        let Some((pos, end)) = place.filter(|_| history.was_ever_joined()) else {
            // An invite that the user refused, or another server's word for it: there is no more than that.
            let event = self.composer().timeline_event(&leave, &history)?;
            left.timeline.events = vec![event];
            return Ok(left);
        };
        let known = self
            .since
            .map(|since| since.position)
            .filter(|since| history.was_joined_at(*since));
        let stretch = Stretch {
            after: known.map_or(i64::MIN, |known| known.0),
            until: pos,
        };
        let timeline = self.timeline(room_id, room.nid, stretch, &history)?;
        let known_state = known.filter(|_| !self.request.full_state);
        let end = Some((end, leave.seq));
        let members = vec![self.viewer.user];
        let state = self.state(room_id, room.nid, known_state, end, &timeline, members)?;
        left.state = self.write_state(state)?;
        left.timeline = self.write_timeline(&timeline, stretch, &history)?;
        Ok(left)
    }

    /// A room that the user is invited to, unless by somebody they ignore or want no invites of.
    pub(crate) fn invited_room(&self, user_room: &UserRoom) -> Result<Option<v3::InvitedRoom>> {
        let invite = self.tx.client_event_by_nid(user_room.event)?;
        let inviter = self.tx.user_id(invite.sender)?;
        let permission = self.tx.invite_permission(self.viewer.user, &inviter)?;
        if self.ignored.contains(&invite.sender) || permission != InvitePermission::Allowed {
            return Ok(None);
        }
        let mut room = v3::InvitedRoom::new();
        room.invite_state.events = self.stripped_state(user_room.room, &invite)?;
        Ok(Some(room))
    }

    /// A room that the user knocked on.
    pub(crate) fn knocked_room(&self, user_room: &UserRoom) -> Result<v3::KnockedRoom> {
        let knock = self.tx.client_event_by_nid(user_room.event)?;
        let mut room = v3::KnockedRoom::new();
        room.knock_state.events = self.stripped_state(user_room.room, &knock)?;
        Ok(room)
    }

    pub(crate) fn composer(&self) -> Composer<'_, '_> {
        Composer {
            tx: self.tx,
            viewer: self.viewer,
            now_ms: self.live.now_ms,
            room_id: None,
        }
    }

    fn timeline(
        &self,
        room_id: &RoomId,
        room: RoomNid,
        stretch: Stretch,
        history: &History<'_>,
    ) -> Result<Timeline> {
        let filter = &self.filter().room.timeline;
        if !wants_events_of(filter, room_id) {
            return Ok(Timeline::none(SyncToken::after(stretch.until)));
        }
        let sight = Sight {
            history,
            filter,
            relations: Some(&self.request.relations),
            ignored: &self.ignored,
        };
        let limit = filter.limit.map_or(TIMELINE, |limit| {
            usize::try_from(u64::from(limit))
                .map_or(LONGEST_TIMELINE, |limit| limit.min(LONGEST_TIMELINE))
        });
        Timeline::read(self.tx, room, stretch, sight, limit)
    }

    fn write_timeline(
        &self,
        timeline: &Timeline,
        stretch: Stretch,
        history: &History<'_>,
    ) -> Result<v3::Timeline> {
        let composer = self.composer();
        let mut written = v3::Timeline::new();
        written.events = timeline
            .rows
            .iter()
            .map(|row| match self.filter().event_format {
                EventFormat::Federation => composer.federation_event(row, Some(history)),
                _ => composer.timeline_event(row, history),
            })
            .collect::<Result<_>>()?;
        written.limited = timeline.is_limited;
        if !timeline.rows.is_empty() || timeline.is_limited || stretch.after == i64::MIN {
            written.prev_batch = Some(timeline.prev_batch.to_string());
        }
        Ok(written)
    }

    fn state(
        &self,
        room_id: &RoomId,
        room: RoomNid,
        known: Option<Position>,
        end: Option<(luxchat_store::Coordinate, Position)>,
        timeline: &Timeline,
        members: Vec<UserNid>,
    ) -> Result<StateUpdate> {
        let filter = &self.filter().room.state;
        if !wants_events_of(filter, room_id) {
            return Ok(StateUpdate {
                rows: Vec::new(),
                members_changed: known.is_none(),
            });
        }
        StateRequest {
            room,
            known,
            end,
            timeline: &timeline.rows,
            is_limited: timeline.is_limited,
            after_timeline: self.request.use_state_after,
            filter,
            members,
        }
        .read(self.tx)
    }

    fn write_state(&self, state: StateUpdate) -> Result<v3::State> {
        let composer = self.composer();
        let events = state
            .rows
            .iter()
            .map(|row| match self.filter().event_format {
                EventFormat::Federation => composer.federation_event(row, None),
                _ => composer.bare_event(row),
            });
        let events = v3::StateEvents::with_events(events.collect::<Result<_>>()?);
        Ok(if self.request.use_state_after {
            v3::State::After(events)
        } else {
            v3::State::Before(events)
        })
    }

    fn ephemeral(
        &self,
        room_id: &RoomId,
        room: RoomNid,
        known: Option<Position>,
    ) -> Result<Vec<Raw<AnySyncEphemeralRoomEvent>>> {
        let filter = &self.filter().room.ephemeral;
        if !wants_events_of(filter, room_id) {
            return Ok(Vec::new());
        }
        let after = known.unwrap_or(Position::START);
        let receipts = self.tx.room_receipts(room, after, RECEIPTS)?;
        let typing = self.live.typing.changed_since(room, after);
        // That nobody types is no news to whoever just came.
        let typing = typing.filter(|users| known.is_some() || !users.is_empty());
        ephemeral::events(
            filter,
            &self.viewer.user_id,
            &receipts,
            typing.as_deref(),
            |user_id| self.is_ignored(user_id),
        )
    }

    /// Adds what is unread: that of threads apart where the client asks for it.
    fn count_unread(&self, room: RoomNid, joined: &mut v3::JoinedRoom) -> Result<()> {
        let counter = &self.live.unread;
        let unread = counter.unread(self.tx, self.viewer.user, room)?;
        let mut main = unread.main;
        for (root, count) in unread.threads {
            if !self.filter().room.timeline.unread_thread_notifications {
                main.notifications += count.notifications;
                main.highlights += count.highlights;
            } else if let Ok(root) = root.try_into() {
                let threads = &mut joined.unread_thread_notifications;
                threads.insert(root, counts(count));
            }
        }
        joined.unread_notifications = counts(main);
        Ok(())
    }

    /// What an invited or knocking user may see: what the other server said, else some of the room's state. Their own
    /// membership is always among it.
    pub(crate) fn stripped_state(
        &self,
        room: RoomNid,
        own: &ClientRow,
    ) -> Result<Vec<Raw<AnyStrippedStateEvent>>> {
        let user_id = self.viewer.user_id.as_str();
        let mut events = Vec::new();
        if let Some(stored) = self.tx.stripped_state(room, self.viewer.user)? {
            let stored: Vec<Box<RawValue>> = serde_json::from_str(&stored)
                .map_err(|error| luxchat_store::Error::invalid("stripped state", error))?;
            events.extend(stored.into_iter().map(Raw::from_json));
        } else {
            for row in self.tx.client_state(room, StateSelection::WithoutMembers)? {
                let fields = Fields::parse(&row.json)?;
                if STRIPPED.contains(&&*fields.event_type) {
                    events.push(Composer::stripped(&row)?);
                }
            }
        }
        events.retain(|event| !is_member(event, user_id));
        events.push(Composer::stripped(own)?);
        Ok(events)
    }
}

pub(crate) fn counts(unread: UnreadCount) -> UnreadNotificationsCount {
    let mut counts = UnreadNotificationsCount::new();
    counts.notification_count = Some(UInt::new_saturating(unread.notifications));
    counts.highlight_count = Some(UInt::new_saturating(unread.highlights));
    counts
}

fn is_member(event: &Raw<AnyStrippedStateEvent>, user_id: &str) -> bool {
    let is_type = matches!(event.get_field::<String>("type"), Ok(Some(t)) if t == "m.room.member");
    is_type && matches!(event.get_field::<String>("state_key"), Ok(Some(key)) if key == user_id)
}
