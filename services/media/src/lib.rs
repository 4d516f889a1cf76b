//! Media: what local users upload, and a bounded cache of what they look at on other servers.
//!
//! The bytes lie in a folder, each content once, in a file named by its SHA-256. A content is written to a scratch file,
//! flushed to disk and renamed before a row says that it is there; so a row always has its file, and a file without a row
//! is an orphan that a sweep removes. Uploads and downloads stream: the memory they take does not depend on the size.
//!
//! A content in quarantine is handed out under none of its ids. Where the site has a scanner, nothing is handed out before
//! it was looked at.

mod cache;
mod config;
mod error;
mod fetch;
mod folder;
mod found;
mod media;
mod moderation;
mod multipart;
mod old_servers;
mod pending;
mod quotas;
mod scan;
mod scratch;
#[cfg(test)]
mod tests;
mod thumbnails;
mod upkeep;

pub use luxchat_thumbnailer as thumbnailer;

pub use self::{
    config::Config,
    error::{Error, Result},
    found::Found,
    media::{Media, Upload},
    moderation::Target,
    multipart::{Envelope, envelope},
    pending::Reserved,
    scan::{ScanService, ScannerAddress, ScannerConfig, ScannerState, WhenDown},
    thumbnails::ThumbnailerState,
    upkeep::Usage,
};
