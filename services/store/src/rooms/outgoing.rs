//! What to send to another server, read from the log of events behind its cursor.

use rusqlite::params;

use crate::{EventNid, Position, ReadTx, Result, RoomNid, ServerNid};

/// Outgoing events looked at in one read, so that a server that shares few rooms does not hold a reader for long.
const EXAMINED: i64 = 2_000;

/// Rooms told of at most.
const MAX_ROOMS: u32 = 100_000;

/// Whether an event `e` is to be sent to server `?1`, who sent it itself if it is a join that was brokered for it.
const CONCERNS: &str = "e.is_outgoing = 1 AND u.server_nid <> ?1 AND EXISTS (\
    SELECT 1 FROM room_servers r WHERE r.room_nid = e.room_nid AND r.server_nid = ?1 \
    AND r.from_seq <= e.seq AND (r.until_seq IS NULL OR r.until_seq >= e.seq))";

/// Position, integer id and canonical JSON of an event.
type OutgoingPdu = (Position, EventNid, String);

impl ReadTx<'_> {
    /// At most `limit` events after a cursor that this server has to send to another, in the order in which it stored
    /// them, as position, integer id and canonical JSON; and the position up to which nothing else concerns the
    /// server: its next cursor once these are delivered. It equals the snapshot's position when there is no more.
    pub fn outgoing_pdus(
        &self,
        server: ServerNid,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<OutgoingPdu>, Position)> {
        let newest = self.position()?;
        self.outgoing_in_order(server, after, newest, limit, "")
    }

    /// Whether more than `count` events that this server has to send to somebody come after a cursor.
    pub fn is_far_behind(&self, after: Position, count: u32) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE is_outgoing = 1 AND seq > ?1 LIMIT 1 OFFSET ?2)";
        self.one(sql, params![after, count], |row| row.get(0))
    }

    /// The rooms that a server was in at some time between two positions and that something happened in meanwhile, the
    /// newest first.
    pub fn outgoing_rooms(
        &self,
        server: ServerNid,
        after: Position,
        until: Position,
    ) -> Result<Vec<RoomNid>> {
        let sql = "SELECT room_nid FROM (SELECT DISTINCT room_nid, (\
                       SELECT MAX(e.pos) FROM events e WHERE e.room_nid = r.room_nid AND e.pos <= ?3) AS newest \
                   FROM room_servers r WHERE server_nid = ?1 AND from_seq <= ?3 \
                   AND (until_seq IS NULL OR until_seq > ?2)) WHERE newest > ?2 ORDER BY newest DESC LIMIT ?4";
        self.all(sql, params![server, after, until, MAX_ROOMS], |row| {
            row.get(0)
        })
    }

    /// [`outgoing_pdus`](Self::outgoing_pdus) of one room, as far as they stand in its timeline where they were stored. The
    /// cursor equals `until` when there are no more.
    pub fn outgoing_pdus_of_room(
        &self,
        server: ServerNid,
        room: RoomNid,
        after: Position,
        until: Position,
        limit: usize,
    ) -> Result<(Vec<OutgoingPdu>, Position)> {
        let sql = "SELECT pos FROM events WHERE room_nid = ?1 AND pos > ?2 AND pos <= ?3 ORDER BY pos LIMIT 1 OFFSET ?4";
        let horizon = self
            .optional(sql, params![room, after, until, EXAMINED - 1], |row| {
                row.get(0)
            })?
            .unwrap_or(until);
        let sql = format!(
            "SELECT e.seq, e.event_nid, j.json FROM events e JOIN event_json j ON j.event_nid = e.event_nid \
             JOIN users u ON u.user_nid = e.sender_nid \
             WHERE e.room_nid = ?5 AND e.pos > ?2 AND e.pos <= ?3 AND e.pos = e.seq AND {CONCERNS} \
             ORDER BY e.pos LIMIT ?4"
        );
        let count = i64::try_from(limit).unwrap_or(i64::MAX);
        let params = params![server, after, horizon, count, room];
        let pdus = self.all(&sql, params, outgoing)?;
        let examined = reached(&pdus, limit, horizon);
        Ok((pdus, examined))
    }

    /// [`outgoing_pdus`](Self::outgoing_pdus) up to a position that
    /// [`outgoing_pdus_of_room`](Self::outgoing_pdus_of_room) does not tell of.
    pub fn outgoing_pdus_out_of_line(
        &self,
        server: ServerNid,
        after: Position,
        until: Position,
        limit: usize,
    ) -> Result<(Vec<OutgoingPdu>, Position)> {
        let out_of_line = "AND (e.pos IS NULL OR e.pos <> e.seq)";
        self.outgoing_in_order(server, after, until, limit, out_of_line)
    }

    fn outgoing_in_order(
        &self,
        server: ServerNid,
        after: Position,
        until: Position,
        limit: usize,
        filter: &str,
    ) -> Result<(Vec<OutgoingPdu>, Position)> {
        let sql = "SELECT seq FROM events WHERE is_outgoing = 1 AND seq > ?1 AND seq <= ?3 ORDER BY seq LIMIT 1 OFFSET ?2";
        let horizon = self
            .optional(sql, params![after, EXAMINED - 1, until], |row| row.get(0))?
            .unwrap_or(until);
        let sql = format!(
            "SELECT e.seq, e.event_nid, j.json FROM events e JOIN event_json j ON j.event_nid = e.event_nid \
             JOIN users u ON u.user_nid = e.sender_nid \
             WHERE e.seq > ?2 AND e.seq <= ?3 AND {CONCERNS} {filter} ORDER BY e.seq LIMIT ?4"
        );
        let count = i64::try_from(limit).unwrap_or(i64::MAX);
        let pdus = self.all(&sql, params![server, after, horizon, count], outgoing)?;
        let examined = reached(&pdus, limit, horizon.max(after));
        Ok((pdus, examined))
    }
}

