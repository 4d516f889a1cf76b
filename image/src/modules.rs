//! Kernel modules: which are in the image, and what they depend on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{files, patterns::Patterns};

/// The modules of a kernel and their dependencies, as depmod writes them. Paths are below the kernel's folder.
#[derive(Debug)]
pub(crate) struct Modules {
    dependencies: BTreeMap<String, Vec<String>>,
    /// Paths by name, with `-` as `_`.
    by_name: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads what depmod wrote in `/usr/lib/modules/VERSION`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        Ok(Self::parse(
            &text("modules.dep")?,
            &text("modules.builtin")?,
        ))
    }

    fn parse(dependencies: &str, builtin: &str) -> Self {
        let dependencies: BTreeMap<String, Vec<String>> = (dependencies.lines())
            .filter_map(|line| line.split_once(':'))
            .map(|(module, needs)| {
                let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
                (module.to_owned(), needs)
            })
            .collect();
        let by_name = (dependencies.keys())
            .map(|path| (name_of(path), path.clone()))
            .collect();
        Self {
            dependencies,
            by_name,
            builtin: builtin.lines().map(name_of).collect(),
        }
    }

    /// The modules that a list of globs takes (below `kernel/`, without suffixes), with their dependencies.
    pub(crate) fn matching(&self, list: &str, patterns: &Patterns) -> Result<BTreeSet<String>> {
        let bare = |path: &str| -> String {
            let path = path.strip_prefix("kernel/").unwrap_or(path);
            path.split_once(".ko")
                .map_or(path, |(bare, _)| bare)
                .to_owned()
        };
        let paths: Vec<(&String, String)> = (self.dependencies.keys())
            .map(|path| (path, bare(path)))
            .collect();
        patterns.check_used(list, paths.iter().map(|(_, bare)| bare.as_str()))?;
        let chosen = (paths.iter())
            .filter(|(_, bare)| patterns.allow(bare))
            .map(|(path, _)| (*path).clone());
        Ok(self.closure(chosen))
    }

    /// The modules of these names, with their dependencies. What the kernel has built in needs no module.
    pub(crate) fn named(&self, list: &str, names: &[String]) -> Result<BTreeSet<String>> {
        let mut chosen = Vec::new();
        for name in names {
            let name = name_of(name);
            match self.by_name.get(&name) {
                Some(path) => chosen.push(path.clone()),
                None if self.builtin.contains(&name) => {}
                None => bail!("{list}: the kernel has no module {name}"),
            }
        }
        Ok(self.closure(chosen.into_iter()))
    }

    fn closure(&self, chosen: impl Iterator<Item = String>) -> BTreeSet<String> {
        let mut open: Vec<String> = chosen.collect();
        let mut closed = BTreeSet::new();
        while let Some(path) = open.pop() {
            if !closed.contains(&path) {
                open.extend(self.dependencies.get(&path).into_iter().flatten().cloned());
                closed.insert(path);
            }
        }
        closed
    }
}

/// The one kernel of a tree.
pub(crate) fn kernel_version(root: &Path) -> Result<String> {
    let folder = root.join("usr/lib/modules");
    let mut versions = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        versions.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match &versions[..] {
        [version] => Ok(version.clone()),
        _ => bail!(
            "the packages hold {} kernels, and one is needed",
            versions.len()
        ),
    }
}

/// Deletes all modules but those that are kept.
pub(crate) fn prune(folder: &Path, keep: &BTreeSet<String>) -> Result<()> {
    for path in files::walk(folder)?.iter().rev() {
        let full = folder.join(path);
        if path.contains(".ko") && !keep.contains(path) {
            fs::remove_file(full)?;
        } else if full.is_dir() && fs::read_dir(&full)?.next().is_none() {
            fs::remove_dir(full)?;
        }
    }
    Ok(())
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split_once(".ko").map_or(file, |(name, _)| name);
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/drivers/md/dm-verity.ko.xz: kernel/drivers/md/dm-bufio.ko.xz kernel/drivers/md/dm-mod.ko.xz\n\
                                kernel/drivers/md/dm-bufio.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n\
                                kernel/drivers/md/dm-mod.ko.xz:\n\
                                kernel/sound/beep.ko.xz:\n";

    fn modules() -> Modules {
        Modules::parse(DEPENDENCIES, "kernel/fs/ext2/ext-two.ko\n")
    }

    fn names(paths: &BTreeSet<String>) -> Vec<String> {
        paths.iter().map(|path| name_of(path)).collect()
    }

    #[test]
    fn a_module_brings_what_it_needs() {
        let names_of = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            modules().named("list", &list).map(|paths| names(&paths))
        };
        assert_eq!(
            names_of(&["dm_verity"]).unwrap(),
            ["dm_bufio", "dm_mod", "dm_verity"]
        );
        assert_eq!(names_of(&["ext_two"]).unwrap(), Vec::<String>::new());
        let error = names_of(&["nothing"]).unwrap_err();
        assert_eq!(error.to_string(), "list: the kernel has no module nothing");
    }

    #[test]
    fn globs_choose_below_the_kernels_folder() {
        let patterns = Patterns::parse("list", "drivers/md/dm-bufio").unwrap();
        let chosen = modules().matching("list", &patterns).unwrap();
        assert_eq!(names(&chosen), ["dm_bufio", "dm_mod"]);
        let stale = Patterns::parse("list", "drivers/gone/**").unwrap();
        assert!(modules().matching("list", &stale).is_err());
    }

    #[test]
    fn pruning_leaves_no_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        for line in DEPENDENCIES.lines() {
            let path = line.split(':').next().unwrap();
            files::write(&folder.path().join(path), "").unwrap();
        }
        let keep = BTreeSet::from(["kernel/drivers/md/dm-mod.ko.xz".to_owned()]);
        prune(folder.path(), &keep).unwrap();
        assert_eq!(
            files::walk(folder.path()).unwrap(),
            [
                "kernel",
                "kernel/drivers",
                "kernel/drivers/md",
                "kernel/drivers/md/dm-mod.ko.xz"
            ]
        );
    }
}
