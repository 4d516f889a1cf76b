//! Who is there. In memory, and bounded: after a restart nobody is, until they come or another server says so. Only the
//! message that a local user set is kept.
//!
//! What keeps this cheap for tens of thousands of users: only changes of state or message are told, never mere activity;
//! changes are gathered and told twice a second at most; only so many rooms, none of them large, are woken for it, and
//! whoever is not woken hears with their next response.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#presence).

mod news;
mod table;
mod tell;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use luxchat_store::{Position, Store, UserNid};
use ruma::{
    OwnedServerName, OwnedUserId, ServerName, UserId,
    api::federation::transactions::edu::PresenceContent, presence::PresenceState,
};
use tokio::sync::Notify;
use tracing::warn;

use self::table::Table;
pub use self::table::{Shown, Syncing};
use crate::{Error, Result, Viewer};

/// Updates taken from one EDU, and put into one.
const UPDATES_PER_EDU: usize = 100;

/// Bytes of a status message.
const STATUS_MSG: usize = 1_024;

/// How often it is looked who went away.
const SWEEP: Duration = Duration::from_secs(5);

/// The time between two tellings.
const PAUSE: Duration = Duration::from_millis(500);

/// Who is there. Clones share the state.
#[derive(Clone, Debug)]
pub struct Presence {
    store: Store,
    is_enabled: bool,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    /// Something is to be told.
    news: Notify,
}

impl Presence {
    /// Nobody is there. Where presence is not enabled, nobody ever is.
    pub fn new(store: Store, is_enabled: bool) -> Self {
        Self {
            store,
            is_enabled,
            shared: Arc::default(),
        }
    }

    /// A local user says how they are, and what they are up to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a state that there is not, or a message that is too long.
    pub async fn set(
        &self,
        viewer: &Viewer,
        state: PresenceState,
        status_msg: Option<String>,
    ) -> Result<()> {
        if !matches!(
            state,
            PresenceState::Online | PresenceState::Unavailable | PresenceState::Offline
        ) {
            return Err(Error::Invalid("there is no such presence"));
        }
        if status_msg
            .as_ref()
            .is_some_and(|msg| msg.len() > STATUS_MSG)
        {
            return Err(Error::Invalid("the status message is too long"));
        }
        if !self.is_enabled {
            return Ok(());
        }
        let user = viewer.user;
        let status_msg = status_msg.filter(|message| !message.is_empty());
        let kept = self
            .store
            .read(move |tx| tx.status_message(user))
            .await
            .map_err(Error::from)?;
        if kept != status_msg {
            let message = status_msg.clone();
            self.store
                .write(move |tx| tx.set_status_message(user, message.as_deref()))
                .await
                .map_err(Error::from)?;
        }
        let now_ms = self.now_ms();
        let mut table = self.lock();
        table.set(viewer, state, now_ms);
        table.set_status(user, status_msg);
        drop(table);
        self.shared.news.notify_one();
        Ok(())
    }

