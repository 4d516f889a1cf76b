//! The stick at a box that is not enrolled yet.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Outcome, Visit};
use crate::{
    programs::CommandLine,
    site::{self, Site},
};

/// Waits until a network card has its address.
const WAIT_ONLINE: &str = "/usr/lib/systemd/systemd-networkd-wait-online";

impl Visit<'_> {
    /// Takes the site file, asks, and takes in the answer, as far as the stick goes.
    pub(super) fn first(&mut self) -> Result<Outcome> {
        let site = self.site()?;
        let name = site.server_name.clone();
        let answer = self.answer_for(&name)?;
        let keys = self.keys()?;
        let signed = match (&answer, &keys) {
            (Some((_, answer)), Some(keys)) => Some(self.check_answer(answer, keys)?),
            (Some(_), None) => bail!(
                "there is an answer for {name}, but this box has made no key yet: the answer is to another box of that \
                 name. Take it off the stick to begin"
            ),
            (None, _) => None,
        };
        // From here on things change.
        if let Some(signed) = signed {
            self.correct_clock(signed)?;
        }
        self.apply_site(&site)?;
        let fingerprint = self.ask(&name)?;
        if let Some((path, answer)) = answer {
            self.enrol(&path)?;
            self.serve(&site)?;
            self.say(format!(
                "{name} is enrolled; its certificate is good until {:.0}",
                answer.certificate.leaf().not_after
            ));
            self.say(format!(
                "compare with the authority's root of trust: {}",
                answer.root_fingerprint().read_aloud()
            ));
            return Ok(Outcome::Enrolled);
        }
        if let Some(voucher) = self.staged.voucher() {
            self.enrol_by_voucher(&voucher, &site)?;
            return Ok(Outcome::Enrolled);
        }
        self.say(format!(
            "the request of {name} is on the stick, in the folder `request`: carry it to the authority, and its answer \
             back in the folder `enrolment`"
        ));
        self.say(format!(
            "read this to the officer at the authority: {fingerprint}"
        ));
        Ok(Outcome::Asked)
    }

    /// Has the directory sign at once, as the voucher on the stick entitles the box to.
    fn enrol_by_voucher(&mut self, voucher: &Path, site: &Site) -> Result<()> {
        // The network was set up a moment ago. Whether it is there, the attempt shows.
        let wait = CommandLine::new(WAIT_ONLINE).args(["--any", "--timeout=60"]);
        let _ = self.host.programs.run(&wait);
        let config = self.host.paths.site();
        self.appliance(
            &["enrol", "--config"],
            &[&config, Path::new("--voucher"), voucher],
        )
        .context("the directory did not enrol the box by its voucher")?;
        if self.staged.repository().is_some() {
            self.take_publication()?;
        }
        self.serve(site)?;
        let enrolment = super::enrolment(self.host)?
            .context("the server's program enrolled the box, and nothing is there")?;
        self.say(format!(
            "{} is enrolled by its voucher; its certificate is good until {:.0}",
            site.server_name,
            enrolment.certificate.leaf().not_after
        ));
        self.say(format!(
            "compare with the authority's root of trust: {}",
            enrolment.root_fingerprint().read_aloud()
        ));
        Ok(())
    }

    /// The site file on the stick, or the one that an earlier stick brought.
    fn site(&self) -> Result<Site> {
        match self.staged.site() {
            Some(path) => Site::read(&path, &self.staged.site_files(), self.host),
            None if self.host.paths.site().is_file() => Site::in_force(self.host),
            None => bail!("there is no file site.toml on the stick, and the box has none yet"),
        }
    }

    fn apply_site(&mut self, site: &Site) -> Result<()> {
        if let Some(path) = self.staged.site() {
            site::install(&path, &self.staged.site_files(), self.host)
                .context("the site file could not be put in place")?;
            self.say(format!("took the site file for {}", site.server_name));
        }
        self.systemctl(&["restart", "luxchat-network.service"])
            .context("the network could not be set up")
    }

    /// On the box with the national role: serves what came with its enrolment.
    pub(super) fn serve(&mut self, site: &Site) -> Result<()> {
        match &site.publication {
            Some(folder) => self.serve_publication(folder),
            None => Ok(()),
        }
    }
}
