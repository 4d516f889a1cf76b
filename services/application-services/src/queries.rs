//! What only a service knows: whether a user or an alias of its own exists, and whether it can be reached at all.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use ruma::{RoomAliasId, UserId};
use serde_json::json;
use tracing::{debug, warn};

use crate::{
    ApplicationServices, Error, Result, Service,
    client::{Call, Fallback},
};

/// How often a query is made before it is given up, and how long each may take. Somebody waits for it.
const ATTEMPTS: usize = 3;
const QUERY_TIME: Duration = Duration::from_secs(5);

/// How long a ping may take.
const PING_TIME: Duration = Duration::from_secs(30);

/// Why a ping failed.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The registration has no URL.
    #[error("the application service has no URL")]
    NoUrl,
    /// It answered, but not with success.
    #[error("the application service answered {status}")]
    Status {
        /// How.
        status: StatusCode,
        /// With what.
        body: String,
    },
    /// It did not answer in time.
    #[error("the application service did not answer in time")]
    TimedOut,
    /// No connection, or one that broke.
    #[error("{0}")]
    Unreachable(String),
}

impl ApplicationServices {
    /// Asks the services that a user could belong to whether there is such a user; who says yes has made the account.
    /// [Spec](https://spec.matrix.org/v1.19/application-service-api/#get_matrixappv1usersuserid).
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] where a service stays silent.
    pub async fn query_user(&self, user_id: &UserId) -> Result<bool> {
        let services = self.all().iter();
        for service in services.filter(|service| service.owns_user(user_id)) {
            if self.query(service, &["users", user_id.as_str()]).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets the service that a user may belong to make the account, where there is none yet. That there is nobody in the
    /// end is not this function's business.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] where the service stays silent.
    pub async fn summon(&self, user_id: &UserId) -> Result<()> {
        if !self.all().iter().any(|service| service.owns_user(user_id)) {
            return Ok(());
        }
        let id = user_id.to_owned();
        let account = self.inner.store.read(move |tx| tx.account(&id));
        let account: Result<_, luxchat_store::Error> = account.await;
        if account?.is_none() {
            let exists = self.query_user(user_id).await?;
            debug!(%user_id, exists, "an application service was asked for a user");
        }
        Ok(())
    }

    /// Asks the services that an alias could belong to whether there is such an alias; who says yes has made the room.
    /// [Spec](https://spec.matrix.org/v1.19/application-service-api/#get_matrixappv1roomsroomalias).
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] where a service stays silent.
    pub async fn query_alias(&self, alias: &RoomAliasId) -> Result<bool> {
        let services = self.all().iter();
        for service in services.filter(|service| service.owns_alias(alias)) {
            if self.query(service, &["rooms", alias.as_str()]).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn query(&self, service: &Service, path: &[&str]) -> Result<bool> {
        let call = Call {
            method: Method::GET,
            path,
            query: &[],
            body: None,
            time: QUERY_TIME,
            fallback: Fallback::Bare,
        };
        for _ in 0..ATTEMPTS {
            match self.inner.client.call(service, call.clone()).await {
                Ok(answer) => return Ok(answer.is_some_and(|answer| answer.status.is_success())),
                Err(Error::TimedOut) => {}
                Err(error) => {
                    warn!(service = service.id(), %error, "an application service cannot be asked");
                    return Ok(false);
                }
            }
        }
        Err(Error::TimedOut)
    }

    /// Asks a service for a sign of life, and says how long it took.
    /// [Spec](https://spec.matrix.org/v1.19/application-service-api/#pinging).
    ///
    /// # Errors
    ///
    /// [`PingError`].
    pub async fn ping(
        &self,
        service: &Service,
        transaction_id: Option<&str>,
    ) -> Result<Duration, PingError> {
        let body = match transaction_id {
            Some(id) => json!({ "transaction_id": id }),
            None => json!({}),
        };
        let call = Call {
            method: Method::POST,
            path: &["ping"],
            query: &[],
            body: Some(Bytes::from(body.to_string())),
            time: PING_TIME,
            fallback: Fallback::None,
        };
        let started = Instant::now();
        match self.inner.client.call(service, call).await {
            Ok(None) => Err(PingError::NoUrl),
            Ok(Some(answer)) if answer.status.is_success() => Ok(started.elapsed()),
            Ok(Some(answer)) => Err(PingError::Status {
                status: answer.status,
                body: String::from_utf8_lossy(&answer.body).into_owned(),
            }),
            Err(Error::TimedOut) => Err(PingError::TimedOut),
            Err(error) => Err(PingError::Unreachable(error.to_string())),
        }
    }
}
