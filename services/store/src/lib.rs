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

mod accounts;
mod clock;
mod connection;
mod destinations;
mod error;
mod hub;
mod migrations;
mod names;
mod nid;
mod read_positions;
mod readers;
mod receipts;
mod received_transactions;
mod server_keys;
mod store;
mod sync_queries;
mod tx;
mod writer;

pub use self::{
    accounts::{
        Account, AccountData, Device, DirectoryUser, NewTokenPair, PairNid, RegistrationToken,
        RoomAccountData, TokenSession,
    },
    clock::{Clock, ManualClock, SystemClock},
    destinations::{Destination, Reach},
    error::{Error, Result},
    hub::{Announcement, Listener, Topic},
    nid::{ChainNid, EventNid, Position, RoomNid, ServerNid, StateKeyNid, UserNid},
    server_keys::{ServerKey, ServerKeyDocument},
    read_positions::Unread,
    receipts::{OutgoingReceipt, Receipt},
    store::{Config, Store},
    tx::{ReadTx, WriteTx},
};
