use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_rooms::Error as RoomsError;
use ruma::api::error::{ErrorKind, IncompatibleRoomVersionErrorData};
use serde_json::json;

use super::Error;

impl From<RoomsError> for Error {
    fn from(error: RoomsError) -> Self {
        use RoomsError as E;
        let message = error.to_string();
        let bad_request = |kind| ApiError::new(StatusCode::BAD_REQUEST, kind, message.clone());
        match error {
            // Whoever is not in a room learns no more of it than that.
            E::Forbidden(_) | E::RoomNotResident(_) | E::Unsigned(_) => ApiError::forbidden(message),
            E::NotFound(_) => ApiError::not_found(message),
            E::UnsupportedVersion(_) => bad_request(ErrorKind::UnsupportedRoomVersion),
            E::IncompatibleVersion(version) => bad_request(ErrorKind::IncompatibleRoomVersion(
                IncompatibleRoomVersionErrorData::new(version),
            )),
            E::UnableToAuthoriseJoin => bad_request(ErrorKind::UnableToAuthorizeJoin),
            E::UnableToGrantJoin => bad_request(ErrorKind::UnableToGrantJoin),
            E::TooLarge(_) => ApiError::too_large(message),
            E::NotLeft => bad_request(ErrorKind::Unknown),
            E::DelayTooLong(longest) => ApiError::json(
                StatusCode::BAD_REQUEST,
                json!({
                    "errcode": "M_UNKNOWN", "error": message,
                    "org.matrix.msc4140.errcode": "M_MAX_DELAY_EXCEEDED",
                    "org.matrix.msc4140.max_delay": u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
                }),
            ),
            E::TooManyDelayed(_) => ApiError::json(
                StatusCode::BAD_REQUEST,
                json!({
                    "errcode": "M_UNKNOWN", "error": message,
                    "org.matrix.msc4140.errcode": "M_MAX_DELAYED_EVENTS_EXCEEDED",
                }),
            ),
            E::InviteBlocked => {
                ApiError::new(StatusCode::FORBIDDEN, ErrorKind::InviteBlocked, message)
            }
            E::InvalidParam(_) => ApiError::invalid_param(message),
            E::BadJson(_) => ApiError::bad_json(message),
            E::BadState(_) => bad_request(ErrorKind::BadState),
            E::AliasInUse(_) => bad_request(ErrorKind::RoomInUse),
            E::BadAlias(_) => bad_request(ErrorKind::BadAlias),
            E::Incomplete => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message)
            }
            E::Internal(_) => ApiError::internal(message),
            E::Pdu(_) => ApiError::new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown, message),
            E::Remote(error) => return error.into(),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}
