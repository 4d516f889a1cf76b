//! Replacing a room by one of another version.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use luxchat_store::WriteTx;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId,
    UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    room_version_rules::AuthorizationRules,
    state_res::events::RoomPowerLevelsIntField,
};
use tracing::debug;

use crate::{
    Error, Result, Rooms,
    create::{add_creators, create_content},
    draft::{Draft, canonical},
    presets::object,
    room_writer::RoomWriter,
    rules_of,
};

/// The state that a room hands on, power levels aside.
const CARRIED: [StateEventType; 8] = [
    StateEventType::RoomServerAcl,
    StateEventType::RoomEncryption,
    StateEventType::RoomName,
    StateEventType::RoomAvatar,
    StateEventType::RoomTopic,
    StateEventType::RoomGuestAccess,
    StateEventType::RoomHistoryVisibility,
    StateEventType::RoomJoinRules,
];

/// Bans that are handed on.
const CARRIED_BANS: usize = 1_000;

/// A user's wish to replace a room.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// Who.
    pub user: OwnedUserId,
    /// Which room.
    pub room_id: OwnedRoomId,
    /// The version of the new one.
    pub version: RoomVersionId,
    /// Who is a creator of the new room beside the user, where its version knows such.
    pub additional_creators: Vec<OwnedUserId>,
}

/// What the old room hands on.
struct Legacy {
    create: CanonicalJsonObject,
    power_levels: CanonicalJsonObject,
    state: Vec<Draft>,
}

impl Rooms {
    /// Replaces a room by a new one with the same settings, and closes the old one. Answers with the new room's id.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedVersion`]; [`Error::Forbidden`] where the user may not close the room.
    pub async fn upgrade(&self, upgrade: Upgrade) -> Result<OwnedRoomId> {
        rules_of(&upgrade.version)?;
        let rooms = self.clone();
        self.store
            .write(move |tx| rooms.write_upgrade(tx, &upgrade))
            .await
    }

    fn write_upgrade(&self, tx: &mut WriteTx<'_>, upgrade: &Upgrade) -> Result<OwnedRoomId> {
        let (user, old_id) = (&*upgrade.user, &*upgrade.room_id);
        let old = RoomWriter::open(self, tx, old_id)?;
        check_may_close(&old, user)?;
        let legacy = old.legacy(upgrade)?;
        let old_nid = old.room.nid;

        let mut new = RoomWriter::found(self, tx, user, &upgrade.version, legacy.create)?;
        for draft in &legacy.state {
            new.send(draft)?;
        }
        // Last: until then the creator may do anything, whatever they may do in the old room.
        let levels = StateEventType::RoomPowerLevels;
        new.send(&Draft::state(user, levels, "", legacy.power_levels))?;
        let (new_nid, new_id) = (new.room.nid, new.room.room_id.clone());

        RoomWriter::open(self, tx, old_id)?.close(user, &new_id)?;
        tx.move_aliases(old_nid, new_nid)?;
        if tx.is_published(old_nid)? {
            tx.set_published(old_nid, false)?;
            tx.set_published(new_nid, true)?;
        }
        Ok(new_id)
    }
}

fn check_may_close(room: &RoomWriter<'_, '_>, user: &UserId) -> Result<()> {
    if room.membership(user)? != MembershipState::Join {
        return Err(Error::Forbidden("the user is not in the room".to_owned()));
    }
    let power = room.power()?;
    if power.of(user) < power.needed_for(&TimelineEventType::RoomTombstone, true) {
        return Err(Error::Forbidden(
            "closing the room takes more power".to_owned(),
        ));
    }
    Ok(())
}

impl RoomWriter<'_, '_> {
    /// What a room of another version takes over from this one.
    fn legacy(&self, upgrade: &Upgrade) -> Result<Legacy> {
        let user = &*upgrade.user;
        let rules = rules_of(&upgrade.version)?.authorization;
        let mut state = Vec::new();
        for event_type in CARRIED {
            if let Some(content) = self.state_content(&event_type)? {
                state.push(Draft::state(user, event_type, "", content));
            }
        }
        state.extend(self.bans(user)?);
        let old_levels = self.state_content(&StateEventType::RoomPowerLevels)?;
        Ok(Legacy {
            create: self.create_content_of_successor(upgrade, &rules)?,
            power_levels: carried_levels(&rules, upgrade, old_levels.unwrap_or_default()),
            state,
        })
    }

