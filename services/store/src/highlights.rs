//! What an event that enters a timeline means to those who read the room: for whom it is a highlight, who has read by
//! sending, and which event it relates to.

use ruma::{EventId, OwnedEventId, UserId, events::room::member::MembershipState};
use rusqlite::params;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Event, EventNid, Pdu, ReadTx, Result, RoomNid, UserNid, WriteTx, attention::Attention,
};

/// Longest relation type that is indexed, in bytes.
const REL_TYPE_LENGTH: usize = 255;

/// Relations that are followed to find the thread that an event is in.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts).
const THREAD_HOPS: usize = 3;

/// Where an event has entered a room's timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimelinePlace {
    /// The room.
    pub(crate) room: RoomNid,
    /// The event.
    pub(crate) event: EventNid,
    /// Its place in the timeline.
    pub(crate) pos: i64,
    /// `rooms.notify_count` with this event.
    pub(crate) notify_ord: i64,
    /// Who sent it.
    pub(crate) sender: UserNid,
    /// Whether this server made it: then its sender has read so far.
    pub(crate) is_own: bool,
}

impl WriteTx<'_> {
    /// Notes what follows from an event that just entered the timeline, live or backfilled. Called by whatever inserts an
    /// event, once per event.
    pub(crate) fn record_highlights(
        &mut self,
        pdu: &Pdu,
        place: TimelinePlace,
        attention: &Attention,
    ) -> Result<()> {
        let content = pdu.content().get();
        let mut thread = None;
        // Searching a string costs less than parsing every content.
        if content.contains("\"m.relates_to\"") {
            thread = self.record_relation(content, place, attention.notifies)?;
        }
        // A backfilled event is old news.
        if place.pos <= 0 {
            return Ok(());
        }
        if let (Some(target), Some(membership)) = (pdu.state_key(), pdu.membership()) {
            return self.record_membership(target, membership, place);
        }
        self.record_attention(place, attention)?;
        if place.is_own && (pdu.state_key().is_none() || attention.notifies) {
            let sender = place.sender;
            match thread {
                Some(root) => self.read_thread(sender, place.room, &root, place.pos)?,
                None => self.read_main(sender, place.room, place.pos, place.notify_ord)?,
            };
        }
        Ok(())
    }

    /// Takes back what [`record_highlights`](Self::record_highlights) noted of an event whose content is taken away.
    pub(crate) fn forget_highlights(&mut self, event: &Event) -> Result<()> {
        let Some(pos) = event.pos.filter(|pos| *pos > 0) else {
            return Ok(());
        };
        let sql = "SELECT notify_ord FROM events WHERE room_nid = ?1 AND pos < ?2 ORDER BY pos DESC LIMIT 1";
        let before: Option<i64> = self.optional(sql, params![event.room, pos], |row| row.get(0))?;
        if event.notify_ord > before.unwrap_or_default() {
            let sql = "INSERT INTO redacted_notifications (room_nid, pos) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            self.execute(sql, params![event.room, pos])?;
        }
        for sql in [
            "UPDATE event_relations SET notifies = 0 WHERE room_nid = ?1 AND pos = ?2 AND thread_id IS NOT NULL",
            "DELETE FROM highlights WHERE room_nid = ?1 AND pos = ?2",
            "DELETE FROM room_highlights WHERE room_nid = ?1 AND pos = ?2",
        ] {
            self.execute(sql, params![event.room, pos])?;
        }
        Ok(())
    }

    fn record_membership(
        &mut self,
        target: &str,
        membership: &MembershipState,
        place: TimelinePlace,
    ) -> Result<()> {
        let Ok(target) = <&UserId>::try_from(target) else {
            return Ok(());
        };
        let Some(user) = self.local_user_nid(target)? else {
            return Ok(());
        };
        if *membership != MembershipState::Join {
            return self.stop_reading(user, place.room);
        }
        if self.start_reading(user, place.room, place.pos, place.notify_ord)? {
            self.follow_predecessor(user, place.room)?;
        }
        Ok(())
    }

    fn record_attention(&mut self, place: TimelinePlace, attention: &Attention) -> Result<()> {
        for user in &attention.users {
            self.execute(
                "INSERT INTO highlights (user_nid, room_nid, pos, is_extra) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
                params![user, place.room, place.pos, !attention.notifies],
            )?;
        }
        if attention.everyone {
            self.execute(
                "INSERT INTO room_highlights (room_nid, pos) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![place.room, place.pos],
            )?;
        }
        Ok(())
    }

    /// Notes which event an event relates to; says in which thread that is, if in any.
    fn record_relation(
        &mut self,
        content: &str,
        place: TimelinePlace,
        notifies: bool,
    ) -> Result<Option<OwnedEventId>> {
        let Some(relation) = relation_of(content) else {
            return Ok(None);
        };
        if relation.rel_type.len() > REL_TYPE_LENGTH {
            return Ok(None);
        }
        let (parent, rel_type) = (relation.event_id.clone(), relation.rel_type.clone());
        let thread = self.thread_of(place.room, relation)?;
        self.execute(
            "INSERT INTO event_relations (room_nid, parent_id, pos, child_nid, rel_type, thread_id, notifies)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            params![
                place.room,
                parent.as_str(),
                place.pos,
                place.event,
                rel_type,
                thread.as_deref().map(EventId::as_str),
                notifies,
            ],
        )?;
        Ok(thread)
    }
}

impl ReadTx<'_> {
    fn local_user_nid(&self, user_id: &UserId) -> Result<Option<UserNid>> {
        let sql = "SELECT user_nid FROM users WHERE user_id = ?1 AND server_nid = 1";
        self.optional(sql, [user_id.as_str()], |row| row.get(0))
    }

    /// The thread that an event with this relation is in.
    fn thread_of(&self, room: RoomNid, relation: Relation) -> Result<Option<OwnedEventId>> {
        let sql = "SELECT j.json FROM events e JOIN event_json j ON j.event_nid = e.event_nid
                   WHERE e.room_nid = ?1 AND e.event_id = ?2";
        let mut relation = relation;
        for hop in 1..=THREAD_HOPS {
            if relation.rel_type == "m.thread" {
                return Ok(Some(relation.event_id));
            }
            if hop == THREAD_HOPS {
                break;
            }
            let params = params![room, relation.event_id.as_str()];
            let json: Option<String> = self.optional(sql, params, |row| row.get(0))?;
            let Some(json) = json.filter(|json| json.contains("\"m.relates_to\"")) else {
                break;
            };
            let Ok(event) = serde_json::from_str::<Related<'_>>(&json) else {
                break;
            };
            let Some(next) = relation_of(event.content.get()) else {
                break;
            };
            relation = next;
        }
        Ok(None)
    }
}

#[derive(Deserialize)]
struct Related<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, rename = "m.relates_to")]
    relates_to: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Relation {
    rel_type: String,
    event_id: OwnedEventId,
}

/// A content's relation, where it has one in the right shape: nobody has checked the content of others.
fn relation_of(content: &str) -> Option<Relation> {
    let fields: Fields<'_> = serde_json::from_str(content).ok()?;
    serde_json::from_str(fields.relates_to?.get()).ok()
}
