use std::{sync::Arc, time::Duration};

use luxchat_store::{CountUnread, DefaultRules, Position, ReadTx, Store, UserNid};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::{filter::FilterDefinition, sync::sync_events::v3},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    Presence, RelationFilter, Result, SyncToken, Typing,
    response::{Live, Pass},
    search_index::SearchIndex,
    sliding::Connections,
    watch::Watches,
};

/// The longest that a sync waits for something to happen.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// Who reads.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The user.
    pub user_id: OwnedUserId,
    /// The same, as the store knows them.
    pub user: UserNid,
    /// Their device.
    pub device_id: OwnedDeviceId,
}

/// A sync, its filter looked up.
#[derive(Clone, Debug, Default)]
pub struct SyncRequest {
    /// Up to where the client has seen everything; `None` for an initial sync.
    pub since: Option<SyncToken>,
    /// What the client wants.
    pub filter: FilterDefinition,
    /// What the filter says of the relations of timeline events.
    pub relations: RelationFilter,
    /// All state of every room, not what changed.
    pub full_state: bool,
    /// State as it is after the timeline, not before it.
    pub use_state_after: bool,
    /// How long to wait for something to happen.
    pub timeout: Duration,
}

/// Reads for clients. Clones share the store.
#[derive(Clone, Debug)]
pub struct Sync {
    pub(crate) store: Store,
    typing: Typing,
    presence: Presence,
    unread: Arc<dyn CountUnread>,
    pub(crate) watches: Watches,
    pub(crate) connections: Connections,
    pub(crate) search_index: SearchIndex,
    /// Milliseconds since the Unix epoch.
    pub(crate) started_ms: u64,
}

/// One look at the store.
pub(crate) struct Look<T> {
    pub(crate) found: T,
    pub(crate) is_empty: bool,
    pub(crate) position: Position,
}

impl Sync {
    /// Reads of `store`, with who types and who is there.
    pub fn new(store: Store, typing: Typing, presence: Presence) -> Self {
        Self {
            started_ms: store.clock().now_ms(),
            search_index: SearchIndex::new(store.clone()),
            store,
            typing,
            presence,
            unread: Arc::new(DefaultRules),
            watches: Watches::default(),
            connections: Connections::default(),
        }
    }

    /// Counts what is unread by `unread`, and not as if everybody had the default rules.
    #[must_use]
    pub fn counting(mut self, unread: Arc<dyn CountUnread>) -> Self {
        self.unread = unread;
        self
    }

    /// What happened to a user since a position. Where nothing did, waits until something does or the time is up.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync).
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn sync_v3(&self, viewer: Viewer, request: SyncRequest) -> Result<v3::Response> {
        let waits = request.since.is_some() && !request.full_state;
        let timeout = request.timeout;
        let user = viewer.user;
        let (viewer, request) = (Arc::new(viewer), Arc::new(request));
        let timeout = if waits { timeout } else { Duration::ZERO };
        self.wait_for_news(user, timeout, |seen| {
            let (viewer, request) = (Arc::clone(&viewer), Arc::clone(&request));
            self.look(seen, move |tx, live, position| {
                let (found, is_empty) = Pass::new(tx, &viewer, &request, live, position)?.run()?;
                Ok(Look {
                    found,
                    is_empty,
                    position,
                })
            })
        })
        .await
    }

    /// Looks until there is something to find or the time is up. `look` finds nothing at all where the store still stands
    /// at the position it is given.
    pub(crate) async fn wait_for_news<T, F>(
        &self,
        user: UserNid,
        timeout: Duration,
        look: impl Fn(Position) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Option<Look<T>>>>,
    {
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        let first = look(Position(i64::MIN)).await?;
        let mut newest = first.expect("no position is the smallest number there is");
        if !newest.is_empty || timeout.is_zero() {
            return Ok(newest.found);
        }
        let mut watch = self.watch(user, self.watches.take(user)).await?;
        loop {
            // What came between the look and the watch woke nobody.
            if let Some(newer) = look(newest.position).await? {
                newest = newer;
                if !newest.is_empty {
                    break;
                }
                // The user may have come to another room, with nothing to show for it.
                watch = self.watch(user, Some(watch)).await?;
            } else if timeout_at(deadline, watch.changed()).await.is_err() {
                break;
            }
            // What changes without end, and is nothing to this user, must not put the answer off.
            if Instant::now() >= deadline {
                break;
            }
        }
        self.watches.put(user, watch);
        Ok(newest.found)
    }

    /// Looks with `read`, unless the store still stands at a position.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        seen: Position,
        read: impl FnOnce(&ReadTx<'_>, &Live, Position) -> Result<Look<T>> + Send + 'static,
    ) -> Result<Option<Look<T>>> {
        let live = Live {
            store: self.store.clone(),
            typing: self.typing.clone(),
            presence: self.presence.clone(),
            unread: Arc::clone(&self.unread),
            now_ms: self.store.clock().now_ms(),
        };
        self.store
            .read(move |tx| {
                let position = tx.position()?;
                if position == seen {
                    return Ok(None);
                }
                read(tx, &live, position).map(Some)
            })
            .await
    }
}
