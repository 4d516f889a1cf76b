//! [Format](https://element-hq.github.io/synapse/latest/admin_api/rooms.html).

use axum::{
    Json, Router,
    routing::{delete, get, post},
};
use luxchat_http::ApiError;
use luxchat_rooms::{Join, Moderate};
use luxchat_store::{ListedRoom, ReadTx, RoomNid, RoomOrder, StateSelection};
use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedUserId, RoomId, RoomOrAliasId,
    events::{StateEventType, room::member::MembershipState},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use super::{Admin, Asked, Body, Named, OfRoom, page};
use crate::{State, endpoints::room_membership::find, error::Error};

pub(super) fn routes() -> Router<State> {
    let v1 = |path: &str| format!("/_synapse/admin/v1/{path}");
    Router::new()
        .route(&v1("rooms"), get(list))
        .route(&v1("rooms/{room_id}"), get(show).delete(shut_down))
        .route(
            "/_synapse/admin/v2/rooms/{room_id}",
            delete(shut_down_later),
        )
        .route(&v1("rooms/{room_id}/members"), get(members))
        .route(&v1("rooms/{room_id}/state"), get(current_state))
        .route(&v1("rooms/{room_id}/block"), get(block).put(set_block))
        .route(&v1("rooms/{room_id}/make_room_admin"), post(make_admin))
        .route(&v1("join/{name}"), post(join))
}

#[derive(Deserialize)]
struct Filter {
    #[serde(default)]
    from: usize,
    limit: Option<u32>,
    order_by: Option<String>,
    dir: Option<String>,
    search_term: Option<String>,
}

async fn list(state: State, _: Admin, Asked(filter): Asked<Filter>) -> Result<Json<Value>, Error> {
    let order = match filter.order_by.as_deref().unwrap_or("name") {
        "name" | "alphabetical" => RoomOrder::Name,
        "joined_members" | "size" => RoomOrder::Members,
        "joined_local_members" => RoomOrder::LocalMembers,
        "state_events" => RoomOrder::StateEvents,
        "version" => RoomOrder::Version,
        other => return Err(ApiError::invalid_param(format!("Unknown order_by {other}")).into()),
    };
    let is_backwards = match filter.dir.as_deref().unwrap_or("f") {
        "f" => false,
        "b" => true,
        other => return Err(ApiError::invalid_param(format!("Unknown dir {other}")).into()),
    };
    // The largest come first, but names in their order.
    let ascending = (order == RoomOrder::Name) != is_backwards;
    let (from, limit) = (filter.from, page(filter.limit) as usize);
    let term = filter.search_term.map(|term| term.to_lowercase());
    let (total, rooms) = state
        .store
        .read(move |tx| {
            let (total, rooms) = tx.listed_rooms(term.as_deref(), order, ascending, from, limit)?;
            let rooms = rooms.iter().map(|room| written(tx, room));
            Ok::<_, luxchat_store::Error>((total, rooms.collect::<Result<Vec<_>, _>>()?))
        })
        .await?;
    let next = from + rooms.len();
    let mut answer = json!({ "rooms": rooms, "offset": from, "total_rooms": total });
    if (next as u64) < total {
        answer["next_batch"] = next.into();
    }
    if from > 0 {
        answer["prev_batch"] = from.saturating_sub(limit).into();
    }
    Ok(Json(answer))
}

async fn show(state: State, _: Admin, OfRoom(room_id): OfRoom) -> Result<Json<Value>, Error> {
    let found = state
        .store
        .read(move |tx| {
            let Some(room) = listed(tx, &room_id)? else {
                return Ok(None);
            };
            let mut answer = written(tx, &room)?;
            let topic = content(tx, room.room, StateEventType::RoomTopic)?;
            let avatar = content(tx, room.room, StateEventType::RoomAvatar)?;
            answer["topic"] = topic["topic"].clone();
            answer["avatar"] = avatar["url"].clone();
            answer["forgotten"] = false.into();
            Ok::<_, luxchat_store::Error>(Some(answer))
        })
        .await?;
    Ok(Json(found.ok_or_else(unknown)?))
}

fn listed(tx: &ReadTx<'_>, room_id: &RoomId) -> Result<Option<ListedRoom>, luxchat_store::Error> {
    match tx.room_by_id(room_id)? {
        Some(room) => tx.listed_room(room.nid),
        None => Ok(None),
    }
}

