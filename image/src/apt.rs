//! Debian's archive, asked through apt: what it offers now (for the lock), and the files that a lock names.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cache::Cache, files, lock::Locked, mirror::Mirror, recipe::Wanted, tools::require};

/// The keys that sign the release, as Debian's own package installs them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt's helper, which downloads as apt does: through the same proxies, with the same credentials.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// The most packages that one call downloads.
const BATCH: usize = 32;

/// apt with a state of its own: no package is installed as far as it knows, and the machine's state is not touched.
#[derive(Debug)]
pub(crate) struct Apt {
    state: PathBuf,
}

impl Apt {
    /// Fetches the current lists of the mirrors.
    pub(crate) fn update(folder: &Path, mirrors: &[Mirror]) -> Result<Self> {
        require("apt-get", "apt")?;
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing: apt-get install debian-archive-keyring"
        );
        files::fresh(folder)?;
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        files::write(&folder.join("status"), "")?;
        let mut sources = String::new();
        for mirror in mirrors {
            for suite in &mirror.suites {
                let uri = &mirror.uri;
                let line = format!("deb [signed-by={KEYRING} arch=amd64] {uri} {suite} main\n");
                sources.push_str(&line);
            }
        }
        files::write(&folder.join("sources.list"), sources)?;
        let apt = Self {
            state: folder.to_owned(),
        };
        apt.output("apt-get", &["update", "-q", "--error-on=any"])?;
        Ok(apt)
    }

    /// What the archive offers for exactly these packages.
    pub(crate) fn resolve(&self, wanted: &[Wanted]) -> Result<Vec<Locked>> {
        let mut names = Vec::new();
        for package in wanted {
            names.push(match &package.depends {
                None => package.name.clone(),
                Some(prefix) => self.dependency(&package.name, prefix)?,
            });
        }
        self.show(&names)
    }

    /// What the archive offers for these packages and all that they depend on.
    pub(crate) fn resolve_closure(&self, wanted: &[Wanted]) -> Result<Vec<Locked>> {
        let mut arguments = vec!["install", "--simulate", "-q", "--no-install-recommends"];
        arguments.extend(wanted.iter().map(|package| package.name.as_str()));
        let plan = self.output("apt-get", &arguments)?;
        let names: Vec<String> = (plan.lines())
            .filter_map(|line| line.strip_prefix("Inst "))
            .filter_map(|line| line.split_ascii_whitespace().next())
            .map(str::to_owned)
            .collect();
        self.show(&names)
    }

    fn dependency(&self, name: &str, prefix: &str) -> Result<String> {
        let text = self.output("apt-cache", &["depends", "--important", name])?;
        (text.lines())
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|package| package.starts_with(prefix))
            .map(str::to_owned)
            .with_context(|| format!("{name} depends on no package {prefix}*"))
    }

    fn show(&self, names: &[String]) -> Result<Vec<Locked>> {
        let mut arguments = vec!["show", "--no-all-versions"];
        arguments.extend(names.iter().map(String::as_str));
        let mut stanzas: HashMap<String, Locked> = (self.output("apt-cache", &arguments)?)
            .split("\n\n")
            .filter_map(stanza)
            .map(|package| (package.name.clone(), package))
            .collect();
        (names.iter())
            .map(|name| {
                (stanzas.remove(name))
                    .with_context(|| format!("the archive has no package {name}: mend the list"))
            })
            .collect()
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let state = self.state.display();
        let output = Command::new(program)
            .arg(format!("-oDir::State={state}"))
            .arg(format!("-oDir::State::status={state}/status"))
            .arg(format!("-oDir::State::lists={state}/lists"))
            .arg(format!("-oDir::Cache={state}/cache"))
            .arg(format!("-oDir::Etc::sourcelist={state}/sources.list"))
            .arg("-oDir::Etc::sourceparts=/dev/null")
            .arg("-oDir::Etc::preferencesparts=/dev/null")
            .arg("-oAPT::Sandbox::User=root")
            .arg("-oAPT::Architecture=amd64")
            .arg("-oAPT::Architectures=amd64")
            .arg("-oAcquire::Languages=none")
            .args(arguments)
            .env("LC_ALL", "C")
            .output()
            .with_context(|| format!("starting {program}"))?;
        ensure!(
            output.status.success(),
            "{program} {}: {}",
            arguments[0],
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Downloads the packages of a lock that the cache lacks, and tells how many.
pub(crate) fn fetch(cache: &Cache, mirrors: &[Mirror], packages: &[Locked]) -> Result<usize> {
    let missing: Vec<&Locked> = (packages.iter())
        .filter(|package| !cache.package(&package.sha256).exists())
        .collect();
    for batch in missing.chunks(BATCH) {
        fetch_batch(cache, mirrors, batch)?;
    }
    Ok(missing.len())
}

fn fetch_batch(cache: &Cache, mirrors: &[Mirror], packages: &[&Locked]) -> Result<()> {
    ensure!(
        Path::new(HELPER).exists(),
        "{HELPER} is missing: apt-get install apt"
    );
    let partial = cache
        .folder()
        .join(format!("partial-{}", std::process::id()));
    files::fresh(&partial)?;
    let mut command = Command::new(HELPER);
    command
        .args(["-oAPT::Sandbox::User=root", "download-file"])
        .env("LC_ALL", "C");
    for package in packages {
        let mirror = (mirrors.iter())
            .find(|mirror| mirror.is_security() == package.is_security())
            .with_context(|| {
                format!(
                    "{} is a security update, and no mirror of those is known: see --security-mirror",
                    package.name
                )
            })?;
        command
            .arg(format!("{}/{}", mirror.uri, package.path))
            .arg(partial.join(&package.sha256))
            .arg(format!("SHA256:{}", package.sha256));
    }
    let output = command
        .output()
        .with_context(|| format!("starting {HELPER}"))?;

    let mut gone = Vec::new();
    for package in packages {
        let file = partial.join(&package.sha256);
        if !file.exists() {
            gone.push(format!("{} {}", package.name, package.version));
            continue;
        }
        let found = files::sha256(&file)?;
        ensure!(
            found == package.sha256,
            "{} came with the SHA-256 {found}, and the lock says {}",
            package.name,
            package.sha256
        );
        fs::rename(&file, cache.package(&package.sha256))?;
    }
    fs::remove_dir_all(&partial)?;
    if !gone.is_empty() {
        bail!(
            "the mirror did not give {} ({}). A mirror keeps only current versions: \
             `luxchat-image lock` takes the lock on to them",
            gone.join(", "),
            last_line(&output.stderr)
        );
    }
    Ok(())
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("no reason given").trim().to_owned()
}

fn stanza(text: &str) -> Option<Locked> {
    let field = |name: &str| {
        (text.lines())
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
    };
    Some(Locked {
        name: field("Package")?,
        version: field("Version")?,
        sha256: field("SHA256")?,
        path: field("Filename")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_give_locked_packages() {
        let text = "Package: udev\nSource: systemd\nVersion: 257.1-1\nFilename: pool/u.deb\n\
                    Description: device manager\n more\nSHA256: ab\n";
        let package = stanza(text).unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("udev", "257.1-1")
        );
        assert_eq!(
            (package.path.as_str(), package.sha256.as_str()),
            ("pool/u.deb", "ab")
        );
        assert!(stanza("Package: x\n").is_none());
    }

    #[test]
    fn what_the_cache_has_is_not_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        let package = Locked {
            name: "a".to_owned(),
            version: "1".to_owned(),
            sha256: "ab".repeat(32),
            path: "pool/a.deb".to_owned(),
        };
        files::write(&cache.package(&package.sha256), "").unwrap();
        assert_eq!(fetch(&cache, &[], &[package]).unwrap(), 0);
    }
}
