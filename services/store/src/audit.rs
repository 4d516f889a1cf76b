//! What administrators did, in the transaction that did it: no row, no action.

use rusqlite::params;

use crate::{ReadTx, Result, WriteTx};

/// Rows kept; the oldest go first.
const KEPT: i64 = 1_000_000;

/// The longest target that is kept, in bytes.
const MAX_TARGET: usize = 1_024;

/// Something that an administrator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number: later ones have larger numbers.
    pub nid: i64,
    /// When, in milliseconds since the Unix epoch.
    pub ts: u64,
    /// Who: a user id, or the operator at the console.
    pub actor: String,
    /// What, as `noun.verb`.
    pub action: String,
    /// To what: a user, a room, a file.
    pub target: String,
}

impl ReadTx<'_> {
    /// What administrators did before entry `before` (`None`: up to now), the newest first, at most `limit`.
    pub fn audit_log(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>> {
        let sql = "SELECT audit_nid, ts, actor, action, target FROM audit_log WHERE audit_nid < ?1 \
                   ORDER BY audit_nid DESC LIMIT ?2";
        self.all(sql, params![before.unwrap_or(i64::MAX), limit], |row| {
            Ok(AuditEntry {
                nid: row.get(0)?,
                ts: row.get(1)?,
                actor: row.get(2)?,
                action: row.get(3)?,
                target: row.get(4)?,
            })
        })
    }
}

impl WriteTx<'_> {
    /// Notes what an administrator does, in the transaction that does it.
    ///
    /// `actor` is a user id or `console`, `action` a `noun.verb`, `target` what it is done to.
    pub fn audit(&self, actor: &str, action: &str, target: &str) -> Result<()> {
        let target = &target[..target.floor_char_boundary(MAX_TARGET)];
        let sql = "INSERT INTO audit_log (ts, actor, action, target) VALUES (?1, ?2, ?3, ?4) RETURNING audit_nid";
        let params = params![self.now_ms(), actor, action, target];
        let nid: i64 = self.one(sql, params, |row| row.get(0))?;
        self.execute("DELETE FROM audit_log WHERE audit_nid <= ?1", [nid - KEPT])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::{Position, migrations::migrate};

    #[test]
    fn entries_come_newest_first_and_the_oldest_are_pruned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let tx = WriteTx::new(&connection, Position::START, 7);
        tx.audit("@root:one", "user.lock", "@bob:one").unwrap();
        tx.audit("console", "room.block", &"é".repeat(MAX_TARGET))
            .unwrap();
        let all = tx.audit_log(None, 10).unwrap();
        let actions: Vec<_> = all.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["room.block", "user.lock"]);
        assert_eq!(all[0].target.len(), MAX_TARGET);
        assert_eq!((all[1].ts, all[1].actor.as_str()), (7, "@root:one"));
        assert_eq!(tx.audit_log(Some(all[0].nid), 10).unwrap(), all[1..]);

        // Far enough on, the first entry is one too many.
        tx.execute(
            "UPDATE audit_log SET audit_nid = ?1 WHERE audit_nid = 2",
            [KEPT],
        )
        .unwrap();
        tx.audit("console", "room.unblock", "!r").unwrap();
        let actions: Vec<_> = (tx.audit_log(None, 10).unwrap().into_iter())
            .map(|entry| entry.action)
            .collect();
        assert_eq!(actions, ["room.unblock", "room.block"]);
    }
}
