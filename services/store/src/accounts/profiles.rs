//! Profiles of this server's users: a row per field, each a JSON value.

use rusqlite::params;
use serde_json::Value;

use crate::{Error, ReadTx, Result, UserNid, WriteTx};

impl ReadTx<'_> {
    /// One field of a user's profile.
    pub fn profile_field(&self, user: UserNid, field: &str) -> Result<Option<Value>> {
        let sql = "SELECT value FROM profile_fields WHERE user_nid = ?1 AND field = ?2";
        let value: Option<String> = self.optional(sql, params![user, field], |row| row.get(0))?;
        value.map(|value| json(&value)).transpose()
    }

    /// All fields of a user's profile. Their total size is limited where they are set.
    pub fn profile(&self, user: UserNid) -> Result<Vec<(String, Value)>> {
        let sql = "SELECT field, value FROM profile_fields WHERE user_nid = ?1 ORDER BY field";
        let rows: Vec<(String, String)> =
            self.all(sql, [user], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.into_iter()
            .map(|(field, value)| Ok((field, json(&value)?)))
            .collect()
    }
}

impl WriteTx<'_> {
    /// Sets a field.
    pub fn set_profile_field(&mut self, user: UserNid, field: &str, value: &Value) -> Result<()> {
        let sql = "INSERT INTO profile_fields (user_nid, field, value) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (user_nid, field) DO UPDATE SET value = excluded.value";
        self.execute(sql, params![user, field, value.to_string()])
            .map(drop)
    }

    /// Takes a field away; `false` where there was none.
    pub fn delete_profile_field(&mut self, user: UserNid, field: &str) -> Result<bool> {
        let sql = "DELETE FROM profile_fields WHERE user_nid = ?1 AND field = ?2";
        Ok(self.execute(sql, params![user, field])? == 1)
    }

    /// Takes the whole profile away.
    pub fn delete_profile(&mut self, user: UserNid) -> Result<()> {
        self.execute("DELETE FROM profile_fields WHERE user_nid = ?1", [user])
            .map(drop)
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::invalid("profile field", error))
}
