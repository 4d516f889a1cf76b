//! Leaving, inviting, kicking, banning, unbanning, forgetting.

use std::time::Duration;

use luxchat_store::{InvitePermission, WriteTx};
use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};

use crate::{
    Error, Result, Rooms,
    member_content::{bare_member_content, member_content, member_draft},
    room_writer::RoomWriter,
};

/// How long a change to somebody's membership waits for members that are missing from the room: that they are banned may be
/// among what is missing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a user wants another one's membership to be.
#[derive(Clone, Debug)]
pub struct Moderate {
    /// Who wants so.
    pub sender: OwnedUserId,
    /// In which room.
    pub room_id: OwnedRoomId,
    /// Whom it concerns.
    pub target: OwnedUserId,
    /// Why.
    pub reason: Option<String>,
}

impl Rooms {
    /// Takes a user out of a room, declines an invite, or takes a knock back. Nothing happens where they have left.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where they never were in the room.
    pub async fn leave(
        &self,
        user: &UserId,
        room_id: &RoomId,
        reason: Option<String>,
    ) -> Result<()> {
        let rooms = self.clone();
        let (leaver, room) = (user.to_owned(), room_id.to_owned());
        let content = bare_member_content(&MembershipState::Leave, reason.as_deref());
        let draft = member_draft(user, user, content.clone());
        let local = self.store.write(move |tx| {
            let known = membership(tx, &room, &leaver)?.ok_or(Error::NotFound("membership"))?;
            if matches!(known, MembershipState::Leave | MembershipState::Ban) {
                return Ok(());
            }
            RoomWriter::open(&rooms, tx, &room)?.send(&draft)?;
            Ok(())
        });
        match self.once_signed(room_id, local.await, drop).await {
            Err(Error::RoomNotResident(_)) => self.leave_remote(user, room_id, content).await,
            done => done,
        }
    }

    /// Invites a user.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the room's rules, or because they are in the room; what their server says where it is
    /// another.
    pub async fn invite(&self, invite: Moderate, is_direct: bool) -> Result<()> {
        let mut content = bare_member_content(&MembershipState::Invite, invite.reason.as_deref());
        if is_direct {
            content.insert("is_direct".to_owned(), true.into());
        }
        self.invite_with(&invite.sender, &invite.target, &invite.room_id, content)
            .await?;
        Ok(())
    }

    /// Takes another user out of a room, or their invite or knock back.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the room's rules, or because they are not in the room.
    pub async fn kick(&self, kick: Moderate) -> Result<()> {
        self.moderate(kick, MembershipState::Leave, |membership| {
            matches!(
                membership,
                MembershipState::Join | MembershipState::Invite | MembershipState::Knock
            )
            .then_some(())
            .ok_or("the user is not in the room")
        })
        .await
    }

    /// Bans a user.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the room's rules.
    pub async fn ban(&self, ban: Moderate) -> Result<()> {
        self.moderate(ban, MembershipState::Ban, |_| Ok(())).await
    }

    /// Lifts a ban.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the room's rules, or because there is no ban.
    pub async fn unban(&self, unban: Moderate) -> Result<()> {
        self.moderate(unban, MembershipState::Leave, |membership| {
            (*membership == MembershipState::Ban)
                .then_some(())
                .ok_or("the user is not banned")
        })
        .await
    }

    /// Lets a user forget a room that they left.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeft`] where they are in it, invited or knocking; [`Error::NotFound`] where they never were.
    pub async fn forget(&self, user: &UserId, room_id: &RoomId) -> Result<()> {
        let (user, room_id) = (user.to_owned(), room_id.to_owned());
        self.store
            .write(move |tx| {
                let room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?;
                let user = tx.user_nid(&user)?.ok_or(Error::NotFound("membership"))?;
                if tx.member(room.nid, user)?.is_none() {
                    return Err(Error::NotFound("membership"));
                }
                tx.forget_room(room.nid, user)?
                    .then_some(())
                    .ok_or(Error::NotLeft)
            })
            .await
    }

    /// Invites a user with ready content, but for their profile.
    pub(crate) async fn invite_with(
        &self,
        sender: &UserId,
        target: &UserId,
        room_id: &RoomId,
        content: CanonicalJsonObject,
    ) -> Result<OwnedEventId> {
        self.await_members(room_id, PATIENCE).await?;
        if target.server_name() != self.server_name() {
            return self.invite_remote(sender, target, room_id, content).await;
        }
        let rooms = self.clone();
        let (sender, target, id) = (sender.to_owned(), target.to_owned(), room_id.to_owned());
        let invited = self
            .store
            .write(move |tx| {
                let mut room = RoomWriter::open(&rooms, tx, &id)?;
                room.invite(&sender, &target, content)
            })
            .await;
        self.once_signed(room_id, invited, |event_id| event_id)
            .await
    }

