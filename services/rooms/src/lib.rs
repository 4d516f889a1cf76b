//! Rooms: the events of this server's users and of other servers, authorised, resolved, and appended.
//!
//! [`append`] is the one write path for events. What this server's users do builds, authorises, signs and appends an
//! event inside one write to the store: no other event can come in between, so the state before it is the room's
//! current state. What other servers send is checked and resolved outside and appended when the room has not changed
//! meanwhile.

mod append;
mod authorise;
mod error;
mod power;
mod receive_error;
mod rooms;
mod unread;
mod version;

pub use self::{
    append::{CurrentState, Origin, Placement, append},
    authorise::Authorised,
    error::{Error, Result},
    receive_error::PduError,
    rooms::{Config, Rooms},
    version::{DEFAULT_VERSION, VERSIONS, rules_of},
};
