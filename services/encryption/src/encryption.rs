use std::{sync::Arc, time::Duration};

use luxchat_federation::{Federation, Turns};
use luxchat_store::{DeviceListChanges, Position, ReadTx, Store, UserNid};
use ruma::UserId;

use crate::{Config, Error, Result, questions::Questions};

/// How long ids of received to-device messages are remembered. Servers give up on a transaction long before.
const REMEMBER_RECEIVED: Duration = Duration::from_hours(30 * 24);

/// The encryption service. Clones share it.
#[derive(Clone, Debug)]
pub struct Encryption {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    federation: Federation,
    config: Config,
    /// Who is asking which server. When a user joins a large room, everybody's client asks for their keys: the first one
    /// fetches them, and the others find them cached.
    turns: Turns,
    /// Whom the answers that are under way are about.
    questions: Questions,
}

impl Encryption {
    /// The service over a store, asking other servers through `federation`.
    pub fn new(store: Store, federation: Federation, config: Config) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                federation,
                config,
                turns: Turns::default(),
                questions: Questions::default(),
            }),
        }
    }

    /// Whose keys a user's client should fetch anew, and whose it can forget, between two sync positions.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges).
    pub async fn key_changes(
        &self,
        user: &UserId,
        from: Position,
        to: Position,
    ) -> Result<DeviceListChanges> {
        let user = user.to_owned();
        self.store()
            .read(move |tx| Ok(tx.device_list_changes(local_user(tx, &user)?, from, to)?))
            .await
    }

    /// Forgets what has become too old or too much: ids of received messages, messages that nobody fetches. To be
    /// called every hour or so.
    pub async fn maintain(&self) -> Result<()> {
        let config = *self.config();
        let now = self.store().clock().now_ms();
        let remember = u64::try_from(REMEMBER_RECEIVED.as_millis()).unwrap_or(u64::MAX);
        let before = now.saturating_sub(remember);
        // A bounded number at a time, until there are no more: they come faster than that in an hour.
        while self
            .store()
            .write::<_, Error, _>(move |tx| Ok(tx.forget_received_to_device(before)?))
            .await?
            > 0
        {}
        self.store()
            .write::<_, Error, _>(move |tx| {
                let inbox = tx.limit_to_device_inboxes(config.to_device_inbox)?;
                let outbox = tx.limit_to_device_outboxes(config.to_device_outbox)?;
                if inbox + outbox > 0 {
                    tracing::warn!(
                        inbox,
                        outbox,
                        "to-device messages nobody fetched were dropped"
                    );
                }
                Ok(())
            })
            .await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn federation(&self) -> &Federation {
        &self.shared.federation
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.shared.turns
    }

    pub(crate) fn questions(&self) -> &Questions {
        &self.shared.questions
    }

    pub(crate) fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.shared.store.server_name()
    }
}

/// A user that must be known, such as one with a session.
pub(crate) fn local_user(tx: &ReadTx<'_>, user: &UserId) -> Result<UserNid> {
    tx.user_nid(user)?.ok_or(Error::NotFound("user"))
}
