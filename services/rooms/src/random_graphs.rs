//! Random event graphs, once through coordinates in the store and once over plain maps: the states before and after each
//! event, its status, and the room's current state must be the same.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use luxchat_store::{EventStatus, Pdu};
use proptest::{collection::vec, prelude::*, sample::Index};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, Int, OwnedEventId, OwnedRoomId,
    RoomVersionId,
    events::{StateEventType, room::member::MembershipState},
    owned_server_name,
    room_version_rules::RoomVersionRules,
    state_res::{StateMap, auth_types_for_event, resolve},
};
use serde_json::{Value, json};

use crate::{
    Authorised, Origin,
    receive::Inbound,
    rules_of,
    test_rooms::{TestRooms, user},
};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// How far back an event may name its parents.
const REACH: usize = 8;

/// One event of a random graph.
#[derive(Clone, Debug)]
enum Step {
    /// By a user of this server, on top of what there is.
    Own { sender: usize },
    /// By another server, on top of what it knew.
    Inbound {
        sender: usize,
        parents: Vec<Index>,
        what: What,
        ts: u16,
    },
}

#[derive(Clone, Debug)]
enum What {
    Message,
    Topic(u8),
    JoinRule(bool),
    Level { of: usize, level: i8 },
    Member { of: usize, membership: u8 },
}

