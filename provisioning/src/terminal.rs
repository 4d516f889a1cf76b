//! Talking to the people in the room.

use std::{
    env,
    io::{BufRead, Read, Write, stderr, stdin},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use luxchat_provision::{Error, KeyName, MIN_PASSPHRASE, Passphrase, Passphrases};
use zeroize::Zeroizing;

const MAX_ANSWER: u64 = 4096;
/// How often a new passphrase may be mistyped.
const ATTEMPTS: usize = 5;

/// The holders of the keys: their passphrases come from the environment, a file, or the terminal,
/// in this order.
#[derive(Debug)]
pub(crate) struct Holders {
    file: Option<PathBuf>,
}

impl Holders {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// A passphrase that nobody needs to be asked for.
    fn given(&self, key: KeyName) -> Result<Option<Passphrase>, Error> {
        let own = format!(
            "LUXCHAT_PASSPHRASE_{}",
            key.to_string().to_uppercase().replace('-', "_")
        );
        for name in [own.as_str(), "LUXCHAT_PASSPHRASE"] {
            if let Ok(passphrase) = env::var(name) {
                return Ok(Some(Zeroizing::new(passphrase)));
            }
        }
        self.file.as_deref().map(first_line).transpose()
    }
}

impl Passphrases for Holders {
    fn choose(&self, key: KeyName) -> Result<Passphrase, Error> {
        if let Some(passphrase) = self.given(key)? {
            return Ok(passphrase);
        }
        for _ in 0..ATTEMPTS {
            let passphrase = prompt(&format!("New passphrase for {key}: "))?;
            if passphrase.chars().count() < MIN_PASSPHRASE {
                tell(&format!("Use at least {MIN_PASSPHRASE} characters."));
            } else if prompt(&format!("The same again for {key}: "))? == passphrase {
                return Ok(passphrase);
            } else {
                tell("The two are not the same.");
            }
        }
        Err(Error::NoPassphrase(key))
    }

    fn ask(&self, key: KeyName) -> Result<Option<Passphrase>, Error> {
        if let Some(passphrase) = self.given(key)? {
            return Ok(Some(passphrase));
        }
        let passphrase = prompt(&format!(
            "Passphrase for {key} (none if its holder is not here): "
        ))?;
        Ok((!passphrase.is_empty()).then_some(passphrase))
    }
}

/// Keeps what a foreign document says from steering the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => c,
            _ if c.is_control() => '\u{fffd}',
            _ => c,
        })
        .collect()
}

/// Asks a question that only `yes` answers.
pub(crate) fn confirm(question: &str) -> Result<()> {
    write!(stderr(), "{question} Type yes: ")?;
    stderr().flush()?;
    let mut answer = String::new();
    stdin().lock().take(MAX_ANSWER).read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("not confirmed, so nothing was signed");
    }
    Ok(())
}

fn tell(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

fn prompt(question: &str) -> Result<Passphrase, Error> {
    rpassword::prompt_password(question)
        .map(Zeroizing::new)
        .map_err(|error| {
            Error::Prompt(format!(
                "{error}. Without a terminal, use --passphrase-file or LUXCHAT_PASSPHRASE"
            ))
        })
}

fn first_line(path: &Path) -> Result<Passphrase, Error> {
    let bytes = Zeroizing::new(luxchat_bundle::files::read(path, 4096)?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::Prompt(format!("{} is not text", path.display())))?;
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}
