//! The Matrix server-server API: one file per family of endpoints, each thin: parse, ask a service, answer. Who asks is
//! known before an endpoint runs: the connection's certificate, the members list and the signature agree on it.
//!
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/)

mod admission;
mod auth;
mod config;
mod endpoints;
mod error;
mod invitations;
mod router;
mod state;

pub use self::{
    config::Config,
    router::{open_router, router},
    state::{Services, State},
};
