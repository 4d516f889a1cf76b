use rusqlite::params;

use crate::{ReadTx, Result, UserNid, WriteTx};

impl ReadTx<'_> {
    /// A filter's definition, in JSON.
    pub fn filter(&self, user: UserNid, filter_id: i64) -> Result<Option<String>> {
        let sql = "SELECT definition FROM filters WHERE user_nid = ?1 AND filter_id = ?2";
        self.optional(sql, params![user, filter_id], |row| row.get(0))
    }

    /// The id of a filter with exactly this definition.
    pub fn filter_id(&self, user: UserNid, definition: &str) -> Result<Option<i64>> {
        let sql = "SELECT filter_id FROM filters WHERE user_nid = ?1 AND definition = ?2";
        self.optional(sql, params![user, definition], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Adds a filter, or finds the one that is the same, and returns its id: the number of filters that the user had.
    pub fn insert_filter(&mut self, user: UserNid, definition: &str) -> Result<i64> {
        if let Some(id) = self.filter_id(user, definition)? {
            return Ok(id);
        }
        let sql = "INSERT INTO filters (user_nid, filter_id, definition) \
                   SELECT ?1, count(*), ?2 FROM filters WHERE user_nid = ?1 RETURNING filter_id";
        self.one(sql, params![user, definition], |row| row.get(0))
    }
}
