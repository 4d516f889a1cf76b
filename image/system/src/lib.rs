//! Everything on the box beside the server: the stick a technician brings, the first boot, the data volume, the network,
//! the console. The server's own commands (`request`, `enrol`, `check-config`) are called, not repeated.

pub mod commands;
pub mod console;
pub mod disks;
pub mod host;
pub mod network;
pub mod paths;
pub mod people;
pub mod programs;
pub mod progress;
pub mod say;
pub mod site;
pub mod staged;
pub mod stick;
pub mod terminals;
pub mod update;
pub mod visit;
pub mod volume;
