//! Integer ids for servers, users, and pairs of event type and state key.

use ruma::{OwnedUserId, ServerName, UserId, events::StateEventType};
use rusqlite::{Connection, params};

use crate::{Error, ReadTx, Result, ServerNid, StateKeyNid, UserNid, WriteTx};

/// Makes sure that the database belongs to `server_name`, which is always server 1.
pub(crate) fn claim(connection: &Connection, server_name: &ServerName) -> Result<()> {
    connection.execute(
        "INSERT INTO servers (server_nid, server_name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![ServerNid::OWN, server_name.as_str()],
    )?;
    let sql = "SELECT server_name FROM servers WHERE server_nid = ?1";
    let found: String = connection.query_row(sql, [ServerNid::OWN], |row| row.get(0))?;
    if found == server_name.as_str() {
        Ok(())
    } else {
        Err(Error::OtherServer {
            configured: server_name.to_string(),
            found,
        })
    }
}

impl ReadTx<'_> {
    /// The id of a user this server has heard of.
    pub fn user_nid(&self, user_id: &UserId) -> Result<Option<UserNid>> {
        self.optional(
            "SELECT user_nid FROM users WHERE user_id = ?1",
            [user_id.as_str()],
            |row| row.get(0),
        )
    }

    /// The user behind an id.
    pub fn user_id(&self, user: UserNid) -> Result<OwnedUserId> {
        let id: String = self.one(
            "SELECT user_id FROM users WHERE user_nid = ?1",
            [user],
            |row| row.get(0),
        )?;
        UserId::parse(id).map_err(|error| Error::invalid("user id", error))
    }

    /// The id of a server this server has heard of.
    pub fn server_nid(&self, server_name: &ServerName) -> Result<Option<ServerNid>> {
        let sql = "SELECT server_nid FROM servers WHERE server_name = ?1";
        self.optional(sql, [server_name.as_str()], |row| row.get(0))
    }

    /// The id of a pair that some stored event has used.
    pub fn state_key_nid(
        &self,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<Option<StateKeyNid>> {
        let sql = "SELECT state_key_nid FROM state_keys WHERE event_type = ?1 AND state_key = ?2";
        self.optional(sql, params![event_type.to_string(), state_key], |row| {
            row.get(0)
        })
    }
}

impl WriteTx<'_> {
    /// The id of a user, made where it is missing.
    pub fn user_nid_or_insert(&mut self, user_id: &UserId) -> Result<UserNid> {
        if let Some(nid) = self.user_nid(user_id)? {
            return Ok(nid);
        }
        let server = self.server_nid_or_insert(user_id.server_name())?;
        let sql = "INSERT INTO users (user_id, server_nid) VALUES (?1, ?2) RETURNING user_nid";
        self.one(sql, params![user_id.as_str(), server], |row| row.get(0))
    }

    /// The id of a server, made where it is missing.
    pub fn server_nid_or_insert(&mut self, server_name: &ServerName) -> Result<ServerNid> {
        if let Some(nid) = self.server_nid(server_name)? {
            return Ok(nid);
        }
        let sql = "INSERT INTO servers (server_name) VALUES (?1) RETURNING server_nid";
        self.one(sql, [server_name.as_str()], |row| row.get(0))
    }

    /// The id of a pair of event type and state key, made where it is missing.
    pub fn state_key_nid_or_insert(
        &mut self,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<StateKeyNid> {
        if let Some(nid) = self.state_key_nid(event_type, state_key)? {
            return Ok(nid);
        }
        let sql = "INSERT INTO state_keys (event_type, state_key) VALUES (?1, ?2) RETURNING state_key_nid";
        self.one(sql, params![event_type.to_string(), state_key], |row| {
            row.get(0)
        })
    }
}
