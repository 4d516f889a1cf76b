//! What users reported to the operator.

use ruma::OwnedUserId;
use rusqlite::params;

use crate::{Error, ReadTx, Result, UserNid, WriteTx};

/// Reports kept; the oldest go first.
const KEPT: i64 = 100_000;

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// An event: its room, its id, its sender.
    Event {
        /// The room.
        room_id: String,
        /// The event.
        event_id: String,
        /// Who sent it.
        sender: String,
    },
    /// A room.
    Room(String),
    /// A user.
    User(String),
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its number: later ones have larger numbers.
    pub nid: i64,
    /// When, in milliseconds since the Unix epoch.
    pub ts: u64,
    /// Who reports.
    pub reporter: OwnedUserId,
    /// What.
    pub reported: Reported,
    /// Why, in the reporter's words.
    pub reason: String,
}

impl ReadTx<'_> {
    /// Reports before number `before` (`None`: up to now), the newest first, at most `limit`.
    pub fn reports(&self, before: Option<i64>, limit: u32) -> Result<Vec<Report>> {
        let sql = "SELECT r.report_nid, r.ts, u.user_id, r.room_id, r.event_id, r.user_id, r.reason FROM reports r \
                   JOIN users u ON u.user_nid = r.reporter_nid WHERE r.report_nid < ?1 \
                   ORDER BY r.report_nid DESC LIMIT ?2";
        let rows = self.all(sql, params![before.unwrap_or(i64::MAX), limit], |row| {
            let reporter: String = row.get(2)?;
            let (room_id, event_id): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
            let user_id: Option<String> = row.get(5)?;
            let reported = match (room_id, event_id) {
                (Some(room_id), Some(event_id)) => Reported::Event {
                    room_id,
                    event_id,
                    sender: user_id.unwrap_or_default(),
                },
                (Some(room_id), None) => Reported::Room(room_id),
                (None, _) => Reported::User(user_id.unwrap_or_default()),
            };
            Ok((row.get(0)?, row.get(1)?, reporter, reported, row.get(6)?))
        })?;
        rows.into_iter()
            .map(|(nid, ts, reporter, reported, reason)| {
                Ok(Report {
                    nid,
                    ts,
                    reporter: OwnedUserId::try_from(reporter)
                        .map_err(|error| Error::invalid("user id", error))?,
                    reported,
                    reason,
                })
            })
            .collect()
    }
}

impl ReadTx<'_> {
    /// How many reports there are.
    pub fn report_count(&self) -> Result<u64> {
        self.one("SELECT count(*) FROM reports", [], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Keeps a report for the operator.
    pub fn insert_report(
        &mut self,
        reporter: UserNid,
        reported: &Reported,
        reason: &str,
    ) -> Result<()> {
        let (room_id, event_id, user_id) = match reported {
            Reported::Event {
                room_id,
                event_id,
                sender,
            } => (Some(room_id), Some(event_id), Some(sender)),
            Reported::Room(room_id) => (Some(room_id), None, None),
            Reported::User(user_id) => (None, None, Some(user_id)),
        };
        let sql = "INSERT INTO reports (ts, reporter_nid, room_id, event_id, user_id, reason) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING report_nid";
        let params = params![self.now_ms(), reporter, room_id, event_id, user_id, reason];
        let nid: i64 = self.one(sql, params, |row| row.get(0))?;
        self.execute("DELETE FROM reports WHERE report_nid <= ?1", [nid - KEPT])?;
        Ok(())
    }
}
