use rusqlite::{Row, params};

use crate::{ReadTx, Result, WriteTx};

/// A word that lets its bearer make an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationToken {
    /// The word.
    pub token: String,
    /// How often it may be used; `None`: any number of times.
    pub uses_allowed: Option<u32>,
    /// How often it was.
    pub uses: u32,
    /// When it ends, in milliseconds since the Unix epoch; `None`: never.
    pub expires_ts: Option<u64>,
}

impl RegistrationToken {
    /// Whether it can be used at `now_ms`.
    pub fn is_valid_at(&self, now_ms: u64) -> bool {
        self.uses_allowed.is_none_or(|allowed| self.uses < allowed)
            && self.expires_ts.is_none_or(|end| now_ms < end)
    }
}

impl ReadTx<'_> {
    /// One registration token.
    pub fn registration_token(&self, token: &str) -> Result<Option<RegistrationToken>> {
        let sql = "SELECT token, uses_allowed, uses, expires_ts FROM registration_tokens WHERE token = ?1";
        self.optional(sql, [token], registration_token)
    }

    /// The registration tokens, oldest first, at most `limit`.
    pub fn registration_tokens(&self, limit: u32) -> Result<Vec<RegistrationToken>> {
        let sql = "SELECT token, uses_allowed, uses, expires_ts FROM registration_tokens \
                   ORDER BY created_ts, token LIMIT ?1";
        self.all(sql, [limit], registration_token)
    }
}

impl WriteTx<'_> {
    /// Adds a token; `false` where there is one of that name.
    pub fn insert_registration_token(
        &mut self,
        token: &str,
        uses_allowed: Option<u32>,
        expires_ts: Option<u64>,
    ) -> Result<bool> {
        let sql = "INSERT INTO registration_tokens (token, uses_allowed, expires_ts, created_ts) \
                   VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let now = self.now_ms();
        let inserted = self.execute(sql, params![token, uses_allowed, expires_ts, now])?;
        Ok(inserted == 1)
    }

    /// Changes what a token allows.
    pub fn set_registration_token_limits(
        &mut self,
        token: &str,
        uses_allowed: Option<u32>,
        expires_ts: Option<u64>,
    ) -> Result<()> {
        let sql =
            "UPDATE registration_tokens SET uses_allowed = ?2, expires_ts = ?3 WHERE token = ?1";
        self.execute(sql, params![token, uses_allowed, expires_ts])
            .map(drop)
    }

    /// Uses a token once; `false` where it is not valid (any more).
    pub fn use_registration_token(&mut self, token: &str) -> Result<bool> {
        let sql = "UPDATE registration_tokens SET uses = uses + 1 WHERE token = ?1 \
                   AND (uses_allowed IS NULL OR uses < uses_allowed) \
                   AND (expires_ts IS NULL OR expires_ts > ?2)";
        let now = self.now_ms();
        Ok(self.execute(sql, params![token, now])? == 1)
    }

    /// Deletes a token; `false` where there is none of that name.
    pub fn delete_registration_token(&mut self, token: &str) -> Result<bool> {
        let sql = "DELETE FROM registration_tokens WHERE token = ?1";
        Ok(self.execute(sql, [token])? == 1)
    }
}

fn registration_token(row: &Row<'_>) -> rusqlite::Result<RegistrationToken> {
    Ok(RegistrationToken {
        token: row.get(0)?,
        uses_allowed: row.get(1)?,
        uses: row.get(2)?,
        expires_ts: row.get(3)?,
    })
}
