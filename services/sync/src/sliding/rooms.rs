//! What a sliding sync says of one room.

use luxchat_store::{ClientRow, Position, RoomNid, StateSelection, Stretch, UserRoom};
use ruma::{
    JsOption, OwnedMxcUri, UInt,
    api::client::sync::sync_events::v5::response::{Hero, Room},
    events::StateEventType,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{connection::Sent, pass::SlidingPass, scope::Detail, windows::Facts};
use crate::{
    Result,
    client_event::Fields,
    history::History,
    member_summary::summary,
    room_updates::counts,
    timeline::{Sight, Timeline},
};

/// What a part of the state says that is told beside it.
#[derive(Clone, Copy, Debug, Default)]
struct Affected {
    name: bool,
    avatar: bool,
    members: bool,
}

impl SlidingPass<'_, '_> {
    /// News of a room that the user is joined to, if there are any.
    pub(super) fn joined_room(
        &mut self,
        room: RoomNid,
        facts: &Facts,
        detail: &Detail,
    ) -> Result<Option<Room>> {
        let tx = self.base.tx;
        let history = History::read(tx, &tx.room(room)?, &self.base.keys)?;
        let sent = self.known.rooms.get(&room);
        // Whoever was not in the room before knows nothing of it.
        let after = sent
            .filter(|sent| sent.as_joined)
            .and_then(|sent| sent.room.position(self.last))
            .filter(|after| facts.seq <= *after || history.was_joined_at(*after));
        let is_longer = sent.is_some_and(|sent| sent.timeline_limit < detail.timeline_limit);
        let start = after.filter(|_| !is_longer);
        let timeline = self.timeline(room, &history, start, self.base.position.0, detail)?;
        let (state, affected) = self.state(room, after, &timeline, detail)?;
        let has_read = self.changed.get(&room).is_some_and(|room| room.has_read);
        let affects = affected.name || affected.avatar || affected.members;
        if after.is_some()
            && timeline.rows.is_empty()
            && !timeline.is_limited
            && state.is_empty()
            && !affects
            && !has_read
        {
            return Ok(None);
        }
        let mut written = Room::new();
        written.initial = after.is_none().then_some(true);
        self.write_timeline(&mut written, &timeline, &history)?;
        let composer = self.base.composer();
        written.required_state = state
            .iter()
            .map(|row| composer.bare_event(row))
            .collect::<Result<_>>()?;
        self.name(&mut written, room, affected)?;
        written.is_dm = self.next.direct.contains(&room).then_some(true);
        written.bump_stamp = Some(UInt::new_saturating(facts.bump_stamp));
        let counter = &self.base.live.unread;
        let unread = counter.unread(tx, self.base.viewer.user, room)?;
        written.unread_notifications = counts(unread.total());
        if after.is_none() {
            let ids = timeline.rows.into_iter().map(|row| row.event_id);
            self.initial.insert(room, ids.collect());
        }
        Ok(Some(written))
    }

    /// A room that the user is invited to or knocked on.
    pub(super) fn stripped_room(&self, room: RoomNid, facts: &Facts) -> Result<Room> {
        let own = self.base.tx.client_event_by_nid(facts.event)?;
        let mut written = Room::new();
        written.initial = Some(true);
        written.invite_state = Some(self.base.stripped_state(room, &own)?);
        written.is_dm = self.next.direct.contains(&room).then_some(true);
        written.bump_stamp = Some(UInt::new_saturating(facts.bump_stamp));
        Ok(written)
    }

    /// The last of a room that the user left.
    pub(super) fn left_room(&self, user_room: &UserRoom, sent: &Sent) -> Result<Room> {
        let tx = self.base.tx;
        let leave = tx.client_event_by_nid(user_room.event)?;
        let mut written = Room::new();
        if let Some(pos) = leave.pos
            && sent.as_joined
        {
            let history = History::read(tx, &tx.room(user_room.room)?, &self.base.keys)?;
            let start = sent.room.position(self.last);
            let detail = Detail {
                timeline_limit: sent.timeline_limit.max(1),
                ..Detail::default()
            };
            let timeline = self.timeline(user_room.room, &history, start, pos, &detail)?;
            self.write_timeline(&mut written, &timeline, &history)?;
        }
        written.required_state = vec![self.base.composer().bare_event(&leave)?];
        Ok(written)
    }

    fn timeline(
        &self,
        room: RoomNid,
        history: &History<'_>,
        after: Option<Position>,
        until: i64,
        detail: &Detail,
    ) -> Result<Timeline> {
        let stretch = Stretch {
            after: after.map_or(i64::MIN, |after| after.0),
            until,
        };
        let sight = Sight {
            history,
            filter: &self.base.filter().room.timeline,
            relations: None,
            ignored: &self.base.ignored,
        };
        Timeline::read(self.base.tx, room, stretch, sight, detail.timeline_limit)
    }

    fn write_timeline(
        &self,
        written: &mut Room,
        timeline: &Timeline,
        history: &History<'_>,
    ) -> Result<()> {
        let composer = self.base.composer();
        written.timeline = timeline
            .rows
            .iter()
            .map(|row| composer.timeline_event(row, history))
            .collect::<Result<_>>()?;
        written.limited = timeline.is_limited;
        if !timeline.rows.is_empty() || timeline.is_limited {
            written.prev_batch = Some(timeline.prev_batch.to_string());
        }
        let is_live = |row: &&ClientRow| row.pos.is_some_and(|pos| pos > self.last.0);
        let live = match self.known.position {
            Some(_) => timeline.rows.iter().filter(is_live).count(),
            None => 0,
        };
        written.num_live = Some(UInt::new_saturating(
            u64::try_from(live).unwrap_or(u64::MAX),
        ));
        Ok(())
    }

    /// The state to tell: all that is asked for, or what of it changed or is newly asked for.
    fn state(
        &self,
        room: RoomNid,
        after: Option<Position>,
        timeline: &Timeline,
        detail: &Detail,
    ) -> Result<(Vec<ClientRow>, Affected)> {
        let tx = self.base.tx;
        let senders = timeline.rows.iter().map(|row| row.sender);
        let (mut rows, affected) = match after {
            None => {
                let all = Affected {
                    name: true,
                    avatar: true,
                    members: true,
                };
                (detail.required.read(tx, room)?, all)
            }
            Some(after) => self.changed_state(room, after, timeline, detail)?,
        };
        detail.required.add_members(tx, room, senders, &mut rows)?;
        Ok((rows, affected))
    }

    fn changed_state(
        &self,
        room: RoomNid,
        after: Position,
        timeline: &Timeline,
        detail: &Detail,
    ) -> Result<(Vec<ClientRow>, Affected)> {
        let tx = self.base.tx;
        // As long as it misses nothing, a client that loads members lazily keeps those that it knows up to date.
        let with_members = detail.required.lazy && !timeline.is_limited;
        let before = &self.known.rooms[&room].required;
        let mut rows = if *before == detail.required {
            Vec::new()
        } else {
            detail.required.without(before).read(tx, room)?
        };
        let mut affected = Affected::default();
        for row in tx.client_state(room, StateSelection::ChangedAfter(after))? {
            let fields = Fields::parse(&row.json)?;
            match &*fields.event_type {
                "m.room.name" | "m.room.canonical_alias" => affected.name = true,
                "m.room.avatar" => affected.avatar = true,
                "m.room.member" => affected.members = true,
                _ => {}
            }
            let is_there = rows.iter().any(|other| other.nid == row.nid);
            let is_wanted = row.is_membership && with_members || detail.required.wants_row(&row)?;
            if !is_there && is_wanted {
                rows.push(row);
            }
        }
        Ok((rows, affected))
    }

    /// Adds the room's name and picture and how many are in it, as far as they may have changed.
    fn name(&self, written: &mut Room, room: RoomNid, affected: Affected) -> Result<()> {
        if affected.name {
            let name = self.content::<Name>(room, &StateEventType::RoomName, "")?;
            let alias = self.content::<Name>(room, &StateEventType::RoomCanonicalAlias, "")?;
            let names = [
                name.and_then(|name| name.name),
                alias.and_then(|alias| alias.alias),
            ];
            written.name = names.into_iter().flatten().find(|name| !name.is_empty());
        }
        if affected.avatar {
            let avatar = self.content::<Avatar>(room, &StateEventType::RoomAvatar, "")?;
            written.avatar = match avatar.and_then(|avatar| avatar.url) {
                Some(url) => JsOption::Some(url),
                None => JsOption::Null,
            };
        }
        if !affected.name && !affected.members {
            return Ok(());
        }
        let summary = summary(self.base.tx, room, self.base.viewer.user)?;
        written.joined_count = summary.joined_member_count;
        written.invited_count = summary.invited_member_count;
        let mut heroes = Vec::with_capacity(summary.heroes.len());
        for user_id in summary.heroes {
            let state_key = user_id.as_str();
            let member = self.content::<Profile>(room, &StateEventType::RoomMember, state_key)?;
            let mut hero = Hero::new(user_id);
            if let Some(profile) = member {
                hero.name = profile.displayname;
                hero.avatar = profile.avatar_url;
            }
            heroes.push(hero);
        }
        written.heroes = (!heroes.is_empty()).then_some(heroes);
        Ok(())
    }

    /// What an entry of the room's state says, if that makes sense.
    fn content<T: DeserializeOwned>(
        &self,
        room: RoomNid,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<Option<T>> {
        let event = self
            .base
            .tx
            .current_state_event(room, event_type, state_key)?;
        let Some(event) = event else { return Ok(None) };
        let fields = Fields::parse(&event.json)?;
        Ok(serde_json::from_str(fields.content.get()).ok())
    }
}

#[derive(Deserialize)]
struct Name {
    name: Option<String>,
    alias: Option<String>,
}

#[derive(Deserialize)]
struct Avatar {
    url: Option<OwnedMxcUri>,
}

#[derive(Deserialize)]
struct Profile {
    displayname: Option<String>,
    avatar_url: Option<OwnedMxcUri>,
}
