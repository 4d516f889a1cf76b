//! What must hold once everything is whole again and has come to rest.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

use anyhow::{Context, Result};
use luxchat_store::{Coordinate, Error, Event, EventStatus, ReadTx, RoomNid};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, events::TimelineEventType};

use crate::{
    client::{Client, sync},
    world::{Sent, World},
};

/// More events than a simulation has.
const MANY: usize = 100_000;

type State = BTreeMap<(String, String), OwnedEventId>;

/// A room as one box has it.
#[derive(Debug, Default)]
struct View {
    current: State,
    timeline: Vec<OwnedEventId>,
    events: BTreeMap<OwnedEventId, Known>,
}

/// An event as one box has it.
#[derive(Debug)]
struct Known {
    status: EventStatus,
    /// The state before it, if it has a place.
    before: Option<Coordinate>,
    sender: OwnedUserId,
    is_join: bool,
    parents: Vec<OwnedEventId>,
    is_live: bool,
    pos: Option<i64>,
}

/// Compares what the honest boxes have of each room with what the others have, and with what they promised.
pub(crate) async fn check_rooms(world: &World, clients: &[&Client]) -> Result<()> {
    for room in &world.rooms {
        let views = views(world, room).await?;
        check_states(world, room, &views);
        check_promises(world, room, &views);
        for (index, view) in views.iter().enumerate() {
            check_timeline(world, room, index, view);
        }
        if world.strict {
            check_presence(world, room, &views);
            check_places(world, room, &views).await?;
            for (index, view) in views.iter().enumerate() {
                check_told(world, room, index, view, clients[index]);
            }
        }
    }
    Ok(())
}

async fn views(world: &World, room: &OwnedRoomId) -> Result<Vec<View>> {
    let mut ids: BTreeSet<OwnedEventId> = world
        .sent()
        .into_iter()
        .filter(|sent| sent.room == *room)
        .map(|sent| sent.event_id)
        .collect();
    for server in &world.servers[..world.honest] {
        let running = server.running().context("the box is on")?;
        let room = room.clone();
        let timeline = running.store.read(move |tx| {
            let room = tx.room_by_id(&room)?.map(|room| room.nid);
            room.map_or(Ok(Vec::new()), |room| timeline(tx, room))
        });
        ids.extend(timeline.await?.into_iter().map(|event| event.event_id));
    }
    let mut views = Vec::new();
    for server in &world.servers[..world.honest] {
        let running = server.running().context("the box is on")?;
        let (room, ids) = (room.clone(), ids.clone());
        let view = running.store.read(move |tx| View::read(tx, &room, ids));
        views.push(view.await?);
    }
    Ok(views)
}

fn timeline(tx: &ReadTx<'_>, room: RoomNid) -> Result<Vec<Event>, Error> {
    tx.timeline_forwards(room, i64::MIN, i64::MAX, MANY)
}

impl View {
    fn read(
        tx: &ReadTx<'_>,
        room: &OwnedRoomId,
        ids: BTreeSet<OwnedEventId>,
    ) -> Result<Self, Error> {
        let Some(room) = tx.room_by_id(room)? else {
            return Ok(Self::default());
        };
        let mut view = Self {
            timeline: timeline(tx, room.nid)?
                .into_iter()
                .map(|event| event.event_id)
                .collect(),
            ..Self::default()
        };
        for entry in tx.current_state(room.nid)? {
            let key = (entry.event_type.to_string(), entry.state_key);
            view.current.insert(key, entry.event_id);
        }
        for event_id in ids {
            if let Some(event) = tx.event(room.nid, &event_id)? {
                view.events.insert(event_id, Known::of(tx, &event)?);
            }
        }
        Ok(view)
    }
}

