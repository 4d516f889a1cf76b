//! Keys fetched from other servers and from the directory.

use std::{collections::BTreeMap, time::Duration};

use quick_cache::sync::Cache;
use ruma::{
    OwnedServerName, ServerName,
    api::federation::discovery::{
        ServerSigningKeys, get_remote_server_keys_batch::v2 as notary, get_server_keys::v2 as own,
    },
    serde::Raw,
};
use tokio::{
    sync::{OwnedMutexGuard, Semaphore},
    time::Instant,
};
use tracing::debug;

use super::document::{self, VerifiedDocument};
use crate::{Error, Result, Turns, client::Client};

/// Servers whose keys are fetched at a time.
const PARALLEL: usize = 16;

/// After an attempt, successful or not, the next one for the same server waits this long.
const PAUSE: Duration = Duration::from_secs(10);

/// Servers whose last attempt is remembered.
const REMEMBERED: usize = 4_096;

/// Fetches key documents: one attempt per server at a time, few servers at a time, and none again too soon.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
    permits: Semaphore,
    attempts: Cache<OwnedServerName, Attempt>,
    turns: Turns,
}

/// The last time that a server's keys were asked for.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    /// Whether somebody answered.
    is_answered: bool,
}

impl Fetcher {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(PARALLEL),
            attempts: Cache::new(REMEMBERED),
            turns: Turns::default(),
        }
    }

    /// Waits until no one else fetches the keys of `server`.
    pub(crate) async fn turn(&self, server: &ServerName) -> OwnedMutexGuard<()> {
        self.turns.take(server).await
    }

    /// Asks `server` itself, then the directories. Nobody is asked for the keys of a server that may not federate.
    pub(crate) async fn fetch(&self, server: &ServerName) -> Result<VerifiedDocument> {
        // Anybody can name anybody in an event. The directories vouch for members alone: no need to ask them for others.
        self.client
            .admit(server)
            .map_err(|reason| unavailable(server, &reason.to_string()))?;
        if let Some(last) = self.attempts.get(server)
            && last.at.elapsed() < PAUSE
        {
            let why = "they were asked for a moment ago";
            return Err(if last.is_answered {
                unavailable(server, why)
            } else {
                missing_for_now(server, why)
            });
        }
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| unavailable(server, "the server stops"))?;
        self.note(server, false);
        let direct = match self.ask_origin(server).await {
            Ok(document) => {
                self.note(server, true);
                return Ok(document);
            }
            Err(error) => error,
        };
        self.note(server, !direct.is_passing());
        for directory in self.client.membership().directories() {
            if directory == server || directory == self.client.identity().server_name() {
                continue;
            }
            match self.ask_notary(server, &directory).await {
                Ok(document) => {
                    self.note(server, true);
                    return Ok(document);
                }
                Err(error) => debug!(%server, %directory, %error, "the directory has no keys"),
            }
        }
        if direct.is_passing() {
            return Err(missing_for_now(server, &direct.to_string()));
        }
        Err(unavailable(server, &direct.to_string()))
    }

    fn note(&self, server: &ServerName, is_answered: bool) {
        let at = Instant::now();
        self.attempts
            .insert(server.to_owned(), Attempt { at, is_answered });
    }

    async fn ask_origin(&self, server: &ServerName) -> Result<VerifiedDocument> {
        let response = self.client.request(server, own::Request::new()).await?;
        self.verify(server, &response.server_key)
    }

    async fn ask_notary(
        &self,
        server: &ServerName,
        directory: &ServerName,
    ) -> Result<VerifiedDocument> {
        // No key ids: all of them.
        let wanted = BTreeMap::from([(server.to_owned(), BTreeMap::new())]);
        let request = notary::Request::new(wanted);
        let response = self.client.request(directory, request).await?;
        // A stale document still has retired keys; the freshest one counts.
        response
            .server_keys
            .iter()
            .filter_map(|document| self.verify(server, document).ok())
            .max_by_key(|document| document.stored.valid_until_ts)
            .ok_or_else(|| unavailable(server, "the directory has none"))
    }

    fn verify(
        &self,
        server: &ServerName,
        raw: &Raw<ServerSigningKeys>,
    ) -> Result<VerifiedDocument> {
        document::verify(server, raw, self.client.clock().now_ms())
    }
}

fn missing_for_now(server: &ServerName, why: &str) -> Error {
    Error::NoKeys {
        server: server.to_owned(),
        why: why.to_owned(),
    }
}

fn unavailable(server: &ServerName, why: &str) -> Error {
    Error::Signature(format!("the keys of {server} are not to be had: {why}"))
}
