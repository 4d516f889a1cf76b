//! What other servers send on their own account: events, and EDUs.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#transactions>

use axum::{
    Router,
    response::{IntoResponse, Response as HttpResponse},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{StatusCode, header::CONTENT_TYPE};
use luxchat_federation::Offence;
use luxchat_http::{ApiError, Endpoints, Matrix};
use luxchat_rooms::Received;
use metrics::counter;
use ruma::{
    OwnedServerName, ServerName,
    api::{
        OutgoingResponseExt,
        federation::transactions::{
            edu::Edu,
            send_transaction_message::v1::{Request, Response},
        },
    },
    serde::Raw,
};
use tracing::{debug, warn};

use crate::{State, auth::Peer, error::Error};

/// [Spec](https://spec.matrix.org/v1.19/server-server-api/#transactions)
const MAX_PDUS: usize = 50;
const MAX_EDUS: usize = 100;

/// Old answers forgotten with each new one.
const FORGOTTEN: u32 = 16;

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(send)
}

async fn send(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<Request>,
) -> Result<HttpResponse, Error> {
    check(&peer, &request).inspect_err(|error| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let conduct = state.federation.conduct();
            conduct.note(peer.server_name(), Offence::Oversized);
        }
    })?;
    let origin = peer.server_name().to_owned();
    // On its own task: a peer that hangs up does not stop the work half-way, and finds the answer when it comes again.
    let work = tokio::spawn(async move { answer_once(&state, origin, request).await });
    let answer = work.await.map_err(ApiError::internal)??;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

fn check(peer: &Peer, request: &Request) -> Result<(), ApiError> {
    if request.origin != peer.server_name() {
        let message = "The transaction's origin is not the server that sends it";
        return Err(ApiError::forbidden(message));
    }
    if request.pdus.len() > MAX_PDUS || request.edus.len() > MAX_EDUS {
        let message = format!("A transaction may have {MAX_PDUS} PDUs and {MAX_EDUS} EDUs");
        return Err(ApiError::too_large(message));
    }
    if request.transaction_id.as_str().len() > 255 {
        let message = "A transaction id may have 255 bytes";
        return Err(ApiError::invalid_param(message));
    }
    Ok(())
}

/// Works a transaction in, or answers as before where that was done already.
async fn answer_once(
    state: &State,
    origin: OwnedServerName,
    request: Request,
) -> Result<String, Error> {
    let _turn = state.transactions().take(&origin).await;
    let txn_id = request.transaction_id.clone();
    let key = (origin.clone(), txn_id.clone());
    let known = state
        .store
        .read(move |tx| tx.received_transaction(&key.0, &key.1))
        .await?;
    if let Some(answer) = known {
        return Ok(answer);
    }

    let answer = work_in(state, &origin, request).await?;
    let kept = answer.clone();
    let remember = state.config().remember_transactions;
    let remember_ms = u64::try_from(remember.as_millis()).unwrap_or(u64::MAX);
    state
        .store
        .write(move |tx| {
            let before = tx.now_ms().saturating_sub(remember_ms);
            tx.delete_received_transactions(before, FORGOTTEN)?;
            tx.insert_received_transaction(&origin, &txn_id, &kept)
        })
        .await?;
    Ok(answer)
}

async fn work_in(state: &State, origin: &ServerName, request: Request) -> Result<String, Error> {
    counter!("luxchat_federation_received_pdus_total").increment(request.pdus.len() as u64);
    counter!("luxchat_federation_received_edus_total").increment(request.edus.len() as u64);
    let (first, last): (Vec<Edu>, Vec<Edu>) = request
        .edus
        .iter()
        .filter_map(|raw| parse(origin, raw))
        .partition(comes_before_events);

    receive_edus(state, origin, first).await?;
    let parallel = state.config().parallel_rooms;
    let received = state.rooms.receive_pdus(origin, request.pdus, parallel);
    let response = response(origin, received.await?)?;
    receive_edus(state, origin, last).await?;
    let body = response
        .try_into_http_response::<Vec<u8>>()
        .map_err(ApiError::internal)?
        .into_body();
    String::from_utf8(body).map_err(|error| ApiError::internal(error).into())
}

fn parse(origin: &ServerName, raw: &Raw<Edu>) -> Option<Edu> {
    match raw.deserialize() {
        Ok(edu) => Some(edu),
        Err(error) => {
            debug!(%origin, %error, "an EDU is dropped");
            None
        }
    }
}

/// Keys and devices come before the events that are encrypted with them; receipts and typing after those they refer to.
fn comes_before_events(edu: &Edu) -> bool {
    matches!(
        edu,
        Edu::DeviceListUpdate(_) | Edu::SigningKeyUpdate(_) | Edu::DirectToDevice(_)
    )
}

/// Hands in EDUs in their order, without waiting for one to be on disk before the next: they share commits.
async fn receive_edus(state: &State, origin: &ServerName, edus: Vec<Edu>) -> Result<(), Error> {
    stream::iter(edus)
        .map(|edu| receive_edu(state, origin, edu))
        .buffered(MAX_EDUS)
        .try_for_each(async |()| Ok(()))
        .await
}

/// Hands an EDU to the service that it is for. One that is wrong is dropped; one that could not be stored fails the
/// whole transaction, so that its origin sends it again.
async fn receive_edu(state: &State, origin: &ServerName, edu: Edu) -> Result<(), Error> {
    let encryption = &state.encryption;
    let result = match edu {
        Edu::DirectToDevice(content) => encryption.receive_direct_to_device(origin, content).await,
        Edu::DeviceListUpdate(content) => {
            encryption.receive_device_list_update(origin, content).await
        }
        Edu::SigningKeyUpdate(content) => {
            encryption.receive_signing_key_update(origin, content).await
        }
        Edu::Receipt(mut content) => {
            for room_id in content.receipts.keys().cloned().collect::<Vec<_>>() {
                if !state.rooms.admits(&room_id, origin).await? {
                    content.receipts.remove(&room_id);
                }
            }
            return seen(state.receipts.receive(origin, content).await);
        }
        Edu::Typing(content) => {
            if !state.rooms.admits(&content.room_id, origin).await? {
                return Ok(());
            }
            return seen(state.typing.receive(origin, content).await);
        }
        Edu::Presence(content) => {
            return seen(state.presence.receive(origin, content).await);
        }
        // What is unknown cannot be kept.
        _ => Ok(()),
    };
    match result {
        Err(luxchat_encryption::Error::Store(error)) => Err(error.into()),
        Err(error) => {
            debug!(%origin, %error, "an EDU is dropped");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn seen(result: luxchat_sync::Result<()>) -> Result<(), Error> {
    match result {
        Err(luxchat_sync::Error::Store(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// The results by event. What this server could not do for reasons of its own fails the whole transaction, so that its
/// origin sends it again.
fn response(origin: &ServerName, received: Received) -> Result<Response, Error> {
    let mut response = Response::default();
    for (event_id, result) in received {
        let result = match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_passing() => return Err(error.into()),
            Err(error) => {
                warn!(%origin, %event_id, %error, "an event is not taken in");
                Err(error.to_string())
            }
        };
        response.pdus.insert(event_id, result);
    }
    Ok(response)
}
