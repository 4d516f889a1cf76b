//! The one thread that writes, committing commands in groups; in a simulation it is a task.

use std::{any::Any, collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use crossbeam_channel::Receiver;
use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::error;

use crate::{
    Clock, Disk, Error, Position, Result, Topic, WriteTx, checkpoint::Checkpoints, hub::Hub,
    tx::Memory,
};

/// At most this many commands share a transaction.
const GROUP_COMMANDS: usize = 256;

/// No command joins a transaction older than this.
const GROUP_TIME: Duration = Duration::from_millis(4);

/// A closure to run on the writer thread, and where its answer goes.
pub(crate) trait Command: Send {
    /// Runs once. `Err` undoes what this command changed, and nothing else.
    fn run(&mut self, tx: &mut WriteTx<'_>) -> Result<(), Undo>;

    /// Answers the caller: with the command's own result where the commit held, else with the commit's error.
    fn answer(self: Box<Self>, commit: Result<()>);
}

/// A command failed and its changes must go.
pub(crate) struct Undo;

pub(crate) struct Write<F, T, E> {
    work: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Write<F, T, E> {
    pub(crate) fn new(work: F, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self {
            work: Some(work),
            result: None,
            reply,
        }
    }
}

impl<F, T, E> Command for Write<F, T, E>
where
    F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, tx: &mut WriteTx<'_>) -> Result<(), Undo> {
        let work = self.work.take().ok_or(Undo)?;
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|panic| Err(panicked(&*panic).into()));
        let outcome = result.as_ref().map(|_| ()).map_err(|_| Undo);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, commit: Result<()>) {
        let result = match (commit, self.result) {
            // What failed by itself says so itself; it wrote nothing that the commit could lose.
            (_, Some(Err(own))) => Err(own),
            (Ok(()), Some(ok)) => ok,
            (Ok(()), None) => Err(Error::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        // A caller that went away needs no answer.
        let _ = self.reply.send(result);
    }
}

/// Everything that writing takes but the commands.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) memory: Memory,
}

impl Writer {
    /// Serves commands until every sender is gone.
    pub(crate) fn serve(mut self, commands: &Receiver<Box<dyn Command>>) {
        while let Ok(first) = commands.recv() {
            let done = self.write(first, || commands.try_recv().ok(), || Ok(()));
            done.tell(&self.hub);
            self.checkpoints.keep_small(&self.connection);
        }
    }

    /// The same on a task: each transaction, and the answers to it, wait for the disk.
    pub(crate) async fn serve_on(
        mut self,
        disk: Arc<dyn Disk>,
        mut commands: mpsc::Receiver<Box<dyn Command>>,
    ) {
        while let Some(first) = commands.recv().await {
            disk.ready().await;
            let done = self.write(first, || commands.try_recv().ok(), || disk.commit());
            disk.ready().await;
            done.tell(&self.hub);
            self.checkpoints.keep_small(&self.connection);
        }
    }

    /// Commits a group of commands, or undoes them all.
    fn write(
        &self,
        first: Box<dyn Command>,
        next: impl FnMut() -> Option<Box<dyn Command>>,
        commit: impl FnOnce() -> Result<()>,
    ) -> Done {
        let mut group: Vec<Box<dyn Command>> = vec![first];
        let outcome = self.run_group(&mut group, next, commit);
        if let Err(error) = &outcome {
            error!(%error, commands = group.len(), "a group of writes failed");
            // Nothing to undo where SQLite has already done so.
            if !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
        }
        Done { group, outcome }
    }

    fn run_group(
        &self,
        group: &mut Vec<Box<dyn Command>>,
        mut next: impl FnMut() -> Option<Box<dyn Command>>,
        commit: impl FnOnce() -> Result<()>,
    ) -> Result<(Position, HashSet<Topic>)> {
        let started = Instant::now();
        let connection = &self.connection;
        statement(connection, "BEGIN IMMEDIATE")?;
        let before = crate::ReadTx::new(connection).position()?;
        let mut position = before;
        let mut topics = HashSet::new();
        let mut index = 0;
        while let Some(command) = group.get_mut(index) {
            statement(connection, "SAVEPOINT command")?;
            let now_ms = self.clock.now_ms();
            let mut tx = WriteTx::with_memory(connection, position, now_ms, &self.memory);
            let outcome = command.run(&mut tx);
            let (reached, announced) = tx.into_parts();
            if connection.is_autocommit() {
                // A full disk or an I/O error made SQLite roll the whole transaction back, under every command's feet.
                return Err(Error::DiskFull);
            }
            if outcome.is_ok() {
                position = reached;
                topics.extend(announced);
            } else {
                statement(connection, "ROLLBACK TO command")?;
            }
            statement(connection, "RELEASE command")?;
            index += 1;
            if group.len() < GROUP_COMMANDS
                && started.elapsed() < GROUP_TIME
                && let Some(next) = next()
            {
                group.push(next);
            }
        }
        if position != before {
            connection
                .prepare_cached("UPDATE counters SET value = ?1 WHERE name = 'position'")?
                .execute([position])?;
        }
        self.hub.remember(position, &topics);
        commit()?;
        statement(connection, "COMMIT")?;
        Ok((position, topics))
    }
}

/// A group of commands that was run, and what came of it.
struct Done {
    group: Vec<Box<dyn Command>>,
    outcome: Result<(Position, HashSet<Topic>)>,
}

impl Done {
    /// Answers the callers, and wakes who waits for what changed.
    fn tell(self, hub: &Hub) {
        let commit = self.outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        for command in self.group {
            command.answer(commit.clone());
        }
        if let Ok((position, topics)) = self.outcome {
            hub.announce(position, topics);
        }
    }
}

fn statement(connection: &Connection, sql: &str) -> Result<()> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    error!(message, "a store command panicked");
    Error::Panicked(message)
}
