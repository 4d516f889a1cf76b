//! How other servers behave: who floods or lies is slowed first, then refused for a time.
//!
//! Each offence adds to a server's score, which falls again with time. What happens to honest servers now and then, because
//! they are large, old or broken, at most slows them: only forgeries and floods without end have a server refused.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use luxchat_store::Clock;
use metrics::{counter, gauge};
use ruma::{OwnedServerName, ServerName};
use tracing::warn;

/// Scores fall by this much in a second.
const DECAY: f64 = 1.0 / 6.0;

/// From here on requests wait, each a little longer for every point.
const SLOWED: f64 = 20.0;
const WAIT_PER_POINT: f64 = 0.05;
const LONGEST_WAIT: f64 = 2.0;

/// From here on requests are refused for a time: at first the shorter one, twice as long with each refusal that follows
/// within a day.
const REFUSED: f64 = 100.0;
const REFUSAL: Duration = Duration::from_mins(1);
const LONGEST_REFUSAL: Duration = Duration::from_hours(1);
const REMEMBERED: Duration = Duration::from_hours(24);

/// Servers whose conduct is remembered. Those with the lowest scores are forgotten first.
const SERVERS: usize = 4_096;

/// What a server did that it should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// An event of its own users that it did not sign, though it says so.
    ForgedEvent,
    /// A request in another server's name, or with a signature that does not hold.
    ForgedRequest,
    /// Something that is not what the specification asks for.
    Malformed,
    /// More at once than the specification allows.
    Oversized,
    /// A request though as many as it may make are being served or wait already.
    Flood,
}

/// How a server is met.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// As any other.
    Good,
    /// Its requests wait this long.
    Slowed(Duration),
    /// Its requests are refused.
    Refused(Refusal),
}

/// Why a server is refused, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What it did last.
    pub offence: Offence,
    /// How long it has to wait.
    pub left: Duration,
}

/// A server that is not in good standing, for whoever operates this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Offender {
    /// The server.
    pub server: OwnedServerName,
    /// How it is met.
    pub standing: Standing,
    /// What it did last.
    pub offence: Offence,
    /// How often it did anything of the kind since it was last in good standing.
    pub offences: u64,
}

/// The conduct of other servers. Clones share it.
#[derive(Clone, Debug)]
pub struct Conduct {
    clock: Arc<dyn Clock>,
    records: Arc<Mutex<HashMap<OwnedServerName, Record>>>,
}

#[derive(Debug)]
struct Record {
    score: f64,
    at_ms: u64,
    last: Offence,
    offences: u64,
    refused_until_ms: u64,
    /// Refusals in a row.
    refusals: u32,
}

impl Offence {
    /// What it adds to the score, and how high it alone may bring that.
    fn weight(self) -> (f64, f64) {
        match self {
            Self::ForgedEvent => (10.0, REFUSED),
            Self::ForgedRequest => (1.0, REFUSED),
            Self::Malformed => (2.0, 40.0),
            Self::Oversized => (5.0, 60.0),
            Self::Flood => (0.05, REFUSED),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ForgedEvent => "forged_event",
            Self::ForgedRequest => "forged_request",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::Flood => "flood",
        }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForgedEvent => "it sent events with signatures that do not hold",
            Self::ForgedRequest => "it made requests with signatures that do not hold",
            Self::Malformed => "it sent what is malformed",
            Self::Oversized => "it sent more at once than is allowed",
            Self::Flood => "it made too many requests at once",
        })
    }
}

