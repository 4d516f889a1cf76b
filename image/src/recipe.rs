//! The recipe: a folder of lists and trees that says what the image is made of.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    lock::{self, Locked},
    patterns::{Patterns, lines},
};

/// Folders of the recipe that are copied into the image, and where.
const TREES: [(&str, &str); 4] = [
    ("overlay", ""),
    ("units", "usr/lib/systemd/system"),
    ("tmpfiles.d", "usr/lib/tmpfiles.d"),
    ("sysupdate.d", "usr/lib/sysupdate.d"),
];

/// A recipe folder.
#[derive(Debug)]
pub(crate) struct Recipe {
    folder: PathBuf,
}

/// A line of `packages.list` or `tools.list`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// Not the package itself, but the one of this prefix that it depends on.
    pub(crate) depends: Option<String>,
}

impl Recipe {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        ensure!(
            folder.join("packages.list").is_file(),
            "{} holds no recipe: name it with --recipe",
            folder.display()
        );
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// The lines of a list, without comments.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>> {
        Ok(lines(&self.text(name)?).map(str::to_owned).collect())
    }

    pub(crate) fn patterns(&self, name: &str) -> Result<Patterns> {
        Patterns::parse(name, &self.text(name)?)
    }

    pub(crate) fn wanted(&self, name: &str) -> Result<Vec<Wanted>> {
        (self.list(name)?.iter())
            .map(|line| wanted(line).with_context(|| format!("{name}: {line}")))
            .collect()
    }

    /// A lock, checked to hold what its list names.
    pub(crate) fn locked(&self, list: &str, file: &str) -> Result<Vec<Locked>> {
        let path = self.path(file);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("reading {}: `luxchat-image lock` writes it", path.display())
        })?;
        let packages = lock::parse(file, &text)?;
        for wanted in self.wanted(list)? {
            let found = packages.iter().any(|package| match &wanted.depends {
                Some(prefix) => package.name.starts_with(prefix),
                None => package.name == wanted.name,
            });
            if !found {
                bail!(
                    "{} of {list} is not in {file}: run `luxchat-image lock`",
                    wanted.name
                );
            }
        }
        Ok(packages)
    }

    /// The kernel command line, without the root hash.
    pub(crate) fn cmdline(&self) -> Result<String> {
        Ok(self.list("cmdline")?.join(" "))
    }

    /// The folders to copy: where each is, and where it goes.
    pub(crate) fn trees(&self) -> Vec<(PathBuf, &'static str)> {
        (TREES.iter())
            .map(|(name, target)| (self.path(name), *target))
            .filter(|(path, _)| path.is_dir())
            .collect()
    }

    /// The partition definitions, their placeholders filled in.
    pub(crate) fn repart(&self, values: &BTreeMap<&str, String>) -> Result<Vec<(String, String)>> {
        let folder = self.path("repart.d");
        let context = || format!("reading {}", folder.display());
        let mut definitions = Vec::new();
        for entry in fs::read_dir(&folder).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            let name = name.to_string_lossy().into_owned();
            let text = fill(&self.text(&format!("repart.d/{name}"))?, values);
            definitions.push((name, text));
        }
        ensure!(
            !definitions.is_empty(),
            "{} defines no partition",
            folder.display()
        );
        definitions.sort();
        Ok(definitions)
    }
}

/// Replaces `@NAME@` by its value.
pub(crate) fn fill(text: &str, values: &BTreeMap<&str, String>) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("@{name}@"), value)
    })
}

