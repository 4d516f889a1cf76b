//! <https://spec.matrix.org/v1.19/client-server-api/#syncing>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_sync::{SyncRequest, SyncToken, Viewer};
use ruma::api::client::{
    filter::FilterDefinition,
    sync::sync_events::v3::{self as sync_events, Filter},
};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<sync_events::Request, _>(sync)
}

impl Session {
    /// The session as reads know it.
    pub(crate) fn viewer(&self) -> Viewer {
        Viewer {
            user_id: self.user_id.clone(),
            user: self.user_nid,
            device_id: self.device_id.clone(),
        }
    }
}

async fn sync(
    state: State,
    session: Session,
    Matrix(request): Matrix<sync_events::Request>,
) -> Answer<sync_events::Response> {
    // Some clients send an empty token for none.
    let since = request.since.filter(|since| !since.is_empty());
    let since = since.as_deref().map(str::parse::<SyncToken>).transpose()?;
    if let Some(since) = since {
        acknowledge_to_device(&state, &session, since).await?;
    }
    let request = SyncRequest {
        since,
        filter: filter(&state, &session, request.filter).await?,
        full_state: request.full_state,
        use_state_after: request.use_state_after,
        timeout: request.timeout.unwrap_or_default(),
    };
    let response = state.sync.sync_v3(session.viewer(), request).await?;
    Ok(Reply(response))
}

/// Whoever asks for what came after a token has what came before.
async fn acknowledge_to_device(
    state: &State,
    session: &Session,
    since: SyncToken,
) -> Result<(), Error> {
    let (user, device_id) = (session.user_nid, session.device_id.clone());
    let has_some = state
        .store
        .read(move |tx| tx.has_to_device_up_to(user, &device_id, since.to_device))
        .await?;
    if has_some {
        let device_id = session.device_id.clone();
        state
            .store
            .write(move |tx| tx.acknowledge_to_device(user, &device_id, since.to_device))
            .await?;
    }
    Ok(())
}

async fn filter(
    state: &State,
    session: &Session,
    filter: Option<Filter>,
) -> Result<FilterDefinition, Error> {
    Ok(match filter {
        None => FilterDefinition::default(),
        Some(Filter::FilterId(id)) => state.accounts.filter(session, &id).await?,
        Some(Filter::FilterDefinition(filter)) => filter,
        // ruma may learn of more ways to name a filter; none of them is in the specification.
        Some(_) => FilterDefinition::default(),
    })
}
