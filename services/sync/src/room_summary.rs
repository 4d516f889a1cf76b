//! What a room says of itself to those who are not in it.

use luxchat_store::{ReadTx, Room, RoomNid};
use ruma::{
    OwnedMxcUri, OwnedRoomAliasId, OwnedRoomOrAliasId, UInt,
    events::{
        StateEventType,
        room::{
            guest_access::GuestAccess, history_visibility::HistoryVisibility,
            member::MembershipState,
        },
    },
    room::{JoinRule, JoinRuleSummary, RoomSummary, RoomType},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, Result, Sync, Viewer};

impl Sync {
    /// What a room that this server is in says of itself, and what the user is to it.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no such room, or none that the user may know of.
    pub async fn room_summary(
        &self,
        viewer: Option<Viewer>,
        room: OwnedRoomOrAliasId,
    ) -> Result<(RoomSummary, Option<MembershipState>)> {
        self.store
            .read(move |tx| {
                let room = find(tx, &room)?.ok_or(Error::NotFound("room"))?;
                let summary = summarise(tx, &room)?;
                if !may_know(tx, viewer.as_ref(), Some(room.nid), &summary)? {
                    return Err(Error::NotFound("room"));
                }
                let membership = match &viewer {
                    Some(viewer) => tx.member(room.nid, viewer.user)?,
                    None => None,
                }
                .map(|member| member.membership);
                Ok((summary, membership))
            })
            .await
    }
}

/// Whether somebody may know of a room, that this server has heard of or not: who has to do with it, who could come in or
/// ask to, and anyone where the room is open to the world.
pub(crate) fn may_know(
    tx: &ReadTx<'_>,
    viewer: Option<&Viewer>,
    room: Option<RoomNid>,
    summary: &RoomSummary,
) -> Result<bool> {
    if summary.world_readable {
        return Ok(true);
    }
    let membership = |room: RoomNid| -> Result<Option<MembershipState>> {
        let member = match viewer {
            Some(viewer) => tx.member(room, viewer.user)?,
            None => None,
        };
        Ok(member.map(|member| member.membership))
    };
    let own = match room {
        Some(room) => membership(room)?,
        None => None,
    };
    if own == Some(MembershipState::Ban) {
        return Ok(false);
    }
    match &summary.join_rule {
        JoinRuleSummary::Public | JoinRuleSummary::Knock | JoinRuleSummary::KnockRestricted(_) => {
            return Ok(true);
        }
        JoinRuleSummary::Restricted(restricted) => {
            for allowed in &restricted.allowed_room_ids {
                if let Some(allowed) = tx.room_by_id(allowed)?
                    && membership(allowed.nid)? == Some(MembershipState::Join)
                {
                    return Ok(true);
                }
            }
        }
        _ => {}
    }
    Ok(matches!(
        own,
        Some(MembershipState::Join | MembershipState::Invite | MembershipState::Knock)
    ))
}

/// What a room says of itself. What makes no sense in its state is left out.
pub(crate) fn summarise(tx: &ReadTx<'_>, room: &Room) -> Result<RoomSummary> {
    let text = |event_type, key: &str| -> Result<Option<String>> {
        let content = content::<Value>(tx, room, event_type)?;
        let text = content.and_then(|mut content| match content.get_mut(key)?.take() {
            Value::String(text) if !text.is_empty() => Some(text),
            _ => None,
        });
        Ok(text)
    };
    let join_rule = content::<JoinRule>(tx, room, StateEventType::RoomJoinRules)?;
    let visibility = text(StateEventType::RoomHistoryVisibility, "history_visibility")?;
    let guests = text(StateEventType::RoomGuestAccess, "guest_access")?;
    let joined = tx.member_count(room.nid, &MembershipState::Join)?;
    let mut summary = RoomSummary::new(
        room.room_id.clone(),
        join_rule.map_or(JoinRuleSummary::Invite, Into::into),
        guests.as_deref() == Some(GuestAccess::CanJoin.as_str()),
        UInt::new_saturating(joined),
        visibility.as_deref() == Some(HistoryVisibility::WorldReadable.as_str()),
    );
    let alias = text(StateEventType::RoomCanonicalAlias, "alias")?;
    summary.canonical_alias = alias.and_then(|alias| OwnedRoomAliasId::try_from(alias).ok());
    summary.name = text(StateEventType::RoomName, "name")?;
    summary.topic = text(StateEventType::RoomTopic, "topic")?;
    summary.avatar_url = text(StateEventType::RoomAvatar, "url")?.map(OwnedMxcUri::from);
    summary.room_type = text(StateEventType::RoomCreate, "type")?.map(RoomType::from);
    summary.encryption = text(StateEventType::RoomEncryption, "algorithm")?.map(Into::into);
    summary.room_version = Some(room.version.clone());
    Ok(summary)
}

fn find(tx: &ReadTx<'_>, room: &OwnedRoomOrAliasId) -> Result<Option<Room>> {
    let room = match <&ruma::RoomId>::try_from(&**room) {
        Ok(room_id) => tx.room_by_id(room_id)?,
        Err(alias) => match tx.alias(alias)? {
            Some((room, _)) => Some(tx.room(room)?),
            None => None,
        },
    };
    // Of a room that nobody of this server is in, it knows how it was once, at best.
    match room {
        Some(room) if tx.is_resident(room.nid)? => Ok(Some(room)),
        _ => Ok(None),
    }
}

fn content<T: DeserializeOwned>(
    tx: &ReadTx<'_>,
    room: &Room,
    event_type: StateEventType,
) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Event<T> {
        content: T,
    }
    let event = tx.current_state_event(room.nid, &event_type, "")?;
    let event: Option<Event<T>> = event.and_then(|event| serde_json::from_str(&event.json).ok());
    Ok(event.map(|event| event.content))
}
