use std::time::Duration;

use http::{
    HeaderName, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use tower_http::cors::{Any, CorsLayer};

/// The headers that let browsers of any origin speak to the API; answers every `OPTIONS` by itself.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients).
pub fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            HeaderName::from_static("x-requested-with"),
            CONTENT_TYPE,
            AUTHORIZATION,
        ])
        .expose_headers([RETRY_AFTER])
        .max_age(Duration::from_hours(24))
}
