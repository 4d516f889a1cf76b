use std::{collections::HashMap, sync::Arc};

use luxchat_store::Store;
use ruma::{RoomAliasId, UserId};
use sha2::{Digest, Sha256};

use crate::{Registration, RegistrationError, Result, Service, client::Client};

/// The application services of this server. Clones share everything.
#[derive(Clone, Debug)]
pub struct ApplicationServices {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) client: Client,
    services: Vec<Arc<Service>>,
    /// By the hash of their token, so that comparing tells nothing of how much was right.
    by_token: HashMap<[u8; 32], Arc<Service>>,
}

impl ApplicationServices {
    /// The services with these registrations.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls).
    pub fn new(store: Store, registrations: Vec<Registration>) -> Result<Self> {
        let services: Vec<_> = registrations
            .into_iter()
            .map(|registration| Arc::new(Service::new(registration)))
            .collect();
        let by_token = services
            .iter()
            .map(|service| {
                let token = &service.registration().as_token;
                (hash(token), Arc::clone(service))
            })
            .collect();
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                client: Client::new()?,
                services,
                by_token,
            }),
        })
    }

    /// Makes sure that registrations can stand side by side: ids and tokens are their own.
    ///
    /// # Errors
    ///
    /// Which two cannot.
    pub fn check(registrations: &[Registration]) -> Result<(), RegistrationError> {
        for (index, one) in registrations.iter().enumerate() {
            for other in &registrations[..index] {
                let same = if one.id == other.id {
                    "id"
                } else if one.as_token == other.as_token {
                    "as_token"
                } else if one.sender == other.sender {
                    "sender_localpart"
                } else {
                    continue;
                };
                return Err(RegistrationError::clash(&one.id, &other.id, same));
            }
        }
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Service>] {
        &self.inner.services
    }

    /// The service that a token belongs to.
    pub fn by_token(&self, token: &str) -> Option<&Arc<Service>> {
        if self.inner.services.is_empty() {
            return None;
        }
        self.inner.by_token.get(&hash(token))
    }

    /// The service of that id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Service>> {
        self.all().iter().find(|service| service.id() == id)
    }

    /// Whether a service other than `but` keeps a user to itself.
    pub fn excludes_user(&self, user_id: &UserId, but: Option<&str>) -> bool {
        self.others(but)
            .any(|service| service.excludes_user(user_id))
    }

    /// Whether a service other than `but` keeps an alias to itself.
    pub fn excludes_alias(&self, alias: &RoomAliasId, but: Option<&str>) -> bool {
        self.others(but)
            .any(|service| service.excludes_alias(alias))
    }

    fn others(&self, but: Option<&str>) -> impl Iterator<Item = &Arc<Service>> {
        let services = self.all().iter();
        services.filter(move |service| Some(service.id()) != but)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl RegistrationError {
    fn clash(one: &str, other: &str, key: &str) -> Self {
        Self(format!(
            "the application services {other:?} and {one:?} have the same {key}"
        ))
    }
}
