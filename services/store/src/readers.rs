//! The pool of read-only connections, each on a thread of its own; in a simulation there is one, and no thread.

use std::{
    panic::AssertUnwindSafe,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crossbeam_channel::{Receiver, Sender};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;
use tracing::error;

use crate::{Disk, Error, ReadTx, Result, connection::open_reader};

/// Reads that may wait for a free connection before callers wait to hand theirs in.
const QUEUE: usize = 4_096;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

#[derive(Debug)]
pub(crate) enum Readers {
    Threads(Pool),
    Here(Mutex<Connection>, Arc<dyn Disk>),
}

impl Readers {
    /// Reads on `count` threads.
    pub(crate) fn start(path: &Path, count: usize) -> Result<Self> {
        Pool::start(path, count).map(Self::Threads)
    }

    /// Reads where they are asked for, once `disk` is ready.
    pub(crate) fn here(path: &Path, disk: Arc<dyn Disk>) -> Result<Self> {
        Ok(Self::Here(Mutex::new(open_reader(path)?), disk))
    }

    pub(crate) async fn read<T, E, F>(&self, read: F) -> Result<T, E>
    where
        F: FnOnce(&ReadTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match self {
            Self::Threads(pool) => pool.read(read).await,
            Self::Here(connection, disk) => {
                disk.ready().await;
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                in_snapshot(&mut connection, read)
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Pool {
    fn start(path: &Path, count: usize) -> Result<Self> {
        let (jobs, queue) = crossbeam_channel::bounded::<Job>(QUEUE);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let connection = open_reader(path)?;
            let queue = queue.clone();
            let thread = thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || serve(connection, &queue))
                .map_err(|error| Error::File {
                    path: path.display().to_string(),
                    why: error.to_string(),
                })?;
            threads.push(thread);
        }
        Ok(Self {
            jobs: Some(jobs),
            threads,
        })
    }

    async fn read<T, E, F>(&self, read: F) -> Result<T, E>
    where
        F: FnOnce(&ReadTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result =
                std::panic::catch_unwind(AssertUnwindSafe(|| in_snapshot(connection, read)));
            // A caller that went away needs no answer.
            let _ = reply
                .send(result.unwrap_or_else(|panic| Err(crate::writer::panicked(&*panic).into())));
        });
        let jobs = self.jobs.as_ref().ok_or(Error::Closed)?;
        if let Err(full) = jobs.try_send(job) {
            let jobs = jobs.clone();
            let sent = tokio::task::spawn_blocking(move || jobs.send(full.into_inner())).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(Error::Closed.into());
            }
        }
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a store reader thread panicked");
            }
        }
    }
}

fn serve(mut connection: Connection, queue: &Receiver<Job>) {
    for job in queue {
        job(&mut connection);
    }
}

fn in_snapshot<T, E: From<Error>>(
    connection: &mut Connection,
    read: impl FnOnce(&ReadTx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Deferred)
        .map_err(Error::from)?;
    let result = read(&ReadTx::new(&tx));
    tx.finish().map_err(Error::from)?;
    result
}
