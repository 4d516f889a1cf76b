//! What the users of each box do.

use std::{sync::Arc, time::Duration};

use luxchat_rooms::{Error, Join, Moderate, Redact, SendEvent};
use luxchat_sync::ReceiptKind;
use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedUserId,
    events::{StateEventType, receipt::ReceiptThread},
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::time::sleep;

use crate::{
    server::{Running, Server},
    world::{Sent, World},
};

/// How long to wait before a join is tried again.
const JOIN_PAUSE: Duration = Duration::from_secs(5);

/// Something done by a box in a room, for one of its users.
struct Act<'w> {
    world: &'w World,
    index: usize,
    server: &'w Server,
    running: Running,
    room: OwnedRoomId,
}

/// Does one thing after the other, until it is over.
pub(crate) async fn act(world: Arc<World>, index: usize) {
    let dice = world.dice.fork();
    while !world.over.is_cancelled() {
        sleep(dice.millis(50, 2_500)).await;
        let server = &world.servers[index];
        let rooms = world.rooms_of(index);
        let (Some(running), Some(room)) = (server.running(), dice.pick(&rooms)) else {
            continue;
        };
        let act = Act {
            world: &world,
            index,
            server,
            running: running.clone(),
            room: room.clone(),
        };
        let number = dice.below(100);
        running.power.during(Box::pin(act.one(number, &dice))).await;
    }
}

impl Act<'_> {
    async fn one(&self, number: usize, dice: &crate::dice::Dice) {
        let anchor = self.server.user("anchor");
        let other = self.server.user("other");
        let target = dice.pick(&self.world.servers);
        let target = target.map_or_else(|| other.clone(), |server| server.user("other"));
        let word = dice.below(1_000_000).to_string();
        match number {
            0..40 => self.say(anchor, &word).await,
            40..46 => self.say(other, &word).await,
            46..53 => {
                let content = json!({ "topic": word });
                self.send(anchor, "m.room.topic", Some(""), content).await;
            }
            53..57 => {
                let content = json!({ "topic": word });
                self.send(other, "m.room.topic", Some(""), content).await;
            }
            57..61 => {
                let content = json!({ "name": word });
                self.send(anchor, "m.room.name", Some(""), content).await;
            }
            61..66 => self.empower(anchor, &target, dice.below(3) * 30).await,
            66..70 => self.moderate(anchor, target, Moderation::Kick).await,
            70..74 => self.moderate(anchor, target, Moderation::Ban).await,
            74..79 => self.moderate(anchor, target, Moderation::Unban).await,
            79..81 => self.moderate(anchor, target, Moderation::Invite).await,
            81..88 => self.join(other).await,
            88..91 => {
                let rooms = &self.running.rooms;
                let left = rooms.leave(&other, &self.room, None).await;
                self.note("leave", &left);
            }
            91..93 => {
                let access = if dice.happens(50) {
                    "can_join"
                } else {
                    "forbidden"
                };
                let content = json!({ "guest_access": access });
                self.send(anchor, "m.room.guest_access", Some(""), content)
                    .await;
            }
            93..96 => self.redact(anchor, dice).await,
            _ => self.read().await,
        }
    }

    async fn say(&self, sender: OwnedUserId, word: &str) {
        let content = json!({ "msgtype": "m.text", "body": word });
        self.send(sender, "m.room.message", None, content).await;
    }

    async fn send(
        &self,
        sender: OwnedUserId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) {
        let event = SendEvent {
            sender,
            room_id: self.room.clone(),
            event_type: event_type.into(),
            state_key: state_key.map(ToOwned::to_owned),
            content: to_raw_value(&content).expect("JSON can be written"),
            transaction: None,
        };
        let sent = self.running.rooms.send(event).await;
        self.acknowledge(sent);
    }

    /// Gives somebody a power level.
    async fn empower(&self, sender: OwnedUserId, target: &OwnedUserId, level: usize) {
        let room_id = self.room.clone();
        let content = self
            .running
            .store
            .read(move |tx| {
                let Some(room) = tx.room_by_id(&room_id)? else {
                    return Ok(None);
                };
                let levels = StateEventType::RoomPowerLevels;
                let event = tx.current_state_event(room.nid, &levels, "")?;
                event
                    .map(|event| event.into_pdu()?.content_as::<Value>())
                    .transpose()
            })
            .await;
        if let Ok::<_, luxchat_store::Error>(Some(mut content)) = content {
            content["users"][target.as_str()] = json!(level);
            self.send(sender, "m.room.power_levels", Some(""), content)
                .await;
        }
    }

    async fn moderate(&self, sender: OwnedUserId, target: OwnedUserId, how: Moderation) {
        let moderate = Moderate {
            sender,
            room_id: self.room.clone(),
            target,
            reason: None,
        };
        let rooms = &self.running.rooms;
        let (what, done) = match how {
            Moderation::Kick => ("kick", rooms.kick(moderate).await),
            Moderation::Ban => ("ban", rooms.ban(moderate).await),
            Moderation::Unban => ("unban", rooms.unban(moderate).await),
            Moderation::Invite => ("invite", rooms.invite(moderate, false).await),
        };
        self.note(what, &done);
    }

    async fn join(&self, user: OwnedUserId) {
        let joined = self.running.rooms.join(join(user, &self.room, vec![]));
        self.note("join", &joined.await);
    }

    /// Takes back something that the box sent.
    async fn redact(&self, sender: OwnedUserId, dice: &crate::dice::Dice) {
        let own: Vec<Sent> = self.world.sent();
        let own: Vec<Sent> = own
            .into_iter()
            .filter(|sent| sent.server == self.index && sent.room == self.room)
            .collect();
        let Some(sent) = dice.pick(&own) else {
            return;
        };
        let redact = Redact {
            sender,
            room_id: self.room.clone(),
            event_id: sent.event_id.clone(),
            reason: None,
            transaction: None,
        };
        let sent = self.running.rooms.redact(redact).await;
        self.acknowledge(sent);
    }

    /// The reader has read everything.
    async fn read(&self) {
        let _ = read_all(self.server, &self.running, &self.room).await;
    }

    fn acknowledge(&self, sent: Result<OwnedEventId, Error>) {
        self.note("send", &sent);
        if let Ok(event_id) = sent {
            self.world.acknowledge(Sent {
                server: self.index,
                room: self.room.clone(),
                event_id,
            });
        }
    }

    fn note<T>(&self, what: &str, result: &Result<T, Error>) {
        let name = self.server.name();
        match result {
            Ok(_) => self.world.trace.note(format_args!("{name} {what}: done")),
            Err(error) => self
                .world
                .trace
                .note(format_args!("{name} {what}: {error}")),
        }
    }
}

