use std::sync::Arc;

/// What can go wrong in the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The disk (or a quota) is full: nothing was written, reads go on.
    #[error("the disk is full: nothing was written")]
    DiskFull,

    /// The database reports damage.
    #[error("the database is damaged: {0}")]
    Corrupt(String),

    /// The database belongs to another server name.
    #[error("the database belongs to server {found}, not to {configured}")]
    OtherServer {
        /// The name in the configuration.
        configured: String,
        /// The name in the database.
        found: String,
    },

    /// The database was written by a newer version of this program.
    #[error(
        "the database has schema version {found}, this program knows up to {known}: a newer program has served it, and only \
         that one or a later may open it"
    )]
    NewerSchema {
        /// The version in the database.
        found: u32,
        /// The newest version this program can read.
        known: u32,
    },

    /// The schema must change, and the copy to be made before does not fit on the disk.
    #[error(
        "the disk is too full to change the database's schema: the copy to be made before needs {needed} bytes, {free} are \
         free; nothing was changed"
    )]
    NoRoom {
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are.
        free: u64,
    },

    /// A stored value does not parse: what and why.
    #[error("stored {what} is invalid: {why}")]
    Invalid {
        /// Which value.
        what: &'static str,
        /// The parser's message.
        why: String,
    },

    /// The store is shut down.
    #[error("the store is closed")]
    Closed,

    /// A command panicked; its changes were undone.
    #[error("a store command panicked: {0}")]
    Panicked(String),

    /// Any other SQLite error.
    #[error("SQLite: {0}")]
    Sqlite(Arc<rusqlite::Error>),

    /// The database file cannot be reached.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// The operating system's message.
        why: String,
    },
}

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A stored `what` that does not parse.
    pub fn invalid(what: &'static str, why: impl ToString) -> Self {
        Self::Invalid {
            what,
            why: why.to_string(),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Sqlite(Arc::new(error)),
        }
    }
}
