use std::path::PathBuf;

use serde::Deserialize;

/// Programs that act for many users, such as bridges to other networks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApplicationServices {
    /// Their registration files, in YAML. The box connects to the URLs in them.
    pub registrations: Vec<PathBuf>,
}
