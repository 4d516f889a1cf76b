//! What a sliding sync says beside the rooms: messages to the device, keys, account data, receipts, who types.

use std::collections::{BTreeMap, HashSet};

use luxchat_store::{Position, RoomAccountData, RoomNid};
use ruma::{
    api::client::sync::sync_events::v5::{Response, response},
    events::{AnySyncEphemeralRoomEvent, room::member::MembershipState},
    serde::Raw,
};

use super::{connection::Extent, pass::SlidingPass, scope::Scope};
use crate::{Result, SyncToken, ephemeral, response::TO_DEVICE, room_updates::RECEIPTS};

impl SlidingPass<'_, '_> {
    /// Adds what the client asks for. Says whether there is any news in it.
    pub(super) fn add_extensions(
        &mut self,
        scope: &Scope<'_>,
        response: &mut Response,
    ) -> Result<bool> {
        let has_messages = self.to_device(response)?;
        let has_devices = self.e2ee(response)?;
        self.account_data(scope, response)?;
        self.receipts(scope, response)?;
        self.typing(scope, response)?;
        let extensions = &response.extensions;
        Ok(has_messages
            || has_devices
            || !extensions.account_data.is_empty()
            || !extensions.receipts.is_empty()
            || !extensions.typing.is_empty())
    }

    fn to_device(&self, response: &mut Response) -> Result<bool> {
        let asked = &self.request.extensions.to_device;
        if asked.enabled != Some(true) {
            return Ok(false);
        }
        // Without a token nothing counts as received.
        let since = asked.since.as_deref().map(str::parse::<SyncToken>);
        let after = since
            .transpose()?
            .map_or(Position::START, |since| since.to_device);
        let limit = asked
            .limit
            .and_then(|limit| u32::try_from(u64::from(limit)).ok());
        let (user, device_id) = (self.base.viewer.user, &self.base.viewer.device_id);
        let batch = self.base.tx.to_device_messages(
            user,
            device_id,
            after,
            self.base.position,
            limit.unwrap_or(TO_DEVICE).clamp(1, TO_DEVICE),
        )?;
        let mut to_device = response::ToDevice::default();
        let until = batch.cut_at.unwrap_or(self.base.position);
        to_device.next_batch = SyncToken::at(until).to_string();
        to_device.events = batch.events;
        let has_messages = !to_device.events.is_empty();
        response.extensions.to_device = Some(to_device);
        Ok(has_messages)
    }

    fn e2ee(&mut self, response: &mut Response) -> Result<bool> {
        if self.request.extensions.e2ee.enabled != Some(true) {
            self.next.device_lists.miss(self.last);
            return Ok(false);
        }
        let (tx, user) = (self.base.tx, self.base.viewer.user);
        let device_id = &self.base.viewer.device_id;
        let e2ee = &mut response.extensions.e2ee;
        let since = self.known.device_lists.position(self.last);
        e2ee.device_lists = self.base.device_lists_since(since)?;
        e2ee.device_one_time_keys_count = tx.one_time_key_counts(user, device_id)?;
        let unused = tx.unused_fallback_key_types(user, device_id)?;
        e2ee.device_unused_fallback_key_types = Some(unused);
        self.next.device_lists = Extent::All;
        Ok(!e2ee.device_lists.is_empty())
    }

    fn account_data(&mut self, scope: &Scope<'_>, response: &mut Response) -> Result<()> {
        let (tx, user) = (self.base.tx, self.base.viewer.user);
        let mut changed: BTreeMap<RoomNid, Vec<RoomAccountData>> = BTreeMap::new();
        for data in tx.room_account_data_since(user, self.last)? {
            changed.entry(data.room).or_default().push(data);
        }
        let asked = &self.request.extensions.account_data;
        let is_enabled = asked.enabled == Some(true);
        let rooms = if is_enabled {
            let since = self.known.account_data.position(self.last);
            response.extensions.account_data.global = self.base.account_data_since(since)?;
            self.next.account_data = Extent::All;
            scope.of_extension(asked.lists.as_deref(), asked.rooms.as_deref())
        } else {
            self.next.account_data.miss(self.last);
            HashSet::new()
        };
        for room in self.known_to_client(&rooms) {
            let data = match self.next.rooms[&room].account_data {
                Extent::All => changed.remove(&room).unwrap_or_default(),
                Extent::Nothing | Extent::Until(_) => tx.room_account_data_of(user, room)?,
            };
            if self.next.rooms[&room].account_data != Extent::All {
                self.sent_mut(room).account_data = Extent::All;
            }
            if !data.is_empty() {
                let events = self.base.room_account_data_events(&data)?;
                let rooms = &mut response.extensions.account_data.rooms;
                rooms.insert(tx.room_id(room)?, events);
            }
        }
        let missed = changed.into_keys().filter(|room| !rooms.contains(room));
        for room in missed.collect::<Vec<_>>() {
            if self.next.rooms.contains_key(&room) {
                let last = self.last;
                self.sent_mut(room).account_data.miss(last);
            }
        }
        Ok(())
    }

