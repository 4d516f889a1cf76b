//! What the server under test consumes, read from `/proc`.

use std::{fs, io, path::Path};

/// `USER_HZ`, the unit of the CPU times in `/proc/PID/stat`: 100 on every Linux architecture that Rust targets.
const TICKS_PER_SECOND: f64 = 100.0;
const MIB: f64 = 1_048_576.0;

/// The processes of a server, named by their roots; children count too.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    roots: Vec<u32>,
}

/// Consumption at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time since each process started, children included that have ended.
    pub(crate) cpu_seconds: f64,
    /// Resident pages; one shared by several processes counts for each.
    pub(crate) rss_mib: f64,
    /// Resident pages; one shared by several processes is divided among them.
    pub(crate) pss_mib: f64,
}

struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

impl Processes {
    pub fn new(roots: Vec<u32>) -> Self {
        Self { roots }
    }

    /// Sums over the live process tree; `None` when no process was named.
    pub(crate) fn usage(&self) -> io::Result<Option<Usage>> {
        if self.roots.is_empty() {
            return Ok(None);
        }
        let stats = all_stats()?;
        let mut members = self.roots.clone();
        // A process table lists a child after its parent only by chance: go on until nothing is added.
        loop {
            let known = members.len();
            for stat in &stats {
                if members.contains(&stat.parent) && !members.contains(&stat.pid) {
                    members.push(stat.pid);
                }
            }
            if members.len() == known {
                break;
            }
        }
        if let Some(gone) = self
            .roots
            .iter()
            .find(|&root| stats.iter().all(|s| s.pid != *root))
        {
            return Err(io::Error::other(format!("process {gone} is not running")));
        }

        let mut usage = Usage::default();
        for stat in stats.iter().filter(|stat| members.contains(&stat.pid)) {
            usage.cpu_seconds += seconds(stat.ticks);
            let folder = Path::new("/proc").join(stat.pid.to_string());
            let rss = field_kib(&folder.join("status"), "VmRSS:").unwrap_or(0);
            // Readable for one's own processes and for root; without it the resident size stands in.
            let pss = field_kib(&folder.join("smaps_rollup"), "Pss:").unwrap_or(rss);
            usage.rss_mib += mib(rss);
            usage.pss_mib += mib(pss);
        }
        Ok(Some(usage))
    }
}

/// CPU seconds that this process itself has used.
pub(crate) fn own_cpu_seconds() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let stat = parse_stat(&text).ok_or_else(|| io::Error::other("/proc/self/stat is odd"))?;
    Ok(seconds(stat.ticks))
}

fn all_stats() -> io::Result<Vec<Stat>> {
    let mut stats = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .iter()
            .all(u8::is_ascii_digit)
        {
            continue;
        }
        // A process may end while the table is read.
        if let Ok(text) = fs::read_to_string(entry.path().join("stat")) {
            stats.extend(parse_stat(&text));
        }
    }
    Ok(stats)
}

/// Parses `/proc/PID/stat` (see proc(5)). The command name may hold spaces and parentheses, hence the search from the end.
fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, _) = text.split_once(' ')?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // From field 3 (state) on: 4 is ppid; 14 to 17 are utime, stime, cutime, cstime.
    let ticks = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<_>>();
    Some(Stat {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks?,
    })
}

fn field_kib(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "tick counts stay far below 2^52"
)]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

#[expect(
    clippy::cast_precision_loss,
    reason = "memory sizes stay far below 2^52 KiB"
)]
fn mib(kib: u64) -> f64 {
    kib as f64 * 1024.0 / MIB
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn parses_a_command_name_with_parentheses() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 9 9 9";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.ticks), (42, 7, 124));
        assert!(parse_stat("42 (short) S 7").is_none());
    }

    #[test]
    fn counts_children() {
        let mut shell = Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let own = Processes::new(vec![std::process::id()])
            .usage()
            .unwrap()
            .unwrap();
        let child = Processes::new(vec![shell.id()]).usage().unwrap().unwrap();
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(child.rss_mib > 0.0);
        assert!(own.rss_mib > child.rss_mib, "{own:?} {child:?}");
    }

    #[test]
    fn says_which_process_is_missing() {
        assert_eq!(Processes::default().usage().unwrap(), None);
        let error = Processes::new(vec![u32::MAX])
            .usage()
            .unwrap_err()
            .to_string();
        assert!(error.contains("4294967295"), "{error}");
    }
}
