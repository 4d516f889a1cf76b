//! Accounts and rooms as administrators look through them.

use ruma::{OwnedRoomId, RoomId};
use rusqlite::{Row, params};

use crate::{Account, Error, ReadTx, Result, RoomNid};

/// Which accounts to list.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Part of the user id or the display name, in lower case.
    pub name: Option<String>,
    /// Only such that are, or are not, administrators.
    pub admins: Option<bool>,
    /// Deactivated ones too.
    pub deactivated: bool,
    /// Locked ones too.
    pub locked: bool,
}

/// A room as an administrator sees it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRoom {
    /// The room.
    pub room: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: String,
    /// `m.room.name`, where it is one.
    pub name: Option<String>,
    /// Joined users.
    pub joined: u64,
    /// Those of this server.
    pub joined_local: u64,
    /// Entries of its current state.
    pub state_events: u64,
    /// Whether the directory lists it.
    pub is_published: bool,
}

/// By what rooms are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomOrder {
    /// Name, then id.
    Name,
    /// Joined users.
    Members,
    /// Joined users of this server.
    LocalMembers,
    /// Entries of the current state.
    StateEvents,
    /// Version.
    Version,
}

/// The rows of a filter: `?1` part of a name, `?2` administrators, `?3` deactivated ones too, `?4` locked ones too.
const FILTERED: &str = "FROM accounts a JOIN users u ON u.user_nid = a.user_nid \
     WHERE (?1 IS NULL OR instr(lower(u.user_id), ?1) > 0 OR EXISTS (\
         SELECT 1 FROM profile_fields p WHERE p.user_nid = a.user_nid AND p.field = 'displayname' \
         AND instr(lower(p.value), ?1) > 0)) \
     AND (?2 IS NULL OR a.is_admin = ?2) AND (?3 OR a.deactivated_ts IS NULL) AND (?4 OR a.locked_ts IS NULL)";

/// The rooms of a search: `?1` part of a name, an alias or the id, in lower case.
const ROOMS: &str = "SELECT r.room_nid, r.room_id, r.version, \
         (SELECT j.json FROM current_state s JOIN state_keys k ON k.state_key_nid = s.state_key_nid \
          JOIN event_json j ON j.event_nid = s.event_nid \
          WHERE s.room_nid = r.room_nid AND k.event_type = 'm.room.name' AND k.state_key = '') AS name_event, \
         (SELECT count(*) FROM members m WHERE m.room_nid = r.room_nid AND m.membership = 'join') AS joined, \
         (SELECT count(*) FROM members m JOIN users u ON u.user_nid = m.user_nid \
          WHERE m.room_nid = r.room_nid AND m.membership = 'join' AND u.server_nid = 1) AS joined_local, \
         (SELECT count(*) FROM current_state s WHERE s.room_nid = r.room_nid) AS state_events, \
         EXISTS (SELECT 1 FROM published_rooms p WHERE p.room_nid = r.room_nid) AS is_published \
     FROM rooms r WHERE r.main_chain_nid IS NOT NULL";

impl ReadTx<'_> {
    /// Accounts in the order of their user ids: how many a filter lets through, and `limit` of them from number `from`.
    pub fn filtered_accounts(
        &self,
        filter: &AccountFilter,
        from: u64,
        limit: u32,
    ) -> Result<(u64, Vec<Account>)> {
        let AccountFilter {
            name,
            admins,
            deactivated,
            locked,
        } = filter;
        let count = format!("SELECT count(*) {FILTERED}");
        let params = params![name, admins, deactivated, locked];
        let total = self.one(&count, params, |row| row.get(0))?;
        let page = format!("SELECT a.user_nid {FILTERED} ORDER BY u.user_id LIMIT ?5 OFFSET ?6");
        let params = params![name, admins, deactivated, locked, limit, from];
        let users = self.all(&page, params, |row| row.get(0))?.into_iter();
        let accounts = users.map(|user| {
            let found = self.account_by_nid(user)?;
            found.ok_or_else(|| Error::invalid("account", "gone"))
        });
        Ok((total, accounts.collect::<Result<_>>()?))
    }

    /// Rooms whose state this server holds: how many bear `term` (in lower case) in their name or id, and `limit` of them
    /// from number `from`, the largest first unless `ascending`.
    pub fn listed_rooms(
        &self,
        term: Option<&str>,
        order: RoomOrder,
        ascending: bool,
        from: usize,
        limit: usize,
    ) -> Result<(u64, Vec<ListedRoom>)> {
        let rows: Vec<Raw> = self.all(ROOMS, [], raw)?;
        let mut rooms = rows
            .into_iter()
            .map(listed)
            .filter(|room| {
                room.as_ref()
                    .is_ok_and(|room| term.is_none_or(|term| room.bears(term)))
            })
            .collect::<Result<Vec<_>>>()?;
        rooms.sort_by(|a, b| {
            let by_name = || {
                let key = |room: &ListedRoom| room.name.as_deref().map(str::to_lowercase);
                // Rooms without a name come last.
                (a.name.is_none(), key(a)).cmp(&(b.name.is_none(), key(b)))
            };
            let ordering = match order {
                RoomOrder::Name => by_name(),
                RoomOrder::Members => a.joined.cmp(&b.joined),
                RoomOrder::LocalMembers => a.joined_local.cmp(&b.joined_local),
                RoomOrder::StateEvents => a.state_events.cmp(&b.state_events),
                RoomOrder::Version => a.version.cmp(&b.version),
            };
            let ordering = if ascending {
                ordering
            } else {
                ordering.reverse()
            };
            ordering.then_with(|| a.room_id.cmp(&b.room_id))
        });
        let total = rooms.len() as u64;
        Ok((total, rooms.into_iter().skip(from).take(limit).collect()))
    }

    /// One room of that list.
    pub fn listed_room(&self, room: RoomNid) -> Result<Option<ListedRoom>> {
        let sql = format!("{ROOMS} AND r.room_nid = ?1");
        let found = self.optional(&sql, [room], raw)?;
        found.map(listed).transpose()
    }
}

impl ListedRoom {
    fn bears(&self, term: &str) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        name.to_lowercase().contains(term) || self.room_id.as_str().to_lowercase().contains(term)
    }
}

struct Raw {
    room: RoomNid,
    room_id: String,
    version: String,
    name_event: Option<String>,
    joined: u64,
    joined_local: u64,
    state_events: u64,
    is_published: bool,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        room: row.get(0)?,
        room_id: row.get(1)?,
        version: row.get(2)?,
        name_event: row.get(3)?,
        joined: row.get(4)?,
        joined_local: row.get(5)?,
        state_events: row.get(6)?,
        is_published: row.get(7)?,
    })
}

fn listed(raw: Raw) -> Result<ListedRoom> {
    let name = raw.name_event.and_then(|json| {
        let event: serde_json::Value = serde_json::from_str(&json).ok()?;
        Some(event["content"]["name"].as_str()?.to_owned())
    });
    Ok(ListedRoom {
        room: raw.room,
        room_id: RoomId::parse(raw.room_id).map_err(|error| Error::invalid("room id", error))?,
        version: raw.version,
        name,
        joined: raw.joined,
        joined_local: raw.joined_local,
        state_events: raw.state_events,
        is_published: raw.is_published,
    })
}