    fn receipts(&mut self, scope: &Scope<'_>, response: &mut Response) -> Result<()> {
        let asked = &self.request.extensions.receipts;
        let rooms = match asked.enabled {
            Some(true) => scope.of_extension(asked.lists.as_deref(), asked.rooms.as_deref()),
            _ => HashSet::new(),
        };
        for room in self.known_to_client(&rooms) {
            let extent = self.next.rooms[&room].receipts;
            let has_some = self
                .changed
                .get(&room)
                .is_some_and(|room| room.has_receipts);
            if extent == Extent::All && !has_some || !self.is_joined(room) {
                continue;
            }
            let after = extent.position(self.last);
            let after_or_start = after.unwrap_or(Position::START);
            let mut receipts = self.base.tx.room_receipts(room, after_or_start, RECEIPTS)?;
            // Of a room that it just came to know, a client wants what it can show, and where it stands itself.
            if after.is_none()
                && let Some(told) = self.initial.get(&room)
            {
                receipts.retain(|receipt| {
                    receipt.user_id == self.base.viewer.user_id
                        || told.contains(receipt.event_id.as_str())
                });
            }
            if extent != Extent::All {
                self.sent_mut(room).receipts = Extent::All;
            }
            let events = ephemeral::events(
                &self.base.filter().room.ephemeral,
                &self.base.viewer.user_id,
                &receipts,
                None,
                |user_id| self.base.is_ignored(user_id),
            )?;
            if let Some(event) = events.into_iter().next() {
                let rooms = &mut response.extensions.receipts.rooms;
                rooms.insert(self.base.tx.room_id(room)?, of_type(event));
            }
        }
        let missed: Vec<RoomNid> = self
            .changed
            .values()
            .filter(|room| room.has_receipts && !rooms.contains(&room.room))
            .map(|room| room.room)
            .filter(|room| self.next.rooms.contains_key(room))
            .collect();
        let last = self.last;
        for room in missed {
            self.sent_mut(room).receipts.miss(last);
        }
        Ok(())
    }

    fn typing(&self, scope: &Scope<'_>, response: &mut Response) -> Result<()> {
        let asked = &self.request.extensions.typing;
        if asked.enabled != Some(true) {
            return Ok(());
        }
        let rooms = scope.of_extension(asked.lists.as_deref(), asked.rooms.as_deref());
        for room in self.known_to_client(&rooms) {
            let is_initial = self.initial.contains_key(&room);
            let since = if is_initial {
                Position::START
            } else {
                self.last
            };
            let Some(users) = self.base.live.typing.changed_since(room, since) else {
                continue;
            };
            // That nobody types is no news to whoever just came.
            if !self.is_joined(room) || is_initial && users.is_empty() {
                continue;
            }
            let events = ephemeral::events(
                &self.base.filter().room.ephemeral,
                &self.base.viewer.user_id,
                &[],
                Some(&users),
                |user_id| self.base.is_ignored(user_id),
            )?;
            if let Some(event) = events.into_iter().next() {
                let rooms = &mut response.extensions.typing.rooms;
                rooms.insert(self.base.tx.room_id(room)?, of_type(event));
            }
        }
        Ok(())
    }

    /// Those of the rooms that the client was told of.
    fn known_to_client(&self, rooms: &HashSet<RoomNid>) -> Vec<RoomNid> {
        let known = rooms.iter().copied();
        known
            .filter(|room| self.next.rooms.contains_key(room))
            .collect()
    }

    fn is_joined(&self, room: RoomNid) -> bool {
        let facts = self.next.facts.get(&room);
        facts.is_some_and(|facts| facts.membership == MembershipState::Join)
    }
}

/// The event as what it is known to be.
fn of_type<T>(event: Raw<AnySyncEphemeralRoomEvent>) -> Raw<T> {
    Raw::from_json(event.into_json())
}
