//! Filters that clients name by number afterwards.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#filtering).

use ruma::api::client::filter::FilterDefinition;

use crate::{Accounts, Error, Result, Session};

/// The most filters of one user.
const MAX_FILTERS: i64 = 1_000;

/// The largest filter, in bytes of JSON.
const MAX_DEFINITION: usize = 64 * 1024;

impl Accounts {
    /// Keeps a filter and returns its id; the same filter has the same id.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::TooMany`].
    pub async fn create_filter(
        &self,
        session: &Session,
        filter: &FilterDefinition,
    ) -> Result<String> {
        let definition = serde_json::to_string(filter).map_err(|error| Error::Invalid {
            what: "filter",
            why: error.to_string(),
        })?;
        if definition.len() > MAX_DEFINITION {
            return Err(Error::TooLarge("filter"));
        }
        let user = session.user_nid;
        self.store()
            .write(move |tx| {
                let id = tx.insert_filter(user, &definition)?;
                if id >= MAX_FILTERS {
                    return Err(Error::TooMany("filters"));
                }
                Ok(id.to_string())
            })
            .await
    }

    /// A filter that the session's user has made.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn filter(&self, session: &Session, filter_id: &str) -> Result<FilterDefinition> {
        let id: i64 = filter_id.parse().map_err(|_| Error::NotFound("filter"))?;
        let user = session.user_nid;
        let definition = self
            .store()
            .read(move |tx| tx.filter(user, id))
            .await?
            .ok_or(Error::NotFound("filter"))?;
        serde_json::from_str(&definition).map_err(|error| Error::Invalid {
            what: "stored filter",
            why: error.to_string(),
        })
    }
}
