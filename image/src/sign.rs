//! A build, signed: the boot loader and the kernel image for Secure Boot, and the measurements of the kernel image for
//! the TPM, so that a signed update can unlock the data as well.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    apt,
    artefacts::{Manifest, names, uki},
    cache::Cache,
    disk::{self, Uki},
    files,
    mirror::Mirror,
    progress::Progress,
    recipe::Recipe,
    tools::{Tools, WORK},
};

/// The keys of an authority over images. They are read, used and never copied to the artefacts.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The private key for Secure Boot, PEM
    #[arg(long)]
    secure_boot_key: PathBuf,
    /// Its certificate, PEM, which the firmware of the boxes trusts
    #[arg(long)]
    secure_boot_certificate: PathBuf,
    /// The private key for measurements (PCR 11), PEM
    #[arg(long)]
    pcr_key: PathBuf,
    /// Its public key, PEM, to which the data of the boxes is bound
    #[arg(long)]
    pcr_public_key: PathBuf,
}

/// Signs `build` into `out`.
pub(crate) fn sign(
    recipe: &Recipe,
    cache: &Cache,
    mirrors: &[Mirror],
    build: &Path,
    out: &Path,
    keys: &Keys,
) -> Result<()> {
    let progress = Progress::start();
    let mut manifest = Manifest::read(build)?;
    ensure!(!manifest.signed, "{} is signed already", build.display());
    ensure!(build != out, "the signed build needs a folder of its own");
    let packages = recipe.locked("tools.list", "tools.lock")?;
    apt::fetch(cache, mirrors, &packages)?;
    let tools = Tools::prepare(cache, mirrors, &packages, manifest.epoch)?;

    // Keys lie beside the work only while they are used.
    let work = out.join("work");
    files::fresh(&work)?;
    let result = sign_in(&tools, &work, recipe, build, out, keys, &manifest);
    fs::remove_dir_all(&work).context("removing the working copies of the keys")?;
    result?;
    manifest.signed = true;
    manifest.write(out)?;
    progress.say(format!("signed {}", out.join(names::DISK).display()));
    Ok(())
}

fn sign_in(
    tools: &Tools,
    work: &Path,
    recipe: &Recipe,
    build: &Path,
    out: &Path,
    keys: &Keys,
    manifest: &Manifest,
) -> Result<()> {
    for (name, path) in [
        ("secure-boot.key", &keys.secure_boot_key),
        ("secure-boot.crt", &keys.secure_boot_certificate),
        ("pcr.key", &keys.pcr_key),
        ("pcr.pub", &keys.pcr_public_key),
    ] {
        files::copy(path, &work.join(name))?;
    }
    for name in [
        names::CMDLINE,
        names::INITRD,
        names::KERNEL,
        names::OS_RELEASE,
        names::ROOT,
        names::STUB,
    ] {
        files::copy(&build.join(name), &work.join(name))?;
    }
    let loader = names::BOOT_LOADER;
    files::copy(&build.join(loader), &work.join("unsigned.efi"))?;
    let arguments = [
        "sign".to_owned(),
        format!("--private-key={WORK}/secure-boot.key"),
        format!("--certificate={WORK}/secure-boot.crt"),
        format!("--output={WORK}/{loader}"),
        format!("{WORK}/unsigned.efi"),
    ];
    tools.run(work, "/usr/lib/systemd/systemd-sbsign", &arguments)?;

    // What the boot loader enrols in a firmware that has no keys: by itself in a virtual machine, on order on metal.
    let arguments = [
        "install".to_owned(),
        "--no-variables".to_owned(),
        "--entry-token=literal:luxchat".to_owned(),
        // It insists on a mount point, which the tools' folder for temporary files is.
        "--esp-path=/var/tmp".to_owned(),
        "--secure-boot-auto-enroll=yes".to_owned(),
        format!("--private-key={WORK}/secure-boot.key"),
        format!("--certificate={WORK}/secure-boot.crt"),
    ];
    tools.run(work, "bootctl", &arguments)?;
    files::copy(&work.join("scratch/loader/keys/auto"), &work.join("keys"))?;

    let kernel_version = fs::read_to_string(build.join(names::KERNEL_VERSION))?;
    let image = Uki {
        version: &manifest.version,
        kernel_version: &kernel_version,
        signing: vec![
            "--signtool=systemd-sbsign".to_owned(),
            // The kernel inside is checked with the whole image; its own signature is Debian's.
            "--no-sign-kernel".to_owned(),
            format!("--secureboot-private-key={WORK}/secure-boot.key"),
            format!("--secureboot-certificate={WORK}/secure-boot.crt"),
            format!("--pcr-private-key={WORK}/pcr.key"),
            format!("--pcr-public-key={WORK}/pcr.pub"),
            "--pcr-banks=sha256".to_owned(),
        ],
    };
    disk::kernel_image(tools, work, &image)?;
    let slot = disk::slot(tools, work, &manifest.version)?;
    ensure!(
        slot.root_hash == manifest.root_hash,
        "{} has the root hash {}, and its manifest says {}",
        build.display(),
        slot.root_hash,
        manifest.root_hash
    );
    disk::whole(
        tools,
        work,
        recipe,
        &manifest.version,
        &slot,
        manifest.epoch,
    )?;

    for entry in fs::read_dir(build)? {
        let name = entry?.file_name();
        if name != names::MANIFEST && name != names::DISK && name != loader {
            files::copy(&build.join(&name), &out.join(&name))?;
        }
    }
    let image = uki(&manifest.version);
    files::copy(&work.join(&image), &out.join(names::UPDATE).join(&image))?;
    for name in [names::DISK, loader] {
        fs::rename(work.join(name), out.join(name))?;
    }
    Ok(())
}
