//! Joining and knocking.

use luxchat_store::WriteTx;
use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};

use crate::{
    Error, Result, Rooms,
    member_content::{member_content, member_draft},
    restricted::Admission,
    room_writer::RoomWriter,
};

/// Fields of membership events that a client cannot make up.
const RESERVED: [&str; 8] = [
    "avatar_url",
    "displayname",
    "is_direct",
    "join_authorised_via_users_server",
    "membership",
    "reason",
    "third_party_invite",
    "third_party_signed",
];

/// A user's wish to be in a room.
#[derive(Clone, Debug)]
pub struct Join {
    /// Who.
    pub user: OwnedUserId,
    /// Where.
    pub room_id: OwnedRoomId,
    /// Servers that may be in the room, for when this one is not.
    pub via: Vec<OwnedServerName>,
    /// Why.
    pub reason: Option<String>,
    /// Fields of the membership event that the client made up. What the server says in it comes first.
    pub extra: CanonicalJsonObject,
}

/// What this server can do about a join or a knock by itself.
enum Local {
    Done,
    /// The way leads through another server.
    Elsewhere,
}

impl Rooms {
    /// Joins a user to a room. Nothing happens where they are in it already.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the room's rules, and what other servers say where the room is theirs.
    pub async fn join(&self, join: Join) -> Result<()> {
        let rooms = self.clone();
        let request = join.clone();
        let local = self.store.write(move |tx| rooms.join_here(tx, &request));
        let local = self
            .once_signed(&join.room_id, local.await, |_| Local::Done)
            .await;
        match local {
            Ok(Local::Done) => Ok(()),
            Ok(Local::Elsewhere) | Err(Error::RoomNotResident(_)) => {
                self.enter_elsewhere(join, MembershipState::Join).await
            }
            Err(error) => Err(error),
        }
    }

    /// Asks to be let into a room.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub async fn knock(&self, knock: Join) -> Result<()> {
        let rooms = self.clone();
        let request = knock.clone();
        let local = self.store.write(move |tx| rooms.knock_here(tx, &request));
        let local = self.once_signed(&knock.room_id, local.await, drop).await;
        match local {
            Err(Error::RoomNotResident(_)) => {
                self.enter_elsewhere(knock, MembershipState::Knock).await
            }
            done => done,
        }
    }

    fn join_here(&self, tx: &mut WriteTx<'_>, join: &Join) -> Result<Local> {
        let mut room = RoomWriter::open(self, tx, &join.room_id)?;
        if room.membership(&join.user)? == MembershipState::Join {
            return Ok(Local::Done);
        }
        if room.room.is_partial() {
            // The user may be invited or banned without this server having heard of it: others know.
            return Ok(Local::Elsewhere);
        }
        let (user, reason) = (&*join.user, join.reason.as_deref());
        let mut content = member_content(room.tx, user, &MembershipState::Join, reason)?;
        add_extra(&mut content, &join.extra);
        match self.admission(room.tx, &room.room, user)? {
            Admission::Plain => {}
            Admission::AuthorisedBy(inviter) => {
                let field = "join_authorised_via_users_server".to_owned();
                content.insert(field, inviter.to_string().into());
            }
            Admission::NotAllowed { knows_all: true } => {
                return Err(Error::Forbidden(
                    "none of the rooms whose members may join has this user".to_owned(),
                ));
            }
            Admission::NotAllowed { knows_all: false } | Admission::Elsewhere => {
                return Ok(Local::Elsewhere);
            }
        }
        room.send(&member_draft(user, user, content))?;
        Ok(Local::Done)
    }

    fn knock_here(&self, tx: &mut WriteTx<'_>, knock: &Join) -> Result<()> {
        let mut room = RoomWriter::open(self, tx, &knock.room_id)?;
        if room.room.is_partial() {
            return Err(Error::RoomNotResident(knock.room_id.clone()));
        }
        let (user, reason) = (&*knock.user, knock.reason.as_deref());
        if room.membership(user)? == MembershipState::Knock {
            return Ok(());
        }
        let mut content = member_content(room.tx, user, &MembershipState::Knock, reason)?;
        add_extra(&mut content, &knock.extra);
        room.send(&member_draft(user, user, content))?;
        Ok(())
    }

    /// Through other servers: those that the client names and the one that an invite came from; where there are none,
    /// those known to be in the room.
    async fn enter_elsewhere(&self, join: Join, membership: MembershipState) -> Result<()> {
        let (user, room_id, reason) = (join.user.clone(), join.room_id.clone(), join.reason);
        let extra = join.extra;
        let is_knock = membership == MembershipState::Knock;
        let (content, known) = self
            .store
            .read(move |tx| {
                let mut content = member_content(tx, &user, &membership, reason.as_deref())?;
                add_extra(&mut content, &extra);
                Ok::<_, Error>((content, servers_to_ask(tx, &room_id, &user)?))
            })
            .await?;
        let mut via = join.via;
        via.extend(known.inviter);
        via.retain(|server| server != self.server_name());
        if via.is_empty() {
            via = known.residents;
            via.retain(|server| server != self.server_name());
        }
        let mut seen = std::collections::HashSet::new();
        via.retain(|server| seen.insert(server.clone()));
        if via.is_empty() {
            return Err(Error::RoomNotResident(join.room_id));
        }
        if is_knock {
            self.knock_remote(&join.user, &join.room_id, &via, content)
                .await
        } else {
            self.join_remote(&join.user, &join.room_id, &via, content)
                .await
        }
    }
}

