use axum::{Extension, Router};

use crate::{Config, Services, State, endpoints};

/// The whole client API. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that limits by address
/// know the address.
pub fn router(services: Services, config: Config) -> Router {
    let limits = config.limits;
    let state = State::new(services, config);
    let router = luxchat_http::with_fallbacks(endpoints::routes())
        .with_state(state)
        .layer(Extension(limits))
        .layer(luxchat_http::catch_panic())
        .layer(luxchat_http::cors());
    luxchat_http::trace(router, "client")
}
