use ruma::RoomVersionId;
use serde::Deserialize;

/// What new rooms are like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// The version of rooms whose creator does not ask for one.
    pub default_version: RoomVersionId,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            default_version: luxchat_rooms::DEFAULT_VERSION,
        }
    }
}

impl Rooms {
    pub(super) fn check(&self) -> Result<(), String> {
        if !luxchat_rooms::VERSIONS.contains(&self.default_version) {
            return Err(format!(
                "rooms.default_version: rooms of version {} are not supported",
                self.default_version
            ));
        }
        Ok(())
    }
}
