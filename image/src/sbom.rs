//! What is in the image: Debian packages and crates, with versions and licences, as SPDX 2.3 JSON.
//!
//! <https://spdx.github.io/spdx-spec/v2.3/>

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

use crate::{
    apt,
    cache::Cache,
    deb::{self, Content},
    lock::Locked,
    mirror::Mirror,
    recipe::Recipe,
};

/// The machine that the image is for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Writes the document for the recipe's lock and the workspace's crates.
pub(crate) fn document(
    workspace: &Path,
    recipe: &Recipe,
    cache: &Cache,
    mirrors: &[Mirror],
) -> Result<String> {
    let locked = recipe.locked("packages.list", "packages.lock")?;
    apt::fetch(cache, mirrors, &locked)?;
    let mut packages = Vec::new();
    for package in &locked {
        let licences = debian_licences(cache, package)
            .with_context(|| format!("the licences of {}", package.name))?;
        packages.push(debian_entry(package, &licences));
    }
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.join("Cargo.toml"))
        .other_options([
            "--locked".to_owned(),
            format!("--filter-platform={PLATFORM}"),
        ])
        .exec()
        .context("asking cargo for the crates")?;
    for package in crates(&metadata, &recipe.list("programs.list")?)? {
        packages.push(crate_entry(package));
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("luxchat-image-{}", env!("CARGO_PKG_VERSION")),
        "documentNamespace": namespace(&packages),
        "creationInfo": {
            // Fixed, so that the same image has the same document.
            "created": "1970-01-01T00:00:00Z",
            "creators": ["Tool: luxchat-image"],
        },
        "documentDescribes": (packages.iter().map(|package| package["SPDXID"].clone())).collect::<Vec<_>>(),
        "packages": packages,
    });
    Ok(serde_json::to_string_pretty(&document)?)
}

fn namespace(packages: &[Value]) -> String {
    let text = Value::from(packages.to_vec()).to_string();
    format!("urn:sha256:{}", crate::files::sha256_of(text.as_bytes()))
}

fn debian_entry(package: &Locked, licences: &BTreeSet<String>) -> Value {
    let Locked {
        name,
        version,
        sha256,
        ..
    } = package;
    let listed: Vec<&str> = licences.iter().map(String::as_str).collect();
    json!({
        "SPDXID": spdx_id("deb", name, version),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        // Debian names licences in words of its own, which are not all SPDX's.
        "licenseDeclared": "NOASSERTION",
        "licenseConcluded": "NOASSERTION",
        "licenseComments": format!("debian/copyright: {}", listed.join(", ")),
        "copyrightText": "NOASSERTION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": sha256}],
        "externalRefs": [purl(&format!("pkg:deb/debian/{name}@{}?arch=amd64", escape(version)))],
    })
}

fn crate_entry(package: &Package) -> Value {
    let (name, version) = (package.name.as_str(), package.version.to_string());
    let licence = (package.license.as_deref())
        .unwrap_or("NOASSERTION")
        .replace('/', " OR ");
    json!({
        "SPDXID": spdx_id("crate", name, &version),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseDeclared": licence,
        "licenseConcluded": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [purl(&format!("pkg:cargo/{name}@{}", escape(&version)))],
    })
}

fn purl(locator: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": locator,
    })
}

fn spdx_id(kind: &str, name: &str, version: &str) -> String {
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let text: String = format!("{kind}-{name}-{version}")
        .chars()
        .map(clean)
        .collect();
    format!("SPDXRef-{text}")
}

/// Percent-encodes what separates the parts of a package URL.
fn escape(text: &str) -> String {
    text.replace('%', "%25")
        .replace('+', "%2B")
        .replace(':', "%3A")
        .replace('~', "%7E")
}

/// The licences that a package's copyright file names, or the word "see" and where they stand in prose.
fn debian_licences(cache: &Cache, package: &Locked) -> Result<BTreeSet<String>> {
    let suffix = "/copyright";
    let found = deb::contents(&cache.package(&package.sha256), |path| {
        let name = path
            .strip_prefix("usr/share/doc/")
            .and_then(|path| path.strip_suffix(suffix));
        name.is_some() || path == format!("usr/share/doc/{}", package.name)
    })?;
    let mut licences = BTreeSet::new();
    for (path, content) in found {
        match content {
            Content::File(bytes) if path.ends_with(suffix) => {
                licences.extend(licences_in(&String::from_utf8_lossy(&bytes)));
                if licences.is_empty() {
                    licences.insert(format!("see {path}"));
                }
            }
            Content::Link(target) if licences.is_empty() => {
                licences.insert(format!("see that of {}", target.display()));
            }
            _ => {}
        }
    }
    Ok(licences)
}

/// The short names after `License:` in a machine-readable copyright file.
fn licences_in(text: &str) -> BTreeSet<String> {
    (text.lines())
        .filter_map(|line| line.strip_prefix("License:"))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The crates that are compiled into the programs.
fn crates<'a>(metadata: &'a Metadata, programs: &[String]) -> Result<Vec<&'a Package>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo resolved nothing")?;
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut open: Vec<&PackageId> = Vec::new();
    for program in programs {
        let package = (metadata.packages.iter())
            .find(|package| package.name.as_str() == program)
            .with_context(|| format!("the workspace has no package {program}"))?;
        open.push(&package.id);
    }
    let mut closed = HashSet::new();
    while let Some(id) = open.pop() {
        if !closed.insert(id) {
            continue;
        }
        for dependency in nodes.get(id).map(|node| &node.deps[..]).unwrap_or_default() {
            let normal =
                (dependency.dep_kinds.iter()).any(|kind| kind.kind == DependencyKind::Normal);
            if normal {
                open.push(&dependency.pkg);
            }
        }
    }
    let mut packages: Vec<&Package> = (metadata.packages.iter())
        .filter(|package| closed.contains(&package.id))
        .collect();
    packages.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_read_from_machine_readable_copyright() {
        let text = "Files: *\nLicense: LGPL-2.1+\n text\nLicense: GPL-2\n\nLicense: LGPL-2.1+\n";
        let found: Vec<String> = licences_in(text).into_iter().collect();
        assert_eq!(found, ["GPL-2", "LGPL-2.1+"]);
    }

    #[test]
    fn identifiers_hold_to_the_characters_of_spdx() {
        assert_eq!(
            spdx_id("deb", "libx", "1:2~a+b"),
            "SPDXRef-deb-libx-1-2-a-b"
        );
        assert_eq!(escape("1:2~a+b"), "1%3A2%7Ea%2Bb");
    }

    #[test]
    fn the_crates_of_a_program_are_all_that_it_links() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .other_options([
                "--locked".to_owned(),
                format!("--filter-platform={PLATFORM}"),
            ])
            .exec()
            .unwrap();
        let found = crates(&metadata, &["luxchat-store".to_owned()]).unwrap();
        let has = |name: &str| found.iter().any(|package| package.name.as_str() == name);
        assert!(has("luxchat-store") && has("rusqlite"));
        assert!(!has("luxchat-appliance") && !has("clap"));
        assert!(crates(&metadata, &["nothing".to_owned()]).is_err());
    }
}
