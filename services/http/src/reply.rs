use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use ruma::api::{OutgoingResponse, OutgoingResponseExt};
use serde_json::Value;

use crate::ApiError;

/// An endpoint's response.
#[derive(Clone, Copy, Debug)]
pub struct Reply<R>(pub R);

/// An endpoint's response whose absent fields are left out where ruma's type writes null, which the specification does not
/// know there.
#[derive(Clone, Copy, Debug)]
pub struct Sparse<R>(pub R);

impl<R: OutgoingResponse> IntoResponse for Reply<R> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<BytesMut>() {
            Ok(response) => response.map(|body| body.freeze().into()),
            Err(error) => failed(error),
        }
    }
}

impl<R: OutgoingResponse> IntoResponse for Sparse<R> {
    fn into_response(self) -> Response {
        let response = match self.0.try_into_http_response::<BytesMut>() {
            Ok(response) => response,
            Err(error) => return failed(error),
        };
        let (parts, body) = response.into_parts();
        match serde_json::from_slice(&body) {
            Ok(mut value) => {
                drop_nulls(&mut value);
                Response::from_parts(parts, value.to_string().into())
            }
            Err(error) => failed(error),
        }
    }
}

fn failed(error: impl Display) -> Response {
    ApiError::internal(format_args!("writing a response: {error}")).into_response()
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
