//! The first three checks on receipt of a PDU, which need nothing but the PDU and its servers' keys: format, signatures,
//! content hash.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use luxchat_federation::{EventKeys, Federation};
use luxchat_store::{EventStatus, Pdu};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, OwnedEventId, UserId,
    canonical_json::redact,
    room_version_rules::RoomVersionRules,
    signatures::{VerificationError, Verified, reference_hash, verify_event},
    state_res::check_pdu_format,
};
use serde_json::value::RawValue;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
};

use crate::PduError;

/// The largest text of a PDU that is parsed, in bytes: the largest PDU with room for whitespace and `unsigned`.
const MAX_TEXT: usize = 256 * 1024;

/// The longest name of a user, a room, a type or a state, in bytes; in older rooms in code points.
const MAX_FIELD: usize = 255;

/// PDUs verified by one blocking task.
const VERIFY_BATCH: usize = 64;

/// A well-formed PDU of a room version, with the id that its content gives it.
#[derive(Clone, Debug)]
pub(crate) struct ParsedPdu {
    pub(crate) event_id: OwnedEventId,
    pub(crate) object: CanonicalJsonObject,
}

/// A PDU that the servers concerned have signed, redacted where its content does not match its hash.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedPdu {
    pub(crate) event_id: OwnedEventId,
    pub(crate) object: CanonicalJsonObject,
}

/// A PDU that did not pass.
#[derive(Clone, Debug)]
pub(crate) struct Unverified {
    pub(crate) pdu: ParsedPdu,
    pub(crate) error: PduError,
}

impl From<Unverified> for PduError {
    fn from(unverified: Unverified) -> Self {
        unverified.error
    }
}

impl VerifiedPdu {
    /// The events that it names as its authority.
    pub(crate) fn auth_events(&self) -> impl Iterator<Item = OwnedEventId> {
        let named = self.object.get("auth_events");
        named
            .and_then(CanonicalJsonValue::as_array)
            .into_iter()
            .flatten()
            .filter_map(|event_id| EventId::parse(event_id.as_str()?).ok())
    }

    /// The depth that it claims.
    pub(crate) fn depth(&self) -> i64 {
        let depth = self.object.get("depth");
        depth
            .and_then(CanonicalJsonValue::as_integer)
            .map_or(0, i64::from)
    }

    /// The event, for the checks that follow.
    pub(crate) fn into_pdu(self) -> Result<Arc<Pdu>, PduError> {
        let pdu = Pdu::from_object(self.event_id, &self.object, EventStatus::Accepted)
            .map_err(|error| PduError::Format(error.to_string()))?;
        Ok(Arc::new(pdu))
    }
}

/// Parses the text of a PDU without judging it: enough to find its room.
///
/// # Errors
///
/// When it is too long, not a JSON object, or holds a number that canonical JSON does not know.
pub(crate) fn parse_object(raw: &RawValue) -> Result<CanonicalJsonObject, PduError> {
    parse_text(raw.get())
}

/// The same of bare text.
pub(crate) fn parse_text(text: &str) -> Result<CanonicalJsonObject, PduError> {
    if text.len() > MAX_TEXT {
        return Err(PduError::Format(format!(
            "the PDU has more than {MAX_TEXT} bytes"
        )));
    }
    let mut object: CanonicalJsonObject =
        serde_json::from_str(text).map_err(|error| PduError::Format(error.to_string()))?;
    // What a server says about an event beside its signature is for that server to know.
    object.remove("unsigned");
    Ok(object)
}

/// The string at `field`.
pub(crate) fn string<'a>(object: &'a CanonicalJsonObject, field: &str) -> Option<&'a str> {
    object.get(field).and_then(CanonicalJsonValue::as_str)
}

/// Checks the format of the room version, and computes the event id.
pub(crate) fn check_format(
    object: CanonicalJsonObject,
    rules: &RoomVersionRules,
) -> Result<ParsedPdu, PduError> {
    if let Err(error) = check_pdu_format(&object, &rules.event_format) {
        let lenient = shortened(&object, rules)
            .is_some_and(|object| check_pdu_format(&object, &rules.event_format).is_ok());
        if !lenient {
            return Err(PduError::Format(error));
        }
    }
    if !rules.event_format.require_event_id && object.contains_key("event_id") {
        // It would be part of the hash that gives the event its id, and contradict it everywhere else.
        return Err(PduError::Format("unexpected field `event_id`".to_owned()));
    }
    let hash =
        reference_hash(&object, rules).map_err(|error| PduError::Format(error.to_string()))?;
    let event_id =
        EventId::parse(format!("${hash}")).map_err(|error| PduError::Format(error.to_string()))?;
    Ok(ParsedPdu { event_id, object })
}

