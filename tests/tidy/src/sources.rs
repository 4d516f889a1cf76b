//! What source files look like, and what must not stand in them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A file longer than this holds more than one thing.
const MAX_LINES: usize = 600;

/// Words that must not stand in Rust sources, in two halves so that this file does not find itself.
const UNFINISHED: &[(&str, &str)] = &[
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X:"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ign", "ore"),
    ("assert!(", "true)"),
];

/// Words that must not stand in any text file: hosts that a sovereign, offline build must not name.
const HOSTS: &[(&str, &str)] = &[
    ("crates.", "io/api"),
    ("deb.", "debian.org"),
    ("registry.", "npmjs"),
    ("pypi.", "org"),
    ("proxy.", "golang"),
    ("/tmp/", "bash_jobs"),
];

#[test]
fn files_are_short() {
    let long: Vec<String> = tracked("*.rs")
        .filter(|path| !path.starts_with("tests/fuzz"))
        .filter_map(|path| {
            let lines = read(&path).lines().count();
            (lines > MAX_LINES).then(|| format!("{}: {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_says_that_it_is_unfinished() {
    assert_absent(UNFINISHED, tracked("*.rs"));
}

#[test]
fn no_foreign_host_is_named() {
    let generated = [
        Path::new("Cargo.lock"),
        Path::new("tests/interop/Cargo.lock"),
    ];
    let files = tracked("*").filter(|path| {
        !generated.contains(&path.as_path())
            && path
                .file_name()
                .is_some_and(|name| name != "package-lock.json")
    });
    assert_absent(HOSTS, files);
}

#[test]
fn every_crate_inherits_the_workspace_lints() {
    // These are workspaces of their own.
    let is_elsewhere =
        |path: &PathBuf| path.starts_with("tests/interop") || path.starts_with("tests/fuzz");
    for manifest in tracked("*/Cargo.toml").filter(|path| !is_elsewhere(path)) {
        assert!(
            read(&manifest).contains("[lints]\nworkspace = true"),
            "{} has its own lints",
            manifest.display()
        );
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace root exists")
}

fn assert_absent(words: &[(&str, &str)], files: impl Iterator<Item = PathBuf>) {
    let words: Vec<String> = words
        .iter()
        .map(|(head, tail)| format!("{head}{tail}"))
        .collect();
    let mut findings = Vec::new();
    for path in files {
        let text = read(&path);
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                findings.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// The files that git tracks under a pattern, so that build output and a developer's own notes do not count.
fn tracked(pattern: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--", pattern])
        .current_dir(root())
        .output()
        .expect("git lists the tracked files");
    assert!(listing.status.success(), "git ls-files failed");
    let names = String::from_utf8(listing.stdout).expect("tracked names are UTF-8");
    assert!(!names.is_empty(), "git tracks no file under {pattern}");
    names
        .split_terminator('\0')
        .map(PathBuf::from)
        .collect::<Vec<_>>()
        .into_iter()
}

fn read(path: &Path) -> String {
    // Files deleted but not yet committed, and binary files, have nothing to say.
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}
