//! <https://spec.matrix.org/v1.19/client-server-api/#typing-notifications>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::{
    client::typing::create_typing_event::v3::{self as create_typing_event, Typing},
    federation::transactions::edu::{Edu, TypingContent},
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<create_typing_event::Request, _>(typing)
}

async fn typing(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_typing_event::Request>,
) -> Answer<create_typing_event::Response> {
    if request.user_id != session.user_id {
        return Err(ApiError::forbidden("You cannot type for somebody else").into());
    }
    let (user_id, room_id) = (request.user_id, request.room_id);
    let (servers, is_typing) = match request.state {
        Typing::Yes(info) => {
            let servers = state.typing.start(&user_id, &room_id, info.timeout).await?;
            (servers, true)
        }
        Typing::No => (state.typing.stop(&user_id, &room_id).await?, false),
    };
    if !servers.is_empty() {
        let edu = Edu::Typing(TypingContent::new(room_id, user_id, is_typing));
        state.federation.send_edu(servers, &edu);
    }
    Ok(Reply(create_typing_event::Response::new()))
}
