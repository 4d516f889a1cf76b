//! Lays recorded lines out as Markdown, with one server's figures as ratios to each of the others'.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::report::Line;

/// Figures of all rounds of one server, scenario and level; each figure is the median over the rounds.
#[derive(Debug)]
struct Summary {
    rounds: usize,
    per_second: f64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
    cpu_ms: Option<f64>,
    rss_mib: Option<f64>,
    pss_mib: Option<f64>,
    errors: u64,
}

/// Renders two tables: the figures of every server, and how `subject` compares with each of the others.
///
/// `None` when `lines` holds nothing.
pub fn render(lines: &[Line], subject: &str) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let mut cells: Vec<((&str, usize), Vec<&str>)> = Vec::new();
    let mut groups: BTreeMap<(&str, usize, &str), Vec<&Line>> = BTreeMap::new();
    for line in lines {
        let cell = (line.scenario.as_str(), line.level);
        let target = line.target.as_str();
        match cells.iter_mut().find(|(known, _)| *known == cell) {
            None => cells.push((cell, vec![target])),
            Some((_, targets)) if !targets.contains(&target) => targets.push(target),
            Some(_) => {}
        }
        groups
            .entry((cell.0, cell.1, target))
            .or_default()
            .push(line);
    }
    let summaries: BTreeMap<_, _> = groups
        .iter()
        .map(|(key, lines)| (*key, Summary::of(lines)))
        .collect();

    let mut out = String::new();
    let others: BTreeSet<&str> = lines
        .iter()
        .map(|line| line.target.as_str())
        .filter(|target| *target != subject)
        .collect();
    for other in others {
        ratios(&mut out, &cells, &summaries, subject, other);
    }
    figures(&mut out, &cells, &summaries);
    Some(out)
}

type Cells<'a> = [((&'a str, usize), Vec<&'a str>)];
type Summaries<'a> = BTreeMap<(&'a str, usize, &'a str), Summary>;

fn ratios(
    out: &mut String,
    cells: &Cells<'_>,
    summaries: &Summaries<'_>,
    subject: &str,
    other: &str,
) {
    let mut rows = String::new();
    for ((scenario, level), _) in cells {
        let find = |target| summaries.get(&(*scenario, *level, target));
        let (Some(ours), Some(theirs)) = (find(subject), find(other)) else {
            continue;
        };
        let row = [
            name(scenario, *level),
            times(Some(ours.per_second), Some(theirs.per_second)),
            times(theirs.p50, ours.p50),
            times(theirs.p99, ours.p99),
            times(theirs.cpu_ms, ours.cpu_ms),
            times(theirs.pss_mib, ours.pss_mib),
        ];
        push_row(&mut rows, &row);
    }
    if rows.is_empty() {
        return;
    }
    push_line(out, &format!("### {subject} against {other}\n"));
    push_line(
        out,
        "Each figure says how many times better (below 1: worse).\n",
    );
    push_header(
        out,
        &[
            "scenario",
            "operations/s",
            "p50",
            "p99",
            "CPU per operation",
            "memory",
        ],
    );
    out.push_str(&rows);
    out.push('\n');
}

fn figures(out: &mut String, cells: &Cells<'_>, summaries: &Summaries<'_>) {
    push_line(out, "### Figures\n");
    push_line(
        out,
        "Medians over the rounds. Latencies in milliseconds, CPU in milliseconds per operation, memory in MiB at the end.\n",
    );
    push_header(
        out,
        &[
            "scenario",
            "server",
            "rounds",
            "operations/s",
            "p50",
            "p90",
            "p99",
            "max",
            "CPU",
            "RSS",
            "PSS",
            "errors",
        ],
    );
    for ((scenario, level), targets) in cells {
        for target in targets {
            let Some(summary) = summaries.get(&(*scenario, *level, *target)) else {
                continue;
            };
            let row = [
                name(scenario, *level),
                (*target).to_owned(),
                summary.rounds.to_string(),
                figure(Some(summary.per_second)),
                figure(summary.p50),
                figure(summary.p90),
                figure(summary.p99),
                figure(summary.max),
                figure(summary.cpu_ms),
                figure(summary.rss_mib),
                figure(summary.pss_mib),
                summary.errors.to_string(),
            ];
            push_row(out, &row);
        }
    }
}

