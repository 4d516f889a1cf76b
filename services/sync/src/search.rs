//! Searching the rooms of a user for words.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-side-search).

mod matches;
mod page;

use std::{str::FromStr, time::Duration};

use luxchat_store::EventNid;
use ruma::api::client::search::search_events::v3;

use crate::{Error, Result, Sync, Viewer};

use self::{matches::Matches, page::Page};

/// How long a search waits for the index, and how long for somebody else who waits for it.
const CATCH_UP: Duration = Duration::from_secs(5);

impl Sync {
    /// The events with some words in the rooms that a user is or was in, as far as the user may see them. What was sent
    /// before the search began is found, unless the index is very far behind.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`].
    pub async fn search(&self, viewer: Viewer, request: v3::Request) -> Result<v3::Response> {
        let start = request
            .next_batch
            .as_deref()
            .filter(|token| !token.is_empty());
        let start = start.map(Batch::from_str).transpose()?;
        let mut categories = v3::ResultCategories::new();
        if let Some(criteria) = request.search_categories.room_events {
            self.search_index.catch_up(CATCH_UP).await?;
            let now_ms = self.store.clock().now_ms();
            categories.room_events = self
                .store
                .read(move |tx| {
                    // Later pages look at the events that the first one looked at.
                    let start = match start {
                        Some(start) => start,
                        None => Batch::first(EventNid(tx.position()?.0)),
                    };
                    let matches = Matches::find(tx, &viewer, &criteria, start.newest)?;
                    Page::new(tx, &viewer, &criteria, now_ms).write(&matches, start)
                })
                .await?;
        }
        Ok(v3::Response::new(categories))
    }

    /// Keeps the index of words up with the rooms, for ever.
    pub async fn keep_search_index(&self) {
        self.search_index.keep_up().await;
    }
}

/// Where a page of results starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    /// The newest event that the first page looked at.
    newest: EventNid,
    /// Results before this page.
    offset: usize,
}

impl Batch {
    fn first(newest: EventNid) -> Self {
        Self { newest, offset: 0 }
    }

    fn after(self, results: usize) -> String {
        format!("{}_{}", self.newest, self.offset.saturating_add(results))
    }
}

impl FromStr for Batch {
    type Err = Error;

    fn from_str(token: &str) -> Result<Self> {
        let batch = token.split_once('_').and_then(|(newest, offset)| {
            Some(Self {
                newest: EventNid(newest.parse().ok()?),
                offset: offset.parse().ok()?,
            })
        });
        batch.ok_or_else(|| Error::UnknownToken(token.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_the_next_page_starts() {
        let next = Batch::first(EventNid(9)).after(10);
        let batch: Batch = next.parse().unwrap();
        assert_eq!(
            batch,
            Batch {
                newest: EventNid(9),
                offset: 10
            }
        );
        for wrong in ["9", "9_", "_9", "a_b", "9_-1"] {
            assert!(wrong.parse::<Batch>().is_err(), "{wrong}");
        }
    }
}
