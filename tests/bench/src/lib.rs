//! A load generator for any Matrix homeserver that speaks the client-server API over plain HTTP.
//!
//! It shares the machine with the server under test, so it is built to cost little: one thread, one keep-alive
//! connection for each simulated client, no typed view of what it does not need. Every scenario is closed-loop (a client
//! sends its next request once the last was answered) and bounded both in time and in operations.

mod accounts;
mod client;
mod connection;
mod drive;
mod federation;
mod floor;
mod process;
mod registration;
mod report;
mod scenarios;
mod table;
mod target;

pub use accounts::Accounts;
pub use federation::{FederationPlan, FederationScenario, Servers, run as run_federation};
pub use floor::floor;
pub use process::Processes;
pub use registration::Registration;
pub use report::{Latency, Line, Report, ServerUse};
pub use scenarios::{Plan, Scenario, run};
pub use table::render as render_table;
pub use target::{Target, TargetError};
