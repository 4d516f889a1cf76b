//! What joins, knocks and leaves through another server have in common: it makes an event, this server completes and
//! signs it, the other one takes it in.

use std::sync::Arc;

use luxchat_store::Pdu;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, OwnedEventId, OwnedServerName, RoomId,
    RoomVersionId, UserId, events::room::member::MembershipState,
    room_version_rules::RoomVersionRules,
};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    Error, PduError, Result, Rooms,
    receive_checks::{check_format, parse_object, string},
    rules_of,
};

/// Servers asked in turn at most.
const MAX_SERVERS: usize = 10;

/// What one of several servers is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) room_id: &'a RoomId,
    pub(crate) membership: MembershipState,
    /// The membership event's content, as this server wants it.
    pub(crate) content: CanonicalJsonObject,
}

/// An event made from another server's template.
#[derive(Clone, Debug)]
pub(crate) struct Completed {
    pub(crate) pdu: Arc<Pdu>,
    pub(crate) version: RoomVersionId,
    pub(crate) rules: RoomVersionRules,
}

impl Completed {
    pub(crate) fn event_id(&self) -> OwnedEventId {
        self.pdu.event_id().to_owned()
    }

    /// The event as requests carry it.
    pub(crate) fn raw(&self) -> Result<Box<RawValue>> {
        RawValue::from_string(self.pdu.json().to_owned())
            .map_err(|error| Error::BadJson(error.to_string()))
    }
}

impl Rooms {
    /// Makes the event that `wish` is for out of a template.
    ///
    /// # Errors
    ///
    /// [`PduError::Format`] where the template is for something else, [`Error::UnsupportedVersion`].
    pub(crate) fn complete(
        &self,
        wish: &Wish<'_>,
        version: Option<RoomVersionId>,
        template: &RawValue,
    ) -> Result<Completed> {
        // Servers that do not say mean version 1, and some mean 2.
        let version = version.unwrap_or(RoomVersionId::V1);
        let rules = rules_of(&version)?;
        let mut object = parse_object(template)?;
        check_template(wish, &object)?;
        for field in ["event_id", "hashes", "origin", "signatures"] {
            object.remove(field);
        }
        let now = Int::try_from(self.store.clock().now_ms())
            .map_err(|error| Error::BadState(error.to_string()))?;
        object.insert("origin_server_ts".to_owned(), now.into());
        let mut content = wish.content.clone();
        // The one thing that the other server decides.
        let inviter = "join_authorised_via_users_server";
        if let Some(CanonicalJsonValue::Object(theirs)) = object.remove("content")
            && let Some(theirs) = theirs.get(inviter)
        {
            content.insert(inviter.to_owned(), theirs.clone());
        }
        object.insert("content".to_owned(), content.into());
        // What is wrong with it now, was wrong with the template: another server may make a better one.
        let pdu = self
            .sign(object, &rules)
            .map_err(|error| PduError::Format(format!("the template: {error}")))?;
        check_format(pdu.to_object()?, &rules)?;
        Ok(Completed {
            pdu: Arc::new(pdu),
            version,
            rules,
        })
    }

    /// Asks servers in turn until one does what is asked or says that the room forbids it.
    pub(crate) async fn ask_in_turn<T, A>(
        &self,
        room_id: &RoomId,
        servers: &[OwnedServerName],
        ask: impl Fn(OwnedServerName) -> A,
    ) -> Result<T>
    where
        A: Future<Output = Result<T>>,
    {
        let mut last = Error::RoomNotResident(room_id.to_owned());
        let others = servers
            .iter()
            .filter(|server| *server != self.server_name());
        for server in others.take(MAX_SERVERS) {
            match ask(server.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    tracing::info!(%server, %room_id, %error, "a server could not help");
                    if is_final(&error) {
                        return Err(error);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }
}

/// Whether other servers would answer the same.
fn is_final(error: &Error) -> bool {
    use ruma::api::error::ErrorKind;
    match error {
        Error::Remote(error) => matches!(
            error.remote_kind(),
            Some(ErrorKind::Forbidden | ErrorKind::IncompatibleRoomVersion { .. })
        ),
        Error::UnsupportedVersion(_) | Error::Store(_) => true,
        _ => false,
    }
}

fn check_template(wish: &Wish<'_>, template: &CanonicalJsonObject) -> Result<(), PduError> {
    let membership = template
        .get("content")
        .and_then(CanonicalJsonValue::as_object)
        .and_then(|content| string(content, "membership"));
    let fits = string(template, "type") == Some("m.room.member")
        && string(template, "room_id") == Some(wish.room_id.as_str())
        && string(template, "sender") == Some(wish.user.as_str())
        && string(template, "state_key") == Some(wish.user.as_str())
        && membership == Some(wish.membership.as_str());
    if fits {
        Ok(())
    } else {
        Err(PduError::Format(
            "the template is not for what was asked".to_owned(),
        ))
    }
}

/// An object as JSON text.
pub(crate) fn to_raw(object: &CanonicalJsonObject) -> Result<Box<RawValue>> {
    to_raw_value(object).map_err(|error| Error::BadJson(error.to_string()))
}
