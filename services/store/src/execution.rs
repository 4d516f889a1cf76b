//! Who does the work of a store: threads, or in a simulation the runtime itself.

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

use crate::Result;

/// What does the work of a store.
#[derive(Clone, Debug, Default)]
pub enum Execution {
    /// Threads: one that writes, and one for each read-only connection.
    #[default]
    Threads,
    /// One task of the runtime in which the store is opened; reads run where they are asked for. So nothing happens side
    /// by side, and a runtime of one thread with a clock of its own does the same whenever it is given the same.
    Task(Arc<dyn Disk>),
}

/// A disk that is slow, fails, or loses power when a simulation wants it to.
pub trait Disk: Debug + Send + Sync {
    /// Ends when the disk is ready for the next read or write. On a machine without power, it never is.
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Says whether a commit reaches the disk.
    ///
    /// # Errors
    ///
    /// When it does not: the whole transaction is undone then.
    fn commit(&self) -> Result<()>;
}
