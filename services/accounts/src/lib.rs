//! Users of this server: how they come to be, prove who they are, and what they keep here for themselves.
//!
//! [`Accounts`] does it all; each file adds one part of it. Matrix error codes are the caller's choice.

mod account_data;
mod accounts;
mod attempts;
mod config;
mod credentials;
mod devices;
mod email;
mod error;
mod expiring;
mod filters;
mod guests;
mod interactive;
mod last_seen;
mod login;
mod login_token;
mod openid;
mod password;
mod people;
mod profile;
mod push_rules;
mod registration;
mod reports;
mod secret;
mod session;
mod shared_secret;
mod tags;
#[cfg(test)]
mod testing;
mod turn;

pub use self::{
    accounts::Accounts,
    config::{Config, EmailConfig, PasswordCost, Registration},
    email::{EmailPurpose, EmailRequest},
    error::{Error, Result},
    interactive::{FallbackStage, RegistrationProof},
    login::{Login, NewDevice},
    registration::NewAccount,
    session::Session,
    shared_secret::SharedSecretRequest,
    turn::turn_credentials,
};
