//! What a command sees of the database. Each table family adds its functions to these two types in a file of its own.

use std::{cell::RefCell, ops::Deref};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use crate::{Position, Result, Topic, local_names::LocalNames};

/// A consistent snapshot of the database.
#[derive(Debug)]
pub struct ReadTx<'c> {
    connection: &'c Connection,
}

impl<'c> ReadTx<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    /// The newest position in this snapshot. Whatever bears a smaller or equal one is in it.
    pub fn position(&self) -> Result<Position> {
        self.one(
            "SELECT value FROM counters WHERE name = 'position'",
            [],
            |row| row.get(0),
        )
    }

    /// The one row of a query that always has one.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        Ok(self.prepare(sql)?.query_row(params, map)?)
    }

    /// The first row of a query, if any.
    pub(crate) fn optional<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.prepare(sql)?.query_row(params, map).optional()?)
    }

    /// All rows of a query. Callers bound it with `LIMIT` or by a key that bounds it.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(params, map)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'c>> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}

/// A write in the making. It sees its own changes and those of the commands before it in the same group.
#[derive(Debug)]
pub struct WriteTx<'c> {
    read: ReadTx<'c>,
    position: Position,
    topics: Vec<Topic>,
    now_ms: u64,
    memory: &'c Memory,
}

/// What the writer keeps in memory from one command to the next. It may only hold what stays true when a command fails.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    local_names: RefCell<Option<LocalNames>>,
}

impl<'c> WriteTx<'c> {
    #[cfg(test)]
    pub(crate) fn new(connection: &'c Connection, position: Position, now_ms: u64) -> Self {
        Self::with_memory(connection, position, now_ms, Box::leak(Box::default()))
    }

    pub(crate) fn with_memory(
        connection: &'c Connection,
        position: Position,
        now_ms: u64,
        memory: &'c Memory,
    ) -> Self {
        Self {
            read: ReadTx::new(connection),
            position,
            topics: Vec::new(),
            now_ms,
            memory,
        }
    }

    /// Gives out the next global position.
    pub fn next_position(&mut self) -> Position {
        self.position.0 += 1;
        self.position
    }

    /// Leaves out some positions: places in a room's timeline for what is missing there.
    pub fn skip_positions(&mut self, count: i64) {
        self.position.0 += count;
    }

    /// Wakes whoever listens to `topic`, once this command is on disk.
    pub fn announce(&mut self, topic: Topic) {
        self.topics.push(topic);
    }

    /// The clock's milliseconds since the Unix epoch when this command's turn came.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Runs a statement that returns no rows, and says how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        Ok(self.read.prepare(sql)?.execute(params)?)
    }

    /// Looks at the names of local users, which are read from the database the first time.
    pub(crate) fn with_local_names<T>(&self, look: impl FnOnce(&LocalNames) -> T) -> Result<T> {
        let mut held = self.memory.local_names.borrow_mut();
        if let Some(names) = &*held {
            return Ok(look(names));
        }
        let mut names = LocalNames::default();
        let sql = "SELECT u.user_id FROM accounts a JOIN users u ON u.user_nid = a.user_nid";
        for user_id in self.all(sql, [], |row| row.get::<_, String>(0))? {
            if let Ok(user_id) = <&ruma::UserId>::try_from(user_id.as_str()) {
                names.add(user_id.localpart());
            }
        }
        Ok(look(held.insert(names)))
    }

    /// Adds a local user's name to those that texts may contain.
    pub(crate) fn remember_local_name(&self, localpart: &str) {
        if let Some(names) = &mut *self.memory.local_names.borrow_mut() {
            names.add(localpart);
        }
    }

    pub(crate) fn into_parts(self) -> (Position, Vec<Topic>) {
        (self.position, self.topics)
    }
}

impl<'c> Deref for WriteTx<'c> {
    type Target = ReadTx<'c>;

    fn deref(&self) -> &Self::Target {
        &self.read
    }
}
