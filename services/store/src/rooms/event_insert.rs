//! Writing events.

use ruma::EventId;
use rusqlite::params;

use crate::{
    Coordinate, EventNid, EventStatus, Pdu, Position, Result, RoomNid, StateKeyNid, UserNid,
    WriteTx, attention::Attention, highlights::TimelinePlace,
};

/// An event to store, with its place in the room.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// Its room.
    pub room: RoomNid,
    /// The event.
    pub pdu: &'a Pdu,
    /// What the checks on receipt said.
    pub status: EventStatus,
    /// Where clients see it.
    pub visibility: Visibility,
    /// The state before it; `None` for an outlier.
    pub before: Option<Coordinate>,
    /// The state after it; `None` for an outlier.
    pub after: Option<Coordinate>,
    /// Whether a user of this server made it.
    pub is_own: bool,
    /// Whether this server distributes it to the other servers in the room.
    pub outgoing: bool,
}

/// Where clients see an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Nowhere.
    Hidden,
    /// At the end of the timeline.
    Newest,
    /// Before the beginning of the timeline.
    Oldest,
    /// In the gap before the event at this place, behind what was put there already; nowhere if the gap is full.
    Before(i64),
}

/// What an event became in the store.
#[derive(Clone, Copy, Debug)]
pub struct Inserted {
    /// Its integer id.
    pub nid: EventNid,
    /// Its type and state key, if it is a state event.
    pub state_key: Option<StateKeyNid>,
    /// Its sender.
    pub sender: UserNid,
    /// When it was stored.
    pub seq: Position,
    /// Its place in the timeline.
    pub pos: Option<i64>,
}

impl WriteTx<'_> {
    /// Stores an event: row, JSON, auth events. An outlier that is no longer one takes its place in the graph.
    /// State, extremities and redactions are the caller's. `None` where the event already is where it should be.
    pub fn insert_event(&mut self, event: NewEvent<'_>) -> Result<Option<Inserted>> {
        let known = self.known_event(event.room, event.pdu.event_id())?;
        if known.is_some_and(|known| !known.is_outlier || event.before.is_none()) {
            return Ok(None);
        }
        let seq = self.next_position();
        let pos = match event.visibility {
            Visibility::Hidden => None,
            Visibility::Newest => Some(seq.0),
            Visibility::Oldest => {
                let oldest = self.oldest_pos(event.room)?;
                Some(oldest.map_or(-1, |oldest| oldest.min(0) - 1))
            }
            Visibility::Before(pos) => self.free_place_before(event.room, pos)?,
        };
        let (attention, notify_ord) = match event.visibility {
            Visibility::Newest => {
                let attention = self.attention(event.room, event.pdu)?;
                let count = if attention.notifies {
                    self.bump_notify_count(event.room)?
                } else {
                    self.notify_count(event.room)?
                };
                (attention, count)
            }
            Visibility::Hidden | Visibility::Oldest => (Attention::default(), 0),
            // It was there before whoever looks now: it counts as what lies behind it.
            Visibility::Before(pos) => {
                let count = self.notify_count_before(event.room, pos)?;
                (Attention::default(), count)
            }
        };
        let place = Place {
            seq,
            pos,
            notify_ord,
        };
        let sender = self.user_nid_or_insert(event.pdu.sender())?;
        let state_key = match event.pdu.state_entry() {
            Some((event_type, key)) => Some(self.state_key_nid_or_insert(&event_type, key)?),
            None => None,
        };
        let nid = match known {
            Some(known) => {
                self.place_outlier(known.nid, &event, place)?;
                if state_key.is_some() {
                    // Some may not have been here when the event first came.
                    self.insert_auth_events(event.room, known.nid, event.pdu)?;
                }
                known.nid
            }
            None => self.insert_rows(&event, place, sender, state_key)?,
        };
        if let Some(pos) = pos {
            let place = TimelinePlace {
                room: event.room,
                event: nid,
                pos,
                notify_ord,
                sender,
                is_own: event.is_own,
            };
            self.record_highlights(event.pdu, place, &attention)?;
        }
        Ok(Some(Inserted {
            nid,
            state_key,
            sender,
            seq,
            pos,
        }))
    }

    fn insert_rows(
        &mut self,
        event: &NewEvent<'_>,
        place: Place,
        sender: UserNid,
        state_key: Option<StateKeyNid>,
    ) -> Result<EventNid> {
        let pdu = event.pdu;
        // Positions are never given twice, so the first one of an event can be its id: SQLite need not be asked for one,
        // which costs a temporary table on the hottest of paths.
        let nid = EventNid(place.seq.0);
        let sql = "INSERT INTO events (event_nid, room_nid, event_id, seq, pos, depth, sender_nid, event_type, \
                   state_key_nid, origin_server_ts, status, membership, is_outgoing, before_chain_nid, before_ord, \
                   after_chain_nid, after_ord, notify_ord) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
        let params = params![
            nid,
            event.room,
            pdu.event_id().as_str(),
            place.seq,
            place.pos,
            pdu.depth(),
            sender,
            pdu.event_type().to_string(),
            state_key,
            i64::from(pdu.origin_server_ts().0),
            event.status,
            pdu.membership().map(|membership| membership.as_str()),
            event.outgoing,
            event.before.map(|at| at.chain),
            event.before.map(|at| at.ord),
            event.after.map(|at| at.chain),
            event.after.map(|at| at.ord),
            place.notify_ord,
        ];
        self.execute(sql, params)?;
        let sql = "INSERT INTO event_json (event_nid, json) VALUES (?1, ?2)";
        self.execute(sql, params![nid, pdu.json()])?;
        if state_key.is_some() {
            self.insert_auth_events(event.room, nid, pdu)?;
        }
        Ok(nid)
    }

    fn place_outlier(&mut self, nid: EventNid, event: &NewEvent<'_>, place: Place) -> Result<()> {
        let sql = "UPDATE events SET seq = ?2, pos = ?3, status = ?4, before_chain_nid = ?5, before_ord = ?6, \
                   after_chain_nid = ?7, after_ord = ?8, notify_ord = ?9, is_outgoing = ?10 WHERE event_nid = ?1";
        let params = params![
            nid,
            place.seq,
            place.pos,
            event.status,
            event.before.map(|at| at.chain),
            event.before.map(|at| at.ord),
            event.after.map(|at| at.chain),
            event.after.map(|at| at.ord),
            place.notify_ord,
            event.outgoing,
        ];
        self.execute(sql, params)?;
        Ok(())
    }

    fn known_event(&self, room: RoomNid, event_id: &EventId) -> Result<Option<KnownEvent>> {
        let sql = "SELECT event_nid, before_chain_nid IS NULL FROM events WHERE room_nid = ?1 AND event_id = ?2";
        self.optional(sql, params![room, event_id.as_str()], |row| {
            Ok(KnownEvent {
                nid: row.get(0)?,
                is_outlier: row.get(1)?,
            })
        })
    }

    pub(super) fn insert_auth_events(
        &mut self,
        room: RoomNid,
        nid: EventNid,
        pdu: &Pdu,
    ) -> Result<()> {
        // Auth events that this server does not have leave no row: a rejected event's, at most.
        let sql = "INSERT INTO event_auth (event_nid, auth_nid) \
                   SELECT ?1, event_nid FROM events WHERE room_nid = ?2 AND event_id = ?3 ON CONFLICT DO NOTHING";
        for auth_event in pdu.auth_events() {
            self.execute(sql, params![nid, room, auth_event.as_str()])?;
        }
        Ok(())
    }

    pub(super) fn bump_notify_count(&mut self, room: RoomNid) -> Result<i64> {
        let count = self.notify_count(room)? + 1;
        let sql = "UPDATE rooms SET notify_count = ?2 WHERE room_nid = ?1";
        self.execute(sql, params![room, count])?;
        Ok(count)
    }

    pub(super) fn notify_count(&self, room: RoomNid) -> Result<i64> {
        let sql = "SELECT notify_count FROM rooms WHERE room_nid = ?1";
        self.one(sql, [room], |row| row.get(0))
    }
}

