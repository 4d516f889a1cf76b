//! The way back from a migration: a copy of the database as it was before, for the program that knew it so.
//!
//! The copy is there from before the first change of the schema until the program that made it begins to serve: while it is
//! there, nothing was acknowledged to anyone. So an older program that finds it may put it back and lose nothing; and one
//! that does not find it must refuse the newer schema, since people rely on what is in it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::statvfs;
use rusqlite::{Connection, OpenFlags};
use tracing::{info, warn};

use crate::{Error, Result, connection::quick_check, connection::wal_path, migrations};

/// What the copy must leave free on the disk, in bytes.
const MARGIN: u64 = 64 * 1024 * 1024;

/// Gives up the way back. To be called before anything is acknowledged to anyone; the database is as it is from then on.
///
/// # Errors
///
/// When the copy cannot be removed: then nothing may be served.
pub fn give_up_way_back(database: &Path) -> Result<()> {
    let copy = copy_path(database);
    match fs::remove_file(&copy) {
        Ok(()) => info!("the new schema is kept: the copy from before is gone"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file_error(&copy, &error)),
    }
    sync_folder(&copy)
}

/// Copies the database that is about to be migrated. A copy that is there already is of an earlier attempt, since which
/// nothing was acknowledged: it stays.
pub(crate) fn keep(connection: &Connection) -> Result<()> {
    // A database in memory has no file and nothing to go back to.
    let Some(database) = connection.path().filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let copy = copy_path(Path::new(database));
    if copy.exists() {
        return Ok(());
    }
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    check_room(pages.saturating_mul(page), free_space(&copy)?)?;

    let unfinished = with_suffix(&copy, ".new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file_error(&unfinished, &error));
        }
        _ => {}
    }
    connection.execute("VACUUM INTO ?1", [path_text(&unfinished)?])?;
    // SQLite does not wait for the disk here.
    File::open(&unfinished)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, &copy))
        .map_err(|error| file_error(&copy, &error))?;
    sync_folder(&copy)?;
    info!(copy = %copy.display(), "the database was copied before its schema changes");
    Ok(())
}

/// Puts the copy back where a newer program has migrated the database past `known` and never came to serve.
pub(crate) fn take(database: &Path, known: u32) -> Result<()> {
    let copy = copy_path(database);
    if !copy.exists() || !database.exists() || schema_of(database)? <= known {
        return Ok(());
    }
    if schema_of(&copy)? > known {
        // Not ours either: opening the database says what is wrong.
        return Ok(());
    }
    // Closing the last connection has emptied the write-ahead log; what it may still hold belongs to the newer schema.
    let log = wal_path(database);
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(file_error(&log, &"it is in use"));
    }
    quick_check(&Connection::open_with_flags(
        &copy,
        OpenFlags::SQLITE_OPEN_READ_ONLY,
    )?)?;
    fs::rename(&copy, database).map_err(|error| file_error(&copy, &error))?;
    sync_folder(&copy)?;
    warn!(
        "a newer program had changed the schema and never served: the database from before is back in place"
    );
    Ok(())
}

fn schema_of(path: &Path) -> Result<u32> {
    migrations::version(&Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE,
    )?)
}

fn check_room(size: u64, free: u64) -> Result<()> {
    let needed = size.saturating_add(MARGIN);
    if free >= needed {
        return Ok(());
    }
    Err(Error::NoRoom { needed, free })
}

