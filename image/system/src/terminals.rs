//! The terminals of the machine: its screen and its serial line. Plain text, a line at a time, so that any serial line does.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use anyhow::{Result, bail};
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{InputFlags, LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr},
};

use crate::{
    paths::Paths,
    people::{Echo, People},
    say::printable,
};

/// How long a question waits before whoever asks may look at something else.
const WAIT: Duration = Duration::from_secs(5);
/// The longest line that is read.
const MAX_LINE: usize = 256;
/// More terminals than this are not looked at.
const MAX_TERMINALS: usize = 4;

/// Terminals that show the same, and any of which may answer.
#[derive(Debug)]
pub struct Terminals {
    all: Vec<Terminal>,
    wait: Duration,
    /// The question that stands on them.
    asked: Option<String>,
}

#[derive(Debug)]
struct Terminal {
    file: File,
    /// Whether it is a screen that can be wiped, and no line to somewhere else.
    is_screen: bool,
}

impl Terminals {
    /// Those that the kernel speaks on.
    pub fn of_the_machine(paths: &Paths) -> Result<Self> {
        let active = std::fs::read_to_string(paths.at("sys/class/tty/console/active"));
        let names = names(&active.unwrap_or_default());
        let all: Vec<_> = names
            .iter()
            .filter_map(|name| Terminal::open(&paths.at("dev").join(name)).ok())
            .collect();
        Self::of(all, WAIT)
    }

    /// One of them, whose questions wait for so long.
    pub fn one(device: &Path, wait: Duration) -> Result<Self> {
        Self::of(vec![Terminal::open(device)?], wait)
    }

    fn of(all: Vec<Terminal>, wait: Duration) -> Result<Self> {
        if all.is_empty() {
            bail!("the machine has no terminal");
        }
        Ok(Self {
            all,
            wait,
            asked: None,
        })
    }

    /// Shows a text in place of what is there, where that can be done.
    pub fn show(&mut self, text: &str) {
        self.asked = None;
        for terminal in &mut self.all {
            if terminal.is_screen {
                terminal.write("\u{1b}[H\u{1b}[2J");
            }
            terminal.write(text);
        }
    }

    fn write(&mut self, text: &str) {
        for terminal in &mut self.all {
            terminal.write(text);
        }
    }

    fn set_echo(&self, echo: Echo) {
        for terminal in &self.all {
            // A terminal that went away is found out about when it is read.
            let _ = terminal.set_up(echo);
        }
    }

    /// A line from any of them, if one comes in time.
    fn read_line(&mut self) -> Result<Option<String>> {
        let mut waiting: Vec<_> = self
            .all
            .iter()
            .map(|terminal| PollFd::new(terminal.file.as_fd(), PollFlags::POLLIN))
            .collect();
        let limit = PollTimeout::try_from(self.wait).unwrap_or(PollTimeout::MAX);
        if poll(&mut waiting, limit)? == 0 {
            return Ok(None);
        }
        let ready: Vec<bool> = waiting
            .iter()
            .map(|it| {
                it.revents()
                    .is_some_and(|events| events.contains(PollFlags::POLLIN))
            })
            .collect();
        let first = self.all.iter_mut().zip(ready).find(|(_, ready)| *ready);
        let Some((terminal, _)) = first else {
            // Only errors and hang-ups: no reason to ask again at once.
            std::thread::sleep(self.wait);
            return Ok(None);
        };
        let mut bytes = [0; MAX_LINE];
        let length = terminal.file.read(&mut bytes).unwrap_or(0);
        if length == 0 {
            std::thread::sleep(self.wait);
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes[..length]);
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl People for Terminals {
    fn tell(&mut self, text: &str) {
        self.asked = None;
        self.write(&format!("\n{}\n", printable(text)));
    }

    fn ask(&mut self, question: &str, echo: Echo) -> Result<Option<String>> {
        if self.asked.as_deref() != Some(question) {
            self.set_echo(echo);
            self.write(question);
            self.asked = Some(question.to_owned());
        }
        let answer = self.read_line()?;
        if answer.is_some() {
            self.asked = None;
            self.set_echo(Echo::On);
        }
        Ok(answer)
    }
}

impl Terminal {
    fn open(device: &Path) -> Result<Self> {
        let name = device.file_name().unwrap_or_default().to_string_lossy();
        // It never becomes the controlling terminal: no key sends a signal.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits())
            .open(device)?;
        let is_screen = name
            .strip_prefix("tty")
            .is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()));
        let terminal = Self { file, is_screen };
        terminal.set_up(Echo::On)?;
        Ok(terminal)
    }

