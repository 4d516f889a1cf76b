//! Who holds an OpenID token that this server issued.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#openid>

use axum::Router;
use http::StatusCode;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::{
    error::{ErrorKind, UnknownTokenErrorData},
    federation::openid::get_openid_userinfo::v1::{Request, Response},
};

use crate::{State, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(user_info)
}

async fn user_info(state: State, Matrix(request): Matrix<Request>) -> Answer<Response> {
    let user = state.accounts.open_id_user(&request.access_token);
    let user = user.ok_or_else(|| {
        let kind = ErrorKind::UnknownToken(UnknownTokenErrorData::new());
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            kind,
            "Access token unknown or expired",
        )
    })?;
    Ok(Reply(Response::new(user)))
}
