//! A nation whose boxes are processes of their own, so that one of them can be stopped.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{Homeserver, Registration, eventually};

const BOXES: [&str; 3] = ["directory", "interieur", "sante"];

/// Two ministries and their directory. All end with this.
#[derive(Debug)]
pub struct Nation {
    folder: PathBuf,
    processes: Vec<(&'static str, Child)>,
}

impl Nation {
    /// Founds a nation and starts its boxes with the program that `LUXCHAT_APPLIANCE` names. `None` where it names none: the
    /// servers under test are somebody else's.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = env::var_os("LUXCHAT_APPLIANCE") else {
            return Ok(None);
        };
        let folder = env::temp_dir().join(format!("luxchat-nation-{:08x}", rand::random::<u32>()));
        let founded = Command::new(&program)
            .args(["demo", "--once", "--open", "--data"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let mut nation = Self {
            folder,
            processes: Vec::new(),
        };
        ensure!(founded.success(), "the nation cannot be founded: {founded}");
        for name in BOXES {
            let child = Command::new(&program)
                .args(["serve", "--config"])
                .arg(nation.site_file(name))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(nation.folder.join(format!("{name}.log")))?)
                .spawn()?;
            nation.processes.push((name, child));
        }
        for ministry in &BOXES[1..] {
            let url = format!("{}/_matrix/client/versions", nation.base_url(ministry)?);
            eventually(&format!("{ministry} serves"), async || {
                let answer = reqwest::get(&url).await;
                answer.is_ok_and(|answer| answer.status().is_success())
            })
            .await?;
        }
        Ok(Some(nation))
    }

    /// A ministry, to register at.
    pub fn ministry(&self, name: &str) -> Result<Homeserver> {
        Ok(Homeserver {
            base_url: self.base_url(name)?,
            registration: "open".parse::<Registration>()?,
        })
    }

    /// Kills a box.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        let at = self.processes.iter().position(|(other, _)| *other == name);
        let (_, mut child) = self.processes.remove(at.context("no such box runs")?);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn base_url(&self, name: &str) -> Result<String> {
        let site = fs::read_to_string(self.site_file(name))?;
        let url = site
            .lines()
            .find_map(|line| line.strip_prefix("public_url = \""));
        let url = url.and_then(|url| url.strip_suffix('"'));
        let url = url.with_context(|| format!("{name} has no public_url"))?;
        Ok(url.trim_end_matches('/').to_owned())
    }

    fn site_file(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name).join("site.toml")
    }
}

impl Drop for Nation {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            // They may have ended by themselves.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
