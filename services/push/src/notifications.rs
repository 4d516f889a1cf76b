//! The list of what notified a user.

use std::collections::{BinaryHeap, HashMap, VecDeque};

use luxchat_store::{ClientRow, ReadState, ReadTx, RoomNid, Stretch, UserNid};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, UInt,
    events::{AnySyncTimelineEvent, room::member::MembershipState},
    push::Action,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Map, Value, value::to_raw_value};

use crate::{
    Error, Push, Result,
    evaluate::{Evaluator, PushEvent, PushRooms},
};

/// Notifications in one answer unless the client says how many.
const LIMIT: usize = 20;

/// The most that a client can ask for.
const LONGEST: usize = 100;

/// Events that one request looks at, at most: what lies further back comes with the next.
const LOOKED_AT: usize = 5_000;

/// Events of a room that are read at once.
const CHUNK: u32 = 16;

/// What part of the list to read.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The token of an earlier answer.
    pub from: Option<String>,
    /// How many notifications, at most.
    pub limit: Option<UInt>,
    /// Highlights alone.
    pub only_highlights: bool,
}

/// An event that notified a user, or would have.
#[derive(Clone, Debug)]
pub struct Notified {
    /// Its room.
    pub room_id: OwnedRoomId,
    /// The event, as clients see it.
    pub event: Raw<AnySyncTimelineEvent>,
    /// What the user's rules want to be done about it.
    pub actions: Vec<Action>,
    /// Whether the user has read it.
    pub is_read: bool,
    /// When it was sent.
    pub ts: MilliSecondsSinceUnixEpoch,
}

impl Push {
    /// The events that notified a user in the rooms that they are joined to, the newest first, and the token for more,
    /// where there may be more. Nothing is kept for this list: it is what the user's rules say today.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a token that is none of this list.
    pub async fn notifications(
        &self,
        user: UserNid,
        listing: Listing,
    ) -> Result<(Vec<Notified>, Option<String>)> {
        let before = match &listing.from {
            None => i64::MAX,
            Some(token) => token
                .parse()
                .ok()
                .filter(|before| *before > 0)
                .ok_or_else(|| Error::Invalid("from is no token of this list".to_owned()))?,
        };
        let limit = listing.limit.map_or(LIMIT, |limit| {
            usize::try_from(u64::from(limit)).map_or(LONGEST, |limit| limit.clamp(1, LONGEST))
        });
        let push = self.clone();
        self.store()
            .read(move |tx| push.list(tx, user, before, limit, listing.only_highlights))
            .await
    }

    fn list(
        &self,
        tx: &ReadTx<'_>,
        user: UserNid,
        before: i64,
        limit: usize,
        only_highlights: bool,
    ) -> Result<(Vec<Notified>, Option<String>)> {
        let rules = self.rules_of(tx, user)?;
        let mut timelines = Timelines::open(tx, user, before)?;
        let mut push_rooms = PushRooms::default();
        let mut evaluators: HashMap<RoomNid, Evaluator<'_>> = HashMap::new();
        let mut found = Vec::new();
        let mut next = None;
        for looked_at in 0.. {
            let Some((pos, room, row)) = timelines.next(tx)? else {
                next = None;
                break;
            };
            if found.len() == limit || looked_at == LOOKED_AT {
                break;
            }
            next = Some(pos);
            let Some(event) = PushEvent::new(&row) else {
                continue;
            };
            let evaluator = match evaluators.entry(room) {
                std::collections::hash_map::Entry::Occupied(held) => held.into_mut(),
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    let push_room = push_rooms.get(tx, room)?;
                    vacant.insert(Evaluator::new(tx, &rules, room, push_room)?)
                }
            };
            let verdict = evaluator.judge(&event);
            if let Some(verdict) = verdict.filter(|found| found.is_highlight || !only_highlights) {
                found.push(Notified {
                    room_id: tx.room_id(room)?,
                    event: client_event(&row)?,
                    actions: verdict.actions,
                    is_read: timelines.is_read(tx, room, pos)?,
                    ts: sent_at(&row),
                });
            }
        }
        Ok((found, next.map(|pos| pos.to_string())))
    }
}