fn outgoing(row: &rusqlite::Row<'_>) -> rusqlite::Result<OutgoingPdu> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// How far a read got that was to end at `horizon`.
fn reached(pdus: &[OutgoingPdu], limit: usize, horizon: Position) -> Position {
    match pdus.last() {
        Some((seq, ..)) if pdus.len() == limit => *seq,
        _ => horizon,
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use crate::{
        Position, Visibility,
        rooms::test_room::{Fields, TestRoom, with_room},
    };

    fn sent(
        test: &mut TestRoom<'_>,
        server: &str,
        after: Position,
        limit: usize,
    ) -> (Vec<String>, Position) {
        // The writer does this when it commits.
        let position = test.tx.next_position();
        let sql = "UPDATE counters SET value = ?1 WHERE name = 'position'";
        test.tx.execute(sql, [position]).unwrap();
        let server = ruma::ServerName::parse(server).unwrap();
        let server = test.tx.server_nid(&server).unwrap().unwrap();
        let (pdus, examined) = test.tx.outgoing_pdus(server, after, limit).unwrap();
        let ids = pdus
            .iter()
            .map(|(_, nid, _)| test.tx.event_id(*nid).unwrap().to_string());
        (ids.collect(), examined)
    }

    #[test]
    fn a_server_gets_what_was_said_while_it_was_in_the_room() {
        with_room(|mut test| {
            test.set_member("$alice", "@alice:one", "join");
            test.say("$before");
            test.set_member("$bob", "@bob:two", "join");
            test.set_member("$bobby", "@bobby:two", "join");
            test.say("$during");
            test.set_member("$bobleaves", "@bob:two", "leave");
            test.say("$still");
            test.set_member("$kick", "@bobby:two", "leave");
            test.say("$after");
            // The members' events here are this server's, as kicks are; they reach those they concern.
            let (ids, _) = sent(&mut test, "two", Position::START, 100);
            assert_eq!(
                ids,
                ["$bob", "$bobby", "$during", "$bobleaves", "$still", "$kick"]
            );

            let servers = test.tx.servers_in_room(test.room.nid).unwrap();
            let names: Vec<_> = servers.iter().map(|(_, name)| name.as_str()).collect();
            assert_eq!(names, ["one"]);
        });
    }

    #[test]
    fn an_absent_server_hears_that_its_user_is_no_longer_invited() {
        with_room(|mut test| {
            test.set_member("$alice", "@alice:one", "join");
            test.set_member("$invite", "@bob:two", "invite");
            test.say("$secret");
            test.set_member("$back", "@bob:two", "leave");
            test.say("$more");
            let (ids, _) = sent(&mut test, "two", Position::START, 100);
            assert_eq!(ids, ["$back"]);
            let two = test.tx.server_nid(server_name!("two")).unwrap().unwrap();
            assert!(!test.tx.is_server_in_room(two, test.room.nid).unwrap());
        });
    }

    #[test]
    fn a_room_and_what_stands_elsewhere_are_all_there_is() {
        with_room(|mut test| {
            test.set_member("$bob", "@bob:two", "join");
            for number in 0..5 {
                test.say(&format!("${number}"));
            }
            let moved = Fields {
                id: "$moved",
                ..Fields::default()
            };
            test.insert(&moved, Visibility::Hidden);
            let (all, until) = sent(&mut test, "two", Position::START, 100);
            let two = test.tx.server_nid(server_name!("two")).unwrap().unwrap();
            let (tx, room) = (&test.tx, test.room.nid);
            let rooms = tx.outgoing_rooms(two, Position::START, until).unwrap();
            assert_eq!(rooms, [room]);
            let mut found = Vec::new();
            let mut at = Position::START;
            while at < until {
                let batch = tx.outgoing_pdus_of_room(two, room, at, until, 2);
                let (pdus, reached) = batch.unwrap();
                assert!(pdus.len() <= 2 && reached > at);
                found.extend(pdus);
                at = reached;
            }
            let rest = tx.outgoing_pdus_out_of_line(two, Position::START, until, 100);
            let (rest, reached) = rest.unwrap();
            assert_eq!((rest.len(), reached), (1, until));
            found.extend(rest);
            let ids: Vec<String> = found
                .iter()
                .map(|(_, nid, _)| tx.event_id(*nid).unwrap().to_string())
                .collect();
            assert_eq!(ids, all);
            assert!(tx.is_far_behind(Position::START, 5).unwrap());
            assert!(!tx.is_far_behind(until, 0).unwrap());
            assert!(tx.outgoing_rooms(two, until, until).unwrap().is_empty());
        });
    }

    #[test]
    fn batches_follow_each_other_without_gap() {
        with_room(|mut test| {
            test.set_member("$bob", "@bob:two", "join");
            for number in 0..5 {
                test.say(&format!("${number}"));
            }
            let of_bob = Fields {
                id: "$his",
                sender: "@bob:two",
                ..Fields::default()
            };
            test.insert(&of_bob, Visibility::Newest);
            let (first, cursor) = sent(&mut test, "two", Position::START, 4);
            let (second, cursor) = sent(&mut test, "two", cursor, 4);
            assert_eq!(first, ["$bob", "$0", "$1", "$2"]);
            assert_eq!(second, ["$3", "$4"]);
            assert_eq!(sent(&mut test, "two", cursor, 4).0, Vec::<String>::new());
        });
    }
}
