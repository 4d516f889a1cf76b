//! E-mail addresses of accounts.

use ruma::OwnedUserId;
use rusqlite::params;

use super::parse;
use crate::{ReadTx, Result, UserNid, WriteTx};

/// An e-mail address of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress {
    /// In small letters.
    pub address: String,
    /// When its owner proved that it is theirs, in milliseconds since the Unix epoch.
    pub validated_ts: u64,
    /// When it was added to the account.
    pub added_ts: u64,
}

impl ReadTx<'_> {
    /// Whose an e-mail address is.
    pub fn email_owner(&self, address: &str) -> Result<Option<OwnedUserId>> {
        let sql = "SELECT u.user_id FROM email_addresses e JOIN users u ON u.user_nid = e.user_nid WHERE e.address = ?1";
        self.optional(sql, [address], |row| {
            parse(0, row.get(0)?, |id: String| OwnedUserId::try_from(id))
        })
    }

    /// The e-mail addresses of a user, the oldest first.
    pub fn email_addresses(&self, user: UserNid) -> Result<Vec<EmailAddress>> {
        let sql = "SELECT address, validated_ts, added_ts FROM email_addresses WHERE user_nid = ?1 ORDER BY added_ts";
        self.all(sql, [user], |row| {
            Ok(EmailAddress {
                address: row.get(0)?,
                validated_ts: row.get(1)?,
                added_ts: row.get(2)?,
            })
        })
    }
}

impl WriteTx<'_> {
    /// Gives an account an e-mail address; `false` where it is somebody else's.
    pub fn insert_email_address(
        &mut self,
        user: UserNid,
        address: &str,
        validated_ts: u64,
    ) -> Result<bool> {
        let sql = "INSERT INTO email_addresses (address, user_nid, validated_ts, added_ts) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (address) DO UPDATE SET validated_ts = excluded.validated_ts \
                   WHERE user_nid = excluded.user_nid";
        let changed = self.execute(sql, params![address, user, validated_ts, self.now_ms()])?;
        Ok(changed > 0)
    }

    /// Takes an e-mail address from an account; whether it had it.
    pub fn delete_email_address(&mut self, user: UserNid, address: &str) -> Result<bool> {
        let sql = "DELETE FROM email_addresses WHERE user_nid = ?1 AND address = ?2";
        Ok(self.execute(sql, params![user, address])? > 0)
    }

    /// Takes all e-mail addresses from an account.
    pub fn delete_email_addresses(&mut self, user: UserNid) -> Result<()> {
        self.execute("DELETE FROM email_addresses WHERE user_nid = ?1", [user])
            .map(drop)
    }
}
