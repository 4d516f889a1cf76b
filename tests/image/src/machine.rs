//! A virtual machine that a scenario starts, listens to and ends.

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::bench::Bench;

/// How often the console is read.
const PAUSE: Duration = Duration::from_millis(500);

/// How long QEMU may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// A running machine. It ends with the value.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    monitor: PathBuf,
    console: PathBuf,
}

/// How to start one.
#[derive(Debug, Default)]
pub(crate) struct Start<'a> {
    pub(crate) disk: Option<&'a Path>,
    /// The firmware's memory: with it the firmware that knows Secure Boot is taken.
    pub(crate) secure_boot: Option<&'a Path>,
    /// More for the kernel's command line, which an image without Secure Boot takes from outside.
    pub(crate) cmdline: &'a str,
}

impl Machine {
    pub(crate) fn start(bench: &Bench, name: &str, how: &Start<'_>) -> Result<Self> {
        let console = bench.work.join(format!("{name}.console"));
        let monitor = bench.work.join(format!("{name}.monitor"));
        for path in [&console, &monitor] {
            if path.exists() {
                fs::remove_file(path)?;
            }
        }
        let mut command = Command::new(&bench.builder);
        command.arg("run").arg("--console").arg(&console);
        if let Some(disk) = how.disk {
            command.arg("--disk").arg(disk);
        }
        if let Some(state) = how.secure_boot {
            command.arg("--firmware-state").arg(state);
            command.args(["--secure-boot", "/usr/share/OVMF/OVMF_VARS_4M.fd"]);
        }
        command.args(["--client-port", "0", "--federation-port", "0", "--"]);
        command.arg("-monitor");
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        if !how.cmdline.is_empty() {
            let key = "io.systemd.stub.kernel-cmdline-extra";
            command.arg("-smbios");
            command.arg(format!("type=11,value={key}={}", how.cmdline));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .context("starting the machine")?;
        Ok(Self {
            child,
            monitor,
            console,
        })
    }

    /// Waits until the console shows one of the texts, and tells which. Fails when time is up or the machine is off.
    pub(crate) fn wait(&mut self, texts: &[&str], patience: Duration) -> Result<usize> {
        let start = Instant::now();
        loop {
            // What the machine wrote last counts, also when it is off by now.
            let off = self.child.try_wait()?.is_some();
            let console = self.console()?;
            if let Some(found) = texts.iter().position(|text| console.contains(text)) {
                return Ok(found);
            }
            if off || start.elapsed() > patience {
                let why = if off {
                    "the machine is off"
                } else {
                    "time is up"
                };
                bail!(
                    "{why}, and the console never showed {texts:?}; it ends: {}",
                    tail(&console)
                );
            }
            sleep(PAUSE);
        }
    }

    /// Waits until the machine is off.
    pub(crate) fn wait_off(&mut self, patience: Duration) -> Result<()> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > patience {
                bail!(
                    "the machine is still on; its console ends: {}",
                    tail(&self.console()?)
                );
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    /// What the serial console showed so far, without its colours.
    pub(crate) fn console(&self) -> Result<String> {
        let bytes = if self.console.exists() {
            fs::read(&self.console)?
        } else {
            Vec::new()
        };
        Ok(plain(&String::from_utf8_lossy(&bytes)))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A machine that is off already has no monitor, and that is as good.
        if let Ok(mut monitor) = UnixStream::connect(&self.monitor) {
            let _ = monitor.write_all(b"quit\n");
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < GRACE {
            sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes out the escape sequences of a terminal.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.peek() == Some(&'[') {
            rest.next();
            for c in rest.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(800);
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at));
    text[start.unwrap_or(0)..].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(plain("[\u{1b}[0;32m  OK  \u{1b}[0m] x"), "[  OK  ] x");
        assert_eq!(plain("a\u{1b}[K"), "a");
    }

    #[test]
    fn a_tail_is_short_and_whole() {
        assert_eq!(tail("abc"), "abc");
        assert!(tail(&"é".repeat(2000)).len() <= 800);
    }
}
