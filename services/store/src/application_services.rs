//! How far application services have been told what concerns them, and what they publish.

use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use rusqlite::{Row, params};

use crate::{
    Coordinate, Error, EventNid, Position, ReadTx, Result, RoomNid, ServerNid, UserNid, WriteTx,
};

/// What is known about sending to one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceProgress {
    /// Every event up to here is in a transaction that was made.
    pub events: Position,
    /// The number of the transaction last made.
    pub txn: u64,
    /// Its body, until the service has taken it.
    pub pending: Option<String>,
    /// Failed attempts in a row.
    pub failures: u32,
    /// When to try again, in milliseconds since the Unix epoch.
    pub retry_ts: u64,
}

/// An event in the order in which this server stored events, as far as tells whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its integer id.
    pub nid: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// When it was stored.
    pub seq: Position,
    /// Who sent it.
    pub sender: UserNid,
    /// The local user whose membership it is about.
    pub target: Option<UserNid>,
    /// The state before it; `None` for an invite to a room whose state this server does not hold.
    pub before: Option<Coordinate>,
}

impl ReadTx<'_> {
    /// The progress of a service; `None` for one that was never sent to.
    pub fn service_progress(&self, service_id: &str) -> Result<Option<ServiceProgress>> {
        let sql = "SELECT event_seq, txn, pending, failures, retry_ts FROM application_services WHERE service_id = ?1";
        self.optional(sql, [service_id], |row| {
            Ok(ServiceProgress {
                events: row.get(0)?,
                txn: row.get(1)?,
                pending: row.get(2)?,
                failures: row.get(3)?,
                retry_ts: row.get(4)?,
            })
        })
    }

    /// The live events of all rooms after a position, oldest first, and invites to rooms elsewhere; with the position up
    /// to which there are no others. At most `examined` stored events are looked at.
    pub fn logged_events(
        &self,
        after: Position,
        examined: u32,
    ) -> Result<(Vec<LoggedEvent>, Position)> {
        let sql = "SELECT event_nid FROM events WHERE event_nid > ?1 ORDER BY event_nid LIMIT 1 OFFSET ?2";
        let horizon = self
            .optional(sql, params![after, examined.saturating_sub(1)], |row| {
                row.get(0)
            })?
            .map_or_else(|| self.position(), Ok)?;
        // An event's id is the position at which it was first stored, so the table itself is the log. What was an outlier
        // first has a later position.
        let sql = "SELECT e.event_nid, e.room_nid, e.seq, e.sender_nid, u.user_nid, e.before_chain_nid, e.before_ord \
                   FROM events e \
                   LEFT JOIN state_keys k ON k.state_key_nid = e.state_key_nid AND k.event_type = 'm.room.member' \
                   LEFT JOIN users u ON u.user_id = k.state_key AND u.server_nid = ?3 \
                   WHERE e.event_nid > ?1 AND e.event_nid <= ?2 AND e.seq = e.event_nid AND e.status = 0 \
                   AND (e.pos = e.seq OR (e.pos IS NULL AND u.user_nid IS NOT NULL AND EXISTS (\
                       SELECT 1 FROM members m WHERE m.room_nid = e.room_nid AND m.user_nid = u.user_nid \
                       AND m.event_nid = e.event_nid))) \
                   UNION ALL \
                   SELECT e.event_nid, e.room_nid, e.seq, e.sender_nid, u.user_nid, e.before_chain_nid, e.before_ord \
                   FROM events e \
                   LEFT JOIN state_keys k ON k.state_key_nid = e.state_key_nid AND k.event_type = 'm.room.member' \
                   LEFT JOIN users u ON u.user_id = k.state_key AND u.server_nid = ?3 \
                   WHERE e.seq > ?1 AND e.seq <= ?2 AND e.seq <> e.event_nid AND e.pos = e.seq AND e.status = 0 \
                   ORDER BY 3";
        let events = self.all(sql, params![after, horizon, ServerNid::OWN], logged_event)?;
        Ok((events, horizon.max(after)))
    }

    /// This server's users that have (or had) something to do with a room: what they are to it, and since when.
    pub fn local_members(
        &self,
        room: RoomNid,
    ) -> Result<Vec<(UserNid, MembershipState, Position)>> {
        let sql = "SELECT m.user_nid, m.membership, m.seq FROM members m JOIN users u ON u.user_nid = m.user_nid \
                   WHERE m.room_nid = ?1 AND u.server_nid = ?2";
        self.all(sql, params![room, ServerNid::OWN], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?.into(), row.get(2)?))
        })
    }

    /// Whether a user was joined to a room at a point of its history.
    pub fn was_joined(&self, at: Coordinate, user: UserNid) -> Result<bool> {
        let sql = "SELECT k.state_key_nid FROM users u JOIN state_keys k ON k.state_key = u.user_id \
                   WHERE u.user_nid = ?1 AND k.event_type = 'm.room.member'";
        let Some(key) = self.optional(sql, [user], |row| row.get(0))? else {
            return Ok(false);
        };
        let Some(event) = self.state_nid_at(at, key)? else {
            return Ok(false);
        };
        let sql = "SELECT membership IS 'join' FROM events WHERE event_nid = ?1";
        self.one(sql, [event], |row| row.get(0))
    }

    /// This server's users that it heard of after `after`, in that order, at most `limit`.
    pub fn local_users_after(
        &self,
        after: UserNid,
        limit: u32,
    ) -> Result<Vec<(UserNid, OwnedUserId)>> {
        let sql = "SELECT user_nid, user_id FROM users WHERE server_nid = ?1 AND user_nid > ?2 \
                   ORDER BY user_nid LIMIT ?3";
        let rows = self.all(sql, params![ServerNid::OWN, after, limit], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?))
        })?;
        rows.into_iter()
            .map(|(nid, id)| {
                let id = UserId::parse(id).map_err(|error| Error::invalid("user id", error))?;
                Ok((nid, id))
            })
            .collect()
    }

    /// The rooms that services list, those with most joined users first: of one service's network, or of all.
    pub fn network_rooms(&self, of: Option<(&str, &str)>) -> Result<Vec<(RoomNid, u64)>> {
        let sql = "SELECT DISTINCT n.room_nid, (SELECT count(*) FROM members m \
                       WHERE m.room_nid = n.room_nid AND m.membership = 'join') AS joined \
                   FROM network_rooms n WHERE ?1 IS NULL OR (n.service_id = ?1 AND n.network_id = ?2) \
                   ORDER BY joined DESC, n.room_nid";
        let (service, network) = of.unzip();
        self.all(sql, params![service, network], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }
}

