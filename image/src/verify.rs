//! Two builds, compared to the bit; where they differ, down to the file.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;

use crate::artefacts::{Contents, Manifest, measure, names};

/// The most differences that are listed of one tree.
const MAX_LISTED: usize = 50;

/// What differs between two builds, in words. Empty when every artefact is the same.
pub(crate) fn differences(a: &Path, b: &Path) -> Result<Vec<String>> {
    let (first, second) = (Manifest::read(a)?, Manifest::read(b)?);
    let (files_a, files_b) = (measure(a)?, measure(b)?);
    let mut found = Vec::new();
    for (folder, manifest, files) in [(a, &first, &files_a), (b, &second, &files_b)] {
        if manifest.artefacts != *files {
            found.push(format!(
                "{}: its files are not those of its own manifest",
                folder.display()
            ));
        }
    }
    for (what, one, other) in [
        ("version", first.version, second.version),
        ("epoch", first.epoch.to_string(), second.epoch.to_string()),
        (
            "toolchain",
            first.toolchain.join(", "),
            second.toolchain.join(", "),
        ),
    ] {
        if one != other {
            found.push(format!("{what}: {one} and {other}"));
        }
    }
    found.extend(compare(&files_a, &files_b));
    if files_a.get(names::CONTENTS) != files_b.get(names::CONTENTS) {
        let (one, other) = (Contents::read(a)?, Contents::read(b)?);
        for (tree, one, other) in [
            ("root", &one.root, &other.root),
            ("initrd", &one.initrd, &other.initrd),
        ] {
            let lines = compare(one, other);
            let more = lines.len().saturating_sub(MAX_LISTED);
            let listed = lines.into_iter().take(MAX_LISTED);
            found.extend(listed.map(|line| format!("  {tree}: {line}")));
            if more > 0 {
                found.push(format!("  {tree}: and {more} more"));
            }
        }
    }
    Ok(found)
}

fn compare<T: PartialEq>(a: &BTreeMap<String, T>, b: &BTreeMap<String, T>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, one) in a {
        match b.get(name) {
            None => lines.push(format!("{name} is only in the first")),
            Some(other) if one != other => lines.push(format!("{name} differs")),
            Some(_) => {}
        }
    }
    let only = b.keys().filter(|name| !a.contains_key(*name));
    lines.extend(only.map(|name| format!("{name} is only in the second")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    fn build(folder: &Path, disk: &str, program: &str) {
        files::write(&folder.join(names::DISK), disk).unwrap();
        let contents = Contents {
            root: BTreeMap::from([("usr/bin/x".to_owned(), program.to_owned())]),
            initrd: BTreeMap::new(),
        };
        contents.write(folder).unwrap();
        let mut manifest = Manifest {
            version: "1".to_owned(),
            epoch: 1,
            root_hash: String::new(),
            signed: false,
            packages: 0,
            toolchain: vec![],
            artefacts: BTreeMap::new(),
        };
        manifest.write(folder).unwrap();
    }

    #[test]
    fn equal_builds_have_no_differences() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        build(a.path(), "disk", "p");
        build(b.path(), "disk", "p");
        assert_eq!(
            differences(a.path(), b.path()).unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_difference_is_told_down_to_the_file() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        build(a.path(), "disk", "p");
        build(b.path(), "disk'", "q");
        files::write(&b.path().join("more"), "").unwrap();
        let found = differences(a.path(), b.path()).unwrap().join("\n");
        for line in [
            "disk.raw differs",
            "  root: usr/bin/x differs",
            "more is only in the second",
            "not those of its own manifest",
        ] {
            assert!(found.contains(line), "{line} in {found}");
        }
    }

    #[test]
    fn what_is_no_build_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = differences(folder.path(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("is no finished build"));
    }
}
