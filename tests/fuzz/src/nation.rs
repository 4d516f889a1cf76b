use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use luxchat_federation::{MemoryNetwork, Standing};
use luxchat_store::ManualClock;
use ruma::{OwnedUserId, ServerName, server_name};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{Peer, Room, Server};

/// Inputs after which everything starts afresh, so that stores stay small.
const INPUTS: u32 = 2_000;

/// How far the clocks move between two inputs: a peer that once sends what is malformed, as it often does here, must be in
/// good standing again by the next one; the keys of all inputs' servers must stay valid for a day.
const STEP: Duration = Duration::from_secs(12);

/// When the clocks begin, in milliseconds since the Unix epoch.
pub const START: u64 = 1_700_000_000_000;

static NATION: Mutex<Option<Nation>> = Mutex::new(None);

/// The server under test, `one`, with its user Alice, and the peer that it is tested with, `two`, whose user is Bob.
pub struct Nation {
    pub runtime: Runtime,
    pub one: Server,
    pub two: Peer,
    pub alice: OwnedUserId,
    /// The rooms that both are in, by the index of their version.
    pub rooms: [Option<Room>; 7],
    clock: Arc<ManualClock>,
    network: MemoryNetwork,
    inputs: u32,
    _folder: TempDir,
}

impl Nation {
    fn new() -> Self {
        // In memory, where there is such a folder: a run commits millions of times.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        };
        let folder = folder.expect("a temporary folder can be made");
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let clock = Arc::new(ManualClock::at(START));
        let network = MemoryNetwork::new();
        let (one, two, alice) = runtime.block_on(async {
            let one = Server::new("one", folder.path(), &clock, &network);
            let two = Peer::new(folder.path(), &clock, &network);
            let alice = one.user("alice").await;
            (one, two, alice)
        });
        Self {
            runtime,
            one,
            two,
            alice,
            rooms: Default::default(),
            clock,
            network,
            inputs: 0,
            _folder: folder,
        }
    }

    /// Whether a new one sees more.
    fn is_worn(&self) -> bool {
        let standing = self.one.federation.conduct().standing(server_name!("two"));
        self.inputs >= INPUTS || standing != Standing::Good
    }

    /// How many inputs it has seen: no two get the same number while one could remember the other.
    pub fn input(&self) -> u32 {
        self.inputs
    }
}

impl Drop for Nation {
    fn drop(&mut self) {
        // The network knows the servers, and each of them the network.
        for server in ["one", "two"] {
            let name = ServerName::parse(server).expect("the name is well-formed");
            self.network.detach(&name);
        }
    }
}

/// Has a nation work on an input. The same nation works on many, one after the other.
pub fn with_nation<T>(work: impl FnOnce(&mut Nation) -> T) -> T {
    let mut kept = NATION.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.as_ref().is_some_and(Nation::is_worn) {
        *kept = None;
    }
    let nation = kept.get_or_insert_with(Nation::new);
    nation.inputs += 1;
    nation.clock.advance(STEP);
    work(nation)
}
