//! Messages to devices: those that wait for local ones, and those on their way to other servers.

use ruma::{
    DeviceId, TransactionId, api::federation::transactions::edu::DirectDeviceContent,
    events::AnyToDeviceEvent, serde::Raw,
};
use rusqlite::params;

use crate::{Error, Position, ReadTx, Result, ServerNid, Topic, UserNid, WriteTx};

/// Received messages of other servers whose ids are forgotten in one go, at most.
const FORGET: u32 = 1_000;

/// Messages that wait for a device.
#[derive(Clone, Debug, Default)]
pub struct ToDeviceBatch {
    /// In order of arrival.
    pub events: Vec<Raw<AnyToDeviceEvent>>,
    /// Set where more are waiting: the position of the last one here. Acknowledging anything later would lose the rest.
    pub cut_at: Option<Position>,
}

/// `m.direct_to_device` EDUs on their way to a server.
#[derive(Clone, Debug, Default)]
pub struct ToDeviceOutbox {
    /// In order.
    pub edus: Vec<DirectDeviceContent>,
    /// The position of the last one, to acknowledge with.
    pub last: Option<Position>,
}

impl ReadTx<'_> {
    /// Messages that came for a device in (`after`, `until`], oldest first, at most `limit`.
    pub fn to_device_messages(
        &self,
        user: UserNid,
        device: &DeviceId,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<ToDeviceBatch> {
        let mut rows = self.all(
            "SELECT seq, json FROM to_device_inbox
             WHERE user_nid = ?1 AND device_id = ?2 AND seq > ?3 AND seq <= ?4 ORDER BY seq LIMIT ?5",
            params![user, device.as_str(), after, until, limit.saturating_add(1)],
            |row| Ok((row.get::<_, Position>(0)?, row.get::<_, String>(1)?)),
        )?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(ToDeviceBatch {
            cut_at: rows.last().filter(|_| more).map(|(seq, _)| *seq),
            events: rows
                .into_iter()
                .map(|(_, json)| {
                    Raw::from_json_string(json)
                        .map_err(|error| Error::invalid("to-device message", error))
                })
                .collect::<Result<_>>()?,
        })
    }

    /// Whether [`acknowledge_to_device`](WriteTx::acknowledge_to_device) has something to do: reading is cheaper.
    pub fn has_to_device_up_to(
        &self,
        user: UserNid,
        device: &DeviceId,
        until: Position,
    ) -> Result<bool> {
        let sql = "SELECT 1 FROM to_device_inbox
             WHERE user_nid = ?1 AND device_id = ?2 AND seq <= ?3 LIMIT 1";
        let found = self.optional(sql, params![user, device.as_str(), until], |_| Ok(()))?;
        Ok(found.is_some())
    }

    /// The oldest `limit` messages that wait for `server` in (`after`, `until`].
    pub fn to_device_outbox(
        &self,
        server: ServerNid,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<ToDeviceOutbox> {
        let rows = self.all(
            "SELECT seq, json FROM to_device_outbox
             WHERE server_nid = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
            params![server, after, until, limit],
            |row| Ok((row.get::<_, Position>(0)?, row.get::<_, String>(1)?)),
        )?;
        Ok(ToDeviceOutbox {
            last: rows.last().map(|(seq, _)| *seq),
            edus: rows
                .into_iter()
                .map(|(_, json)| {
                    serde_json::from_str(&json)
                        .map_err(|error| Error::invalid("m.direct_to_device", error))
                })
                .collect::<Result<_>>()?,
        })
    }
}

impl WriteTx<'_> {
    /// Puts messages into the inboxes of local devices. Those for devices that do not exist are dropped.
    pub fn deliver_to_device<'m>(
        &mut self,
        user: UserNid,
        messages: impl IntoIterator<Item = (&'m DeviceId, &'m Raw<AnyToDeviceEvent>)>,
    ) -> Result<()> {
        let mut seq = None;
        for (device, event) in messages {
            let seq = *seq.get_or_insert_with(|| self.next_position());
            self.execute(
                "INSERT INTO to_device_inbox (user_nid, device_id, seq, json)
                 SELECT user_nid, device_id, ?3, ?4 FROM devices WHERE user_nid = ?1 AND device_id = ?2",
                params![user, device.as_str(), seq, event.json().get()],
            )?;
        }
        if seq.is_some() {
            self.announce(Topic::User(user));
        }
        Ok(())
    }

    /// A device showed that it has everything up to `until`. Says how many messages that took away.
    pub fn acknowledge_to_device(
        &mut self,
        user: UserNid,
        device: &DeviceId,
        until: Position,
    ) -> Result<usize> {
        let sql =
            "DELETE FROM to_device_inbox WHERE user_nid = ?1 AND device_id = ?2 AND seq <= ?3";
        self.execute(sql, params![user, device.as_str(), until])
    }

    /// Queues an EDU for another server.
    pub fn queue_to_device(&mut self, server: ServerNid, edu: &DirectDeviceContent) -> Result<()> {
        let json = serde_json::to_string(edu)
            .map_err(|error| Error::invalid("m.direct_to_device", error))?;
        let seq = self.next_position();
        self.execute(
            "INSERT INTO to_device_outbox (server_nid, seq, json) VALUES (?1, ?2, ?3)",
            params![server, seq, json],
        )?;
        self.announce(Topic::Destination(server));
        Ok(())
    }

    /// `server` has everything up to `until`. Says how many messages that took away.
    pub fn acknowledge_to_device_outbox(
        &mut self,
        server: ServerNid,
        until: Position,
    ) -> Result<usize> {
        let sql = "DELETE FROM to_device_outbox WHERE server_nid = ?1 AND seq <= ?2";
        self.execute(sql, params![server, until])
    }

    /// Remembers a message of another server by its id; `false` where it came before.
    pub fn claim_received_to_device(
        &mut self,
        server: ServerNid,
        message_id: &TransactionId,
    ) -> Result<bool> {
        let now = i64::try_from(self.now_ms()).unwrap_or(i64::MAX);
        let inserted = self.execute(
            "INSERT INTO received_to_device (server_nid, message_id, received_ts) VALUES (?1, ?2, ?3)
             ON CONFLICT (server_nid, message_id) DO NOTHING",
            params![server, message_id.as_str(), now],
        )?;
        Ok(inserted > 0)
    }

    /// Forgets ids of messages received before `before_ms` (milliseconds since the Unix epoch), a bounded number at a
    /// time. Says how many.
    pub fn forget_received_to_device(&mut self, before_ms: u64) -> Result<usize> {
        let before = i64::try_from(before_ms).unwrap_or(i64::MAX);
        self.execute(
            "DELETE FROM received_to_device WHERE (server_nid, message_id) IN
                 (SELECT server_nid, message_id FROM received_to_device
                  WHERE received_ts < ?1 ORDER BY received_ts LIMIT ?2)",
            params![before, FORGET],
        )
    }

    /// Drops the oldest messages of devices that have more than `limit` waiting. Says how many.
    pub fn limit_to_device_inboxes(&mut self, limit: u32) -> Result<usize> {
        self.execute(
            "DELETE FROM to_device_inbox WHERE (user_nid, device_id, seq) IN
                 (SELECT user_nid, device_id, seq FROM
                     (SELECT user_nid, device_id, seq,
                         ROW_NUMBER() OVER (PARTITION BY user_nid, device_id ORDER BY seq DESC) AS age
                      FROM to_device_inbox) AS ranked
                  WHERE age > ?1)",
            [limit],
        )
    }

    /// Drops the oldest messages of servers for which more than `limit` wait. Says how many.
    pub fn limit_to_device_outboxes(&mut self, limit: u32) -> Result<usize> {
        self.execute(
            "DELETE FROM to_device_outbox WHERE (server_nid, seq) IN
                 (SELECT server_nid, seq FROM
                     (SELECT server_nid, seq,
                         ROW_NUMBER() OVER (PARTITION BY server_nid ORDER BY seq DESC) AS age
                      FROM to_device_outbox) AS ranked
                  WHERE age > ?1)",
            [limit],
        )
    }
}
