use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use ruma::api::{OutgoingResponse, OutgoingResponseExt};

use crate::ApiError;

/// An endpoint's response.
#[derive(Clone, Copy, Debug)]
pub struct Reply<R>(pub R);

impl<R: OutgoingResponse> IntoResponse for Reply<R> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<BytesMut>() {
            Ok(response) => response.map(|body| body.freeze().into()),
            Err(error) => {
                ApiError::internal(format_args!("writing a response: {error}")).into_response()
            }
        }
    }
}
