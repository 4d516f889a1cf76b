//! Events that relate to an event: replies in its thread, reactions, edits.

use luxchat_store::{ReadTx, Stretch};
use ruma::{
    OwnedEventId, OwnedRoomId, UInt,
    api::{
        Direction,
        client::{
            relations::get_relating_events::v1::Response,
            threads::get_threads::v1::{self as get_threads, IncludeThreads},
        },
    },
    events::{TimelineEventType, relation::RelationType},
};

use crate::{
    Error, Result, Sync, SyncToken, Viewer,
    access::Readable,
    client_event::Composer,
    history::{History, HistoryKeys},
    messages::token,
};

/// Related events in one page, unless the client says how many, and at most.
const PAGE: u32 = 50;
const LONGEST_PAGE: u32 = 250;

/// Which related events a client wants.
#[derive(Clone, Debug)]
pub struct RelationsRequest {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The event that the others relate to.
    pub event_id: OwnedEventId,
    /// How they relate, if it matters.
    pub rel_type: Option<RelationType>,
    /// Of which type they are, if it matters.
    pub event_type: Option<TimelineEventType>,
    /// Where to start.
    pub from: Option<String>,
    /// Where to stop.
    pub to: Option<String>,
    /// Newest first, or oldest first.
    pub dir: Direction,
    /// How many at most.
    pub limit: Option<UInt>,
}

impl Sync {
    /// A page of the events that relate to an event.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#relationships-api).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not read the room, [`Error::NotFound`] where it has no such event that the
    /// user may see, [`Error::UnknownToken`].
    pub async fn relations(&self, viewer: Viewer, request: RelationsRequest) -> Result<Response> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| page(tx, &viewer, &request, now_ms))
            .await
    }

    /// A page of a room's threads by their roots, those first that were replied to last.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not read the room, [`Error::UnknownToken`].
    pub async fn threads(
        &self,
        viewer: Viewer,
        request: get_threads::Request,
    ) -> Result<get_threads::Response> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| thread_page(tx, &viewer, &request, now_ms))
            .await
    }
}

fn thread_page(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    request: &get_threads::Request,
    now_ms: u64,
) -> Result<get_threads::Response> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let readable = Readable::find(tx, viewer, &keys, &request.room_id)?;
    let history = History::read(tx, &readable.room, &keys)?;
    let composer = Composer {
        tx,
        viewer,
        now_ms,
        room_id: Some(&request.room_id),
    };
    let limit = page_length(request.limit);
    let until = token(request.from.as_deref())?.unwrap_or(i64::MAX);
    let user = (request.include == IncludeThreads::Participated).then_some(viewer.user);
    let until = until.min(readable.until);
    let mut threads = tx.threads(readable.room.nid, user, until, limit + 1)?;
    let has_more = threads.len() > limit as usize;
    threads.truncate(limit as usize);

    let mut chunk = Vec::with_capacity(threads.len());
    for (root, _) in &threads {
        let row = tx.client_event_by_nid(*root)?;
        if history.can_see(tx, &row)? {
            chunk.push(composer.timeline_event(&row, &history)?);
        }
    }
    let mut response = get_threads::Response::new(chunk);
    if has_more && let Some((_, latest)) = threads.last() {
        response.next_batch = Some(SyncToken::before(*latest).to_string());
    }
    Ok(response)
}

fn page_length(limit: Option<UInt>) -> u32 {
    limit.map_or(PAGE, |limit| {
        u32::try_from(u64::from(limit)).map_or(LONGEST_PAGE, |limit| limit.min(LONGEST_PAGE))
    })
}

fn page(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    request: &RelationsRequest,
    now_ms: u64,
) -> Result<Response> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let readable = Readable::find(tx, viewer, &keys, &request.room_id)?;
    let room = readable.room.nid;
    let history = History::read(tx, &readable.room, &keys)?;
    match tx.client_event(room, &request.event_id)? {
        Some(parent) if history.can_see(tx, &parent)? => {}
        _ => return Err(Error::NotFound("event")),
    }
    let composer = Composer {
        tx,
        viewer,
        now_ms,
        room_id: Some(&request.room_id),
    };
    let limit = page_length(request.limit);
    let newest_first = request.dir == Direction::Backward;
    let from = token(request.from.as_deref())?;
    let to = token(request.to.as_deref())?;
    let (after, until) = if newest_first { (to, from) } else { (from, to) };
    let stretch = Stretch {
        after: after.unwrap_or(i64::MIN),
        until: until.unwrap_or(i64::MAX).min(readable.until),
    };
    let rel_type = request.rel_type.as_ref().map(RelationType::as_str);
    let event_type = request.event_type.as_ref().map(ToString::to_string);
    let kind = (rel_type, event_type.as_deref());
    let mut related = tx.relations(
        room,
        &request.event_id,
        kind,
        stretch,
        newest_first,
        limit + 1,
    )?;
    let has_more = related.len() > limit as usize;
    related.truncate(limit as usize);

    let mut chunk = Vec::with_capacity(related.len());
    for relation in &related {
        let row = tx.client_event_by_nid(relation.child)?;
        if history.can_see(tx, &row)? {
            chunk.push(composer.timeline_event(&row, &history)?);
        }
    }
    let mut response = Response::new(chunk);
    response.prev_batch.clone_from(&request.from);
    if has_more && let Some(last) = related.last() {
        let rest = if newest_first {
            SyncToken::before(last.pos)
        } else {
            SyncToken::after(last.pos)
        };
        response.next_batch = Some(rest.to_string());
    }
    Ok(response)
}
