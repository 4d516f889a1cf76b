//! What a stick changes: everything on it is checked before anything is applied.

mod first;
mod later;
mod publication;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use luxchat_bundle::{BoxKeys, Enrolment, ServerName, SigningRequest};

use crate::{
    host::Host,
    programs::{APPLIANCE, APPLIANCE_USER, CommandLine, SYSTEMCTL},
    staged::Staged,
};

const MAX_DOCUMENT: usize = 2 * 1024 * 1024;

/// What came of a stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened, for the console and for the log on the stick.
    pub lines: Vec<String>,
    /// The box's newest request, and whose it is.
    pub request: Option<(ServerName, Vec<u8>)>,
    /// Where the box stands now.
    pub outcome: Outcome,
}

/// Where the box stands after a stick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something on the stick, or the stick as a whole, was refused; nothing of it was applied.
    Refused,
    /// The box asked the authority and waits for its answer.
    Asked,
    /// The box is enrolled.
    Enrolled,
    /// The authority ordered a factory reset.
    Reset,
}

/// What a stick wants changed, once it is checked.
#[derive(Debug)]
struct Visit<'a> {
    host: Host<'a>,
    staged: &'a Staged,
    now: Timestamp,
    lines: Vec<String>,
    request: Option<(ServerName, Vec<u8>)>,
}

/// Checks what a stick brought, and applies it.
pub fn visit(host: Host<'_>, staged: &Staged, now: Timestamp) -> Report {
    let mut visit = Visit {
        host,
        staged,
        now,
        lines: Vec::new(),
        request: None,
    };
    let outcome = visit.run().unwrap_or_else(|error| {
        visit.lines.push(format!("refused: {error:#}"));
        Outcome::Refused
    });
    Report {
        lines: visit.lines,
        request: visit.request,
        outcome,
    }
}

/// The answer of the authority that the box took in, if it did.
pub fn enrolment(host: Host<'_>) -> Result<Option<Enrolment>> {
    let path = host.paths.data_dir().join("enrolment.json");
    if !path.is_file() {
        return Ok(None);
    }
    read_answer(&path).map(Some)
}

/// Sets a clock right that is before the moment that the box's own certificate was signed: a machine whose battery is empty
/// would take everything for not valid yet.
pub fn keep_clock(host: Host<'_>, enrolment: &Enrolment) -> Result<()> {
    let signed = enrolment.certificate.leaf().not_before;
    if host.now() < signed {
        crate::say!(
            "the clock is before {signed:.0}, when the certificate was signed: it is set to that"
        );
        host.set_clock(signed)?;
    }
    Ok(())
}

impl Visit<'_> {
    fn run(&mut self) -> Result<Outcome> {
        match enrolment(self.host)? {
            Some(enrolment) => self.later(&enrolment),
            None => self.first(),
        }
    }

    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// The box's keys, if it has made them.
    fn keys(&self) -> Result<Option<BoxKeys>> {
        let folder = self.host.paths.data_dir().join("keys");
        let keys = BoxKeys::exist(&folder).then(|| BoxKeys::load(&folder));
        keys.transpose().context("the box's own keys")
    }

    /// The newest answer on the stick that is for `server_name`. Answers to others are none of this box's business.
    fn answer_for(&mut self, server_name: &ServerName) -> Result<Option<(PathBuf, Enrolment)>> {
        let mut newest: Option<(PathBuf, Enrolment)> = None;
        for path in self.staged.answers()? {
            let answer = read_answer(&path)?;
            if answer.server_name != *server_name {
                self.say(format!(
                    "an answer for {} is left alone",
                    answer.server_name
                ));
            } else if newest
                .as_ref()
                .is_none_or(|(_, other)| other.issued_at < answer.issued_at)
            {
                newest = Some((path, answer));
            }
        }
        Ok(newest)
    }

    /// Checks an answer, and the publication on the stick with it. The moment it gives is one that the clock may not be
    /// before.
    fn check_answer(&self, answer: &Enrolment, keys: &BoxKeys) -> Result<Timestamp> {
        let signed = answer.certificate.leaf().not_before;
        let now = self.now.max(signed);
        answer
            .check(&answer.server_name, keys, now)
            .with_context(|| {
                format!(
                    "the authority's answer (the box's clock says {:.0})",
                    self.now
                )
            })?;
        let published = self.check_publication(answer, now)?;
        Ok(published.map_or(signed, |published| published.max(signed)))
    }

    /// Sets a clock right that is before `signed`: whatever the time is, that is past.
    fn correct_clock(&mut self, signed: Timestamp) -> Result<()> {
        if self.now >= signed {
            return Ok(());
        }
        self.say(format!(
            "the clock said {:.0}, which is before {signed:.0}, when the authority signed: it is set to that. Set it \
             right in the machine's firmware, or name a time server in the site file",
            self.now
        ));
        self.host.set_clock(signed)?;
        self.now = signed;
        Ok(())
    }

    /// Makes the keys where there are none, and the request.
    fn ask(&mut self, server_name: &ServerName) -> Result<String> {
        let out = self.host.paths.data_dir().join("request.json");
        let site = self.host.paths.site();
        self.appliance(&["request", "--config"], &[&site, Path::new("--out"), &out])?;
        let bytes = luxchat_bundle::files::read(&out, MAX_DOCUMENT)?;
        let fingerprint = SigningRequest::from_json(&bytes)?.fingerprint();
        self.request = Some((server_name.clone(), bytes));
        Ok(fingerprint.read_aloud())
    }

    fn enrol(&mut self, answer: &Path) -> Result<()> {
        let site = self.host.paths.site();
        let repository = self.staged.repository();
        let mut arguments: Vec<&Path> = vec![&site];
        if let Some(repository) = &repository {
            arguments.extend([Path::new("--repository"), repository]);
        }
        arguments.push(answer);
        self.appliance(&["enrol", "--config"], &arguments)
    }

    /// Runs a command of the server's program as the server.
    fn appliance(&self, command: &[&str], arguments: &[&Path]) -> Result<()> {
        let mut line = CommandLine::new(APPLIANCE).args(command).args(arguments);
        if self.host.group.is_some() {
            line = line.user(APPLIANCE_USER);
        }
        self.host.programs.run(&line).map(drop)
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<()> {
        let line = CommandLine::new(SYSTEMCTL).args(arguments);
        self.host.programs.run(&line).map(drop)
    }
}

fn read_answer(path: &Path) -> Result<Enrolment> {
    let name = || {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let bytes = luxchat_bundle::files::read(path, MAX_DOCUMENT)?;
    Enrolment::from_json(&bytes).with_context(name)
}
