//! Access and refresh tokens, known by their SHA-256 alone.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use rusqlite::{
    Row, params,
    types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef},
};

use super::parse;
use crate::{ReadTx, Result, UserNid, WriteTx};

/// A stored pair of access and refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PairNid(pub i64);

/// Whom a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSession {
    /// The pair that the token is of.
    pub pair: PairNid,
    /// The user, as the store knows them.
    pub user_nid: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// When the access token ends, in milliseconds since the Unix epoch; `None`: never.
    pub access_expires_ts: Option<u64>,
    /// Whether the pair that this one was refreshed from is still valid.
    pub is_unconfirmed: bool,
    /// May administer this server.
    pub is_admin: bool,
    /// The account is locked.
    pub is_locked: bool,
    /// The account is suspended.
    pub is_suspended: bool,
    /// The account is a guest's.
    pub is_guest: bool,
}

/// Tokens to store.
#[derive(Clone, Copy, Debug)]
pub struct NewTokenPair<'a> {
    /// Whose.
    pub user: UserNid,
    /// For which of their devices.
    pub device_id: &'a DeviceId,
    /// SHA-256 of the access token.
    pub access_hash: &'a [u8; 32],
    /// When the access token ends; `None`: never.
    pub access_expires_ts: Option<u64>,
    /// SHA-256 of the refresh token, if there is one.
    pub refresh_hash: Option<&'a [u8; 32]>,
    /// The pair that was refreshed.
    pub replaces: Option<PairNid>,
}

macro_rules! select_session {
    ($tail:literal) => {
        concat!(
            "SELECT t.pair_nid, t.user_nid, u.user_id, t.device_id, t.access_expires_ts, ",
            "t.replaces_nid IS NOT NULL, a.is_admin, a.locked_ts IS NOT NULL, a.suspended_ts IS NOT NULL, ",
            "EXISTS (SELECT 1 FROM guests g WHERE g.user_nid = t.user_nid) ",
            "FROM token_pairs t JOIN accounts a USING (user_nid) JOIN users u USING (user_nid) ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// Whom an access token belongs to.
    pub fn session_by_access(&self, hash: &[u8; 32]) -> Result<Option<TokenSession>> {
        let sql = select_session!("WHERE t.access_hash = ?1");
        self.optional(sql, [hash.as_slice()], session)
    }

    /// Whom a refresh token belongs to.
    pub fn session_by_refresh(&self, hash: &[u8; 32]) -> Result<Option<TokenSession>> {
        let sql = select_session!("WHERE t.refresh_hash = ?1");
        self.optional(sql, [hash.as_slice()], session)
    }
}

impl WriteTx<'_> {
    /// Stores a pair. Where it replaces one, an earlier replacement that nobody has used goes.
    pub fn insert_token_pair(&mut self, new: NewTokenPair<'_>) -> Result<()> {
        if let Some(replaced) = new.replaces {
            let sql = "DELETE FROM token_pairs WHERE replaces_nid = ?1";
            self.execute(sql, [replaced])?;
        }
        let sql = "INSERT INTO token_pairs \
                   (user_nid, device_id, access_hash, access_expires_ts, refresh_hash, replaces_nid) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![
            new.user,
            new.device_id.as_str(),
            new.access_hash.as_slice(),
            new.access_expires_ts,
            new.refresh_hash.map(<[u8; 32]>::as_slice),
            new.replaces,
        ];
        self.execute(sql, row).map(drop)
    }

    /// A pair was used: the one that it replaced ends.
    pub fn confirm_token_pair(&mut self, pair: PairNid) -> Result<()> {
        let sql = "DELETE FROM token_pairs WHERE pair_nid = \
                   (SELECT replaces_nid FROM token_pairs WHERE pair_nid = ?1)";
        self.execute(sql, [pair]).map(drop)
    }

    /// Ends all tokens of a device.
    pub fn delete_token_pairs(&mut self, user: UserNid, device_id: &DeviceId) -> Result<()> {
        let sql = "DELETE FROM token_pairs WHERE user_nid = ?1 AND device_id = ?2";
        self.execute(sql, params![user, device_id.as_str()])
            .map(drop)
    }
}

impl ToSql for PairNid {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for PairNid {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

fn session(row: &Row<'_>) -> rusqlite::Result<TokenSession> {
    let user_id: String = row.get(2)?;
    Ok(TokenSession {
        pair: row.get(0)?,
        user_nid: row.get(1)?,
        user_id: parse(2, user_id, UserId::parse)?,
        device_id: row.get::<_, String>(3)?.into(),
        access_expires_ts: row.get(4)?,
        is_unconfirmed: row.get(5)?,
        is_admin: row.get(6)?,
        is_locked: row.get(7)?,
        is_suspended: row.get(8)?,
        is_guest: row.get(9)?,
    })
}
