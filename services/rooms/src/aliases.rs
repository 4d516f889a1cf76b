//! Room aliases, and the list of rooms that anyone may find.

use luxchat_store::{ReadTx, Room};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedRoomAliasId, OwnedRoomId, OwnedServerName,
    RoomAliasId, RoomId, UserId,
    api::federation::query::get_room_information,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
};

use crate::{
    Error, Result, Rooms,
    draft::{Draft, canonical},
    power::Power,
    room_writer::RoomWriter,
};

/// Servers named with an alias.
const SERVERS: usize = 10;

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasTarget {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that are in it.
    pub servers: Vec<OwnedServerName>,
}

impl Rooms {
    /// The room behind an alias, of this server or another.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and what the other server says.
    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<AliasTarget> {
        if alias.server_name() == self.server_name() {
            return self.resolve_own_alias(alias).await;
        }
        let request = get_room_information::v1::Request::new(alias.to_owned());
        let answer = self
            .federation
            .request(alias.server_name(), request)
            .await
            .map_err(|error| match error.remote_status() {
                Some(status) if status.as_u16() == 404 => Error::NotFound("room alias"),
                _ => error.into(),
            })?;
        let mut servers = answer.servers;
        servers.truncate(SERVERS);
        Ok(AliasTarget {
            room_id: answer.room_id,
            servers,
        })
    }

