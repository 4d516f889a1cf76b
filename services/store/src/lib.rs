//! The one place that speaks SQL.
//!
//! A [`Store`] owns a single SQLite database: one writer thread that commits commands in groups, and a pool of reader
//! threads that each see a consistent snapshot. Table families add their functions to [`ReadTx`] and [`WriteTx`], one
//! file per family; everything above this crate passes a closure:
//!
//! ```text
//! let user = store.write(move |tx| tx.user_nid_or_insert(&user_id)).await?;
//! ```
//!
//! The reply to a write leaves only after its transaction is on disk.

mod clock;
mod connection;
mod error;
mod hub;
mod migrations;
mod names;
mod nid;
mod readers;
mod store;
mod tx;
mod writer;

pub use self::{
    clock::{Clock, ManualClock, SystemClock},
    error::{Error, Result},
    hub::{Announcement, Listener, Topic},
    nid::{ChainNid, EventNid, Position, RoomNid, ServerNid, StateKeyNid, UserNid},
    store::{Config, Store},
    tx::{ReadTx, WriteTx},
};
