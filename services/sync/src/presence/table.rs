//! Who is there, as one table in memory.

use std::collections::{BTreeSet, HashMap, HashSet};

use luxchat_store::{Position, UserNid};
use ruma::{
    DeviceId, OwnedDeviceId, OwnedUserId, UserId,
    api::federation::transactions::edu::PresenceUpdate, presence::PresenceState,
};

use super::Presence;
use crate::Viewer;

/// Users known at a time; the one that was told of longest ago makes room for a new one.
const USERS: usize = 100_000;

/// Devices of one user.
const DEVICES: usize = 16;

/// The time between two looks at everybody, in milliseconds.
const SWEEP_EVERY: u64 = 5_000;

/// For how long a device is there after its last sync, in milliseconds.
const GONE_AFTER: u64 = 60_000;

/// How long a user who does nothing is taken to be there, in milliseconds.
const IDLE_AFTER: u64 = 5 * 60_000;

/// How long after doing something a user counts as active.
const ACTIVE_FOR: u64 = 60_000;

/// After which time peers are told again that a user is there, and how long they are believed without that.
const RETELL_AFTER: u64 = 25 * 60_000;
const REMOTE_GONE_AFTER: u64 = 35 * 60_000;

/// How a user is, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// There, away, or gone.
    pub state: PresenceState,
    /// What they say of themselves.
    pub status_msg: Option<String>,
    /// Milliseconds since they did something, if they ever did.
    pub last_active_ago: Option<u64>,
    /// Whether they are doing something just now.
    pub currently_active: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            state: PresenceState::Offline,
            status_msg: None,
            last_active_ago: None,
            currently_active: false,
        }
    }
}

/// A device syncs for as long as this lives.
#[derive(Debug)]
pub struct Syncing {
    presence: Presence,
    user: UserNid,
    device_id: OwnedDeviceId,
}

impl Syncing {
    pub(super) fn new(presence: Presence, viewer: &Viewer) -> Self {
        Self {
            presence,
            user: viewer.user,
            device_id: viewer.device_id.clone(),
        }
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.presence.end_sync(self.user, &self.device_id);
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    users: HashMap<UserNid, Entry>,
    by_position: BTreeSet<(Position, UserNid)>,
    /// Users who are not as they were told of.
    changed: HashSet<UserNid>,
    /// When it was last looked who went away.
    swept_ms: u64,
}

#[derive(Debug)]
struct Entry {
    user_id: OwnedUserId,
    state: PresenceState,
    status_msg: Option<String>,
    /// When they last did something; 0: never.
    active_ms: u64,
    /// A local user's devices; `None` for a user of another server.
    devices: Option<Vec<Device>>,
    /// When other servers last heard of it, or this server from theirs.
    told_ms: u64,
    /// The position of the last change that was told.
    position: Option<Position>,
}

#[derive(Debug)]
struct Device {
    id: OwnedDeviceId,
    state: PresenceState,
    /// When it last was there.
    seen_ms: u64,
    /// Its syncs under way.
    syncs: u32,
}

/// A change to tell.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) user: UserNid,
    pub(super) user_id: OwnedUserId,
    pub(super) shown: Shown,
    /// Whether this server is to tell others.
    pub(super) is_local: bool,
}

impl Table {
    pub(super) fn knows(&self, user: UserNid) -> bool {
        self.users.contains_key(&user)
    }

    pub(super) fn add_local(&mut self, viewer: &Viewer) {
        self.entry(viewer.user, &viewer.user_id, true);
    }

    pub(super) fn set(&mut self, viewer: &Viewer, state: PresenceState, now_ms: u64) {
        let entry = self.entry(viewer.user, &viewer.user_id, true);
        entry.active_ms = now_ms;
        entry.see(&viewer.device_id, state, now_ms);
        self.refresh(viewer.user, now_ms);
    }

    pub(super) fn set_status(&mut self, user: UserNid, status_msg: Option<String>) {
        if let Some(entry) = self.users.get_mut(&user)
            && entry.status_msg != status_msg
        {
            entry.status_msg = status_msg;
            self.changed.insert(user);
        }
    }

    /// Says whether there is anything to tell.
    pub(super) fn begin_sync(
        &mut self,
        viewer: &Viewer,
        state: PresenceState,
        now_ms: u64,
    ) -> bool {
        let entry = self.entry(viewer.user, &viewer.user_id, true);
        if entry.state == PresenceState::Offline && state == PresenceState::Online {
            entry.active_ms = now_ms;
        }
        if let Some(device) = entry.see(&viewer.device_id, state, now_ms) {
            device.syncs += 1;
        }
        self.refresh(viewer.user, now_ms)
    }

    pub(super) fn end_sync(&mut self, user: UserNid, device_id: &DeviceId, now_ms: u64) {
        let devices = self
            .users
            .get_mut(&user)
            .and_then(|entry| entry.devices.as_mut());
        let device = devices.and_then(|all| all.iter_mut().find(|it| it.id == device_id));
        if let Some(device) = device {
            device.syncs = device.syncs.saturating_sub(1);
            device.seen_ms = now_ms;
        }
    }

