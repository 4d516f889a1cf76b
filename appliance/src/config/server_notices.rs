use serde::Deserialize;

/// As whom and where the box itself speaks to its users, when an administrator has it say something.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerNotices {
    /// The part before the colon of the user id it speaks as. The box makes that account, and nobody logs in to it.
    pub localpart: String,
    /// What that user is called.
    pub display_name: String,
    /// What the room is called that each user gets.
    pub room_name: String,
}

impl Default for ServerNotices {
    fn default() -> Self {
        Self {
            localpart: "_server".to_owned(),
            display_name: "Server".to_owned(),
            room_name: "Server notices".to_owned(),
        }
    }
}
