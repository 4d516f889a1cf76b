//! What the national directory answered to vouchers, and how often.

use rusqlite::params;

use crate::{ReadTx, Result, WriteTx};

/// How long an answer is kept after its voucher has ended, in milliseconds: a clock that was wrong for a while must not make
/// a voucher new.
const KEPT_AFTER: u64 = 366 * 24 * 60 * 60 * 1000;

/// One use of a voucher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoucherUse {
    /// The number of the voucher.
    pub voucher: String,
    /// The server that was enrolled by it.
    pub server_name: String,
    /// The fingerprint of its TLS key.
    pub tls_key: String,
    /// What it was answered, a JSON document.
    pub answer: String,
    /// When the voucher ends, in milliseconds since the Unix epoch.
    pub expires_ts: u64,
}

impl ReadTx<'_> {
    /// What a server was answered to a voucher when it asked with that key.
    pub fn voucher_answer(
        &self,
        voucher: &str,
        server_name: &str,
        tls_key: &str,
    ) -> Result<Option<String>> {
        let sql = "SELECT answer FROM voucher_uses WHERE voucher = ?1 AND server_name = ?2 AND tls_key = ?3";
        self.optional(sql, [voucher, server_name, tls_key], |row| row.get(0))
    }

    /// How many certificates came of a voucher.
    pub fn voucher_uses(&self, voucher: &str) -> Result<u32> {
        let sql = "SELECT COUNT(*) FROM voucher_uses WHERE voucher = ?1";
        self.one(sql, [voucher], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Takes down a use of a voucher, unless `limit` certificates came of it already. Says what the server is to be answered:
    /// what it was before, if it has asked with that key before; `None` where the voucher is used up.
    pub fn use_voucher(&mut self, used: &VoucherUse, limit: u32) -> Result<Option<String>> {
        let now = self.now_ms();
        self.execute(
            "DELETE FROM voucher_uses WHERE expires_ts < ?1",
            [now.saturating_sub(KEPT_AFTER)],
        )?;
        let before = self.voucher_answer(&used.voucher, &used.server_name, &used.tls_key)?;
        if before.is_some() {
            return Ok(before);
        }
        if self.voucher_uses(&used.voucher)? >= limit {
            return Ok(None);
        }
        self.execute(
            "INSERT INTO voucher_uses (voucher, server_name, tls_key, answer, used_ts, expires_ts)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                used.voucher,
                used.server_name,
                used.tls_key,
                used.answer,
                now,
                used.expires_ts
            ],
        )?;
        Ok(Some(used.answer.clone()))
    }
}
