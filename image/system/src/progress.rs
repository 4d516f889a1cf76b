//! What the console shows of the first boot and of sticks.

use anyhow::Result;
use jiff::Timestamp;
use luxchat_bundle::files::{self, Access};
use serde::{Deserialize, Serialize};

use crate::host::Host;

const MAX_BYTES: usize = 64 * 1024;
/// More lines than a screen has are not shown.
const MAX_LINES: usize = 12;

/// What happened last, in words.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// When.
    pub at: Option<Timestamp>,
    /// What.
    pub lines: Vec<String>,
}

impl Progress {
    /// What was said last; nothing before that.
    pub fn load(host: Host<'_>) -> Self {
        let bytes = files::read(&host.paths.progress(), MAX_BYTES).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Says something, to the console and to the journal.
    pub fn say(host: Host<'_>, at: Timestamp, lines: &[String]) -> Result<()> {
        for line in lines {
            crate::say!("{line}");
        }
        let progress = Self {
            at: Some(at),
            lines: lines.iter().take(MAX_LINES).cloned().collect(),
        };
        let bytes = serde_json::to_vec(&progress)?;
        files::create_folder(&host.paths.run())?;
        Ok(files::replace(
            &host.paths.progress(),
            &bytes,
            Access::Private,
        )?)
    }
}
