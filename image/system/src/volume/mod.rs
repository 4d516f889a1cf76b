//! The data volume: LUKS2 on the partition `data`, ext4 in it, mounted at `/var`.

mod commands;
mod header;
mod open;
mod recovery_key;

pub use self::{
    commands::{MAPPER, WIPE, erase},
    header::{Header, read_header, wipe},
    open::{Prepared, prepare},
    recovery_key::RecoveryKey,
};

/// The name of the partition in the table.
pub const PARTITION: &str = "data";
