//! What a box is ordered to do: a factory reset, or to take another site file.

use std::{collections::BTreeMap, path::Path};

use jiff::{SignedDuration, Timestamp};
use luxchat_bundle::{Action, Fingerprint, Order, OrderDetails, SigningRequest, files};

use crate::{Authority, Error, KeyRole, Passphrases, metadata::fault};

/// The largest file that goes with a site file, and that file itself.
const MAX_FILE: usize = 1024 * 1024;
/// More files than any site file names.
const MAX_FILES: usize = 64;

impl Authority {
    /// Signs an order to the member whose box wrote `request`, good for `days` days.
    pub fn order(
        &self,
        request: &SigningRequest,
        action: Action,
        days: u32,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<Order, Error> {
        let server_name = self
            .member(&request.details().server_name)?
            .server_name
            .clone();
        let signers = self.signers(KeyRole::Targets, passphrases, None)?;
        let what = match action {
            Action::Reset {} => "order a factory reset of",
            Action::Site { .. } => "order another site file for",
        };
        self.journal(now, &format!("{what} {server_name}"))?;
        let expires_at = now
            .checked_add(SignedDuration::from_hours(i64::from(days) * 24))
            .map_err(fault)?;
        let details = OrderDetails {
            server_name,
            key: request.certificate_request().key_fingerprint(),
            action,
            issued_at: now,
            expires_at,
        };
        Ok(Order::new(details, &signers))
    }
}

/// The order to take a site file, and the files in the folder `with`, if there is one.
pub fn site_action(site: &Path, with: Option<&Path>) -> Result<Action, Error> {
    let digest = |path: &Path| Ok::<_, Error>(Fingerprint::of(&files::read(path, MAX_FILE)?));
    let mut digests = BTreeMap::from([("site.toml".to_owned(), digest(site)?)]);
    let entries = with.map(std::fs::read_dir).transpose().map_err(fault)?;
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(fault)?.path();
        if digests.len() > MAX_FILES {
            return Err(fault(format!(
                "there are more than {MAX_FILES} files to go with the site file"
            )));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        digests.insert(format!("files/{name}"), digest(&path)?);
    }
    Ok(Action::Site { files: digests })
}
