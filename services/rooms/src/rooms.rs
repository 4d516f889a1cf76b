use std::sync::Arc;

use luxchat_federation::{Federation, Turns};
use luxchat_store::{Pdu, Store};
use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedEventId, OwnedRoomId, ServerName};
use tokio::sync::{Notify, Semaphore};

/// Memory for parsed state events that authorise other events, in bytes of JSON.
const AUTH_CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Events that the cache is laid out for.
const AUTH_CACHE_EVENTS: usize = 4_096;

/// Rooms whose states are resolved at a time.
const RESOLUTIONS: usize = 2;

/// What a site decides about rooms.
#[derive(Clone, Debug)]
pub struct Config {
    /// The version of new rooms whose creator does not ask for one.
    pub default_version: ruma::RoomVersionId,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_version: crate::DEFAULT_VERSION,
        }
    }
}

/// The rooms that this server's users are in. Clones share everything.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub(crate) store: Store,
    pub(crate) federation: Federation,
    pub(crate) config: Arc<Config>,
    pub(crate) auth_cache: AuthCache,
    /// What arrives from other servers is worked into a room one thing at a time. Local events do not wait for it.
    pub(crate) room_turns: Arc<Turns<OwnedRoomId>>,
    /// Rooms whose states are resolved at a time: one with a lot to resolve leaves readers to all others.
    pub(crate) resolutions: Arc<Semaphore>,
    /// Wakes whoever sends delayed events: one may be due earlier than all others.
    pub(crate) delays_changed: Arc<Notify>,
    /// Wakes whoever completes rooms whose state lacks members: there is one more.
    pub(crate) partial_rooms_changed: Arc<Notify>,
}

impl Rooms {
    /// Rooms in `store`, with other servers reached through `federation`.
    pub fn new(store: Store, federation: Federation, config: Config) -> Self {
        let auth_cache = Cache::with_weighter(AUTH_CACHE_EVENTS, AUTH_CACHE_BYTES, JsonBytes);
        Self {
            store,
            federation,
            config: Arc::new(config),
            auth_cache: Arc::new(auth_cache),
            room_turns: Arc::default(),
            resolutions: Arc::new(Semaphore::new(RESOLUTIONS)),
            delays_changed: Arc::default(),
            partial_rooms_changed: Arc::default(),
        }
    }

    /// This server's name.
    pub fn server_name(&self) -> &ServerName {
        self.store.server_name()
    }

    /// The version of new rooms whose creator does not ask for one.
    pub fn default_version(&self) -> &ruma::RoomVersionId {
        &self.config.default_version
    }
}

/// Parsed state events by event id, to save reading and parsing them for every event that they authorise. Only events
/// that a room's current state names are looked up here.
pub(crate) type AuthCache = Arc<Cache<OwnedEventId, Arc<Pdu>, JsonBytes>>;

/// Weighs an event by its JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonBytes;

impl Weighter<OwnedEventId, Arc<Pdu>> for JsonBytes {
    fn weight(&self, _: &OwnedEventId, pdu: &Arc<Pdu>) -> u64 {
        // Fields and content are kept beside the JSON.
        2 * pdu.json().len() as u64
    }
}
