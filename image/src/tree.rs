//! The root file system as a tree: the packages' allowed files, the recipe's own, and the programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cache::Cache,
    deb, elf, files,
    lock::Locked,
    modules::{self, Modules},
    recipe::{Recipe, fill},
    tools::{Tools, WORK},
};

/// Folders of the image that no package brings.
const FOLDERS: [&str; 10] = [
    "dev", "efi", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "var",
];

/// Modes that are neither 0755 nor 0644.
const MODES: [(&str, u32); 4] = [
    ("efi", 0o700),
    ("etc/shadow", 0o600),
    ("root", 0o700),
    ("tmp", 0o1777),
];

/// Names under which a shell, an interpreter, a log-in or a package manager would stand.
const FORBIDDEN: [&str; 18] = [
    "agetty",
    "apt",
    "apt-get",
    "bash",
    "busybox",
    "dash",
    "dpkg",
    "login",
    "perl",
    "python3",
    "sh",
    "ssh",
    "sshd",
    "su",
    "sudo",
    "sulogin",
    "systemd-sulogin-shell",
    "zsh",
];

/// Where programs look for libraries.
const LIBRARIES: [&str; 3] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
    "usr/lib64",
];

/// What a root file system is made of.
#[derive(Debug)]
pub(crate) struct Ingredients<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) cache: &'a Cache,
    pub(crate) packages: &'a [Locked],
    pub(crate) units: &'a Path,
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) version: &'a str,
}

/// Makes the tree `work/root`, puts the kernel at `work/linux`, and gives the kernel's version.
pub(crate) fn assemble(tools: &Tools, work: &Path, from: &Ingredients<'_>) -> Result<String> {
    let root = work.join("root");
    skeleton(&root)?;
    unpack(&root, from)?;
    let kernel_version = modules::kernel_version(&root)?;
    let kernel = format!("boot/vmlinuz-{kernel_version}");
    fs::rename(root.join(kernel), work.join("linux"))
        .context("the kernel package has no kernel")?;
    fs::remove_dir_all(root.join("boot"))?;

    choose_modules(tools, work, &root, &kernel_version, from.recipe)?;
    configure(&root, from)?;
    let root_inside = format!("--root={WORK}/root");
    let preset = ["preset-all".to_owned(), "--preset-mode=full".to_owned()];
    tools.run(work, "systemctl", &[&[root_inside], &preset[..]].concat())?;
    files::normalise_modes(&root, &MODES)?;
    inspect(&root)?;
    Ok(kernel_version)
}

fn skeleton(root: &Path) -> Result<()> {
    files::fresh(root)?;
    for name in FOLDERS {
        fs::create_dir_all(root.join(name))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    Ok(())
}

fn unpack(root: &Path, from: &Ingredients<'_>) -> Result<()> {
    let allowed = from.recipe.patterns("allow.list")?;
    let mut offered = Vec::new();
    for package in from.packages {
        let deb = from.cache.package(&package.sha256);
        let paths = deb::unpack(&deb, root, |path| allowed.allow(path))
            .with_context(|| format!("unpacking {}", package.name))?;
        offered.extend(paths);
    }
    allowed.check_used("allow.list", offered.iter().map(String::as_str))
}

fn choose_modules(
    tools: &Tools,
    work: &Path,
    root: &Path,
    version: &str,
    recipe: &Recipe,
) -> Result<()> {
    let folder = root.join("usr/lib/modules").join(version);
    for link in ["build", "source"] {
        if folder.join(link).is_symlink() {
            fs::remove_file(folder.join(link))?;
        }
    }
    depmod(tools, work, "root", version)?;
    let patterns = recipe.patterns("modules.list")?;
    let mut chosen = Modules::read(&folder)?.matching("modules.list", &patterns)?;
    chosen.extend(initrd_modules(&folder, recipe)?);
    modules::prune(&folder, &chosen)?;
    depmod(tools, work, "root", version)
}

/// The modules that the initrd takes.
pub(crate) fn initrd_modules(folder: &Path, recipe: &Recipe) -> Result<BTreeSet<String>> {
    let name = "initrd-modules.list";
    Modules::read(folder)?.named(name, &recipe.list(name)?)
}

/// Writes the index of a tree's modules.
pub(crate) fn depmod(tools: &Tools, work: &Path, tree: &str, version: &str) -> Result<()> {
    let arguments = [
        "-b".to_owned(),
        format!("{WORK}/{tree}"),
        version.to_owned(),
    ];
    tools.run(work, "depmod", &arguments).map(drop)
}

fn configure(root: &Path, from: &Ingredients<'_>) -> Result<()> {
    for (source, target) in from.recipe.trees() {
        files::copy(&source, &root.join(target))?;
    }
    files::copy(from.units, &root.join("usr/lib/systemd/system"))?;
    for program in &from.programs {
        let name = program.file_name().context("a program has no name")?;
        files::copy(program, &root.join("usr/bin").join(name))?;
    }
    let values = BTreeMap::from([("VERSION", from.version.to_owned())]);
    let os_release = fill(&from.recipe.text("os-release")?, &values);
    files::write(&root.join("usr/lib/os-release"), os_release)
}

/// Holds the finished tree to what the image promises.
fn inspect(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    for path in files::walk(root)? {
        let full = root.join(&path);
        let name = path.rsplit('/').next().unwrap_or(&path);
        if path.contains("bin/") && FORBIDDEN.contains(&name) {
            findings.push(format!("{path} must not be in the image"));
        }
        if full.is_symlink() {
            if path.contains(".wants/") && !resolve(root, &path).exists() {
                findings.push(format!("{path} wants a unit that is not in the image"));
            }
        } else if full.is_file() {
            let bytes = fs::read(&full)?;
            for need in elf::needed(&bytes).with_context(|| path.clone())? {
                if find_library(root, &need).is_none() {
                    findings.push(format!("{path} needs {need}, which no listed package has"));
                }
            }
        }
    }
    ensure!(findings.is_empty(), "{}", findings.join("\n"));
    Ok(())
}

/// Where a needed interpreter (an absolute path) or library (a name) stands in a tree.
pub(crate) fn find_library(root: &Path, name: &str) -> Option<String> {
    if let Some(path) = name.strip_prefix('/') {
        let path = path.replacen("lib64/", "usr/lib64/", 1);
        let path = path.replace("usr/usr/", "usr/");
        return root.join(&path).exists().then_some(path);
    }
    (LIBRARIES.iter())
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| root.join(path).exists())
}