    /// Says whether there is anything to tell.
    pub(super) fn note_activity(&mut self, user: UserNid, now_ms: u64) -> bool {
        let Some(entry) = self.users.get_mut(&user) else {
            return false;
        };
        entry.active_ms = now_ms;
        self.refresh(user, now_ms)
    }

    /// Says whether there is anything to tell.
    pub(super) fn set_remote(
        &mut self,
        user: UserNid,
        update: PresenceUpdate,
        now_ms: u64,
    ) -> bool {
        let entry = self.entry(user, &update.user_id, false);
        entry.told_ms = now_ms;
        entry.active_ms = now_ms.saturating_sub(update.last_active_ago.into());
        let state = match update.presence {
            state @ (PresenceState::Online | PresenceState::Unavailable) => state,
            _ => PresenceState::Offline,
        };
        let is_news = entry.state != state || entry.status_msg != update.status_msg;
        entry.state = state;
        entry.status_msg = update.status_msg;
        if is_news {
            self.changed.insert(user);
        }
        is_news
    }

    pub(super) fn shown(&self, user: UserNid, now_ms: u64) -> Option<Shown> {
        self.users.get(&user).map(|entry| entry.shown(now_ms))
    }

    pub(super) fn changed_since(&self, since: Position, limit: usize) -> Vec<UserNid> {
        let after = (Position(since.0.saturating_add(1)), UserNid(i64::MIN));
        let changed = self.by_position.range(after..).rev();
        changed.take(limit).map(|(_, user)| *user).collect()
    }

    /// Takes at most `limit` changes, those of the time gone by among them. Second: users of whom other servers have
    /// heard nothing for long.
    pub(super) fn take_changes(&mut self, limit: usize, now_ms: u64) -> (Vec<Change>, Vec<Change>) {
        let sweeps = now_ms.saturating_sub(self.swept_ms) >= SWEEP_EVERY;
        if sweeps {
            self.swept_ms = now_ms;
            let users: Vec<UserNid> = self.users.keys().copied().collect();
            for user in users {
                self.refresh(user, now_ms);
            }
        }
        let changed: Vec<UserNid> = self.changed.iter().copied().take(limit).collect();
        for user in &changed {
            self.changed.remove(user);
        }
        let is_late = |entry: &Entry| {
            sweeps
                && entry.devices.is_some()
                && entry.state != PresenceState::Offline
                && now_ms.saturating_sub(entry.told_ms) > RETELL_AFTER
        };
        let late: Vec<UserNid> = self
            .users
            .iter()
            .filter(|(user, entry)| is_late(entry) && !changed.contains(user))
            .map(|(user, _)| *user)
            .take(limit)
            .collect();
        let mut take = |users: Vec<UserNid>| -> Vec<Change> {
            users
                .into_iter()
                .filter_map(|user| {
                    let entry = self.users.get_mut(&user)?;
                    let is_local = entry.devices.is_some();
                    if is_local {
                        entry.told_ms = now_ms;
                    }
                    Some(Change {
                        user,
                        user_id: entry.user_id.clone(),
                        shown: entry.shown(now_ms),
                        is_local,
                    })
                })
                .collect()
        };
        (take(changed), take(late))
    }

    /// Changes that were taken and could not be told.
    pub(super) fn take_back(&mut self, changes: &[Change]) {
        let users = changes.iter().map(|change| change.user);
        let known = users.filter(|user| self.users.contains_key(user));
        self.changed.extend(known);
    }

    /// Changes that were taken bear a position now.
    pub(super) fn place(&mut self, users: &[UserNid], position: Position) {
        for user in users {
            if let Some(entry) = self.users.get_mut(user) {
                if let Some(old) = entry.position.replace(position) {
                    self.by_position.remove(&(old, *user));
                }
                self.by_position.insert((position, *user));
            }
        }
    }

    /// Brings a user in line with their devices and the time. Says whether anything is to be told of them.
    fn refresh(&mut self, user: UserNid, now_ms: u64) -> bool {
        let Some(entry) = self.users.get_mut(&user) else {
            return false;
        };
        let state = entry.state_at(now_ms);
        if state == entry.state {
            return self.changed.contains(&user);
        }
        entry.state = state;
        self.changed.insert(user);
        true
    }

    fn entry(&mut self, user: UserNid, user_id: &UserId, is_local: bool) -> &mut Entry {
        if !self.users.contains_key(&user) && self.users.len() >= USERS {
            self.forget_oldest();
        }
        self.users.entry(user).or_insert_with(|| Entry {
            user_id: user_id.to_owned(),
            state: PresenceState::Offline,
            status_msg: None,
            active_ms: 0,
            devices: is_local.then(Vec::new),
            told_ms: 0,
            position: None,
        })
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_position.first().map(|(_, user)| *user);
        if let Some(oldest) = oldest.or_else(|| self.users.keys().next().copied()) {
            let entry = self.users.remove(&oldest);
            if let Some(position) = entry.and_then(|entry| entry.position) {
                self.by_position.remove(&(position, oldest));
            }
            self.changed.remove(&oldest);
        }
    }
}