impl Known {
    fn of(tx: &ReadTx<'_>, event: &Event) -> Result<Self, Error> {
        let pdu = event.pdu()?;
        let is_join = *pdu.event_type() == TimelineEventType::RoomMember
            && pdu.membership() == Some(&"join".into());
        Ok(Self {
            status: event.status,
            before: event.before.filter(|_| event.after.is_some()),
            sender: tx.user_id(event.sender)?,
            is_join,
            parents: pdu.prev_events().to_vec(),
            is_live: event.pos == Some(event.seq.0),
            pos: event.pos,
        })
    }
}

/// All agree on the current state.
fn check_states(world: &World, room: &OwnedRoomId, views: &[View]) {
    for (index, view) in views.iter().enumerate().skip(1) {
        let (one, other) = (&views[0].current, &view.current);
        let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
        for key in keys {
            if one.get(key) != other.get(key) {
                world.violation(format!(
                    "{room}: state {key:?} is {:?} at {} and {:?} at {}",
                    one.get(key),
                    world.servers[0].name(),
                    other.get(key),
                    world.servers[index].name(),
                ));
            }
        }
    }
}

/// What an honest box acknowledged, it still has, and nobody takes it for a breach of the rules.
fn check_promises(world: &World, room: &OwnedRoomId, views: &[View]) {
    let promised = |sent: &Sent| sent.room == *room && sent.server < world.honest;
    for sent in world.sent().into_iter().filter(promised) {
        let (id, from) = (&sent.event_id, world.servers[sent.server].name());
        if let Some(view) = views.get(sent.server)
            && view
                .events
                .get(id)
                .is_none_or(|event| event.before.is_none())
        {
            world.violation(format!("{id} is lost at {from}, which acknowledged it"));
        }
        for (index, view) in views.iter().enumerate() {
            let event = view.events.get(id);
            if event.is_some_and(|event| event.status == EventStatus::Rejected) {
                let name = world.servers[index].name();
                world.violation(format!("{id} of {from} is rejected at {name}"));
            }
        }
    }
}

/// What was acknowledged is everywhere, but where it came before a box was in the room.
fn check_presence(world: &World, room: &OwnedRoomId, views: &[View]) {
    let mut graph: BTreeMap<&OwnedEventId, &Known> = BTreeMap::new();
    for view in views {
        graph.extend(&view.events);
    }
    for (index, view) in views.iter().enumerate() {
        let before = before_join(world, index, view, &graph);
        for sent in world.sent().into_iter().filter(|sent| sent.room == *room) {
            let (id, name) = (&sent.event_id, world.servers[index].name());
            let from = world.servers[sent.server].name();
            if before.contains(id) {
                continue;
            }
            match view.events.get(id) {
                Some(event) if event.before.is_none() => {
                    world.violation(format!("{id} of {from} has no place at {name}"));
                }
                Some(_) => {}
                None => world.violation(format!("{id} of {from} is missing at {name}")),
            }
        }
    }
}

/// What a box's first join builds upon.
fn before_join<'v>(
    world: &World,
    index: usize,
    view: &View,
    graph: &BTreeMap<&'v OwnedEventId, &'v Known>,
) -> BTreeSet<&'v OwnedEventId> {
    let anchor = world.servers[index].user("anchor");
    let join = view
        .events
        .values()
        .filter(|event| event.sender == anchor && event.is_join && event.is_live)
        .min_by_key(|event| event.pos);
    let mut before = BTreeSet::new();
    let mut left: Vec<&OwnedEventId> = join
        .map(|join| &join.parents)
        .into_iter()
        .flatten()
        .collect();
    while let Some(id) = left.pop() {
        if let Some((id, event)) = graph.get_key_value(id)
            && before.insert(*id)
        {
            left.extend(&event.parents);
        }
    }
    before
}

