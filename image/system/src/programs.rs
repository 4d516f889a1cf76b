//! Other programs, run by fixed argument vectors: there is no shell on the box.

use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

/// More output than this is cut off.
const MAX_OUTPUT: u64 = 1024 * 1024;
/// More of an error than this is not repeated to people.
const MAX_WORDS: usize = 2_000;
/// How often a program is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The server's program.
pub const APPLIANCE: &str = "/usr/bin/luxchat-appliance";
/// Who the server runs as.
pub const APPLIANCE_USER: &str = "luxchat";
/// The way to PID 1.
pub const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// One run of a program.
#[derive(Clone)]
pub struct CommandLine {
    program: &'static str,
    arguments: Vec<OsString>,
    input: Zeroizing<Vec<u8>>,
    user: Option<&'static str>,
    limit: Duration,
}

impl CommandLine {
    /// A run of `program`, an absolute path, that may take two minutes.
    pub fn new(program: &'static str) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            input: Zeroizing::default(),
            user: None,
            limit: Duration::from_mins(2),
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// With a secret on its standard input, where no other process can see it.
    #[must_use]
    pub fn input(mut self, bytes: &[u8]) -> Self {
        self.input = Zeroizing::new(bytes.to_vec());
        self
    }

    /// As another user than root.
    #[must_use]
    pub fn user(mut self, user: &'static str) -> Self {
        self.user = Some(user);
        self
    }

    /// With more or less time than two minutes.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The program's path.
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// What it reads.
    pub fn standard_input(&self) -> &[u8] {
        &self.input
    }

    /// Program and arguments in one line, for people.
    pub fn line(&self) -> String {
        let parts = self.arguments.iter().map(|part| part.to_string_lossy());
        std::iter::once(self.program.into())
            .chain(parts)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CommandLine").field(&self.line()).finish()
    }
}

/// Whoever runs programs.
pub trait Programs {
    /// Runs one to its end and gives what it printed.
    ///
    /// # Errors
    ///
    /// What it said on its standard error, if it failed.
    fn run(&self, command: &CommandLine) -> Result<String>;
}

/// The programs of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Programs for Machine {
    fn run(&self, command: &CommandLine) -> Result<String> {
        let mut child =
            spawn(command).with_context(|| format!("{} cannot be run", command.program))?;
        let output = drain(child.stdout.take());
        let words = drain(child.stderr.take());
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read on has its reason, and says it.
            let _ = input.write_all(&command.input);
        }
        let ended = wait(&mut child, command.limit)?;
        let output = text(output)?;
        let words = text(words)?;
        match ended {
            Some(status) if status.success() => Ok(output),
            Some(status) => bail!(
                "{}: {}",
                command.program,
                reason(&words, &status.to_string())
            ),
            None => bail!(
                "{} did not end within {} s and was stopped",
                command.program,
                command.limit.as_secs()
            ),
        }
    }
}

fn spawn(command: &CommandLine) -> Result<Child> {
    let mut it = Command::new(command.program);
    it.args(&command.arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/usr/sbin")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(name) = command.user {
        let user = nix::unistd::User::from_name(name)?;
        let user = user.with_context(|| format!("there is no user {name}"))?;
        it.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(it.spawn()?)
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes)?;
            // The rest is read too, so that the program does not wait for ever.
            std::io::copy(&mut pipe, &mut std::io::sink())?;
        }
        Ok(bytes)
    })
}

fn text(pipe: JoinHandle<std::io::Result<Vec<u8>>>) -> Result<String> {
    let bytes = pipe
        .join()
        .map_err(|_| anyhow::anyhow!("a reader failed"))??;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn reason(words: &str, status: &str) -> String {
    let words = words.trim();
    let words = words.strip_prefix("error: ").unwrap_or(words);
    if words.is_empty() {
        return status.to_owned();
    }
    words.chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Keeps what would have been run, and answers with what was prepared.
    #[derive(Debug, Default)]
    pub(crate) struct Recorder {
        lines: RefCell<Vec<String>>,
        answers: Vec<(&'static str, Result<String, String>)>,
    }

    impl Recorder {
        /// Answers every command line that contains `part` with `answer`.
        pub(crate) fn answering(mut self, part: &'static str, answer: Result<&str, &str>) -> Self {
            let answer = answer.map(str::to_owned).map_err(str::to_owned);
            self.answers.push((part, answer));
            self
        }

        /// What was run so far.
        pub(crate) fn lines(&self) -> Vec<String> {
            self.lines.borrow().clone()
        }
    }

    impl Programs for Recorder {
        fn run(&self, command: &CommandLine) -> Result<String> {
            let line = command.line();
            let found = self.answers.iter().find(|(part, _)| line.contains(part));
            let answer = found.map_or(Ok(String::new()), |(_, answer)| answer.clone());
            self.lines.borrow_mut().push(line);
            answer.map_err(anyhow::Error::msg)
        }
    }

    #[test]
    fn a_program_gets_its_input_and_its_output_comes_back() {
        let cat = CommandLine::new("/usr/bin/cat").input(b"secret\n");
        assert_eq!(Machine.run(&cat).unwrap(), "secret\n");
        assert!(!format!("{cat:?}").contains("secret"));
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let missing = CommandLine::new("/usr/bin/cat").arg("/nowhere/at/all");
        let error = Machine.run(&missing).unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");
        let absent = CommandLine::new("/usr/bin/nothing-of-that-name");
        let error = Machine.run(&absent).unwrap_err().to_string();
        assert!(error.contains("cannot be run"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let sleep = CommandLine::new("/usr/bin/sleep")
            .arg("600")
            .within(Duration::from_millis(100));
        let error = Machine.run(&sleep).unwrap_err().to_string();
        assert!(error.contains("did not end"), "{error}");
    }
}
