//! File system, hashes, kernel image and disk: what the tree becomes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    artefacts::uki,
    files,
    recipe::Recipe,
    tools::{Tools, WORK},
};

/// From which the identities of partitions and file systems follow; fixed for the product.
const SEED: &str = "0d3f7c5a-9be1-4f0e-8a51-6c1f1c0c6a47";

/// The identity of the root file system. What a version is, its root hash tells.
const ROOT_UUID: &str = "5b1d7a52-2f0b-4d5c-9d34-7a1e1f6e2b90";

/// The boot loader counts tries down from here until a boot is found good.
const TRIES: u32 = 3;

/// Packs `work/root` as a read-only file system, `work/root.erofs`.
pub(crate) fn root(tools: &Tools, work: &Path, epoch: u32) -> Result<()> {
    let arguments = [
        "--quiet",
        "-zlz4hc,level=9",
        "-C65536",
        "-x-1",
        "--all-root",
        &format!("-T{epoch}"),
        "-U",
        ROOT_UUID,
        "-L",
        "luxchat",
        &format!("{WORK}/root.erofs"),
        &format!("{WORK}/root"),
    ];
    tools
        .run(work, "mkfs.erofs", &arguments.map(str::to_owned))
        .map(drop)
}

/// A slot: its root hash, and the contents of its two partitions.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) root_hash: String,
    pub(crate) root: PathBuf,
    pub(crate) verity: PathBuf,
}

impl Slot {
    /// The partitions' identities, which are the halves of the root hash.
    pub(crate) fn uuids(&self) -> (String, String) {
        (uuid(&self.root_hash[..32]), uuid(&self.root_hash[32..]))
    }
}

/// Makes the hashes of `work/root.erofs`.
pub(crate) fn slot(tools: &Tools, work: &Path, recipe: &Recipe, version: &str) -> Result<Slot> {
    let values = values(version, false);
    let report = repart(tools, work, recipe, &["1"], &values, "slot.raw", true)?;
    fs::remove_file(work.join("slot.raw"))?;
    let root_hash = (report.as_array().into_iter().flatten())
        .find_map(|partition| partition.get("roothash")?.as_str())
        .context("systemd-repart told no root hash")?
        .to_owned();
    ensure!(root_hash.len() == 64, "{root_hash} is not a root hash");
    Ok(Slot {
        root_hash,
        root: work.join("slot.root.raw"),
        verity: work.join("slot.verity.raw"),
    })
}

/// The parts of a kernel image, as files in the working folder, and the keys to sign it with.
#[derive(Debug)]
pub(crate) struct Uki<'a> {
    pub(crate) version: &'a str,
    pub(crate) kernel_version: &'a str,
    pub(crate) signing: Vec<String>,
}

/// Joins kernel, initrd and command line in `work/luxchat_VERSION.efi`.
pub(crate) fn kernel_image(tools: &Tools, work: &Path, image: &Uki<'_>) -> Result<PathBuf> {
    let name = uki(image.version);
    // The tools hold no `env`, by which ukify would find its interpreter.
    let mut arguments = vec![
        "/usr/bin/ukify".to_owned(),
        "build".to_owned(),
        format!("--linux={WORK}/linux"),
        format!("--initrd={WORK}/initrd"),
        format!("--cmdline=@{WORK}/cmdline"),
        format!("--os-release=@{WORK}/os-release"),
        format!("--uname={}", image.kernel_version),
        format!("--stub={WORK}/stub.efi"),
        format!("--output={WORK}/{name}"),
    ];
    arguments.extend(image.signing.iter().cloned());
    tools.run(work, "python3", &arguments)?;
    Ok(work.join(name))
}

/// Lays out `work/disk.raw`: the boot loader `work/systemd-boot.efi`, the kernel image, the slot, and an empty slot; and
/// of a signed build the keys in `work/keys`, for a firmware that has none yet.
pub(crate) fn whole(
    tools: &Tools,
    work: &Path,
    recipe: &Recipe,
    version: &str,
    epoch: u32,
) -> Result<PathBuf> {
    let esp = work.join("esp");
    files::fresh(&esp)?;
    let image = format!("luxchat_{version}+{TRIES}.efi");
    for (from, to) in [
        ("systemd-boot.efi", "EFI/BOOT/BOOTX64.EFI".to_owned()),
        (&uki(version), format!("EFI/Linux/{image}")),
    ] {
        files::copy(&work.join(from), &esp.join(to))?;
    }
    let keys = work.join("keys");
    if keys.is_dir() {
        files::copy(&keys, &esp.join("loader/keys/auto"))?;
    }
    files::write(&esp.join("loader/loader.conf"), recipe.text("loader.conf")?)?;
    files::normalise_modes(&esp, &[])?;
    files::normalise_times(&esp, epoch)?;
    repart(
        tools,
        work,
        recipe,
        &[""],
        &values(version, true),
        "disk.raw",
        false,
    )?;
    Ok(work.join("disk.raw"))
}

fn values(version: &str, esp: bool) -> BTreeMap<&'static str, String> {
    let mut values = BTreeMap::from([
        ("VERSION", version.to_owned()),
        ("ROOT", format!("{WORK}/root.erofs")),
    ]);
    if esp {
        values.insert("ESP", format!("{WORK}/esp"));
    }
    values
}

fn repart(
    tools: &Tools,
    work: &Path,
    recipe: &Recipe,
    prefixes: &[&str],
    values: &BTreeMap<&str, String>,
    output: &str,
    split: bool,
) -> Result<Value> {
    let folder = work.join("repart.d");
    files::fresh(&folder)?;
    for (name, text) in recipe.repart(prefixes, values)? {
        files::write(&folder.join(name), text)?;
    }
    let arguments = [
        "--offline=yes",
        "--sector-size=512",
        "--empty=create",
        "--size=auto",
        "--dry-run=no",
        "--json=short",
        "--no-pager",
        &format!("--seed={SEED}"),
        &format!("--split={split}"),
        &format!("--definitions={WORK}/repart.d"),
        &format!("{WORK}/{output}"),
    ];
    let target = work.join(output);
    if target.exists() {
        fs::remove_file(&target)?;
    }
    let report = tools.run(work, "systemd-repart", &arguments.map(str::to_owned))?;
    serde_json::from_str(&report).context("what systemd-repart tells is not JSON")
}

fn uuid(half: &str) -> String {
    [
        &half[..8],
        &half[8..12],
        &half[12..16],
        &half[16..20],
        &half[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_hash_names_the_partitions() {
        let slot = Slot {
            root_hash: format!("{}{}", "0123456789abcdef".repeat(2), "f".repeat(32)),
            root: PathBuf::new(),
            verity: PathBuf::new(),
        };
        let (root, verity) = slot.uuids();
        assert_eq!(root, "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(verity, "ffffffff-ffff-ffff-ffff-ffffffffffff");
    }
}
