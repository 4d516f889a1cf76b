//! A sync response as it goes to the client: what ruma writes, with `limited` said where it is false, too, and
//! with the state after the timeline under the name that the client asked for.

use std::collections::BTreeMap;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use ruma::{
    OneTimeKeyAlgorithm, OwnedEventId, OwnedRoomId, UInt,
    api::client::sync::sync_events::{
        DeviceLists, UnreadNotificationsCount,
        v3::{
            self, GlobalAccountData, InvitedRoom, JoinedRoom, KnockedRoom, LeftRoom, Presence,
            RoomAccountData, RoomSummary, State, StateEvents, ToDevice,
        },
    },
    events::{
        AnyRoomAccountDataEvent, AnySyncEphemeralRoomEvent, AnySyncStateEvent, AnySyncTimelineEvent,
    },
    serde::Raw,
};
use serde::Serialize;

/// A response, and which dialect the client speaks.
pub(crate) struct SyncReply {
    pub(crate) response: v3::Response,
    /// Whether the state after the timeline goes by the name that it had before it was in the specification.
    pub(crate) unstable_state_after: bool,
}

impl IntoResponse for SyncReply {
    fn into_response(self) -> Response {
        Json(Body::of(&self.response, self.unstable_state_after)).into_response()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    next_batch: &'a str,
    #[serde(skip_serializing_if = "Rooms::is_empty")]
    rooms: Rooms<'a>,
    #[serde(skip_serializing_if = "Presence::is_empty")]
    presence: &'a Presence,
    #[serde(skip_serializing_if = "GlobalAccountData::is_empty")]
    account_data: &'a GlobalAccountData,
    #[serde(skip_serializing_if = "ToDevice::is_empty")]
    to_device: &'a ToDevice,
    #[serde(skip_serializing_if = "DeviceLists::is_empty")]
    device_lists: &'a DeviceLists,
    device_one_time_keys_count: &'a BTreeMap<OneTimeKeyAlgorithm, UInt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_unused_fallback_key_types: Option<&'a [OneTimeKeyAlgorithm]>,
}

#[derive(Serialize)]
struct Rooms<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    leave: BTreeMap<&'a OwnedRoomId, Left<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    join: BTreeMap<&'a OwnedRoomId, Joined<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    invite: &'a BTreeMap<OwnedRoomId, InvitedRoom>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    knock: &'a BTreeMap<OwnedRoomId, KnockedRoom>,
}

impl Rooms<'_> {
    fn is_empty(&self) -> bool {
        self.leave.is_empty()
            && self.join.is_empty()
            && self.invite.is_empty()
            && self.knock.is_empty()
    }
}

#[derive(Serialize)]
struct Joined<'a> {
    #[serde(skip_serializing_if = "RoomSummary::is_empty")]
    summary: &'a RoomSummary,
    #[serde(skip_serializing_if = "UnreadNotificationsCount::is_empty")]
    unread_notifications: &'a UnreadNotificationsCount,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unread_thread_notifications: &'a BTreeMap<OwnedEventId, UnreadNotificationsCount>,
    timeline: Timeline<'a>,
    #[serde(flatten)]
    state: StateFields<'a>,
    account_data: AccountData<'a>,
    ephemeral: EphemeralEvents<'a>,
}

#[derive(Serialize)]
struct AccountData<'a> {
    events: &'a [Raw<AnyRoomAccountDataEvent>],
}

#[derive(Serialize)]
struct EphemeralEvents<'a> {
    events: &'a [Raw<AnySyncEphemeralRoomEvent>],
}

#[derive(Serialize)]
struct Left<'a> {
    timeline: Timeline<'a>,
    #[serde(flatten)]
    state: StateFields<'a>,
    #[serde(skip_serializing_if = "RoomAccountData::is_empty")]
    account_data: &'a RoomAccountData,
}

#[derive(Serialize)]
struct Timeline<'a> {
    limited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<&'a str>,
    events: &'a [Raw<AnySyncTimelineEvent>],
}

#[derive(Default, Serialize)]
struct StateFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Events<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_after: Option<Events<'a>>,
    #[serde(
        rename = "org.matrix.msc4222.state_after",
        skip_serializing_if = "Option::is_none"
    )]
    unstable_state_after: Option<Events<'a>>,
}

#[derive(Serialize)]
struct Events<'a> {
    events: &'a [Raw<AnySyncStateEvent>],
}

impl<'a> Events<'a> {
    fn of(events: &'a StateEvents) -> Self {
        let events = &events.events;
        Self { events }
    }
}

impl<'a> Body<'a> {
    fn of(response: &'a v3::Response, unstable: bool) -> Self {
        let join = response.rooms.join.iter();
        let leave = response.rooms.leave.iter();
        Self {
            next_batch: &response.next_batch,
            rooms: Rooms {
                leave: leave
                    .map(|(room_id, room)| (room_id, Left::of(room, unstable)))
                    .collect(),
                join: join
                    .map(|(room_id, room)| (room_id, Joined::of(room, unstable)))
                    .collect(),
                invite: &response.rooms.invite,
                knock: &response.rooms.knock,
            },
            presence: &response.presence,
            account_data: &response.account_data,
            to_device: &response.to_device,
            device_lists: &response.device_lists,
            device_one_time_keys_count: &response.device_one_time_keys_count,
            device_unused_fallback_key_types: response.device_unused_fallback_key_types.as_deref(),
        }
    }
}

impl<'a> Joined<'a> {
    fn of(room: &'a JoinedRoom, unstable: bool) -> Self {
        Self {
            summary: &room.summary,
            unread_notifications: &room.unread_notifications,
            unread_thread_notifications: &room.unread_thread_notifications,
            timeline: Timeline::of(&room.timeline),
            state: StateFields::of(&room.state, unstable),
            account_data: AccountData {
                events: &room.account_data.events,
            },
            ephemeral: EphemeralEvents {
                events: &room.ephemeral.events,
            },
        }
    }
}

impl<'a> Left<'a> {
    fn of(room: &'a LeftRoom, unstable: bool) -> Self {
        Self {
            timeline: Timeline::of(&room.timeline),
            state: StateFields::of(&room.state, unstable),
            account_data: &room.account_data,
        }
    }
}

impl<'a> Timeline<'a> {
    fn of(timeline: &'a v3::Timeline) -> Self {
        Self {
            limited: timeline.limited,
            prev_batch: timeline.prev_batch.as_deref(),
            events: &timeline.events,
        }
    }
}

impl<'a> StateFields<'a> {
    fn of(state: &'a State, unstable: bool) -> Self {
        let mut fields = Self::default();
        match state {
            State::Before(events) if !events.is_empty() => fields.state = Some(Events::of(events)),
            State::After(events) if unstable => {
                fields.unstable_state_after = Some(Events::of(events));
            }
            // That nothing changed must be said: clients take a missing one for a server that does not know the field.
            State::After(events) => fields.state_after = Some(Events::of(events)),
            // ruma may learn of more states; the engine makes none of them.
            _ => {}
        }
        fields
    }
}
