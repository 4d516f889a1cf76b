//! <https://spec.matrix.org/v1.19/server-server-api/#server-implementation>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::discovery::get_server_version::v1::{Request, Response, Server};

use crate::State;

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(version)
}

async fn version(Matrix(_): Matrix<Request>) -> Reply<Response> {
    let mut server = Server::new();
    server.name = Some("Luxchat Appliance".to_owned());
    server.version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let mut response = Response::new();
    response.server = Some(server);
    Reply(response)
}
