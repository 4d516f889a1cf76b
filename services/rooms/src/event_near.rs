//! The event nearest to a point in time: for other servers, and from them.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid>

use luxchat_store::ReadTx;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedServerName, RoomId, ServerName, UInt,
    api::{Direction, federation::event::get_event_by_timestamp::v1 as by_time},
};

use crate::{Error, Result, Rooms, peer_view::PeerView, serve::open_room_for_member};

/// Servers asked in turn.
const MAX_SERVERS: usize = 3;

/// Times that older history is fetched to reach an event.
const MAX_FETCHES: usize = 10;

/// Events fetched each time.
const FETCHED: usize = 100;

/// Events looked at for one that another server may see.
const SCANNED: u32 = 500;

impl Rooms {
    /// The nearest event at or after (forward), or at or before (backward) a point in time, for a server in the room.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is none that it may see, [`Error::Forbidden`] where it is not in the room.
    pub async fn serve_event_near(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<(OwnedEventId, MilliSecondsSinceUnixEpoch)> {
        let (origin, room_id) = (origin.to_owned(), room_id.to_owned());
        self.store
            .read(move |tx| {
                let room = open_room_for_member(tx, &origin, &room_id)?;
                let mut view = PeerView::new(tx, &room, &origin);
                let sent_ms = i64::from(time.0);
                let events = match direction {
                    Direction::Forward => {
                        tx.events_after_time(room.nid, sent_ms, i64::MIN, SCANNED)?
                    }
                    Direction::Backward => {
                        tx.events_before_time(room.nid, sent_ms, i64::MAX, SCANNED)?
                    }
                };
                for found in events {
                    let event = tx.event_by_nid(found.event)?;
                    if view.sees(&event)? {
                        let sent_ms = UInt::try_from(found.sent_ms).unwrap_or_default();
                        return Ok((event.event_id, MilliSecondsSinceUnixEpoch(sent_ms)));
                    }
                }
                Err(Error::NotFound("event"))
            })
            .await
    }

    /// Asks other servers for the event nearest to a point in time, and fetches history until it is here. Whether anything
    /// was fetched.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server does not hold the room.
    pub async fn fetch_event_near(
        &self,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<bool> {
        let mut fetched = false;
        for server in self.other_servers(room_id).await? {
            let request = by_time::Request::new(room_id.to_owned(), time, direction);
            match self.federation.request(&server, request).await {
                Ok(answer) => {
                    for _ in 0..MAX_FETCHES {
                        if self.has_in_timeline(room_id, &answer.event_id).await?
                            || self.backfill(room_id, FETCHED).await? == 0
                        {
                            break;
                        }
                        fetched = true;
                    }
                    return Ok(fetched);
                }
                Err(error) => {
                    tracing::debug!(%server, %room_id, %error, "no event of that time to be had");
                }
            }
        }
        Ok(fetched)
    }

    async fn other_servers(&self, room_id: &RoomId) -> Result<Vec<OwnedServerName>> {
        let room_id = room_id.to_owned();
        let own = self.server_name().to_owned();
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?;
                let servers = tx.servers_in_room(room.nid)?.into_iter();
                let others = servers.map(|(_, server)| server);
                Ok(others
                    .filter(|server| *server != own)
                    .take(MAX_SERVERS)
                    .collect())
            })
            .await
    }

    async fn has_in_timeline(&self, room_id: &RoomId, event_id: &OwnedEventId) -> Result<bool> {
        let (room_id, event_id) = (room_id.to_owned(), event_id.clone());
        self.store
            .read(move |tx: &ReadTx<'_>| {
                let room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?;
                Ok(tx.timeline_pos(room.nid, &event_id)?.is_some())
            })
            .await
    }
}
