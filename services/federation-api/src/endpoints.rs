//! One file per family of endpoints.

mod backfill;
mod directory;
mod event;
mod event_auth;
mod event_near;
mod hierarchy;
mod invite;
mod join;
mod knock;
mod leave;
mod media;
mod missing_events;
mod openid;
mod profile;
mod public_rooms;
mod room_state;
mod server_keys;
mod transactions;
mod user_devices;
mod user_keys;
mod version;

use axum::Router;

use crate::State;

/// Endpoints that need no signature: what they tell, any member may know.
pub(crate) fn unsigned() -> Router<State> {
    Router::new()
        .merge(openid::routes())
        .merge(server_keys::routes())
        .merge(version::routes())
}

/// Those of them that have nobody else asked, and tell of no other server.
pub(crate) fn open() -> Router<State> {
    Router::new()
        .merge(openid::routes())
        .merge(server_keys::own_routes())
        .merge(version::routes())
}

/// Endpoints for servers that sign their requests. Each may take [`Peer`](crate::auth::Peer).
pub(crate) fn signed() -> Router<State> {
    Router::new()
        .merge(backfill::routes())
        .merge(directory::routes())
        .merge(event::routes())
        .merge(event_auth::routes())
        .merge(event_near::routes())
        .merge(hierarchy::routes())
        .merge(invite::routes())
        .merge(join::routes())
        .merge(knock::routes())
        .merge(leave::routes())
        .merge(media::routes())
        .merge(missing_events::routes())
        .merge(profile::routes())
        .merge(public_rooms::routes())
        .merge(room_state::routes())
        .merge(transactions::routes())
        .merge(user_devices::routes())
        .merge(user_keys::routes())
}
