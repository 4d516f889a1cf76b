//! Rooms that a user shares with another.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms).

use luxchat_store::RoomNid;
use ruma::{OwnedRoomId, OwnedUserId};

use crate::{Error, Result, Sync, Viewer};

/// Rooms on a page.
const PAGE: u32 = 250;

/// A page of the rooms that two users are joined to.
#[derive(Clone, Debug, Default)]
pub struct MutualRooms {
    /// The rooms.
    pub joined: Vec<OwnedRoomId>,
    /// How many there are on all pages.
    pub count: u32,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

impl Sync {
    /// The rooms that the user shares with another, from a page's start. A user nobody knows shares none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where the other user is the same one, [`Error::UnknownToken`].
    pub async fn mutual_rooms(
        &self,
        viewer: Viewer,
        other: OwnedUserId,
        from: Option<String>,
    ) -> Result<MutualRooms> {
        if viewer.user_id == other {
            return Err(Error::Invalid("the user shares all rooms with themselves"));
        }
        let after = match from {
            Some(from) => from.parse().map_err(|_| Error::UnknownToken(from))?,
            None => i64::MIN,
        };
        self.store
            .read(move |tx| {
                let Some(other) = tx.user_nid(&other)? else {
                    return Ok(MutualRooms::default());
                };
                let rooms = tx.mutual_rooms(viewer.user, other, RoomNid(after), PAGE)?;
                let is_full = rooms.len() == PAGE as usize;
                let last = rooms.last().map(|(room, _)| room.to_string());
                Ok(MutualRooms {
                    joined: rooms.into_iter().map(|(_, room_id)| room_id).collect(),
                    count: tx.count_mutual_rooms(viewer.user, other)?,
                    next: last.filter(|_| is_full),
                })
            })
            .await
    }
}
