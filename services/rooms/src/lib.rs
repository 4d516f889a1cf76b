//! Rooms: the events of this server's users and of other servers, authorised, resolved, and appended.
//!
//! [`append`] is the one write path for events. What this server's users do builds, authorises, signs and appends an
//! event inside one write to the store: no other event can come in between, so the state before it is the room's
//! current state. What other servers send is checked and resolved outside and appended when the room has not changed
//! meanwhile.

mod accept;
mod aliases;
mod append;
mod assess;
mod auth_checks;
mod authorise;
mod backfill;
mod backfill_plan;
mod client_transactions;
mod complete;
mod create;
mod delayed;
mod draft;
mod empower;
mod error;
mod event_near;
mod fetch;
mod gap_states;
mod handshake;
mod invite_remote;
mod join;
mod join_remote;
mod knock_remote;
mod leave_remote;
mod member_content;
mod membership;
mod missing_events;
mod ordering;
mod outliers;
mod partial_view;
mod peer_view;
mod policy_server;
mod power;
mod presets;
mod profile;
mod receive;
mod receive_checks;
mod receive_error;
mod receive_outside;
mod replay;
mod resolve;
mod restricted;
mod room_writer;
mod rooms;
mod send;
mod serve;
mod serve_history;
mod serve_invite;
mod serve_join;
mod serve_membership;
mod server_acl;
mod stripped_state;
mod upgrade;
mod version;
mod waiting;

#[cfg(test)]
mod random_graphs;
#[cfg(test)]
mod test_rooms;

pub use self::{
    aliases::AliasTarget,
    append::{CurrentState, Origin, Placement, append},
    authorise::Authorised,
    client_transactions::Transaction,
    delayed::LONGEST_DELAY,
    error::{Error, Result},
    join::Join,
    membership::Moderate,
    policy_server::Unsigned,
    receive::Received,
    receive_error::PduError,
    rooms::{Config, Rooms},
    send::{Redact, SendEvent},
    serve_history::{AuthorisedState, Gap},
    serve_invite::ReceivedInvite,
    serve_join::JoinedRoom,
    serve_membership::{Asked, Template},
    upgrade::Upgrade,
    version::{DEFAULT_VERSION, VERSIONS, rules_of},
};
