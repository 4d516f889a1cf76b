//! A room's state.

use luxchat_store::ReadTx;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId,
    events::{AnyStateEvent, StateEventType},
    serde::Raw,
};

use crate::{
    Error, Result, Sync, Viewer, access::Readable, client_event::Composer, history::HistoryKeys,
};

impl Sync {
    /// All state of a room: the current one, or that at which the user left.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not read the room.
    pub async fn state(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
    ) -> Result<Vec<Raw<AnyStateEvent>>> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| {
                let readable = readable(tx, &viewer, &room_id)?;
                let composer = Composer {
                    tx,
                    viewer: &viewer,
                    now_ms,
                    room_id: Some(&room_id),
                };
                if Some(readable.state) == readable.room.current {
                    let which = luxchat_store::StateSelection::All;
                    let rows = tx.client_state(readable.room.nid, which)?;
                    return rows.iter().map(|row| composer.bare_event(row)).collect();
                }
                let events = tx.state_at(readable.state)?.into_values();
                events
                    .map(|event| composer.bare_event(&tx.client_event_by_nid(event)?))
                    .collect()
            })
            .await
    }

    /// One entry of a room's state.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not read the room, [`Error::NotFound`] where it has no such entry.
    pub async fn state_event(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
        event_type: StateEventType,
        state_key: String,
    ) -> Result<Raw<AnyStateEvent>> {
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| {
                let readable = readable(tx, &viewer, &room_id)?;
                let event = tx.state_entry_at(readable.state, &event_type, &state_key)?;
                let event = event.ok_or(Error::NotFound("state event"))?;
                let composer = Composer {
                    tx,
                    viewer: &viewer,
                    now_ms,
                    room_id: Some(&room_id),
                };
                composer.bare_event(&tx.client_event_by_nid(event)?)
            })
            .await
    }

    /// The aliases that this server has for a room.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user may not read the room.
    pub async fn aliases(
        &self,
        viewer: Viewer,
        room_id: OwnedRoomId,
    ) -> Result<Vec<OwnedRoomAliasId>> {
        self.store
            .read(move |tx| {
                let readable = readable(tx, &viewer, &room_id)?;
                Ok(tx.aliases_of_room(readable.room.nid)?)
            })
            .await
    }
}

fn readable(tx: &ReadTx<'_>, viewer: &Viewer, room_id: &OwnedRoomId) -> Result<Readable> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    Readable::find(tx, viewer, &keys, room_id)
}
