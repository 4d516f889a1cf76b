//! The box's side: workers are started, fed, timed, and not trusted.

use std::{
    fmt::Display,
    io,
    num::NonZero,
    path::PathBuf,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Semaphore,
    time::timeout,
};
use tracing::warn;

use crate::{
    Confinement, Error, Failure, Result,
    thumbnail::{Made, Wanted},
    wire,
    worker::MAX_IMAGE,
};

/// How workers are started, and how many.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program that calls [`crate::run_worker`].
    pub program: PathBuf,
    /// What it is to be told.
    pub arguments: Vec<String>,
    /// How many images are decoded at a time.
    pub workers: usize,
    /// How many more may wait for their turn.
    pub waiting: usize,
    /// How long an image may wait for its turn.
    pub waiting_time: Duration,
    /// How long a worker may take.
    pub time: Duration,
    /// The largest image, in bytes; none is larger than 64 MiB.
    pub max_bytes: u64,
}

impl Config {
    /// A worker per core.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            workers: available_parallelism().map_or(1, NonZero::get),
            waiting: 64,
            waiting_time: Duration::from_secs(30),
            time: Duration::from_secs(10),
            max_bytes: MAX_IMAGE,
        }
    }
}

/// Makes thumbnails. Clones share the workers.
#[derive(Clone, Debug)]
pub struct Thumbnailer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    /// Who is at work or waits.
    queue: Semaphore,
    /// Who is at work.
    workers: Semaphore,
}

impl Thumbnailer {
    /// Starts nothing yet.
    pub fn new(config: Config) -> Self {
        let workers = config.workers.clamp(1, 1024);
        let queue = workers + config.waiting.min(1_000_000);
        Self {
            shared: Arc::new(Shared {
                config,
                queue: Semaphore::new(queue),
                workers: Semaphore::new(workers),
            }),
        }
    }

    /// Starts a worker to see how well it is confined on this machine.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where no worker can work.
    pub async fn check(&self) -> Result<Confinement> {
        let _worker = self.shared.workers.acquire().await;
        let time = self.shared.config.time;
        let mut worker = Worker::start(&self.shared.config)?;
        timeout(time, worker.greeting())
            .await
            .unwrap_or(Err(Error::TooSlow(time)))
    }

    /// Makes thumbnails of an image of `length` bytes, in the order of `wanted`, at most 8.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] at once; the others after a while.
    pub async fn make(
        &self,
        image: impl Stream<Item = io::Result<Bytes>>,
        length: u64,
        wanted: &[Wanted],
    ) -> Result<Vec<Made>> {
        let config = &self.shared.config;
        if length > config.max_bytes.min(MAX_IMAGE) {
            return Err(Failure::TooLarge.into());
        }
        let _place = self.shared.queue.try_acquire().map_err(|_| Error::Busy)?;
        let turn = timeout(config.waiting_time, self.shared.workers.acquire()).await;
        let _turn = turn.map_err(|_| Error::Busy)?;
        let mut worker = Worker::start(config)?;
        let made = timeout(config.time, worker.make(image, length, wanted)).await;
        let made = made.unwrap_or(Err(Error::TooSlow(config.time)));
        if let Err(error @ (Error::Died(_) | Error::TooSlow(_))) = &made {
            warn!(%error, "no thumbnail of an image");
        }
        made
    }
}

/// A process that ends with this.
struct Worker {
    child: Child,
}

impl Worker {
    fn start(config: &Config) -> Result<Self> {
        // Not a word of the environment, and nowhere to write but to the box.
        let child = Command::new(&config.program)
            .args(&config.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Ok(Self {
            child: child.map_err(unavailable)?,
        })
    }

    async fn greeting(&mut self) -> Result<Confinement> {
        let output = self.child.stdout.as_mut().ok_or_else(no_pipe)?;
        let mut greeting = vec![output.read_u8().await.map_err(unavailable)?];
        if greeting[0] == u8::MAX {
            let mut complaint = output.take(wire::MAX_ANSWER);
            let read = complaint.read_to_end(&mut greeting).await;
            read.map_err(unavailable)?;
        }
        wire::read_greeting(&mut greeting.as_slice())
            .map_err(unavailable)?
            .map_err(Error::Unavailable)
    }

    async fn make(
        &mut self,
        image: impl Stream<Item = io::Result<Bytes>>,
        length: u64,
        wanted: &[Wanted],
    ) -> Result<Vec<Made>> {
        self.greeting().await?;
        let mut input = self.child.stdin.take().ok_or_else(no_pipe)?;
        // A worker that has seen enough may stop reading; what it says counts.
        if input.write_all(&wire::head(wanted, length)).await.is_ok() {
            copy(image, &mut input).await?;
        }
        drop(input);

        let output = self.child.stdout.as_mut().ok_or_else(no_pipe)?;
        let mut answer = Vec::new();
        let mut output = output.take(wire::MAX_ANSWER);
        let read = output.read_to_end(&mut answer).await;
        read.map_err(|error| Error::Died(error.to_string()))?;
        let end = self.child.wait().await;
        let end = end.map_err(|error| Error::Died(error.to_string()))?;
        if !end.success() {
            return Err(Error::Died(describe(end)));
        }
        let made = wire::read_answer(&answer, wanted.len());
        Ok(made.map_err(|error| Error::Died(error.to_string()))??)
    }
}

/// Copies an image for as long as the worker reads.
async fn copy(
    image: impl Stream<Item = io::Result<Bytes>>,
    input: &mut (impl AsyncWriteExt + Unpin),
) -> Result<()> {
    let mut image = pin!(image);
    while let Some(bytes) = image.next().await {
        let bytes = bytes.map_err(|error| Error::Unreadable(error.to_string()))?;
        if input.write_all(&bytes).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn describe(end: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match end.signal() {
        // SIGSYS: it did what it must not.
        Some(31) => "it broke out of its bounds and was killed".to_owned(),
        _ => end.to_string(),
    }
}

fn unavailable(error: impl Display) -> Error {
    Error::Unavailable(error.to_string())
}

fn no_pipe() -> Error {
    Error::Unavailable("it has no pipes".to_owned())
}
