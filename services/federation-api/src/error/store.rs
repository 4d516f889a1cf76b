use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_store::Error as StoreError;

use super::Error;

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => ApiError::custom(
                StatusCode::INSUFFICIENT_STORAGE,
                "M_RESOURCE_LIMIT_EXCEEDED",
                "The server's disk is full: nothing can be written until its operator makes room",
            ),
            other => ApiError::internal(other),
        }
        .into()
    }
}
