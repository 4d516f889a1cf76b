//! Pushers: where users want to be notified, and up to where they have been.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use rusqlite::{
    Row, ToSql, params,
    types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef},
};

use crate::{Error, EventNid, Position, ReadTx, Result, RoomNid, Stretch, UserNid, WriteTx};

/// A pusher, in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PusherNid(pub i64);

impl ToSql for PusherNid {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for PusherNid {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// What a client says of a pusher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPusher {
    /// The app; with the key it names the pusher.
    pub app_id: String,
    /// What the gateway knows the app's installation by.
    pub pushkey: String,
    /// What the app calls itself.
    pub app_display_name: String,
    /// What the app calls the device.
    pub device_display_name: String,
    /// Which set of device rules it follows.
    pub profile_tag: Option<String>,
    /// The language of notifications.
    pub lang: String,
    /// The gateway.
    pub url: String,
    /// A JSON object that is passed on to the gateway.
    pub data: String,
}

/// A pusher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pusher {
    /// Its integer id.
    pub nid: PusherNid,
    /// Whose it is.
    pub user: UserNid,
    /// The same.
    pub user_id: OwnedUserId,
    /// The device that set it.
    pub device_id: OwnedDeviceId,
    /// What the client said.
    pub settings: NewPusher,
    /// When, in milliseconds since the Unix epoch.
    pub set_ts: u64,
    /// The position up to which nothing is left to deliver.
    pub cursor: Position,
}

/// An event that a pusher may have to tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushCandidate {
    /// The global position at which it came, to the room or, as an invite, to the user.
    pub at: Position,
    /// The event.
    pub event: EventNid,
}

macro_rules! select_pusher {
    ($tail:literal) => {
        concat!(
            "SELECT p.pusher_nid, p.user_nid, u.user_id, p.device_id, p.app_id, p.pushkey, p.app_display_name, ",
            "p.device_display_name, p.profile_tag, p.lang, p.url, p.data, p.set_ts, p.cursor ",
            "FROM pushers p JOIN users u ON u.user_nid = p.user_nid ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// A user's pushers. How many there can be is limited where they are set.
    pub fn pushers_of(&self, user: UserNid) -> Result<Vec<Pusher>> {
        let sql = select_pusher!("WHERE p.user_nid = ?1 ORDER BY p.pusher_nid");
        self.all(sql, [user], read_pusher)?.into_iter().collect()
    }

    /// A pusher, if it is still there.
    pub fn pusher(&self, pusher: PusherNid) -> Result<Option<Pusher>> {
        let sql = select_pusher!("WHERE p.pusher_nid = ?1");
        self.optional(sql, [pusher], read_pusher)?.transpose()
    }

    /// The pushers after one, at most `limit`.
    pub fn pushers_after(&self, after: PusherNid, limit: u32) -> Result<Vec<Pusher>> {
        let sql = select_pusher!("WHERE p.pusher_nid > ?1 ORDER BY p.pusher_nid LIMIT ?2");
        self.all(sql, params![after, limit], read_pusher)?
            .into_iter()
            .collect()
    }

    /// The local members of a room who have pushers.
    pub fn pushed_members(&self, room: RoomNid) -> Result<Vec<UserNid>> {
        let sql = "SELECT DISTINCT p.user_nid FROM pushers p
                   JOIN members m ON m.user_nid = p.user_nid
                   WHERE m.room_nid = ?1 AND m.membership = 'join'";
        self.all(sql, [room], |row| row.get(0))
    }

    /// What came after a position that a user's pushers may have to tell of, the oldest first, at most `limit`: events in
    /// the rooms that the user is joined to, and invites.
    pub fn push_candidates(
        &self,
        user: UserNid,
        after: Position,
        limit: u32,
    ) -> Result<Vec<PushCandidate>> {
        let sql = "SELECT e.pos, e.event_nid FROM members m
                   JOIN events e ON e.room_nid = m.room_nid
                   WHERE m.user_nid = ?1 AND m.membership = 'join' AND e.pos > ?2 AND e.sender_nid <> ?1
                   UNION
                   SELECT m.seq, m.event_nid FROM members m
                   WHERE m.user_nid = ?1 AND m.membership = 'invite' AND m.seq > ?2
                   ORDER BY 1 LIMIT ?3";
        self.all(sql, params![user, after, limit], |row| {
            Ok(PushCandidate {
                at: row.get(0)?,
                event: row.get(1)?,
            })
        })
    }

    /// Invites of a user that came after a position and are still open.
    pub fn invites_after(&self, user: UserNid, after: Position) -> Result<Vec<PushCandidate>> {
        let sql = "SELECT seq, event_nid FROM members
                   WHERE user_nid = ?1 AND membership = 'invite' AND seq > ?2 ORDER BY seq";
        self.all(sql, params![user, after], |row| {
            Ok(PushCandidate {
                at: row.get(0)?,
                event: row.get(1)?,
            })
        })
    }

    /// Whether a stretch of a timeline has a membership event.
    pub fn has_membership_change(&self, room: RoomNid, stretch: Stretch) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM events
                   WHERE room_nid = ?1 AND pos > ?2 AND pos <= ?3 AND membership IS NOT NULL)";
        self.one(sql, params![room, stretch.after, stretch.until], |row| {
            row.get(0)
        })
    }
}

