//! A look at JSON before it is parsed.

use serde::de::IgnoredAny;

use crate::ApiError;

/// Makes sure that `body` is UTF-8, empty or an object, and nowhere nested deeper than `nesting` arrays and objects. The rest
/// is the parser's business.
///
/// # Errors
///
/// 400 `M_NOT_JSON` where it is no JSON, 400 `M_BAD_JSON` where it is too deep or no object.
pub fn check_json(body: &[u8], nesting: usize) -> Result<(), ApiError> {
    if std::str::from_utf8(body).is_err() {
        return Err(ApiError::not_json("The request body is not UTF-8"));
    }
    // Derived parsers would take an array for a struct, its fields in order.
    if !matches!(body.trim_ascii_start().first(), None | Some(b'{')) {
        return Err(match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => ApiError::bad_json("The request body is not an object"),
            Err(error) => ApiError::not_json(error.to_string()),
        });
    }
    if depth_exceeds(body, nesting) {
        return Err(ApiError::bad_json(format!(
            "The request body is nested deeper than {nesting} levels"
        )));
    }
    Ok(())
}

fn depth_exceeds(json: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_open_brackets_only() {
        assert!(!depth_exceeds(br#"{"a":[[1],[2],[3]],"b":{}}"#, 3));
        assert!(depth_exceeds(br#"{"a":[[1]]}"#, 2));
        assert!(!depth_exceeds(b"[] [] [] []", 1));
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert!(!depth_exceeds(br#"{"a":"[[[[\"[[[["}"#, 1));
        assert!(depth_exceeds(br#"{"a\\":[1]}"#, 1));
    }

    #[test]
    fn invalid_utf8_is_not_json() {
        let error = check_json(b"{\"a\":\"\xff\"}", 10).unwrap_err();
        assert_eq!(error.errcode().as_deref(), Some("M_NOT_JSON"));
    }

    #[test]
    fn only_objects_and_nothing_at_all_pass() {
        for body in ["", " \n", " {}", "{\"a\":[]}"] {
            assert!(check_json(body.as_bytes(), 10).is_ok(), "{body}");
        }
        for (body, code) in [
            ("[]", "M_BAD_JSON"),
            ("7", "M_BAD_JSON"),
            ("nil", "M_NOT_JSON"),
        ] {
            let error = check_json(body.as_bytes(), 10).unwrap_err();
            assert_eq!(error.errcode().as_deref(), Some(code), "{body}");
        }
    }
}
