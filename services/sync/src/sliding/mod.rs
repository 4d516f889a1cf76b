//! Simplified sliding sync: the same reads as the classic sync, told of the rooms that lists and subscriptions show.
//! [MSC4186](https://github.com/matrix-org/matrix-spec-proposals/pull/4186).

mod connection;
mod extensions;
mod groups;
mod pass;
mod request;
mod required;
mod rooms;
mod scope;
mod windows;

use std::{sync::Arc, time::Duration};

pub(crate) use self::connection::Connections;
pub use self::request::{ListExtra, RoomExtra, SlidingRequest, SlidingResponse};
use self::{connection::Key, pass::SlidingPass};
use crate::{Error, Result, Sync, SyncRequest, SyncToken, Viewer, response::Pass, sync::Look};

/// Lists of one request.
const LISTS: usize = 100;

/// Ranges of one list.
const RANGES: usize = 64;

/// Rooms subscribed to in one request.
const SUBSCRIPTIONS: usize = 1_000;

/// Entries of required state, list by list or subscription by subscription.
const REQUIRED: usize = 200;

/// Bytes of a connection's name.
const CONN_ID: usize = 64;

impl Sync {
    /// What a client is to be told of the rooms that it looks at. Where nothing happened since `pos`, waits until
    /// something does or the time is up; without a `timeout` it answers at once.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPos`] where the response to go on from is not remembered, also since the server was started anew;
    /// [`Error::Invalid`] where the client asks for too much.
    pub async fn sync_sliding(
        &self,
        viewer: Viewer,
        request: SlidingRequest,
    ) -> Result<SlidingResponse> {
        check(&request)?;
        let key = Key {
            user: viewer.user,
            device_id: viewer.device_id.clone(),
            conn_id: request.conn_id.clone(),
        };
        let turn = self.connections.begin(&key, request.pos.as_deref())?;
        let timeout = match &request.pos {
            Some(_) => request.timeout.unwrap_or_default(),
            None => Duration::ZERO,
        };
        let (viewer, request) = (Arc::new(viewer), Arc::new(request));
        let known = &turn.known;
        let look = |seen| {
            let (viewer, request, known) =
                (Arc::clone(&viewer), Arc::clone(&request), Arc::clone(known));
            self.look(seen, move |tx, live, position| {
                let classic = SyncRequest {
                    since: known.position.map(SyncToken::at),
                    ..SyncRequest::default()
                };
                let base = Pass::new(tx, &viewer, &classic, live, position)?;
                let told = SlidingPass::new(base, &request, &known).run()?;
                Ok(Look {
                    found: (told.response, told.next),
                    is_empty: told.is_empty,
                    position,
                })
            })
        };
        let (mut response, next) = self.wait_for_news(key.user, timeout, look).await?;
        response.common.pos = self.connections.end(&key, turn, next, self.started_ms)?;
        Ok(response)
    }
}

fn check(request: &SlidingRequest) -> Result<()> {
    let lists = request.common.lists.values();
    let subscriptions = request.room_subscriptions.values();
    let required = lists
        .clone()
        .map(|list| &list.room_details.required_state)
        .chain(subscriptions.map(|subscription| &subscription.required_state));
    let conn_id = request.conn_id.as_deref().unwrap_or_default();
    let excluded = request.lists.values().map(|list| &list.excluded);
    let excluded = excluded.chain(request.excluded.values());
    if request.common.lists.len() > LISTS {
        Err(Error::Invalid("too many lists"))
    } else if lists.clone().any(|list| list.ranges.len() > RANGES) {
        Err(Error::Invalid("too many ranges"))
    } else if request.room_subscriptions.len() > SUBSCRIPTIONS {
        Err(Error::Invalid("too many room subscriptions"))
    } else if required.clone().any(|required| required.len() > REQUIRED) {
        Err(Error::Invalid("too much required state"))
    } else if excluded.clone().any(|excluded| excluded.len() > REQUIRED) {
        Err(Error::Invalid("too much excluded state"))
    } else if conn_id.len() > CONN_ID {
        Err(Error::Invalid("conn_id is too long"))
    } else {
        Ok(())
    }
}
