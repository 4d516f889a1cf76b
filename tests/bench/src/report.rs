//! The lines a run writes: one JSON object for each scenario and level.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Deserialize, Serialize};

use crate::{
    drive::Record,
    process::{self, Processes, Usage},
};

/// One measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Line {
    /// What the server was called on the command line.
    pub target: String,
    /// Which of several runs of the same comparison.
    pub round: u32,
    pub scenario: String,
    /// The scenario's size: concurrent clients, syncing users or rooms.
    pub level: usize,
    /// What succeeded within the measured time.
    pub operations: u64,
    /// What failed, by reason.
    pub errors: BTreeMap<String, u64>,
    pub seconds: f64,
    pub per_second: f64,
    /// Absent when nothing succeeded, or when there is nothing to wait for.
    pub latency: Option<Latency>,
    /// Absent when no process was named.
    pub server: Option<ServerUse>,
    /// What the load generator itself took from the machine.
    pub generator_cpu_seconds: f64,
    /// Mean size of a response, where a scenario records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
    pub mean: f64,
}

/// What the server's processes consumed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServerUse {
    /// Over the measured time.
    pub cpu_seconds: f64,
    /// Absent when nothing succeeded.
    pub cpu_ms_per_operation: Option<f64>,
    /// At the end; pages shared between processes count for each.
    pub rss_mib: f64,
    /// At the end; pages shared between processes count once.
    pub pss_mib: f64,
}

/// Names the run, and takes its lines.
pub struct Report<'a> {
    pub target: String,
    pub round: u32,
    pub processes: Processes,
    pub output: &'a mut dyn Write,
}

/// Consumption at the start of a measurement.
#[derive(Debug)]
pub(crate) struct Start {
    server: Option<Usage>,
    generator_cpu_seconds: f64,
}

impl Report<'_> {
    /// To be called after set-up and warm-up.
    pub(crate) fn start(&self) -> io::Result<Start> {
        Ok(Start {
            server: self.processes.usage()?,
            generator_cpu_seconds: process::own_cpu_seconds()?,
        })
    }

    /// Writes the line of a measurement that has just ended.
    pub(crate) fn finish(
        &mut self,
        start: &Start,
        scenario: &str,
        level: usize,
        record: &Record,
        response_bytes: Option<u64>,
    ) -> io::Result<()> {
        let generator_cpu_seconds = process::own_cpu_seconds()? - start.generator_cpu_seconds;
        let operations = record.operations();
        let seconds = record.elapsed.as_secs_f64();
        let server = match (start.server, self.processes.usage()?) {
            (Some(before), Some(after)) => Some(ServerUse::between(before, after, operations)),
            _ => None,
        };
        let line = Line {
            target: self.target.clone(),
            round: self.round,
            scenario: scenario.to_owned(),
            level,
            operations,
            errors: record.errors.clone(),
            seconds: round(seconds),
            per_second: round(count(operations) / seconds.max(f64::EPSILON)),
            latency: (operations > 0).then(|| Latency::of(record)),
            server,
            generator_cpu_seconds: round(generator_cpu_seconds),
            response_bytes,
        };
        serde_json::to_writer(&mut *self.output, &line)?;
        self.output.write_all(b"\n")?;
        self.output.flush()
    }
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("target", &self.target)
            .field("round", &self.round)
            .finish_non_exhaustive()
    }
}

impl Latency {
    fn of(record: &Record) -> Self {
        let histogram = &record.latency_us;
        let at = |quantile| ms(count(histogram.value_at_quantile(quantile)));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: ms(count(histogram.max())),
            mean: ms(histogram.mean()),
        }
    }
}

impl ServerUse {
    fn between(before: Usage, after: Usage, operations: u64) -> Self {
        let cpu_seconds = (after.cpu_seconds - before.cpu_seconds).max(0.0);
        Self {
            cpu_seconds: round(cpu_seconds),
            cpu_ms_per_operation: (operations > 0)
                .then(|| round(cpu_seconds * 1000.0 / count(operations))),
            rss_mib: round(after.rss_mib),
            pss_mib: round(after.pss_mib),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and microseconds stay far below 2^52"
)]
fn count(value: u64) -> f64 {
    value as f64
}

fn ms(microseconds: f64) -> f64 {
    round(microseconds / 1000.0)
}

/// To four decimals, which is finer than any of the figures is certain.
fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn writes_a_line_that_reads_back() {
        let mut record = Record::new();
        for ms in 1..=100 {
            record.success(Duration::from_millis(ms));
        }
        record.elapsed = Duration::from_secs(2);
        let mut output = Vec::new();
        let mut report = Report {
            target: "a".to_owned(),
            round: 1,
            processes: Processes::new(vec![std::process::id()]),
            output: &mut output,
        };
        let start = report.start().unwrap();
        report
            .finish(&start, "send-one-room", 10, &record, None)
            .unwrap();

        let line: Line = serde_json::from_slice(&output).unwrap();
        assert_eq!((line.operations, line.level), (100, 10));
        assert!((line.per_second - 50.0).abs() < 1e-9);
        let latency = line.latency.unwrap();
        assert!((latency.p50 - 50.0).abs() < 0.1 && (latency.p99 - 99.0).abs() < 0.1);
        assert!(line.server.unwrap().rss_mib > 0.0);
    }
}
