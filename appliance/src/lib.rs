//! The program on the box. `luxchat-appliance` composes the services into a running server; this library is what its
//! command line, its demonstration and the tests drive.

pub mod config;
pub mod lifecycle;
pub mod listeners;
pub mod logging;
pub mod sandbox;
