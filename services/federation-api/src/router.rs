use axum::{Extension, Router, middleware::from_fn_with_state};
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::{Config, Services, State, auth::authenticate, endpoints};

/// The whole server-server API. Requests must bear the
/// [`PeerIdentity`](luxchat_federation::PeerIdentity) of their connection, as the federation listener gives it.
pub fn router(services: Services, config: Config) -> Router {
    let limits = config.limits;
    let concurrency = GlobalConcurrencyLimitLayer::new(config.max_concurrent_requests);
    let state = State::new(services, config);
    let signed = endpoints::signed().route_layer(from_fn_with_state(state.clone(), authenticate));
    let router = luxchat_http::with_fallbacks(endpoints::unsigned().merge(signed))
        .with_state(state)
        .layer(Extension(limits))
        .layer(concurrency)
        .layer(luxchat_http::catch_panic());
    luxchat_http::trace(router, "federation")
}