impl WriteTx<'_> {
    /// Lets a service hear of events from now on, where it was never sent to.
    pub fn insert_service(&mut self, service_id: &str) -> Result<()> {
        let sql = "INSERT INTO application_services (service_id, event_seq, txn) VALUES (?1, ?2, ?3) \
                   ON CONFLICT DO NOTHING";
        // A service remembers numbers for longer than a database may live.
        let (position, first_txn) = (self.position()?, self.now_ms());
        self.execute(sql, params![service_id, position, first_txn])
            .map(drop)
    }

    /// Makes a service's next transaction, with every event up to a position, and answers with its number.
    pub fn insert_service_transaction(
        &mut self,
        service_id: &str,
        events: Position,
        body: &str,
    ) -> Result<u64> {
        let sql = "UPDATE application_services SET event_seq = ?2, txn = txn + 1, pending = ?3 \
                   WHERE service_id = ?1 RETURNING txn";
        self.one(sql, params![service_id, events, body], |row| row.get(0))
    }

    /// The service has taken its transaction.
    pub fn acknowledge_service_transaction(&mut self, service_id: &str) -> Result<()> {
        let sql = "UPDATE application_services SET pending = NULL, failures = 0, retry_ts = 0 WHERE service_id = ?1";
        self.execute(sql, [service_id]).map(drop)
    }

    /// Moves a service's cursor over events that do not concern it.
    pub fn advance_service(&mut self, service_id: &str, events: Position) -> Result<()> {
        let sql = "UPDATE application_services SET event_seq = ?2 WHERE service_id = ?1";
        self.execute(sql, params![service_id, events]).map(drop)
    }

    /// Notes how many attempts in a row failed, and when to try again (milliseconds since the Unix epoch).
    pub fn set_service_failures(
        &mut self,
        service_id: &str,
        failures: u32,
        retry_ts: u64,
    ) -> Result<()> {
        let sql =
            "UPDATE application_services SET failures = ?2, retry_ts = ?3 WHERE service_id = ?1";
        self.execute(sql, params![service_id, failures, retry_ts])
            .map(drop)
    }

    /// Lists a room for a service's network, or no longer.
    pub fn set_network_room(
        &mut self,
        service_id: &str,
        network_id: &str,
        room: RoomNid,
        is_listed: bool,
    ) -> Result<()> {
        let sql = if is_listed {
            "INSERT INTO network_rooms (service_id, network_id, room_nid) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM network_rooms WHERE service_id = ?1 AND network_id = ?2 AND room_nid = ?3"
        };
        self.execute(sql, params![service_id, network_id, room])
            .map(drop)
    }
}

