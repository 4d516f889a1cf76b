//! A room on a temporary store, for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use luxchat_store::{
    Config as StoreConfig, Coordinate, EventNid, EventStatus, NewEvent, Pdu, Redaction, RoomNid,
    StateChange, Store, Topic, Unread, UserNid, Visibility, WriteTx,
};
use ruma::{
    EventId, OwnedEventId, RoomId, RoomVersionId, UserId, events::receipt::ReceiptThread,
    push::Ruleset, room_id, server_name, user_id,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Config, Push};

pub(crate) struct World {
    pub(crate) push: Push,
    pub(crate) store: Store,
    events: AtomicU64,
    _folder: TempDir,
}

/// An event that was put into the room.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    pub(crate) event_id: OwnedEventId,
    pub(crate) nid: EventNid,
    pub(crate) pos: i64,
}

pub(crate) fn the_room() -> &'static RoomId {
    room_id!("!room:one")
}

pub(crate) fn alice() -> &'static UserId {
    user_id!("@alice:one")
}

pub(crate) fn bob() -> &'static UserId {
    user_id!("@bob:one")
}

/// Of another server.
pub(crate) fn carol() -> &'static UserId {
    user_id!("@carol:two")
}

impl World {
    /// A room in which Bob may notify everybody, and all three are joined. Alice has a device.
    pub(crate) async fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = server_name!("one").to_owned();
        let store = Store::open(StoreConfig::new(folder.path().join("store.db"), name)).unwrap();
        let world = Self {
            push: Push::new(store.clone(), config).unwrap(),
            store,
            events: AtomicU64::new(0),
            _folder: folder,
        };
        world
            .store
            .write(|tx| {
                for user in [alice(), bob()] {
                    let user = tx.insert_account(user, None, false)?.unwrap();
                    tx.insert_device(user, "DEVICE".into(), None)?;
                }
                tx.room_or_insert(the_room(), &RoomVersionId::V11).map(drop)
            })
            .await
            .unwrap();
        world
            .state(bob(), "m.room.create", "", json!({ "room_version": "11" }))
            .await;
        for user in [bob(), alice(), carol()] {
            let content = json!({ "membership": "join" });
            world
                .state(user, "m.room.member", user.as_str(), content)
                .await;
        }
        let levels = json!({ "users": { (bob()): 50 }, "notifications": { "room": 50 } });
        world.state(bob(), "m.room.power_levels", "", levels).await;
        world
    }

    pub(crate) async fn state(
        &self,
        sender: &UserId,
        event_type: &str,
        key: &str,
        content: Value,
    ) -> Put {
        self.put(sender, event_type, Some(key), content).await
    }

    pub(crate) async fn say(&self, sender: &UserId, text: &str) -> Put {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.put(sender, "m.room.message", None, content).await
    }

    pub(crate) async fn put(
        &self,
        sender: &UserId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Put {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let event_id = EventId::parse(format!("$event{number}")).unwrap();
        let now = self.store.clock().now_ms();
        let mut event = json!({
            "room_id": the_room(), "sender": sender, "type": event_type, "content": content,
            "origin_server_ts": now, "prev_events": [], "auth_events": [], "depth": number + 1,
        });
        if let Some(state_key) = state_key {
            event["state_key"] = state_key.into();
        }
        let pdu = Pdu::parse(event_id.clone(), event.to_string(), EventStatus::Accepted).unwrap();
        let (nid, pos) = self.store.write(move |tx| insert(tx, &pdu)).await.unwrap();
        Put { event_id, nid, pos }
    }

    pub(crate) async fn redact(&self, target: &Put) {
        let redaction = self
            .put(
                bob(),
                "m.room.redaction",
                None,
                json!({ "redacts": target.event_id }),
            )
            .await;
        let target = target.event_id.clone();
        self.store
            .write(move |tx| {
                let room = tx.room_by_id(the_room())?.unwrap();
                let redaction = Redaction {
                    event: redaction.nid,
                    any_sender: true,
                };
                tx.redact(room.nid, &room.version, &target, redaction)
            })
            .await
            .unwrap();
    }

    pub(crate) async fn read(&self, user: &'static UserId, thread: ReceiptThread, pos: i64) {
        self.store
            .write(move |tx| {
                let (room, user) = (nid_of_room(tx), tx.user_nid(user)?.unwrap());
                tx.set_read_position(user, room, &thread, pos)
            })
            .await
            .unwrap();
    }

    pub(crate) async fn set_rules(&self, user: &'static UserId, rules: Ruleset) {
        self.store
            .write(move |tx| {
                let user = tx.user_nid(user)?.unwrap();
                tx.set_push_rules(user, rules)
            })
            .await
            .unwrap();
    }

    pub(crate) async fn count(&self, user: &'static UserId) -> Unread {
        let push = self.push.clone();
        self.store
            .read(move |tx| {
                let user = tx.user_nid(user)?.unwrap();
                let room = tx.room_by_id(the_room())?.unwrap().nid;
                push.count(tx, user, room)
            })
            .await
            .unwrap()
    }

    pub(crate) async fn user(&self, user: &'static UserId) -> UserNid {
        let look = move |tx: &luxchat_store::ReadTx<'_>| tx.user_nid(user);
        self.store.read(look).await.unwrap().unwrap()
    }
}

fn nid_of_room(tx: &WriteTx<'_>) -> RoomNid {
    tx.room_by_id(the_room()).unwrap().unwrap().nid
}

fn insert(tx: &mut WriteTx<'_>, pdu: &Pdu) -> luxchat_store::Result<(EventNid, i64)> {
    let mut room = tx.room_by_id(pdu.room_id())?.unwrap();
    let head = match room.current {
        Some(head) => head,
        None => tx.open_main_chain(room.nid)?,
    };
    room.current = Some(head);
    let is_own = pdu.sender().server_name() == "one";
    let inserted = tx
        .insert_event(NewEvent {
            room: room.nid,
            pdu,
            status: EventStatus::Accepted,
            visibility: Visibility::Newest,
            before: Some(head),
            after: Some(Coordinate {
                chain: head.chain,
                ord: head.ord + i64::from(pdu.state_key().is_some()),
            }),
            is_own,
            outgoing: is_own,
        })?
        .unwrap();
    if let Some(key) = inserted.state_key {
        let event = Some(inserted.nid);
        tx.change_current_state(&mut room, &[StateChange { key, event }], inserted.seq)?;
    }
    tx.announce(Topic::Room(room.nid));
    Ok((inserted.nid, inserted.pos.unwrap()))
}
