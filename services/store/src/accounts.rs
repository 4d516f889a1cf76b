//! Accounts of this server's users, and what belongs to them.

mod account_data;
mod devices;
mod email_addresses;
mod filters;
mod guests;
mod invite_permission;
mod profiles;
mod registration_tokens;
mod tokens;
mod user_directory;

use ruma::{OwnedUserId, UserId};
use rusqlite::{Row, params, types::Type};

use crate::{Position, ReadTx, Result, UserNid, WriteTx};

pub use self::{
    account_data::{AccountData, RoomAccountData},
    devices::Device,
    email_addresses::EmailAddress,
    invite_permission::InvitePermission,
    registration_tokens::RegistrationToken,
    tokens::{NewTokenPair, PairNid, TokenSession},
    user_directory::DirectoryUser,
};

/// An account of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user, as the store knows them.
    pub user_nid: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// Argon2id in PHC form; `None` where there is no login by password.
    pub password_hash: Option<String>,
    /// May administer this server.
    pub is_admin: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ts: u64,
    /// Cannot be used until unlocked.
    pub is_locked: bool,
    /// Can only be read with until lifted.
    pub is_suspended: bool,
    /// Cannot be used ever again.
    pub is_deactivated: bool,
}

macro_rules! select_account {
    ($tail:literal) => {
        concat!(
            "SELECT a.user_nid, u.user_id, a.password_hash, a.is_admin, a.created_ts, a.locked_ts, ",
            "a.suspended_ts, a.deactivated_ts FROM accounts a JOIN users u USING (user_nid) ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// A user's account, deactivated ones included.
    pub fn account(&self, user_id: &UserId) -> Result<Option<Account>> {
        let sql = select_account!("WHERE u.user_id = ?1");
        self.optional(sql, [user_id.as_str()], account)
    }

    /// The same, by integer id.
    pub fn account_by_nid(&self, user: UserNid) -> Result<Option<Account>> {
        self.optional(select_account!("WHERE a.user_nid = ?1"), [user], account)
    }

    /// Accounts in the order of their user ids, after `after`, at most `limit`.
    pub fn accounts(&self, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>> {
        let sql = select_account!("WHERE u.user_id > ?1 ORDER BY u.user_id LIMIT ?2");
        let after = after.map_or("", UserId::as_str);
        self.all(sql, params![after, limit], account)
    }

    /// When a user wanted their words erased, if they did.
    pub fn erased_at(&self, user: UserNid) -> Result<Option<Position>> {
        let sql = "SELECT seq FROM erased_users WHERE user_nid = ?1";
        self.optional(sql, [user], |row| row.get(0))
    }

    /// How many accounts are not deactivated.
    pub fn account_count(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM accounts WHERE deactivated_ts IS NULL";
        self.one(sql, [], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Makes an account; `None` where there is or was one of that name.
    pub fn insert_account(
        &mut self,
        user_id: &UserId,
        password_hash: Option<&str>,
        is_admin: bool,
    ) -> Result<Option<UserNid>> {
        let user = self.user_nid_or_insert(user_id)?;
        let sql = "INSERT INTO accounts (user_nid, password_hash, is_admin, created_ts) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO NOTHING";
        let now = self.now_ms();
        let inserted = self.execute(sql, params![user, password_hash, is_admin, now])?;
        self.remember_local_name(user_id.localpart());
        Ok((inserted == 1).then_some(user))
    }

    /// Changes what a password is checked against; `None`: no login by password any more.
    pub fn set_password_hash(&mut self, user: UserNid, hash: Option<&str>) -> Result<()> {
        let sql = "UPDATE accounts SET password_hash = ?2 WHERE user_nid = ?1";
        self.execute(sql, params![user, hash]).map(drop)
    }

    /// Makes an account an administrator's, or no longer one.
    pub fn set_admin(&mut self, user: UserNid, is_admin: bool) -> Result<()> {
        let sql = "UPDATE accounts SET is_admin = ?2 WHERE user_nid = ?1";
        self.execute(sql, params![user, is_admin]).map(drop)
    }

    /// Locks or unlocks an account.
    pub fn set_locked(&mut self, user: UserNid, locked: bool) -> Result<()> {
        let sql = "UPDATE accounts SET locked_ts = ?2 WHERE user_nid = ?1";
        let since = locked.then_some(self.now_ms());
        self.execute(sql, params![user, since]).map(drop)
    }

    /// Suspends an account or lifts the suspension.
    pub fn set_suspended(&mut self, user: UserNid, suspended: bool) -> Result<()> {
        let sql = "UPDATE accounts SET suspended_ts = ?2 WHERE user_nid = ?1";
        let since = suspended.then_some(self.now_ms());
        self.execute(sql, params![user, since]).map(drop)
    }

    /// Notes that a user wants their words erased.
    pub fn erase_user(&mut self, user: UserNid) -> Result<()> {
        let seq = self.next_position();
        let sql = "INSERT INTO erased_users (user_nid, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.execute(sql, params![user, seq]).map(drop)
    }

    /// Ends an account for good: its password goes, its name stays taken. Devices are deleted apart.
    pub fn deactivate_account(&mut self, user: UserNid) -> Result<()> {
        let sql = "UPDATE accounts SET deactivated_ts = ?2, password_hash = NULL, is_admin = 0 WHERE user_nid = ?1";
        let now = self.now_ms();
        self.execute(sql, params![user, now]).map(drop)
    }
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let user_id: String = row.get(1)?;
    let is_set = |index| {
        row.get::<_, Option<i64>>(index)
            .map(|since| since.is_some())
    };
    Ok(Account {
        user_nid: row.get(0)?,
        user_id: parse(1, user_id, UserId::parse)?,
        password_hash: row.get(2)?,
        is_admin: row.get(3)?,
        created_ts: row.get(4)?,
        is_locked: is_set(5)?,
        is_suspended: is_set(6)?,
        is_deactivated: is_set(7)?,
    })
}

/// A text column parsed into what it stands for.
fn parse<T, E: std::error::Error + Send + Sync + 'static>(
    column: usize,
    text: String,
    parse: impl FnOnce(String) -> std::result::Result<T, E>,
) -> rusqlite::Result<T> {
    parse(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}
