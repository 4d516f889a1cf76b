//! Other servers: who may federate, mutual TLS, addresses, keys, signed requests, and the outbound queue.

mod config;
mod error;
mod federation;
mod identity;
mod keys;
mod membership;
mod memory;
mod peer;
mod request;

pub use self::{
    config::{ClientCertificates, Config, Discovery},
    error::{Error, Result},
    federation::Federation,
    identity::{Identity, TlsIdentity},
    keys::Keys,
    membership::{Denial, Member, MemberList, MemberRole, MemberStatus, Membership},
    memory::MemoryNetwork,
    peer::PeerIdentity,
    request::{FederationAuth, FederationPath},
};