/// The timelines of a user's rooms as one, newest events first.
struct Timelines {
    rooms: HashMap<RoomNid, RoomTimeline>,
    /// The newest place of each room that has one left.
    newest: BinaryHeap<(i64, RoomNid)>,
}

struct RoomTimeline {
    state: ReadState,
    /// The threads that events are in, by their places; read when a notification asks for it.
    threads: Option<HashMap<i64, String>>,
    rows: VecDeque<ClientRow>,
}

impl Timelines {
    fn open(tx: &ReadTx<'_>, user: UserNid, before: i64) -> Result<Self> {
        let mut timelines = Self {
            rooms: HashMap::new(),
            newest: BinaryHeap::new(),
        };
        for room in tx.rooms_of_user(user, &MembershipState::Join)? {
            let Some(mut state) = tx.read_state(user, room)? else {
                continue;
            };
            tx.read_threads(user, room, &mut state)?;
            let stretch = Stretch {
                after: state.joined,
                until: before - 1,
            };
            let rows: VecDeque<_> = tx.timeline_backward(room, stretch, 1)?.into();
            if let Some(pos) = rows.front().and_then(|row| row.pos) {
                timelines.newest.push((pos, room));
                let timeline = RoomTimeline {
                    state,
                    threads: None,
                    rows,
                };
                timelines.rooms.insert(room, timeline);
            }
        }
        Ok(timelines)
    }

    fn next(&mut self, tx: &ReadTx<'_>) -> Result<Option<(i64, RoomNid, ClientRow)>> {
        let Some((pos, room)) = self.newest.pop() else {
            return Ok(None);
        };
        let Some(timeline) = self.rooms.get_mut(&room) else {
            return Ok(None);
        };
        let Some(row) = timeline.rows.pop_front() else {
            return Ok(None);
        };
        if timeline.rows.is_empty() {
            let stretch = Stretch {
                after: timeline.state.joined,
                until: pos - 1,
            };
            timeline.rows = tx.timeline_backward(room, stretch, CHUNK)?.into();
        }
        if let Some(pos) = timeline.rows.front().and_then(|row| row.pos) {
            self.newest.push((pos, room));
        }
        Ok(Some((pos, room, row)))
    }

    fn is_read(&mut self, tx: &ReadTx<'_>, room: RoomNid, pos: i64) -> Result<bool> {
        let Some(timeline) = self.rooms.get_mut(&room) else {
            return Ok(true);
        };
        if timeline.threads.is_none() {
            let events = tx.thread_events(room, timeline.state.all)?;
            let threads = events.into_iter().map(|event| (event.pos, event.root));
            timeline.threads = Some(threads.collect());
        }
        let thread = timeline
            .threads
            .as_ref()
            .and_then(|threads| threads.get(&pos));
        Ok(timeline.state.is_read(pos, thread.map(String::as_str)))
    }
}

/// The fields of an event that clients see.
const FIELDS: [&str; 5] = ["content", "origin_server_ts", "sender", "state_key", "type"];

fn client_event(row: &ClientRow) -> Result<Raw<AnySyncTimelineEvent>> {
    let invalid = |error: serde_json::Error| luxchat_store::Error::invalid("event", error);
    let mut event: Map<String, Value> = serde_json::from_str(&row.json).map_err(invalid)?;
    event.retain(|field, _| FIELDS.contains(&field.as_str()));
    event.insert("event_id".to_owned(), row.event_id.clone().into());
    Ok(Raw::from_json(to_raw_value(&event).map_err(invalid)?))
}

/// When an event was sent, by its sender's clock.
pub(crate) fn sent_at(row: &ClientRow) -> MilliSecondsSinceUnixEpoch {
    #[derive(Deserialize)]
    struct Event {
        origin_server_ts: MilliSecondsSinceUnixEpoch,
    }
    let event = serde_json::from_str::<Event>(&row.json);
    event.map_or(MilliSecondsSinceUnixEpoch(UInt::MIN), |event| {
        event.origin_server_ts
    })
}
