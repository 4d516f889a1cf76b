//! How long the first join from another server takes: until it is answered, until the room can be used, until all is known.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{PAUSE, Run, one};
use crate::{client::Client, connection::Failure, drive::Record, scenarios::room_of};

/// A join that has not brought the room by then is lost.
const LONGEST: Duration = Duration::from_mins(10);

/// What one join took, from its request.
struct Times {
    answer: Duration,
    usable: Duration,
    complete: Duration,
}

impl Run<'_, '_> {
    pub(super) async fn join(&mut self) -> Result<()> {
        for level in self.plan.members.clone() {
            let mut answer = Record::new();
            let mut usable = Record::new();
            let mut complete = Record::new();
            let start = self.report.start()?;
            for _ in 0..self.plan.joins {
                let (room_id, mut resident) = self.room_of(level).await?;
                let via = resident.server_name().await?;
                let mut newcomer = one(&mut self.servers.peer).await?;
                let times = enter(&mut newcomer, &room_id, &via, level).await?;
                for (record, time) in [
                    (&mut answer, times.answer),
                    (&mut usable, times.usable),
                    (&mut complete, times.complete),
                ] {
                    record.success(time);
                    record.elapsed += time;
                }
            }
            for (name, record) in [
                ("federated-join-answer", answer),
                ("federated-join-usable", usable),
                ("federated-join-complete", complete),
            ] {
                self.report.finish(&start, name, level, &record, None)?;
            }
        }
        Ok(())
    }

    /// A public room of `level` members, none of them at the peer, and a member of it at the resident.
    async fn room_of(&mut self, level: usize) -> Result<(String, Client)> {
        let Some(maker) = &mut self.servers.maker else {
            let mut members = self.servers.resident.clients(level).await?;
            let room_id = room_of(&mut members, "Large").await?;
            let creator = members.into_iter().next();
            return Ok((room_id, creator.context("a room needs a member")?));
        };
        let mut members = maker.clients(level.saturating_sub(1).max(1)).await?;
        let room_id = room_of(&mut members, "Large").await?;
        let creator = members.first_mut().context("a room needs a member")?;
        let via = creator.server_name().await?;
        let mut resident = one(&mut self.servers.resident).await?;
        enter(&mut resident, &room_id, &via, members.len()).await?;
        Ok((room_id, resident))
    }
}

/// Joins a room of so many members, and looks when the join was answered, when the room shows and takes a message, and when
/// all members are known.
async fn enter(
    newcomer: &mut Client,
    room_id: &str,
    via: &str,
    members: usize,
) -> Result<Times, Failure> {
    // Servers answer a repeated first sync from a cache: the room is to show in the next one.
    let mut since = newcomer.sync_lazily(None).await?.next_batch;
    let begun = Instant::now();
    until(begun, async || newcomer.join_via(room_id, via).await).await?;
    let answer = begun.elapsed();
    until(begun, async || {
        let synced = newcomer.sync_lazily(Some(&since)).await?;
        let shows = synced.shows(room_id);
        since = synced.next_batch;
        if shows {
            Ok(())
        } else {
            Err(Failure::Incomplete("a sync that shows the room"))
        }
    })
    .await?;
    until(begun, async || {
        newcomer.send(room_id, "first", "I am here").await
    })
    .await?;
    let usable = begun.elapsed();
    until(begun, async || {
        if newcomer.count_members(room_id).await? > members {
            Ok(())
        } else {
            Err(Failure::Incomplete("all members"))
        }
    })
    .await?;
    Ok(Times {
        answer,
        usable,
        complete: begun.elapsed(),
    })
}

/// Repeats what fails for as long as a join may take.
async fn until(
    begun: Instant,
    mut attempt: impl AsyncFnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(failure) if begun.elapsed() >= LONGEST => return Err(failure),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