    async fn moderate(
        &self,
        request: Moderate,
        membership: MembershipState,
        applies_to: impl FnOnce(&MembershipState) -> Result<(), &'static str> + Send + 'static,
    ) -> Result<()> {
        let (rooms, room_id) = (self.clone(), request.room_id.clone());
        self.await_members(&room_id, PATIENCE).await?;
        let done = self
            .store
            .write(move |tx| {
                let mut room = RoomWriter::open(&rooms, tx, &request.room_id)?;
                let present = room.membership(&request.target)?;
                applies_to(&present).map_err(|why| Error::Forbidden(why.to_owned()))?;
                let content = bare_member_content(&membership, request.reason.as_deref());
                room.send(&member_draft(&request.sender, &request.target, content))?;
                Ok(())
            })
            .await;
        self.once_signed(&room_id, done, drop).await
    }
}

impl RoomWriter<'_, '_> {
    /// Invites a user of this server, unless they want no invites.
    pub(crate) fn invite(
        &mut self,
        sender: &UserId,
        target: &UserId,
        content: CanonicalJsonObject,
    ) -> Result<OwnedEventId> {
        if let Some(user) = self.tx.user_nid(target)?
            && self.tx.invite_permission(user, sender)? == InvitePermission::Blocked
        {
            return Err(Error::InviteBlocked);
        }
        let mut with_profile = member_content(self.tx, target, &MembershipState::Invite, None)?;
        with_profile.extend(content);
        let sent = self.send(&member_draft(sender, target, with_profile))?;
        Ok(sent.event_id)
    }
}

/// What this server knows a user to be to a room, be it in the room or not.
fn membership(
    tx: &WriteTx<'_>,
    room_id: &RoomId,
    user: &UserId,
) -> Result<Option<MembershipState>> {
    let (Some(room), Some(user)) = (tx.room_by_id(room_id)?, tx.user_nid(user)?) else {
        return Ok(None);
    };
    Ok(tx.member(room.nid, user)?.map(|member| member.membership))
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;

    use super::*;
    use crate::test_rooms::{TestRooms, moderate, user};

    #[tokio::test]
    async fn who_is_banned_stays_out_until_unbanned() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let about_bob = || moderate("alice", &room_id, "bob");
        rooms.enter(&bob, &room_id).await.unwrap();
        rooms.ban(about_bob()).await.unwrap();
        let error = rooms.enter(&bob, &room_id).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        let error = rooms.kick(about_bob()).await.unwrap_err();
        assert!(
            matches!(error, Error::Forbidden(_)),
            "a kick lifts no ban: {error}"
        );
        rooms.unban(about_bob()).await.unwrap();
        assert_eq!(
            rooms.membership(&room_id, &bob).await,
            MembershipState::Leave
        );
        let error = rooms.unban(about_bob()).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        rooms.enter(&bob, &room_id).await.unwrap();
    }

    #[tokio::test]
    async fn moderating_takes_power() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V11).await;
        rooms.enter(&bob, &room_id).await.unwrap();
        for result in [
            rooms.kick(moderate("bob", &room_id, "alice")).await,
            rooms.ban(moderate("bob", &room_id, "alice")).await,
            rooms
                .invite(moderate("bob", &room_id, "carol"), false)
                .await,
            rooms.kick(moderate("alice", &room_id, "carol")).await,
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Forbidden(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn only_a_room_that_was_left_is_forgotten() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let error = rooms.forget(&bob, &room_id).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error}");
        rooms.enter(&bob, &room_id).await.unwrap();
        let error = rooms.forget(&bob, &room_id).await.unwrap_err();
        assert!(matches!(error, Error::NotLeft), "{error}");
        rooms.leave(&bob, &room_id, None).await.unwrap();
        rooms.leave(&bob, &room_id, None).await.unwrap();
        rooms.forget(&bob, &room_id).await.unwrap();
        let is_forgotten = || {
            let (room_id, bob) = (room_id.clone(), bob.clone());
            rooms.store.read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                let member = tx.member(room.nid, tx.user_nid(&bob)?.unwrap())?;
                Ok::<_, luxchat_store::Error>(member.unwrap().forgotten)
            })
        };
        assert!(is_forgotten().await.unwrap());
        // Who comes back remembers.
        rooms.enter(&bob, &room_id).await.unwrap();
        assert!(!is_forgotten().await.unwrap());
    }

    #[tokio::test]
    async fn an_invite_is_declined_and_taken_back() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let about_bob = || moderate("alice", &room_id, "bob");
        rooms.invite(about_bob(), true).await.unwrap();
        rooms.leave(&bob, &room_id, None).await.unwrap();
        assert_eq!(
            rooms.membership(&room_id, &bob).await,
            MembershipState::Leave
        );
        rooms.invite(about_bob(), true).await.unwrap();
        rooms.kick(about_bob()).await.unwrap();
        assert_eq!(
            rooms.membership(&room_id, &bob).await,
            MembershipState::Leave
        );
        let error = rooms
            .leave(&user("carol"), &room_id, None)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error}");
    }
}
