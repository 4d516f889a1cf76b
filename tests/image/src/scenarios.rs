//! The promises, one a file.

pub(crate) mod boot;
pub(crate) mod no_root;
pub(crate) mod reproducible;
pub(crate) mod secure_boot;
pub(crate) mod tamper;
