use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_rooms::{Error as RoomsError, PduError};
use ruma::api::error::{ErrorKind, IncompatibleRoomVersionErrorData};

use super::Error;

impl From<RoomsError> for Error {
    fn from(error: RoomsError) -> Self {
        use RoomsError as E;
        let message = error.to_string();
        let bad_request = |kind| ApiError::new(StatusCode::BAD_REQUEST, kind, message.clone());
        match error {
            E::Forbidden(_) | E::Unsigned(_) => ApiError::forbidden(message),
            E::NotFound(_) | E::RoomNotResident(_) => ApiError::not_found(message),
            E::UnsupportedVersion(version) | E::IncompatibleVersion(version) => {
                let data = IncompatibleRoomVersionErrorData::new(version);
                bad_request(ErrorKind::IncompatibleRoomVersion(data))
            }
            E::UnableToAuthoriseJoin => bad_request(ErrorKind::UnableToAuthorizeJoin),
            E::UnableToGrantJoin => bad_request(ErrorKind::UnableToGrantJoin),
            E::TooLarge(_) => ApiError::too_large(message),
            E::NotLeft => bad_request(ErrorKind::Unknown),
            E::InviteBlocked => {
                ApiError::new(StatusCode::FORBIDDEN, ErrorKind::InviteBlocked, message)
            }
            E::InvalidParam(_) | E::DelayTooLong(_) | E::TooManyDelayed(_) => {
                ApiError::invalid_param(message)
            }
            E::BadJson(_) => ApiError::bad_json(message),
            E::BadState(_) | E::AliasInUse(_) | E::BadAlias(_) => bad_request(ErrorKind::BadState),
            E::Incomplete => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message)
            }
            E::Internal(_) => ApiError::internal(message),
            E::Pdu(error) => return error.into(),
            E::Remote(error) => return error.into(),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}

impl From<PduError> for Error {
    fn from(error: PduError) -> Self {
        let message = error.to_string();
        match error {
            PduError::Format(_) | PduError::MissingAncestor(_) => ApiError::invalid_param(message),
            PduError::Signature(_)
            | PduError::Forged(_)
            | PduError::NotInRoom
            | PduError::Denied(_) => ApiError::forbidden(message),
            PduError::Limit(_) => ApiError::too_large(message),
            PduError::Busy | PduError::NoKeys(_) => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message)
            }
            PduError::Resolution(_) | PduError::Internal(_) => ApiError::internal(message),
            PduError::Federation(error) => return error.into(),
            PduError::Store(error) => return error.into(),
        }
        .into()
    }
}
