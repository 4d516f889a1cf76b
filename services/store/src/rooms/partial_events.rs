//! Judging events anew that were judged while members were missing from their room's state.

use rusqlite::params;

use crate::{
    Coordinate, EventNid, EventStatus, Position, ReadTx, Result, RoomNid, Topic, WriteTx,
    highlights::TimelinePlace,
};

/// Events listed in one go.
const LISTED: i64 = 100_000;

/// An event to judge anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The event.
    pub event: EventNid,
    /// When this server stored it.
    pub seq: Position,
}

/// What an event turns out to be.
#[derive(Clone, Copy, Debug)]
pub struct Rejudged {
    /// The event.
    pub event: EventNid,
    /// What the checks say now.
    pub status: EventStatus,
    /// The state before it.
    pub before: Coordinate,
    /// The state after it.
    pub after: Coordinate,
}

impl ReadTx<'_> {
    /// The events that entered a room's graph after a position, in that order, without those that were fetched from
    /// before it: at most 100,000.
    pub fn events_to_replay(&self, room: RoomNid, after: Position) -> Result<Vec<Replayed>> {
        let sql = "SELECT event_nid, seq FROM events WHERE room_nid = ?1 AND seq > ?2 \
                   AND before_chain_nid IS NOT NULL AND (pos IS NULL OR pos >= seq) ORDER BY seq LIMIT ?3";
        self.all(sql, params![room, after, LISTED], |row| {
            Ok(Replayed {
                event: row.get(0)?,
                seq: row.get(1)?,
            })
        })
    }
}

impl WriteTx<'_> {
    /// Gives an event its new status and states. Clients no longer see one that does not pass any more; one that passes
    /// after all comes to the end of the timeline, so that nobody misses it.
    pub fn rejudge(&mut self, room: RoomNid, new: Rejudged) -> Result<()> {
        let sql = "UPDATE events SET status = ?2, before_chain_nid = ?3, before_ord = ?4, after_chain_nid = ?5, \
                   after_ord = ?6 WHERE event_nid = ?1";
        let (before, after) = (new.before, new.after);
        let params = params![
            new.event,
            new.status,
            before.chain,
            before.ord,
            after.chain,
            after.ord
        ];
        self.execute(sql, params)?;
        let event = self.event_by_nid(new.event)?;
        match (event.pos, new.status) {
            (Some(_), EventStatus::SoftFailed | EventStatus::Rejected) => {
                self.remove_from_search(room, event.nid)?;
                self.forget_highlights(&event)?;
                let sql = "DELETE FROM event_relations WHERE child_nid = ?1 AND room_nid = ?2 AND pos = ?3";
                self.execute(sql, params![event.nid, room, event.pos])?;
                let sql = "UPDATE events SET pos = NULL WHERE event_nid = ?1";
                self.execute(sql, [event.nid])?;
                Ok(())
            }
            (None, EventStatus::Accepted) => self.reveal(&event),
            _ => Ok(()),
        }
    }

    fn reveal(&mut self, event: &crate::Event) -> Result<()> {
        let pdu = event.pdu()?;
        let pos = self.next_position();
        let attention = self.attention(event.room, &pdu)?;
        let notify_ord = if attention.notifies {
            self.bump_notify_count(event.room)?
        } else {
            self.notify_count(event.room)?
        };
        let sql = "UPDATE events SET pos = ?2, notify_ord = ?3 WHERE event_nid = ?1";
        self.execute(sql, params![event.nid, pos, notify_ord])?;
        let place = TimelinePlace {
            room: event.room,
            event: event.nid,
            pos: pos.0,
            notify_ord,
            sender: event.sender,
            is_own: false,
        };
        self.record_highlights(&pdu, place, &attention)?;
        self.announce(Topic::Room(event.room));
        Ok(())
    }

    /// Gives a room other forward extremities.
    pub fn set_tips(&mut self, room: RoomNid, tips: &[EventNid]) -> Result<()> {
        self.clear_tips(room)?;
        let sql = "INSERT INTO tips (room_nid, event_nid) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        for tip in tips {
            self.execute(sql, params![room, tip])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::test_room::with_room;

    #[test]
    fn events_that_fail_go_and_those_that_pass_come_at_the_end() {
        with_room(|mut test| {
            let room = test.room.nid;
            test.set_member("$alice", "@alice:one", "join");
            let start = test.tx.next_position();
            let first = test.say("$first");
            let second = test.say("$second");
            let listed = test.tx.events_to_replay(room, start).unwrap();
            let nids: Vec<_> = listed.iter().map(|replayed| replayed.event).collect();
            assert_eq!(nids, [first.nid, second.nid]);
            let at = test.head();
            let mut judge = |event, status| {
                let new = Rejudged {
                    event,
                    status,
                    before: at,
                    after: at,
                };
                test.tx.rejudge(room, new).unwrap();
                test.tx.event_by_nid(event).unwrap()
            };
            assert_eq!(judge(first.nid, EventStatus::Rejected).pos, None);
            let again = judge(first.nid, EventStatus::Accepted);
            assert!(again.pos > second.pos);
            assert_eq!(again.seq, first.seq);
            let unchanged = judge(second.nid, EventStatus::Accepted);
            assert_eq!(unchanged.pos, second.pos);
            let listed = test.tx.events_to_replay(room, start).unwrap();
            assert_eq!(listed.len(), 2, "in the same order as before");
        });
    }
}
