//! Media: what local users upload, and a bounded cache of what they look at on other servers.
//!
//! The bytes lie in a folder, each content once, in a file named by its SHA-256. A content is written to a scratch file,
//! flushed to disk and renamed before a row says that it is there; so a row always has its file, and a file without a row
//! is an orphan that a sweep removes. Uploads and downloads stream: the memory they take does not depend on the size.

mod config;
mod error;
mod fetch;
mod folder;
mod found;
mod media;
mod multipart;
mod scratch;
#[cfg(test)]
mod tests;

pub use self::{
    config::Config,
    error::{Error, Result},
    found::Found,
    media::{Media, Upload},
    multipart::{Envelope, envelope},
};
