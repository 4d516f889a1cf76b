//! Imports go strictly down the layers; only the store speaks SQL.

use std::collections::HashMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Every crate of the product and its layer. A crate imports only crates of lower layers.
const LAYERS: &[(&str, u8)] = &[
    ("luxchat-appliance", 5),
    ("luxchat-image", 5),
    ("luxchat-system", 5),
    ("luxchat-admin-api", 4),
    ("luxchat-client-api", 4),
    ("luxchat-federation-api", 4),
    ("luxchat-accounts", 3),
    ("luxchat-application-services", 3),
    ("luxchat-directory", 3),
    ("luxchat-encryption", 3),
    ("luxchat-media", 3),
    ("luxchat-previews", 3),
    ("luxchat-push", 3),
    ("luxchat-rooms", 3),
    ("luxchat-sync", 3),
    ("luxchat-provision", 3),
    ("luxchat-federation", 2),
    ("luxchat-http", 2),
    ("luxchat-bundle", 1),
    ("luxchat-store", 1),
    ("luxchat-thumbnailer", 1),
];

/// Crates of one layer that stand below another of the same layer, each with its reason.
const SAME_LAYER: &[(&str, &str, &str)] = &[(
    "luxchat-federation",
    "luxchat-http",
    "peers and clients share one adapter between HTTP and ruma's types",
)];

/// Packages that one crate alone may use.
const RESERVED: &[(&str, &str)] = &[
    ("rusqlite", "luxchat-store"),
    ("tough", "luxchat-bundle, luxchat-provision"),
];

#[test]
fn imports_go_strictly_down() {
    let metadata = metadata();
    let layers: HashMap<&str, u8> = LAYERS.iter().copied().collect();
    let mut findings = Vec::new();
    for package in product(&metadata) {
        let Some(own) = layers.get(package.name.as_str()) else {
            findings.push(format!("{} has no layer: add it to LAYERS", package.name));
            continue;
        };
        for dependency in imports(package) {
            let Some(other) = layers.get(dependency) else {
                continue;
            };
            let pardoned = SAME_LAYER
                .iter()
                .any(|(from, to, _)| (*from, *to) == (package.name.as_str(), dependency));
            if other >= own && !pardoned {
                findings.push(format!(
                    "{} (layer {own}) imports {dependency} (layer {other})",
                    package.name
                ));
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn the_offline_tool_shares_only_the_bundle_with_the_box() {
    let metadata = metadata();
    let provision = product(&metadata).find(|package| package.name.as_str() == "luxchat-provision");
    let own: Vec<&str> = imports(provision.expect("the package is in the workspace"))
        .filter(|dependency| dependency.starts_with("luxchat-"))
        .collect();
    assert_eq!(own, ["luxchat-bundle"]);
}

/// The server may be replaced without what starts it, and the other way round: they meet at commands, files and units.
#[test]
fn what_is_beside_the_server_shares_only_the_bundle_with_it() {
    let metadata = metadata();
    let system = product(&metadata).find(|package| package.name.as_str() == "luxchat-system");
    let own: Vec<&str> = imports(system.expect("the package is in the workspace"))
        .filter(|dependency| dependency.starts_with("luxchat-"))
        .collect();
    assert_eq!(own, ["luxchat-bundle"]);
}

#[test]
fn reserved_packages_have_one_user() {
    let metadata = metadata();
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in imports(package) {
            for (_, owner) in RESERVED
                .iter()
                .filter(|(reserved, _)| *reserved == dependency)
            {
                if !owner
                    .split(", ")
                    .any(|owner| owner == package.name.as_str())
                {
                    findings.push(format!(
                        "{} imports {dependency}, which is {owner}'s",
                        package.name
                    ));
                }
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn versions_are_pinned_in_the_workspace() {
    let root = std::fs::read_to_string(crate::sources::root().join("Cargo.toml")).unwrap();
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            let line = format!("\n{} = ", dependency.name);
            assert!(
                root.contains(&line),
                "{} of {} is not in the root Cargo.toml",
                dependency.name,
                package.name
            );
        }
    }
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(crate::sources::root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata answers for this workspace")
}

fn product(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    let tests = metadata.workspace_root.join("tests");
    metadata
        .workspace_packages()
        .into_iter()
        .filter(move |package| !package.manifest_path.starts_with(&tests))
}

fn imports(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
}
