//! Application services: programs that act for many users, such as bridges to other networks.
//!
//! [`ApplicationServices`] knows who they are (a [`Registration`] each, from a file that the site file names), which
//! users, aliases and rooms are theirs, asks them what only they know, and sends them what concerns them.
//! [Spec](https://spec.matrix.org/v1.19/application-service-api/).

mod batch;
mod client;
mod ephemeral;
mod error;
mod event;
mod interest;
mod namespace;
mod queries;
mod registration;
mod sender;
mod service;
mod services;
mod third_party;

pub use self::{
    ephemeral::Live,
    error::{Error, Result},
    namespace::Namespaces,
    queries::PingError,
    registration::{Registration, RegistrationError},
    service::Service,
    services::ApplicationServices,
};
