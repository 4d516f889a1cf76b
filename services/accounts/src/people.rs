//! Searching for people.

use luxchat_store::DirectoryUser;

use crate::{Accounts, Result, Session};

impl Accounts {
    /// The users whose name or id contains every word of `term`, in whatever case, best first, and whether there are more
    /// than `limit`. Whom the user can find at all, the [configuration](crate::Config::search_all_users) says.
    pub async fn search_users(
        &self,
        session: &Session,
        term: &str,
        limit: usize,
    ) -> Result<(Vec<DirectoryUser>, bool)> {
        let words: Vec<String> = term
            .trim_start_matches('@')
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        if words.is_empty() {
            return Ok((Vec::new(), false));
        }
        let searcher = session.user_nid;
        let all_local = self.config().search_all_users;
        let mut found = self
            .store()
            .read(move |tx| {
                let mut users =
                    tx.search_users(searcher, all_local, |user| matches(user, &words))?;
                users.sort_by_key(|user| !starts_with(user, &words[0]));
                Ok::<_, luxchat_store::Error>(users)
            })
            .await?;
        let is_limited = found.len() > limit;
        found.truncate(limit);
        Ok((found, is_limited))
    }
}

fn matches(user: &DirectoryUser, words: &[String]) -> bool {
    let id = user.user_id.as_str().to_lowercase();
    let name = name(user);
    words
        .iter()
        .all(|word| id.contains(word) || name.contains(word))
}

fn starts_with(user: &DirectoryUser, word: &str) -> bool {
    user.user_id.localpart().to_lowercase().starts_with(word)
        || name(user)
            .split_whitespace()
            .any(|part| part.starts_with(word))
}

fn name(user: &DirectoryUser) -> String {
    user.display_name
        .as_deref()
        .unwrap_or_default()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    #[tokio::test]
    async fn people_are_found_by_any_part_of_their_name() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        for (username, name) in [
            ("bob", "Böb Müller"),
            ("carol", "Bobbie"),
            ("dave", "Émile"),
        ] {
            fixture.create(username).await;
            let user_id = format!("@{username}:example.org");
            let named =
                accounts.set_display_name(user_id.as_str().try_into().unwrap(), name.to_owned());
            named.await.unwrap();
        }
        let search = async |term: &str| -> Vec<String> {
            let (found, _) = accounts.search_users(&session, term, 10).await.unwrap();
            found
                .iter()
                .map(|user| user.user_id.localpart().to_owned())
                .collect()
        };
        assert_eq!(search("bob").await, ["bob", "carol"]);
        assert_eq!(search("MÜLLER böb").await, ["bob"]);
        assert_eq!(search("émi").await, ["dave"]);
        assert_eq!(search("@dave:example.org").await, ["dave"]);
        // The searcher is not looking for herself.
        assert!(search("alice").await.is_empty());
        assert!(search(" ").await.is_empty());

        let (found, is_limited) = accounts.search_users(&session, "example", 2).await.unwrap();
        assert_eq!((found.len(), is_limited), (2, true));
    }

    #[tokio::test]
    async fn who_is_gone_is_not_found() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        fixture.create("bob").await;
        let bob = ruma::user_id!("@bob:example.org");
        fixture.accounts.deactivate(bob, false).await.unwrap();
        let (found, _) = fixture
            .accounts
            .search_users(&session, "bob", 10)
            .await
            .unwrap();
        assert!(found.is_empty());
    }
}