impl Conduct {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            records: Arc::default(),
        }
    }

    /// Notes an offence. Only what was certainly `server`'s own doing counts, not what somebody says in its name.
    pub fn note(&self, server: &ServerName, offence: Offence) {
        counter!("luxchat_federation_offences_total", "kind" => offence.name()).increment(1);
        let now_ms = self.clock.now_ms();
        let mut records = self.records();
        if !records.contains_key(server) && records.len() >= SERVERS {
            forget_some(&mut records, now_ms);
        }
        let record = records.entry(server.to_owned()).or_insert(Record {
            score: 0.0,
            at_ms: now_ms,
            last: offence,
            offences: 0,
            refused_until_ms: 0,
            refusals: 0,
        });
        record.decay(now_ms);
        let (weight, ceiling) = offence.weight();
        record.score = record.score.max((record.score + weight).min(ceiling));
        record.last = offence;
        record.offences += 1;
        if record.score >= REFUSED && record.refused_until_ms <= now_ms {
            let refusal = record.refuse(now_ms);
            warn!(%server, reason = %offence, seconds = refusal.as_secs(), "a server is refused for a time");
            counter!("luxchat_federation_refusals_total", "kind" => offence.name()).increment(1);
        }
        count_refused(&records, now_ms);
    }

    /// How `server` is to be met now.
    pub fn standing(&self, server: &ServerName) -> Standing {
        let now_ms = self.clock.now_ms();
        let mut records = self.records();
        let Some(record) = records.get_mut(server) else {
            return Standing::Good;
        };
        record.decay(now_ms);
        let standing = record.standing(now_ms);
        if record.is_forgotten(now_ms) {
            records.remove(server);
            count_refused(&records, now_ms);
        }
        standing
    }

    /// Those that are not in good standing, the worst first, at most `limit`.
    pub fn offenders(&self, limit: usize) -> Vec<Offender> {
        let now_ms = self.clock.now_ms();
        let mut records = self.records();
        let mut offenders = Vec::new();
        for (server, record) in records.iter_mut() {
            record.decay(now_ms);
            let standing = record.standing(now_ms);
            if standing != Standing::Good {
                let offender = Offender {
                    server: server.clone(),
                    standing,
                    offence: record.last,
                    offences: record.offences,
                };
                offenders.push((record.refused_until_ms.max(now_ms), record.score, offender));
            }
        }
        count_refused(&records, now_ms);
        drop(records);
        offenders.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        let offenders = offenders.into_iter().map(|(.., offender)| offender);
        offenders.take(limit).collect()
    }

    fn records(&self) -> MutexGuard<'_, HashMap<OwnedServerName, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a score needs no exact milliseconds"
    )]
    fn decay(&mut self, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1_000.0;
        self.score = (self.score - seconds * DECAY).max(0.0);
        self.at_ms = now_ms;
        if self.score == 0.0 {
            self.offences = 0;
        }
    }

    /// Refuses the server from now on. After that it is on probation: slowed, and soon refused again.
    fn refuse(&mut self, now_ms: u64) -> Duration {
        if now_ms.saturating_sub(self.refused_until_ms) > millis(REMEMBERED) {
            self.refusals = 0;
        }
        let refusal = REFUSAL
            .saturating_mul(1 << self.refusals.min(16))
            .min(LONGEST_REFUSAL);
        self.refusals = self.refusals.saturating_add(1);
        self.refused_until_ms = now_ms.saturating_add(millis(refusal));
        self.score = REFUSED / 2.0 + refusal.as_secs_f64() * DECAY;
        refusal
    }

    fn standing(&self, now_ms: u64) -> Standing {
        let left_ms = self.refused_until_ms.saturating_sub(now_ms);
        if left_ms > 0 {
            return Standing::Refused(Refusal {
                offence: self.last,
                left: Duration::from_millis(left_ms),
            });
        }
        if self.score < SLOWED {
            return Standing::Good;
        }
        let wait = (self.score - SLOWED) * WAIT_PER_POINT;
        Standing::Slowed(Duration::from_secs_f64(wait.min(LONGEST_WAIT)))
    }

    /// Whether nothing of it matters any more.
    fn is_forgotten(&self, now_ms: u64) -> bool {
        self.score == 0.0 && now_ms.saturating_sub(self.refused_until_ms) > millis(REMEMBERED)
    }
}

