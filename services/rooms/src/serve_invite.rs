//! Invites for users of this server.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::sync::Arc;

use luxchat_store::{InvitePermission, Pdu};
use ruma::{
    CanonicalJsonValue, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId,
    api::federation::membership::RawStrippedState, events::TimelineEventType,
    room_version_rules::RoomVersionRules, signatures::sign_event,
};
use serde_json::value::RawValue;

use crate::{
    Error, Result, Rooms,
    receive_checks::{
        ParsedPdu, VerifiedPdu, check_format, parse_object, string, verify_answer, verify_one,
    },
    rules_of, server_acl, stripped_state,
};

/// An invite as another server sends it.
#[derive(Clone, Debug)]
pub struct ReceivedInvite {
    /// Its room.
    pub room_id: ruma::OwnedRoomId,
    /// Its id.
    pub event_id: ruma::OwnedEventId,
    /// The room's version.
    pub room_version: RoomVersionId,
    /// The event, signed by the inviting server.
    pub event: Box<RawValue>,
    /// What the user may know of the room.
    pub room_state: Vec<RawStrippedState>,
}

impl Rooms {
    /// Shows an invite to a user of this server, and answers with it, signed by this server too.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedVersion`]; [`Error::InvalidParam`] for anything but an invite of a user of this server by one of
    /// the asking server; [`Error::NotFound`] for an unknown user; [`Error::Forbidden`] by the room's server ACL.
    pub async fn receive_invite(
        &self,
        origin: &ServerName,
        invite: ReceivedInvite,
    ) -> Result<Box<RawValue>> {
        let rules = rules_of(&invite.room_version)?;
        let parsed = parse_object(&invite.event)
            .and_then(|object| check_format(object, &rules))
            .map_err(|error| Error::InvalidParam(error.to_string()))?;
        let (sender, target) = self.check_invite(origin, &invite, &parsed)?;
        self.check_target(sender, &invite.room_id, &target).await?;
        self.check_room_state(&invite, &rules).await?;
        let mut verified = verify_one(&self.federation, parsed, &rules)
            .await
            .map_err(|error| Error::InvalidParam(error.to_string()))?;
        sign_event(
            self.server_name().as_str(),
            self.federation.signing_key(),
            &mut verified.object,
            &rules.redaction,
        )
        .map_err(|error| Error::BadJson(error.to_string()))?;
        let pdu = verified.into_pdu()?;
        self.note_room(&invite.room_id, &invite.room_version)
            .await?;
        let told = stripped_state::strip(&invite.room_state);
        self.set_outside_membership(&target, &invite.room_id, Arc::clone(&pdu), Some(told))
            .await?;
        crate::serve_join::raw(pdu.json().to_owned())
    }

    /// Checks that the event is an invite of a user of this server by one of the asking server, and says who invites whom.
    fn check_invite(
        &self,
        origin: &ServerName,
        invite: &ReceivedInvite,
        parsed: &ParsedPdu,
    ) -> Result<(OwnedUserId, OwnedUserId)> {
        let invalid = |what: &str| Error::InvalidParam(what.to_owned());
        let event = &parsed.object;
        if parsed.event_id != invite.event_id {
            return Err(invalid("the event has another id"));
        }
        if string(event, "room_id") != Some(invite.room_id.as_str()) {
            return Err(invalid("the event is of another room"));
        }
        let membership = event
            .get("content")
            .and_then(CanonicalJsonValue::as_object)
            .and_then(|content| string(content, "membership"));
        if string(event, "type") != Some("m.room.member") || membership != Some("invite") {
            return Err(invalid("the event is no invite"));
        }
        let user = |field: &str| {
            UserId::parse(string(event, field).unwrap_or_default())
                .map_err(|error| Error::InvalidParam(format!("{field}: {error}")))
        };
        let sender = user("sender")?;
        if sender.server_name() != origin {
            return Err(invalid("the sender is no user of the asking server"));
        }
        let target = user("state_key")?;
        if target.server_name() != self.server_name() {
            return Err(invalid("the invited user is no user of this server"));
        }
        Ok((sender, target))
    }

    /// Checks that the invited user exists and wants to be invited, and that the room, if this server is in it, lets the asking server take part.
    async fn check_target(
        &self,
        sender: OwnedUserId,
        room_id: &RoomId,
        target: &UserId,
    ) -> Result<()> {
        let (room_id, target) = (room_id.to_owned(), target.to_owned());
        self.store
            .read(move |tx| {
                let account = tx.account(&target)?;
                let account = account.filter(|account| !account.is_deactivated);
                let user = account.ok_or(Error::NotFound("user"))?.user_nid;
                if tx.invite_permission(user, &sender)? == InvitePermission::Blocked {
                    return Err(Error::InviteBlocked);
                }
                let origin = sender.server_name();
                if let Some(room) = tx.room_by_id(&room_id)?
                    && tx.is_resident(room.nid)?
                    && !server_acl::is_allowed(tx, room.nid, origin)?
                {
                    return Err(Error::Forbidden(format!(
                        "the room's server ACL denies {origin}"
                    )));
                }
                Ok(())
            })
            .await
    }

    /// Checks what the invite tells of its room. Rooms of version 12 and later are known by their create event, so it must
    /// be there and hold; with older ones servers are still lax.
    async fn check_room_state(
        &self,
        invite: &ReceivedInvite,
        rules: &RoomVersionRules,
    ) -> Result<()> {
        if !rules.authorization.room_create_event_id_as_room_id {
            return Ok(());
        }
        let mut pdus = Vec::with_capacity(invite.room_state.len());
        for entry in &invite.room_state {
            let RawStrippedState::Pdu(json) = entry else {
                let what = "an entry of invite_room_state is no PDU".to_owned();
                return Err(Error::InvalidParam(what));
            };
            pdus.push(json.clone());
        }
        let sent = pdus.len();
        let verified = verify_answer(&self.federation, pdus, rules).await?;
        let pdus: Vec<Arc<Pdu>> = verified
            .into_iter()
            .filter_map(|event| VerifiedPdu::into_pdu(event).ok())
            .filter(|pdu| pdu.room_id() == invite.room_id)
            .collect();
        if pdus.len() != sent {
            let what = "an entry of invite_room_state does not hold".to_owned();
            return Err(Error::InvalidParam(what));
        }
        if pdus
            .iter()
            .any(|pdu| pdu.is_state(&TimelineEventType::RoomCreate, ""))
        {
            Ok(())
        } else {
            let what = "invite_room_state lacks m.room.create".to_owned();
            Err(Error::InvalidParam(what))
        }
    }
}
