//! Leaving a room that this server is not in: declining an invite, taking a knock back.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites>

use std::sync::Arc;

use luxchat_store::{Pdu, ReadTx};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedServerName, RoomId, ServerName, UserId,
    api::federation::membership::{create_leave_event, prepare_leave_event},
    events::room::member::MembershipState,
};

use crate::{
    Authorised, Error, Origin, Placement, Result, Rooms, append, handshake::Wish, rules_of,
};

impl Rooms {
    /// Takes a user out of a room that this server is not in. They are out whatever other servers say: nobody can be kept
    /// in a room by a server that does not answer.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where nothing is known of a membership.
    pub(crate) async fn leave_remote(
        &self,
        user: &UserId,
        room_id: &RoomId,
        content: CanonicalJsonObject,
    ) -> Result<()> {
        let servers = self.servers_of_membership(user, room_id).await?;
        let wish = Wish {
            user,
            room_id,
            membership: MembershipState::Leave,
            content,
        };
        let sent = self
            .ask_in_turn(room_id, &servers, |server| {
                let wish = &wish;
                async move { self.leave_via(&server, wish).await }
            })
            .await;
        let pdu = match sent {
            Ok(pdu) => pdu,
            Err(error) => {
                tracing::info!(%room_id, %error, "a user leaves without the room's knowledge");
                self.leave_alone(&wish).await?
            }
        };
        self.set_outside_membership(user, room_id, pdu, None).await
    }

    async fn leave_via(&self, server: &ServerName, wish: &Wish<'_>) -> Result<Arc<Pdu>> {
        let (room_id, user) = (wish.room_id.to_owned(), wish.user.to_owned());
        let request = prepare_leave_event::v1::Request::new(room_id.clone(), user);
        let template = self.federation.request(server, request).await?;
        let leave = self.complete(wish, template.room_version, &template.event)?;
        let request = create_leave_event::v2::Request::new(room_id, leave.event_id(), leave.raw()?);
        self.federation.request(server, request).await?;
        Ok(leave.pdu)
    }

    /// A leave that no other server knows of, after the event that made the user what they are.
    async fn leave_alone(&self, wish: &Wish<'_>) -> Result<Arc<Pdu>> {
        let (user, room_id) = (wish.user.to_owned(), wish.room_id.to_owned());
        let (version, before) = self
            .store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?;
                let event = membership_event(tx, &user, &room_id)?;
                Ok::<_, Error>((room.version, event))
            })
            .await?;
        let parents = CanonicalJsonValue::Array(vec![before.event_id().as_str().into()]);
        let depth = ruma::Int::try_from(before.depth().saturating_add(1)).unwrap_or(ruma::Int::MAX);
        let template = CanonicalJsonObject::from([
            ("auth_events".to_owned(), parents.clone()),
            ("content".to_owned(), wish.content.clone().into()),
            ("depth".to_owned(), depth.into()),
            ("prev_events".to_owned(), parents),
            ("room_id".to_owned(), wish.room_id.as_str().into()),
            ("sender".to_owned(), wish.user.as_str().into()),
            ("state_key".to_owned(), wish.user.as_str().into()),
            ("type".to_owned(), "m.room.member".into()),
        ]);
        rules_of(&version)?;
        let template = crate::handshake::to_raw(&template)?;
        Ok(self.complete(wish, Some(version), &template)?.pdu)
    }

    /// Stores an event about a user of this server and a room that it is not in, and what the user is to the room then.
    pub(crate) async fn set_outside_membership(
        &self,
        user: &UserId,
        room_id: &RoomId,
        pdu: Arc<Pdu>,
        stripped_state: Option<String>,
    ) -> Result<()> {
        let (user, room_id) = (user.to_owned(), room_id.to_owned());
        self.store
            .write(move |tx| {
                let mut room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?;
                let user = tx.user_nid_or_insert(&user)?;
                let membership = pdu.membership().cloned().unwrap_or(MembershipState::Leave);
                let event = Authorised::outside(pdu);
                let placement = Placement::Outlier;
                let origin = Origin::OwnElsewhere;
                let Some(inserted) = append(tx, &mut room, &event, placement, origin)? else {
                    return Ok(());
                };
                if tx.is_resident(room.nid)? {
                    // The event comes again as one of the room's, and has its effect then.
                    return Ok(());
                }
                tx.set_member(room.nid, user, &membership, inserted.nid, inserted.seq)?;
                match stripped_state {
                    Some(events) => tx.set_stripped_state(room.nid, user, &events)?,
                    None => tx.delete_stripped_state(room.nid, user)?,
                }
                Ok(())
            })
            .await
    }

    /// The servers that may know of a membership: that of whoever gave it, then the room's.
    async fn servers_of_membership(
        &self,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<Vec<OwnedServerName>> {
        let (user, room_id) = (user.to_owned(), room_id.to_owned());
        self.store
            .read(move |tx| {
                let event = membership_event(tx, &user, &room_id)?;
                let mut servers = vec![event.sender().server_name().to_owned()];
                servers.extend(room_id.server_name().map(ToOwned::to_owned));
                servers.dedup();
                Ok(servers)
            })
            .await
    }
}

/// The event that made a user what they are to a room.
fn membership_event(tx: &ReadTx<'_>, user: &UserId, room_id: &RoomId) -> Result<Pdu> {
    let room = tx.room_by_id(room_id)?.ok_or(Error::NotFound("room"))?;
    let user = tx.user_nid(user)?.ok_or(Error::NotFound("membership"))?;
    let member = tx.member(room.nid, user)?;
    let member = member.ok_or(Error::NotFound("membership"))?;
    Ok(tx.event_by_nid(member.event)?.into_pdu()?)
}
