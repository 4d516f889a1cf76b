//! What the tests of this crate share.

use std::{sync::Arc, time::Duration};

use luxchat_store::{Config as StoreConfig, ManualClock, Store};
use ruma::{server_name, user_id};
use tempfile::TempDir;

use crate::{
    Accounts, Config, EmailConfig, Login, NewAccount, NewDevice, PasswordCost, Registration,
    Session,
};

pub(crate) const PASSWORD: &str = "correct horse";

/// Accounts on a database of their own, with time in the test's hand.
pub(crate) struct Fixture {
    pub(crate) accounts: Accounts,
    pub(crate) clock: Arc<ManualClock>,
    _folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Registration::default())
    }

    pub(crate) fn with(registration: Registration) -> Self {
        Self::configured(Config {
            registration,
            ..Config::default()
        })
    }

    pub(crate) fn with_email(email: EmailConfig) -> Self {
        Self::configured(Config {
            email: Some(email),
            ..Config::default()
        })
    }

    fn configured(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_000_000));
        let mut store = StoreConfig::new(
            folder.path().join("store.db"),
            server_name!("example.org").to_owned(),
        );
        store.clock = clock.clone();
        let config = Config {
            password_cost: PasswordCost::cheap(),
            max_devices: 4,
            ..config
        };
        Self {
            accounts: Accounts::new(Store::open(store).unwrap(), config).unwrap(),
            clock,
            _folder: folder,
        }
    }

    /// `@alice:example.org`, logged in.
    pub(crate) async fn alice(&self) -> Login {
        self.create("alice").await;
        self.log_in("alice", NewDevice::default()).await
    }

    pub(crate) async fn create(&self, username: &str) {
        let account = NewAccount {
            username: Some(username.to_owned()),
            password: Some(PASSWORD.to_owned()),
            is_admin: false,
        };
        self.accounts.create(account).await.unwrap();
    }

    pub(crate) async fn log_in(&self, username: &str, device: NewDevice) -> Login {
        self.accounts
            .login(username, PASSWORD.to_owned(), device)
            .await
            .unwrap()
    }

    pub(crate) async fn session(&self, login: &Login) -> Arc<Session> {
        self.accounts
            .authenticate(&login.access_token)
            .await
            .unwrap()
    }

    /// Makes `@alice:example.org` and returns her session.
    pub(crate) async fn alice_session(&self) -> Arc<Session> {
        let login = self.alice().await;
        assert_eq!(login.user_id, user_id!("@alice:example.org"));
        self.session(&login).await
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}
