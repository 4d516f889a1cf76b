//! A nation in one process per test: one file per feature.

mod bad_input;
mod bad_tls;
mod bad_transactions;
mod crossing;
mod health;
mod impostor;
mod media;
mod outage;
mod releases;
mod revocation;
mod status;
mod vouchers;
