//! What a new room's state is, before its creator's wishes.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, OwnedUserId, UserId,
    api::client::room::{Visibility, create_room::v3::RoomPreset},
    events::StateEventType,
    int,
    room_version_rules::AuthorizationRules,
};

use crate::{Error, Result};

/// The presets of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    Private,
    TrustedPrivate,
    Public,
}

impl Preset {
    /// The preset that a request names, or its visibility implies.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParam`] for a preset that the specification does not know.
    pub(crate) fn of(preset: Option<&RoomPreset>, visibility: &Visibility) -> Result<Self> {
        match preset {
            Some(RoomPreset::PrivateChat) => Ok(Self::Private),
            Some(RoomPreset::TrustedPrivateChat) => Ok(Self::TrustedPrivate),
            Some(RoomPreset::PublicChat) => Ok(Self::Public),
            Some(other) => Err(Error::InvalidParam(format!(
                "unknown preset {}",
                other.as_str()
            ))),
            None if *visibility == Visibility::Public => Ok(Self::Public),
            None => Ok(Self::Private),
        }
    }

    /// Join rule, history visibility and guest access. That guests may not join is said by no event at all.
    pub(crate) fn state(self) -> Vec<(StateEventType, CanonicalJsonObject)> {
        let join_rule = match self {
            Self::Private | Self::TrustedPrivate => "invite",
            Self::Public => "public",
        };
        let mut state = vec![
            (
                StateEventType::RoomJoinRules,
                object([("join_rule", join_rule.into())]),
            ),
            (
                StateEventType::RoomHistoryVisibility,
                object([("history_visibility", "shared".into())]),
            ),
        ];
        if self != Self::Public {
            state.push((
                StateEventType::RoomGuestAccess,
                object([("guest_access", "can_join".into())]),
            ));
        }
        state
    }

    /// The power levels, with what the request overrides.
    pub(crate) fn power_levels(
        self,
        rules: &AuthorizationRules,
        creator: &UserId,
        invited: &[OwnedUserId],
        overrides: CanonicalJsonObject,
    ) -> CanonicalJsonObject {
        let privileged = rules.explicitly_privilege_room_creators;
        let mut users = CanonicalJsonObject::new();
        if !privileged {
            users.insert(creator.to_string(), int!(100).into());
            if self == Self::TrustedPrivate {
                users.extend(
                    invited
                        .iter()
                        .map(|user| (user.to_string(), int!(100).into())),
                );
            }
        }
        // Where creators stand above everyone, replacing the room is for them alone.
        let tombstone = if privileged { 150 } else { 100 };
        let events = [
            ("m.room.avatar", 50),
            ("m.room.canonical_alias", 50),
            ("m.room.encryption", 100),
            ("m.room.history_visibility", 100),
            ("m.room.name", 50),
            ("m.room.power_levels", 100),
            ("m.room.server_acl", 100),
            ("m.room.tombstone", tombstone),
        ];
        let invite = if self == Self::Public { 50 } else { 0 };
        let mut levels = object([
            ("ban", level(50)),
            (
                "events",
                object(events.map(|(event, at)| (event, level(at)))).into(),
            ),
            ("events_default", level(0)),
            ("invite", level(invite)),
            ("kick", level(50)),
            ("redact", level(50)),
            ("state_default", level(50)),
            ("users", users.into()),
            ("users_default", level(0)),
        ]);
        levels.extend(overrides);
        levels
    }
}

pub(crate) fn object<const N: usize>(
    fields: [(&str, CanonicalJsonValue); N],
) -> CanonicalJsonObject {
    fields
        .into_iter()
        .map(|(field, value)| (field.to_owned(), value))
        .collect()
}

fn level(level: i32) -> CanonicalJsonValue {
    Int::from(level).into()
}
