//! How soon a server that was away has what was said meanwhile.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use super::{PAUSE, Pair, Run, control};
use crate::{client::Client, connection::Failure, drive::Record};

/// Users who speak side by side.
const SPEAKERS: usize = 10;

/// What is not there by then is lost.
const LONGEST: Duration = Duration::from_mins(10);

/// The numbers of the last messages, which came side by side, are not more than this apart.
const LAST: usize = 50 * SPEAKERS;

/// How long a server that still lacks something is left to itself.
const LONG_PAUSE: Duration = Duration::from_millis(250);

/// The text of a message is this and its number.
const MISSED: &str = "missed ";

impl Run<'_, '_> {
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        let missed = self.plan.missed;
        let Pair {
            mut sender,
            mut receiver,
            room_id,
        } = self.pair("Catching up").await?;
        let mut speakers = self.servers.resident.clients(SPEAKERS).await?;
        for speaker in &mut speakers {
            speaker.join(&room_id).await?;
        }
        sender.send(&room_id, "last-seen", "See you later").await?;
        let before = everything(&mut receiver, &room_id).await?;
        ensure!(
            before.is_empty(),
            "the room has messages before they are sent"
        );

        control::ask("stop")?;
        try_join_all(speakers.iter_mut().enumerate().map(
            async |(index, speaker)| -> Result<(), Failure> {
                for number in (index..missed).step_by(SPEAKERS) {
                    let text = format!("{MISSED}{number}");
                    let txn_id = format!("{room_id}-{number}");
                    speaker.send(&room_id, &txn_id, &text).await?;
                }
                Ok(())
            },
        ))
        .await?;
        let start = self.report.start()?;
        control::ask("start")?;

        let begun = Instant::now();
        receiver.rest();
        let mut found = 0;
        while found < missed {
            ensure!(
                begun.elapsed() < LONGEST,
                "only {found} of {missed} messages arrived"
            );
            // Reading all of it again and again would hold up the server: first one of the last must be there.
            if newest(&mut receiver, &room_id).await? + LAST < missed {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            found = everything(&mut receiver, &room_id).await?.len();
            if found < missed {
                tokio::time::sleep(LONG_PAUSE).await;
            }
        }
        let elapsed = begun.elapsed();
        let mut record = Record::new();
        for _ in 0..missed {
            record.success(elapsed);
        }
        record.elapsed = elapsed;
        self.report
            .finish(&start, "catch-up", missed, &record, None)?;
        Ok(())
    }
}

/// The number of the message at the end of the room's history; 0 where it is none of those that were missed.
async fn newest(reader: &mut Client, room_id: &str) -> Result<usize, Failure> {
    let page = reader.history(room_id, None, 1).await?;
    Ok(page.texts().find_map(number).unwrap_or_default())
}

/// The numbers of all messages that a client can page back to.
async fn everything(reader: &mut Client, room_id: &str) -> Result<BTreeSet<usize>, Failure> {
    let mut numbers = BTreeSet::new();
    let mut from = None;
    loop {
        let page = reader.history(room_id, from.as_deref(), 1000).await?;
        numbers.extend(page.texts().filter_map(number));
        match page.end {
            Some(end) => from = Some(end),
            None => return Ok(numbers),
        }
    }
}

fn number(text: &str) -> Option<usize> {
    text.strip_prefix(MISSED)?.parse().ok()
}
