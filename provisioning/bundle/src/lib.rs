//! What the box and the technician's tool share: the signed repository that says who may
//! federate, and the keys, requests and certificates behind it.
//!
//! The way of a box into the nation: it makes [`BoxKeys`] and writes a [`SigningRequest`]; the
//! national authority checks it and answers with an [`Enrolment`]; from then on the box keeps a
//! [`TrustStore`] and admits a peer if [`Members::admit`] does.
//!
//! Nothing here reads a clock or opens a socket: times come in as parameters, and the network as
//! a [`Source`].

mod admission;
mod authority;
mod box_keys;
mod certificate;
mod copy;
mod document;
mod enrolment;
mod error;
pub mod files;
mod identifiers;
mod members;
mod order;
mod release_folder;
mod releases;
mod sealing;
mod server_name;
mod signing_key;
mod signing_request;
mod source;
mod text_form;
mod transport;
mod trust_store;
mod update_error;
mod verification;
mod voucher;
mod window;

pub use admission::Refusal;
pub use authority::{CertificateAuthority, Validity};
pub use box_keys::BoxKeys;
pub use certificate::{AuthorityCertificate, CertificateRequest, Leaf, LeafCertificate};
pub use copy::write_repository;
pub use enrolment::{DirectoryPointer, Enrolment};
pub use error::Error;
pub use identifiers::{Fingerprint, PublicKey, Serial, SigningKeyId};
pub use members::{
    MAX_MEMBERS_BYTES, MEMBERS_FILE, Member, Members, OldSigningKey, Role, Status, TlsIdentity,
};
pub use order::{Action, Order, OrderDetails};
pub use release_folder::{Naming, PIECE_BYTES, ReleaseFolder, check_release_file, digest};
pub use releases::{
    MAX_RELEASE_FILE_BYTES, MAX_RELEASES, Release, ReleaseFile, ReleasePart, ReleaseVersion,
};
pub use server_name::{Endpoint, ServerName};
pub use signing_key::SigningKey;
pub use signing_request::{RequestDetails, SigningRequest};
pub use source::{DirectorySource, Source, SourceError, SourceFuture};
pub use transport::RepositoryFile;
pub use trust_store::{Bundle, TrustStore};
pub use update_error::UpdateError;
pub use voucher::{
    MAX_VOUCHER_NAMES, MAX_VOUCHER_USES, Voucher, VoucherDetails, VoucherRefusal, VoucherRequest,
};
pub use window::Window;
