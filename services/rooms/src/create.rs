//! Creating rooms.

use luxchat_store::WriteTx;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedRoomAliasId, OwnedRoomId, OwnedUserId,
    RoomAliasId, RoomVersionId, UserId,
    api::client::room::{Visibility, create_room::v3::Request},
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    room_version_rules::AuthorizationRules,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::debug;

use crate::{
    Error, Result, Rooms,
    draft::{Draft, canonical},
    member_content::{bare_member_content, member_content, member_draft},
    presets::{Preset, object},
    room_writer::RoomWriter,
    rules_of,
};

/// Events and invites that one request may ask for.
const REQUESTED_EVENTS: usize = 300;

/// A room to make, checked as far as that goes without looking at the store.
struct NewRoom {
    creator: OwnedUserId,
    version: RoomVersionId,
    create: CanonicalJsonObject,
    power_levels: CanonicalJsonObject,
    /// After the power levels, in this order.
    state: Vec<Draft>,
    alias: Option<OwnedRoomAliasId>,
    published: bool,
    invites: Vec<OwnedUserId>,
    is_direct: bool,
}

impl Rooms {
    /// Makes a room, with its creator as the first to join, and invites whom they name.
    ///
    /// Invites to users of other servers follow once the room is there; one that fails does not undo the room.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedVersion`], [`Error::AliasInUse`], [`Error::BadState`] where the initial state contradicts the
    /// rules of the room version, [`Error::InvalidParam`] and [`Error::BadJson`] for what cannot be understood.
    pub async fn create(&self, creator: &UserId, request: Request) -> Result<OwnedRoomId> {
        let new = self.new_room(creator, request)?;
        let (here, elsewhere): (Vec<_>, Vec<_>) = new
            .invites
            .iter()
            .cloned()
            .partition(|user| user.server_name() == self.server_name());
        let invite = invite_content(new.is_direct);
        let rooms = self.clone();
        let room_id = self
            .store
            .write(move |tx| rooms.write_new_room(tx, &new, &here))
            .await?;
        for target in elsewhere {
            let invited = self.invite_with(creator, &target, &room_id, invite.clone());
            if let Err(error) = invited.await {
                debug!(%room_id, %target, %error, "an invite to a new room failed");
            }
        }
        Ok(room_id)
    }

    fn new_room(&self, creator: &UserId, request: Request) -> Result<NewRoom> {
        if request.initial_state.len() + request.invite.len() > REQUESTED_EVENTS {
            return Err(Error::InvalidParam(format!(
                "more than {REQUESTED_EVENTS} events and invites"
            )));
        }
        if !request.invite_3pid.is_empty() {
            return Err(Error::InvalidParam(
                "this server invites by user id only".to_owned(),
            ));
        }
        let preset = Preset::of(request.preset.as_ref(), &request.visibility)?;
        let version = request
            .room_version
            .unwrap_or_else(|| self.config.default_version.clone());
        let rules = rules_of(&version)?.authorization;
        let mut invites = request.invite;
        invites.sort();
        invites.dedup();
        invites.retain(|user| user != creator);

        let content = request.creation_content.map(|raw| canonical(raw.json()));
        let mut create = create_content(&rules, creator, &version, content.transpose()?);
        if preset == Preset::TrustedPrivate && rules.additional_room_creators {
            add_creators(&mut create, &invites);
        }
        let overrides = request
            .power_level_content_override
            .map(|raw| canonical(raw.json()));
        let overrides = overrides.transpose()?.unwrap_or_default();
        let power_levels = preset.power_levels(&rules, creator, &invites, overrides);

        let alias = request.room_alias_name.map(|name| self.local_alias(&name));
        let alias = alias.transpose()?;
        let mut state = StateList::new(creator);
        if let Some(alias) = &alias {
            let content = object([("alias", alias.to_string().into())]);
            state.set(StateEventType::RoomCanonicalAlias, "", content);
        }
        for (event_type, content) in preset.state() {
            state.set(event_type, "", content);
        }
        for raw in &request.initial_state {
            let event = InitialState::parse(raw.json())?;
            state.set(event.event_type, &event.state_key, event.content);
        }
        if let Some(name) = request.name {
            let content = object([("name", name.into())]);
            state.set(StateEventType::RoomName, "", content);
        }
        if let Some(topic) = request.topic {
            state.set(StateEventType::RoomTopic, "", topic_content(&topic));
        }
        Ok(NewRoom {
            creator: creator.to_owned(),
            version,
            create,
            power_levels,
            state: state.drafts,
            alias,
            published: request.visibility == Visibility::Public,
            invites,
            is_direct: request.is_direct,
        })
    }