fn wanted(line: &str) -> Result<Wanted> {
    let mut fields = line.split_ascii_whitespace();
    let name = fields.next().context("an empty line")?.to_owned();
    let depends = match fields.next() {
        None => None,
        Some(field) => Some(
            (field.strip_prefix("depends:"))
                .context("after a name stands nothing, or `depends:PREFIX`")?
                .to_owned(),
        ),
    };
    ensure!(fields.next().is_none(), "too many words");
    Ok(Wanted { name, depends })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recipe of this repository.
    fn recipe() -> Recipe {
        Recipe::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("recipe")).unwrap()
    }

    #[test]
    fn the_recipe_reads() {
        let recipe = recipe();
        for list in ["allow.list", "modules.list", "initrd.list"] {
            recipe.patterns(list).unwrap();
        }
        for (list, lock) in [
            ("packages.list", "packages.lock"),
            ("tools.list", "tools.lock"),
        ] {
            recipe.locked(list, lock).unwrap();
        }
    }

    #[test]
    fn the_kernel_is_told_to_guard_itself() {
        let cmdline = recipe().cmdline().unwrap();
        for part in [
            "ro",
            "systemd.verity_root_options=panic-on-corruption",
            "lockdown=confidentiality",
            "module.sig_enforce=1",
            "systemd.import_credentials=no",
        ] {
            assert!(cmdline.split(' ').any(|word| word == part), "{part}");
        }
        assert!(!cmdline.contains('#'));
    }

    #[test]
    fn nobody_can_log_in() {
        let recipe = recipe();
        for line in recipe.list("overlay/etc/passwd").unwrap() {
            assert!(line.ends_with(":/usr/sbin/nologin"), "{line}");
        }
        for line in recipe.list("overlay/etc/shadow").unwrap() {
            assert_eq!(line.split(':').nth(1), Some("!*"), "{line}");
        }
    }

    #[test]
    fn slots_are_alike() {
        let recipe = recipe();
        let sizes = |name: &str| -> Vec<String> {
            (recipe
                .list(&format!("repart.d/{name}"))
                .unwrap()
                .into_iter())
            .filter(|line| line.starts_with("Size") || line.starts_with("Type"))
            .collect()
        };
        assert_eq!(sizes("10-root-a.conf"), sizes("20-root-b.conf"));
        assert_eq!(sizes("11-verity-a.conf"), sizes("21-verity-b.conf"));
    }

    #[test]
    fn the_hashes_name_the_slot() {
        let values = BTreeMap::from([
            ("ROOT_UUID", "0-1".to_owned()),
            ("VERITY_UUID", "2-3".to_owned()),
        ]);
        let definitions = recipe().repart(&values).unwrap();
        for (name, line) in [
            ("10-root-a.conf", "UUID=0-1"),
            ("11-verity-a.conf", "UUID=2-3"),
        ] {
            let (_, text) = definitions.iter().find(|it| it.0 == name).unwrap();
            assert!(text.lines().any(|it| it == line), "{text}");
        }
    }

    #[test]
    fn a_failed_start_is_not_left_standing() {
        let recipe = recipe();
        let emergency = recipe.list("units/emergency.service").unwrap();
        for line in ["SuccessAction=reboot-force", "FailureAction=reboot-force"] {
            assert!(emergency.iter().any(|it| it == line), "{line}");
        }
        let initrd = recipe.list("initrd.list").unwrap();
        for file in [
            "etc/systemd/system.conf.d/luxchat.conf",
            "usr/lib/systemd/system/emergency.service",
            "usr/lib/systemd/system/initrd.target.d/luxchat.conf",
        ] {
            assert!(initrd.iter().any(|it| it == file), "{file}");
        }
    }

    #[test]
    fn placeholders_are_filled() {
        let values = BTreeMap::from([("VERSION", "1.2".to_owned())]);
        assert_eq!(fill("a_@VERSION@_@OTHER@", &values), "a_1.2_@OTHER@");
    }

    #[test]
    fn a_list_line_names_one_package() {
        assert_eq!(wanted("udev").unwrap().name, "udev");
        let kernel = wanted("linux-image-amd64 depends:linux-image-6").unwrap();
        assert_eq!(kernel.depends.as_deref(), Some("linux-image-6"));
        assert!(wanted("a b").is_err());
        assert!(wanted("a depends:b c").is_err());
    }
}
