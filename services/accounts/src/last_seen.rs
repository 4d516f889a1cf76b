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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn many_requests_make_one_batch() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let seen = async || {
            let device = accounts.device(&session, &session.device_id).await.unwrap();
            (device.last_seen_ts, device.last_seen_ip)
        };
        let first = accounts.now_ms();
        accounts.touch(&session, Some([192, 0, 2, 1].into()));
        fixture.pass(std::time::Duration::from_secs(1));
        accounts.touch(&session, None);
        assert_eq!(seen().await, (None, None));
        assert_eq!(accounts.inner.last_seen.lock().devices, 1);

        accounts.flush_last_seen().await;
        assert_eq!(
            seen().await,
            (Some(first + 1_000), Some("192.0.2.1".to_owned()))
        );
    }

    #[tokio::test]
    async fn a_batch_is_due_after_a_minute() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let last_seen = LastSeen::default();
        assert!(last_seen.note(&session, None, 0).is_none());
        assert!(last_seen.note(&session, None, BATCH_MS - 1).is_none());
        assert_eq!(last_seen.note(&session, None, BATCH_MS).unwrap().devices, 1);
        assert_eq!(last_seen.lock().devices, 0);
    }
}