fn free_space(path: &Path) -> Result<u64> {
    let folder = folder_of(path);
    let disk = statvfs(folder).map_err(|error| file_error(folder, &error))?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| file_error(folder, &error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn copy_path(database: &Path) -> PathBuf {
    with_suffix(database, ".before-migration")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| file_error(path, &"the path is not text"))
}

fn file_error(path: &Path, why: &impl ToString) -> Error {
    Error::File {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ruma::{OwnedServerName, ServerName};

    use super::*;
    use crate::{Config, Store};

    /// What the older program knows.
    const OLDER: u32 = 5;

    struct Site {
        _folder: tempfile::TempDir,
        database: PathBuf,
    }

    impl Site {
        /// A database that the older program left behind.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = folder.path().join("store.db");
            let mut connection = Connection::open(&database).unwrap();
            migrations::migrate_to(&mut connection, OLDER).unwrap();
            note(&connection, name().as_str());
            note(&connection, "acknowledged by the older program");
            Self {
                _folder: folder,
                database,
            }
        }

        /// The newer program, up to the moment before it serves.
        fn start_newer(&self) {
            let store = Store::open(Config::new(&self.database, name())).unwrap();
            drop(store);
        }

        fn notes(&self) -> Vec<String> {
            let connection = Connection::open(&self.database).unwrap();
            let mut notes = connection
                .prepare("SELECT server_name FROM servers WHERE server_name LIKE '% %' ORDER BY server_nid")
                .unwrap();
            let notes = notes.query_map([], |row| row.get(0)).unwrap();
            notes.map(std::result::Result::unwrap).collect()
        }

        fn schema(&self) -> u32 {
            schema_of(&self.database).unwrap()
        }
    }

    fn name() -> OwnedServerName {
        ServerName::parse("ministry.example").unwrap()
    }

    fn note(connection: &Connection, text: &str) {
        connection
            .execute("INSERT INTO servers (server_name) VALUES (?1)", [text])
            .unwrap();
    }

    #[test]
    fn what_never_served_is_undone_by_the_older_program() {
        let site = Site::new();
        site.start_newer();
        assert!(site.schema() > OLDER);
        assert!(copy_path(&site.database).exists());
        note(
            &Connection::open(&site.database).unwrap(),
            "written by the newer program",
        );

        take(&site.database, OLDER).unwrap();
        assert_eq!(site.schema(), OLDER);
        assert_eq!(site.notes(), ["acknowledged by the older program"]);
        assert!(!copy_path(&site.database).exists());
        // And it goes on from there, as often as it takes.
        site.start_newer();
        take(&site.database, OLDER).unwrap();
        assert_eq!(site.schema(), OLDER);
    }

    #[test]
    fn what_served_stays_and_the_older_program_refuses_it() {
        let site = Site::new();
        site.start_newer();
        give_up_way_back(&site.database).unwrap();
        let newer = site.schema();
        note(
            &Connection::open(&site.database).unwrap(),
            "acknowledged by the newer program",
        );
        take(&site.database, OLDER).unwrap();
        assert_eq!(site.schema(), newer);
        let mut connection = Connection::open(&site.database).unwrap();
        let refusal = migrations::migrate_to(&mut connection, OLDER).unwrap_err();
        assert!(matches!(refusal, Error::NewerSchema { known: OLDER, .. }));
        assert_eq!(site.notes().len(), 2);
        give_up_way_back(&site.database).unwrap();
    }

    #[test]
    fn a_second_attempt_keeps_the_first_copy() {
        let site = Site::new();
        site.start_newer();
        let first = fs::read(copy_path(&site.database)).unwrap();
        // The power went while it migrated: half of the way is done.
        let connection = Connection::open(&site.database).unwrap();
        note(&connection, "written by the newer program");
        connection
            .pragma_update(None, "user_version", OLDER + 1)
            .unwrap();
        keep(&connection).unwrap();
        assert_eq!(fs::read(copy_path(&site.database)).unwrap(), first);
    }

    #[test]
    fn the_copy_of_a_program_that_migrated_nothing_is_left_alone() {
        let site = Site::new();
        site.start_newer();
        let known = site.schema();
        take(&site.database, known).unwrap();
        assert!(copy_path(&site.database).exists());
    }

    #[test]
    fn a_new_database_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("store.db");
        drop(Store::open(Config::new(&database, name())).unwrap());
        assert!(!copy_path(&database).exists());
    }

    #[test]
    fn a_short_disk_is_told_before_anything_changes() {
        check_room(1_000, MARGIN + 1_000).unwrap();
        let error = check_room(1_000, MARGIN + 999).unwrap_err();
        assert!(
            error.to_string().contains("needs 67109864 bytes"),
            "{error}"
        );
    }
}
