//! <https://spec.matrix.org/v1.19/client-server-api/#openid>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::{
    api::client::account::request_openid_token::v3::{Request, Response},
    authentication::TokenType,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(request_token)
}

async fn request_token(
    state: State,
    session: Session,
    Matrix(request): Matrix<Request>,
) -> Answer<Response> {
    session.check_is(&request.user_id)?;
    let (token, lifetime) = state.accounts.issue_open_id_token(&session.user_id);
    let server_name = session.user_id.server_name().to_owned();
    Ok(Reply(Response::new(
        token,
        TokenType::Bearer,
        server_name,
        lifetime,
    )))
}