/// A room as it is listed.
fn written(tx: &ReadTx<'_>, room: &ListedRoom) -> Result<Value, luxchat_store::Error> {
    let of = |event_type| content(tx, room.room, event_type);
    let create = tx.current_state_event(room.room, &StateEventType::RoomCreate, "")?;
    let creator = create.map(|event| event.pdu()).transpose()?;
    let creator = creator.as_ref().map(|event| event.sender());
    Ok(json!({
        "room_id": room.room_id,
        "name": room.name,
        "canonical_alias": of(StateEventType::RoomCanonicalAlias)?["alias"],
        "joined_members": room.joined,
        "joined_local_members": room.joined_local,
        "version": room.version,
        "creator": creator,
        "encryption": of(StateEventType::RoomEncryption)?["algorithm"],
        "federatable": of(StateEventType::RoomCreate)?["m.federate"].as_bool().unwrap_or(true),
        "public": room.is_published,
        "join_rules": of(StateEventType::RoomJoinRules)?["join_rule"],
        "guest_access": of(StateEventType::RoomGuestAccess)?["guest_access"],
        "history_visibility": of(StateEventType::RoomHistoryVisibility)?["history_visibility"],
        "state_events": room.state_events,
        "room_type": of(StateEventType::RoomCreate)?["type"],
    }))
}

/// The content of a state event; `null` where there is none.
fn content(
    tx: &ReadTx<'_>,
    room: RoomNid,
    event_type: StateEventType,
) -> Result<Value, luxchat_store::Error> {
    let Some(event) = tx.current_state_event(room, &event_type, "")? else {
        return Ok(Value::Null);
    };
    let mut event: Value = serde_json::from_str(event.pdu()?.json()).unwrap_or_default();
    Ok(event["content"].take())
}

async fn members(state: State, _: Admin, OfRoom(room_id): OfRoom) -> Result<Json<Value>, Error> {
    let members = state
        .store
        .read(move |tx| match tx.room_by_id(&room_id)? {
            Some(room) => tx.joined_user_ids(room.nid).map(Some),
            None => Ok(None),
        })
        .await?;
    let members = members.ok_or_else(unknown)?;
    Ok(Json(json!({ "total": members.len(), "members": members })))
}

async fn current_state(
    state: State,
    _: Admin,
    OfRoom(room_id): OfRoom,
) -> Result<Json<Value>, Error> {
    let events = state
        .store
        .read(move |tx| {
            let Some(room) = tx.room_by_id(&room_id)? else {
                return Ok(None);
            };
            let rows = tx.client_state(room.nid, StateSelection::All)?.into_iter();
            let events = rows.filter_map(|row| {
                let mut event: Value = serde_json::from_str(&row.json).ok()?;
                let fields = event.as_object_mut()?;
                for internal in [
                    "auth_events",
                    "prev_events",
                    "depth",
                    "hashes",
                    "signatures",
                ] {
                    fields.remove(internal);
                }
                fields.insert("event_id".to_owned(), row.event_id.into());
                Some(event)
            });
            Ok::<_, luxchat_store::Error>(Some(events.collect::<Vec<_>>()))
        })
        .await?;
    Ok(Json(json!({ "state": events.ok_or_else(unknown)? })))
}

async fn block(state: State, _: Admin, OfRoom(room_id): OfRoom) -> Result<Json<Value>, Error> {
    let blocker = state.store.read(move |tx| tx.room_blocked_by(&room_id));
    Ok(Json(match blocker.await? {
        Some(user_id) => json!({ "block": true, "user_id": user_id }),
        None => json!({ "block": false }),
    }))
}

#[derive(Deserialize)]
struct SetBlock {
    block: bool,
}

async fn set_block(
    state: State,
    admin: Admin,
    OfRoom(room_id): OfRoom,
    Body(request): Body<SetBlock>,
) -> Result<Json<Value>, Error> {
    set_blocked(&state, &admin, room_id, request.block).await?;
    Ok(Json(json!({ "block": request.block })))
}

async fn set_blocked(
    state: &State,
    admin: &Admin,
    room_id: OwnedRoomId,
    blocked: bool,
) -> Result<(), Error> {
    let by = admin.user_nid;
    let write = state.store.write(move |tx| {
        if blocked {
            tx.block_room(&room_id, by)
        } else {
            tx.unblock_room(&room_id)
        }
    });
    Ok(write.await?)
}

