//! Where things are on the box.

use std::path::PathBuf;

/// Where things are on the box: below `/`, or below a folder that stands for it.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Paths {
    /// A box whose `/` is `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Any path of the box.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What these programs keep on the data volume.
    pub fn state(&self) -> PathBuf {
        self.at("var/lib/luxchat-system")
    }

    /// The site file in force.
    pub fn site(&self) -> PathBuf {
        self.state().join("site.toml")
    }

    /// The files that came with it, which it names: certificates for clients, secrets.
    pub fn site_files(&self) -> PathBuf {
        self.state().join("files")
    }

    /// The recovery key, until it was shown.
    pub fn recovery_key(&self) -> PathBuf {
        self.state().join("recovery-key")
    }

    /// What was set on the console in place of the site file's addresses.
    pub fn network_override(&self) -> PathBuf {
        self.state().join("network.toml")
    }

    /// What is gone after a restart.
    pub fn run(&self) -> PathBuf {
        self.at("run/luxchat")
    }

    /// Where the stick is mounted.
    pub fn stick(&self) -> PathBuf {
        self.run().join("stick")
    }

    /// What the stick held, copied before it is looked at.
    pub fn staging(&self) -> PathBuf {
        self.run().join("staging")
    }

    /// What the console shows of the first boot and of sticks.
    pub fn progress(&self) -> PathBuf {
        self.run().join("progress.json")
    }

    /// The box's data folder, where the site file names the usual one.
    pub fn data_dir(&self) -> PathBuf {
        self.at("var/lib/luxchat")
    }
}
