use std::sync::Arc;

use luxchat_store::{ReadTx, RoomNid, Store, UserNid};
use quick_cache::sync::Cache;
use ruma::OwnedRoomId;

use crate::{
    Config, Result, counts::Scanned, dispatch::Signals, gateway::GatewayClient,
    user_rules::UserRules,
};

/// Users whose rules are kept in memory.
const RULES: usize = 2_000;

/// Rooms of users for whom counting means looking at events, with what that came to.
const SCANS: usize = 20_000;

/// Room ids kept in memory.
const ROOM_IDS: usize = 20_000;

/// Push: rules, counts, notifications, pushers. Clones share everything.
#[derive(Clone, Debug)]
pub struct Push {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) rules: Cache<UserNid, Arc<UserRules>>,
    pub(crate) scanned: Cache<(UserNid, RoomNid), Arc<Scanned>>,
    room_ids: Cache<RoomNid, OwnedRoomId>,
    pub(crate) gateways: GatewayClient,
    pub(crate) signals: Signals,
}

impl Push {
    /// Push for the users of `store`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) where the gateways' names could not be looked up or their certificates not
    /// be checked.
    pub fn new(store: Store, config: Config) -> Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                gateways: GatewayClient::new(&config)?,
                store,
                config,
                rules: Cache::new(RULES),
                scanned: Cache::new(SCANS),
                room_ids: Cache::new(ROOM_IDS),
                signals: Signals::default(),
            }),
        })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn room_id(&self, tx: &ReadTx<'_>, room: RoomNid) -> Result<OwnedRoomId> {
        if let Some(held) = self.shared.room_ids.get(&room) {
            return Ok(held);
        }
        let room_id = tx.room_id(room)?;
        self.shared.room_ids.insert(room, room_id.clone());
        Ok(room_id)
    }
}
