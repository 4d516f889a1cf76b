//! A client of each box: it syncs now and then, and remembers what it was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use luxchat_sync::{SyncRequest, SyncToken, Viewer};
use ruma::{OwnedEventId, OwnedRoomId, api::client::sync::sync_events::v3};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::sleep};

use crate::{server::Running, world::World};

/// More events than a simulation has.
const TIMELINE_LIMIT: u32 = 10_000;

/// What a client knows.
#[derive(Debug, Default)]
pub(crate) struct Client {
    since: Option<SyncToken>,
    /// The events of each room's timeline.
    pub(crate) seen: BTreeMap<OwnedRoomId, BTreeSet<OwnedEventId>>,
    /// Rooms in whose timelines it was told of a gap.
    pub(crate) gaps: BTreeSet<OwnedRoomId>,
    /// How much it takes for unread.
    pub(crate) unread: BTreeMap<OwnedRoomId, u64>,
}

/// Syncs as a box's reader, until it is over.
pub(crate) async fn follow(world: Arc<World>, index: usize, client: Arc<Mutex<Client>>) {
    let dice = world.dice.fork();
    while !world.over.is_cancelled() {
        sleep(dice.millis(200, 4_000)).await;
        if let Some(running) = world.servers[index].running() {
            let mut client = client.lock().await;
            running
                .power
                .during(client.sync(&world, index, &running))
                .await;
        }
    }
}

impl Client {
    /// Syncs once.
    pub(crate) async fn sync(&mut self, world: &World, index: usize, running: &Running) {
        let Some(response) = sync(world, index, running, self.since).await else {
            return;
        };
        self.since = response.next_batch.parse().ok();
        let name = world.servers[index].name();
        for (room_id, room) in response.rooms.join {
            let (count, limited) = (room.timeline.events.len(), room.timeline.limited);
            let gap = if limited { " after a gap" } else { "" };
            let next = &response.next_batch;
            world.trace.note(format_args!(
                "{name} told of {count} events of {room_id}{gap}, up to {next}"
            ));
            let is_new = !self.seen.contains_key(&room_id);
            let seen = self.seen.entry(room_id.clone()).or_default();
            for event in &room.timeline.events {
                let Ok(Some(event_id)) = event.get_field::<OwnedEventId>("event_id") else {
                    world.violation(format!("an event without an id in {room_id}"));
                    continue;
                };
                if !seen.insert(event_id.clone()) {
                    world.violation(format!("{name}: {event_id} came twice by sync"));
                }
            }
            if room.timeline.limited && !is_new {
                self.gaps.insert(room_id.clone());
            }
            if let Some(count) = room.unread_notifications.notification_count {
                self.unread.insert(room_id, count.into());
            }
        }
    }
}

/// A sync that does not wait, as a box's reader.
pub(crate) async fn sync(
    world: &World,
    index: usize,
    running: &Running,
    since: Option<SyncToken>,
) -> Option<v3::Response> {
    let user_id = world.servers[index].user("reader");
    let id = user_id.clone();
    let user: luxchat_store::Result<_> = running.store.read(move |tx| tx.user_nid(&id)).await;
    let user = user.ok().flatten()?;
    let viewer = Viewer {
        user_id,
        user,
        device_id: "DEVICE".into(),
    };
    let filter: Value = json!({ "room": { "timeline": { "limit": TIMELINE_LIMIT } } });
    let request = SyncRequest {
        since,
        filter: serde_json::from_value(filter).expect("the filter is a valid one"),
        ..SyncRequest::default()
    };
    match running.sync.sync_v3(viewer, request).await {
        Ok(response) => Some(response),
        Err(error) => {
            world.violation(format!("{index}: a sync failed: {error}"));
            None
        }
    }
}
