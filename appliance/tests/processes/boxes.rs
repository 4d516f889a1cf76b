//! Boxes as processes of their own.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use luxchat_appliance::nation::{Client, Nation, Site};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

pub(crate) const MINISTRIES: [&str; 2] = ["interieur", "sante"];

/// Without rate limits: the tests are meant to be a burden.
pub(crate) const SITE_LINES: &str = "\n[limits]\nrequests_per_user = 0\nlogins_per_address = 0\n";

const PASSWORD: &str = "correct horse battery staple";

/// How long a start may take on a machine that has other things to do as well.
const START_TIME: Duration = Duration::from_mins(1);

/// Lines of a log that are shown with a failure.
const LAST_WORDS: usize = 40;

/// A box that runs as `luxchat-appliance serve`. The process ends with this.
#[derive(Debug)]
pub(crate) struct BoxProcess {
    site: Site,
    site_file: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    kills: u32,
}

impl BoxProcess {
    pub(crate) fn new(nation: &Nation, folder: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            site: nation.site(name)?.clone(),
            site_file: folder.join("nation").join(name).join("site.toml"),
            log: folder.join(format!("{name}.log")),
            child: None,
            kills: 0,
        })
    }

    /// Starts the process and does not wait for it to serve.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.start_through(Command::new(program()))
    }

    /// The same, with the data folder on a disk of `mebibytes` of its own, `ballast` of them in use by something else. What
    /// the box writes there is gone with it.
    pub(crate) fn start_on_small_disk(&mut self, mebibytes: u32, ballast: u32) -> Result<()> {
        // The names lead to the new disk in this process and its children only.
        let script = r#"
            set -e
            cp -a "$DATA" "$DATA.before"
            mount -t tmpfs -o "size=${SIZE}m" tmpfs "$DATA"
            cp -a "$DATA.before/." "$DATA/"
            head -c "${BALLAST}M" /dev/zero > "$DATA/ballast"
            exec 3<&0
            { read -r _ <&3; rm "$DATA/ballast"; } &
            exec "$@"
        "#;
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(program())
            .env("DATA", &self.site.config.data_dir)
            .env("SIZE", mebibytes.to_string())
            .env("BALLAST", ballast.to_string());
        self.start_through(command)
    }

    /// Takes the ballast from the small disk.
    pub(crate) async fn drop_ballast(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the box was not started")?;
        let stdin = child.stdin.as_mut().context("its input is a pipe")?;
        stdin.write_all(b"\n").await?;
        Ok(())
    }

    fn start_through(&mut self, mut command: Command) -> Result<()> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        let child = command
            .arg("serve")
            .arg("--config")
            .arg(&self.site_file)
            .env("LUXCHAT_LOG", "info")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?} does not start"))?;
        self.child = Some(child);
        Ok(())
    }

    pub(crate) async fn start_and_wait(&mut self) -> Result<()> {
        self.start()?;
        self.wait_until_ready().await
    }

    /// Waits until the box says that it can read and write.
    pub(crate) async fn wait_until_ready(&mut self) -> Result<()> {
        let ready = format!("http://{}/health/ready", self.site.config.admin.listen);
        let began = Instant::now();
        while !reqwest::get(&ready)
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            let child = self.child.as_mut().context("the box was not started")?;
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.site.name, self.log()?);
            }
            ensure!(
                began.elapsed() < START_TIME,
                "{} does not serve:\n{}",
                self.site.name,
                self.log()?
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// SIGKILL. The process must have lived until then.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the box was not started")?;
        child.start_kill()?;
        let status = child.wait().await?;
        ensure!(
            status.signal() == Some(9),
            "{} ended by itself with {status}:\n{}",
            self.site.name,
            self.log()?
        );
        self.kills += 1;
        Ok(())
    }

    /// What the process has in memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let child = self.child.as_ref().context("the box was not started")?;
        let id = child.id().context("the box has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|resident| resident.trim().strip_suffix(" kB"));
        Ok(kibibytes.context("no VmRSS")?.parse::<u64>()? * 1024)
    }

    pub(crate) fn kills(&self) -> u32 {
        self.kills
    }

    /// The database was looked through after crashes, and found sound each time; no task of the box panicked.
    pub(crate) fn assert_checked_after_crashes(&self) -> Result<()> {
        let log = self.log()?;
        let count = |text: &str| log.matches(text).count();
        let checks = count("the last run did not end cleanly: checking the database");
        ensure!(
            checks > 0,
            "{}: no check after {} kills",
            self.site.name,
            self.kills
        );
        // A check may have been killed itself, but none may have had a finding: the box would have ended.
        ensure!(count("the database is sound") > 0, "no check ended:\n{log}");
        for bad in ["panicked", "damaged", "internal error"] {
            ensure!(count(bad) == 0, "{}: {bad}:\n{log}", self.site.name);
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(LAST_WORDS);
        format!("{}:\n{}\n", self.site.name, lines[last..].join("\n"))
    }

    /// What the box has logged.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }
}

/// Makes an account at a running box and logs it in.
pub(crate) async fn agent(nation: &Nation, ministry: &str, localpart: &str) -> Result<Client> {
    let site = nation.site(ministry)?;
    site.make_agent(localpart, PASSWORD).await?;
    Client::login(&site.base_url(), localpart, PASSWORD).await
}

/// The program under test. Cargo names it to the running test; beside the test's own file it lies in any case.
pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os("CARGO_BIN_EXE_luxchat-appliance");
    named.map_or_else(beside_the_test, |path: OsString| path.into())
}

fn beside_the_test() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("luxchat-appliance")
}
