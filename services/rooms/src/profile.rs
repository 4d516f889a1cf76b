//! Profiles in membership events.

use ruma::{
    OwnedRoomId, OwnedUserId, UserId,
    events::{StateEventType, room::member::MembershipState},
};
use tracing::debug;

use crate::{
    Error, Result, Rooms,
    draft::canonical,
    member_content::{PROFILE_FIELDS, member_content, member_draft},
    room_writer::RoomWriter,
};

impl Rooms {
    /// Shows the present profile of a user of this server in every room that they are joined to. A room that does not
    /// allow it keeps what it shows.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn update_profile(&self, user: &UserId) -> Result<()> {
        let user = user.to_owned();
        let member = user.clone();
        let room_ids = self
            .store
            .read(move |tx| {
                let Some(user) = tx.user_nid(&member)? else {
                    return Ok(Vec::new());
                };
                let rooms = tx.rooms_of_user(user, &MembershipState::Join)?;
                let ids = rooms.into_iter().map(|room| tx.room_id(room));
                ids.collect::<Result<Vec<_>, luxchat_store::Error>>()
            })
            .await
            .map_err(Error::Store)?;
        for room_id in room_ids {
            // One write a room, so that a user of many rooms does not keep everybody waiting.
            match self.update_profile_in(user.clone(), room_id.clone()).await {
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => debug!(%room_id, %error, "the room keeps the old profile"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn update_profile_in(&self, user: OwnedUserId, room_id: OwnedRoomId) -> Result<()> {
        let (rooms, id) = (self.clone(), room_id.clone());
        let done = self
            .store
            .write(move |tx| {
                let mut room = RoomWriter::open(&rooms, tx, &id)?;
                let event_type = StateEventType::RoomMember;
                let current =
                    rooms.current_event(room.tx, &room.room, &event_type, user.as_str())?;
                let Some(current) = current else {
                    return Ok(());
                };
                if current.membership() != Some(&MembershipState::Join) {
                    return Ok(());
                }
                let old = canonical(current.content())?;
                let mut content = old.clone();
                // What was said about the join is not said about the profile.
                content.remove("reason");
                content.remove("join_authorised_via_users_server");
                for field in PROFILE_FIELDS {
                    content.remove(field);
                }
                let join = MembershipState::Join;
                content.extend(member_content(room.tx, &user, &join, None)?);
                let shown = |content: &ruma::CanonicalJsonObject| {
                    PROFILE_FIELDS.map(|field| content.get(field).cloned())
                };
                if shown(&content) != shown(&old) {
                    room.send(&member_draft(&user, &user, content))?;
                }
                Ok(())
            })
            .await;
        self.once_signed(&room_id, done, drop).await
    }
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;
    use serde_json::json;

    use super::*;
    use crate::test_rooms::{TestRooms, content, user};

    #[tokio::test]
    async fn rooms_show_the_present_profile() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let joined = rooms.public_room(&alice, RoomVersionId::V12).await;
        let left = rooms.public_room(&alice, RoomVersionId::V11).await;
        rooms.leave(&alice, &left, None).await.unwrap();
        let set_name = |name: &str| {
            let (alice, name) = (alice.clone(), json!(name));
            rooms.store.write(move |tx| {
                let alice = tx.user_nid_or_insert(&alice)?;
                tx.set_profile_field(alice, "displayname", &name)
            })
        };
        set_name("Alice").await.unwrap();
        rooms.update_profile(&alice).await.unwrap();
        let member = || rooms.state(&joined, StateEventType::RoomMember, alice.as_str());
        let first = member().await.unwrap();
        assert_eq!(
            content(&first),
            json!({ "membership": "join", "displayname": "Alice" })
        );
        rooms.update_profile(&alice).await.unwrap();
        assert_eq!(member().await.unwrap().event_id(), first.event_id());
        assert_eq!(
            rooms.membership(&left, &alice).await,
            MembershipState::Leave
        );
    }
}