fn logged_event(row: &Row<'_>) -> rusqlite::Result<LoggedEvent> {
    let chain: Option<_> = row.get(5)?;
    let ord: Option<_> = row.get(6)?;
    Ok(LoggedEvent {
        nid: row.get(0)?,
        room: row.get(1)?,
        seq: row.get(2)?,
        sender: row.get(3)?,
        target: row.get(4)?,
        before: chain.zip(ord).map(|(chain, ord)| Coordinate { chain, ord }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Visibility,
        rooms::test_room::{Fields, TestRoom, with_room},
    };

    /// What the writer does when it commits.
    fn commit(test: &mut TestRoom<'_>) {
        let position = test.tx.next_position();
        let sql = "UPDATE counters SET value = ?1 WHERE name = 'position'";
        test.tx.execute(sql, [position]).unwrap();
    }

    fn ids(test: &TestRoom<'_>, after: Position, examined: u32) -> (Vec<String>, Position) {
        let (events, horizon) = test.tx.logged_events(after, examined).unwrap();
        let ids = events.iter().map(|event| test.tx.event_id(event.nid));
        (ids.map(|id| id.unwrap().to_string()).collect(), horizon)
    }

    #[test]
    fn the_log_is_read_in_pieces_and_nothing_twice() {
        with_room(|mut test| {
            test.set_member("$alice", "@alice:one", "join");
            for number in 0..5 {
                test.say(&format!("${number}"));
            }
            let old = Fields {
                id: "$old",
                ..Fields::default()
            };
            test.insert(&old, Visibility::Oldest);
            commit(&mut test);
            let (mut all, mut cursor) = (Vec::new(), Position::START);
            loop {
                let (piece, horizon) = ids(&test, cursor, 2);
                if horizon == cursor {
                    break;
                }
                all.extend(piece);
                cursor = horizon;
            }
            assert_eq!(all, ["$alice", "$0", "$1", "$2", "$3", "$4"]);
            assert_eq!(cursor, test.tx.position().unwrap());
        });
    }

    #[test]
    fn who_was_in_a_room_is_known_of_any_time() {
        with_room(|mut test| {
            test.set_member("$join", "@alice:one", "join");
            test.say("$during");
            test.set_member("$leave", "@alice:one", "leave");
            test.say("$after");
            commit(&mut test);
            let (events, _) = test.tx.logged_events(Position::START, 100).unwrap();
            let alice = test.tx.user_nid(ruma::user_id!("@alice:one")).unwrap();
            let alice = alice.unwrap();
            assert_eq!(events[0].target, Some(alice));
            let was_in: Vec<bool> = events
                .iter()
                .map(|event| test.tx.was_joined(event.before.unwrap(), alice).unwrap())
                .collect();
            assert_eq!(was_in, [false, true, true, false]);
            let members = test.tx.local_members(test.room.nid).unwrap();
            assert!(members.iter().any(|(user, membership, _)| {
                (*user, membership) == (alice, &MembershipState::Leave)
            }));
        });
    }

    #[test]
    fn a_transaction_stays_as_it_is_until_it_is_taken() {
        with_room(|mut test| {
            let tx = &mut test.tx;
            tx.insert_service("irc").unwrap();
            let first = tx.service_progress("irc").unwrap().unwrap();
            let txn = tx
                .insert_service_transaction("irc", Position(7), "{}")
                .unwrap();
            assert_eq!(txn, first.txn + 1);
            tx.set_service_failures("irc", 2, 9).unwrap();
            tx.insert_service("irc").unwrap();
            let now = tx.service_progress("irc").unwrap().unwrap();
            let expected = ServiceProgress {
                events: Position(7),
                txn,
                pending: Some("{}".to_owned()),
                failures: 2,
                retry_ts: 9,
            };
            assert_eq!(now, expected);
            tx.acknowledge_service_transaction("irc").unwrap();
            let now = tx.service_progress("irc").unwrap().unwrap();
            assert_eq!((now.pending, now.failures), (None, 0));
        });
    }
}
