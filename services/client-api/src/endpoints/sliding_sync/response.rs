//! The answers of both dialects, as they go to the client.

use std::collections::BTreeMap;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use luxchat_sync::{RoomExtra, SlidingResponse, ThreadSubscriptions};
use ruma::{
    JsOption, OwnedMxcUri, OwnedRoomId, UInt,
    api::client::sync::sync_events::{
        UnreadNotificationsCount,
        v5::response::{self, Hero, Room},
    },
    events::{AnyStrippedStateEvent, AnySyncStateEvent, AnySyncTimelineEvent},
    serde::Raw,
};
use serde::Serialize;

/// An answer in the dialect that clients speak today.
pub(super) struct SimplifiedReply(pub(super) SlidingResponse);

/// An answer in the merged dialect.
pub(super) struct MergedReply(pub(super) SlidingResponse);

impl IntoResponse for SimplifiedReply {
    fn into_response(self) -> Response {
        Json(Body::of(&self.0, &self.0.common.rooms)).into_response()
    }
}

impl IntoResponse for MergedReply {
    fn into_response(self) -> Response {
        let rooms = self.0.common.rooms.iter().map(|(room_id, room)| {
            let extra = self.0.rooms.get(room_id);
            (room_id, MergedRoom::of(room, extra))
        });
        let rooms: BTreeMap<&OwnedRoomId, MergedRoom<'_>> = rooms.collect();
        Json(Body::of(&self.0, &rooms)).into_response()
    }
}

#[derive(Serialize)]
struct Body<'a, R> {
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_id: Option<&'a str>,
    pos: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lists: &'a BTreeMap<String, response::List>,
    rooms: &'a R,
    extensions: Extensions<'a>,
}

#[derive(Serialize)]
struct Extensions<'a> {
    #[serde(flatten)]
    common: &'a response::Extensions,
    #[serde(
        rename = "io.element.msc4308.thread_subscriptions",
        skip_serializing_if = "Option::is_none"
    )]
    thread_subscriptions: Option<Threads<'a>>,
}

#[derive(Serialize)]
struct Threads<'a> {
    #[serde(flatten)]
    decisions: &'a ThreadSubscriptions,
    /// Where older ones are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<&'a str>,
}

impl<'a, R> Body<'a, R> {
    fn of(response: &'a SlidingResponse, rooms: &'a R) -> Self {
        let threads = &response.thread_subscriptions;
        Self {
            txn_id: response.common.txn_id.as_deref(),
            pos: &response.common.pos,
            lists: &response.common.lists,
            rooms,
            extensions: Extensions {
                common: &response.common.extensions,
                thread_subscriptions: (!threads.is_empty()).then_some(Threads {
                    decisions: threads,
                    prev_batch: threads.rest.as_deref(),
                }),
            },
        }
    }
}

#[derive(Serialize)]
struct MergedRoom<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bump_stamp: Option<UInt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    lists: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "JsOption::is_undefined")]
    avatar: &'a JsOption<OwnedMxcUri>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heroes: Option<&'a [Hero]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_dm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    expanded_timeline: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    required_state: &'a [Raw<AnySyncStateEvent>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    timeline_events: &'a [Raw<AnySyncTimelineEvent>],
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    limited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_live: Option<UInt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_count: Option<UInt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invited_count: Option<UInt>,
    #[serde(flatten)]
    unread: &'a UnreadNotificationsCount,
    #[serde(skip_serializing_if = "Option::is_none")]
    stripped_state: Option<&'a [Raw<AnyStrippedStateEvent>]>,
}

impl<'a> MergedRoom<'a> {
    fn of(room: &'a Room, extra: Option<&'a RoomExtra>) -> Self {
        Self {
            bump_stamp: room.bump_stamp,
            membership: extra.map(|extra| extra.membership.as_str()),
            lists: extra.map_or(&[], |extra| &extra.lists),
            name: room.name.as_deref(),
            avatar: &room.avatar,
            heroes: room.heroes.as_deref(),
            is_dm: room.is_dm,
            initial: room.initial,
            expanded_timeline: extra.is_some_and(|extra| extra.is_expanded),
            required_state: &room.required_state,
            timeline_events: &room.timeline,
            prev_batch: room.prev_batch.as_deref(),
            limited: room.limited,
            num_live: room.num_live,
            joined_count: room.joined_count,
            invited_count: room.invited_count,
            unread: &room.unread_notifications,
            stripped_state: room.invite_state.as_deref(),
        }
    }
}