    fn write_new_room(
        &self,
        tx: &mut WriteTx<'_>,
        new: &NewRoom,
        invites: &[OwnedUserId],
    ) -> Result<OwnedRoomId> {
        let creator = &*new.creator;
        let mut room = RoomWriter::found(self, tx, creator, &new.version, new.create.clone())?;
        let levels = StateEventType::RoomPowerLevels;
        let mut state = vec![Draft::state(creator, levels, "", new.power_levels.clone())];
        state.extend(new.state.iter().cloned());
        for draft in &state {
            room.send(draft).map_err(as_bad_state)?;
        }
        for target in invites {
            room.invite(creator, target, invite_content(new.is_direct))
                .map_err(as_bad_state)?;
        }
        let room_nid = room.room.nid;
        let room_id = room.room.room_id.clone();
        if let Some(alias) = &new.alias {
            let creator = tx.user_nid_or_insert(creator)?;
            if !tx.insert_alias(alias, room_nid, creator)? {
                return Err(Error::AliasInUse(alias.clone()));
            }
        }
        if new.published {
            tx.set_published(room_nid, true)?;
        }
        Ok(room_id)
    }

    /// The alias with a local part on this server.
    fn local_alias(&self, localpart: &str) -> Result<OwnedRoomAliasId> {
        if localpart.is_empty()
            || localpart.contains(':')
            || localpart.contains(char::is_whitespace)
        {
            return Err(Error::InvalidParam("invalid alias".to_owned()));
        }
        RoomAliasId::parse(format!("#{localpart}:{}", self.server_name()))
            .map_err(|error| Error::InvalidParam(error.to_string()))
    }
}

impl<'a, 'c> RoomWriter<'a, 'c> {
    /// A new room that its creator has joined.
    pub(crate) fn found(
        rooms: &'a Rooms,
        tx: &'a mut WriteTx<'c>,
        creator: &UserId,
        version: &RoomVersionId,
        content: CanonicalJsonObject,
    ) -> Result<Self> {
        let create = Draft::state(creator, StateEventType::RoomCreate, "", content);
        let mut room = Self::create(rooms, tx, version, &create).map_err(as_bad_state)?;
        let join = member_content(room.tx, creator, &MembershipState::Join, None)?;
        room.send(&member_draft(creator, creator, join))?;
        Ok(room)
    }
}

/// The content of a create event: what the client wants in it, with what is the server's to say.
pub(crate) fn create_content(
    rules: &AuthorizationRules,
    creator: &UserId,
    version: &RoomVersionId,
    content: Option<CanonicalJsonObject>,
) -> CanonicalJsonObject {
    let mut create = content.unwrap_or_default();
    create.remove("creator");
    if !rules.use_room_create_sender {
        create.insert("creator".to_owned(), creator.to_string().into());
    }
    create.insert("room_version".to_owned(), version.to_string().into());
    create
}

/// Adds to the users who are creators beside the creator.
pub(crate) fn add_creators(create: &mut CanonicalJsonObject, users: &[OwnedUserId]) {
    let field = create
        .entry("additional_creators".to_owned())
        .or_insert_with(|| CanonicalJsonValue::Array(Vec::new()));
    // What is no array is for the auth rules to refuse.
    if let CanonicalJsonValue::Array(creators) = field {
        for user in users {
            let user = CanonicalJsonValue::from(user.to_string());
            if !creators.contains(&user) {
                creators.push(user);
            }
        }
    }
}

/// State events in the order of their first mention; a later one of the same type and key takes the place of an earlier.
struct StateList<'a> {
    creator: &'a UserId,
    drafts: Vec<Draft>,
}

impl<'a> StateList<'a> {
    fn new(creator: &'a UserId) -> Self {
        Self {
            creator,
            drafts: Vec::new(),
        }
    }

    fn set(&mut self, event_type: StateEventType, state_key: &str, content: CanonicalJsonObject) {
        let draft = Draft::state(self.creator, event_type, state_key, content);
        let is_same = |other: &&mut Draft| {
            other.event_type == draft.event_type && other.state_key == draft.state_key
        };
        match self.drafts.iter_mut().find(is_same) {
            Some(earlier) => *earlier = draft,
            None => self.drafts.push(draft),
        }
    }
}

