//! Inviting a user of another server.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::{collections::HashMap, sync::Arc};

use luxchat_store::{EventStatus, Pdu};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, RoomId, ServerName, UserId,
    api::federation::membership::{RawStrippedState, create_invite},
    room_version_rules::RoomVersionRules,
};
use serde_json::value::RawValue;

use crate::{
    Error, Origin, PduError, Result, Rooms,
    member_content::member_draft,
    receive::Inbound,
    receive_checks::{VerifiedPdu, check_format, parse_object},
    rules_of, stripped_state,
};

/// Signatures taken over from the invited user's server.
const MAX_SIGNATURES: usize = 8;

impl Rooms {
    /// Invites a user of another server: it signs the invite, then the room hears of it.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the room's rules; [`Error::Remote`] where the server refuses or does not answer.
    pub(crate) async fn invite_remote(
        &self,
        sender: &UserId,
        target: &UserId,
        room_id: &RoomId,
        content: CanonicalJsonObject,
    ) -> Result<OwnedEventId> {
        let draft = member_draft(sender, target, content);
        let (rooms, inviter, id) = (self.clone(), sender.to_owned(), room_id.to_owned());
        let now_ms = self.store.clock().now_ms();
        let (room, pdu, told) = self
            .store
            .read(move |tx| {
                let not_resident = || Error::RoomNotResident(id.clone());
                let room = tx.room_by_id(&id)?.ok_or_else(not_resident)?;
                if !tx.is_resident(room.nid)? {
                    return Err(not_resident());
                }
                let event = rooms.build(tx, &room, &draft, now_ms)?;
                let told = stripped_state::told(tx, room.nid, Some(&inviter))?;
                Ok((room, Arc::clone(event.pdu()), told))
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
        let pdu = self.policy_signed(&inbound, &pdu).await?;
        let (room, rules) = (&inbound.room, &inbound.rules);
        let signed = self
            .have_signed(target.server_name(), room, rules, &pdu, told)
            .await?;
        let _turn = self.room_turns.take(room_id).await;
        self.accept(&inbound, &signed, HashMap::new())
            .await?
            .done()?;
        match self.status_of(&inbound, &signed).await? {
            EventStatus::Accepted => Ok(signed.event_id().to_owned()),
            EventStatus::SoftFailed | EventStatus::Rejected => Err(Error::Forbidden(
                "the room has changed and no longer allows the invite".to_owned(),
            )),
        }
    }

    /// Has the invited user's server sign the invite.
    async fn have_signed(
        &self,
        server: &ServerName,
        room: &luxchat_store::Room,
        rules: &RoomVersionRules,
        pdu: &Arc<Pdu>,
        told: Vec<RawStrippedState>,
    ) -> Result<Arc<Pdu>> {
        let event = RawValue::from_string(pdu.json().to_owned())
            .map_err(|error| Error::BadJson(error.to_string()))?;
        let request = create_invite::v2::Request::new(
            room.room_id.clone(),
            pdu.event_id().to_owned(),
            room.version.clone(),
            event,
            told,
        );
        let answer = self.federation.request(server, request).await?;
        let theirs = check_format(parse_object(&answer.event)?, rules)?;
        if theirs.event_id != pdu.event_id() {
            let why = "the answer to an invite has another event".to_owned();
            return Err(PduError::Format(why).into());
        }
        let mut object = pdu.to_object()?;
        add_signatures(&mut object, &theirs.object, server)?;
        let event_id = theirs.event_id;
        Ok(VerifiedPdu { event_id, object }.into_pdu()?)
    }
}

/// Takes a server's signatures over from its copy of an event.
fn add_signatures(
    ours: &mut CanonicalJsonObject,
    theirs: &CanonicalJsonObject,
    server: &ServerName,
) -> Result<(), PduError> {
    let unsigned = || PduError::Signature(format!("{server} did not sign the invite"));
    let added = theirs
        .get("signatures")
        .and_then(CanonicalJsonValue::as_object)
        .and_then(|signatures| signatures.get(server.as_str()))
        .and_then(CanonicalJsonValue::as_object)
        .filter(|keys| !keys.is_empty() && keys.len() <= MAX_SIGNATURES)
        .ok_or_else(unsigned)?;
    if let Some(CanonicalJsonValue::Object(signatures)) = ours.get_mut("signatures") {
        signatures.insert(server.to_string(), added.clone().into());
    }
    Ok(())
}