    /// A line at a time, with the usual ways to correct it. The speed stays as it is.
    fn set_up(&self, echo: Echo) -> Result<()> {
        let mut settings = tcgetattr(&self.file)?;
        settings.input_flags.insert(InputFlags::ICRNL);
        settings
            .input_flags
            .remove(InputFlags::INLCR | InputFlags::IGNCR);
        settings
            .output_flags
            .insert(OutputFlags::OPOST | OutputFlags::ONLCR);
        settings.local_flags.insert(
            LocalFlags::ICANON | LocalFlags::ECHOE | LocalFlags::ECHOK | LocalFlags::ECHONL,
        );
        settings
            .local_flags
            .remove(LocalFlags::ISIG | LocalFlags::IEXTEN);
        settings.local_flags.set(LocalFlags::ECHO, echo == Echo::On);
        Ok(tcsetattr(&self.file, SetArg::TCSANOW, &settings)?)
    }

    fn write(&mut self, text: &str) {
        // A line to nowhere keeps nobody from going on.
        let _ = self.file.write_all(text.as_bytes());
    }
}

/// The terminals in the kernel's list of consoles; `tty0` is whichever screen is in front, and the first is always there.
fn names(active: &str) -> Vec<String> {
    let names = active.split_whitespace().take(MAX_TERMINALS);
    names
        .map(|name| if name == "tty0" { "tty1" } else { name })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use nix::pty::openpty;

    use super::*;

    #[test]
    fn the_screen_in_front_is_the_first() {
        assert_eq!(names("tty0 ttyS0\n"), ["tty1", "ttyS0"]);
        assert!(names("").is_empty());
    }

    #[test]
    fn a_line_is_asked_for_once_and_read() {
        let pair = openpty(None, None).unwrap();
        let device = std::fs::read_link(format!("/proc/self/fd/{}", {
            use std::os::fd::AsRawFd;
            pair.slave.as_raw_fd()
        }))
        .unwrap();
        let mut terminals = Terminals::one(&device, Duration::from_millis(50)).unwrap();
        let mut other = File::from(pair.master);
        assert_eq!(terminals.ask("Name: ", Echo::On).unwrap(), None);
        assert_eq!(terminals.ask("Name: ", Echo::On).unwrap(), None);
        other.write_all(b"interior.lu\r").unwrap();
        let answer = loop {
            if let Some(answer) = terminals.ask("Name: ", Echo::On).unwrap() {
                break answer;
            }
        };
        assert_eq!(answer, "interior.lu");
        // A key that would send a signal is a letter like any other.
        other.write_all(b"\x03\r").unwrap();
        let answer = terminals.ask_until_answered("Again: ", Echo::Off).unwrap();
        assert_eq!(answer, "\u{3}");
        terminals.tell("a \u{1b}[2J b");
        let mut shown = String::new();
        while !shown.contains("J b") {
            let mut bytes = [0; 4096];
            let length = other.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        assert_eq!(shown.matches("Name: ").count(), 1, "{shown:?}");
        assert!(
            shown.contains('\u{fffd}') && !shown.contains("\u{1b}[2J"),
            "{shown:?}"
        );
    }
}