    /// A local user's device syncs, and is there for as long as the guard lives and a little longer.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn sync(&self, viewer: &Viewer, state: PresenceState) -> Result<Option<Syncing>> {
        if !self.is_enabled || state == PresenceState::Offline {
            return Ok(None);
        }
        if !self.lock().knows(viewer.user) {
            let user = viewer.user;
            let status_msg = self
                .store
                .read(move |tx| tx.status_message(user))
                .await
                .map_err(Error::from)?;
            let mut table = self.lock();
            table.add_local(viewer);
            table.set_status(user, status_msg);
        }
        let now_ms = self.now_ms();
        let has_news = self.lock().begin_sync(viewer, state, now_ms);
        if has_news {
            self.shared.news.notify_one();
        }
        Ok(Some(Syncing::new(self.clone(), viewer)))
    }

    /// A local user did something.
    pub fn note_activity(&self, user: UserNid) {
        if self.is_enabled {
            let now_ms = self.now_ms();
            if self.lock().note_activity(user, now_ms) {
                self.shared.news.notify_one();
            }
        }
    }

    /// How a user is.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the two share no room.
    pub async fn get(&self, viewer: &Viewer, user_id: OwnedUserId) -> Result<Shown> {
        let own = viewer.user;
        let other = self
            .store
            .read(move |tx| {
                let Some(other) = tx.user_nid(&user_id)? else {
                    return Ok::<_, Error>(None);
                };
                let may_see = other == own || tx.shares_room(own, other)?;
                let status_msg = tx.status_message(other)?;
                Ok(may_see.then_some((other, status_msg)))
            })
            .await?;
        let (other, status_msg) = other.ok_or(Error::Forbidden("you share no room with them"))?;
        let shown = self.lock().shown(other, self.now_ms());
        Ok(shown.unwrap_or(Shown {
            status_msg,
            ..Shown::default()
        }))
    }

    /// A peer says how its users are. What is not its business is ignored.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#presence).
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn receive(&self, origin: &ServerName, content: PresenceContent) -> Result<()> {
        if !self.is_enabled {
            return Ok(());
        }
        let updates = content.push.into_iter().take(UPDATES_PER_EDU);
        let updates: Vec<_> = updates
            .filter(|update| update.user_id.server_name() == origin)
            .collect();
        let ids: Vec<OwnedUserId> = updates
            .iter()
            .map(|update| update.user_id.clone())
            .collect();
        let known = self.store.read(move |tx| joined_users(tx, ids)).await?;
        let now_ms = self.now_ms();
        let mut table = self.lock();
        let mut has_news = false;
        for mut update in updates {
            let is_too_long = |message: &String| message.len() > STATUS_MSG;
            if update.status_msg.as_ref().is_some_and(is_too_long) {
                update.status_msg = None;
            }
            if let Some(user) = known.get(&update.user_id) {
                has_news |= table.set_remote(*user, update, now_ms);
            }
        }
        drop(table);
        if has_news {
            self.shared.news.notify_one();
        }
        Ok(())
    }

    /// Tells of changes until it is dropped: this server's clients by waking them, other servers by `send`.
    pub async fn run(self, send: impl Fn(OwnedServerName, PresenceContent)) {
        if !self.is_enabled {
            return;
        }
        loop {
            // Nobody went away where the time is up and nothing else happened; sweeping finds out.
            let _ = tokio::time::timeout(SWEEP, self.shared.news.notified()).await;
            match self.tell().await {
                Ok(outgoing) => {
                    for (server, content) in outgoing {
                        send(server, content);
                    }
                }
                Err(error) => warn!(%error, "presence could not be told"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The users whose presence changed after a position, those first that changed last.
    pub fn changed_since(&self, since: Position, limit: usize) -> Vec<UserNid> {
        self.lock().changed_since(since, limit)
    }

    /// How a user is, as others see it; `None` for one who has never been there.
    pub fn shown(&self, user: UserNid) -> Option<Shown> {
        self.lock().shown(user, self.now_ms())
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    fn end_sync(&self, user: UserNid, device_id: &ruma::DeviceId) {
        let now_ms = self.now_ms();
        self.lock().end_sync(user, device_id, now_ms);
    }

    fn now_ms(&self) -> u64 {
        self.store.clock().now_ms()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way through a change.
        self.shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those users who are in a room of this server.
fn joined_users(
    tx: &luxchat_store::ReadTx<'_>,
    ids: Vec<OwnedUserId>,
) -> Result<HashMap<OwnedUserId, UserNid>> {
    let mut known = HashMap::new();
    for user_id in ids {
        let id: &UserId = &user_id;
        if let Some(user) = tx.user_nid(id)?
            && tx.shares_room_with_us(user)?
        {
            known.insert(user_id, user);
        }
    }
    Ok(known)
}