fn what() -> impl Strategy<Value = What> {
    let users = 0..USERS.len();
    prop_oneof![
        1 => Just(What::Message),
        3 => any::<u8>().prop_map(What::Topic),
        1 => any::<bool>().prop_map(What::JoinRule),
        2 => (users.clone(), 0_i8..=100).prop_map(|(of, level)| What::Level { of, level }),
        3 => (users, 0_u8..4).prop_map(|(of, membership)| What::Member { of, membership }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let parents = vec(any::<Index>(), 1..4);
    let inbound =
        (0..USERS.len(), parents, what(), any::<u16>()).prop_map(|(sender, parents, what, ts)| {
            Step::Inbound {
                sender,
                parents,
                what,
                ts,
            }
        });
    prop_oneof![
        1 => (0..USERS.len()).prop_map(|sender| Step::Own { sender }),
        6 => inbound,
    ]
}

fn version() -> impl Strategy<Value = RoomVersionId> {
    prop_oneof![
        Just(RoomVersionId::V6),
        Just(RoomVersionId::V11),
        Just(RoomVersionId::V12)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn coordinates_agree_with_plain_maps(version in version(), steps in vec(step(), 1..24)) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(drive(version, steps));
    }
}

async fn drive(version: RoomVersionId, steps: Vec<Step>) {
    let rooms = TestRooms::new();
    let room_id = rooms.public_room(&user("alice"), version.clone()).await;
    rooms.enter(&user("bob"), &room_id).await.unwrap();
    rooms.enter(&user("carol"), &room_id).await.unwrap();
    let levels = json!({ "users": levels_of(&version, 100, 50), "state_default": 10 });
    rooms
        .set_state(&user("alice"), &room_id, "m.room.power_levels", levels)
        .await
        .unwrap();

    let mut model = Model::new(version, &room_id);
    for pdu in timeline(&rooms, &room_id).await {
        model.add(Arc::new(pdu));
    }
    compare_head(&rooms, &model).await;
    for (number, step) in steps.into_iter().enumerate() {
        let pdu = match step {
            Step::Own { sender } => {
                let said = rooms
                    .say(&user(USERS[sender]), &room_id, &number.to_string())
                    .await;
                let Ok(event_id) = said else {
                    continue;
                };
                rooms.event(&room_id, &event_id).await.unwrap()
            }
            Step::Inbound {
                sender,
                parents,
                what,
                ts,
            } => {
                let pdu = model.make(&rooms, sender, &parents, &what, ts);
                if model.events.contains_key(pdu.event_id()) {
                    continue;
                }
                deliver(&rooms, &model, pdu.clone()).await;
                pdu
            }
        };
        model.add(Arc::new(pdu));
        compare_head(&rooms, &model).await;
    }
    compare_events(&rooms, &model).await;
}

async fn deliver(rooms: &TestRooms, model: &Model, pdu: Pdu) {
    let room_id = model.room_id.clone();
    let room = rooms.store.read(move |tx| tx.room_by_id(&room_id)).await;
    let inbound = Inbound {
        origin: owned_server_name!("two"),
        made_by: Origin::Remote,
        room: room.unwrap().unwrap(),
        rules: model.rules.clone(),
        is_last_try: false,
    };
    let step = rooms.accept(&inbound, &Arc::new(pdu), HashMap::new()).await;
    step.unwrap().done().unwrap();
}

async fn timeline(rooms: &TestRooms, room_id: &ruma::RoomId) -> Vec<Pdu> {
    let room_id = room_id.to_owned();
    rooms
        .store
        .read(move |tx| {
            let room = tx.room_by_id(&room_id)?.unwrap();
            let end = tx.newest_pos(room.nid)?.unwrap();
            let events = tx.timeline_forwards(room.nid, 0, end, usize::MAX)?;
            let pdus = events.into_iter().map(luxchat_store::Event::into_pdu);
            pdus.collect::<Result<Vec<_>, luxchat_store::Error>>()
        })
        .await
        .unwrap()
}

/// Whether the room's head is what the model says.
async fn compare_head(rooms: &TestRooms, model: &Model) {
    let room_id = model.room_id.clone();
    let (current, tips, joined) = rooms
        .store
        .read(move |tx| {
            let room = tx.room_by_id(&room_id)?.unwrap();
            let at_head = tx.state_map_at(room.current.unwrap())?;
            let current = tx.current_state(room.nid)?.into_iter();
            let current: StateMap<OwnedEventId> = current
                .map(|entry| ((entry.event_type, entry.state_key), entry.event_id))
                .collect();
            assert_eq!(current, at_head, "the main chain ends in the current state");
            let tips = tx.tips(room.nid)?.into_iter().map(|tip| tip.event_id);
            let joined = tx.joined_user_ids(room.nid)?.into_iter().map(Into::into);
            let joined: BTreeSet<String> = joined.collect();
            let resident = tx.is_resident(room.nid)?;
            assert_eq!(resident, !joined.is_empty(), "the server follows its users");
            Ok::<_, luxchat_store::Error>((current, tips.collect::<BTreeSet<_>>(), joined))
        })
        .await
        .unwrap();
    assert_eq!(tips, model.tips, "forward extremities");
    assert_eq!(current, model.current, "current state");
    assert_eq!(joined, model.joined(), "joined users");
}

/// Whether every event is what the model says.
async fn compare_events(rooms: &TestRooms, model: &Model) {
    let room_id = model.room_id.clone();
    let event_ids: Vec<OwnedEventId> = model.events.keys().cloned().collect();
    let found = rooms
        .store
        .read(move |tx| {
            let room = tx.room_by_id(&room_id)?.unwrap();
            let mut found = Vec::new();
            for event_id in event_ids {
                let event = tx.event(room.nid, &event_id)?.unwrap();
                let before = tx.state_map_at(event.before.unwrap())?;
                let after = tx.state_map_at(event.after.unwrap())?;
                found.push((event_id, event.status, before, after));
            }
            Ok::<_, luxchat_store::Error>(found)
        })
        .await
        .unwrap();
    for (event_id, status, before, after) in found {
        let known = &model.events[&event_id];
        assert_eq!(status, known.status, "status of {event_id}");
        assert_eq!(before, known.before, "state before {event_id}");
        assert_eq!(after, known.after, "state after {event_id}");
    }
}

/// What the store should say, by the letter of the specification over plain maps.
struct Model {
    room_id: OwnedRoomId,
    version: RoomVersionId,
    rules: RoomVersionRules,
    events: BTreeMap<OwnedEventId, Known>,
    order: Vec<OwnedEventId>,
    tips: BTreeSet<OwnedEventId>,
    current: StateMap<OwnedEventId>,
}

struct Known {
    pdu: Arc<Pdu>,
    status: EventStatus,
    before: StateMap<OwnedEventId>,
    after: StateMap<OwnedEventId>,
}

impl Known {
    /// The event, with what became of it.
    fn judged(&self) -> Arc<Pdu> {
        let event_id = self.pdu.event_id().to_owned();
        let json = self.pdu.json().to_owned();
        Arc::new(Pdu::parse(event_id, json, self.status).unwrap())
    }
}

impl Model {
    fn new(version: RoomVersionId, room_id: &ruma::RoomId) -> Self {
        Self {
            room_id: room_id.to_owned(),
            rules: rules_of(&version).unwrap(),
            version,
            events: BTreeMap::new(),
            order: Vec::new(),
            tips: BTreeSet::new(),
            current: StateMap::new(),
        }
    }

    /// Receives an event.
    fn add(&mut self, pdu: Arc<Pdu>) {
        let before = self.resolve(
            pdu.prev_events()
                .iter()
                .map(|prev| &self.events[prev].after),
        );
        let status = self.judge(&pdu, &before);
        let mut after = before.clone();
        if status != EventStatus::Rejected
            && let Some((event_type, state_key)) = pdu.state_entry()
        {
            after.insert(
                (event_type, state_key.to_owned()),
                pdu.event_id().to_owned(),
            );
        }
        let event_id = pdu.event_id().to_owned();
        let prev_events = pdu.prev_events().to_vec();
        let known = Known {
            pdu,
            status,
            before,
            after,
        };
        self.events.insert(event_id.clone(), known);
        self.order.push(event_id.clone());
        if status == EventStatus::Accepted {
            self.tips.retain(|tip| !prev_events.contains(tip));
            self.tips.insert(event_id);
            self.current = self.resolve(self.tips.iter().map(|tip| &self.events[tip].after));
        }
    }

    fn judge(&self, pdu: &Arc<Pdu>, before: &StateMap<OwnedEventId>) -> EventStatus {
        let rules = &self.rules.authorization;
        let event = |event_id: &EventId| self.events.get(event_id).map(|known| known.judged());
        let at = |state: &StateMap<OwnedEventId>, event_type: &StateEventType, state_key: &str| {
            let key = (event_type.clone(), state_key.to_owned());
            state.get(&key).and_then(|event_id| event(event_id))
        };
        Authorised::by_auth_events(rules, Arc::clone(pdu), event)
            .and_state_before(rules, |event_type, state_key| {
                at(before, event_type, state_key)
            })
            .and_current_state(rules, |event_type, state_key| {
                // The first events are the room's own: what they are on top of is its current state.
                at(&self.current, event_type, state_key)
            })
            .status()
    }

    fn resolve<'a>(
        &'a self,
        states: impl Iterator<Item = &'a StateMap<OwnedEventId>>,
    ) -> StateMap<OwnedEventId> {
        let states: Vec<_> = states.collect();
        let chains = states
            .iter()
            .map(|state| self.ancestors(state.values()).into_iter().collect());
        resolve(
            &self.rules.authorization,
            self.rules.state_res.v2_rules().unwrap(),
            states.iter().copied(),
            chains.collect(),
            |event_id| self.events.get(event_id).map(|known| known.judged()),
            |conflicted| {
                let ends: HashSet<_> = conflicted.values().flatten().cloned().collect();
                Some(self.between(&ends).into_iter().collect())
            },
        )
        .unwrap()
    }

    /// The auth chains of events.
    fn ancestors<'a>(
        &self,
        events: impl Iterator<Item = &'a OwnedEventId>,
    ) -> HashSet<OwnedEventId> {
        let mut ancestors = HashSet::new();
        let mut left: Vec<OwnedEventId> = events.cloned().collect();
        while let Some(event_id) = left.pop() {
            for auth_event in self.events[&event_id].pdu.auth_events() {
                if ancestors.insert(auth_event.clone()) {
                    left.push(auth_event.clone());
                }
            }
        }
        ancestors
    }

    /// Events on paths of auth events from one end to another, ends included.
    fn between(&self, ends: &HashSet<OwnedEventId>) -> HashSet<OwnedEventId> {
        let mut reached = self.ancestors(ends.iter());
        reached.extend(ends.iter().cloned());
        reached.retain(|event_id| {
            ends.contains(event_id)
                || self
                    .ancestors([event_id].into_iter())
                    .iter()
                    .any(|ancestor| ends.contains(ancestor))
        });
        reached
    }

    fn joined(&self) -> BTreeSet<String> {
        let join = Some(&MembershipState::Join);
        let is_joined = |event_id: &&OwnedEventId| self.events[*event_id].pdu.membership() == join;
        let joins = self.current.values().filter(is_joined);
        joins
            .map(|event_id| self.events[event_id].pdu.state_key().unwrap().to_owned())
            .collect()
    }

    /// An event as an honest server would make it that knows these parents and what is before them.
    fn make(
        &self,
        rooms: &TestRooms,
        sender: usize,
        parents: &[Index],
        what: &What,
        ts: u16,
    ) -> Pdu {
        let usable: Vec<&OwnedEventId> = self
            .order
            .iter()
            .rev()
            .filter(|event_id| self.events[*event_id].status != EventStatus::Rejected)
            .take(REACH)
            .collect();
        let prevs: BTreeSet<&OwnedEventId> =
            parents.iter().map(|parent| *parent.get(&usable)).collect();
        let state = self.resolve(prevs.iter().map(|prev| &self.events[*prev].after));
        let sender = user(USERS[sender]);
        let (event_type, state_key, content) = self.content(what);
        let raw = serde_json::value::to_raw_value(&content).unwrap();
        let keys = auth_types_for_event(
            &event_type.into(),
            &sender,
            state_key.as_deref(),
            &raw,
            &self.rules.authorization,
        );
        let auth_events = keys.unwrap().into_iter().filter_map(|key| state.get(&key));
        let depth = prevs
            .iter()
            .map(|prev| self.events[*prev].pdu.depth())
            .max();
        let content: CanonicalJsonValue = content.try_into().unwrap();
        let mut object = CanonicalJsonObject::from([
            ("auth_events".to_owned(), ids(auth_events)),
            ("content".to_owned(), content),
            (
                "depth".to_owned(),
                Int::new(depth.unwrap() + 1).unwrap().into(),
            ),
            ("origin_server_ts".to_owned(), Int::from(ts).into()),
            ("prev_events".to_owned(), ids(prevs.into_iter())),
            ("room_id".to_owned(), self.room_id.to_string().into()),
            ("sender".to_owned(), sender.to_string().into()),
            ("type".to_owned(), event_type.into()),
        ]);
        if let Some(state_key) = state_key {
            object.insert("state_key".to_owned(), state_key.into());
        }
        rooms.sign(object, &self.rules).unwrap()
    }

    fn content(&self, what: &What) -> (&'static str, Option<String>, Value) {
        let empty = Some(String::new());
        match what {
            What::Message => ("m.room.message", None, json!({ "body": "" })),
            What::Topic(topic) => ("m.room.topic", empty, json!({ "topic": topic.to_string() })),
            What::JoinRule(public) => {
                let rule = if *public { "public" } else { "invite" };
                ("m.room.join_rules", empty, json!({ "join_rule": rule }))
            }
            What::Level { of, level } => {
                let users = match *of {
                    1 => levels_of(&self.version, 100, *level),
                    _ => levels_of(&self.version, *level, 50),
                };
                let content = json!({ "users": users, "state_default": 10 });
                ("m.room.power_levels", empty, content)
            }
            What::Member { of, membership } => {
                let membership = ["join", "leave", "ban", "invite"][usize::from(*membership)];
                let target = user(USERS[*of]).to_string();
                (
                    "m.room.member",
                    Some(target),
                    json!({ "membership": membership }),
                )
            }
        }
    }
}

/// Power levels of alice, who stands above them in room version 12, and bob.
fn levels_of(version: &RoomVersionId, alice: i8, bob: i8) -> Value {
    if *version == RoomVersionId::V12 {
        json!({ "@bob:one": bob })
    } else {
        json!({ "@alice:one": alice, "@bob:one": bob })
    }
}

fn ids<'a>(events: impl Iterator<Item = &'a OwnedEventId>) -> CanonicalJsonValue {
    CanonicalJsonValue::Array(events.map(|event| event.to_string().into()).collect())
}
