use axum::extract::State;
use http::StatusCode;

use crate::{Services, error::Error};

/// The process answers.
pub(crate) async fn live() -> StatusCode {
    StatusCode::OK
}

/// The box can read and write: a write goes through the writer thread and comes back.
pub(crate) async fn ready(State(services): State<Services>) -> Result<StatusCode, Error> {
    services.store.read(|tx| tx.position()).await?;
    services
        .store
        .write(|_| Ok::<_, luxchat_store::Error>(()))
        .await?;
    Ok(StatusCode::OK)
}
