//! The Matrix client-server API: one file per family of endpoints, each thin: parse, authenticate, ask a service, answer.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/)

mod address;
mod admission;
mod auth;
mod config;
#[cfg(test)]
mod coverage;
mod endpoints;
mod error;
mod guests;
mod notices;
mod page;
mod rate;
mod router;
mod service;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::{
    config::{Config, Rate, RateLimits, ServerNotices, Support, Turn},
    endpoints::EMAIL_LINK,
    guests::keep_guests_out,
    router::{router, router_beside},
    state::{Services, State},
};
