use serde::Deserialize;

/// What is logged.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// In the syntax of `tracing` filters: a level, or `target=level` pairs.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: crate::logging::DEFAULT_FILTER.to_owned(),
        }
    }
}