/// What is to become of a room. Its history stays: events are not deleted here.
#[derive(Deserialize)]
struct ShutDown {
    #[serde(default)]
    block: bool,
    new_room_user_id: Option<OwnedUserId>,
}

async fn shut_down(
    state: State,
    admin: Admin,
    OfRoom(room_id): OfRoom,
    Body(request): Body<ShutDown>,
) -> Result<Json<Value>, Error> {
    let answer = empty(&state, &admin, &room_id, &request).await?;
    Ok(Json(answer))
}

/// Those who expect it to take long are told at once how it ended.
async fn shut_down_later(
    state: State,
    admin: Admin,
    OfRoom(room_id): OfRoom,
    Body(request): Body<ShutDown>,
) -> Result<Json<Value>, Error> {
    let answer = empty(&state, &admin, &room_id, &request).await?;
    Ok(Json(json!({
        "delete_id": room_id,
        "status": "complete",
        "shutdown_room": answer,
    })))
}

/// Takes all users of this server out of a room, and closes it to them where asked to.
async fn empty(
    state: &State,
    admin: &Admin,
    room_id: &RoomId,
    request: &ShutDown,
) -> Result<Value, Error> {
    if request.new_room_user_id.is_some() {
        let message = "new_room_user_id: this server makes no room in the place of another";
        return Err(ApiError::invalid_param(message).into());
    }
    if request.block {
        set_blocked(state, admin, room_id.to_owned(), true).await?;
    }
    let id = room_id.to_owned();
    let users = state
        .store
        .read(move |tx| {
            let Some(room) = tx.room_by_id(&id)? else {
                return Ok(None);
            };
            let members = tx.local_members(room.nid)?.into_iter();
            let present = members.filter(|(_, membership, _)| {
                use MembershipState::{Invite, Join, Knock};
                matches!(membership, Join | Invite | Knock)
            });
            let present = present.map(|(user, ..)| tx.user_id(user));
            let present: Result<Vec<_>, luxchat_store::Error> = present.collect();
            present.map(Some)
        })
        .await?;
    let (mut gone, mut stayed) = (Vec::new(), Vec::new());
    for user_id in users.ok_or_else(unknown)? {
        match state.rooms.leave(&user_id, room_id, None).await {
            Ok(()) => gone.push(user_id),
            Err(error) => {
                warn!(%room_id, %error, "a user could not be taken out of a room");
                stayed.push(user_id);
            }
        }
    }
    Ok(json!({
        "kicked_users": gone,
        "failed_to_kick_users": stayed,
        "local_aliases": [],
        "new_room_id": null,
    }))
}

#[derive(Deserialize)]
struct MakeAdmin {
    user_id: Option<OwnedUserId>,
}

/// Gives a user as much power as the most powerful user of this server has, and lets them in.
async fn make_admin(
    state: State,
    admin: Admin,
    OfRoom(room_id): OfRoom,
    Body(request): Body<MakeAdmin>,
) -> Result<Json<Value>, Error> {
    let target = request.user_id.unwrap_or_else(|| admin.user_id.clone());
    let sender = state.rooms.empower(&target, &room_id).await?;
    let (room, user) = (room_id.clone(), target.clone());
    let membership = state
        .store
        .read(move |tx| tx.room_with_membership(&room, &user))
        .await?;
    let membership = membership.map(|(_, membership)| membership);
    if !matches!(
        membership,
        Some(MembershipState::Join | MembershipState::Invite)
    ) {
        let invite = Moderate {
            sender,
            room_id,
            target,
            reason: None,
        };
        state.rooms.invite(invite, false).await?;
    }
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Joining {
    user_id: OwnedUserId,
}

/// Lets a user of this server join where they may.
async fn join(
    state: State,
    _: Admin,
    Named(room): Named,
    Body(request): Body<Joining>,
) -> Result<Json<Value>, Error> {
    state.accounts.account(&request.user_id).await?;
    let room =
        RoomOrAliasId::parse(room).map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let (room_id, via) = find(&state, room, Vec::new()).await?;
    let join = Join {
        user: request.user_id,
        room_id: room_id.clone(),
        via,
        reason: None,
        extra: CanonicalJsonObject::new(),
    };
    state.rooms.join(join).await?;
    Ok(Json(json!({ "room_id": room_id })))
}

fn unknown() -> Error {
    ApiError::not_found("Room not found").into()
}