#[derive(Clone, Copy)]
enum Moderation {
    Kick,
    Ban,
    Unban,
    Invite,
}

/// Sets the reader's receipt on the newest event of a room.
pub(crate) async fn read_all(
    server: &Server,
    running: &Running,
    room: &OwnedRoomId,
) -> luxchat_sync::Result<()> {
    let room_id = room.clone();
    let newest: Option<OwnedEventId> = running
        .store
        .read(move |tx| {
            let Some(room) = tx.room_by_id(&room_id)? else {
                return Ok(None);
            };
            let Some(pos) = tx.newest_pos(room.nid)? else {
                return Ok(None);
            };
            let newest = tx.timeline_forwards(room.nid, pos - 1, pos, 1)?;
            Ok::<_, luxchat_store::Error>(newest.into_iter().next().map(|event| event.event_id))
        })
        .await?;
    let Some(newest) = newest else {
        return Ok(());
    };
    let (reader, thread) = (server.user("reader"), ReceiptThread::Unthreaded);
    let kind = ReceiptKind::Public;
    running
        .receipts
        .set(&reader, room, &newest, kind, thread)
        .await
}

/// Says something, as a box's leading user.
pub(crate) async fn say(world: &World, index: usize, room: &OwnedRoomId, word: &str) -> bool {
    let server = &world.servers[index];
    let Some(running) = server.running() else {
        return false;
    };
    let act = Act {
        world,
        index,
        server,
        running,
        room: room.clone(),
    };
    let before = world.sent().len();
    act.say(server.user("anchor"), word).await;
    world.sent().len() > before
}

/// Brings a box's leading user, and its reader, into every room, however often that takes.
pub(crate) async fn enter_rooms(world: Arc<World>, index: usize) {
    let dice = world.dice.fork();
    loop {
        let missing = world.rooms.iter().filter(|room| !world.is_in(index, room));
        let missing: Vec<OwnedRoomId> = missing.cloned().collect();
        let Some(room) = dice.pick(&missing) else {
            return;
        };
        if let Some(running) = world.servers[index].running() {
            let entered = Box::pin(enter(&world, index, &running, room, &dice));
            if running.power.during(entered).await == Some(true) {
                world.has_joined(index, room);
                continue;
            }
        }
        sleep(JOIN_PAUSE).await;
    }
}

async fn enter(
    world: &World,
    index: usize,
    running: &Running,
    room: &OwnedRoomId,
    dice: &crate::dice::Dice,
) -> bool {
    let others: Vec<usize> = (0..world.honest)
        .filter(|other| *other != index && world.is_in(*other, room))
        .collect();
    let via = dice.pick(&others).copied();
    let via = via.or_else(|| (0..world.honest).find(|other| world.is_in(*other, room)));
    let via: Vec<_> = via
        .into_iter()
        .map(|other| world.servers[other].name().clone())
        .collect();
    let server = &world.servers[index];
    for localpart in ["anchor", "reader"] {
        let join = join(server.user(localpart), room, via.clone());
        if let Err(error) = running.rooms.join(join).await {
            let name = server.name();
            world
                .trace
                .note(format_args!("{name} join of {localpart}: {error}"));
            return false;
        }
    }
    true
}

fn join(user: OwnedUserId, room: &OwnedRoomId, via: Vec<ruma::OwnedServerName>) -> Join {
    Join {
        user,
        room_id: room.clone(),
        via,
        reason: None,
        extra: CanonicalJsonObject::new(),
    }
}
