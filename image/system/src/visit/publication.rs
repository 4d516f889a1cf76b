//! The authority's publication on a stick.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use jiff::Timestamp;
use luxchat_bundle::{
    DirectorySource, Enrolment, RepositoryFile, TrustStore, files, write_repository,
};

use super::Visit;

const MAX_FILE: usize = 8 * 1024 * 1024;
const TIMESTAMP: &str = "metadata/timestamp.json";

impl Visit<'_> {
    /// Verifies the publication on the stick, if there is one, from the root of trust in `answer`, in a place of its own.
    /// Gives the moment its member list was written.
    pub(super) fn check_publication(
        &self,
        answer: &Enrolment,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let Some(repository) = self.staged.repository() else {
            return Ok(None);
        };
        files::create_folder(&self.host.paths.run())?;
        let scratch = tempfile::Builder::new()
            .prefix("verify-")
            .tempdir_in(self.host.paths.run())?;
        let folder = scratch.path().join("trust");
        let trust = TrustStore::create(&folder, answer.trusted_root.as_bytes())?;
        let source = Arc::new(DirectorySource::new(&repository));
        let bundle = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(trust.update(source, now))
            .context("the authority's publication")?;
        Ok(Some(bundle.members.issued_at()))
    }

    /// Whether the publication on the stick is another one than the box has.
    pub(super) fn has_other_publication(&self) -> bool {
        let Some(repository) = self.staged.repository() else {
            return false;
        };
        let bytes = |folder: &Path| std::fs::read(folder.join(TIMESTAMP)).ok();
        bytes(&repository) != bytes(&self.host.paths.data_dir().join("trust"))
    }

    /// Puts the publication where the box with the national role serves it from.
    pub(super) fn serve_publication(&mut self, folder: &Path) -> Result<()> {
        let Some(repository) = self.staged.repository() else {
            return Ok(());
        };
        let mut all = Vec::new();
        for part in ["metadata", "targets"] {
            for entry in std::fs::read_dir(repository.join(part))? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                all.push(RepositoryFile {
                    path: format!("{part}/{name}"),
                    bytes: files::read(&path, MAX_FILE)?,
                });
            }
        }
        write_repository(folder, &all, &[])?;
        for inner in [folder, &folder.join("metadata"), &folder.join("targets")] {
            self.host.let_appliance_read(inner)?;
        }
        self.say("the publication is where this directory serves it from");
        Ok(())
    }
}
