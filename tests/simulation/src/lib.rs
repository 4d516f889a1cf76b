//! Boxes on a simulated network, under a simulated clock, that break as often as a seed says so. In the end they must
//! agree, and have kept what they promised.

mod byzantine;
mod checks;
mod client;
mod dice;
mod faults;
mod machine;
mod network;
mod run;
mod server;
mod trace;
mod users;
mod world;

pub use self::run::{Options, Outcome, run, scratch};
