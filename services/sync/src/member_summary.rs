//! What a client needs to name a room and to say how many are in it.

use luxchat_store::{ReadTx, RoomNid, UserNid};
use ruma::{
    OwnedUserId, UInt,
    api::client::sync::sync_events::v3::RoomSummary,
    events::{StateEventType, room::member::MembershipState},
};
use serde::Deserialize;

use crate::Result;

/// Members that a client names a room after.
const HEROES: u32 = 5;

/// The summary of a room for one of its members.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary).
pub(crate) fn summary(tx: &ReadTx<'_>, room: RoomNid, user: UserNid) -> Result<RoomSummary> {
    let count = |membership| -> Result<UInt> {
        let count = tx.member_count(room, &membership)?;
        Ok(UInt::new_saturating(count))
    };
    let mut summary = RoomSummary::new();
    summary.joined_member_count = Some(count(MembershipState::Join)?);
    summary.invited_member_count = Some(count(MembershipState::Invite)?);
    if !has_name(tx, room)? {
        summary.heroes = heroes(tx, room, user)?;
    }
    Ok(summary)
}

fn heroes(tx: &ReadTx<'_>, room: RoomNid, user: UserNid) -> Result<Vec<OwnedUserId>> {
    let present = [&MembershipState::Join, &MembershipState::Invite];
    let heroes = tx.some_members(room, user, present, HEROES)?;
    if !heroes.is_empty() {
        return Ok(heroes);
    }
    let gone = [&MembershipState::Leave, &MembershipState::Ban];
    Ok(tx.some_members(room, user, gone, HEROES)?)
}

fn has_name(tx: &ReadTx<'_>, room: RoomNid) -> Result<bool> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    for event_type in [StateEventType::RoomName, StateEventType::RoomCanonicalAlias] {
        let event = tx.current_state_event(room, &event_type, "")?;
        let event = event.and_then(|event| serde_json::from_str::<Event>(&event.json).ok());
        let name = event.and_then(|event| event.content.name.or(event.content.alias));
        if name.is_some_and(|name| !name.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}
