//! The tools that write file systems, partitions and kernel images: of the image's own release, each pinned, in a tree
//! that is unpacked once and entered by a private mount namespace.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{Uid, chdir, pivot_root},
};

use crate::{apt, cache::Cache, deb, files, lock::Locked, mirror::Mirror};

/// Where the working folder of a build is seen by the tools: the same for every build.
pub(crate) const WORK: &str = "/build";

/// Folders that the tree needs to be entered.
const MOUNT_POINTS: [&str; 8] = [
    "build", "dev", "old", "proc", "run", "sys", "tmp", "var/tmp",
];

/// A tree of tools, ready to be entered.
#[derive(Debug)]
pub(crate) struct Tools {
    tree: PathBuf,
    /// Seconds since 1970, told to every tool as the time of all that it writes.
    epoch: u32,
}

impl Tools {
    /// Unpacks the tools of a lock, unless the cache has them.
    pub(crate) fn prepare(
        cache: &Cache,
        mirrors: &[Mirror],
        packages: &[Locked],
        epoch: u32,
    ) -> Result<Self> {
        ensure!(
            Uid::effective().is_root(),
            "the tools are entered by a mount namespace of their own: run this as root"
        );
        let tree = cache.tools(&files::sha256_of(
            crate::lock::render(packages.to_vec()).as_bytes(),
        ));
        if !tree.exists() {
            apt::fetch(cache, mirrors, packages)?;
            let partial = tree.with_extension(std::process::id().to_string());
            files::fresh(&partial)?;
            unpack(cache, packages, &partial)?;
            if fs::rename(&partial, &tree).is_err() {
                // Another build was faster.
                fs::remove_dir_all(&partial)?;
            }
        }
        Ok(Self { tree, epoch })
    }

    /// Where a file of the tools stands on this machine.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.tree.join(inside)
    }

    /// Runs a tool with `work` seen at [`WORK`], and gives what it prints.
    pub(crate) fn run(&self, work: &Path, program: &str, arguments: &[String]) -> Result<String> {
        let own = std::env::current_exe().context("this program's own path")?;
        let output = Command::new(own)
            .arg("in-tools")
            .args([&self.tree, work])
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin")
            .env("HOME", "/tmp")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            // bootctl would insist on a mounted system partition, and on leaving a note in /etc.
            .env("SYSTEMD_RELAX_ESP_CHECKS", "1")
            .env("KERNEL_INSTALL_CONF_ROOT", "/tmp")
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .output()
            .with_context(|| format!("starting {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{program} failed ({}): {}",
            output.status,
            said.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Makes the tree the root of this process alone, then becomes the tool. Returns only when it fails.
pub(crate) fn enter(tree: &Path, work: &Path, command: &[OsString]) -> Result<()> {
    let none = None::<&str>;
    let bind = |from: &Path, to: &Path| {
        mount(
            Some(from),
            to,
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        )
        .with_context(|| format!("mounting {} at {}", from.display(), to.display()))
    };
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    bind(tree, tree)?;
    bind(work, &tree.join("build"))?;
    bind(Path::new("/dev"), &tree.join("dev"))?;
    bind(Path::new("/sys"), &tree.join("sys"))?;
    mount(
        Some("proc"),
        &tree.join("proc"),
        Some("proc"),
        MsFlags::empty(),
        none,
    )?;
    for folder in ["run", "tmp"] {
        mount(
            Some("tmpfs"),
            &tree.join(folder),
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )?;
    }
    let scratch = work.join("scratch");
    fs::create_dir_all(&scratch)?;
    bind(&scratch, &tree.join("var/tmp"))?;
    chdir(tree)?;
    pivot_root(".", "old").context("changing the root")?;
    chdir(WORK)?;
    umount2("/old", MntFlags::MNT_DETACH)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, "/", none, read_only, none).context("closing the tools to writing")?;
    let (program, arguments) = command.split_first().context("no tool is named")?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("starting {}", program.display()))
}

/// Refuses to go on without a program of this machine, and says which Debian package has it.
pub(crate) fn require(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    (std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is missing: apt-get install {package}"))
}

fn unpack(cache: &Cache, packages: &[Locked], tree: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(tree.join("usr").join(name))?;
        std::os::unix::fs::symlink(format!("usr/{name}"), tree.join(name))?;
    }
    let merged: HashSet<&str> = ["bin", "sbin", "lib", "lib64"].into();
    for package in packages {
        let deb = cache.package(&package.sha256);
        deb::unpack(&deb, tree, |path| !merged.contains(path))
            .with_context(|| format!("unpacking {}", package.name))?;
    }
    for name in MOUNT_POINTS {
        fs::create_dir_all(tree.join(name))?;
    }
    files::write(&tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    files::write(&tree.join("etc/group"), "root:x:0:\n")?;
    if !tree.join("usr/bin/python3").exists() {
        bail!("tools.lock holds no python3, which ukify runs on: run `luxchat-image lock`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_told_with_its_package() {
        let error = require("no-such-tool", "some-package").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-tool is missing: apt-get install some-package"
        );
        assert!(require("sh", "dash").is_ok());
    }
}
