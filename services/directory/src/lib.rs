//! The national directory's own part: it serves the signed repository to the boxes, read-only, and enrols those that bring a
//! voucher of the authority.
//!
//! The repository is the directory's own copy, kept by a [`TrustStore`](luxchat_bundle::TrustStore)
//! and so verified against the root of trust and never older than the one before. A publication on
//! a stick is taken over like one from the network: by
//! [`TrustStore::update`](luxchat_bundle::TrustStore::update), with the stick's folder as source.
//! From then on it is served; there is nothing to restart.

mod enrolments;
mod files;
mod repository;

pub use enrolments::{ENROLMENT_PATH, Vouchers, enrolments};
pub use repository::{REPOSITORY_PATH, repository};
