//! All boxes, their rooms, and what was promised to their users.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedServerName, RoomVersionId, UInt,
    api::client::room::create_room::v3::{Request, RoomPreset},
    serde::Raw,
    signatures::Ed25519KeyPair,
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    byzantine::Byzantine,
    dice::Dice,
    network::Network,
    run::Options,
    server::{Server, Site},
    trace::Trace,
};

/// The versions of rooms.
const VERSIONS: [RoomVersionId; 4] = [
    RoomVersionId::V6,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// The simulated world.
#[derive(Debug)]
pub(crate) struct World {
    /// What is random.
    pub(crate) dice: Dice,
    /// What happens.
    pub(crate) trace: Trace,
    /// What connects the boxes.
    pub(crate) network: Network,
    /// The boxes. The first ones are honest.
    pub(crate) servers: Vec<Server>,
    /// How many of them are.
    pub(crate) honest: usize,
    /// The rooms.
    pub(crate) rooms: Vec<OwnedRoomId>,
    /// Whether everything is compared that could be.
    pub(crate) strict: bool,
    /// Ends what users do.
    pub(crate) over: CancellationToken,
    ledger: Mutex<Ledger>,
}

/// What boxes said that they have done.
#[derive(Debug, Default)]
struct Ledger {
    sent: Vec<Sent>,
    /// Boxes that are in a room for good.
    residents: BTreeSet<(usize, OwnedRoomId)>,
    /// What must not happen, but did.
    violations: Vec<String>,
}

/// An event that a box acknowledged to its user.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The box.
    pub(crate) server: usize,
    /// The room.
    pub(crate) room: OwnedRoomId,
    /// The event.
    pub(crate) event_id: OwnedEventId,
}

impl World {
    /// Three to four honest boxes, at times one that lies, and their rooms.
    pub(crate) async fn new(dice: Dice, trace: Trace, options: Options<'_>) -> Result<Self> {
        let honest = 3 + usize::from(dice.happens(30));
        let lies = dice.happens(60);
        let count = honest + usize::from(lies);
        let names: Vec<OwnedServerName> = ["one", "two", "three", "four", "five"]
            .into_iter()
            .take(count)
            .map(|name| name.try_into().context("a name is invalid"))
            .collect::<Result<_>>()?;
        let keys: Vec<Vec<u8>> = names
            .iter()
            .map(|_| Ed25519KeyPair::generate().to_vec())
            .collect();
        let byzantine = if lies {
            let key = Ed25519KeyPair::from_der(&keys[honest], "1".to_owned())?;
            let (name, others) = (names[honest].clone(), names[..honest].to_vec());
            let (dice, trace) = (dice.fork(), trace.clone());
            Some(Byzantine::new(name, key, others, dice, trace))
        } else {
            None
        };
        let network = Network::new(dice.fork(), trace.clone(), byzantine);
        let site = Site {
            folder: options.folder.to_owned(),
            started: Instant::now(),
            dice: dice.fork(),
            trace: trace.clone(),
            network: network.clone(),
        };
        let mut servers = Vec::new();
        for (name, key) in names.into_iter().zip(keys) {
            let server = Server::new(name, key, site.clone());
            server.start()?;
            server.make_users().await?;
            servers.push(server);
        }
        introduce(&servers).await?;
        let mut world = Self {
            dice,
            trace,
            network,
            servers,
            honest,
            rooms: Vec::new(),
            strict: options.strict,
            over: CancellationToken::new(),
            ledger: Mutex::default(),
        };
        for _ in 0..=world.dice.below(2) {
            let room = world.make_room().await?;
            world.rooms.push(room);
        }
        Ok(world)
    }

    /// A room that anyone may join, made by an honest box, in which all honest boxes have a say.
    async fn make_room(&self) -> Result<OwnedRoomId> {
        let version = self
            .dice
            .pick(&VERSIONS)
            .cloned()
            .context("there are versions")?;
        let creator = self.dice.below(self.honest);
        let is_creator_listed = version != RoomVersionId::V12;
        let users: serde_json::Map<String, Value> = (0..self.honest)
            .filter(|index| *index != creator || is_creator_listed)
            .map(|index| {
                let level = if index == creator { 100 } else { 60 };
                (self.servers[index].user("anchor").to_string(), json!(level))
            })
            .collect();
        let levels = json!({ "users": users, "events": { "m.room.topic": 0 } });
        let mut request = Request::new();
        request.preset = Some(RoomPreset::PublicChat);
        request.room_version = Some(version.clone());
        request.power_level_content_override = Some(Raw::from_json(to_raw_value(&levels)?));
        let server = &self.servers[creator];
        let running = server.running().context("the box is on")?;
        let room = running.rooms.create(&server.user("anchor"), request).await;
        let room = room.context("the room cannot be made")?;
        let version = version.as_str();
        self.trace
            .note(format_args!("{} makes {room} ({version})", server.name()));
        Ok(room)
    }

    /// Takes note of an event that a box acknowledged.
    pub(crate) fn acknowledge(&self, sent: Sent) {
        let name = self.servers[sent.server].name();
        self.trace
            .note(format_args!("{name} sent {}", sent.event_id));
        self.ledger().sent.push(sent);
    }

    /// The events that boxes acknowledged.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.ledger().sent.clone()
    }

    /// Takes note that a box is in a room for good.
    pub(crate) fn has_joined(&self, server: usize, room: &OwnedRoomId) {
        let name = self.servers[server].name();
        self.trace.note(format_args!("{name} is in {room}"));
        self.ledger().residents.insert((server, room.clone()));
    }

    /// Whether it is.
    pub(crate) fn is_in(&self, server: usize, room: &OwnedRoomId) -> bool {
        self.ledger().residents.contains(&(server, room.clone()))
    }

    /// The rooms that a box is in.
    pub(crate) fn rooms_of(&self, server: usize) -> Vec<OwnedRoomId> {
        let rooms = self.rooms.iter();
        rooms
            .filter(|room| self.is_in(server, room))
            .cloned()
            .collect()
    }

    /// Takes note of something that must not be.
    pub(crate) fn violation(&self, what: String) {
        self.trace.note(format_args!("VIOLATION {what}"));
        self.ledger().violations.push(what);
    }

    /// What must not be, but is.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.ledger().violations.clone()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets all boxes have each other's keys before anything breaks, as boxes have those on a members list.
async fn introduce(servers: &[Server]) -> Result<()> {
    for server in servers {
        let federation = server.running().context("the box is on")?.federation;
        for other in servers.iter().filter(|other| other.name() != server.name()) {
            let keys = federation
                .keys()
                .vouched(other.name(), MilliSecondsSinceUnixEpoch(UInt::MIN))
                .await?;
            ensure!(!keys.is_empty(), "{} has no keys", other.name());
        }
    }
    Ok(())
}
