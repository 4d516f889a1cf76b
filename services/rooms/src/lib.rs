//! Rooms: the events of this server's users and of other servers, authorised, resolved, and appended.
//!
//! [`append`] is the one write path for events. What this server's users do builds, authorises, signs and appends an
//! event inside one write to the store: no other event can come in between, so the state before it is the room's
//! current state. What other servers send is checked and resolved outside and appended when the room has not changed
//! meanwhile.

mod accept;
mod append;
mod assess;
mod auth_checks;
mod authorise;
mod error;
mod room_writer;
mod draft;
mod fetch;
mod gap_states;
mod missing_events;
mod outliers;
mod ordering;
mod power;
mod receive;
mod receive_checks;
mod receive_error;
mod receive_outside;
mod resolve;
mod room_locks;
mod rooms;
mod server_acl;
mod unread;
mod version;

pub use self::{
    append::{CurrentState, Origin, Placement, append},
    authorise::Authorised,
    error::{Error, Result},
    receive::Received,
    receive_error::PduError,
    rooms::{Config, Rooms},
    version::{DEFAULT_VERSION, VERSIONS, rules_of},
};
