use axum::{Extension, Router, middleware::from_fn_with_state};

use crate::{Config, Services, State, admission::admit, auth::authenticate, endpoints};

/// The whole server-server API. Requests must bear the
/// [`PeerIdentity`](luxchat_federation::PeerIdentity) of their connection, as the federation listener gives it.
pub fn router(services: Services, config: Config) -> Router {
    let limits = config.limits;
    let state = State::new(services, config);
    let signed = endpoints::signed().route_layer(from_fn_with_state(state.clone(), authenticate));
    let router = luxchat_http::with_fallbacks(endpoints::unsigned().merge(signed))
        .layer(from_fn_with_state(state.clone(), admit))
        .layer(Extension(limits))
        .layer(luxchat_http::catch_panic())
        .with_state(state);
    luxchat_http::trace(router, "federation")
}

/// What needs no signature and asks nobody, for the listener of clients: programs beside the box, such as the call servers
/// that have `OpenID` tokens verified, have no certificate for the other one. Without fallbacks, and without limits but
/// those of what it is merged into.
pub fn open_router(services: Services, config: Config) -> Router {
    endpoints::open().with_state(State::new(services, config))
}
