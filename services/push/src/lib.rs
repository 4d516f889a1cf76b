//! Push: which events notify whom, how many of them are unread, and telling push gateways.
//!
//! Rules are evaluated when somebody reads, not when an event is written: the write path of a message does not know how
//! many users the room has. Most users have rules that come to the same as the default ones; for them the store counts by
//! differences. Only for the others are events looked at one by one, within limits, and what was found is remembered.

mod config;
mod connector;
mod counts;
#[cfg(test)]
mod counts_tests;
mod delivery;
#[cfg(test)]
mod delivery_tests;
mod dispatch;
mod error;
mod evaluate;
mod gateway;
mod news;
mod notification;
mod notifications;
mod profile;
mod push;
mod pushers;
#[cfg(test)]
mod testing;
mod user_rules;

pub use self::{
    config::{Config, Gateway},
    error::{Error, Result},
    notifications::{Listing, Notified},
    push::Push,
    pushers::PusherRequest,
};