/// Adds a client's own fields, except those that others rely on.
fn add_extra(content: &mut CanonicalJsonObject, extra: &CanonicalJsonObject) {
    for (field, value) in extra {
        if !RESERVED.contains(&&**field) && !content.contains_key(field) {
            content.insert(field.clone(), value.clone());
        }
    }
}

/// Servers that may let a user in.
#[derive(Default)]
struct ToAsk {
    /// That of whoever invited them.
    inviter: Option<OwnedServerName>,
    /// Those in the room, as far as this server knows.
    residents: Vec<OwnedServerName>,
}

fn servers_to_ask(
    tx: &luxchat_store::ReadTx<'_>,
    room_id: &RoomId,
    user: &UserId,
) -> Result<ToAsk> {
    let Some(room) = tx.room_by_id(room_id)? else {
        return Ok(ToAsk::default());
    };
    let member = match tx.user_nid(user)? {
        Some(user) => tx.member(room.nid, user)?,
        None => None,
    };
    let inviter = match member {
        Some(member) if member.membership == MembershipState::Invite => {
            let event = tx.event_by_nid(member.event)?.into_pdu()?;
            Some(event.sender().server_name().to_owned())
        }
        _ => None,
    };
    let residents = tx.servers_in_room(room.nid)?.into_iter();
    Ok(ToAsk {
        inviter,
        residents: residents.map(|(_, server)| server).collect(),
    })
}

#[cfg(test)]
mod tests {
    use ruma::{RoomVersionId, events::StateEventType};
    use serde_json::json;

    use super::*;
    use crate::test_rooms::{TestRooms, content, moderate, user};

    async fn set_rule(rooms: &TestRooms, room_id: &RoomId, content: serde_json::Value) {
        rooms
            .set_state(&user("alice"), room_id, "m.room.join_rules", content)
            .await
            .unwrap();
    }

    fn knock(user: &UserId, room_id: &RoomId) -> Join {
        Join {
            user: user.to_owned(),
            room_id: room_id.to_owned(),
            via: Vec::new(),
            reason: Some("please".to_owned()),
            extra: CanonicalJsonObject::new(),
        }
    }

    #[tokio::test]
    async fn an_invite_opens_a_private_room() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        set_rule(&rooms, &room_id, json!({ "join_rule": "invite" })).await;
        let error = rooms.enter(&bob, &room_id).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        let invite = moderate("alice", &room_id, "bob");
        rooms.invite(invite, false).await.unwrap();
        rooms.enter(&bob, &room_id).await.unwrap();
        // Once more changes nothing.
        rooms.enter(&bob, &room_id).await.unwrap();
        assert_eq!(
            rooms.membership(&room_id, &bob).await,
            MembershipState::Join
        );
    }

    #[tokio::test]
    async fn a_member_of_an_allowing_room_joins_on_the_word_of_one_who_may_invite() {
        let rooms = TestRooms::new();
        let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
        for (version, rule) in [
            (RoomVersionId::V8, "restricted"),
            (RoomVersionId::V10, "knock_restricted"),
            (RoomVersionId::V12, "restricted"),
        ] {
            let club = rooms.public_room(&alice, version.clone()).await;
            let room_id = rooms.public_room(&alice, version).await;
            let allow = json!([
                { "type": "org.example.unknown" },
                { "type": "m.room_membership", "room_id": club },
            ]);
            set_rule(
                &rooms,
                &room_id,
                json!({ "join_rule": rule, "allow": allow }),
            )
            .await;
            rooms.enter(&bob, &club).await.unwrap();
            rooms.enter(&bob, &room_id).await.unwrap();
            let member = StateEventType::RoomMember;
            let join = rooms.state(&room_id, member, bob.as_str()).await.unwrap();
            assert_eq!(
                content(&join)["join_authorised_via_users_server"],
                "@alice:one"
            );
            let error = rooms.enter(&carol, &room_id).await.unwrap_err();
            assert!(matches!(error, Error::Forbidden(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn where_nobody_here_may_invite_the_way_leads_elsewhere() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let club = rooms.public_room(&alice, RoomVersionId::V11).await;
        let room_id = rooms.public_room(&alice, RoomVersionId::V11).await;
        let levels = json!({ "users": { "@alice:one": 100 }, "invite": 101 });
        rooms
            .set_state(&alice, &room_id, "m.room.power_levels", levels.clone())
            .await
            .unwrap_err();
        let levels = json!({ "users": { "@alice:one": 50 }, "invite": 100 });
        let allow = json!([{ "type": "m.room_membership", "room_id": club }]);
        set_rule(
            &rooms,
            &room_id,
            json!({ "join_rule": "restricted", "allow": allow }),
        )
        .await;
        rooms
            .set_state(&alice, &room_id, "m.room.power_levels", levels)
            .await
            .unwrap();
        rooms.enter(&bob, &club).await.unwrap();
        let error = rooms.enter(&bob, &room_id).await.unwrap_err();
        assert!(matches!(error, Error::RoomNotResident(_)), "{error}");
    }

    #[tokio::test]
    async fn a_knock_waits_for_an_invite() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V7).await;
        let error = rooms.knock(knock(&bob, &room_id)).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        set_rule(&rooms, &room_id, json!({ "join_rule": "knock" })).await;
        rooms.knock(knock(&bob, &room_id)).await.unwrap();
        assert_eq!(
            rooms.membership(&room_id, &bob).await,
            MembershipState::Knock
        );
        rooms.enter(&bob, &room_id).await.unwrap_err();
        let invite = moderate("alice", &room_id, "bob");
        rooms.invite(invite, false).await.unwrap();
        rooms.enter(&bob, &room_id).await.unwrap();
    }
}
