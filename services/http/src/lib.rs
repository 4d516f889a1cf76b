//! Between axum and ruma: requests parsed into endpoint types within limits, responses and errors as Matrix writes them,
//! and the layers that every API of the box shares.
//!
//! ```text
//! async fn whoami(session: Session, Matrix(request): Matrix<whoami::v3::Request>) -> Result<Reply<whoami::v3::Response>, ApiError>;
//!
//! let router = Router::new().endpoint::<whoami::v3::Request, _>(whoami);
//! let router = luxchat_http::with_fallbacks(router);
//! ```

mod body;
mod cors;
mod error;
mod extract;
mod fallback;
mod json;
mod limits;
mod listener;
mod opening;
mod panic;
mod reply;
mod request;
mod routes;
mod shares;
mod tls;
mod trace;

pub use self::{
    body::read_body,
    cors::cors,
    error::ApiError,
    extract::{Path, Query},
    fallback::with_fallbacks,
    json::check_json,
    limits::Limits,
    listener::{Accepted, Handshake, Listening, Plain, RemoteAddress, listen},
    panic::{CatchPanic, catch_panic},
    reply::{Reply, Sparse},
    request::{JsonBody, Matrix, MatrixWithBody},
    routes::Endpoints,
    shares::{Share, Shares, network_of},
    tls::Tls,
    trace::trace,
};
