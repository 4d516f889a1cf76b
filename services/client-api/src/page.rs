//! Pages for people whose client does not know what to do by itself. What is in them never comes from the request.

use axum::response::{Html, IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};

/// Scripts of this server alone, forms that go to it alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'";

/// A page in full.
pub(crate) fn html(status: StatusCode, html: impl Into<String>) -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, Html(html.into())).into_response()
}

/// A page with nothing but a body.
pub(crate) fn body(status: StatusCode, body: &str) -> Response {
    html(
        status,
        format!(
            "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>Luxchat</title>{body}</html>"
        ),
    )
}

/// A script.
pub(crate) fn script(script: &'static str) -> Response {
    let content_type = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], script).into_response()
}
