//! However a sliding sync gets there, its client ends up with the same room.

use std::collections::BTreeMap;

use luxchat_sync::{Gaps, RelationFilter};
use proptest::{collection::vec, prelude::*};
use ruma::{
    RoomId,
    api::client::{message::get_message_events, sync::sync_events::v5::response::Room},
    room_id,
};
use serde_json::{Value, json};

use crate::{
    replay::{Act, act, apply},
    sliding::{list, slide},
    world::*,
};

/// One look of the client, after some acts.
#[derive(Clone, Debug)]
struct Step {
    acts: Vec<Act>,
    /// Whether another room moves up meanwhile.
    other: bool,
    /// The last place of the window.
    last: u32,
    limit: u32,
    /// Whether the client asks for all state, or for topics alone.
    all_state: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        vec(act(), 0..6),
        any::<bool>(),
        0..2_u32,
        1..6_u32,
        any::<bool>(),
    )
        .prop_map(|(acts, other, last, limit, all_state)| Step {
            acts,
            other,
            last,
            limit,
            all_state,
        })
}

/// A client that believes what it is told.
#[derive(Debug, Default, PartialEq)]
struct Client {
    state: BTreeMap<(String, String), String>,
    timeline: Vec<String>,
}

impl Client {
    async fn take(&mut self, world: &World, room: &Room) {
        for event in &plain(&room.required_state) {
            let key = (text(event, "type"), text(event, "state_key"));
            self.state.insert(key, text(event, "event_id"));
        }
        let mut events = match &room.prev_batch {
            Some(from) if room.limited => self.missed(world, from).await,
            _ => Vec::new(),
        };
        events.extend(
            plain(&room.timeline)
                .iter()
                .map(|event| text(event, "event_id")),
        );
        events.retain(|event| !self.timeline.contains(event));
        self.timeline.extend(events);
    }

    /// What lies between what the client has and a place, oldest first.
    async fn missed(&self, world: &World, from: &str) -> Vec<String> {
        let mut request = get_message_events::v3::Request::backward(the_room().to_owned());
        request.from = Some(from.to_owned());
        let mut events = Vec::new();
        loop {
            let viewer = world.viewer(alice()).await;
            let page = world
                .sync
                .messages(
                    viewer,
                    request.clone(),
                    RelationFilter::default(),
                    Gaps::Skip,
                )
                .await
                .unwrap();
            for event in plain(&page.response.chunk) {
                let event = text(&event, "event_id");
                if self.timeline.contains(&event) {
                    events.reverse();
                    return events;
                }
                events.push(event);
            }
            let Some(end) = page.response.end else { break };
            request.from = Some(end);
        }
        events.reverse();
        events
    }
}

fn text(event: &Value, name: &str) -> String {
    event[name].as_str().unwrap().to_owned()
}

fn other() -> &'static RoomId {
    room_id!("!other:one")
}

async fn check(steps: Vec<Step>) {
    let world = World::with_room().await;
    world.room(other(), alice(), "shared").await;
    let all = json!([["*", "*"]]);
    let mut client = Client::default();
    let mut pos: Option<String> = None;
    let mut number = 0;
    for step in steps {
        for act in &step.acts {
            apply(&world, act, number).await;
            number += 1;
        }
        if step.other {
            world.message(other(), alice(), "elsewhere").await;
        }
        let required = if step.all_state {
            all.clone()
        } else {
            json!([["m.room.topic", "*"]])
        };
        let body = list(step.last, step.limit, required);
        let response = slide(&world, alice(), pos.as_deref(), &body).await;
        if let Some(room) = response.rooms.get(the_room()) {
            client.take(&world, room).await;
        }
        pos = Some(response.pos);
    }
    let response = slide(&world, alice(), pos.as_deref(), &list(1, 3, all.clone())).await;
    if let Some(room) = response.rooms.get(the_room()) {
        client.take(&world, room).await;
    }
    let whole = slide(&world, alice(), None, &list(1, 100, all)).await;
    let mut fresh = Client::default();
    fresh.take(&world, &whole.rooms[the_room()]).await;
    assert_eq!(client, fresh);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_of_any_size_lead_to_the_same_room(steps in vec(step(), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps));
    }
}