struct InitialState {
    event_type: StateEventType,
    state_key: String,
    content: CanonicalJsonObject,
}

impl InitialState {
    fn parse(raw: &RawValue) -> Result<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(rename = "type")]
            event_type: TimelineEventType,
            #[serde(default)]
            state_key: String,
            #[serde(borrow)]
            content: &'a RawValue,
        }
        let fields: Fields<'_> = serde_json::from_str(raw.get())
            .map_err(|error| Error::BadJson(format!("initial_state: {error}")))?;
        Ok(Self {
            event_type: fields.event_type.to_string().into(),
            state_key: fields.state_key,
            content: canonical(fields.content)?,
        })
    }
}

fn topic_content(topic: &str) -> CanonicalJsonObject {
    let plain = object([("body", topic.into()), ("mimetype", "text/plain".into())]);
    let text = CanonicalJsonValue::Array(vec![plain.into()]);
    object([
        ("m.topic", object([("m.text", text)]).into()),
        ("topic", topic.into()),
    ])
}

fn invite_content(is_direct: bool) -> CanonicalJsonObject {
    let mut content = bare_member_content(&MembershipState::Invite, None);
    if is_direct {
        content.insert("is_direct".to_owned(), true.into());
    }
    content
}

/// What the auth rules forbid in a new room is a mistake in the request for it.
fn as_bad_state(error: Error) -> Error {
    match error {
        Error::Forbidden(reason) => Error::BadState(reason),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use ruma::api::client::room::create_room::v3::RoomPreset;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        VERSIONS,
        test_rooms::{TestRooms, content, user},
    };

    fn request(preset: RoomPreset, version: RoomVersionId) -> Request {
        let mut request = Request::new();
        request.preset = Some(preset);
        request.room_version = Some(version);
        request
    }

    #[tokio::test]
    async fn every_version_makes_a_room_that_its_creator_is_in() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        for version in VERSIONS {
            let request = request(RoomPreset::PrivateChat, version.clone());
            let room_id = rooms.create(&alice, request).await.unwrap();
            let is_hash = version == RoomVersionId::V12;
            assert_eq!(room_id.server_name().is_none(), is_hash, "{version}");
            assert_eq!(
                rooms.membership(&room_id, &alice).await,
                MembershipState::Join
            );
            let create = rooms
                .state(&room_id, StateEventType::RoomCreate, "")
                .await
                .unwrap();
            assert_eq!(create.room_id(), room_id);
            assert_eq!(content(&create)["room_version"], json!(version));
            rooms.say(&alice, &room_id, "hello").await.unwrap();
        }
    }

    #[tokio::test]
    async fn presets_set_what_the_specification_says() {
        let rooms = TestRooms::new();
        for (preset, join_rule, guests) in [
            (RoomPreset::PrivateChat, "invite", Some("can_join")),
            (RoomPreset::TrustedPrivateChat, "invite", Some("can_join")),
            (RoomPreset::PublicChat, "public", None),
        ] {
            let room_id = rooms
                .create(&user("alice"), request(preset, RoomVersionId::V11))
                .await
                .unwrap();
            for (event_type, field, expected) in [
                (StateEventType::RoomJoinRules, "join_rule", Some(join_rule)),
                (StateEventType::RoomGuestAccess, "guest_access", guests),
                (
                    StateEventType::RoomHistoryVisibility,
                    "history_visibility",
                    Some("shared"),
                ),
            ] {
                let event = rooms.state(&room_id, event_type, "").await;
                let value = event.map(|event| content(&event)[field].clone());
                assert_eq!(value.as_ref().and_then(Value::as_str), expected);
            }
        }
    }

    #[tokio::test]
    async fn trusted_invitees_are_as_powerful_as_the_creator() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        for version in [RoomVersionId::V11, RoomVersionId::V12] {
            let mut request = request(RoomPreset::TrustedPrivateChat, version.clone());
            request.invite = vec![bob.clone()];
            let room_id = rooms.create(&alice, request).await.unwrap();
            let create = rooms
                .state(&room_id, StateEventType::RoomCreate, "")
                .await
                .unwrap();
            let levels = StateEventType::RoomPowerLevels;
            let levels = rooms.state(&room_id, levels, "").await.unwrap();
            if version == RoomVersionId::V12 {
                assert_eq!(content(&create)["additional_creators"], json!([bob]));
                assert_eq!(content(&levels)["users"], json!({}));
                assert_eq!(content(&levels)["events"]["m.room.tombstone"], 150);
            } else {
                assert_eq!(
                    content(&levels)["users"],
                    json!({ "@alice:one": 100, "@bob:one": 100 })
                );
            }
            assert_eq!(
                rooms.membership(&room_id, &bob).await,
                MembershipState::Invite
            );
        }
    }

    #[tokio::test]
    async fn the_request_overrides_the_preset_and_name_overrides_initial_state() {
        let rooms = TestRooms::new();
        let mut request = request(RoomPreset::PublicChat, RoomVersionId::V12);
        request.initial_state = serde_json::from_value(json!([
            { "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } },
            { "type": "m.room.name", "content": { "name": "early" } },
        ]))
        .unwrap();
        request.name = Some("late".to_owned());
        request.topic = Some("words".to_owned());
        request.power_level_content_override =
            Some(serde_json::from_value(json!({ "events_default": 25 })).unwrap());
        let room_id = rooms.create(&user("alice"), request).await.unwrap();
        for (event_type, pointer, expected) in [
            (StateEventType::RoomJoinRules, "/join_rule", json!("knock")),
            (StateEventType::RoomName, "/name", json!("late")),
            (
                StateEventType::RoomTopic,
                "/m.topic/m.text/0/body",
                json!("words"),
            ),
            (
                StateEventType::RoomPowerLevels,
                "/events_default",
                json!(25),
            ),
            (StateEventType::RoomPowerLevels, "/state_default", json!(50)),
        ] {
            let event = rooms.state(&room_id, event_type, "").await.unwrap();
            assert_eq!(content(&event).pointer(pointer), Some(&expected));
        }
    }

    #[tokio::test]
    async fn an_alias_in_use_undoes_the_room() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let mut request = request(RoomPreset::PublicChat, RoomVersionId::V12);
        request.room_alias_name = Some("pub".to_owned());
        request.visibility = Visibility::Public;
        let room_id = rooms.create(&alice, request.clone()).await.unwrap();
        let alias = ruma::owned_room_alias_id!("#pub:one");
        assert_eq!(rooms.resolve_alias(&alias).await.unwrap().room_id, room_id);
        let canonical = StateEventType::RoomCanonicalAlias;
        let canonical = rooms.state(&room_id, canonical, "").await.unwrap();
        assert_eq!(content(&canonical)["alias"], "#pub:one");

        let error = rooms.create(&alice, request).await.unwrap_err();
        assert!(matches!(error, Error::AliasInUse(_)), "{error}");
        let published = rooms.store.read(|tx| tx.published_rooms()).await.unwrap();
        assert_eq!(published.len(), 1);
        let of_alice = rooms
            .store
            .read(move |tx| {
                let alice = tx.user_nid(&alice)?.unwrap();
                tx.rooms_of_user(alice, &MembershipState::Join)
            })
            .await
            .unwrap();
        assert_eq!(of_alice.len(), 1);
    }

    #[tokio::test]
    async fn a_state_that_contradicts_itself_is_refused() {
        let rooms = TestRooms::new();
        let mut powerless = request(RoomPreset::PrivateChat, RoomVersionId::V11);
        powerless.power_level_content_override =
            Some(serde_json::from_value(json!({ "users": { "@alice:one": 0 } })).unwrap());
        let mut listed = request(RoomPreset::PrivateChat, RoomVersionId::V12);
        listed.power_level_content_override =
            Some(serde_json::from_value(json!({ "users": { "@alice:one": 100 } })).unwrap());
        for request in [powerless, listed] {
            let error = rooms.create(&user("alice"), request).await.unwrap_err();
            assert!(matches!(error, Error::BadState(_)), "{error}");
        }
        let old = request(RoomPreset::PrivateChat, RoomVersionId::V5);
        let error = rooms.create(&user("alice"), old).await.unwrap_err();
        assert!(matches!(error, Error::UnsupportedVersion(_)), "{error}");
    }

    #[tokio::test]
    async fn rooms_made_in_the_same_millisecond_differ() {
        let rooms = TestRooms::new();
        let request = request(RoomPreset::PrivateChat, RoomVersionId::V12);
        let first = rooms.create(&user("alice"), request.clone()).await.unwrap();
        let second = rooms.create(&user("alice"), request).await.unwrap();
        assert_ne!(first, second);
    }
}