    fn create_content_of_successor(
        &self,
        upgrade: &Upgrade,
        rules: &AuthorizationRules,
    ) -> Result<CanonicalJsonObject> {
        let mut predecessor = object([("room_id", self.room.room_id.to_string().into())]);
        // Where the room's id is the hash of its first event, that says enough of the old one too.
        let tips = self.tx.tips(self.room.nid)?;
        if !rules.room_create_event_id_as_room_id
            && let Some(last) = tips.first()
        {
            predecessor.insert("event_id".to_owned(), last.event_id.to_string().into());
        }
        let mut create = self
            .state_content(&StateEventType::RoomCreate)?
            .unwrap_or_default();
        // Who created it is no setting.
        create.retain(|field, _| field == "type" || field == "m.federate");
        create.insert("predecessor".to_owned(), predecessor.into());
        let mut create = create_content(rules, &upgrade.user, &upgrade.version, Some(create));
        if rules.additional_room_creators && !upgrade.additional_creators.is_empty() {
            add_creators(&mut create, &upgrade.additional_creators);
        }
        Ok(create)
    }

    fn bans(&self, user: &UserId) -> Result<Vec<Draft>> {
        let banned = self
            .tx
            .users_of_room(self.room.nid, &MembershipState::Ban)?;
        let mut drafts = Vec::new();
        for target in banned.into_iter().take(CARRIED_BANS) {
            let target = self.tx.user_id(target)?;
            let ban = self.rooms.current_event(
                self.tx,
                &self.room,
                &StateEventType::RoomMember,
                target.as_str(),
            )?;
            if let Some(ban) = ban {
                let content = canonical(ban.content())?;
                let member = StateEventType::RoomMember;
                drafts.push(Draft::state(user, member, target.as_str(), content));
            }
        }
        Ok(drafts)
    }

    /// The content of a state event with an empty state key.
    fn state_content(&self, event_type: &StateEventType) -> Result<Option<CanonicalJsonObject>> {
        let event = self
            .rooms
            .current_event(self.tx, &self.room, event_type, "")?;
        event.map(|event| canonical(event.content())).transpose()
    }

