//! The command line of the load generator.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum as _};
use luxchat_bench::{
    Accounts, FederationPlan, FederationScenario, Line, Plan, Processes, Registration, Report,
    Scenario, Servers, Target,
};

/// Load a Matrix homeserver and measure it.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measure: Option<Measure>,
}

#[derive(Subcommand)]
enum Command {
    /// Load two servers that federate, and measure what one does for the users of the other.
    Federation(Box<Federation>),
    /// Measure the least CPU that uploads and downloads can cost any server on this machine.
    Floor {
        /// A folder on the disk that the server would write to.
        #[arg(long, default_value = "/var/tmp")]
        folder: PathBuf,
    },
    /// Lay recorded lines out as Markdown, with ratios.
    Table {
        /// The server whose figures are compared with those of each other.
        #[arg(long, default_value = "appliance")]
        subject: String,
        /// Files of JSON lines.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// What every run is told.
#[derive(Args)]
struct Common {
    /// A process of a server, whose CPU time and memory are recorded with those of its children. May be repeated.
    #[arg(long)]
    pid: Vec<u32>,
    /// What to call the server in the results, or the two that federate.
    #[arg(long, default_value = "appliance")]
    label: String,
    /// The number of this run among several of the same comparison.
    #[arg(long, default_value_t = 1)]
    round: u32,
    /// Load servers that are not on this machine.
    #[arg(long)]
    allow_remote: bool,
    /// Seconds for which each level, or federated-send, is measured at most.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Operations for which each level, or federated-send, is measured at most.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    operations: u64,
}

impl Common {
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn report(self, output: &mut dyn Write) -> Report<'_> {
        Report {
            target: self.label,
            round: self.round,
            processes: Processes::new(self.pid),
            output,
        }
    }
}

#[derive(Args)]
struct Federation {
    /// Where the server listens that rooms are made on and messages sent from.
    #[arg(long)]
    base_url: String,
    /// Where the other one listens.
    #[arg(long)]
    peer_base_url: String,
    /// Where a third one listens that makes the rooms of federated-join, which the first joins before the other.
    #[arg(long)]
    maker_base_url: Option<String>,
    /// How to make accounts on all of them: shared-secret:SECRET, token:TOKEN, application-service:TOKEN or open.
    #[arg(long)]
    registration: Registration,
    #[command(flatten)]
    common: Common,
    /// The file that the lines are appended to.
    #[arg(long)]
    out: PathBuf,
    /// Numbers of members of the rooms of federated-join.
    #[arg(long, value_delimiter = ',', default_value = "500", value_parser = size)]
    members: Vec<usize>,
    /// How many rooms of each size are joined.
    #[arg(long, default_value = "1", value_parser = size)]
    joins: usize,
    /// Messages that the peer misses in catch-up. For it to be stopped and started, a line on standard output asks, and a
    /// line on standard input says that it is done.
    #[arg(long, default_value = "10000", value_parser = size)]
    missed: usize,
    /// What to measure, in this order; all when none is named.
    scenarios: Vec<FederationScenario>,
}

#[derive(Args)]
struct Measure {
    /// Where the server listens, such as http://127.0.0.1:8008.
    #[arg(long, required = true)]
    base_url: String,
    /// How to make accounts: shared-secret:SECRET, token:TOKEN or open.
    #[arg(long, required = true)]
    registration: Registration,
    #[command(flatten)]
    common: Common,
    /// Append the lines to this file instead of writing them to standard output.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seconds that each level runs unmeasured before.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
    /// Numbers of concurrent clients.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50", value_parser = size)]
    concurrency: Vec<usize>,
    /// Rooms of send-many-rooms.
    #[arg(long, default_value = "20", value_parser = size)]
    rooms: usize,
    /// Numbers of syncing members of fan-out.
    #[arg(long, value_delimiter = ',', default_value = "10,50", value_parser = size)]
    fan_out: Vec<usize>,
    /// Rooms of the account that initial-sync and incremental-sync use.
    #[arg(long, default_value = "200", value_parser = size)]
    sync_rooms: usize,
    /// Numbers of members of large-room, and of users of user-directory.
    #[arg(long, value_delimiter = ',', default_value = "100", value_parser = size)]
    members: Vec<usize>,
    /// Messages in each of these rooms.
    #[arg(long, default_value = "10", value_parser = size)]
    sync_messages: usize,
    /// How many initial syncs are measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    initial_syncs: u64,
    /// What to measure, in this order; all when none is named.
    scenarios: Vec<Scenario>,
}

/// One thread: the generator leaves the rest of the machine to the server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    match (cli.command, cli.measure) {
        (Some(Command::Floor { folder }), _) => floor(&folder),
        (Some(Command::Table { subject, files }), _) => table(&subject, &files),
        (Some(Command::Federation(options)), _) => federation(*options).await,
        (None, Some(options)) => measure(options).await,
        (None, None) => anyhow::bail!("nothing to do; see --help"),
    }
}

async fn federation(options: Federation) -> Result<()> {
    let accounts = |base_url: &str| -> Result<Accounts> {
        let target = Target::resolve(base_url, options.common.allow_remote)?;
        Ok(Accounts::new(target, options.registration.clone()))
    };
    let mut servers = Servers {
        resident: accounts(&options.base_url)?,
        peer: accounts(&options.peer_base_url)?,
        maker: options
            .maker_base_url
            .as_deref()
            .map(accounts)
            .transpose()?,
    };
    let plan = FederationPlan {
        time: options.common.time(),
        operations: options.common.operations,
        members: options.members,
        joins: options.joins,
        missed: options.missed,
    };
    let scenarios = match options.scenarios.as_slice() {
        [] => FederationScenario::value_variants(),
        named => named,
    };
    let mut output = append_to(&options.out)?;
    let mut report = options.common.report(&mut output);
    luxchat_bench::run_federation(scenarios, &plan, &mut servers, &mut report).await
}

fn append_to(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

async fn measure(options: Measure) -> Result<()> {
    let target = Target::resolve(&options.base_url, options.common.allow_remote)?;
    let plan = Plan {
        time: options.common.time(),
        warm_up: Duration::from_secs(options.warm_up),
        operations: options.common.operations,
        concurrency: options.concurrency,
        rooms: options.rooms,
        fan_out: options.fan_out,
        sync_rooms: options.sync_rooms,
        members: options.members,
        sync_messages: options.sync_messages,
        initial_syncs: options.initial_syncs,
    };
    let scenarios = match options.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        named => named,
    };
    let mut output: Box<dyn Write> = match &options.out {
        None => Box::new(io::stdout()),
        Some(path) => Box::new(append_to(path)?),
    };
    let mut report = options.common.report(&mut output);
    let mut accounts = Accounts::new(target, options.registration);
    luxchat_bench::run(scenarios, &plan, &mut accounts, &mut report).await
}

fn floor(folder: &Path) -> Result<()> {
    let table = luxchat_bench::floor(folder)?;
    io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

fn table(subject: &str, files: &[PathBuf]) -> Result<()> {
    let mut lines = Vec::new();
    for path in files {
        let named = || format!("cannot read {}", path.display());
        for line in BufReader::new(File::open(path).with_context(named)?).lines() {
            let line: Line =
                serde_json::from_str(&line.with_context(named)?).with_context(named)?;
            lines.push(line);
        }
    }
    let table = luxchat_bench::render_table(&lines, subject).context("the files hold no lines")?;
    io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

/// A number of clients or rooms that one machine can bear.
fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 1..=100_000) => Ok(size),
        _ => Err("expected a number from 1 to 100000".to_owned()),
    }
}