/// The event with the fields shortened that servers took for short enough before version 11 of rooms: they counted code
/// points where the specification counts bytes, and there are rooms that build upon such events. `None` where none is.
fn shortened(
    object: &CanonicalJsonObject,
    rules: &RoomVersionRules,
) -> Option<CanonicalJsonObject> {
    let is_older = !rules.redaction.content_field_redacts;
    let mut shortened = None;
    for field in ["room_id", "sender", "state_key", "type"] {
        let Some(text) = string(object, field).filter(|text| text.len() > MAX_FIELD && is_older)
        else {
            continue;
        };
        if text.chars().count() > MAX_FIELD {
            return None;
        }
        let end = (0..=MAX_FIELD)
            .rev()
            .find(|end| text.is_char_boundary(*end))?;
        let object = shortened.get_or_insert_with(|| object.clone());
        object.insert(field.to_owned(), text[..end].into());
    }
    shortened
}

/// Checks the signatures with `keys`, then the content hash. This is work for a blocking thread.
pub(crate) fn verify(
    pdu: ParsedPdu,
    keys: &EventKeys,
    rules: &RoomVersionRules,
) -> Result<VerifiedPdu, Unverified> {
    let verified = match verify_event(&keys.keys, &pdu.object, rules) {
        Ok(verified) => verified,
        Err(error) => {
            let error = rejected(&pdu.object, keys, &error);
            return Err(Unverified { pdu, error });
        }
    };
    let ParsedPdu { event_id, object } = pdu;
    if verified == Verified::All {
        return Ok(VerifiedPdu { event_id, object });
    }
    match redact(object.clone(), &rules.redaction, None) {
        Ok(object) => Ok(VerifiedPdu { event_id, object }),
        Err(error) => Err(Unverified {
            pdu: ParsedPdu { event_id, object },
            error: PduError::Format(error.to_string()),
        }),
    }
}

/// Why a signature does not count. Only where the key is at hand and one server alone must have signed, is it certain that
/// this server did not.
fn rejected(object: &CanonicalJsonObject, keys: &EventKeys, error: &VerificationError) -> PduError {
    if let Some(server) = &keys.missing_for_now {
        return PduError::NoKeys(server.clone());
    }
    let sender = string(object, "sender").and_then(|sender| <&UserId>::try_from(sender).ok());
    match (error, sender) {
        (VerificationError::Ed25519(_), Some(sender)) if keys.keys.len() == 1 => {
            PduError::Forged(sender.server_name().to_owned())
        }
        _ => PduError::Signature(error.to_string()),
    }
}

/// Fetches the keys of PDUs and verifies them, in batches side by side on blocking threads. The results stand in the
/// order of the PDUs.
pub(crate) async fn verify_each(
    federation: &Federation,
    pdus: Vec<ParsedPdu>,
    rules: &RoomVersionRules,
) -> Result<Vec<Result<VerifiedPdu, Unverified>>, PduError> {
    let batches = batches(pdus);
    let verified = stream::iter(batches)
        .map(|batch| verify_batch(federation, batch, rules))
        .buffered(parallelism())
        .try_collect::<Vec<_>>()
        .await?;
    Ok(verified.into_iter().flatten().collect())
}

/// The same for one PDU.
pub(crate) async fn verify_one(
    federation: &Federation,
    pdu: ParsedPdu,
    rules: &RoomVersionRules,
) -> Result<VerifiedPdu, PduError> {
    let mut verified = verify_each(federation, vec![pdu], rules).await?;
    let verified = verified
        .pop()
        .ok_or_else(|| PduError::Internal("no result".to_owned()))?;
    Ok(verified?)
}

/// Parses and verifies PDUs that another server answered with. Those that fail a check are left out, and of several
/// copies all but one.
pub(crate) async fn verify_answer(
    federation: &Federation,
    pdus: Vec<Box<RawValue>>,
    rules: &RoomVersionRules,
) -> Result<Vec<VerifiedPdu>, PduError> {
    let parsed = {
        let rules = rules.clone();
        blocking(move || parse_distinct(&pdus, &rules)).await?
    };
    let verified = verify_each(federation, parsed, rules).await?;
    let passes = |result: Result<VerifiedPdu, Unverified>| {
        result
            .inspect_err(
                |unverified| tracing::debug!(error = %unverified.error, "a PDU is left out"),
            )
            .ok()
    };
    Ok(verified.into_iter().filter_map(passes).collect())
}

/// The ids of PDUs that another server answered with, without those that are no PDUs.
pub(crate) async fn ids_of_answer(
    pdus: Vec<Box<RawValue>>,
    rules: &RoomVersionRules,
) -> Result<Vec<OwnedEventId>, PduError> {
    let rules = rules.clone();
    blocking(move || {
        let parsed = parse_distinct(&pdus, &rules);
        parsed.into_iter().map(|pdu| pdu.event_id).collect()
    })
    .await
}

fn parse_distinct(pdus: &[Box<RawValue>], rules: &RoomVersionRules) -> Vec<ParsedPdu> {
    let mut seen = HashSet::new();
    pdus.iter()
        .filter_map(|raw| {
            parse_object(raw)
                .and_then(|object| check_format(object, rules))
                .inspect_err(|error| tracing::debug!(%error, "a PDU is left out"))
                .ok()
        })
        .filter(|pdu| seen.insert(pdu.event_id.clone()))
        .collect()
}

