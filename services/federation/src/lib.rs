//! Other servers: who may federate, mutual TLS, addresses, keys, signed requests, and the outbound queue.

mod client;
mod conduct;
mod config;
mod enrol;
mod error;
mod federation;
mod identity;
mod keys;
mod membership;
mod memory;
mod network;
mod peer;
mod repository;
mod sender;
#[cfg(test)]
mod testing;
mod tls;
mod turns;
mod updates;
mod x_matrix;

pub use self::{
    client::{FederationAuth, FederationPath},
    conduct::{Conduct, Offence, Offender, Refusal, Standing},
    config::{ClientCertificates, Config, PlainPeer, PlainPeers},
    enrol::{EnrolError, enrol},
    error::{Error, Result},
    federation::Federation,
    identity::{Identity, TlsIdentity},
    keys::{EventKeys, Keys},
    membership::{Denial, ListedKey, Membership},
    memory::{Carried, Carrier, MemoryNetwork},
    peer::PeerIdentity,
    repository::{EnrolledDirectory, RepositorySource},
    tls::MutualTls,
    turns::Turns,
    updates::{UpdateStatus, Updates},
    x_matrix::Unauthenticated,
};
