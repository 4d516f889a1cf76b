//! Lists of globs, one a line: `*` matches within a name, `**` across directories, `!` takes out again.

use anyhow::{Context, Result, bail};
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// A compiled list.
#[derive(Debug)]
pub(crate) struct Patterns {
    lines: Vec<String>,
    taken: GlobSet,
    /// For each glob of `taken`, its place in `lines`.
    places: Vec<usize>,
    refused: GlobSet,
}

impl Patterns {
    /// Compiles the lines of a list file; `name` is for errors.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let lines: Vec<String> = lines(text).map(str::to_owned).collect();
        let (mut taken, mut refused) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut places = Vec::new();
        for (place, line) in lines.iter().enumerate() {
            let context = || format!("{name}: {line} is not a pattern");
            if let Some(pattern) = line.strip_prefix('!') {
                refused.add(glob(pattern).with_context(context)?);
            } else {
                taken.add(glob(line).with_context(context)?);
                places.push(place);
            }
        }
        Ok(Self {
            lines,
            taken: taken.build()?,
            places,
            refused: refused.build()?,
        })
    }

    /// Whether a path, without a leading slash, is on the list.
    pub(crate) fn allow(&self, path: &str) -> bool {
        self.taken.is_match(path) && !self.refused.is_match(path)
    }

    /// Refuses a list with a pattern that none of the paths matches: a list that is not true is not read.
    pub(crate) fn check_used<'a>(
        &self,
        name: &str,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<()> {
        let mut used = vec![false; self.places.len()];
        for path in paths {
            for index in self.taken.matches(path) {
                used[index] = true;
            }
        }
        let stale: Vec<&str> = (used.iter().zip(&self.places))
            .filter(|(used, _)| !**used)
            .map(|(_, place)| self.lines[*place].as_str())
            .collect();
        if !stale.is_empty() {
            bail!("{name}: nothing matches {}", stale.join(", "));
        }
        Ok(())
    }
}

/// The lines of a list file, without comments and blank lines.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# comment\nusr/bin/a*\n\nusr/lib/**\n!usr/lib/x/**\n";

    #[test]
    fn stars_stay_within_a_name() {
        let patterns = Patterns::parse("list", LIST).unwrap();
        assert!(patterns.allow("usr/bin/ab"));
        assert!(!patterns.allow("usr/bin/a/b"));
        assert!(patterns.allow("usr/lib/y/z"));
        assert!(!patterns.allow("usr/lib/x/z"));
        assert!(!patterns.allow("etc/passwd"));
    }

    #[test]
    fn a_stale_pattern_is_named() {
        let patterns = Patterns::parse("list", LIST).unwrap();
        let paths = ["usr/lib/y"];
        let error = patterns.check_used("list", paths.into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "list: nothing matches usr/bin/a*");
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Patterns::parse("list", "usr/[a").unwrap_err();
        assert_eq!(error.to_string(), "list: usr/[a is not a pattern");
    }
}