impl Entry {
    fn see(&mut self, id: &DeviceId, state: PresenceState, now_ms: u64) -> Option<&mut Device> {
        let devices = self.devices.as_mut()?;
        let known = devices.iter().position(|device| device.id == id);
        let index = known.unwrap_or_else(|| {
            if devices.len() >= DEVICES {
                let oldest = devices.iter().enumerate().min_by_key(|(_, it)| it.seen_ms);
                if let Some(oldest) = oldest.map(|(index, _)| index) {
                    devices.swap_remove(oldest);
                }
            }
            devices.push(Device {
                id: id.to_owned(),
                state: PresenceState::Offline,
                seen_ms: now_ms,
                syncs: 0,
            });
            devices.len() - 1
        });
        let device = devices.get_mut(index)?;
        device.state = state;
        device.seen_ms = now_ms;
        Some(device)
    }

    fn state_at(&mut self, now_ms: u64) -> PresenceState {
        let Some(devices) = &mut self.devices else {
            let is_stale = now_ms.saturating_sub(self.told_ms) > REMOTE_GONE_AFTER;
            return if is_stale {
                PresenceState::Offline
            } else {
                self.state.clone()
            };
        };
        devices.retain(|it| it.syncs > 0 || now_ms.saturating_sub(it.seen_ms) < GONE_AFTER);
        let has = |state| devices.iter().any(|device| device.state == state);
        let is_idle = now_ms.saturating_sub(self.active_ms) > IDLE_AFTER;
        if has(PresenceState::Online) && !is_idle {
            PresenceState::Online
        } else if has(PresenceState::Online) || has(PresenceState::Unavailable) {
            PresenceState::Unavailable
        } else {
            PresenceState::Offline
        }
    }

    fn shown(&self, now_ms: u64) -> Shown {
        let ago = now_ms.saturating_sub(self.active_ms);
        Shown {
            state: self.state.clone(),
            status_msg: self.status_msg.clone(),
            last_active_ago: (self.active_ms > 0).then_some(ago),
            currently_active: self.state == PresenceState::Online && ago < ACTIVE_FOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(device_id: &str) -> Viewer {
        Viewer {
            user_id: ruma::owned_user_id!("@a:one"),
            user: UserNid(1),
            device_id: device_id.into(),
        }
    }

    fn state(table: &mut Table, now_ms: u64) -> PresenceState {
        table.take_changes(10, now_ms);
        table.shown(UserNid(1), now_ms).unwrap().state
    }

    #[test]
    fn a_user_is_there_while_a_device_syncs_idle_without_activity_and_gone_after() {
        let mut table = Table::default();
        let (phone, desk) = (viewer("PHONE"), viewer("DESK"));
        assert!(table.begin_sync(&phone, PresenceState::Online, 1_000));
        assert_eq!(state(&mut table, 1_000), PresenceState::Online);
        // Another device does not change what others see.
        assert!(!table.begin_sync(&desk, PresenceState::Unavailable, 2_000));
        assert_eq!(
            state(&mut table, 2_000 + IDLE_AFTER),
            PresenceState::Unavailable
        );
        assert!(table.note_activity(UserNid(1), 3_000 + IDLE_AFTER));
        let later = 4_000 + IDLE_AFTER;
        assert_eq!(state(&mut table, later), PresenceState::Online);
        table.end_sync(UserNid(1), &phone.device_id, later);
        let after = later + GONE_AFTER;
        assert_eq!(state(&mut table, after), PresenceState::Unavailable);
        table.end_sync(UserNid(1), &desk.device_id, after);
        assert_eq!(
            state(&mut table, after + GONE_AFTER),
            PresenceState::Offline
        );
    }

    #[test]
    fn only_changes_are_told_and_peers_hear_again_of_who_stays() {
        let mut table = Table::default();
        let phone = viewer("PHONE");
        table.begin_sync(&phone, PresenceState::Online, 1_000);
        let (changes, _) = table.take_changes(10, 1_000);
        assert_eq!(changes.len(), 1);
        table.place(&[UserNid(1)], Position(7));
        assert_eq!(table.changed_since(Position(6), 10), [UserNid(1)]);
        assert!(table.changed_since(Position(7), 10).is_empty());
        let mut now_ms = 1_000;
        let mut told_again = 0;
        for _ in 0..60 {
            now_ms += 60_000;
            table.note_activity(UserNid(1), now_ms);
            let (changes, late) = table.take_changes(10, now_ms);
            assert!(changes.is_empty());
            told_again += late.len();
        }
        assert_eq!(told_again, 2);
    }

    #[test]
    fn a_peer_that_falls_silent_is_not_believed_for_ever() {
        let mut table = Table::default();
        let user_id = ruma::owned_user_id!("@e:two");
        let update = PresenceUpdate::new(user_id, PresenceState::Online, 5_u32.into());
        assert!(table.set_remote(UserNid(1), update.clone(), 1_000));
        assert!(!table.set_remote(UserNid(1), update, 2_000));
        assert_eq!(state(&mut table, 2_000), PresenceState::Online);
        let later = 2_001 + REMOTE_GONE_AFTER;
        assert_eq!(state(&mut table, later), PresenceState::Offline);
    }
}
