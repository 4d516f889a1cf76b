//! The whole way from recipe to disk, stage by stage.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    apt,
    artefacts::{Contents, Manifest, names, uki},
    cache::{Cache, check_space},
    disk::{self, Slot, Uki},
    files, initrd,
    mirror::Mirror,
    programs,
    progress::{Progress, size},
    recipe::Recipe,
    tools::Tools,
    tree::{self, Ingredients},
};

/// What a build writes at most, with its working files.
const OUTPUT_SPACE: u64 = 3_000_000_000;

/// What packages, tools and the compiler's output take in the cache at most.
const CACHE_SPACE: u64 = 5_000_000_000;

/// What to build, and from what.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) workspace: PathBuf,
    pub(crate) recipe: Recipe,
    pub(crate) cache: Cache,
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) version: String,
    pub(crate) out: PathBuf,
    /// A folder of programs to take instead of compiling.
    pub(crate) programs: Option<PathBuf>,
}

/// Builds the image, unsigned.
pub(crate) fn make(order: &Order) -> Result<()> {
    let progress = Progress::start();
    check_version(&order.version)?;
    let epoch = epoch(&order.workspace)?;
    fs::create_dir_all(&order.out).with_context(|| format!("making {}", order.out.display()))?;
    check_space(&order.out, OUTPUT_SPACE)?;
    if !order.cache.target().exists() {
        check_space(order.cache.folder(), CACHE_SPACE)?;
    }
    progress.say(format!("version {}, epoch {epoch}", order.version));

    let packages = order.recipe.locked("packages.list", "packages.lock")?;
    let tool_packages = order.recipe.locked("tools.list", "tools.lock")?;
    let fetched = apt::fetch(&order.cache, &order.mirrors, &packages)?;
    progress.say(format!("{} packages, {fetched} fetched", packages.len()));
    let tools = Tools::prepare(&order.cache, &order.mirrors, &tool_packages, epoch)?;
    progress.say(format!("tools of {} packages", tool_packages.len()));

    let programs = programs(order, epoch)?;
    for program in &programs {
        let bytes = fs::metadata(program)?.len();
        progress.say(format!("{} {}", program.display(), size(bytes)));
    }

    let work = order.out.join("work");
    files::fresh(&work)?;
    let kernel_version = &tree::assemble(
        &tools,
        &work,
        &Ingredients {
            recipe: &order.recipe,
            cache: &order.cache,
            packages: &packages,
            units: &order.workspace.join("appliance/units"),
            programs,
            version: &order.version,
        },
    )?;
    progress.say(format!("tree with kernel {kernel_version}"));

    initrd::make(&tools, &work, &order.recipe, kernel_version, epoch)?;
    progress.say(format!("initrd {}", file_size(&work.join("initrd"))?));
    disk::root(&tools, &work, epoch)?;
    progress.say(format!("root {}", file_size(&work.join("root.erofs"))?));
    let slot = disk::slot(&tools, &work, &order.version)?;
    progress.say(format!("root hash {}", slot.root_hash));

    let boot = "usr/lib/systemd/boot/efi";
    files::copy(
        &tools.path(&format!("{boot}/linuxx64.efi.stub")),
        &work.join(names::STUB),
    )?;
    let loader = format!("{boot}/systemd-bootx64.efi");
    files::copy(&tools.path(&loader), &work.join(names::BOOT_LOADER))?;
    files::copy(
        &work.join("root/usr/lib/os-release"),
        &work.join(names::OS_RELEASE),
    )?;
    let cmdline = format!("roothash={} {}", slot.root_hash, order.recipe.cmdline()?);
    files::write(&work.join(names::CMDLINE), cmdline)?;
    files::write(&work.join(names::KERNEL_VERSION), kernel_version)?;
    let image = Uki {
        version: &order.version,
        kernel_version,
        signing: Vec::new(),
    };
    let image = disk::kernel_image(&tools, &work, &image)?;
    progress.say(format!("kernel image {}", file_size(&image)?));
    disk::whole(&tools, &work, &order.recipe, &order.version, &slot, epoch)?;

    let contents = Contents {
        root: tree::contents(&work.join("root"))?,
        initrd: tree::contents(&work.join("initrd-tree"))?,
    };
    hand_over(order, &work, &slot)?;
    contents.write(&order.out)?;
    fs::remove_dir_all(&work)?;
    let mut manifest = Manifest {
        version: order.version.clone(),
        epoch,
        root_hash: slot.root_hash,
        signed: false,
        packages: packages.len(),
        toolchain: programs::toolchain()?,
        artefacts: [].into(),
    };
    manifest.write(&order.out)?;
    progress.say(format!("built {}", order.out.join(names::DISK).display()));
    Ok(())
}

/// The time of everything in the image: that of the newest commit, or SOURCE_DATE_EPOCH.
fn epoch(workspace: &Path) -> Result<u32> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return (text.parse()).with_context(|| format!("SOURCE_DATE_EPOCH={text} is no time"));
    }
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(workspace)
        .output();
    let time = (output.ok())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.trim().parse().ok());
    time.context("git tells no time of the newest commit: set SOURCE_DATE_EPOCH")
}

/// Versions stand in partition labels (36 characters in all) and are compared by systemd.
fn check_version(version: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".~^-".contains(c);
    ensure!(
        !version.is_empty() && version.len() <= 20 && version.chars().all(fits),
        "{version:?} is not a version: up to 20 letters, digits and . ~ ^ -"
    );
    Ok(())
}

fn programs(order: &Order, epoch: u32) -> Result<Vec<PathBuf>> {
    let names = order.recipe.list("programs.list")?;
    let folder = match &order.programs {
        Some(folder) => folder.clone(),
        None => programs::compile(&order.workspace, &order.cache, &names, epoch)?,
    };
    (names.iter())
        .map(|name| {
            let program = folder.join(name);
            if program.is_file() {
                Ok(program)
            } else {
                bail!("{} is not there", program.display())
            }
        })
        .collect()
}

/// Moves the artefacts from the working folder to where they are expected.
fn hand_over(order: &Order, work: &Path, slot: &Slot) -> Result<()> {
    let update = order.out.join(names::UPDATE);
    files::fresh(&update)?;
    let (root, verity) = slot.uuids();
    let (version, image) = (&order.version, uki(&order.version));
    let carried = update.join(format!("luxchat_{version}_{root}.root"));
    fs::hard_link(&slot.root, &carried).with_context(|| carried.display().to_string())?;
    let hashes = format!("luxchat_{version}_{verity}.verity");
    move_file(&slot.verity, &update.join(hashes))?;
    move_file(&work.join(&image), &update.join(&image))?;
    for name in [
        names::BOOT_LOADER,
        names::CMDLINE,
        names::DISK,
        names::INITRD,
        names::KERNEL,
        names::KERNEL_VERSION,
        names::OS_RELEASE,
        names::ROOT,
        names::STUB,
    ] {
        move_file(&work.join(name), &order.out.join(name))?;
    }
    Ok(())
}

fn move_file(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("moving {} to {}", from.display(), to.display()))
}

fn file_size(path: &Path) -> Result<String> {
    Ok(size(fs::metadata(path)?.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_fit_a_partition_label() {
        for version in ["0.1.0", "2026.11.22-1", "1.0~rc1"] {
            check_version(version).unwrap();
            assert!(format!("luxchat_{version}_verity").len() <= 36);
        }
        for version in ["", "1_0", "1+3", "a/b", "123456789012345678901"] {
            assert!(check_version(version).is_err(), "{version}");
        }
    }
}
