//! Creating rooms, and joining them.

use anyhow::Result;

use super::Run;
use crate::{
    client::Client,
    drive::{Bounds, drive},
};

/// Rooms that each account joins, warm-up included.
const ROOMS_TO_JOIN: usize = 22;
const WARM_UP_JOINS: u64 = 2;
/// Joins interact through the rooms' member lists; beyond this the set-up outweighs what is learned.
const MAX_CONCURRENT_JOINS: usize = 10;

struct Joiner<'a> {
    client: Client,
    rooms: std::slice::Iter<'a, String>,
}

impl Run<'_, '_> {
    pub(super) async fn create_room(&mut self) -> Result<()> {
        for level in self.plan.concurrency.clone() {
            let mut clients = self.accounts.clients(level).await?;
            let create = async |client: &mut Client| {
                client.create_room("A room like others").await.map(|_id| ())
            };
            self.measure("create-room", level, &mut clients, create)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn join(&mut self) -> Result<()> {
        let levels = self.plan.concurrency.clone();
        for level in levels
            .into_iter()
            .filter(|&level| level <= MAX_CONCURRENT_JOINS)
        {
            let mut clients = self.accounts.clients(level + 1).await?;
            let mut rooms = Vec::with_capacity(ROOMS_TO_JOIN);
            for number in 0..ROOMS_TO_JOIN {
                rooms.push(clients[0].create_room(&format!("To join {number}")).await?);
            }
            let mut joiners: Vec<_> = clients
                .drain(1..)
                .map(|client| Joiner {
                    client,
                    rooms: rooms.iter(),
                })
                .collect();
            let join = async |joiner: &mut Joiner<'_>| match joiner.rooms.next() {
                Some(room_id) => joiner.client.join(room_id).await,
                None => Ok(()),
            };
            let warm_up = Bounds {
                time: self.plan.warm_up,
                operations_per_worker: WARM_UP_JOINS,
            };
            drive(&mut joiners, warm_up, join).await;
            let bounds = Bounds {
                time: self.plan.time,
                operations_per_worker: ROOMS_TO_JOIN as u64 - WARM_UP_JOINS,
            };
            let start = self.report.start()?;
            let record = drive(&mut joiners, bounds, join).await;
            self.report.finish(&start, "join", level, &record, None)?;
        }
        Ok(())
    }
}
