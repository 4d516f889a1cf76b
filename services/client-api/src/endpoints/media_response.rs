//! How media are served to browsers: whole or in part, and never as a page of this site.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use luxchat_http::ApiError;
use luxchat_media::Found;

use crate::error::Error;

pub(crate) type MediaResponse = Result<Response, Error>;

/// What a page made of a medium may do: nothing.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#content-repository-client-behaviour).
const SANDBOX: &str = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; \
                       style-src 'unsafe-inline'; object-src 'self';";

/// Media never change, but whoever sees them must have a token.
const CACHING: &str = "private, max-age=31536000, immutable";

/// Which bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// `length` bytes from `start` on.
    Part {
        start: u64,
        length: u64,
    },
    /// None that there are.
    Nothing,
}

/// Answers with a medium, `file_name` in place of its own.
pub(crate) fn serve(found: Found, file_name: Option<String>, request: &HeaderMap) -> MediaResponse {
    let size = found.size();
    let tag = found.entity_tag();
    let mut headers = HeaderMap::new();
    set(&mut headers, header::ETAG, &tag)?;
    set(&mut headers, header::CACHE_CONTROL, CACHING)?;
    set(&mut headers, header::ACCEPT_RANGES, "bytes")?;
    set(&mut headers, header::CONTENT_SECURITY_POLICY, SANDBOX)?;
    set(&mut headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    set(&mut headers, policy, "cross-origin")?;
    if names(request, &header::IF_NONE_MATCH, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }

    set(&mut headers, header::CONTENT_TYPE, found.content_type())?;
    let disposition = found.disposition(file_name).to_string();
    set(&mut headers, header::CONTENT_DISPOSITION, &disposition)?;
    // A part of something else is no use. A date is no use either: nobody was told one.
    let wanted_of = request.get(header::IF_RANGE);
    let is_same = wanted_of.is_none_or(|wanted| wanted == tag.as_str());
    let (status, start, length) = match wanted(request, size) {
        Wanted::Part { start, length } if is_same => {
            let range = format!("bytes {start}-{}/{size}", start + length - 1);
            set(&mut headers, header::CONTENT_RANGE, &range)?;
            (StatusCode::PARTIAL_CONTENT, start, length)
        }
        Wanted::Nothing if is_same => {
            headers.remove(header::CONTENT_TYPE);
            set(
                &mut headers,
                header::CONTENT_RANGE,
                &format!("bytes */{size}"),
            )?;
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
        _ => (StatusCode::OK, 0, size),
    };
    headers.insert(header::CONTENT_LENGTH, length.into());
    let bytes = found.read(start, length);
    Ok((status, headers, Body::from_stream(bytes)).into_response())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), Error> {
    let value = HeaderValue::from_str(value).map_err(ApiError::internal)?;
    headers.insert(name, value);
    Ok(())
}

/// Whether a header names this entity tag, or any.
fn names(request: &HeaderMap, header: &HeaderName, tag: &str) -> bool {
    let values = request.get_all(header).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*")
}

/// One range of bytes is served; several, and what is no range at all, count as none, as RFC 9110 allows.
fn wanted(request: &HeaderMap, size: u64) -> Wanted {
    let range = request
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else {
        return Wanted::All;
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, size),
        (Err(_), Ok(last)) if first.trim().is_empty() => (size.saturating_sub(last), size),
        _ => return Wanted::All,
    };
    if start >= end {
        return Wanted::Nothing;
    }
    Wanted::Part {
        start,
        length: end - start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_says() {
        let part = |start, length| Wanted::Part { start, length };
        for (range, expected) in [
            ("bytes=0-3", part(0, 4)),
            ("bytes=4-", part(4, 6)),
            ("bytes=4-99", part(4, 6)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=9-9", part(9, 1)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=3-2", Wanted::All),
            ("bytes=0-1,4-5", Wanted::All),
            ("bytes=-", Wanted::All),
            ("lines=0-3", Wanted::All),
            ("bytes", Wanted::All),
        ] {
            let mut request = HeaderMap::new();
            set(&mut request, header::RANGE, range).unwrap();
            assert_eq!(wanted(&request, 10), expected, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10), Wanted::All);
    }
}
