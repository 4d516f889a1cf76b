//! Real Matrix clients, built on matrix-sdk, that talk across two running homeservers.
//!
//! The tests find the servers in the environment (see [`Servers::from_env`]); `tests/interop/run` starts a nation and sets
//! it.

// The futures of matrix-sdk are nested more deeply than the compiler looks by default.
#![recursion_limit = "512"]

mod boxes;
mod device;
mod journal;
mod reader;
mod registration;
mod servers;
mod verification;
mod wait;

pub use boxes::Nation;
pub use device::{Account, Device, Message};
pub use journal::Journal;
pub use reader::{Reader, shows, shows_read};
pub use registration::Registration;
pub use servers::{Homeserver, Servers};
pub use verification::verify_by_emoji;
pub use wait::{eventually, eventually_some};
