//! The national authority: its keys, who is a member, and the signed repository that the boxes
//! follow. All of it works without a network, on a folder of readable files.
//!
//! The program `luxchat-provision` is a thin shell around [`Authority`].

mod authority;
mod ceremony;
mod enrol;
mod error;
mod key_file;
mod key_name;
mod metadata;
mod order;
mod passphrase;
mod publish;
mod release;
mod rotate;
mod settings;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod voucher;

pub use authority::Authority;
pub use ceremony::{Plan, Quorum};
pub use enrol::{EnrolOptions, describe};
pub use error::Error;
pub use key_file::KeyCost;
pub use key_name::{KeyName, KeyRole};
pub use order::site_action;
pub use passphrase::{MIN_PASSPHRASE, Passphrase, Passphrases, SamePassphrase};
pub use publish::{Publication, verify};
pub use settings::{RepositoryDays, Settings};
pub use voucher::{NewMember, VoucherPlan};
