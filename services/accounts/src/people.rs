//! Searching for people.

use luxchat_store::DirectoryUser;

use crate::{Accounts, Result, Session};

impl Accounts {
    /// The users whose name or id contains every word of `term`, in whatever case, best first, and whether there are more
    /// than `limit`.
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
        let mut found = self
            .store()
            .read(move |tx| {
                let mut users = tx.search_users(searcher, |user| matches(user, &words))?;
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
