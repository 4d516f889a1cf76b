//! What must not grow with the number of rooms or members, and what may grow no faster.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use super::Run;
use crate::{client::Client, connection::Failure};

/// Rooms of the first page of a sliding sync.
const PAGE: usize = 20;

/// A room whose members are many.
pub(super) struct LargeRoom {
    room_id: String,
    sent: u32,
}

#[derive(Deserialize)]
struct Page {
    rooms: std::collections::BTreeMap<String, serde_json::Value>,
}

impl Run<'_, '_> {
    /// Syncs that find nothing, and do not wait for it.
    pub(super) async fn empty_sync(&mut self) -> Result<()> {
        let client = self.sync_client().await?;
        let mut clients = [Quiet::new(client).await?];
        let level = self.plan.sync_rooms;
        let look = async |quiet: &mut Quiet| quiet.look().await;
        self.measure("empty-sync", level, &mut clients, look)
            .await?;
        Ok(())
    }

    /// First pages of the room list, each from the start.
    pub(super) async fn sliding_sync(&mut self) -> Result<()> {
        let mut clients = [self.sync_client().await?];
        let level = self.plan.sync_rooms;
        let page = async |client: &mut Client| {
            let page: Page = client.sliding_sync(&room_list()).await?;
            if page.rooms.len() == PAGE.min(level) {
                Ok(())
            } else {
                Err(Failure::Incomplete("the first page of the room list"))
            }
        };
        self.measure("sliding-sync", level, &mut clients, page)
            .await?;
        Ok(())
    }

    /// The next sync of a member of a large room, after a message in it.
    pub(super) async fn large_room(&mut self) -> Result<()> {
        for level in self.plan.members.clone() {
            let mut clients = self.accounts.clients(level).await?;
            let room_id = super::room_of(&mut clients, "Large").await?;
            let mut clients = clients.into_iter();
            let writer = clients.next().context("a room needs a member")?;
            let reader = clients.next().context("a room needs two members")?;
            let reader = Quiet::new(reader).await?;
            let room = LargeRoom { room_id, sent: 0 };
            let mut members = [(writer, reader, room)];
            let next = async |(writer, reader, room): &mut (Client, Quiet, LargeRoom)| {
                room.sent += 1;
                let number = format!("large-{level}-{}", room.sent);
                writer
                    .send(&room.room_id, &number, "To a large room")
                    .await?;
                reader.follow().await
            };
            self.measure("large-room", level, &mut members, next)
                .await?;
        }
        Ok(())
    }

    /// Users looked for by the beginning of their name, which all of them share.
    pub(super) async fn user_directory(&mut self) -> Result<()> {
        for level in self.plan.members.clone() {
            let mut clients = self.accounts.clients(level).await?;
            super::room_of(&mut clients, "Everybody").await?;
            clients.truncate(1);
            let search = async |client: &mut Client| client.search_users("bench").await;
            self.measure("user-directory", level, &mut clients, search)
                .await?;
        }
        Ok(())
    }

    async fn sync_client(&mut self) -> Result<Client> {
        self.prepare_sync_account().await?;
        let account = self.sync_account.as_ref();
        let account = account.context("the account was prepared above")?;
        Ok(self.accounts.client(account.session()))
    }
}

/// A client that has seen everything.
struct Quiet {
    client: Client,
    since: String,
}

impl Quiet {
    async fn new(mut client: Client) -> Result<Self, Failure> {
        let since = client.sync(None, 0).await?.next_batch;
        // What the first sync itself brought about is over with the second.
        let since = client.sync(Some(&since), 0).await?.next_batch;
        Ok(Self { client, since })
    }

    async fn look(&mut self) -> Result<(), Failure> {
        self.client.sync(Some(&self.since), 0).await.map(|_| ())
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        self.since = self.client.sync(Some(&self.since), 0).await?.next_batch;
        Ok(())
    }
}

/// What clients ask for that show a list of rooms.
fn room_list() -> serde_json::Value {
    json!({
        "lists": { "all_rooms": {
            "ranges": [[0, PAGE - 1]],
            "timeline_limit": 1,
            "required_state": [
                ["m.room.create", ""], ["m.room.name", ""], ["m.room.avatar", ""],
                ["m.room.encryption", ""], ["m.room.power_levels", ""],
                ["m.room.member", "$LAZY"], ["m.room.member", "$ME"],
            ],
            "filters": { "not_room_types": ["m.space"] },
        } },
        "extensions": {
            "account_data": { "enabled": true }, "receipts": { "enabled": true },
            "typing": { "enabled": true }, "e2ee": { "enabled": true },
        },
    })
}
