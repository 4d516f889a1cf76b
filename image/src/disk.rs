//! File system, hashes, kernel image and disk: what the tree becomes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

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

/// A slot: its root hash, and what its two partitions hold.
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

/// Makes the hashes of `work/root.erofs`, `work/root.verity`. They cover the file system and not the rest of its partition,
/// so an update carries no more than it.
pub(crate) fn slot(tools: &Tools, work: &Path, version: &str) -> Result<Slot> {
    let salt = files::sha256_of(format!("{SEED} {version}").as_bytes());
    let (root, verity) = (work.join("root.erofs"), work.join("root.verity"));
    files::write(&verity, "")?;
    let arguments = [
        "format",
        "--hash=sha256",
        "--data-block-size=4096",
        "--hash-block-size=4096",
        &format!("--salt={salt}"),
        &format!("--uuid={SEED}"),
        &format!("--root-hash-file={WORK}/root.hash"),
        &format!("{WORK}/root.erofs"),
        &format!("{WORK}/root.verity"),
    ];
    tools.run(work, "veritysetup", &arguments.map(str::to_owned))?;
    let hash = work.join("root.hash");
    let root_hash = fs::read_to_string(&hash).context("veritysetup told no root hash")?;
    let root_hash = root_hash.trim().to_owned();
    fs::remove_file(hash)?;
    ensure!(root_hash.len() == 64, "{root_hash} is not a root hash");
    Ok(Slot {
        root_hash,
        root,
        verity,
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
    slot: &Slot,
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
    let definitions = work.join("repart.d");
    files::fresh(&definitions)?;
    for (name, text) in recipe.repart(&values(version, slot))? {
        files::write(&definitions.join(name), text)?;
    }
    let disk = work.join("disk.raw");
    if disk.exists() {
        fs::remove_file(&disk)?;
    }
    let arguments = [
        "--offline=yes",
        "--sector-size=512",
        "--empty=create",
        "--size=auto",
        "--dry-run=no",
        "--no-pager",
        &format!("--seed={SEED}"),
        &format!("--definitions={WORK}/repart.d"),
        &format!("{WORK}/disk.raw"),
    ];
    tools.run(work, "systemd-repart", &arguments.map(str::to_owned))?;
    Ok(disk)
}

fn values(version: &str, slot: &Slot) -> BTreeMap<&'static str, String> {
    let (root, verity) = slot.uuids();
    BTreeMap::from([
        ("VERSION", version.to_owned()),
        ("ESP", format!("{WORK}/esp")),
        ("ROOT", format!("{WORK}/root.erofs")),
        ("ROOT_UUID", root),
        ("VERITY", format!("{WORK}/root.verity")),
        ("VERITY_UUID", verity),
    ])
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
