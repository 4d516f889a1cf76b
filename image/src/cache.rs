//! What need not be made twice: packages and tools, each under its hash, and the compiler's output.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;

/// A folder that may be deleted at any time between commands.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The given folder, or the user's own.
    pub(crate) fn open(folder: Option<PathBuf>) -> Result<Self> {
        let folder = match folder {
            Some(folder) => folder,
            None => default_folder().context("neither --cache nor HOME names a place")?,
        };
        fs::create_dir_all(folder.join("packages"))
            .with_context(|| format!("making the cache {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn package(&self, sha256: &str) -> PathBuf {
        self.folder.join("packages").join(format!("{sha256}.deb"))
    }

    /// The tools that a lock of this hash describes.
    pub(crate) fn tools(&self, sha256: &str) -> PathBuf {
        self.folder.join("tools").join(&sha256[..16])
    }

    /// The compiler's output for the programs of the image.
    pub(crate) fn target(&self) -> PathBuf {
        self.folder.join("target")
    }
}

/// Refuses to begin what the disk would not hold. `bytes` is what the step writes at most.
pub(crate) fn check_space(folder: &Path, bytes: u64) -> Result<()> {
    let stat =
        statvfs(folder).with_context(|| format!("asking for the space at {}", folder.display()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    ensure!(
        free >= bytes,
        "{} has {} free, and {} are needed",
        folder.display(),
        crate::progress::size(free),
        crate::progress::size(bytes)
    );
    Ok(())
}

fn default_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    Some(base.join("luxchat-image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_disk_is_told_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        check_space(folder.path(), 1).unwrap();
        let error = check_space(folder.path(), u64::MAX)
            .unwrap_err()
            .to_string();
        assert!(error.contains("are needed"), "{error}");
    }

    #[test]
    fn things_lie_under_their_hash() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().join("deep/cache"))).unwrap();
        assert!(cache.package("ab").ends_with("packages/ab.deb"));
        assert!(
            cache
                .tools(&"c".repeat(64))
                .ends_with("tools/cccccccccccccccc")
        );
    }
}
