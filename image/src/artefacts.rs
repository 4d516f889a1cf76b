//! What a build leaves in its folder, and the manifest that tells their hashes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::files;

/// The names of the artefacts in a build's folder.
pub(crate) mod names {
    pub(crate) const BOOT_LOADER: &str = "systemd-boot.efi";
    pub(crate) const CMDLINE: &str = "cmdline";
    pub(crate) const CONTENTS: &str = "contents.json";
    pub(crate) const DISK: &str = "disk.raw";
    pub(crate) const INITRD: &str = "initrd";
    pub(crate) const KERNEL: &str = "linux";
    pub(crate) const KERNEL_VERSION: &str = "kernel-version";
    pub(crate) const MANIFEST: &str = "manifest.json";
    pub(crate) const OS_RELEASE: &str = "os-release";
    pub(crate) const ROOT: &str = "root.erofs";
    pub(crate) const STUB: &str = "stub.efi";
    /// What an update downloads: the slot's two partitions and the kernel image.
    pub(crate) const UPDATE: &str = "update";
}

/// The name of a version's kernel image, as systemd-boot and systemd-sysupdate know it.
pub(crate) fn uki(version: &str) -> String {
    format!("luxchat_{version}.efi")
}

/// What a build is, by hash.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) version: String,
    /// Seconds since 1970: the time of everything in the image.
    pub(crate) epoch: u32,
    pub(crate) root_hash: String,
    pub(crate) signed: bool,
    pub(crate) packages: usize,
    pub(crate) toolchain: Vec<String>,
    /// Size and SHA-256 of each file, by path.
    pub(crate) artefacts: BTreeMap<String, Artefact>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Artefact {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The files of the image's trees, for `verify` to say which differ.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) root: BTreeMap<String, String>,
    pub(crate) initrd: BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(names::MANIFEST);
        let text = fs::read(&path)
            .with_context(|| format!("{} is no finished build", folder.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Hashes the files of a folder into the manifest, and writes it there.
    pub(crate) fn write(&mut self, folder: &Path) -> Result<()> {
        self.artefacts = measure(folder)?;
        let text = serde_json::to_vec_pretty(self)?;
        files::write(&folder.join(names::MANIFEST), text)
    }
}

impl Contents {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(names::CONTENTS);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        files::write(
            &folder.join(names::CONTENTS),
            serde_json::to_vec_pretty(self)?,
        )
    }
}

/// Size and hash of every file in a folder but its manifest.
pub(crate) fn measure(folder: &Path) -> Result<BTreeMap<String, Artefact>> {
    let mut artefacts = BTreeMap::new();
    for path in files::walk(folder)? {
        let full: PathBuf = folder.join(&path);
        if full.is_file() && path != names::MANIFEST {
            let artefact = Artefact {
                bytes: fs::metadata(&full)?.len(),
                sha256: files::sha256(&full)?,
            };
            artefacts.insert(path, artefact);
        }
    }
    ensure!(!artefacts.is_empty(), "{} is empty", folder.display());
    Ok(artefacts)
}
