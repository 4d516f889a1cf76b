//! Media under load, and when the process dies over them.

mod killed_uploads;
mod many_downloads;
mod small_cache;
mod thumbnails;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use luxchat_appliance::nation::{Nation, Plan};
use luxchat_store::SystemClock;

use crate::boxes::SITE_LINES;

/// A nation whose boxes may fill the disk, with more lines in their `[media]`.
fn nation(folder: &Path, media_lines: &str) -> Result<Nation> {
    let plan = Plan {
        site_lines: format!("{SITE_LINES}\n[media]\nfree_bytes = 0\n{media_lines}\n"),
        ..Plan::default()
    };
    Nation::open_or_found(&folder.join("nation"), &plan, &SystemClock)
}

/// The files of contents in a box's media folder, without those in the making, named by their SHA-256; and the bytes of all.
fn contents(nation: &Nation, ministry: &str) -> Result<(Vec<String>, u64)> {
    let root = nation.site(ministry)?.config.data_dir.join("media");
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    let (mut names, mut bytes) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if entry.file_name() != "scratch" {
                    folders.push(entry.path());
                }
                continue;
            }
            // It may be gone since it was listed.
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            let path = entry.path();
            let name = path.strip_prefix(&root)?.to_str().context("hexadecimal")?;
            names.push(name.replace('/', ""));
        }
    }
    names.sort();
    Ok((names, bytes))
}

/// Bytes that do not compress, others for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill(&mut bytes);
    bytes
}
