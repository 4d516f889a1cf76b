//! How far each other server has been told what concerns it.

use ruma::{OwnedServerName, ServerName};
use rusqlite::{Row, params};

use crate::{Error, Position, ReadTx, Result, ServerNid, WriteTx};

/// Cursors, one for each kind of thing that is read behind one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    /// Events.
    pub pdus: Position,
    /// Changes of local users' devices and cross-signing keys.
    pub device_lists: Position,
    /// Public read receipts of local users.
    pub receipts: Position,
}

/// What is known about sending to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Everything up to here is acknowledged.
    pub cursors: Cursors,
    /// Failed attempts in a row.
    pub failures: u32,
    /// When to try again, in milliseconds since the Unix epoch.
    pub retry_ts: u64,
}

impl ReadTx<'_> {
    /// The state of sending to `server`. One never sent to starts where it first shared a room with this server.
    pub fn destination(&self, server: ServerNid) -> Result<Destination> {
        let sql = "SELECT pdu_seq, device_list_seq, receipt_seq, failures, retry_ts FROM destinations \
                   WHERE server_nid = ?1";
        if let Some(known) = self.optional(sql, [server], destination)? {
            return Ok(known);
        }
        let sql = "SELECT MIN(from_seq) - 1 FROM room_servers WHERE server_nid = ?1";
        let since: Option<Position> = self.one(sql, [server], |row| row.get(0))?;
        let since = since.map_or_else(|| self.position(), Ok)?;
        Ok(Destination {
            cursors: Cursors {
                pdus: since,
                device_lists: since,
                receipts: since,
            },
            failures: 0,
            retry_ts: 0,
        })
    }

    /// Every other server that something may have to be sent to, for the start of the sender.
    pub fn possible_destinations(&self) -> Result<Vec<ServerNid>> {
        let sql = "SELECT s.server_nid FROM servers s WHERE s.server_nid <> ?1 AND (\
                       EXISTS (SELECT 1 FROM room_servers r WHERE r.server_nid = s.server_nid) \
                       OR EXISTS (SELECT 1 FROM to_device_outbox o WHERE o.server_nid = s.server_nid))";
        self.all(sql, [ServerNid::OWN], |row| row.get(0))
    }

    /// The servers whose last attempt failed, with the number of failures in a row and the time of the next attempt in
    /// milliseconds since the Unix epoch; the worst first, at most `limit`.
    pub fn failing_destinations(&self, limit: u32) -> Result<Vec<(OwnedServerName, u32, u64)>> {
        let sql = "SELECT server_name, failures, retry_ts FROM destinations JOIN servers USING (server_nid) \
                   WHERE failures > 0 ORDER BY failures DESC, server_name LIMIT ?1";
        let rows = self.all(sql, [limit], |row| {
            let name: String = row.get(0)?;
            Ok((name, row.get(1)?, row.get(2)?))
        })?;
        rows.into_iter()
            .map(|(name, failures, retry_ts)| Ok((parse_name(name)?, failures, retry_ts)))
            .collect()
    }

    /// The server behind an id.
    pub fn server_name_of(&self, server: ServerNid) -> Result<OwnedServerName> {
        let sql = "SELECT server_name FROM servers WHERE server_nid = ?1";
        parse_name(self.one(sql, [server], |row| row.get(0))?)
    }
}

impl WriteTx<'_> {
    /// Moves the cursors of `server` and forgets its failures.
    pub fn advance_destination(&mut self, server: ServerNid, cursors: Cursors) -> Result<()> {
        self.execute(
            "INSERT INTO destinations (server_nid, pdu_seq, device_list_seq, receipt_seq) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (server_nid) DO UPDATE SET pdu_seq = ?2, device_list_seq = ?3, receipt_seq = ?4, \
             failures = 0, retry_ts = 0",
            params![server, cursors.pdus, cursors.device_lists, cursors.receipts],
        )?;
        Ok(())
    }

    /// Notes how many attempts in a row failed, and when to try again (milliseconds since the Unix epoch).
    pub fn set_destination_failures(
        &mut self,
        server: ServerNid,
        failures: u32,
        retry_ts: u64,
    ) -> Result<()> {
        let cursors = self.destination(server)?.cursors;
        self.execute(
            "INSERT INTO destinations (server_nid, pdu_seq, device_list_seq, receipt_seq, failures, retry_ts) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (server_nid) DO UPDATE SET failures = ?5, retry_ts = ?6",
            params![
                server,
                cursors.pdus,
                cursors.device_lists,
                cursors.receipts,
                failures,
                retry_ts,
            ],
        )?;
        Ok(())
    }
}

fn destination(row: &Row<'_>) -> rusqlite::Result<Destination> {
    Ok(Destination {
        cursors: Cursors {
            pdus: row.get(0)?,
            device_lists: row.get(1)?,
            receipts: row.get(2)?,
        },
        failures: row.get(3)?,
        retry_ts: row.get(4)?,
    })
}

fn parse_name(name: String) -> Result<OwnedServerName> {
    ServerName::parse(name).map_err(|error| Error::invalid("server name", error))
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use rusqlite::Connection;

    use super::*;
    use crate::{migrations::migrate, names};

    fn with_tx(test: impl FnOnce(WriteTx<'_>)) {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        names::claim(&connection, server_name!("own.lu")).unwrap();
        test(WriteTx::new(&connection, Position::START, 1_000));
    }

    fn cursors(at: i64) -> Cursors {
        Cursors {
            pdus: Position(at),
            device_lists: Position(at),
            receipts: Position(at),
        }
    }

    #[test]
    fn cursors_stay_through_failures_and_clear_them_when_they_move() {
        with_tx(|mut tx| {
            let peer = tx.server_nid_or_insert(server_name!("peer.lu")).unwrap();
            tx.advance_destination(peer, cursors(5)).unwrap();
            tx.set_destination_failures(peer, 3, 9_000).unwrap();
            let known = tx.destination(peer).unwrap();
            assert_eq!(known.cursors, cursors(5));
            assert_eq!((known.failures, known.retry_ts), (3, 9_000));
            let failing = tx.failing_destinations(10).unwrap();
            assert_eq!(failing, [(server_name!("peer.lu").to_owned(), 3, 9_000)]);

            tx.advance_destination(peer, cursors(7)).unwrap();
            let known = tx.destination(peer).unwrap();
            assert_eq!((known.cursors, known.failures), (cursors(7), 0));
            assert!(tx.failing_destinations(10).unwrap().is_empty());
        });
    }

    #[test]
    fn a_server_that_shares_nothing_starts_now_and_is_no_destination() {
        with_tx(|mut tx| {
            let peer = tx.server_nid_or_insert(server_name!("peer.lu")).unwrap();
            let known = tx.destination(peer).unwrap();
            assert_eq!(known.cursors, cursors(0));
            assert!(tx.possible_destinations().unwrap().is_empty());
            assert_eq!(tx.server_name_of(peer).unwrap(), "peer.lu");
        });
    }
}
