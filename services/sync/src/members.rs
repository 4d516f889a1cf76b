//! Who is in which room.

use std::collections::BTreeMap;

use luxchat_store::{ClientRow, Coordinate, Position, ReadTx, Stretch};
use ruma::{
    OwnedMxcUri, OwnedRoomId, OwnedUserId,
    api::client::membership::{get_member_events, joined_members::v3::RoomMember as JoinedMember},
    events::room::member::{MembershipState, RoomMemberEvent},
    serde::Raw,
};
use serde::Deserialize;

use crate::{
    Error, Result, Sync, Viewer, access::Readable, client_event::Composer, history::HistoryKeys,
    messages::token,
};

impl Sync {
    /// The memberships of a room, now or at a place in its timeline.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not read the room, [`Error::UnknownToken`].
    pub async fn members(
        &self,
        viewer: Viewer,
        request: get_member_events::v3::Request,
    ) -> Result<Vec<Raw<RoomMemberEvent>>> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| {
                let keys = HistoryKeys::of(tx, &viewer.user_id)?;
                let readable = Readable::find(tx, &viewer, &keys, &request.room_id)?;
                let composer = Composer {
                    tx,
                    viewer: &viewer,
                    now_ms,
                    room_id: Some(&request.room_id),
                };
                let at = token(request.at.as_deref())?;
                let wanted = |membership: &MembershipState| {
                    request
                        .membership
                        .as_ref()
                        .is_none_or(|it| it == membership)
                        && request.not_membership.as_ref() != Some(membership)
                };
                let mut members = Vec::new();
                for row in rows(tx, &readable, at, request.membership.as_ref())? {
                    if wanted(&Member::parse(&row)?.content.membership) {
                        members.push(composer.bare_event(&row)?);
                    }
                }
                Ok(members)
            })
            .await
    }

    /// The joined members of a room by name and picture.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user is not joined.
    pub async fn joined_members(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
    ) -> Result<BTreeMap<OwnedUserId, JoinedMember>> {
        self.store
            .read(move |tx| {
                let keys = HistoryKeys::of(tx, &viewer.user_id)?;
                let readable = Readable::find(tx, &viewer, &keys, &room_id)?;
                if !readable.is_joined {
                    return Err(Error::Forbidden("you are not in the room"));
                }
                let rows = tx.client_members(readable.room.nid, Some(&MembershipState::Join))?;
                rows.iter()
                    .map(|row| {
                        let member = Member::parse(row)?;
                        let mut joined = JoinedMember::new();
                        joined.display_name = member.content.displayname;
                        joined.avatar_url = member.content.avatar_url;
                        Ok((member.state_key, joined))
                    })
                    .collect()
            })
            .await
    }

    /// The rooms that a user is joined to.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms).
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn joined_rooms(&self, viewer: Viewer) -> Result<Vec<OwnedRoomId>> {
        self.store
            .read(move |tx| {
                let rooms = tx.rooms_of_user(viewer.user, &MembershipState::Join)?;
                let rooms = rooms.into_iter().map(|room| tx.room_id(room));
                Ok(rooms.collect::<luxchat_store::Result<_>>()?)
            })
            .await
    }
}

/// The membership events as they stood at a place; of the current ones, those with one membership are found by it.
fn rows(
    tx: &ReadTx<'_>,
    readable: &Readable,
    at: Option<i64>,
    membership: Option<&MembershipState>,
) -> Result<Vec<ClientRow>> {
    let place = at.map(|at| at.min(readable.until));
    let at = match place {
        Some(place) => state_at_place(tx, readable, place)?,
        None => Some(readable.state),
    };
    if at == readable.room.current {
        return Ok(tx.client_members(readable.room.nid, membership)?);
    }
    let rows = match at {
        Some(at) => members_at(tx, at)?,
        None => Vec::new(),
    };
    // A client that synced a room from its very start names a place before anybody was in it: it means those whom its
    // timeline begins with.
    if let (true, Some(place)) = (rows.is_empty(), place)
        && let Some(first) = tx.first_membership_after(readable.room.nid, place)?
        && let Some(after) = tx.client_event_by_nid(first)?.after
    {
        return members_at(tx, after);
    }
    Ok(rows)
}

fn members_at(tx: &ReadTx<'_>, at: Coordinate) -> Result<Vec<ClientRow>> {
    let mut rows = Vec::new();
    for event in tx.state_at(at)?.into_values() {
        let row = tx.client_event_by_nid(event)?;
        if row.is_membership {
            rows.push(row);
        }
    }
    Ok(rows)
}

fn state_at_place(tx: &ReadTx<'_>, readable: &Readable, at: i64) -> Result<Option<Coordinate>> {
    let room = readable.room.nid;
    let stretch = Stretch {
        after: i64::MIN,
        until: at,
    };
    let row = tx.timeline_backward(room, stretch, 1)?.pop();
    let lacked_members = readable.room.complete_from > Some(Position(at));
    // The room's state log knows nothing of what was fetched later.
    let fetched = row.filter(|row| row.pos != Some(row.seq.0) || lacked_members);
    match fetched {
        Some(row) => Ok(row.after),
        None => Ok(tx.current_coordinate_at(room, Position(at))?),
    }
}

#[derive(Deserialize)]
struct Member {
    state_key: OwnedUserId,
    content: MemberContent,
}

/// What is of use in a membership event. The rest is as its sender made it up.
#[derive(Deserialize)]
struct MemberContent {
    membership: MembershipState,
    #[serde(default, deserialize_with = "lenient")]
    displayname: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    avatar_url: Option<OwnedMxcUri>,
}

impl Member {
    fn parse(row: &ClientRow) -> Result<Self> {
        let member = serde_json::from_str(&row.json);
        Ok(member.map_err(|error| luxchat_store::Error::invalid("membership event", error))?)
    }
}

/// A value of another type is none.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}
