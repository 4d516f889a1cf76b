//! What to send to another server, read from the log of events behind its cursor.

use rusqlite::params;

use crate::{EventNid, Position, ReadTx, Result, ServerNid};

/// Outgoing events looked at in one read, so that a server that shares few rooms does not hold a reader for long.
const EXAMINED: i64 = 2_000;

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
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT seq FROM events WHERE is_outgoing = 1 AND seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2";
        let horizon = self
            .optional(sql, params![after, EXAMINED - 1], |row| row.get(0))?
            .map_or_else(|| self.position(), Ok)?;
        // An event of the server itself (a join brokered for it) it has.
        let sql = "SELECT e.seq, e.event_nid, j.json FROM events e JOIN event_json j ON j.event_nid = e.event_nid \
                   JOIN users u ON u.user_nid = e.sender_nid \
                   WHERE e.is_outgoing = 1 AND e.seq > ?2 AND e.seq <= ?3 AND u.server_nid <> ?1 AND EXISTS (\
                       SELECT 1 FROM room_servers r WHERE r.room_nid = e.room_nid AND r.server_nid = ?1 \
                       AND r.from_seq <= e.seq AND (r.until_seq IS NULL OR r.until_seq >= e.seq)) \
                   ORDER BY e.seq LIMIT ?4";
        let pdus: Vec<OutgoingPdu> =
            self.all(sql, params![server, after, horizon, limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let full = i64::try_from(pdus.len()).is_ok_and(|count| count == limit);
        let examined = match pdus.last() {
            Some((seq, ..)) if full => *seq,
            _ => horizon.max(after),
        };
        Ok((pdus, examined))
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
