use std::{collections::BTreeSet, sync::Arc, time::Duration};

use luxchat_store::{Position, RoomNid, Store, Topic, UserNid};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::{filter::FilterDefinition, sync::sync_events::v3},
};
use tokio::time::{Instant, timeout_at};

use crate::{Result, SyncToken, Typing, response::Pass};

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
}

/// One look at the store.
struct Look {
    response: v3::Response,
    is_empty: bool,
    position: Position,
    joined: BTreeSet<RoomNid>,
}

impl Sync {
    /// Reads of `store`, with the typing users of `typing`.
    pub fn new(store: Store, typing: Typing) -> Self {
        Self { store, typing }
    }

    /// What happened to a user since a position. Where nothing did, waits until something does or the time is up.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync).
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn sync_v3(&self, viewer: Viewer, request: SyncRequest) -> Result<v3::Response> {
        let waits = request.since.is_some() && !request.full_state;
        let deadline = Instant::now() + request.timeout.min(LONGEST_WAIT);
        let (viewer, request) = (Arc::new(viewer), Arc::new(request));
        let mut look = self.look(&viewer, &request).await?;
        if !look.is_empty || !waits || request.timeout.is_zero() {
            return Ok(look.response);
        }
        loop {
            let rooms = look.joined.iter().copied().map(Topic::Room);
            let own = std::iter::once(Topic::User(viewer.user));
            let listener = self.store.listen(rooms.chain(own));
            // What came between the look and the listener woke nobody.
            loop {
                if let Some(newer) = self.look_again(&viewer, &request, look.position).await? {
                    let same_rooms = newer.joined == look.joined;
                    look = newer;
                    if !look.is_empty {
                        return Ok(look.response);
                    }
                    if !same_rooms {
                        break;
                    }
                }
                if timeout_at(deadline, listener.changed()).await.is_err() {
                    return Ok(look.response);
                }
            }
        }
    }

    async fn look(&self, viewer: &Arc<Viewer>, request: &Arc<SyncRequest>) -> Result<Look> {
        let look = self.look_again(viewer, request, Position(i64::MIN)).await?;
        Ok(look.expect("no position is the smallest number there is"))
    }

    /// Looks, unless the store still stands at a position.
    async fn look_again(
        &self,
        viewer: &Arc<Viewer>,
        request: &Arc<SyncRequest>,
        seen: Position,
    ) -> Result<Option<Look>> {
        let (viewer, request) = (Arc::clone(viewer), Arc::clone(request));
        let typing = self.typing.clone();
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| {
                let position = tx.position()?;
                if position == seen {
                    return Ok(None);
                }
                let pass = Pass::new(tx, &viewer, &request, &typing, position, now_ms)?;
                let (response, is_empty, joined) = pass.run()?;
                Ok(Some(Look {
                    response,
                    is_empty,
                    position,
                    joined,
                }))
            })
            .await
    }
}