#[derive(Clone, Copy)]
struct KnownEvent {
    nid: EventNid,
    is_outlier: bool,
}

/// The columns that an event gets with its place.
#[derive(Clone, Copy)]
struct Place {
    seq: Position,
    pos: Option<i64>,
    notify_ord: i64,
}

#[cfg(test)]
mod tests {
    use ruma::event_id;

    use super::*;
    use crate::rooms::test_room::{Fields, TestRoom, with_room};

    fn outlier(test: &mut TestRoom<'_>, fields: &Fields<'_>) -> Option<Inserted> {
        let new = NewEvent {
            room: test.room.nid,
            pdu: &fields.pdu(),
            status: EventStatus::Accepted,
            visibility: Visibility::Hidden,
            before: None,
            after: None,
            is_own: false,
            outgoing: false,
        };
        test.tx.insert_event(new).unwrap()
    }

    #[test]
    fn an_outlier_takes_its_place_once() {
        with_room(|mut test| {
            let fields = Fields {
                sender: "@bob:two",
                ..Fields::default()
            };
            let first = outlier(&mut test, &fields).unwrap();
            assert!(outlier(&mut test, &fields).is_none());
            let placed = test.insert(&fields, Visibility::Newest);
            assert_eq!(placed.nid, first.nid);
            let event = test
                .tx
                .event(test.room.nid, event_id!("$event"))
                .unwrap()
                .unwrap();
            assert_eq!(event.pos, Some(placed.seq.0));
            assert!(!event.is_outlier());
            assert!(outlier(&mut test, &fields).is_none(), "it keeps its place");
        });
    }

    #[test]
    fn older_events_come_before_the_oldest() {
        with_room(|mut test| {
            test.say("$live");
            for (id, pos) in [("$old", -1), ("$older", -2)] {
                let fields = Fields {
                    id,
                    ..Fields::default()
                };
                assert_eq!(test.insert(&fields, Visibility::Oldest).pos, Some(pos));
            }
            let room = test.room.nid;
            let events = test
                .tx
                .timeline_forwards(room, i64::MIN, i64::MAX, 10)
                .unwrap();
            let ids: Vec<_> = events.iter().map(|event| event.event_id.as_str()).collect();
            assert_eq!(ids, ["$older", "$old", "$live"]);
        });
    }

    #[test]
    fn auth_chains_are_walked_to_their_end() {
        with_room(|mut test| {
            let mut insert = |id, auth_events: &[&str]| {
                let fields = Fields {
                    id,
                    state_key: Some(id),
                    auth_events,
                    ..Fields::default()
                };
                test.insert(&fields, Visibility::Hidden).nid
            };
            let a = insert("$a", &[]);
            let b = insert("$b", &["$a"]);
            let c = insert("$c", &["$a", "$b", "$unknown"]);
            let chain = test.tx.auth_chain(&[c]).unwrap();
            assert_eq!(chain, [a, b].into());
            assert_eq!(test.tx.auth_chain(&[a]).unwrap(), [].into());
        });
    }
}