/// Wherever two boxes have given an event its place, it stands in the same state and is judged the same by it.
async fn check_places(world: &World, room: &OwnedRoomId, views: &[View]) -> Result<()> {
    let mut states: BTreeMap<&OwnedEventId, (usize, bool, State)> = BTreeMap::new();
    for (index, view) in views.iter().enumerate() {
        let running = world.servers[index].running().context("the box is on")?;
        let coordinates: Vec<Coordinate> = view.events.values().filter_map(|e| e.before).collect();
        let by_coordinate = running
            .store
            .read(move |tx| {
                let mut states: HashMap<Coordinate, State> = HashMap::new();
                for at in coordinates {
                    if let Entry::Vacant(entry) = states.entry(at) {
                        let state = tx.state_map_at(at)?;
                        let state = state
                            .into_iter()
                            .map(|((event_type, key), id)| ((event_type.to_string(), key), id));
                        entry.insert(state.collect());
                    }
                }
                Ok::<_, Error>(states)
            })
            .await?;
        for (id, event) in &view.events {
            let Some(state) = event.before.and_then(|at| by_coordinate.get(&at)) else {
                continue;
            };
            let is_rejected = event.status == EventStatus::Rejected;
            let Some((other, was_rejected, before)) = states.get(id) else {
                states.insert(id, (index, is_rejected, state.clone()));
                continue;
            };
            let (one, two) = (world.servers[*other].name(), world.servers[index].name());
            if *before != *state {
                let keys: BTreeSet<_> = before.keys().chain(state.keys()).collect();
                let keys: Vec<_> = keys
                    .into_iter()
                    .filter(|key| before.get(*key) != state.get(*key))
                    .collect();
                world.violation(format!(
                    "{room}: {id} stands in other states at {one} and {two}: {keys:?}"
                ));
            } else if *was_rejected != is_rejected {
                world.violation(format!(
                    "{room}: {id} is judged otherwise at {one} and {two}"
                ));
            }
        }
    }
    Ok(())
}

/// No event is twice in a timeline.
fn check_timeline(world: &World, room: &OwnedRoomId, index: usize, view: &View) {
    let name = world.servers[index].name();
    let mut seen = BTreeSet::new();
    for id in &view.timeline {
        if !seen.insert(id) {
            world.violation(format!("{room}: {id} is twice in the timeline of {name}"));
        }
    }
}

/// The client was told of every event, since the first that it was told of.
fn check_told(world: &World, room: &OwnedRoomId, index: usize, view: &View, client: &Client) {
    let name = world.servers[index].name();
    let shown: BTreeSet<&OwnedEventId> = view.timeline.iter().collect();
    if client.gaps.contains(room) {
        return;
    }
    let Some(told) = client.seen.get(room) else {
        world.violation(format!("{room}: the client of {name} was told of nothing"));
        return;
    };
    // A room that is new to a client does not come with all of its past.
    let oldest = view
        .events
        .iter()
        .filter(|(id, event)| event.is_live && told.contains(*id))
        .filter_map(|(_, event)| event.pos)
        .min();
    for (id, event) in &view.events {
        if event.is_live && event.pos > oldest && shown.contains(id) && !told.contains(id) {
            world.violation(format!("{room}: the client of {name} was not told of {id}"));
        }
    }
}

/// The reader of each box has so many unread messages in every room, by what it was told and by what it asks for anew.
pub(crate) async fn check_unread(
    world: &World,
    clients: &[&Client],
    expected: &BTreeMap<OwnedRoomId, u64>,
) -> Result<()> {
    for (index, client) in clients.iter().enumerate() {
        let name = world.servers[index].name();
        let running = world.servers[index].running().context("the box is on")?;
        let Some(fresh) = sync(world, index, &running, None).await else {
            continue;
        };
        for (room, expected) in expected {
            let joined = fresh.rooms.join.get(room);
            let asked = joined
                .and_then(|room| room.unread_notifications.notification_count)
                .map(u64::from);
            let told = client.unread.get(room).copied();
            // What was late may have come only now.
            let fits = asked.is_some_and(|asked| asked >= *expected);
            if asked != told || !fits || (world.strict && asked != Some(*expected)) {
                world.violation(format!(
                    "{room}: the reader of {name} has {asked:?} unread, was told of {told:?}, must have {expected}"
                ));
            }
        }
    }
    Ok(())
}
