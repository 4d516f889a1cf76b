//! What ruma's own source declares, which the list of endpoints is held against: the types themselves cannot be listed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The `ruma-client-api` that this crate is built with.
pub(super) struct Source {
    /// The features that are on.
    pub(super) features: BTreeSet<String>,
    folder: PathBuf,
}

impl Source {
    pub(super) fn find() -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked", "--offline"])
            .args(["--manifest-path", manifest])
            // What was not built here need not have been downloaded.
            .arg(format!(
                "--filter-platform={}-unknown-linux-gnu",
                std::env::consts::ARCH
            ))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();

        let list = |value: &Value| value.as_array().unwrap().clone();
        let mut packages = list(&metadata["packages"]).into_iter();
        let package = packages
            .find(|package| package["name"] == "ruma-client-api")
            .unwrap();
        let mut nodes = list(&metadata["resolve"]["nodes"]).into_iter();
        let node = nodes.find(|node| node["id"] == package["id"]).unwrap();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        Self {
            features: list(&node["features"])
                .iter()
                .map(|feature| feature.as_str().unwrap().to_owned())
                .collect(),
            folder: manifest.with_file_name("src"),
        }
    }

    /// The path of every module that declares an endpoint.
    pub(super) fn modules(&self) -> BTreeSet<String> {
        let mut modules = BTreeSet::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let file = path.strip_prefix(&self.folder).unwrap().with_extension("");
                    let file = file.to_str().unwrap().replace('/', "::");
                    modules.extend(declared(&file, &fs::read_to_string(&path).unwrap()));
                }
            }
        }
        modules
    }
}

/// The modules with endpoints in a file that is the module `file`: itself, or some that it holds inline.
fn declared(file: &str, source: &str) -> Vec<String> {
    let mut inline = "";
    let mut modules = Vec::new();
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("pub mod ") {
            inline = name.trim_end_matches(" {");
        }
        if line == "metadata! {" {
            modules.push(file.to_owned());
        } else if line.trim_start() == "metadata! {" {
            modules.push(format!("{file}::{inline}"));
        }
    }
    modules
}
