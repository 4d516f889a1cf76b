//! The initrd: the part of the image that finds the root file system and checks it, cut from the same tree.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::symlink,
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{
    cpio, elf, files,
    recipe::Recipe,
    tools::Tools,
    tree::{depmod, find_library, initrd_modules, resolve},
};

const FOLDERS: [&str; 9] = [
    "dev",
    "etc",
    "proc",
    "run",
    "sys",
    "sysroot",
    "tmp",
    "usr/lib/modules-load.d",
    "var",
];

/// Loaded before anything asks for them.
const LOADED: &str = "dm-verity\nerofs\n";

/// The kernel's own lists, which say what it has built in.
const BUILTIN: [&str; 3] = [
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.order",
];

/// Compression: beyond this level time grows and size hardly falls.
const LEVEL: i32 = 15;

/// Cuts `work/initrd-tree` from `work/root`, and packs it as `work/initrd`.
pub(crate) fn make(
    tools: &Tools,
    work: &Path,
    recipe: &Recipe,
    kernel_version: &str,
    epoch: u32,
) -> Result<()> {
    let root = work.join("root");
    let tree = work.join("initrd-tree");
    files::fresh(&tree)?;
    for name in FOLDERS {
        fs::create_dir_all(tree.join(name))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(tree.join("usr").join(name))?;
        symlink(format!("usr/{name}"), tree.join(name))?;
    }

    let paths = files::walk(&root)?;
    let listed = recipe.patterns("initrd.list")?;
    listed.check_used("initrd.list", paths.iter().map(String::as_str))?;
    let mut cut = Cut {
        root: &root,
        tree: &tree,
        done: BTreeSet::new(),
    };
    for path in paths.iter().filter(|path| listed.allow(path)) {
        cut.take(path)?;
    }

    let modules = Path::new("usr/lib/modules").join(kernel_version);
    for name in initrd_modules(&root.join(&modules), recipe)?
        .iter()
        .map(String::as_str)
        .chain(BUILTIN)
    {
        files::copy(
            &root.join(&modules).join(name),
            &tree.join(&modules).join(name),
        )?;
    }
    depmod(tools, work, "initrd-tree", kernel_version)?;

    files::write(&tree.join("usr/lib/modules-load.d/initrd.conf"), LOADED)?;
    files::write(&tree.join("etc/machine-id"), "")?;
    for (link, target) in [
        ("init", "usr/lib/systemd/systemd"),
        ("etc/initrd-release", "../usr/lib/os-release"),
        ("etc/os-release", "../usr/lib/os-release"),
        ("usr/lib/systemd/system/default.target", "initrd.target"),
    ] {
        symlink(target, tree.join(link)).with_context(|| format!("linking {link}"))?;
    }
    files::normalise_modes(&tree, &[])?;
    pack(&tree, &work.join("initrd"), epoch)
}

/// Copies files with what they link and what they stand for.
struct Cut<'a> {
    root: &'a Path,
    tree: &'a Path,
    done: BTreeSet<String>,
}

impl Cut<'_> {
    fn take(&mut self, path: &str) -> Result<()> {
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            if !self.done.insert(path.clone()) {
                continue;
            }
            let from = self.root.join(&path);
            files::copy(&from, &self.tree.join(&path))?;
            if from.is_symlink() {
                let target = resolve(self.root, &path);
                if !target.exists() {
                    bail!("{path} leads to {}, which is not there", target.display());
                }
                open.push(
                    target
                        .strip_prefix(self.root)?
                        .to_string_lossy()
                        .into_owned(),
                );
            } else if from.is_file() {
                for need in elf::needed(&fs::read(&from)?)? {
                    let library = find_library(self.root, &need)
                        .with_context(|| format!("{path} needs {need}"))?;
                    open.push(library);
                }
            }
        }
        Ok(())
    }
}

fn pack(tree: &Path, to: &Path, epoch: u32) -> Result<()> {
    let context = || format!("writing {}", to.display());
    let file = BufWriter::new(File::create(to).with_context(context)?);
    let mut encoder = zstd::Encoder::new(file, LEVEL)?;
    cpio::write(tree, epoch, &mut encoder).with_context(context)?;
    encoder.finish()?.flush().with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_brings_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (root, tree) = (folder.path().join("root"), folder.path().join("tree"));
        files::write(&root.join("usr/bin/kmod"), "x").unwrap();
        fs::create_dir_all(root.join("usr/sbin")).unwrap();
        symlink("../bin/kmod", root.join("usr/sbin/modprobe")).unwrap();
        symlink("gone", root.join("usr/sbin/broken")).unwrap();
        let mut cut = Cut {
            root: &root,
            tree: &tree,
            done: BTreeSet::new(),
        };
        cut.take("usr/sbin/modprobe").unwrap();
        assert!(tree.join("usr/bin/kmod").is_file());
        assert!(cut.take("usr/sbin/broken").is_err());
    }
}
