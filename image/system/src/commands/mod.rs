//! What the command line can do, one file each.

pub mod console;
pub mod data;
pub mod first_boot;
pub mod health;
pub mod install;
pub mod network;
pub mod reset;
pub mod stick;
pub mod update;
