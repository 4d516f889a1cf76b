//! Filters that clients name by number afterwards.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#filtering).

use serde_json::{Map, Value, value::RawValue};

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
        filter: &Map<String, Value>,
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

    /// A filter that the session's user has made, as they wrote it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn filter(&self, session: &Session, filter_id: &str) -> Result<Box<RawValue>> {
        let id: i64 = filter_id.parse().map_err(|_| Error::NotFound("filter"))?;
        let user = session.user_nid;
        let definition = self
            .store()
            .read(move |tx| tx.filter(user, id))
            .await?
            .ok_or(Error::NotFound("filter"))?;
        RawValue::from_string(definition).map_err(|error| Error::Invalid {
            what: "stored filter",
            why: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn the_same_filter_has_the_same_id() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let filter = |limit: u32| json!({ "room": { "timeline": { "limit": limit } } });
        let create = async |limit| {
            accounts
                .create_filter(&session, filter(limit).as_object().unwrap())
                .await
                .unwrap()
        };
        let first = create(1).await;
        assert_ne!(first, create(2).await);
        assert_eq!(first, create(1).await);
        let found = accounts.filter(&session, &first).await.unwrap();
        assert_eq!(found.get(), filter(1).to_string());
        for id in ["17", "nonsense", "-1"] {
            let missing = accounts.filter(&session, id).await;
            assert!(matches!(missing, Err(Error::NotFound("filter"))));
        }
    }
}
