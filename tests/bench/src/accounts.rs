//! The accounts of one run, made on demand and shared by its scenarios.

use futures_util::future::try_join_all;
use rand::distr::{Alphanumeric, SampleString as _};

use crate::{
    client::{Client, Session},
    connection::{Connection, Failure},
    registration::Registration,
    target::Target,
};

/// Accounts made at a time, where many are asked for: servers hash a password for each.
const REGISTRATIONS: usize = 8;

/// Accounts with names that no earlier run on the same server has used.
#[derive(Debug)]
pub struct Accounts {
    target: Target,
    registration: Registration,
    connection: Connection,
    prefix: String,
    password: String,
    sessions: Vec<Session>,
}

impl Accounts {
    pub fn new(target: Target, registration: Registration) -> Self {
        let mut rng = rand::rng();
        let prefix = Alphanumeric.sample_string(&mut rng, 8).to_ascii_lowercase();
        let password = Alphanumeric.sample_string(&mut rng, 24);
        let connection = Connection::new(target.clone());
        Self {
            target,
            registration,
            connection,
            prefix: format!("bench-{prefix}"),
            password,
            sessions: Vec::new(),
        }
    }

    /// `count` clients, each of another account, registering those that do not exist yet.
    pub(crate) async fn clients(&mut self, count: usize) -> Result<Vec<Client>, Failure> {
        let mut connections = self.connections(REGISTRATIONS);
        while self.sessions.len() < count {
            let missing = self.sessions.len()..count;
            let round = missing
                .zip(&mut connections)
                .map(async |(index, connection)| {
                    let localpart = self.localpart(&index.to_string());
                    self.registration
                        .register(connection, &localpart, &self.password)
                        .await
                });
            let made = try_join_all(round).await?;
            self.sessions.extend(made);
        }
        let sessions = self.sessions.iter().take(count).cloned();
        Ok(sessions
            .map(|session| Client::new(self.target.clone(), session))
            .collect())
    }

    /// Registers one more of the shared accounts.
    pub(crate) async fn register_next(&mut self) -> Result<(), Failure> {
        let name = self.sessions.len().to_string();
        let session = self.register(&name).await?;
        self.sessions.push(session);
        Ok(())
    }

    /// Registers an account of its own, which no other scenario uses.
    pub(crate) async fn register(&mut self, name: &str) -> Result<Session, Failure> {
        let localpart = self.localpart(name);
        self.registration
            .register(&mut self.connection, &localpart, &self.password)
            .await
    }

    /// Logs one more device in to the account with this name; the shared ones are named by their index.
    pub(crate) async fn log_in(
        &self,
        connection: &mut Connection,
        name: &str,
    ) -> Result<Session, Failure> {
        Session::log_in(connection, &self.localpart(name), &self.password).await
    }

    /// `count` connections that belong to no account.
    pub(crate) fn connections(&self, count: usize) -> Vec<Connection> {
        (0..count)
            .map(|_| Connection::new(self.target.clone()))
            .collect()
    }

    /// A client of its own connection for a session of this run.
    pub(crate) fn client(&self, session: Session) -> Client {
        Client::new(self.target.clone(), session)
    }

    fn localpart(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }
}
