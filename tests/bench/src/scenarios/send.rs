//! Messages into one room and into many.

use anyhow::Result;

use super::{Run, room_of};
use crate::{client::Client, connection::Failure};

/// About the length of a sentence, as people write.
const TEXT: &str = "The meeting about the new border crossing is at ten, please bring the map.";

struct Sender {
    client: Client,
    room_id: String,
    /// Unique for the device within the run: the room's number, then the message's.
    room_number: usize,
    sent: u64,
}

impl Sender {
    async fn send(&mut self) -> Result<(), Failure> {
        self.sent += 1;
        let txn_id = format!("{}-{}", self.room_number, self.sent);
        self.client.send(&self.room_id, &txn_id, TEXT).await
    }
}

impl Run<'_, '_> {
    /// Each level has a room of its own, so that its members are just its senders.
    pub(super) async fn send_one_room(&mut self) -> Result<()> {
        for level in self.plan.concurrency.clone() {
            let mut clients = self.accounts.clients(level).await?;
            let room_id = room_of(&mut clients, "One room").await?;
            let mut senders: Vec<_> = clients
                .into_iter()
                .map(|client| Sender {
                    client,
                    room_id: room_id.clone(),
                    room_number: 0,
                    sent: level as u64 * 1_000_000_000,
                })
                .collect();
            self.measure("send-one-room", level, &mut senders, Sender::send)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn send_many_rooms(&mut self) -> Result<()> {
        let rooms = self.plan.rooms;
        // As many accounts as elsewhere suffice, so that many rooms cost no further registrations.
        let accounts = rooms.min(self.widest().max(10));
        let clients = self.accounts.clients(accounts).await?;
        drop(clients);
        let mut senders = Vec::with_capacity(rooms);
        for room_number in 1..=rooms {
            let mut clients = self.accounts.clients(accounts).await?;
            let mut client = clients.swap_remove((room_number - 1) % accounts);
            let room_id = client.create_room("One of many rooms").await?;
            senders.push(Sender {
                client,
                room_id,
                room_number,
                sent: 0,
            });
        }
        self.measure("send-many-rooms", rooms, &mut senders, Sender::send)
            .await?;
        Ok(())
    }
}
