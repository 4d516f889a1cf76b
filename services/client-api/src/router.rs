use axum::{Extension, Router, middleware::from_fn_with_state};

use crate::{Config, Services, State, admission::admit, endpoints};

/// The whole client API. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that limits by address
/// know the address.
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
