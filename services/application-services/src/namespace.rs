//! Which users, aliases and rooms a service cares for.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// The compiled size of one expression, in bytes.
const MAX_COMPILED: usize = 1024 * 1024;

/// The three lists of a registration.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    pub(crate) users: Vec<Namespace>,
    pub(crate) aliases: Vec<Namespace>,
    pub(crate) rooms: Vec<Namespace>,
}

/// One entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    is_exclusive: bool,
    expression: Regex,
}

/// The lists as a file has them.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Written {
    #[serde(default)]
    users: Option<Vec<Entry>>,
    #[serde(default)]
    aliases: Option<Vec<Entry>>,
    #[serde(default)]
    rooms: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    exclusive: bool,
    regex: String,
}

impl Namespaces {
    /// # Errors
    ///
    /// Which expression is none, and why.
    pub(crate) fn compile(written: Written) -> Result<Self, String> {
        Ok(Self {
            users: compile(written.users)?,
            aliases: compile(written.aliases)?,
            rooms: compile(written.rooms)?,
        })
    }
}

fn compile(entries: Option<Vec<Entry>>) -> Result<Vec<Namespace>, String> {
    let entries = entries.unwrap_or_default().into_iter();
    let compiled = entries.map(|entry| {
        // As other servers do: it must match from the beginning on, and need not go to the end.
        let expression = RegexBuilder::new(&format!("^(?:{})", entry.regex))
            .size_limit(MAX_COMPILED)
            .build()
            .map_err(|error| format!("the regex {:?}: {error}", entry.regex))?;
        Ok(Namespace {
            is_exclusive: entry.exclusive,
            expression,
        })
    });
    compiled.collect()
}

/// Whether an id is in any entry of a list.
pub(crate) fn matches(list: &[Namespace], id: &str) -> bool {
    list.iter().any(|entry| entry.expression.is_match(id))
}

/// Whether an id is in any entry that wants it for itself.
pub(crate) fn excludes(list: &[Namespace], id: &str) -> bool {
    list.iter()
        .any(|entry| entry.is_exclusive && entry.expression.is_match(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(exclusive: bool, regex: &str) -> Result<Vec<Namespace>, String> {
        let regex = regex.to_owned();
        compile(Some(vec![Entry { exclusive, regex }]))
    }

    #[test]
    fn expressions_match_from_the_beginning() {
        let irc = list(true, "@_irc_|@other:").unwrap();
        for (id, expected) in [
            ("@_irc_bob:example.org", true),
            ("@other:example.org", true),
            ("@not_irc_bob:example.org", false),
            ("x@_irc_bob:example.org", false),
        ] {
            assert_eq!(matches(&irc, id), expected, "{id}");
            assert_eq!(excludes(&irc, id), expected, "{id}");
        }
        assert!(!excludes(&list(false, ".*").unwrap(), "@bob:example.org"));
    }

    #[test]
    fn what_is_no_expression_is_refused_by_name() {
        for bad in ["@(", "(?=x)", "a{1000}{1000}{1000}"] {
            assert!(list(true, bad).unwrap_err().contains(bad));
        }
    }
}
