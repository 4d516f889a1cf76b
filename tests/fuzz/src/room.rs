use http_body_util::BodyExt;
use luxchat_federation::Federation;
use luxchat_rooms::VERSIONS;
use luxchat_store::Event;
use ruma::{
    CanonicalJsonObject, Int, OwnedEventId, OwnedRoomId, RoomId, RoomVersionId, ServerName, UserId,
    api::{
        client::room::create_room::v3::{Request, RoomPreset},
        federation::membership::{create_join_event, prepare_join_event},
    },
    serde::Raw,
    server_name,
    signatures::{hash_and_sign_event, reference_hash},
    user_id,
};
use serde_json::{Value, json, value::to_raw_value};

use crate::{Forge, Input, Nation, Server, nation::START};

/// Uses after which a room is let go: what an input did to it is in the way of the next ones.
const USES: u32 = 50;

/// Names that its oldest events have: `$0`, `$1` and so on.
pub const NAMED: usize = 12;

/// A room that Alice of `one` made and Bob of `two` joined, both with all the power.
#[derive(Debug)]
pub struct Room {
    pub id: OwnedRoomId,
    /// Its events, oldest first.
    pub events: Vec<OwnedEventId>,
    uses: u32,
}

impl Nation {
    /// The room of a version that both servers are in: an old one, unless it was used for long.
    pub async fn room(&mut self, version: usize) -> &Room {
        let kept = self.rooms[version].take();
        let mut room = match kept.filter(|room| room.uses < USES) {
            Some(room) => room,
            None => self.make_room(&VERSIONS[version]).await,
        };
        room.uses += 1;
        self.rooms[version].insert(room)
    }

    /// A forge that knows the names of a room's events.
    pub async fn forge(&mut self, version: usize) -> Forge {
        let mut forge = Forge::new(&VERSIONS[version]);
        let room = self.room(version).await;
        forge.name("!room", vec![room.id.to_string()]);
        for (index, event_id) in room.events.iter().take(NAMED).enumerate() {
            forge.name(format!("${index}"), vec![event_id.to_string()]);
        }
        let id = room.id.clone();
        let tips = self.one.store.read(move |tx| {
            let room = tx.room_by_id(&id)?;
            room.map_or_else(|| Ok(Vec::new()), |room| tx.tips(room.nid))
        });
        let tips: luxchat_store::Result<Vec<_>> = tips.await;
        let tips = tips.expect("the store can be read");
        let tips = tips.iter().map(|tip| tip.event_id.to_string());
        forge.name("$tip", tips.take(20).collect());
        forge
    }

    /// What `two` sends, and what it answers to each request after that.
    pub async fn script(&mut self, input: &Input) -> (String, Vec<String>) {
        let mut forge = self.forge(input.version).await;
        let (sent, answers) = input.lines().split_first().expect("there is one line");
        // Last to first: each line may name what those behind it hold.
        let mut answers: Vec<String> = answers
            .iter()
            .rev()
            .map(|line| forge.text(line, input.is_forged))
            .collect();
        answers.reverse();
        (forge.text(sent, input.is_forged), answers)
    }

    async fn make_room(&self, version: &RoomVersionId) -> Room {
        let id = self
            .one
            .rooms
            .create(&self.alice, room_request(version))
            .await;
        let id = id.expect("Alice may make a room");
        join_through(
            &self.two.federation,
            server_name!("one"),
            user_id!("@bob:two"),
            &id,
        )
        .await;
        let events = events_of(&self.one, &id).await;
        Room {
            id,
            events,
            uses: 0,
        }
    }
}

/// The wish for a room in which Bob has as much power as Alice, who makes it.
pub fn room_request(version: &RoomVersionId) -> Request {
    let mut users = json!({ "@alice:one": 100, "@bob:two": 100 });
    let rules = version.rules().expect("the version is a known one");
    if rules.authorization.explicitly_privilege_room_creators {
        users = json!({ "@bob:two": 100 });
    }
    let levels = to_raw_value(&json!({ "users": users })).expect("it is JSON");
    let mut request = Request::new();
    request.preset = Some(RoomPreset::PublicChat);
    request.room_version = Some(version.clone());
    request.power_level_content_override = Some(Raw::from_json(levels));
    request
}

/// The ids of a room's events, oldest first.
pub async fn events_of(server: &Server, room_id: &RoomId) -> Vec<OwnedEventId> {
    let room_id = room_id.to_owned();
    let events = server.store.read(move |tx| {
        let room = tx.room_by_id(&room_id)?;
        room.map_or_else(
            || Ok(Vec::new()),
            |room| tx.timeline_forwards(room.nid, i64::MIN, i64::MAX, 100),
        )
    });
    let events: luxchat_store::Result<Vec<Event>> = events.await;
    let events = events.expect("the store can be read");
    let ids = events
        .iter()
        .map(|event| event.pdu().expect("it was parsed before it was stored"));
    ids.map(|pdu| pdu.event_id().to_owned()).collect()
}

/// Joins a user of one server through another. Returns what that one answered: the template, and the room's state.
pub async fn join_through(
    federation: &Federation,
    server: &ServerName,
    user: &UserId,
    room_id: &RoomId,
) -> (Value, Value) {
    let mut request = prepare_join_event::v1::Request::new(room_id.to_owned(), user.to_owned());
    request.ver = VERSIONS.to_vec();
    let template = federation.open(server, request).await;
    let template = body(template.expect("the user may join")).await;
    let version = template["room_version"].as_str().unwrap_or("1");
    let version = RoomVersionId::try_from(version).expect("the version is a known one");
    let rules = version.rules().expect("the version is a known one");
    let mut event: CanonicalJsonObject =
        serde_json::from_value(template["event"].clone()).expect("it is canonical JSON");
    let now = i64::try_from(START).expect("the clocks start low");
    let now = Int::try_from(now).expect("the clocks start low");
    event.insert("origin_server_ts".to_owned(), now.into());
    let name = federation.server_name().as_str();
    hash_and_sign_event(name, federation.signing_key(), &mut event, &rules.redaction)
        .expect("it can be signed");
    let hash = reference_hash(&event, &rules).expect("it can be hashed");
    let event_id = OwnedEventId::try_from(format!("${hash}")).expect("a hash is an id");
    let event = to_raw_value(&event).expect("it is JSON");
    let request = create_join_event::v2::Request::new(room_id.to_owned(), event_id, event);
    let answer = federation.open(server, request).await;
    (template, body(answer.expect("the user may join")).await)
}

async fn body(response: http::Response<axum::body::Body>) -> Value {
    let body = response.into_body().collect().await;
    let body = body.expect("the answer is in memory").to_bytes();
    serde_json::from_slice(&body).expect("answers are JSON")
}
