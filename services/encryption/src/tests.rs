//! The service on temporary stores, alone and between two servers.

mod backup;
mod cross_signing;
mod device_lists;
mod fixture;
mod keys;
mod remote;
mod to_device;
