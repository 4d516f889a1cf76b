//! Opening SQLite connections with the settings that durability and speed rest on.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tracing::{info, warn};

use crate::{Error, Result, checkpoint::WAL_LIMIT, migrations, way_back};

/// Prepared statements kept per connection.
const STATEMENT_CACHE: usize = 256;

/// How long a statement waits for another connection's lock.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in the write-ahead log before SQLite moves them into the database: 16 MiB. A page that changes often is moved once
/// for all its versions, so a longer log means fewer writes.
const CHECKPOINT_PAGES: u32 = 4_096;

/// Opens the one connection that writes, and checks the database first where the last run did not end cleanly. Where a newer
/// program was tried on it in vain, the database from before comes back.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    // SQLite removes the write-ahead log when the last connection closes: finding one with content means a crash.
    let unclean = std::fs::metadata(wal_path(path)).is_ok_and(|wal| wal.len() > 0);
    way_back::take(path, migrations::known())?;
    let connection = open(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // KiB when negative.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    if unclean {
        warn!("the last run did not end cleanly: checking the database");
        quick_check(&connection)?;
        info!("the database is sound");
    }
    Ok(connection)
}

/// Opens a connection that can only read.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.pragma_update(None, "cache_size", -2_048)?;
    Ok(connection)
}

/// Reads every page and checks its structure.
///
/// # Errors
///
/// [`Error::Corrupt`] with SQLite's first finding.
pub(crate) fn quick_check(connection: &Connection) -> Result<()> {
    let finding: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if finding == "ok" {
        Ok(())
    } else {
        Err(Error::Corrupt(finding))
    }
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| Error::File {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
    // Plans that do not look at bound values: else SQLite compiles joins anew whenever a value changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(connection)
}

/// The write-ahead log of the database at `path`.
pub(crate) fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
