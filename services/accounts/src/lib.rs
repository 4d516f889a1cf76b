//! Users of this server: how they come to be, prove who they are, and what they keep here for themselves.

mod accounts;
mod config;
mod error;
mod session;

pub use self::{
    accounts::Accounts,
    config::{Config, PasswordCost, Registration},
    error::{Error, Result},
    session::Session,
};
