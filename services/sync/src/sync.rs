use std::time::Duration;

use luxchat_store::{Store, UserNid};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::{filter::FilterDefinition, sync::sync_events::v3},
};

use crate::{Result, SyncToken, Typing};

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
    store: Store,
    typing: Typing,
}

impl Sync {
    /// Reads of `store`, with the typing users of `typing`.
    pub fn new(store: Store, typing: Typing) -> Self {
        Self { store, typing }
    }
}
