//! Everything on the box beside the server: the stick a technician brings, the first boot, the data volume, the network,
//! the console. The server's own commands (`request`, `enrol`, `check-config`) are called, not repeated.

pub mod commands;
pub mod paths;
pub mod programs;
pub mod say;
