//! Numbered migrations, and the one full schema (`schema.sql`) that they lead to.
//!
//! A released migration never changes: a new file follows. After adding one, `UPDATE_SCHEMA=1 cargo test -p
//! luxchat-store schema` writes `schema.sql` anew; review it with the change.

use rusqlite::Connection;
use tracing::info;

use crate::{Error, Result, way_back};

/// Name and SQL of every migration; the first has number 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("names", include_str!("../migrations/0001_names.sql")),
    ("rooms", include_str!("../migrations/0002_rooms.sql")),
    ("accounts", include_str!("../migrations/0003_accounts.sql")),
    (
        "encryption",
        include_str!("../migrations/0004_encryption.sql"),
    ),
    (
        "federation",
        include_str!("../migrations/0005_federation.sql"),
    ),
    ("sync", include_str!("../migrations/0006_sync.sql")),
    ("media", include_str!("../migrations/0007_media.sql")),
    ("presence", include_str!("../migrations/0009_presence.sql")),
    ("push", include_str!("../migrations/0008_push.sql")),
    (
        "application services",
        include_str!("../migrations/0010_application_services.sql"),
    ),
    (
        "delayed events",
        include_str!("../migrations/0011_delayed_events.sql"),
    ),
    ("search", include_str!("../migrations/0012_search.sql")),
    (
        "moderation",
        include_str!("../migrations/0013_moderation.sql"),
    ),
    (
        "URL previews",
        include_str!("../migrations/0014_url_previews.sql"),
    ),
    ("vouchers", include_str!("../migrations/0015_vouchers.sql")),
];

/// Brings the database up to date, each migration in its own transaction. What is in it is copied before.
pub(crate) fn migrate(connection: &mut Connection) -> Result<()> {
    migrate_to(connection, known())
}

/// The newest version of the schema that this program knows.
pub(crate) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// The version of the schema of a database; 0 where there is none yet.
pub(crate) fn version(connection: &Connection) -> Result<u32> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// What a program does that knows the schema up to version `known`.
pub(crate) fn migrate_to(connection: &mut Connection, known: u32) -> Result<()> {
    let found = version(connection)?;
    if found > known {
        return Err(Error::NewerSchema { found, known });
    }
    if found > 0 && found < known {
        way_back::keep(connection)?;
    }
    for (version, (name, sql)) in (1..=known)
        .zip(MIGRATIONS)
        .filter(|(version, _)| *version > found)
    {
        let tx = connection.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
        info!(version, name, "schema migrated");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn dump(connection: &Connection) -> String {
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name")
            .unwrap();
        let rows: Vec<String> = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        rows.join(";\n\n") + ";\n"
    }

    #[test]
    fn migrations_lead_to_the_full_schema() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let migrated = dump(&connection);

        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.sql");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &migrated).unwrap();
        }
        let full = Connection::open_in_memory().unwrap();
        full.execute_batch(&std::fs::read_to_string(path).unwrap())
            .unwrap();
        assert_eq!(migrated, dump(&full));
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let first = dump(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(first, dump(&connection));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "user_version", 1_000)
            .unwrap();
        assert!(matches!(
            migrate(&mut connection),
            Err(Error::NewerSchema { found: 1_000, .. })
        ));
    }
}
