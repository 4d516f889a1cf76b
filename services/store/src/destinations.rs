//! How far each other server has been told what concerns it.

use ruma::{OwnedServerName, ServerName};
use rusqlite::{Row, params};

use crate::{Error, Position, ReadTx, Result, ServerNid, WriteTx};

/// Positions, one for each kind of thing that is sent behind a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Events of this server's users.
    pub pdus: Position,
    /// To-device messages.
    pub to_device: Position,
    /// Changes of this server's users' devices and cross-signing keys.
    pub device_lists: Position,
    /// Public read receipts of this server's users.
    pub receipts: Position,
}

/// What is known about sending to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Everything up to here is acknowledged.
    pub acknowledged: Reach,
    /// What the transaction on its way reaches.
    pub flying: Option<Reach>,
    /// Failed attempts in a row.
    pub failures: u32,
    /// When to try again, in milliseconds since the Unix epoch.
    pub retry_ts: u64,
}

impl ReadTx<'_> {
    /// The state of sending to `server`. One never sent to starts where it first shared a room with this server.
    pub fn destination(&self, server: ServerNid) -> Result<Destination> {
        let sql = "SELECT pdu_seq, to_device_seq, device_list_seq, receipt_seq, flying_pdu_seq, flying_to_device_seq, \
                   flying_device_list_seq, flying_receipt_seq, failures, retry_ts \
                   FROM destinations WHERE server_nid = ?1";
        if let Some(known) = self.optional(sql, [server], destination)? {
            return Ok(known);
        }
        let sql = "SELECT MIN(from_seq) - 1 FROM room_servers WHERE server_nid = ?1";
        let since: Option<Position> = self.one(sql, [server], |row| row.get(0))?;
        let since = since.map_or_else(|| self.position(), Ok)?;
        Ok(Destination {
            acknowledged: Reach {
                pdus: since,
                to_device: Position::START,
                device_lists: since,
                receipts: since,
            },
            flying: None,
            failures: 0,
            retry_ts: 0,
        })
    }

    /// Every other server that something may have to be sent to, for the start of the sender.
    pub fn destination_nids(&self) -> Result<Vec<ServerNid>> {
        self.all(
            "SELECT server_nid FROM destinations UNION SELECT server_nid FROM room_servers EXCEPT SELECT ?1",
            [ServerNid::OWN],
            |row| row.get(0),
        )
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
            .map(|(name, failures, retry_ts)| {
                let name = ServerName::parse(name)
                    .map_err(|error| Error::invalid("server name", error))?;
                Ok((name, failures, retry_ts))
            })
            .collect()
    }

    /// The server behind an id.
    pub fn server_name_of(&self, server: ServerNid) -> Result<OwnedServerName> {
        let sql = "SELECT server_name FROM servers WHERE server_nid = ?1";
        let name: String = self.one(sql, [server], |row| row.get(0))?;
        ServerName::parse(name).map_err(|error| Error::invalid("server name", error))
    }
}

impl WriteTx<'_> {
    /// Notes that a transaction is about to leave, so that it leaves again with the same bounds after a crash.
    pub fn begin_transaction(&mut self, server: ServerNid, reach: Reach) -> Result<()> {
        let acknowledged = self.destination(server)?.acknowledged;
        self.execute(
            "INSERT INTO destinations (server_nid, pdu_seq, to_device_seq, device_list_seq, receipt_seq, \
             flying_pdu_seq, flying_to_device_seq, flying_device_list_seq, flying_receipt_seq) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT (server_nid) DO UPDATE SET flying_pdu_seq = ?6, flying_to_device_seq = ?7, \
             flying_device_list_seq = ?8, flying_receipt_seq = ?9",
            params![
                server,
                acknowledged.pdus,
                acknowledged.to_device,
                acknowledged.device_lists,
                acknowledged.receipts,
                reach.pdus,
                reach.to_device,
                reach.device_lists,
                reach.receipts,
            ],
        )?;
        Ok(())
    }

    /// Moves the cursors of `server` to `reach`, ends the transaction on its way and forgets failures.
    pub fn acknowledge_transaction(&mut self, server: ServerNid, reach: Reach) -> Result<()> {
        self.execute(
            "INSERT INTO destinations (server_nid, pdu_seq, to_device_seq, device_list_seq, receipt_seq) \
             VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (server_nid) DO UPDATE SET pdu_seq = ?2, to_device_seq = ?3, device_list_seq = ?4, \
             receipt_seq = ?5, flying_pdu_seq = NULL, flying_to_device_seq = NULL, flying_device_list_seq = NULL, \
             flying_receipt_seq = NULL, failures = 0, retry_ts = 0",
            params![
                server,
                reach.pdus,
                reach.to_device,
                reach.device_lists,
                reach.receipts,
            ],
        )?;
        Ok(())
    }

    /// Notes how many attempts in a row failed, and when to try again.
    pub fn set_destination_failures(
        &mut self,
        server: ServerNid,
        failures: u32,
        retry_ts: u64,
    ) -> Result<()> {
        let acknowledged = self.destination(server)?.acknowledged;
        self.execute(
            "INSERT INTO destinations (server_nid, pdu_seq, to_device_seq, device_list_seq, receipt_seq, failures, \
             retry_ts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (server_nid) DO UPDATE SET failures = ?6, retry_ts = ?7",
            params![
                server,
                acknowledged.pdus,
                acknowledged.to_device,
                acknowledged.device_lists,
                acknowledged.receipts,
                failures,
                retry_ts,
            ],
        )?;
        Ok(())
    }
}

fn destination(row: &Row<'_>) -> rusqlite::Result<Destination> {
    let flying: Option<Position> = row.get(4)?;
    let flying = flying
        .map(|pdus| {
            Ok::<_, rusqlite::Error>(Reach {
                pdus,
                to_device: row.get(5)?,
                device_lists: row.get(6)?,
                receipts: row.get(7)?,
            })
        })
        .transpose()?;
    Ok(Destination {
        acknowledged: Reach {
            pdus: row.get(0)?,
            to_device: row.get(1)?,
            device_lists: row.get(2)?,
            receipts: row.get(3)?,
        },
        flying,
        failures: row.get(8)?,
        retry_ts: row.get(9)?,
    })
}
