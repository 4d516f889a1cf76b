//! Keeps the write-ahead log small while reads overlap without end.
//!
//! SQLite moves the log into the database whenever it has grown by some megabytes, but starts it anew only in a moment when nobody
//! reads from it. Where reads never pause there is no such moment, and the log grows for as long as anybody writes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::Connection;
use tracing::{debug, warn};

use crate::{
    Result,
    connection::{BUSY_TIMEOUT, wal_path},
};

/// How large the log may grow before writes wait for reads, in bytes.
pub(crate) const WAL_LIMIT: u64 = 32 * 1024 * 1024;

/// How long writes wait for reads then.
const PATIENCE: Duration = Duration::from_millis(250);

/// Makes the moment that SQLite waits for: reads that begin meanwhile read the database itself.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    wal: PathBuf,
    limit: u64,
    /// The size at which to try next.
    due: u64,
}

impl Checkpoints {
    /// Keeps the log of `database` at about `limit` bytes.
    pub(crate) fn new(database: &Path, limit: u64) -> Self {
        Self {
            wal: wal_path(database),
            limit,
            due: limit,
        }
    }

    /// To be called between transactions of the connection that writes.
    pub(crate) fn keep_small(&mut self, connection: &Connection) {
        let size = self.size();
        if size <= self.due {
            return;
        }
        let emptied = empty(connection).unwrap_or_else(|error| {
            warn!(%error, "the write-ahead log could not be emptied");
            false
        });
        debug!(size, emptied, "the write-ahead log had grown");
        // A read that takes longer than the patience with it must not hold up every write.
        self.due = if emptied { 0 } else { size } + self.limit;
    }

    /// In bytes. What the file once grew to, it keeps until it is emptied.
    fn size(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |wal| wal.len())
    }
}

/// Moves the log into the database and empties it. Returns whether no read stood in the way.
fn empty(connection: &Connection) -> Result<bool> {
    connection.busy_timeout(PATIENCE)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(!busy?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{open_reader, open_writer};

    const LIMIT: u64 = 256 * 1024;

    /// Writes about as much as the limit.
    fn write(connection: &Connection) {
        for _ in 0..LIMIT / 4_096 {
            let sql = "INSERT INTO blobs (bytes) VALUES (randomblob(4000))";
            connection.execute(sql, []).unwrap();
        }
    }

    fn begin_read(connection: &Connection) {
        connection
            .execute_batch("BEGIN; SELECT count(*) FROM blobs;")
            .unwrap();
    }

    #[test]
    fn the_log_is_emptied_once_it_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let writer = open_writer(&path).unwrap();
        writer
            .execute_batch("CREATE TABLE blobs (id INTEGER PRIMARY KEY, bytes BLOB) STRICT")
            .unwrap();
        // Only what is tested here moves the log.
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        let (first, second) = (open_reader(&path).unwrap(), open_reader(&path).unwrap());
        let mut checkpoints = Checkpoints::new(&path, LIMIT);

        write(&writer);
        write(&writer);
        begin_read(&first);
        write(&writer);
        begin_read(&second);
        first.execute_batch("COMMIT").unwrap();
        let grown = checkpoints.size();
        assert!(grown > LIMIT);

        // Reads that do not end are not waited for again until the log has grown as much once more.
        checkpoints.keep_small(&writer);
        assert_eq!(checkpoints.size(), grown);
        assert_eq!(checkpoints.due, grown + LIMIT);
        write(&writer);
        write(&writer);

        second.execute_batch("COMMIT").unwrap();
        checkpoints.keep_small(&writer);
        assert_eq!(checkpoints.size(), 0);
        assert_eq!(checkpoints.due, LIMIT);
    }
}
