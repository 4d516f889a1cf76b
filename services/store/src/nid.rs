//! Integer ids and positions, one type each so that they cannot be mixed up.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(Self)
            }
        }
    )*};
}

integers! {
    /// A room this server has heard of.
    RoomNid;
    /// A user, local or remote.
    UserNid;
    /// A Matrix server. [`ServerNid::OWN`] is this one.
    ServerNid;
    /// A stored event.
    EventNid;
    /// A pair of event type and state key.
    StateKeyNid;
    /// A chain of state changes.
    ChainNid;
    /// A global position: every change that clients or peers can wait for has one, and later changes have larger ones.
    Position;
}

impl ServerNid {
    /// This server.
    pub const OWN: Self = Self(1);
}

impl Position {
    /// Before everything.
    pub const START: Self = Self(0);
}