/// Makes room: what does not matter any more goes, else the lesser half.
fn forget_some(records: &mut HashMap<OwnedServerName, Record>, now_ms: u64) {
    for record in records.values_mut() {
        record.decay(now_ms);
    }
    records.retain(|_, record| !record.is_forgotten(now_ms));
    if records.len() < SERVERS {
        return;
    }
    let mut order: Vec<(u64, f64)> = records
        .values()
        .map(|record| (record.refused_until_ms, record.score))
        .collect();
    order.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (until, score) = order[order.len() / 2];
    let mut left = order.len() / 2;
    records.retain(|_, record| {
        let is_more = (record.refused_until_ms, record.score) > (until, score);
        let is_kept = is_more && left > 0;
        left -= usize::from(is_kept);
        is_kept
    });
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are only a few thousand records"
)]
fn count_refused(records: &HashMap<OwnedServerName, Record>, now_ms: u64) {
    let refused = records
        .values()
        .filter(|record| record.refused_until_ms > now_ms)
        .count();
    gauge!("luxchat_federation_refused_servers").set(refused as f64);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use luxchat_store::ManualClock;
    use ruma::server_name;

    use super::*;

    fn conduct() -> (Arc<ManualClock>, Conduct) {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        (
            Arc::clone(&clock),
            Conduct::new(Arc::clone(&clock) as Arc<dyn Clock>),
        )
    }

    fn is_refused(conduct: &Conduct, server: &ServerName) -> bool {
        matches!(conduct.standing(server), Standing::Refused(_))
    }

    #[test]
    fn who_lies_is_slowed_then_refused_then_let_in_again() {
        let (clock, conduct) = conduct();
        let (bad, good) = (server_name!("bad.lu"), server_name!("good.lu"));
        let mut seen = Vec::new();
        for _ in 0..10 {
            conduct.note(bad, Offence::ForgedEvent);
            seen.push(conduct.standing(bad));
        }
        assert_eq!(seen[0], Standing::Good);
        assert!(matches!(seen[5], Standing::Slowed(wait) if wait > Duration::from_secs(1)));
        let Standing::Refused(refusal) = &seen[9] else {
            panic!("{seen:?}");
        };
        assert_eq!(refusal.left, REFUSAL);
        assert_eq!(conduct.standing(good), Standing::Good);
        let offenders = conduct.offenders(10);
        assert_eq!(offenders.len(), 1);
        assert_eq!((&*offenders[0].server, offenders[0].offences), (bad, 10));

        clock.advance(REFUSAL);
        assert!(matches!(conduct.standing(bad), Standing::Slowed(_)));
        // It goes on: the next refusal is longer.
        for _ in 0..6 {
            conduct.note(bad, Offence::ForgedEvent);
        }
        let Standing::Refused(refusal) = conduct.standing(bad) else {
            panic!("it is not refused again");
        };
        assert_eq!(refusal.left, 2 * REFUSAL);
        clock.advance(Duration::from_hours(1));
        assert_eq!(conduct.standing(bad), Standing::Good);
        assert!(conduct.offenders(10).is_empty());
    }

    #[test]
    fn refusals_grow_up_to_an_hour_and_are_forgotten_after_a_day() {
        let (clock, conduct) = conduct();
        let bad = server_name!("bad.lu");
        let mut lengths = Vec::new();
        for _ in 0..8 {
            while !is_refused(&conduct, bad) {
                conduct.note(bad, Offence::ForgedRequest);
            }
            let Standing::Refused(refusal) = conduct.standing(bad) else {
                panic!("it is refused");
            };
            lengths.push(refusal.left.as_secs() / 60);
            clock.advance(refusal.left);
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        clock.advance(REMEMBERED + Duration::from_hours(1));
        assert_eq!(conduct.standing(bad), Standing::Good);
        assert!(conduct.records().is_empty());
    }

    #[test]
    fn what_happens_to_the_honest_never_has_them_refused() {
        let (clock, conduct) = conduct();
        let good = server_name!("good.lu");
        for _ in 0..10_000 {
            conduct.note(good, Offence::Malformed);
            conduct.note(good, Offence::Oversized);
            assert!(!is_refused(&conduct, good));
        }
        clock.advance(Duration::from_mins(10));
        // A rush of a large server: two hundred requests a minute beyond what it may have under way, for an hour.
        for _ in 0..60 {
            for _ in 0..200 {
                conduct.note(good, Offence::Flood);
            }
            assert!(!is_refused(&conduct, good));
            clock.advance(Duration::from_mins(1));
        }
    }

    #[test]
    fn a_flood_without_end_is_refused() {
        let (clock, conduct) = conduct();
        let bad = server_name!("bad.lu");
        let mut requests = 0;
        while !is_refused(&conduct, bad) {
            conduct.note(bad, Offence::Flood);
            clock.advance(Duration::from_millis(1));
            requests += 1;
        }
        assert!((1_000..5_000).contains(&requests), "{requests}");
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_worst() {
        let (_, conduct) = conduct();
        let bad = server_name!("bad.lu");
        while !is_refused(&conduct, bad) {
            conduct.note(bad, Offence::ForgedEvent);
        }
        for number in 0..3 * SERVERS {
            let server = ServerName::parse(format!("s{number}.lu")).unwrap();
            conduct.note(&server, Offence::Malformed);
        }
        assert!(conduct.records().len() <= SERVERS);
        assert!(is_refused(&conduct, bad));
    }
}
