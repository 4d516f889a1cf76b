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
mod notices;
mod rate;
mod router;
mod service;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::{
    endpoints::EMAIL_LINK,
    config::{Config, Rate, RateLimits, ServerNotices, Turn},
    router::router,
    state::{Services, State},
};
