use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use crossbeam_channel::Sender;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::error;

use crate::{
    Announcement, Clock, Disk, Error, Execution, Listener, Position, ReadTx, Result, RoomNid,
    SystemClock, Topic, WriteTx,
    checkpoint::{Checkpoints, WAL_LIMIT},
    connection::open_writer,
    hub::Hub,
    migrations::migrate,
    names,
    readers::Readers,
    tx::Memory,
    writer::{Command, Write, Writer},
};

/// Writes that may wait for the writer before callers wait to hand theirs in.
const QUEUE: usize = 4_096;

/// Where the database lies and how it is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database file; made where it is missing.
    pub path: PathBuf,
    /// The Matrix server name. A database once opened belongs to its name.
    pub server_name: OwnedServerName,
    /// Read-only connections, each with a thread.
    pub readers: usize,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// What does the work.
    pub execution: Execution,
}

impl Config {
    /// A database at `path` with the defaults of a small box.
    pub fn new(path: impl Into<PathBuf>, server_name: OwnedServerName) -> Self {
        Self {
            path: path.into(),
            server_name,
            readers: 4,
            clock: Arc::new(SystemClock),
            execution: Execution::Threads,
        }
    }
}

/// The store. Clones share one database; the last one to go closes it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server_name: OwnedServerName,
    clock: Arc<dyn Clock>,
    hub: Arc<Hub>,
    // Readers close before the writer, so that the writer's connection is the last and removes the write-ahead log.
    readers: Readers,
    writer: WriterHandle,
}

#[derive(Debug)]
enum WriterHandle {
    Thread(WriterThread),
    Task(mpsc::Sender<Box<dyn Command>>),
}

#[derive(Debug)]
struct WriterThread {
    commands: Option<Sender<Box<dyn Command>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Store {
    /// Opens (or makes) the database, brings its schema up to date and starts its threads, or its task.
    ///
    /// # Errors
    ///
    /// When the file cannot be used, is damaged, belongs to another server or to a newer program.
    pub fn open(config: Config) -> Result<Self> {
        let mut connection = open_writer(&config.path)?;
        migrate(&mut connection)?;
        names::claim(&connection, &config.server_name)?;

        let hub = Arc::new(Hub::new(ReadTx::new(&connection).position()?));
        let writer = Writer {
            connection,
            checkpoints: Checkpoints::new(&config.path, WAL_LIMIT),
            hub: Arc::clone(&hub),
            clock: Arc::clone(&config.clock),
            memory: Memory::default(),
        };
        let path = &config.path;
        let (readers, writer) = match &config.execution {
            Execution::Threads => {
                let readers = Readers::start(path, config.readers.max(1))?;
                let writer = WriterThread::start(path, writer)?;
                (readers, WriterHandle::Thread(writer))
            }
            Execution::Task(disk) => {
                let readers = Readers::here(path, Arc::clone(disk))?;
                (readers, WriterHandle::start_task(writer, Arc::clone(disk)))
            }
        };
        let shared = Shared {
            server_name: config.server_name,
            clock: config.clock,
            hub,
            readers,
            writer,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The server whose database this is.
    pub fn server_name(&self) -> &ServerName {
        &self.shared.server_name
    }

    /// Where time comes from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Runs `read` on a consistent snapshot, off the async threads.
    pub async fn read<T, E, F>(&self, read: F) -> Result<T, E>
    where
        F: FnOnce(&ReadTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.shared.readers.read(read).await
    }

    /// Runs `work` on the writer thread. Whatever it changed is on disk when `Ok` returns; `Err` changed nothing.
    /// Once handed in, it runs to its end even if the caller goes away.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let command: Box<dyn Command> = Box::new(Write::new(work, reply));
        self.shared.writer.send(command).await?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Waits for changes of `topics`.
    pub fn listen(&self, topics: impl IntoIterator<Item = Topic>) -> Listener {
        self.shared.hub.listen(topics)
    }

    /// The rooms in which anything happened after a position, for whoever reads a snapshot that it was taken before; `None`
    /// where that is not known any more, or they are more than `limit`.
    pub fn rooms_changed_since(
        &self,
        position: Position,
        limit: usize,
    ) -> Option<BTreeSet<RoomNid>> {
        self.shared.hub.rooms_changed_since(position, limit)
    }

    /// Everything that is committed from now on. A receiver that lags is told so and reads what it needs afresh.
    pub fn tap(&self) -> broadcast::Receiver<Announcement> {
        self.shared.hub.tap()
    }
}

impl WriterHandle {
    fn start_task(writer: Writer, disk: Arc<dyn Disk>) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer.serve_on(disk, queue));
        Self::Task(commands)
    }

    async fn send(&self, command: Box<dyn Command>) -> Result<()> {
        match self {
            Self::Thread(thread) => thread.send(command).await,
            Self::Task(commands) => commands.send(command).await.map_err(|_| Error::Closed),
        }
    }
}

impl WriterThread {
    fn start(path: &Path, writer: Writer) -> Result<Self> {
        let (commands, queue) = crossbeam_channel::bounded(QUEUE);
        let thread = thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || writer.serve(&queue))
            .map_err(|error| Error::File {
                path: path.display().to_string(),
                why: error.to_string(),
            })?;
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    async fn send(&self, command: Box<dyn Command>) -> Result<()> {
        let commands = self.commands.as_ref().ok_or(Error::Closed)?;
        if let Err(full) = commands.try_send(command) {
            let commands = commands.clone();
            let sent = tokio::task::spawn_blocking(move || commands.send(full.into_inner())).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(Error::Closed);
            }
        }
        Ok(())
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the store writer thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ruma::{UserId, user_id};

