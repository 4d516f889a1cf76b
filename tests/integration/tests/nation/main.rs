//! A nation in one process per test: one file per feature.

mod crossing;
mod outage;
mod revocation;
