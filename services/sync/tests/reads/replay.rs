//! However a client gets there, it ends up with the same room.

use std::collections::BTreeMap;

use luxchat_sync::{Gaps, RelationFilter, SyncRequest, SyncToken};
use proptest::{collection::vec, prelude::*};
use ruma::{
    UserId,
    api::client::{message::get_message_events, sync::sync_events::v3},
};
use serde_json::{Value, json};

use crate::world::*;

/// Something that happens in the room.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Say,
    Topic(u8),
    Tag(u8, u8),
    Move(u8, &'static str),
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Say),
        1 => (0..3_u8).prop_map(Act::Topic),
        1 => (0..3_u8, 0..3_u8).prop_map(|(key, value)| Act::Tag(key, value)),
        2 => (0..3_u8, prop_oneof![Just("join"), Just("leave"), Just("invite"), Just("ban")])
            .prop_map(|(user, membership)| Act::Move(user, membership)),
    ]
}

pub(crate) async fn apply(world: &World, act: &Act, number: usize) {
    match act {
        Act::Say => {
            world
                .message(the_room(), alice(), &number.to_string())
                .await;
        }
        Act::Topic(topic) => {
            let content = json!({ "topic": topic.to_string() });
            world
                .state(the_room(), alice(), "m.room.topic", "", content)
                .await;
        }
        Act::Tag(key, value) => {
            let content = json!({ "value": value });
            let key = key.to_string();
            world
                .state(the_room(), alice(), "org.example.tag", &key, content)
                .await;
        }
        Act::Move(user, membership) => {
            let user = UserId::parse(format!("@user{user}:two")).unwrap();
            world.member(the_room(), alice(), &user, membership).await;
        }
    }
}

/// A client that believes what syncs say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Client {
    state: BTreeMap<(String, String), Value>,
    timeline: Vec<Value>,
}

impl Client {
    /// Takes a response in; `missed` is what a client that scrolls back finds behind the timeline's start.
    fn take(&mut self, room: &v3::JoinedRoom, missed: Vec<Value>) {
        let timeline = plain(&room.timeline.events);
        for event in &state_events(&room.state) {
            self.set(event);
        }
        if matches!(room.state, v3::State::Before(_)) {
            for event in &timeline {
                self.set(event);
            }
        }
        self.timeline.extend(missed);
        self.timeline.extend(timeline);
    }

    fn set(&mut self, event: &Value) {
        if let Some(state_key) = event["state_key"].as_str() {
            let key = (event["type"].to_string(), state_key.to_owned());
            self.state.insert(key, event["event_id"].clone());
        }
    }

    fn ids(&self) -> Vec<&Value> {
        self.timeline
            .iter()
            .map(|event| &event["event_id"])
            .collect()
    }
}

/// What lies between a place and the start of a limited timeline, oldest first.
async fn missed(world: &World, timeline: &v3::Timeline, since: Option<SyncToken>) -> Vec<Value> {
    if !timeline.limited {
        return Vec::new();
    }
    let mut request = get_message_events::v3::Request::backward(the_room().to_owned());
    request.from.clone_from(&timeline.prev_batch);
    request.to = since.map(|since| since.to_string());
    request.limit = 3_u32.into();
    let mut events = Vec::new();
    loop {
        let viewer = world.viewer(alice()).await;
        let page = world
            .sync
            .messages(
                viewer,
                request.clone(),
                RelationFilter::default(),
                Gaps::End,
            )
            .await
            .unwrap();
        events.extend(plain(&page.response.chunk));
        let Some(end) = page.response.end else { break };
        request.from = Some(end);
    }
    events.reverse();
    events
}

/// Follows the room from `start` with syncs at some of the tokens.
async fn follow(world: &World, steps: &[(Option<SyncToken>, u8)], after: bool) -> Client {
    let mut client = Client::default();
    for (since, limit) in steps {
        let filter = json!({ "room": { "timeline": { "limit": limit } } });
        let request = SyncRequest {
            since: *since,
            use_state_after: after,
            ..filtered(filter)
        };
        let response = world.sync(alice(), request).await;
        if let Some(room) = response.rooms.join.get(the_room()) {
            let missed = missed(world, &room.timeline, *since).await;
            client.take(room, missed);
        }
    }
    client
}

async fn check(acts: Vec<Act>, limits: Vec<u8>, every: usize, after: bool) {
    let world = World::with_room().await;
    let mut client = Client::default();
    let mut since = None;
    let mut limits = limits.into_iter().cycle();
    for (number, act) in acts.iter().enumerate() {
        apply(&world, act, number).await;
        if number % every == 0 || number + 1 == acts.len() {
            let limit = limits.next().unwrap();
            let filter = json!({ "room": { "timeline": { "limit": limit } } });
            let request = SyncRequest {
                since,
                use_state_after: after,
                ..filtered(filter)
            };
            let response = world.sync(alice(), request).await;
            if let Some(room) = response.rooms.join.get(the_room()) {
                let missed = missed(&world, &room.timeline, since).await;
                client.take(room, missed);
            }
            since = Some(token(&response));
        }
    }
    let whole = follow(&world, &[(None, 250)], after).await;
    assert_eq!(client.state, whole.state);
    assert_eq!(client.ids(), whole.ids());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn steps_of_any_size_lead_to_the_same_room(
        acts in vec(act(), 1..24),
        limits in vec(1..6_u8, 1..4),
        every in 1..9_usize,
        after: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(acts, limits, every, after));
    }
}
