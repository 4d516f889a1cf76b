//! The stick at a box that is enrolled. Whoever comes with one is not trusted for having come: a site file and a factory reset
//! need an order that the authority signed, certificates and publications bear its signature anyway.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use luxchat_bundle::{Action, BoxKeys, Enrolment, Fingerprint, Order, TrustStore, files};

use super::{Outcome, Visit};
use crate::site::{self, Site};

const MAX_ORDER: usize = 256 * 1024;
const MAX_FILE: usize = 1024 * 1024;
/// When the order that was followed last was signed.
const LAST_ORDER: &str = "last-order";

/// A site file that the authority ordered the box to take.
#[derive(Debug)]
struct NewSite {
    site: Site,
    path: PathBuf,
    issued_at: Timestamp,
}

impl Visit<'_> {
    /// Follows orders, renews the certificate, takes over a publication, as far as the stick goes.
    pub(super) fn later(&mut self, enrolment: &Enrolment) -> Result<Outcome> {
        let name = enrolment.server_name.clone();
        let keys = self
            .keys()?
            .context("the box is enrolled and has no keys")?;
        if self.is_ordered_to_reset(enrolment, &keys)? {
            self.say(format!(
                "the authority orders {name} to be reset: all its data are destroyed now"
            ));
            return Ok(Outcome::Reset);
        }
        let new_site = self.new_site(enrolment, &keys)?;
        let answer = self
            .answer_for(&name)?
            .filter(|(_, answer)| answer.issued_at > enrolment.issued_at);
        let signed = match &answer {
            Some((_, answer)) => Some(self.check_answer(answer, &keys)?),
            None => self.check_publication(enrolment, self.now)?,
        };
        let has_other_publication = self.has_other_publication();
        // From here on things change.
        if let Some(signed) = signed {
            self.correct_clock(signed)?;
        }
        let mut changed = false;
        if let Some(new) = &new_site {
            self.take_site(new)?;
            changed = true;
        }
        if let Some((path, answer)) = &answer {
            self.enrol(path)?;
            self.say(format!(
                "the certificate of {name} is renewed until {:.0}",
                answer.certificate.leaf().not_after
            ));
            changed = true;
        } else if has_other_publication {
            self.take_publication()?;
            changed = true;
        }
        if has_other_publication {
            let site = Site::in_force(self.host)?;
            self.serve(&site)?;
        }
        self.ask(&name)?;
        if changed {
            self.systemctl(&["--no-block", "try-restart", "luxchat-appliance.service"])?;
            self.say("the server is started anew");
        } else {
            self.say(
                "there is nothing new on the stick; a fresh request is in the folder `request`",
            );
        }
        Ok(Outcome::Enrolled)
    }

    fn is_ordered_to_reset(&self, enrolment: &Enrolment, keys: &BoxKeys) -> Result<bool> {
        let Some(path) = self.staged.reset_order() else {
            return Ok(false);
        };
        let order = self.order(&path, enrolment, keys).context("reset.json")?;
        ensure!(
            matches!(order.details().action, Action::Reset {}),
            "reset.json orders something else"
        );
        Ok(true)
    }

    /// The site file on the stick, where it differs from the one in force and the authority ordered it.
    fn new_site(&mut self, enrolment: &Enrolment, keys: &BoxKeys) -> Result<Option<NewSite>> {
        let Some(path) = self.staged.site() else {
            return Ok(None);
        };
        let digests = self.digests()?;
        if self.is_in_force(&digests)? {
            return Ok(None);
        }
        let Some(order) = self.staged.site_order() else {
            self.say(
                "the site file on the stick is another one, and is left alone: once a box is enrolled it takes one by \
                 order of the authority alone (site-order.json)",
            );
            return Ok(None);
        };
        let order = self
            .order(&order, enrolment, keys)
            .context("site-order.json")?;
        let Action::Site { files } = &order.details().action else {
            bail!("site-order.json orders something else");
        };
        ensure!(
            *files == digests,
            "the site file and the files with it are not those that site-order.json was signed for"
        );
        let issued_at = order.details().issued_at;
        if let Some(last) = self.last_order()? {
            ensure!(
                issued_at > last,
                "site-order.json is of {issued_at:.0}, and the box followed one of {last:.0} already"
            );
        }
        let site = Site::read(&path, &self.staged.site_files(), self.host)?;
        ensure!(
            site.server_name == enrolment.server_name,
            "the site file is for {}: a server can never change its name",
            site.server_name
        );
        Ok(Some(NewSite {
            site,
            path,
            issued_at,
        }))
    }

    /// An order that this box must follow.
    fn order(
        &self,
        path: &std::path::Path,
        enrolment: &Enrolment,
        keys: &BoxKeys,
    ) -> Result<Order> {
        let order = Order::from_json(&files::read(path, MAX_ORDER)?)?;
        let trust = TrustStore::open(&self.host.paths.data_dir().join("trust"))?;
        let key = keys.tls_key_fingerprint();
        trust.check_order(&order, &enrolment.server_name, key, self.now)?;
        Ok(order)
    }

    /// The site file on the stick and the files with it, by their names there.
    fn digests(&self) -> Result<BTreeMap<String, Fingerprint>> {
        let mut digests = BTreeMap::new();
        let site = self
            .staged
            .site()
            .into_iter()
            .map(|path| ("site.toml".to_owned(), path));
        let mut all: Vec<_> = site.collect();
        for entry in std::fs::read_dir(self.staged.site_files())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            all.push((format!("files/{name}"), path.clone()));
        }
        for (name, path) in all {
            digests.insert(name, Fingerprint::of(&files::read(&path, MAX_FILE)?));
        }
        Ok(digests)
    }

    /// Whether all of the stick's files are in force. Fewer than are in force count as the same: a careful technician takes
    /// secrets off the stick.
    fn is_in_force(&self, digests: &BTreeMap<String, Fingerprint>) -> Result<bool> {
        for (name, digest) in digests {
            let path = self.host.paths.state().join(name);
            if !path.is_file() || Fingerprint::of(&files::read(&path, MAX_FILE)?) != *digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn last_order(&self) -> Result<Option<Timestamp>> {
        let path = self.host.paths.state().join(LAST_ORDER);
        if !path.is_file() {
            return Ok(None);
        }
        let text = String::from_utf8(files::read(&path, 64)?).context(LAST_ORDER)?;
        Ok(Some(text.trim().parse().context(LAST_ORDER)?))
    }

    fn take_site(&mut self, new: &NewSite) -> Result<()> {
        let last = self.host.paths.state().join(LAST_ORDER);
        files::replace(
            &last,
            new.issued_at.to_string().as_bytes(),
            files::Access::Private,
        )?;
        site::install(&new.path, &self.staged.site_files(), self.host)?;
        self.systemctl(&["restart", "luxchat-network.service"])?;
        let name = &new.site.server_name;
        self.say(format!(
            "took the new site file for {name}, as the authority ordered"
        ));
        Ok(())
    }

    pub(super) fn take_publication(&mut self) -> Result<()> {
        let site = self.host.paths.site();
        let Some(repository) = self.staged.repository() else {
            return Ok(());
        };
        self.appliance(&["publication", "--config"], &[&site, &repository])?;
        self.say("the authority's publication on the stick is in force");
        Ok(())
    }
}