impl Summary {
    fn of(lines: &[&Line]) -> Self {
        let over = |figure: &dyn Fn(&Line) -> Option<f64>| {
            median(lines.iter().filter_map(|line| figure(line)).collect())
        };
        Self {
            rounds: lines.len(),
            per_second: over(&|line| Some(line.per_second)).unwrap_or(0.0),
            p50: over(&|line| Some(line.latency?.p50)),
            p90: over(&|line| Some(line.latency?.p90)),
            p99: over(&|line| Some(line.latency?.p99)),
            max: over(&|line| Some(line.latency?.max)),
            cpu_ms: over(&|line| line.server?.cpu_ms_per_operation),
            rss_mib: over(&|line| Some(line.server?.rss_mib)),
            pss_mib: over(&|line| Some(line.server?.pss_mib)),
            errors: lines.iter().flat_map(|line| line.errors.values()).sum(),
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[values.len() / 2 - 1], upper))
}

fn name(scenario: &str, level: usize) -> String {
    if level == 0 {
        scenario.to_owned()
    } else {
        format!("{scenario} ({level})")
    }
}

fn times(more: Option<f64>, less: Option<f64>) -> String {
    match (more, less) {
        (Some(more), Some(less)) if more > 0.0 && less > 0.0 => {
            format!("{} ×", figure(Some(more / less)))
        }
        _ => "–".to_owned(),
    }
}

/// Three significant digits, or the whole number where it has more.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn push_header(out: &mut String, columns: &[&str]) {
    push_line(out, &format!("| {} |", columns.join(" | ")));
    let rules: Vec<&str> = columns
        .iter()
        .enumerate()
        .map(|(i, _)| if i == 0 { "---" } else { "---:" })
        .collect();
    push_line(out, &format!("| {} |", rules.join(" | ")));
}

fn push_row(out: &mut String, row: &[String]) {
    push_line(out, &format!("| {} |", row.join(" | ")));
}

fn push_line(out: &mut String, line: &str) {
    writeln!(out, "{line}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Latency, ServerUse};

    fn line(target: &str, round: u32, per_second: f64, p99: f64) -> Line {
        Line {
            target: target.to_owned(),
            round,
            scenario: "send-one-room".to_owned(),
            level: 10,
            operations: 100,
            errors: BTreeMap::new(),
            seconds: 1.0,
            per_second,
            latency: Some(Latency {
                p50: p99,
                p90: p99,
                p99,
                max: p99,
                mean: p99,
            }),
            server: Some(ServerUse {
                cpu_seconds: 1.0,
                cpu_ms_per_operation: Some(1000.0 / per_second),
                rss_mib: 100.0,
                pss_mib: 90.0,
            }),
            generator_cpu_seconds: 0.1,
            response_bytes: None,
        }
    }

    #[test]
    fn shows_medians_and_ratios() {
        let lines = [
            line("box", 1, 100.0, 5.0),
            line("other", 1, 10.0, 50.0),
            line("box", 2, 120.0, 5.0),
            line("box", 3, 110.0, 5.0),
        ];
        let table = render(&lines, "box").unwrap();
        assert!(table.contains("### box against other"), "{table}");
        assert!(
            table.contains("| send-one-room (10) | 11.0 × | 10.0 × | 10.0 × | 11.0 × | 1.00 × |"),
            "{table}"
        );
        assert!(
            table.contains("| send-one-room (10) | box | 3 | 110 | 5.00 |"),
            "{table}"
        );
    }

    #[test]
    fn has_nothing_to_say_of_nothing() {
        assert_eq!(render(&[], "box"), None);
        let table = render(&[line("other", 1, 1.0, 1.0)], "box").unwrap();
        assert!(!table.contains("against"), "{table}");
    }
}
