use axum::{Extension, Router, middleware::from_fn_with_state};

use crate::{Config, Services, State, admission::admit, endpoints};

/// The whole client API. Its limits by address need the [`RemoteAddress`](luxchat_http::RemoteAddress) that the box's
/// listeners put into requests.
pub fn router(services: Services, config: Config) -> Router {
    let limits = config.limits;
    let state = State::new(services, config);
    let router = luxchat_http::with_fallbacks(endpoints::routes())
        .layer(from_fn_with_state(state.clone(), admit))
        .layer(Extension(limits))
        .layer(luxchat_http::catch_panic())
        .layer(luxchat_http::cors())
        .with_state(state);
    luxchat_http::trace(router, "client")
}