fn batches(pdus: Vec<ParsedPdu>) -> Vec<Vec<ParsedPdu>> {
    let mut batches = Vec::with_capacity(pdus.len() / VERIFY_BATCH + 1);
    let mut pdus = pdus.into_iter().peekable();
    while pdus.peek().is_some() {
        batches.push(pdus.by_ref().take(VERIFY_BATCH).collect());
    }
    batches
}

async fn verify_batch(
    federation: &Federation,
    batch: Vec<ParsedPdu>,
    rules: &RoomVersionRules,
) -> Result<Vec<Result<VerifiedPdu, Unverified>>, PduError> {
    let mut with_keys = Vec::with_capacity(batch.len());
    for pdu in batch {
        let keys = federation
            .keys()
            .for_event(&pdu.object, &rules.signatures)
            .await
            .map_err(|error| PduError::Signature(error.to_string()));
        with_keys.push((pdu, keys));
    }
    let rules = rules.clone();
    in_turn(move || {
        with_keys
            .into_iter()
            .map(|(pdu, keys)| match keys {
                Ok(keys) => verify(pdu, &keys, &rules),
                Err(error) => Err(Unverified { pdu, error }),
            })
            .collect()
    })
    .await
}

fn parallelism() -> usize {
    Handle::current().metrics().num_workers()
}

/// [`blocking`] work of which others may cause a lot: only so much of it is done at a time that every processor has some, and
/// who asked first is served first.
async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PduError> {
    static PLACES: LazyLock<Semaphore> = LazyLock::new(|| {
        Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from))
    });
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return blocking(work).await;
    }
    let place = PLACES.acquire().await;
    let _place = place.map_err(|error| PduError::Internal(error.to_string()))?;
    blocking(work).await
}

/// Does work off the threads that serve requests. A runtime that has but one thread does it there: nothing in a simulation
/// may happen side by side.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PduError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(PduError::task)
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn event() -> Value {
        json!({
            "auth_events": [], "content": {}, "depth": 3, "hashes": { "sha256": "" },
            "origin_server_ts": 1, "prev_events": ["$a"], "room_id": "!r:one", "sender": "@a:one",
            "signatures": {}, "type": "m.room.message",
        })
    }

    fn parse(event: &Value) -> Result<ParsedPdu, PduError> {
        parse_in(&RoomVersionId::V11, event)
    }

    fn parse_in(version: &RoomVersionId, event: &Value) -> Result<ParsedPdu, PduError> {
        let rules = version.rules().unwrap();
        check_format(parse_object(&to_raw_value(event).unwrap())?, &rules)
    }

    #[test]
    fn what_others_say_beside_the_event_does_not_count() {
        let plain = parse(&event()).unwrap();
        let mut other = event();
        other["unsigned"] = json!({ "age": 5 });
        let parsed = parse(&other).unwrap();
        assert_eq!(parsed.event_id, plain.event_id);
        assert_eq!(parsed.object, plain.object);
    }

    #[test]
    fn numbers_that_canonical_json_does_not_know_are_refused() {
        for number in [json!(1.5), json!(9_007_199_254_740_992_u64)] {
            let mut event = event();
            event["content"]["n"] = number;
            assert!(matches!(parse(&event), Err(PduError::Format(_))));
        }
    }

    #[test]
    fn in_older_rooms_code_points_count() {
        let with = |state_key: String| {
            let mut event = event();
            event["state_key"] = state_key.into();
            event
        };
        let long = with("💥".repeat(70));
        assert!(matches!(parse(&long), Err(PduError::Format(_))));
        let parsed = parse_in(&RoomVersionId::V10, &long).unwrap();
        assert_eq!(
            string(&parsed.object, "state_key"),
            long["state_key"].as_str()
        );
        for too_long in ["💥".repeat(256), "x".repeat(256)] {
            let too_long = parse_in(&RoomVersionId::V10, &with(too_long));
            assert!(matches!(too_long, Err(PduError::Format(_))));
        }
    }

    #[test]
    fn malformed_fields_are_refused() {
        let long = "x".repeat(256);
        for (field, value) in [
            ("depth", json!(-1)),
            ("depth", json!("3")),
            ("sender", json!(5)),
            ("type", json!(long)),
            ("state_key", json!(long)),
            ("room_id", Value::Null),
            ("prev_events", json!({})),
            ("auth_events", json!(vec!["$a"; 11])),
            ("event_id", json!("$a")),
            ("content", json!({ "body": "x".repeat(66_000) })),
        ] {
            let mut event = event();
            event[field] = value;
            assert!(matches!(parse(&event), Err(PduError::Format(_))), "{field}");
        }
    }

    #[test]
    fn texts_are_bounded_before_they_are_parsed() {
        let mut event = event();
        event["unsigned"] = json!("x".repeat(MAX_TEXT));
        assert!(matches!(parse(&event), Err(PduError::Format(_))));
    }
}