    use super::*;
    use crate::UserNid;

    fn open(dir: &tempfile::TempDir) -> Store {
        let name = ServerName::parse("ministry.example").unwrap();
        Store::open(Config::new(dir.path().join("store.db"), name)).unwrap()
    }

    async fn user(store: &Store, id: &UserId) -> Option<UserNid> {
        let id = id.to_owned();
        store.read(move |tx| tx.user_nid(&id)).await.unwrap()
    }

    #[tokio::test]
    async fn a_failed_command_undoes_itself_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let writes = (0..100).map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let id = UserId::parse(format!("@user{number}:ministry.example")).unwrap();
                let result = store
                    .write(move |tx| {
                        tx.next_position();
                        tx.user_nid_or_insert(&id)?;
                        if number % 3 == 0 {
                            Err(Error::Closed)
                        } else {
                            Ok(())
                        }
                    })
                    .await;
                assert_eq!(result.is_err(), number % 3 == 0);
            })
        });
        for write in writes {
            write.await.unwrap();
        }
        for number in 0..100 {
            let id = UserId::parse(format!("@user{number}:ministry.example")).unwrap();
            assert_eq!(user(&store, &id).await.is_none(), number % 3 == 0, "{id}");
        }
    }

    #[tokio::test]
    async fn positions_are_unique_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = HashSet::new();
        for _ in 0..3 {
            let store = open(&dir);
            for _ in 0..20 {
                let position = store
                    .write(|tx| Ok::<_, Error>(tx.next_position()))
                    .await
                    .unwrap();
                assert!(seen.insert(position));
                assert_eq!(store.read(|tx| tx.position()).await.unwrap(), position);
            }
        }
        assert_eq!(seen.iter().max(), Some(&Position(60)));
    }

    #[tokio::test]
    async fn a_panicking_command_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let outcome = store
            .write(|tx| {
                tx.user_nid_or_insert(user_id!("@ghost:ministry.example"))?;
                assert_eq!(tx.now_ms(), 0, "on purpose");
                Ok::<(), Error>(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::Panicked(_))));
        assert_eq!(
            user(&store, user_id!("@ghost:ministry.example")).await,
            None
        );
        store
            .write(|tx| tx.user_nid_or_insert(user_id!("@alive:ministry.example")))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_and_heals_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        store
            .write(|tx| tx.user_nid_or_insert(user_id!("@before:ministry.example")))
            .await
            .unwrap();
        let limit = |pages: u32| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            store.write(move |tx| tx.one(&sql, [], |row| row.get::<_, u32>(0)))
        };
        let full = limit(1).await.unwrap();
        assert!(full > 1, "SQLite keeps the pages it has");

        let mut refused = false;
        for number in 0..5_000 {
            let id =
                UserId::parse(format!("@{number}{}:ministry.example", "x".repeat(150))).unwrap();
            match store.write(move |tx| tx.user_nid_or_insert(&id)).await {
                Ok(_) => {}
                Err(Error::DiskFull) => {
                    refused = true;
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused);
        assert!(
            user(&store, user_id!("@before:ministry.example"))
                .await
                .is_some()
        );
        limit(1_000_000).await.unwrap();
        store
            .write(|tx| tx.user_nid_or_insert(user_id!("@after:ministry.example")))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn another_servers_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&dir));
        let other = ServerName::parse("other.example").unwrap();
        let outcome = Store::open(Config::new(dir.path().join("store.db"), other));
        assert!(matches!(outcome, Err(Error::OtherServer { .. })));
    }

    #[tokio::test]
    async fn listeners_wake_after_the_commit_with_the_change_in_sight() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let listener = store.listen([Topic::Room(RoomNid(5))]);
        let writer = store.clone();
        tokio::spawn(async move {
            writer
                .write(|tx| {
                    let position = tx.next_position();
                    tx.announce(Topic::Room(RoomNid(5)));
                    Ok::<_, Error>(position)
                })
                .await
        });
        listener.changed().await;
        assert_eq!(store.read(|tx| tx.position()).await.unwrap(), Position(1));
    }

    /// A disk on which commits fail while it is told so.
    #[derive(Debug, Default)]
    struct Flaky(std::sync::atomic::AtomicBool);

    impl Disk for Flaky {
        fn ready(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(tokio::time::sleep(std::time::Duration::from_millis(1)))
        }

        fn commit(&self) -> Result<()> {
            let fails = self.0.load(std::sync::atomic::Ordering::Relaxed);
            if fails { Err(Error::DiskFull) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn a_task_does_what_threads_do_and_undoes_what_the_disk_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Flaky::default());
        let name = ServerName::parse("ministry.example").unwrap();
        let mut config = Config::new(dir.path().join("store.db"), name);
        config.execution = Execution::Task(disk.clone());
        let store = Store::open(config).unwrap();
        let insert = |name: &'static str| {
            let id = UserId::parse(format!("@{name}:ministry.example")).unwrap();
            let inserting = id.clone();
            let write = store.write(move |tx| tx.user_nid_or_insert(&inserting));
            (id, write)
        };
        let ((first, write), (second, other)) = (insert("first"), insert("second"));
        let (one, two) = tokio::join!(write, other);
        assert_ne!(one.unwrap(), two.unwrap());

        disk.0.store(true, std::sync::atomic::Ordering::Relaxed);
        let (refused, write) = insert("refused");
        assert!(matches!(write.await, Err(Error::DiskFull)));
        disk.0.store(false, std::sync::atomic::Ordering::Relaxed);
        for (id, expected) in [(first, true), (second, true), (refused, false)] {
            assert_eq!(user(&store, &id).await.is_some(), expected, "{id}");
        }
    }

    #[tokio::test]
    async fn a_clean_close_leaves_no_write_ahead_log() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        store
            .write(|tx| tx.user_nid_or_insert(user_id!("@a:ministry.example")))
            .await
            .unwrap();
        assert!(dir.path().join("store.db-wal").exists());
        drop(store);
        assert!(!dir.path().join("store.db-wal").exists());
    }
}
