//! Which texts may speak of local users by name. In memory, so that a message that names nobody costs no query.

use std::collections::{BTreeSet, HashMap};

/// At most this many names are looked for in one text.
const CANDIDATES: usize = 100;

/// The local parts of local users' ids, by the first word in them. Names are only ever added: whoever finds one looks up
/// whether there (still) is such a user.
#[derive(Debug, Default)]
pub(crate) struct LocalNames {
    by_first_word: HashMap<Box<str>, Vec<Box<str>>>,
    /// Names without a word or with wildcards in them, which few are.
    others: Vec<Box<str>>,
}

impl LocalNames {
    /// Adds a local part as it stands in a user id.
    pub(crate) fn add(&mut self, localpart: &str) {
        let lower = localpart.to_lowercase();
        let names = match words(&lower).next() {
            Some(word) if !lower.contains(['*', '?']) => {
                self.by_first_word.entry(word.into()).or_default()
            }
            _ => &mut self.others,
        };
        if !names.iter().any(|name| **name == *localpart) {
            names.push(localpart.into());
        }
    }

    /// The names that a text may contain: all that it does contain are among them.
    pub(crate) fn in_text(&self, text: &str) -> BTreeSet<&str> {
        let lower = text.to_lowercase();
        let named = words(&lower)
            .filter_map(|word| self.by_first_word.get(word))
            .flatten()
            .filter(|name| lower.contains(&name.to_lowercase()));
        named
            .chain(&self.others)
            .map(|name| &**name)
            .take(CANDIDATES)
            .collect()
    }
}

/// The longest stretches of what push rules take for parts of words.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_first_word() {
        let mut names = LocalNames::default();
        for name in ["alice", "jean.dupont", "jean.martin", "-", ".dot"] {
            names.add(name);
        }
        let found = |text| names.in_text(text).into_iter().collect::<Vec<_>>();
        assert_eq!(found("hello ALICE!"), ["-", "alice"]);
        assert_eq!(found("malice and jean"), ["-"]);
        assert_eq!(
            found("@Jean.Dupont:one, a .dot"),
            ["-", ".dot", "jean.dupont"]
        );
    }
}
