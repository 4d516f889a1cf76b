//! Joining and knocking.

use luxchat_store::WriteTx;
use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};

use crate::{
    Error, Result, Rooms,
    member_content::{member_content, member_draft},
    restricted::Admission,
    room_writer::RoomWriter,
};

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
        match local.await {
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
        match local.await {
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
        let (user, reason) = (&*join.user, join.reason.as_deref());
        let mut content = member_content(room.tx, user, &MembershipState::Join, reason)?;
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
        let (user, reason) = (&*knock.user, knock.reason.as_deref());
        if room.membership(user)? == MembershipState::Knock {
            return Ok(());
        }
        let content = member_content(room.tx, user, &MembershipState::Knock, reason)?;
        room.send(&member_draft(user, user, content))?;
        Ok(())
    }

    /// Through other servers: those that the client names, those of whom an invite came, those known to be in the room.
    async fn enter_elsewhere(&self, join: Join, membership: MembershipState) -> Result<()> {
        let (user, room_id, reason) = (join.user.clone(), join.room_id.clone(), join.reason);
        let is_knock = membership == MembershipState::Knock;
        let (content, known) = self
            .store
            .read(move |tx| {
                let content = member_content(tx, &user, &membership, reason.as_deref())?;
                Ok::<_, Error>((content, servers_to_ask(tx, &room_id, &user)?))
            })
            .await?;
        let mut via = join.via;
        via.extend(known);
        via.retain(|server| server != self.server_name());
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

/// Servers that can let a user in: that of whoever invited them, and those in the room as far as this server knows.
fn servers_to_ask(
    tx: &luxchat_store::ReadTx<'_>,
    room_id: &RoomId,
    user: &UserId,
) -> Result<Vec<OwnedServerName>> {
    let Some(room) = tx.room_by_id(room_id)? else {
        return Ok(Vec::new());
    };
    let mut servers = Vec::new();
    let member = match tx.user_nid(user)? {
        Some(user) => tx.member(room.nid, user)?,
        None => None,
    };
    if let Some(member) = member {
        let event = tx.event_by_nid(member.event)?.into_pdu()?;
        servers.push(event.sender().server_name().to_owned());
    }
    servers.extend(
        tx.servers_in_room(room.nid)?
            .into_iter()
            .map(|(_, server)| server),
    );
    Ok(servers)
}