    /// The room behind an alias of this server.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn resolve_own_alias(&self, alias: &RoomAliasId) -> Result<AliasTarget> {
        let alias = alias.to_owned();
        self.store
            .read(move |tx| {
                let (room, _) = tx.alias(&alias)?.ok_or(Error::NotFound("room alias"))?;
                let servers = tx.servers_in_room(room)?.into_iter().take(SERVERS);
                Ok(AliasTarget {
                    room_id: tx.room_id(room)?,
                    servers: servers.map(|(_, server)| server).collect(),
                })
            })
            .await
    }

    /// Gives a room an alias of this server.
    ///
    /// # Errors
    ///
    /// [`Error::AliasInUse`]; [`Error::InvalidParam`] for an alias of another server; [`Error::Forbidden`] where the user
    /// is not in the room.
    pub async fn set_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        room_id: &RoomId,
    ) -> Result<()> {
        if alias.server_name() != self.server_name() {
            return Err(Error::InvalidParam(
                "an alias of another server is set there".to_owned(),
            ));
        }
        let rooms = self.clone();
        let (user, alias, room_id) = (user.to_owned(), alias.to_owned(), room_id.to_owned());
        self.store
            .write(move |tx| {
                let room = RoomWriter::open(&rooms, tx, &room_id)?;
                if room.membership(&user)? != MembershipState::Join {
                    return Err(Error::Forbidden("the user is not in the room".to_owned()));
                }
                let (room, creator) = (room.room.nid, tx.user_nid_or_insert(&user)?);
                if tx.insert_alias(&alias, room, creator)? {
                    Ok(())
                } else {
                    Err(Error::AliasInUse(alias))
                }
            })
            .await
    }

    /// Takes an alias of this server away, and out of the room's list of aliases where the user may change that.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Forbidden`] where it is neither the user's alias, nor the user has the power to
    /// change the room's aliases, nor `is_admin`.
    pub async fn delete_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        is_admin: bool,
    ) -> Result<()> {
        let rooms = self.clone();
        let (user, alias) = (user.to_owned(), alias.to_owned());
        self.store
            .write(move |tx| {
                let (room, creator) = tx.alias(&alias)?.ok_or(Error::NotFound("room alias"))?;
                let room = tx.room(room)?;
                let is_own = tx.user_nid(&user)? == Some(creator);
                let has_power = may_change_aliases(tx, &room, &user)?;
                if !(is_own || has_power || is_admin) {
                    return Err(Error::Forbidden(
                        "the alias was set by somebody else".to_owned(),
                    ));
                }
                tx.delete_alias(&alias)?;
                if has_power {
                    RoomWriter::open(&rooms, tx, &room.room_id)?.drop_alias(&user, &alias)?;
                }
                Ok(())
            })
            .await
    }

    /// Lists a room in this server's directory, or no longer.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] without the power to change the room's aliases, unless `is_admin`.
    pub async fn publish(
        &self,
        user: &UserId,
        room_id: &RoomId,
        published: bool,
        is_admin: bool,
    ) -> Result<()> {
        let (user, room_id) = (user.to_owned(), room_id.to_owned());
        self.store
            .write(move |tx| {
                let room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?;
                if !is_admin && !may_change_aliases(tx, &room, &user)? {
                    return Err(Error::Forbidden(
                        "listing the room takes more power".to_owned(),
                    ));
                }
                tx.set_published(room.nid, published)?;
                Ok(())
            })
            .await
    }

    /// Whether every alias that a room newly claims leads to it.
    pub(crate) async fn check_aliases(
        &self,
        room_id: &RoomId,
        content: &CanonicalJsonObject,
    ) -> Result<()> {
        let id = room_id.to_owned();
        let known = self.store.read(move |tx| claimed_aliases(tx, &id)).await?;
        for alias in aliases_in(content)? {
            if known.contains(&alias) {
                continue;
            }
            match self.resolve_alias(&alias).await {
                Ok(target) if target.room_id == room_id => {}
                Ok(_) | Err(Error::NotFound(_)) => {
                    return Err(Error::BadAlias(format!(
                        "{alias} does not lead to the room"
                    )));
                }
                Err(Error::Remote(error)) => {
                    return Err(Error::BadAlias(format!("{alias}: {error}")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl RoomWriter<'_, '_> {
    /// Takes an alias out of `m.room.canonical_alias`, if it stands there.
    fn drop_alias(&mut self, user: &UserId, alias: &RoomAliasId) -> Result<()> {
        let event_type = StateEventType::RoomCanonicalAlias;
        let current = self
            .rooms
            .current_event(self.tx, &self.room, &event_type, "")?;
        let Some(current) = current else {
            return Ok(());
        };
        let old = canonical(current.content())?;
        let mut content = old.clone();
        let is_it = |value: &CanonicalJsonValue| value.as_str() == Some(alias.as_str());
        content.retain(|field, value| !(field == "alias" && is_it(value)));
        if let Some(CanonicalJsonValue::Array(aliases)) = content.get_mut("alt_aliases") {
            aliases.retain(|value| !is_it(value));
        }
        if content != old {
            self.send(&Draft::state(user, event_type, "", content))?;
        }
        Ok(())
    }
}

/// The aliases that a room claims now.
fn claimed_aliases(tx: &ReadTx<'_>, room_id: &RoomId) -> Result<Vec<OwnedRoomAliasId>> {
    let Some(room) = tx.room_by_id(room_id)? else {
        return Ok(Vec::new());
    };
    let event_type = StateEventType::RoomCanonicalAlias;
    let Some(event) = tx.current_state_event(room.nid, &event_type, "")? else {
        return Ok(Vec::new());
    };
    // What a server wrote there that is no alias claims nothing.
    Ok(aliases_in(&canonical(event.into_pdu()?.content())?).unwrap_or_default())
}

fn may_change_aliases(tx: &ReadTx<'_>, room: &Room, user: &UserId) -> Result<bool> {
    let Some(current) = room.current else {
        return Ok(false);
    };
    let is_joined = match tx.user_nid(user)? {
        Some(user) => tx.is_joined(room.nid, user)?,
        None => false,
    };
    let power = Power::at(tx, room, current)?;
    let needed = power.needed_for(&TimelineEventType::RoomCanonicalAlias, true);
    Ok(is_joined && power.of(user) >= needed)
}

/// The aliases in the content of `m.room.canonical_alias`.
fn aliases_in(content: &CanonicalJsonObject) -> Result<Vec<OwnedRoomAliasId>> {
    let main = content
        .get("alias")
        .filter(|alias| **alias != CanonicalJsonValue::Null);
    let others = content
        .get("alt_aliases")
        .and_then(CanonicalJsonValue::as_array);
    main.into_iter()
        .chain(others.into_iter().flatten())
        .map(|alias| {
            let alias = alias.as_str().unwrap_or_default();
            RoomAliasId::parse(alias)
                .map_err(|error| Error::InvalidParam(format!("alias {alias:?}: {error}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ruma::{RoomVersionId, owned_room_alias_id};
    use serde_json::json;

    use super::*;
    use crate::test_rooms::{TestRooms, content, user};

    #[tokio::test]
    async fn an_alias_leads_to_its_room_until_it_is_deleted() {
        let rooms = TestRooms::new();
        let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        rooms.enter(&bob, &room_id).await.unwrap();
        let alias = owned_room_alias_id!("#club:one");
        let error = rooms.set_alias(&carol, &alias, &room_id).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        rooms.set_alias(&bob, &alias, &room_id).await.unwrap();
        let error = rooms.set_alias(&alice, &alias, &room_id).await.unwrap_err();
        assert!(matches!(error, Error::AliasInUse(_)), "{error}");
        let target = rooms.resolve_alias(&alias).await.unwrap();
        assert_eq!(target.room_id, room_id);
        assert_eq!(target.servers, ["one"]);

        let canonical = json!({ "alias": alias, "alt_aliases": [alias] });
        rooms
            .set_state(&alice, &room_id, "m.room.canonical_alias", canonical)
            .await
            .unwrap();
        let error = rooms.delete_alias(&carol, &alias, false).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        rooms.delete_alias(&alice, &alias, false).await.unwrap();
        let error = rooms.resolve_alias(&alias).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error}");
        let event_type = StateEventType::RoomCanonicalAlias;
        let event = rooms.state(&room_id, event_type, "").await.unwrap();
        assert_eq!(content(&event), json!({ "alt_aliases": [] }));
    }

    #[tokio::test]
    async fn a_room_claims_only_aliases_that_lead_to_it() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let other_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let alias = owned_room_alias_id!("#other:one");
        rooms.set_alias(&alice, &alias, &other_id).await.unwrap();
        let claim = |content| rooms.set_state(&alice, &room_id, "m.room.canonical_alias", content);
        for content in [
            json!({ "alias": alias }),
            json!({ "alt_aliases": ["#none:one"] }),
        ] {
            let error = claim(content).await.unwrap_err();
            assert!(matches!(error, Error::BadAlias(_)), "{error}");
        }
        let error = claim(json!({ "alias": "no alias" })).await.unwrap_err();
        assert!(matches!(error, Error::InvalidParam(_)), "{error}");
        let foreign = owned_room_alias_id!("#club:two");
        let error = rooms
            .set_alias(&alice, &foreign, &room_id)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::InvalidParam(_)), "{error}");
    }

    #[tokio::test]
    async fn listing_a_room_takes_power() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        rooms.enter(&bob, &room_id).await.unwrap();
        let error = rooms
            .publish(&bob, &room_id, true, false)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        let listed = || async { rooms.store.read(|tx| tx.published_rooms()).await.unwrap() };
        rooms.publish(&alice, &room_id, true, false).await.unwrap();
        assert_eq!(listed().await.first().map(|(_, joined)| *joined), Some(2));
        rooms.publish(&bob, &room_id, false, true).await.unwrap();
        assert_eq!(listed().await, []);
    }
}
