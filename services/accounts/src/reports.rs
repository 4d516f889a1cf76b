//! What users report to the operator.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#reporting-content).

use luxchat_store::{Report, Reported};

use crate::{Accounts, Error, Result, Session};

/// The longest reason, in bytes.
const MAX_REASON: usize = 4_096;

impl Accounts {
    /// Keeps a report for the operator.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for the reason, [`Error::NotFound`] where nobody here has heard of the room or user.
    pub async fn report(
        &self,
        session: &Session,
        reported: Reported,
        reason: String,
    ) -> Result<()> {
        if reason.len() > MAX_REASON {
            return Err(Error::TooLarge("reason"));
        }
        let reporter = session.user_nid;
        self.store()
            .write(move |tx| {
                let is_known = match &reported {
                    Reported::Event { .. } => true,
                    Reported::Room(room_id) => match room_id.as_str().try_into() {
                        Ok(room_id) => tx.room_by_id(room_id)?.is_some(),
                        Err(_) => false,
                    },
                    Reported::User(user_id) => match user_id.as_str().try_into() {
                        Ok(user_id) => tx.user_nid(user_id)?.is_some(),
                        Err(_) => false,
                    },
                };
                if !is_known {
                    return Err(Error::NotFound("what is reported"));
                }
                Ok(tx.insert_report(reporter, &reported, &reason)?)
            })
            .await
    }

    /// Reports before number `before` (`None`: up to now), the newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn reports(&self, before: Option<i64>, limit: u32) -> Result<Vec<Report>> {
        Ok(self
            .store()
            .read(move |tx| tx.reports(before, limit))
            .await?)
    }
}