/// The file that a link in a tree stands for, as seen with the tree as the root.
pub(crate) fn resolve(root: &Path, path: &str) -> PathBuf {
    let mut current = PathBuf::from(path);
    for _ in 0..16 {
        let Ok(target) = fs::read_link(root.join(&current)) else {
            break;
        };
        current = match target.strip_prefix("/") {
            Ok(inside) => inside.to_owned(),
            Err(_) => normal(&current.parent().unwrap_or(Path::new("")).join(target)),
        };
    }
    root.join(current)
}

/// A path without `..`, never above its start.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out
}

/// The hash of every file and the target of every link: what `verify` compares when two trees differ.
pub(crate) fn contents(root: &Path) -> Result<BTreeMap<String, String>> {
    use std::os::unix::fs::PermissionsExt;
    let mut contents = BTreeMap::new();
    for path in files::walk(root)? {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let what = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&full)?.display())
        } else if metadata.is_dir() {
            format!("{mode:04o} folder")
        } else if metadata.is_file() {
            format!("{mode:04o} {}", files::sha256(&full)?)
        } else {
            bail!("{path} is neither a file, a folder nor a link");
        };
        contents.insert(path, what);
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_not_let_in() {
        let root = tempfile::tempdir().unwrap();
        skeleton(&root.path().join("root")).unwrap();
        inspect(&root.path().join("root")).unwrap();
        files::write(&root.path().join("root/usr/bin/sh"), "#!").unwrap();
        let error = inspect(&root.path().join("root")).unwrap_err().to_string();
        assert_eq!(error, "usr/bin/sh must not be in the image");
    }

    #[test]
    fn a_missing_library_and_a_missing_unit_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        skeleton(&root).unwrap();
        let own = std::env::current_exe().unwrap();
        files::copy(&own, &root.join("usr/bin/tool")).unwrap();
        fs::create_dir_all(root.join("etc/x.target.wants")).unwrap();
        symlink(
            "../gone.service",
            root.join("etc/x.target.wants/gone.service"),
        )
        .unwrap();
        let error = inspect(&root).unwrap_err().to_string();
        assert!(error.contains("usr/bin/tool needs libc.so.6"), "{error}");
        assert!(error.contains("gone.service wants a unit"), "{error}");
    }

    #[test]
    fn links_are_followed_inside_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        files::write(&root.join("usr/lib/real"), "x").unwrap();
        symlink("/usr/lib/real", root.join("usr/one")).unwrap();
        symlink("../../../usr/one", root.join("usr/lib/two")).unwrap();
        assert_eq!(resolve(root, "usr/lib/two"), root.join("usr/lib/real"));
    }

    #[test]
    fn contents_tell_modes_hashes_and_targets() {
        let folder = tempfile::tempdir().unwrap();
        files::write(&folder.path().join("a/b"), "abc").unwrap();
        symlink("b", folder.path().join("a/c")).unwrap();
        files::normalise_modes(folder.path(), &[]).unwrap();
        let contents = contents(folder.path()).unwrap();
        assert_eq!(contents["a"], "0755 folder");
        assert!(contents["a/b"].starts_with("0644 ba7816bf"));
        assert_eq!(contents["a/c"], "-> b");
    }
}
