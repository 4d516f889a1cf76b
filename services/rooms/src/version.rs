//! Room versions.

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

use crate::{Error, Result};

/// The version of rooms that say nothing else.
///
/// <https://spec.matrix.org/v1.19/rooms/#complete-list-of-room-versions>
pub const DEFAULT_VERSION: RoomVersionId = RoomVersionId::V12;

/// The versions of rooms that this server takes part in: those with canonical JSON.
pub const VERSIONS: [RoomVersionId; 7] = [
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// The rules of a room version.
///
/// # Errors
///
/// [`Error::UnsupportedVersion`] for any but [`VERSIONS`].
pub fn rules_of(version: &RoomVersionId) -> Result<RoomVersionRules> {
    let rules = VERSIONS.contains(version).then(|| version.rules());
    rules
        .flatten()
        .ok_or_else(|| Error::UnsupportedVersion(version.clone()))
}
