//! Power on an administrator's word: for rooms whose people have lost theirs.

use luxchat_store::ServerNid;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType, room::power_levels::UserPowerLevel},
};

use crate::{Error, Result, Rooms, draft::Draft, room_writer::RoomWriter};

/// What a creator gives, whose own power has no number.
const PLENTY: i32 = 100;

impl Rooms {
    /// Gives a user as much power in a room as the most powerful user of this server has there, in that one's name; answers
    /// with whose name that was.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where nobody of this server may change power levels, [`Error::RoomNotResident`].
    pub async fn empower(&self, user: &UserId, room_id: &RoomId) -> Result<OwnedUserId> {
        let (rooms, user, room_id) = (self.clone(), user.to_owned(), room_id.to_owned());
        self.store
            .write(move |tx| {
                let mut room = RoomWriter::open(&rooms, tx, &room_id)?;
                let power = room.power()?;
                let local = room
                    .tx
                    .joined_users_of_server(room.room.nid, ServerNid::OWN)?;
                let needed = power.needed_for(&TimelineEventType::RoomPowerLevels, true);
                let giver = local
                    .into_iter()
                    .map(|(_, id)| id)
                    .filter(|id| power.of(id) >= needed)
                    .max_by_key(|id| power.of(id));
                let Some(giver) = giver else {
                    let why = "nobody of this server may change the room's power levels";
                    return Err(Error::Forbidden(why.to_owned()));
                };
                let level = match power.of(&giver) {
                    UserPowerLevel::Int(level) => level,
                    _ => Int::from(PLENTY).max(needed),
                };
                if power.of(&user) < level {
                    let content = with_level(levels(&room)?, &user, level);
                    let event_type = StateEventType::RoomPowerLevels;
                    room.send(&Draft::state(&giver, event_type, "", content))?;
                }
                Ok(giver)
            })
            .await
    }
}

/// The content of the room's power levels; empty where there are none.
fn levels(room: &RoomWriter<'_, '_>) -> Result<CanonicalJsonObject> {
    let event_type = StateEventType::RoomPowerLevels;
    let Some(event) = room
        .tx
        .current_state_event(room.room.nid, &event_type, "")?
    else {
        return Ok(CanonicalJsonObject::new());
    };
    let pdu = event.into_pdu()?;
    let event: CanonicalJsonObject =
        serde_json::from_str(pdu.json()).map_err(|error| Error::Internal(error.to_string()))?;
    match event.get("content") {
        Some(CanonicalJsonValue::Object(content)) => Ok(content.clone()),
        _ => Ok(CanonicalJsonObject::new()),
    }
}

fn with_level(mut content: CanonicalJsonObject, user: &UserId, level: Int) -> CanonicalJsonObject {
    let users = content
        .entry("users".to_owned())
        .or_insert_with(|| CanonicalJsonObject::new().into());
    if let CanonicalJsonValue::Object(users) = users {
        users.insert(user.to_string(), level.into());
    }
    content
}

#[cfg(test)]
mod tests {
    use ruma::api::client::room::create_room::v3::Request;

    use super::*;
    use crate::test_rooms::{TestRooms, content, user};

    #[tokio::test]
    async fn power_is_given_in_the_name_of_whoever_has_most() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.create(&alice, Request::new()).await.unwrap();
        assert_eq!(rooms.empower(&bob, &room_id).await.unwrap(), alice);
        let levels = rooms.state(&room_id, StateEventType::RoomPowerLevels, "");
        let levels = content(&levels.await.unwrap());
        assert_eq!(levels["users"][bob.as_str()], 100);

        rooms.leave(&alice, &room_id, None).await.unwrap();
        let nobody = rooms.empower(&bob, &room_id).await;
        assert!(nobody.is_err());
    }
}
