//! The content of membership events.

use luxchat_store::ReadTx;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, UserId,
    canonical_json::to_canonical_value,
    events::{StateEventType, room::member::MembershipState},
};

use crate::{Result, draft::Draft};

/// The profile fields that membership events show.
pub(crate) const PROFILE_FIELDS: [&str; 2] = ["avatar_url", "displayname"];

/// A membership with its reason, and the profile of the user where it is one of this server's.
pub(crate) fn member_content(
    tx: &ReadTx<'_>,
    user: &UserId,
    membership: &MembershipState,
    reason: Option<&str>,
) -> Result<CanonicalJsonObject> {
    let mut content = bare_member_content(membership, reason);
    if let Some(nid) = tx.user_nid(user)? {
        for field in PROFILE_FIELDS {
            let value = tx.profile_field(nid, field)?;
            // What canonical JSON does not know is no name or address.
            if let Some(Ok(value @ CanonicalJsonValue::String(_))) =
                value.map(|value| to_canonical_value(&value))
            {
                content.insert(field.to_owned(), value);
            }
        }
    }
    Ok(content)
}

/// A membership with its reason alone.
pub(crate) fn bare_member_content(
    membership: &MembershipState,
    reason: Option<&str>,
) -> CanonicalJsonObject {
    let mut content = CanonicalJsonObject::new();
    content.insert("membership".to_owned(), membership.to_string().into());
    if let Some(reason) = reason {
        content.insert("reason".to_owned(), reason.into());
    }
    content
}

/// The event that gives `user` a membership.
pub(crate) fn member_draft(sender: &UserId, user: &UserId, content: CanonicalJsonObject) -> Draft {
    Draft::state(sender, StateEventType::RoomMember, user.as_str(), content)
}
