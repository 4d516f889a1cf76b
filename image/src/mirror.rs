//! Where packages come from: the machine's own apt sources with the release changed, or what the command line names.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

/// The release that the image is made of.
pub(crate) const RELEASE: &str = "trixie";

/// An archive and the suites of the release in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// The archive's root, without a slash at its end.
    pub(crate) uri: String,
    pub(crate) suites: Vec<String>,
}

impl Mirror {
    pub(crate) fn is_security(&self) -> bool {
        (self.suites.iter()).any(|suite| suite.ends_with("-security"))
    }
}

/// The archives that the command line names, or those of this machine's apt.
pub(crate) fn find(main: Option<&str>, security: Option<&str>) -> Result<Vec<Mirror>> {
    if let Some(main) = main {
        let mut mirrors = vec![mirror(main, &["", "-updates"])];
        mirrors.extend(security.map(|uri| mirror(uri, &["-security"])));
        return Ok(mirrors);
    }
    let etc = Path::new("/etc");
    let mirrors = of_machine(etc).context("the machine's apt sources")?;
    ensure!(
        mirrors.iter().any(|mirror| !mirror.is_security()),
        "apt on this machine names no Debian archive: name one with --mirror"
    );
    Ok(mirrors)
}

fn mirror(uri: &str, suffixes: &[&str]) -> Mirror {
    Mirror {
        uri: uri.trim_end_matches('/').to_owned(),
        suites: (suffixes.iter())
            .map(|suffix| format!("{RELEASE}{suffix}"))
            .collect(),
    }
}

fn of_machine(etc: &Path) -> Result<Vec<Mirror>> {
    let release = fs::read_to_string(etc.join("os-release"))?;
    let codename = (release.lines())
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("os-release names no VERSION_CODENAME")?
        .trim_matches('"');

    let mut files = vec![etc.join("apt/sources.list")];
    if let Ok(folder) = fs::read_dir(etc.join("apt/sources.list.d")) {
        for entry in folder {
            files.push(entry?.path());
        }
    }
    files.sort();

    let mut mirrors: Vec<Mirror> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let sources = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => one_line_sources(&text),
            Some("sources") => stanza_sources(&text),
            _ => continue,
        };
        for (uri, suites) in sources {
            let suites = of_release(&suites, codename);
            if suites.is_empty() {
                continue;
            }
            match mirrors.iter_mut().find(|known| known.uri == uri) {
                Some(known) => known.suites.extend(suites),
                None => mirrors.push(Mirror { uri, suites }),
            }
        }
    }
    for mirror in &mut mirrors {
        mirror.suites.sort();
        mirror.suites.dedup();
    }
    Ok(mirrors)
}

/// The suites of the machine's release, and those that follow it, as suites of the image's release.
fn of_release(suites: &[String], codename: &str) -> Vec<String> {
    const WANTED: [&str; 3] = ["", "-updates", "-security"];
    (suites.iter())
        .filter_map(|suite| suite.strip_prefix(codename))
        .filter(|suffix| WANTED.contains(suffix))
        .map(|suffix| format!("{RELEASE}{suffix}"))
        .collect()
}

/// `deb [options] URI SUITE COMPONENT...`
fn one_line_sources(text: &str) -> Vec<(String, Vec<String>)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb ")?.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']')?.1,
                None => rest,
            };
            let mut fields = rest.split_ascii_whitespace();
            let (uri, suite) = (fields.next()?, fields.next()?);
            fields.any(|component| component == "main").then(|| {
                let uri = uri.trim_end_matches('/').to_owned();
                (uri, vec![suite.to_owned()])
            })
        })
        .collect()
}

/// Stanzas of `Types:`, `URIs:`, `Suites:` and `Components:`.
fn stanza_sources(text: &str) -> Vec<(String, Vec<String>)> {
    let mut sources = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| -> Vec<String> {
            (stanza.lines())
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.split_ascii_whitespace().map(str::to_owned).collect())
                .unwrap_or_default()
        };
        let enabled = field("Enabled").first().is_none_or(|value| value != "no");
        let binary = field("Types").iter().any(|kind| kind == "deb");
        let main = field("Components").iter().any(|name| name == "main");
        if enabled && binary && main {
            for uri in field("URIs") {
                sources.push((uri.trim_end_matches('/').to_owned(), field("Suites")));
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Vec<Mirror> {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir_all(etc.path().join("apt/sources.list.d")).unwrap();
        fs::write(
            etc.path().join("os-release"),
            "ID=debian\nVERSION_CODENAME=bookworm\n",
        )
        .unwrap();
        for (name, text) in files {
            fs::write(etc.path().join("apt").join(name), text).unwrap();
        }
        of_machine(etc.path()).unwrap()
    }

    #[test]
    fn both_forms_of_sources_are_read_and_change_their_release() {
        let list = "deb [arch=amd64] https://mirror.example/debian/ bookworm main\n\
                    # deb https://off.example/debian bookworm main\n\
                    deb https://tools.example/ stable main\n";
        let stanzas = "Types: deb\nURIs: https://security.example/debian-security\n\
                       Suites: bookworm-security\nComponents: main\n\n\
                       Types: deb\nURIs: https://mirror.example/debian\n\
                       Suites: bookworm-updates bookworm-backports\nComponents: main contrib\n";
        let mirrors = machine(&[
            ("sources.list", list),
            ("sources.list.d/debian.sources", stanzas),
        ]);
        assert_eq!(
            mirrors,
            [
                mirror("https://mirror.example/debian", &["", "-updates"]),
                mirror("https://security.example/debian-security", &["-security"]),
            ]
        );
        assert!(!mirrors[0].is_security() && mirrors[1].is_security());
    }

    #[test]
    fn disabled_and_foreign_sources_are_left_out() {
        let stanzas = "Enabled: no\nTypes: deb\nURIs: https://a.example\nSuites: bookworm\n\
                       Components: main\n\nTypes: deb\nURIs: https://b.example\nSuites: nodistro\n\
                       Components: main\n";
        assert_eq!(machine(&[("sources.list.d/x.sources", stanzas)]), []);
    }

    #[test]
    fn the_command_line_comes_first() {
        let mirrors = find(Some("https://m.example/d/"), None).unwrap();
        assert_eq!(mirrors, [mirror("https://m.example/d", &["", "-updates"])]);
    }
}
