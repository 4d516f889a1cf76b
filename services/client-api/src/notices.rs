//! What the server itself has to say to its users: one room a user, which they are invited to.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-notices).

use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_rooms::{Moderate, SendEvent, Transaction};
use luxchat_store::UserNid;
use ruma::{
    OwnedEventId, OwnedRoomId, RoomId, UserId,
    api::{
        client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        error::ErrorKind,
    },
    events::{TimelineEventType, room::member::MembershipState},
    serde::Raw,
};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use crate::{State, config::ServerNotices, error::Error};

/// Something to say.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) event_type: TimelineEventType,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Box<RawValue>,
    pub(crate) transaction: Option<Transaction>,
}

/// Says something to a user of this server, who is invited to hear it where they have not joined.
///
/// # Errors
///
/// 404 `M_NOT_FOUND` for whoever has no account here, 400 `M_UNKNOWN` where the site has no server notices.
pub(crate) async fn send(
    state: &State,
    to: &UserId,
    notice: Notice,
) -> Result<OwnedEventId, Error> {
    let Some(config) = &state.config().server_notices else {
        let message = "Server notices are not enabled on this server";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message).into());
    };
    let account = state.accounts.account(to).await?;
    if account.is_deactivated {
        return Err(ApiError::not_found("The account is deactivated").into());
    }
    let turn = state.notices().lock().await;
    let room_id = invited_room(state, config, account.user_nid, to).await?;
    drop(turn);
    let event = SendEvent {
        sender: config.user_id.clone(),
        room_id,
        event_type: notice.event_type,
        state_key: notice.state_key,
        content: notice.content,
        transaction: notice.transaction,
    };
    Ok(state.rooms.send(event).await?)
}

/// Makes sure that a user does not decline the invite to hear what the server has to say.
///
/// # Errors
///
/// 403 `M_CANNOT_LEAVE_SERVER_NOTICE_ROOM`.
pub(crate) async fn check_may_leave(
    state: &State,
    user: UserNid,
    room_id: &RoomId,
) -> Result<(), Error> {
    let room_id = room_id.to_owned();
    let declines = state
        .store
        .read(move |tx| {
            let Some(room) = tx.room_by_id(&room_id)? else {
                return Ok(false);
            };
            if tx.notice_room(user)? != Some(room.nid) {
                return Ok(false);
            }
            let member = tx.member(room.nid, user)?;
            Ok::<_, luxchat_store::Error>(
                member.is_some_and(|member| member.membership == MembershipState::Invite),
            )
        })
        .await?;
    if !declines {
        return Ok(());
    }
    let message = "You cannot reject this invite";
    let kind = ErrorKind::CannotLeaveServerNoticeRoom;
    Err(ApiError::new(StatusCode::FORBIDDEN, kind, message).into())
}

/// The user's room, made where there is none, with the user in it or invited.
async fn invited_room(
    state: &State,
    config: &ServerNotices,
    user: UserNid,
    user_id: &UserId,
) -> Result<OwnedRoomId, Error> {
    let known = state
        .store
        .read(move |tx| {
            let Some(room) = tx.notice_room(user)? else {
                return Ok(None);
            };
            let membership = tx.member(room, user)?.map(|member| member.membership);
            Ok::<_, luxchat_store::Error>(Some((tx.room_id(room)?, membership)))
        })
        .await?;
    let (room_id, membership) = match known {
        Some(known) => known,
        None => (make_room(state, config, user).await?, None),
    };
    if !matches!(
        membership,
        Some(MembershipState::Join | MembershipState::Invite)
    ) {
        state.accounts.tag_notice_room(user, &room_id).await?;
        let invite = Moderate {
            sender: config.user_id.clone(),
            room_id: room_id.clone(),
            target: user_id.to_owned(),
            reason: None,
        };
        state.rooms.invite(invite, false).await?;
    }
    Ok(room_id)
}

async fn make_room(
    state: &State,
    config: &ServerNotices,
    user: UserNid,
) -> Result<OwnedRoomId, Error> {
    // The user listens.
    let levels = to_raw_value(&json!({ "users_default": -10 })).map_err(ApiError::internal)?;
    let mut request = CreateRoom::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.name = Some(config.room_name.clone());
    request.power_level_content_override = Some(Raw::from_json(levels));
    let room_id = state.rooms.create(&config.user_id, request).await?;
    let id = room_id.clone();
    state
        .store
        .write(move |tx| {
            let room = tx.room_by_id(&id)?;
            let room = room.ok_or_else(|| luxchat_store::Error::invalid("room", "gone"))?;
            tx.set_notice_room(user, room.nid)
        })
        .await?;
    Ok(room_id)
}
