//! Joins, knocks and leaves of users of other servers through this one.

use std::{collections::HashMap, sync::Arc};

use luxchat_store::{EventStatus, Pdu, ReadTx, Room};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, RoomId, RoomVersionId, ServerName, UserId,
    api::federation::membership::RawStrippedState, events::room::member::MembershipState,
    signatures::sign_event,
};
use serde_json::value::RawValue;

use crate::{
    Error, Origin, Result, Rooms,
    draft::authorise,
    handshake::to_raw,
    member_content::{bare_member_content, member_draft},
    receive::Inbound,
    receive_checks::{ParsedPdu, check_format, parse_object, string, verify_one},
    restricted::Admission,
    rules_of,
    serve::open_whole_room,
    stripped_state,
};

/// The content field that names who lets a user into a restricted room.
const INVITER: &str = "join_authorised_via_users_server";

/// An event for another server to complete and sign.
#[derive(Clone, Debug)]
pub struct Template {
    /// The room's version.
    pub room_version: RoomVersionId,
    /// The event.
    pub event: Box<RawValue>,
}

/// A membership that another server's user wants.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The asking server.
    pub origin: &'a ServerName,
    /// The room.
    pub room_id: &'a RoomId,
    /// What its user wants to be: joined, knocking, gone.
    pub membership: &'a MembershipState,
}

impl Rooms {
    /// Makes the event by which a user of the asking server joins, knocks or leaves. `versions` are the room versions that
    /// it supports, where it says.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server is not in the room, [`Error::IncompatibleVersion`], [`Error::Forbidden`] by
    /// the room's rules; for restricted rooms also [`Error::UnableToAuthoriseJoin`] and [`Error::UnableToGrantJoin`].
    pub async fn make_membership(
        &self,
        asked: Asked<'_>,
        user: &UserId,
        versions: Option<&[RoomVersionId]>,
    ) -> Result<Template> {
        check_server(asked.origin, user)?;
        let rooms = self.clone();
        let (origin, room_id) = (asked.origin.to_owned(), asked.room_id.to_owned());
        let (membership, user) = (asked.membership.clone(), user.to_owned());
        let versions = versions.map(<[_]>::to_vec);
        let now_ms = self.store.clock().now_ms();
        self.store
            .read(move |tx| {
                let room = open_whole_room(tx, &origin, &room_id)?;
                if versions.is_some_and(|versions| !versions.contains(&room.version)) {
                    return Err(Error::IncompatibleVersion(room.version));
                }
                let mut content = bare_member_content(&membership, None);
                if membership == MembershipState::Join
                    && let Some(inviter) = rooms.inviter_for(tx, &room, &user)?
                {
                    content.insert(INVITER.to_owned(), inviter.into());
                }
                let draft = member_draft(&user, &user, content);
                let template = rooms.template(tx, &room, &draft, now_ms)?;
                // The id is made of what is still to come; no rule looks at it.
                let pdu = Pdu::from_object(
                    EventId::new_v1(&origin),
                    &template.object,
                    EventStatus::Accepted,
                )?;
                authorise(&rules_of(&room.version)?, pdu, &template.auth_state)?;
                Ok(Template {
                    event: to_raw(&template.object)?,
                    room_version: room.version,
                })
            })
            .await
    }

