//! Three servers act at random and hear of each other now and then. In the end they agree.

use std::collections::BTreeMap;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, state_res::StateMap};
use serde_json::json;

use crate::nation::{Nation, Server, moderate};

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

struct World {
    servers: Vec<Server>,
    /// Per server one who stays and one who may be thrown out.
    anchors: Vec<OwnedUserId>,
    others: Vec<OwnedUserId>,
    room: OwnedRoomId,
}

impl World {
    async fn new(nation: &Nation, version: RoomVersionId) -> Self {
        let servers: Vec<Server> = ["one", "two", "three"]
            .into_iter()
            .map(|name| nation.server(name))
            .collect();
        let (mut anchors, mut others) = (Vec::new(), Vec::new());
        for server in &servers {
            anchors.push(server.user("anchor").await);
            others.push(server.user("other").await);
        }
        let room = servers[0].public_room(&anchors[0], version).await;
        for (server, anchor) in servers.iter().zip(&anchors).skip(1) {
            server.join(anchor, &room, &[&servers[0]]).await.unwrap();
        }
        let mut content = servers[0]
            .state_content(&room, "m.room.power_levels".into())
            .await
            .unwrap();
        content["users"][anchors[1].as_str()] = json!(60);
        content["users"][anchors[2].as_str()] = json!(60);
        servers[0]
            .send(&anchors[0], &room, "m.room.power_levels", Some(""), content)
            .await
            .unwrap();
        let world = Self {
            servers,
            anchors,
            others,
            room,
        };
        world.deliver_all().await;
        world
    }

    /// One of the servers does something, or tries to.
    async fn act(&self, dice: &mut Dice, step: usize) {
        let actor = dice.below(3);
        let (server, anchor) = (&self.servers[actor], &self.anchors[actor]);
        let other = &self.others[dice.below(3)];
        let room = &self.room;
        let action = dice.below(9);
        if (4..=6).contains(&action) {
            // Moderators wait for the members that are missing from the room.
            server.rooms.complete_due().await.unwrap();
        }
        match action {
            0 => drop(server.say(anchor, room, &step.to_string()).await),
            1 => server.name_room(anchor, room, &step.to_string()).await,
            2 => {
                let own = &self.others[actor];
                drop(server.join(own, room, &[]).await);
            }
            3 => {
                let own = &self.others[actor];
                let content = json!({ "topic": step.to_string() });
                drop(
                    server
                        .send(own, room, "m.room.topic", Some(""), content)
                        .await,
                );
            }
            4 => drop(server.rooms.kick(moderate(anchor, room, other)).await),
            5 => drop(server.rooms.ban(moderate(anchor, room, other)).await),
            6 => drop(server.rooms.unban(moderate(anchor, room, other)).await),
            7 => {
                let event_type = "m.room.power_levels";
                let content = server.state_content(room, event_type.into()).await;
                let mut content = content.unwrap();
                content["users"][other.as_str()] = json!(dice.below(3) * 30);
                let sent = server.send(anchor, room, event_type, Some(""), content);
                drop(sent.await);
            }
            _ => {
                let to = (actor + 1 + dice.below(2)) % 3;
                server.deliver(&self.servers[to]).await;
            }
        }
    }

    async fn deliver_all(&self) {
        for from in &self.servers {
            for to in &self.servers {
                if from.name() != to.name() {
                    from.deliver(to).await;
                }
            }
        }
    }

    /// Everything reaches everyone, and one event joins all branches.
    async fn settle(&self) {
        self.deliver_all().await;
        for (server, anchor) in self.servers.iter().zip(&self.anchors) {
            server.say(anchor, &self.room, "settled").await;
            self.deliver_all().await;
        }
    }

    /// The state before every event in the graph.
    async fn states(&self, server: &Server) -> BTreeMap<OwnedEventId, StateMap<OwnedEventId>> {
        let mut states = BTreeMap::new();
        for event in server.timeline(&self.room).await {
            let before = event.before.unwrap();
            let state = server
                .store
                .read(move |tx| tx.state_map_at(before))
                .await
                .unwrap();
            states.insert(event.event_id, state);
        }
        states
    }
}

#[tokio::test]
async fn servers_agree_whatever_happens() {
    let versions = [RoomVersionId::V12, RoomVersionId::V11, RoomVersionId::V6];
    for (seed, version) in (1..=6_u64).zip(versions.into_iter().cycle()) {
        let nation = Nation::new();
        let world = World::new(&nation, version.clone()).await;
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for step in 0..60 {
            world.act(&mut dice, step).await;
        }
        world.settle().await;
        let [one, two, three] = &*world.servers else {
            unreachable!("there are three servers");
        };
        let expected = one.state(&world.room).await;
        assert_eq!(two.state(&world.room).await, expected, "{seed} {version}");
        assert_eq!(three.state(&world.room).await, expected, "{seed} {version}");
        // Not only in the end: wherever two servers have an event, it stands in the same state.
        let ours = world.states(one).await;
        for server in [two, three] {
            for (event_id, state) in world.states(server).await {
                if let Some(ours) = ours.get(&event_id) {
                    assert_eq!(*ours, state, "{seed} {version} {event_id}");
                }
            }
        }
    }
}
