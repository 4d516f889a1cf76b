//! A person's phone as Element X is built: matrix-sdk-ui's room list and timelines, over sliding sync alone.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use matrix_sdk::{
    Client, Room,
    ruma::{OwnedUserId, RoomId, UserId},
};
use matrix_sdk_ui::{
    Timeline,
    eyeball_im::Vector,
    room_list_service::{RoomListItem, RoomListService, filters::new_filter_non_left},
    sync_service::SyncService,
    timeline::{EventTimelineItem, RoomExt as _},
};
use tokio::task::JoinHandle;

use crate::{eventually, eventually_some};

/// As many rooms as a screen shows.
const PAGE: usize = 20;

/// A device that shows a room list and reads rooms. It syncs until it is dropped.
pub struct Reader {
    pub client: Client,
    pub user_id: OwnedUserId,
    sync: SyncService,
    rooms: Arc<Mutex<Vector<RoomListItem>>>,
    listing: JoinHandle<()>,
}

impl Reader {
    pub(crate) async fn start(client: Client) -> Result<Self> {
        let user_id = client
            .user_id()
            .context("no user id after the login")?
            .to_owned();
        let sync = SyncService::builder(client.clone()).build().await?;
        let rooms = Arc::<Mutex<Vector<RoomListItem>>>::default();
        let listing = tokio::spawn(list(sync.room_list_service(), rooms.clone()));
        sync.start().await;
        Ok(Self {
            client,
            user_id,
            sync,
            rooms,
            listing,
        })
    }

    /// The names of the rooms on the first page, as the list sorts them.
    pub fn room_list(&self) -> Vec<String> {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms
            .iter()
            .map(|room| room.cached_display_name())
            .map(|name| name.map_or_else(String::new, |name| name.to_string()))
            .collect()
    }

    /// Waits until the list shows these rooms, in this order.
    pub async fn lists(&self, names: &[&str]) -> Result<()> {
        let what = format!("the room list of {} shows {names:?}", self.user_id);
        let shown = eventually(&what, async || self.room_list() == names).await;
        shown.with_context(|| format!("it shows {:?}", self.room_list()))
    }

    /// Waits until the sync tells of a room.
    pub async fn room(&self, room_id: &RoomId) -> Result<Room> {
        eventually_some("the room is synced", async || self.client.get_room(room_id)).await
    }

    /// Waits until the sync shows that somebody has joined.
    pub async fn sees_join(&self, room_id: &RoomId, user_id: &UserId) -> Result<()> {
        let room = self.room(room_id).await?;
        eventually("the sync shows the member", async || {
            let member = room.get_member_no_sync(user_id).await;
            matches!(member, Ok(Some(member)) if member.membership().as_str() == "join")
        })
        .await
    }

    /// Opens a room: from now on, its timeline is kept.
    pub async fn open(&self, room_id: &RoomId) -> Result<Timeline> {
        let service = self.sync.room_list_service();
        service.subscribe_to_rooms(&[room_id]).await;
        Ok(self.room(room_id).await?.timeline().await?)
    }

    /// Ends its syncs.
    pub async fn stop(&self) {
        self.sync.stop().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.listing.abort();
    }
}

/// Waits until a timeline shows a message that came encrypted and was decrypted, and returns it.
pub async fn shows(timeline: &Timeline, sender: &UserId, body: &str) -> Result<EventTimelineItem> {
    let what = format!("the timeline shows {body:?} of {sender}");
    let item = eventually_some(&what, async || {
        let items = timeline.items().await;
        let mut events = items.iter().filter_map(|item| item.as_event());
        let message = |event: &&EventTimelineItem| {
            let message = event.content().as_message();
            !event.is_local_echo() && message.is_some_and(|message| message.body() == body)
        };
        events.find(message).cloned()
    })
    .await?;
    anyhow::ensure!(item.sender() == sender, "{body:?} is of {}", item.sender());
    anyhow::ensure!(
        item.encryption_info().is_some(),
        "{body:?} came in the clear"
    );
    Ok(item)
}

/// Waits until a timeline shows that `reader` has read so far as to the message `body`.
pub async fn shows_read(timeline: &Timeline, reader: &UserId, body: &str) -> Result<()> {
    let what = format!("the timeline shows that {reader} has read {body:?}");
    eventually(&what, async || {
        let items = timeline.items().await;
        items
            .iter()
            .filter_map(|item| item.as_event())
            .any(|event| {
                let message = event.content().as_message();
                message.is_some_and(|message| message.body() == body)
                    && event.read_receipts().contains_key(reader)
            })
    })
    .await
}

async fn list(service: Arc<RoomListService>, rooms: Arc<Mutex<Vector<RoomListItem>>>) {
    let all = match service.all_rooms().await {
        Ok(all) => all,
        Err(error) => {
            tracing::error!(target: "matrix_sdk::interop", %error, "there is no room list");
            return;
        }
    };
    let (changes, controller) = all.entries_with_dynamic_adapters(PAGE);
    controller.set_filter(Box::new(new_filter_non_left()));
    let mut changes = pin!(changes);
    while let Some(several) = changes.next().await {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        for change in several {
            change.apply(&mut rooms);
        }
    }
}
