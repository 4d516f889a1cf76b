//! When devices were last seen, written in batches: a write per request would cost more than most requests.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use luxchat_store::UserNid;
use ruma::OwnedDeviceId;
use tracing::warn;

use crate::{Accounts, Session};

/// How long a batch gathers, in milliseconds.
const BATCH_MS: u64 = 60_000;

/// How many devices a batch gathers.
const BATCH_DEVICES: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct LastSeen(Mutex<Batch>);

#[derive(Debug, Default)]
struct Batch {
    started_ms: u64,
    seen: HashMap<UserNid, Vec<Seen>>,
    devices: usize,
}

#[derive(Debug)]
struct Seen {
    device_id: OwnedDeviceId,
    ts: u64,
    ip: Option<IpAddr>,
}

impl Accounts {
    /// Notes that a session's device asked for something just now. Costs no write but once a minute.
    pub fn touch(&self, session: &Session, ip: Option<IpAddr>) {
        if let Some(batch) = self.inner.last_seen.note(session, ip, self.now_ms()) {
            let accounts = self.clone();
            tokio::spawn(async move { accounts.write_seen(batch).await });
        }
    }

    /// Writes what was noted since the last batch, as before a stop.
    pub async fn flush_last_seen(&self) {
        let batch = std::mem::take(&mut *self.inner.last_seen.lock());
        self.write_seen(batch).await;
    }

    async fn write_seen(&self, batch: Batch) {
        let written = self.store().write(move |tx| {
            for (user, devices) in batch.seen {
                for seen in devices {
                    let ip = seen.ip.map(|ip| ip.to_string());
                    tx.set_device_seen(user, &seen.device_id, seen.ts, ip.as_deref())?;
                }
            }
            Ok::<_, luxchat_store::Error>(())
        });
        if let Err(error) = written.await {
            warn!(%error, "when devices were last seen could not be written");
        }
    }
}

impl LastSeen {
    /// Notes one, and returns the batch that is full with it.
    fn note(&self, session: &Session, ip: Option<IpAddr>, now_ms: u64) -> Option<Batch> {
        let mut batch = self.lock();
        if batch.devices == 0 {
            batch.started_ms = now_ms;
        }
        let devices = batch.seen.entry(session.user_nid).or_default();
        let known = devices
            .iter_mut()
            .find(|seen| seen.device_id == session.device_id);
        if let Some(seen) = known {
            seen.ts = now_ms;
            seen.ip = ip.or(seen.ip);
        } else {
            devices.push(Seen {
                device_id: session.device_id.clone(),
                ts: now_ms,
                ip,
            });
            batch.devices += 1;
        }
        let is_due = now_ms.saturating_sub(batch.started_ms) >= BATCH_MS;
        (is_due || batch.devices >= BATCH_DEVICES).then(|| std::mem::take(&mut *batch))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
