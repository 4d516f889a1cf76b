//! The one thread that writes, committing commands in groups.

use std::{
    any::Any,
    collections::HashSet,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::error;

use crate::{
    Clock, Error, Position, Result, Topic, WriteTx, checkpoint::Checkpoints, hub::Hub, tx::Memory,
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

/// Serves commands until every sender is gone.
pub(crate) fn serve(
    connection: &Connection,
    mut checkpoints: Checkpoints,
    commands: &Receiver<Box<dyn Command>>,
    hub: &Hub,
    clock: &Arc<dyn Clock>,
) {
    let memory = Rc::default();
    while let Ok(first) = commands.recv() {
        let mut group: Vec<Box<dyn Command>> = vec![first];
        let outcome = run_group(connection, &mut group, commands, &**clock, &memory, hub);
        if let Err(error) = &outcome {
            error!(%error, commands = group.len(), "a group of writes failed");
            // Nothing to undo where SQLite has already done so.
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
        let commit = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        for command in group {
            command.answer(commit.clone());
        }
        if let Ok((position, topics)) = outcome {
            hub.announce(position, topics);
        }
        checkpoints.keep_small(connection);
    }
}

fn run_group(
    connection: &Connection,
    group: &mut Vec<Box<dyn Command>>,
    commands: &Receiver<Box<dyn Command>>,
    clock: &dyn Clock,
    memory: &Rc<Memory>,
    hub: &Hub,
) -> Result<(Position, HashSet<Topic>)> {
    let started = Instant::now();
    statement(connection, "BEGIN IMMEDIATE")?;
    let before = crate::ReadTx::new(connection).position()?;
    let mut position = before;
    let mut topics = HashSet::new();
    let mut index = 0;
    while let Some(command) = group.get_mut(index) {
        statement(connection, "SAVEPOINT command")?;
        let mut tx = WriteTx::with_memory(connection, position, clock.now_ms(), Rc::clone(memory));
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
            && let Ok(next) = commands.try_recv()
        {
            group.push(next);
        }
    }
    if position != before {
        connection
            .prepare_cached("UPDATE counters SET value = ?1 WHERE name = 'position'")?
            .execute([position])?;
    }
    hub.remember(position, &topics);
    statement(connection, "COMMIT")?;
    Ok((position, topics))
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
