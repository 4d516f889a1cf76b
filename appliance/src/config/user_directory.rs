use serde::Deserialize;

/// Whom users can find.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserDirectory {
    /// Everybody in this administration, as colleagues expect. If not: those in a room with them or in a published one.
    pub search_all_users: bool,
}

impl Default for UserDirectory {
    fn default() -> Self {
        Self {
            search_all_users: true,
        }
    }
}