    /// Points to the successor, and lets nobody talk or come in any more where the user has the power to say so.
    fn close(&mut self, user: &UserId, successor: &RoomId) -> Result<()> {
        let tombstone = object([
            ("body", "This room has been replaced".into()),
            ("replacement_room", successor.to_string().into()),
        ]);
        self.send(&Draft::state(
            user,
            StateEventType::RoomTombstone,
            "",
            tombstone,
        ))?;
        let power = self.power()?;
        let floor = power
            .needed(RoomPowerLevelsIntField::UsersDefault)
            .saturating_add(Int::from(1))
            .max(Int::from(50));
        let mut levels = self
            .state_content(&StateEventType::RoomPowerLevels)?
            .unwrap_or_default();
        for (field, level) in [
            ("events_default", RoomPowerLevelsIntField::EventsDefault),
            ("invite", RoomPowerLevelsIntField::Invite),
        ] {
            levels.insert(field.to_owned(), power.needed(level).max(floor).into());
        }
        match self.send(&Draft::state(
            user,
            StateEventType::RoomPowerLevels,
            "",
            levels,
        )) {
            Err(Error::Forbidden(reason)) => {
                debug!(%reason, "the replaced room stays open");
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

/// The old room's power levels as the new version wants them.
fn carried_levels(
    rules: &AuthorizationRules,
    upgrade: &Upgrade,
    mut levels: CanonicalJsonObject,
) -> CanonicalJsonObject {
    if rules.integer_power_levels {
        levels.values_mut().for_each(numbers_for_strings);
    }
    if !rules.explicitly_privilege_room_creators {
        // In the old room the user may have stood above the levels.
        let users = object_at(&mut levels, "users");
        let user = upgrade.user.to_string();
        users.entry(user).or_insert_with(|| Int::from(100).into());
        return levels;
    }
    let users = object_at(&mut levels, "users");
    for creator in upgrade.additional_creators.iter().chain([&upgrade.user]) {
        users.remove(creator.as_str());
    }
    let events = object_at(&mut levels, "events");
    events.insert("m.room.tombstone".to_owned(), Int::from(150).into());
    levels
}

/// The object at a field, which is emptied where it is none.
fn object_at<'a>(content: &'a mut CanonicalJsonObject, field: &str) -> &'a mut CanonicalJsonObject {
    let value = content.entry(field.to_owned()).or_default();
    if value.as_object().is_none() {
        *value = CanonicalJsonObject::new().into();
    }
    match value {
        CanonicalJsonValue::Object(object) => object,
        _ => unreachable!("it was made an object above"),
    }
}

/// Power levels before room version 10 may be written as strings.
fn numbers_for_strings(value: &mut CanonicalJsonValue) {
    match value {
        CanonicalJsonValue::Object(object) => {
            object.values_mut().for_each(numbers_for_strings);
        }
        CanonicalJsonValue::String(text) => {
            if let Ok(level) = text.trim().parse::<i64>() {
                *value = Int::new_saturating(level).into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use ruma::{RoomAliasId, owned_room_alias_id};
    use serde_json::{Value, json};

    use super::*;
    use crate::test_rooms::{TestRooms, content, moderate, user};

    fn upgrade(room_id: &RoomId, version: RoomVersionId) -> Upgrade {
        Upgrade {
            user: user("alice"),
            room_id: room_id.to_owned(),
            version,
            additional_creators: vec![user("carol")],
        }
    }

    async fn content_of(rooms: &TestRooms, room_id: &RoomId, event_type: StateEventType) -> Value {
        content(&rooms.state(room_id, event_type, "").await.unwrap())
    }

    #[tokio::test]
    async fn the_new_room_is_as_the_old_one_was() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        for (from, to) in [
            (RoomVersionId::V6, RoomVersionId::V11),
            (RoomVersionId::V11, RoomVersionId::V12),
            (RoomVersionId::V12, RoomVersionId::V12),
            (RoomVersionId::V12, RoomVersionId::V10),
        ] {
            let old = rooms.public_room(&alice, from).await;
            rooms
                .set_state(&alice, &old, "m.room.name", json!({ "name": "club" }))
                .await
                .unwrap();
            rooms.ban(moderate("alice", &old, "mallory")).await.unwrap();
            rooms.enter(&bob, &old).await.unwrap();
            let alias = RoomAliasId::parse(format!("#club-{to}:one")).unwrap();
            let alias = if rooms.resolve_alias(&alias).await.is_ok() {
                owned_room_alias_id!("#other:one")
            } else {
                alias
            };
            rooms.set_alias(&alice, &alias, &old).await.unwrap();

            let new = rooms.upgrade(upgrade(&old, to.clone())).await.unwrap();

            let create = content_of(&rooms, &new, StateEventType::RoomCreate).await;
            assert_eq!(create["predecessor"]["room_id"], json!(old));
            assert_eq!(create["room_version"], json!(to));
            let is_12 = to == RoomVersionId::V12;
            assert_eq!(create["predecessor"].get("event_id").is_none(), is_12);
            assert_eq!(create.get("additional_creators").is_some(), is_12);
            let name = content_of(&rooms, &new, StateEventType::RoomName).await;
            assert_eq!(name["name"], "club");
            let rule = content_of(&rooms, &new, StateEventType::RoomJoinRules).await;
            assert_eq!(rule["join_rule"], "public");
            let levels = content_of(&rooms, &new, StateEventType::RoomPowerLevels).await;
            assert_eq!(levels["users"].get("@alice:one").is_none(), is_12);
            assert_eq!(
                rooms.membership(&new, &user("mallory")).await,
                MembershipState::Ban
            );
            assert_eq!(rooms.membership(&new, &bob).await, MembershipState::Leave);
            assert_eq!(rooms.resolve_alias(&alias).await.unwrap().room_id, new);

            let tombstone = content_of(&rooms, &old, StateEventType::RoomTombstone).await;
            assert_eq!(tombstone["replacement_room"], json!(new));
            let error = rooms.say(&bob, &old, "anyone?").await.unwrap_err();
            assert!(matches!(error, Error::Forbidden(_)), "{error}");
            rooms.enter(&bob, &new).await.unwrap();
            rooms.say(&bob, &new, "here").await.unwrap();
        }
    }

    #[tokio::test]
    async fn replacing_a_room_takes_power_and_a_known_version() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        rooms.enter(&bob, &room_id).await.unwrap();
        let mut of_bob = upgrade(&room_id, RoomVersionId::V12);
        of_bob.user = bob;
        let error = rooms.upgrade(of_bob).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        let unknown = upgrade(&room_id, RoomVersionId::V1);
        let error = rooms.upgrade(unknown).await.unwrap_err();
        assert!(matches!(error, Error::UnsupportedVersion(_)), "{error}");
    }

    #[test]
    fn levels_written_as_strings_become_numbers() {
        let mut levels = json!({ "ban": "50", "users": { "@a:one": " 100 " }, "invite": 3 })
            .try_into()
            .unwrap();
        numbers_for_strings(&mut levels);
        let expected = json!({ "ban": 50, "users": { "@a:one": 100 }, "invite": 3 });
        assert_eq!(levels, CanonicalJsonValue::try_from(expected).unwrap());
    }
}
