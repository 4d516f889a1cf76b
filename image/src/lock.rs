//! The lock: which file of the archive each package is. Name, version, SHA-256 and path in the archive, one a line.

use std::{collections::HashSet, fmt::Write as _};

use anyhow::{Context, Result, bail, ensure};

use crate::patterns::lines;

/// One package, to the bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Locked {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
    /// The path below the archive's root.
    pub(crate) path: String,
}

impl Locked {
    /// Security updates lie in an archive of their own, whose pool says so.
    pub(crate) fn is_security(&self) -> bool {
        self.path.starts_with("pool/updates/")
    }
}

/// Reads a lock; `name` is for errors.
pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<Locked>> {
    let mut seen = HashSet::new();
    let mut packages = Vec::new();
    for line in lines(text) {
        let package = parse_line(line).with_context(|| format!("{name}: {line}"))?;
        ensure!(
            seen.insert(package.name.clone()),
            "{name}: {} stands there twice",
            package.name
        );
        packages.push(package);
    }
    ensure!(
        !packages.is_empty(),
        "{name} is empty: `luxchat-image lock` writes it"
    );
    Ok(packages)
}

/// Writes a lock, sorted by name so that a refresh shows only what changed.
pub(crate) fn render(mut packages: Vec<Locked>) -> String {
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text =
        String::from("# Written by `luxchat-image lock`: name, version, SHA-256, path.\n");
    for package in packages {
        let Locked {
            name,
            version,
            sha256,
            path,
        } = package;
        writeln!(text, "{name} {version} {sha256} {path}").expect("writing to a string succeeds");
    }
    text
}

fn parse_line(line: &str) -> Result<Locked> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [name, version, sha256, path] = fields[..] else {
        bail!("a line is a name, a version, a SHA-256 and a path");
    };
    ensure!(
        sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()),
        "{sha256} is not a SHA-256"
    );
    ensure!(
        path.starts_with("pool/") && !path.split('/').any(|part| part == ".."),
        "{path} is not a path in an archive's pool"
    );
    Ok(Locked {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: sha256.to_ascii_lowercase(),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Locked {
        Locked {
            name: name.to_owned(),
            version: "1:2.0-1".to_owned(),
            sha256: "ab".repeat(32),
            path: format!("pool/main/{name}.deb"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = render(vec![package("b"), package("a")]);
        assert_eq!(parse("lock", &text).unwrap(), [package("a"), package("b")]);
    }

    #[test]
    fn security_updates_are_told_by_their_path() {
        let mut update = package("a");
        assert!(!update.is_security());
        update.path = "pool/updates/main/a.deb".to_owned();
        assert!(update.is_security());
    }

    #[test]
    fn broken_lines_are_refused() {
        let hash = "ab".repeat(32);
        for (line, reason) in [
            ("a 1".to_owned(), "a line is a name"),
            ("a 1 abc pool/a.deb".to_owned(), "not a SHA-256"),
            (format!("a 1 {hash} ../a.deb"), "not a path"),
            (format!("a 1 {hash} pool/../../a.deb"), "not a path"),
            (format!("a 1 {hash} pool/a\na 1 {hash} pool/a"), "twice"),
            (String::new(), "empty"),
        ] {
            let error = format!("{:#}", parse("lock", &line).unwrap_err());
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