    /// Takes in a knock, and tells what those who knock may know of the room.
    ///
    /// # Errors
    ///
    /// As [`take_in_membership`](Self::take_in_membership).
    pub async fn send_knock(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<Vec<RawStrippedState>> {
        let asked = Asked {
            origin,
            room_id,
            membership: &MembershipState::Knock,
        };
        let (inbound, _) = self.take_in_membership(asked, event_id, event).await?;
        self.store
            .read(move |tx| stripped_state::told(tx, inbound.room.nid, None))
            .await
    }

    /// Takes in a leave.
    ///
    /// # Errors
    ///
    /// As [`take_in_membership`](Self::take_in_membership).
    pub async fn send_leave(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<()> {
        let asked = Asked {
            origin,
            room_id,
            membership: &MembershipState::Leave,
        };
        self.take_in_membership(asked, event_id, event).await?;
        Ok(())
    }

    /// Takes in a membership event of a user of the asking server, made from a template of this one, and distributes it
    /// with this server's signature.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParam`] for anything but such an event, [`Error::Forbidden`] by the room's rules.
    pub(crate) async fn take_in_membership(
        &self,
        asked: Asked<'_>,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<(Inbound, Arc<Pdu>)> {
        let inbound = self.open_inbound(asked).await?;
        let mut parsed = check_format(parse_object(event)?, &inbound.rules)?;
        let user = check_event(asked, event_id, &parsed)?;
        if *asked.membership == MembershipState::Join {
            self.check_inviter(&inbound, &parsed.object, &user).await?;
        }
        // Before the check: where this server lets the user in, its signature is among those that must be there.
        let server_name = self.server_name().as_str();
        sign_event(
            server_name,
            self.federation.signing_key(),
            &mut parsed.object,
            &inbound.rules.redaction,
        )
        .map_err(|error| Error::BadJson(error.to_string()))?;
        let verified = verify_one(&self.federation, parsed, &inbound.rules).await?;
        let pdu = verified.into_pdu()?;
        let pdu = self.policy_signed_if_possible(&inbound, &pdu).await?;
        let _turn = self.room_turns.take(asked.room_id).await;
        self.accept(&inbound, &pdu, HashMap::new()).await?.done()?;
        match self.status_of(&inbound, &pdu).await? {
            EventStatus::Accepted => Ok((inbound, pdu)),
            EventStatus::SoftFailed | EventStatus::Rejected => {
                Err(Error::Forbidden("the room does not allow it".to_owned()))
            }
        }
    }

    async fn open_inbound(&self, asked: Asked<'_>) -> Result<Inbound> {
        let (origin, room_id) = (asked.origin.to_owned(), asked.room_id.to_owned());
        let room = self
            .store
            .read(move |tx| open_whole_room(tx, &origin, &room_id))
            .await?;
        Ok(Inbound {
            origin: asked.origin.to_owned(),
            made_by: Origin::Brokered,
            rules: rules_of(&room.version)?,
            room,
            is_last_try: false,
        })
    }

    /// The user of this server who lets a user into a restricted room, where one has to.
    fn inviter_for(&self, tx: &ReadTx<'_>, room: &Room, user: &UserId) -> Result<Option<String>> {
        match self.admission(tx, room, user)? {
            Admission::Plain => Ok(None),
            Admission::AuthorisedBy(inviter) => Ok(Some(inviter.to_string())),
            Admission::NotAllowed { knows_all: true } => Err(Error::Forbidden(
                "the user is in none of the rooms whose members may join".to_owned(),
            )),
            Admission::NotAllowed { knows_all: false } => Err(Error::UnableToAuthoriseJoin),
            Admission::Elsewhere => Err(Error::UnableToGrantJoin),
        }
    }

    /// Whether this server may sign a join: where the event says that a user of this server lets the user in, it must
    /// still be so.
    async fn check_inviter(
        &self,
        inbound: &Inbound,
        event: &CanonicalJsonObject,
        user: &UserId,
    ) -> Result<()> {
        let inviter = event
            .get("content")
            .and_then(CanonicalJsonValue::as_object)
            .and_then(|content| string(content, INVITER))
            .map(UserId::parse);
        let Some(inviter) = inviter else {
            return Ok(());
        };
        let inviter =
            inviter.map_err(|error| Error::InvalidParam(format!("{INVITER}: {error}")))?;
        if inviter.server_name() != self.server_name() {
            return Ok(());
        }
        let rooms = self.clone();
        let (room, user) = (inbound.room.nid, user.to_owned());
        self.store
            .read(move |tx| rooms.inviter_for(tx, &tx.room(room)?, &user))
            .await?;
        Ok(())
    }
}

fn check_server(origin: &ServerName, user: &UserId) -> Result<()> {
    if user.server_name() == origin {
        Ok(())
    } else {
        Err(Error::Forbidden(format!("{user} is no user of {origin}")))
    }
}

/// Checks that an event is what it was sent as, and says whose it is.
fn check_event(
    asked: Asked<'_>,
    event_id: &EventId,
    parsed: &ParsedPdu,
) -> Result<ruma::OwnedUserId> {
    let invalid = |what: &str| Error::InvalidParam(what.to_owned());
    let event = &parsed.object;
    if parsed.event_id != event_id {
        return Err(invalid("the event has another id"));
    }
    if string(event, "room_id") != Some(asked.room_id.as_str()) {
        return Err(invalid("the event is of another room"));
    }
    let membership = event
        .get("content")
        .and_then(CanonicalJsonValue::as_object)
        .and_then(|content| string(content, "membership"));
    if string(event, "type") != Some("m.room.member")
        || membership != Some(asked.membership.as_str())
    {
        return Err(invalid("the event is of another kind"));
    }
    let sender = string(event, "sender").unwrap_or_default();
    if string(event, "state_key") != Some(sender) {
        return Err(invalid("the event is about another user"));
    }
    let user = UserId::parse(sender).map_err(|_| invalid("the sender is no user"))?;
    check_server(asked.origin, &user)?;
    Ok(user)
}
