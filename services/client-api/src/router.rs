use axum::{Extension, Router, middleware::from_fn_with_state};

use crate::{Config, Services, State, admission::admit, endpoints};

/// The whole client API. Its limits by address need the [`RemoteAddress`](luxchat_http::RemoteAddress) that the box's
/// listeners put into requests.
pub fn router(services: Services, config: Config) -> Router {
    router_beside(services, config, Router::new())
}

/// The same with routes of another kind beside, under the same limits.
pub fn router_beside(services: Services, config: Config, beside: Router) -> Router {
    let limits = config.limits;
    let state = State::new(services, config);
    let router = luxchat_http::with_fallbacks(endpoints::routes().merge(beside.with_state(())))
        .layer(from_fn_with_state(state.clone(), admit))
        .layer(Extension(limits))
        .layer(luxchat_http::catch_panic())
        .layer(luxchat_http::cors())
        .with_state(state);
    luxchat_http::trace(router, "client")
}