impl WriteTx<'_> {
    /// Makes a pusher, or changes the one of the same app and key. Unless `append`, those of other users with that app and
    /// key go: the installation has changed hands. A new one tells of what comes from now on.
    pub fn set_pusher(
        &mut self,
        user: UserNid,
        device_id: &DeviceId,
        pusher: &NewPusher,
        append: bool,
    ) -> Result<PusherNid> {
        if !append {
            let sql = "DELETE FROM pushers WHERE app_id = ?1 AND pushkey = ?2 AND user_nid <> ?3";
            self.execute(sql, params![pusher.app_id, pusher.pushkey, user])?;
        }
        let sql = "INSERT INTO pushers (user_nid, device_id, app_id, pushkey, app_display_name, \
                   device_display_name, profile_tag, lang, url, data, set_ts, cursor) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
                   ON CONFLICT (user_nid, app_id, pushkey) DO UPDATE SET device_id = excluded.device_id, \
                   app_display_name = excluded.app_display_name, \
                   device_display_name = excluded.device_display_name, profile_tag = excluded.profile_tag, \
                   lang = excluded.lang, url = excluded.url, data = excluded.data, set_ts = excluded.set_ts \
                   RETURNING pusher_nid";
        let position = self.next_position();
        let params = params![
            user,
            device_id.as_str(),
            pusher.app_id,
            pusher.pushkey,
            pusher.app_display_name,
            pusher.device_display_name,
            pusher.profile_tag,
            pusher.lang,
            pusher.url,
            pusher.data,
            self.now_ms(),
            position,
        ];
        self.one(sql, params, |row| row.get(0))
    }

    /// Removes a user's pusher; `false` where there is none.
    pub fn delete_pusher(&mut self, user: UserNid, app_id: &str, pushkey: &str) -> Result<bool> {
        let sql = "DELETE FROM pushers WHERE user_nid = ?1 AND app_id = ?2 AND pushkey = ?3";
        Ok(self.execute(sql, params![user, app_id, pushkey])? == 1)
    }

    /// Removes a pusher that its gateway does not know.
    pub fn delete_rejected_pusher(&mut self, pusher: PusherNid) -> Result<()> {
        let sql = "DELETE FROM pushers WHERE pusher_nid = ?1";
        self.execute(sql, [pusher]).map(drop)
    }

    /// Notes up to where a pusher has nothing left to deliver; never back.
    pub fn advance_pusher(&mut self, pusher: PusherNid, cursor: Position) -> Result<()> {
        let sql = "UPDATE pushers SET cursor = ?2 WHERE pusher_nid = ?1 AND cursor < ?2";
        self.execute(sql, params![pusher, cursor]).map(drop)
    }
}

fn read_pusher(row: &Row<'_>) -> rusqlite::Result<Result<Pusher>> {
    let user_id: String = row.get(2)?;
    let user_id = match UserId::parse(user_id) {
        Ok(user_id) => user_id,
        Err(error) => return Ok(Err(Error::invalid("user id", error))),
    };
    Ok(Ok(Pusher {
        nid: row.get(0)?,
        user: row.get(1)?,
        user_id,
        device_id: row.get::<_, String>(3)?.into(),
        settings: NewPusher {
            app_id: row.get(4)?,
            pushkey: row.get(5)?,
            app_display_name: row.get(6)?,
            device_display_name: row.get(7)?,
            profile_tag: row.get(8)?,
            lang: row.get(9)?,
            url: row.get(10)?,
            data: row.get(11)?,
        },
        set_ts: row.get(12)?,
        cursor: row.get(13)?,
    }))
}
