//! What another server meets at the door: who is believed, what a transaction may be, and what it does when it comes
//! twice.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that this whole crate is one"
)]

mod auth;
mod conduct;
mod fixture;
mod media;
mod presence;
mod queries;
mod sending;
mod transactions;
