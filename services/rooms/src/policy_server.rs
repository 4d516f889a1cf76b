//! Rooms whose events a policy server has to sign.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#policy-servers>

use std::{collections::HashMap, sync::Arc};

use luxchat_store::{EventStatus, Pdu, ReadTx, Room};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, RoomId,
    api::federation::policy::sign_event::v1 as sign_event,
    events::{
        StateEventType, TimelineEventType,
        room::policy::{POLICY_SERVER_ED25519_SIGNING_KEY_ID, RoomPolicyEventContent},
    },
    room_version_rules::RoomVersionRules,
    serde::Base64,
    signatures::verify_policy_server_signature,
};
use serde_json::value::RawValue;

use crate::{
    Error, Origin, PduError, Result, Rooms, draft::Draft, receive::Inbound,
    receive_checks::VerifiedPdu, rules_of,
};

/// What a user of this server wants to say in a room whose policy server has to sign it first.
#[derive(Clone, Debug)]
pub struct Unsigned {
    pub(crate) draft: Draft,
    pub(crate) sent_ms: u64,
}

/// What a room asks of its events; `None` where it has no policy server: none is named, or it has no user in the room.
/// This server is none itself: where a room names it, nobody can sign, and so nobody is asked to.
pub(crate) fn policy_of(tx: &ReadTx<'_>, room: &Room) -> Result<Option<RoomPolicyEventContent>> {
    let event_type = StateEventType::RoomPolicy;
    let Some(event) = tx.current_state_event(room.nid, &event_type, "")? else {
        return Ok(None);
    };
    // Whoever has the power may put anything there: what is not valid is no policy.
    let Ok(policy) = event.pdu()?.content_as::<RoomPolicyEventContent>() else {
        return Ok(None);
    };
    let has_key = policy
        .public_keys
        .contains_key(&ruma::SigningKeyAlgorithm::Ed25519);
    let is_in_room = match tx.server_nid(&policy.via)? {
        Some(server) if server != luxchat_store::ServerNid::OWN => {
            tx.is_server_in_room(server, room.nid)?
        }
        _ => false,
    };
    Ok(Some(policy).filter(|_| has_key && is_in_room))
}

/// Whether an event may be shown in a room with this policy.
pub(crate) fn is_recommended(
    policy: &RoomPolicyEventContent,
    pdu: &Pdu,
    rules: &RoomVersionRules,
) -> Result<bool> {
    if pdu.is_state(&TimelineEventType::RoomPolicy, "") {
        return Ok(true);
    }
    let object = pdu.to_object()?;
    Ok(verify_policy_server_signature(policy, &object, rules).is_ok())
}

impl Rooms {
    /// Passes a result on; where the policy server has to sign an event first, has it do so, and sends it then.
    pub(crate) async fn once_signed<T>(
        &self,
        room_id: &RoomId,
        result: Result<T>,
        then: impl FnOnce(OwnedEventId) -> T,
    ) -> Result<T> {
        match result {
            Err(Error::Unsigned(unsigned)) => Ok(then(self.send_signed(room_id, *unsigned).await?)),
            other => other,
        }
    }

    /// Has the policy server sign an event, which then enters the room as one from elsewhere would: the room may have moved
    /// on meanwhile.
    async fn send_signed(&self, room_id: &RoomId, unsigned: Unsigned) -> Result<OwnedEventId> {
        let (rooms, id) = (self.clone(), room_id.to_owned());
        let (room, pdu) = self
            .store
            .read(move |tx| {
                let room = tx.room_by_id(&id)?;
                let room = room.ok_or_else(|| Error::RoomNotResident(id.clone()))?;
                let event = rooms.build(tx, &room, &unsigned.draft, unsigned.sent_ms)?;
                Ok::<_, Error>((room, Arc::clone(event.pdu())))
            })
            .await?;
        let rules = rules_of(&room.version)?;
        let inbound = Inbound {
            origin: self.server_name().to_owned(),
            made_by: Origin::Own,
            room,
            rules,
            is_last_try: false,
        };
        let signed = self.policy_signed(&inbound, &pdu).await?;
        let _turn = self.room_turns.take(room_id).await;
        self.accept(&inbound, &signed, HashMap::new())
            .await?
            .done()?;
        match self.status_of(&inbound, &signed).await? {
            EventStatus::Accepted => Ok(signed.event_id().to_owned()),
            EventStatus::SoftFailed | EventStatus::Rejected => Err(Error::Forbidden(
                "the room has changed and no longer allows the event".to_owned(),
            )),
        }
    }

    /// An event with the signature that its room asks for, fetched where it is missing.
    ///
    /// # Errors
    ///
    /// What the policy server says where it does not sign.
    pub(crate) async fn policy_signed(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<Arc<Pdu>> {
        let room = inbound.room.nid;
        let policy = self
            .store
            .read(move |tx| policy_of(tx, &tx.room(room)?))
            .await?;
        let Some(policy) = policy else {
            return Ok(Arc::clone(pdu));
        };
        if is_recommended(&policy, pdu, &inbound.rules)? {
            return Ok(Arc::clone(pdu));
        }
        let event = RawValue::from_string(pdu.json().to_owned())
            .map_err(|error| Error::BadJson(error.to_string()))?;
        let request = sign_event::Request::new(event);
        let answer = self.federation.request(&policy.via, request).await?;
        let signature = answer.ed25519_signature(&policy.via);
        let signature = signature.and_then(|signature| Base64::parse(signature).ok());
        let signature: Base64 = signature.ok_or_else(refused)?;
        let mut object = pdu.to_object()?;
        let signatures = object
            .entry("signatures".to_owned())
            .or_insert_with(|| CanonicalJsonValue::Object(CanonicalJsonObject::new()));
        let CanonicalJsonValue::Object(signatures) = signatures else {
            return Err(Error::BadJson("signatures".to_owned()));
        };
        let of_server = signatures
            .entry(policy.via.to_string())
            .or_insert_with(|| CanonicalJsonValue::Object(CanonicalJsonObject::new()));
        if let CanonicalJsonValue::Object(of_server) = of_server {
            let key_id = POLICY_SERVER_ED25519_SIGNING_KEY_ID.to_owned();
            of_server.insert(key_id, signature.encode().into());
        }
        let event_id = pdu.event_id().to_owned();
        let signed = VerifiedPdu { event_id, object }.into_pdu()?;
        if is_recommended(&policy, &signed, &inbound.rules)? {
            Ok(signed)
        } else {
            Err(refused())
        }
    }

    /// The same for an event from another server. Where the policy server does not sign it, it stays as it is: it is held
    /// back when it gets its place.
    pub(crate) async fn policy_signed_if_possible(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<Arc<Pdu>, PduError> {
        match self.policy_signed(inbound, pdu).await {
            Ok(signed) => Ok(signed),
            Err(Error::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::info!(event_id = %pdu.event_id(), %error, "no signature of the policy server");
                Ok(Arc::clone(pdu))
            }
        }
    }
}

fn refused() -> Error {
    Error::Forbidden("the room's policy server did not sign the event".to_owned())
}
