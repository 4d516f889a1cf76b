//! What clients do when the server is gone in the middle of a request.

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};

/// How long one attempt may hang. A killed server's connections break at once.
const ANSWER_TIME: Duration = Duration::from_mins(1);

static LOST: AtomicUsize = AtomicUsize::new(0);

/// How many requests reached a server that was gone before it had answered.
pub(crate) fn lost() -> usize {
    LOST.load(Ordering::Relaxed)
}

/// Makes a request until it is answered. Only a lost connection is a reason to make it again: whatever the server says, it
/// must not be an error.
pub(crate) async fn until_answered<T, F>(what: &str, request: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match attempt(what, request()).await? {
            Some(answer) => return Ok(answer),
            None => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}

/// Makes a request once. `None` where the connection was lost before the whole answer arrived.
pub(crate) async fn attempt<T>(
    what: &str,
    request: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    let answer = tokio::time::timeout(ANSWER_TIME, request)
        .await
        .with_context(|| format!("{what}: the server neither answers nor closes the connection"))?;
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if broke_off(&error) => {
            LOST.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
        Err(error) if error.is::<reqwest::Error>() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the server may have begun with the request: it was reached, and then gone.
fn broke_off(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<reqwest::Error>();
    error.is_some_and(|error| !error.is_connect())
}
