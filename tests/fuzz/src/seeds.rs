//! Writes the corpora's first inputs: what two servers really say to each other, with names in place of ids.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

// It is built with the same instrumentation, which wants somebody to report to.
use libfuzzer_sys as _;
use luxchat_federation::MemoryNetwork;
use luxchat_fuzz::{Input, NAMED, START, Server, events_of, join_through, room_request};
use luxchat_rooms::{Join, SendEvent};
use luxchat_store::{ManualClock, Position};
use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedUserId, RoomId, RoomVersionId, server_name,
    signatures::reference_hash,
};
use serde_json::{Value, json, value::to_raw_value};

/// The versions whose rules differ where it matters here.
const VERSIONS: [RoomVersionId; 4] = [
    RoomVersionId::V6,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

fn main() {
    let corpus = std::env::args().nth(1).expect("usage: seeds FOLDER");
    let corpus = Path::new(&corpus);
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    for version in VERSIONS {
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let network = MemoryNetwork::new();
            let clock = Arc::new(ManualClock::at(START));
            let [one, two] =
                ["one", "two"].map(|name| Server::new(name, folder.path(), &clock, &network));
            let alice = one.user("alice").await;
            let bob = two.user("bob").await;
            let pdus = said_by_bob(&one, &two, &alice, &bob, &version).await;
            let mode = Input::mode(&version);
            for (number, pdu) in pdus.iter().enumerate() {
                let name = format!("v{version}-{number:02}");
                write(&corpus.join("pdu"), &name, mode, &[pdu.clone()]);
            }
            for (number, lines) in gaps(pdus[0].clone()).iter().enumerate() {
                let name = format!("v{version}-gap-{number}");
                write(&corpus.join("pdu"), &name, mode, lines);
                let mut lines = lines.clone();
                lines[0] = transaction(vec![lines[0].clone()], Vec::new());
                write(&corpus.join("transaction"), &name, mode, &lines);
            }
            for (number, pdus) in pdus.chunks(4).enumerate() {
                let name = format!("v{version}-{number}");
                let line = transaction(pdus.to_vec(), vec![edus()[number % edus().len()].clone()]);
                write(&corpus.join("transaction"), &name, mode, &[line]);
            }
            let [template, answer] = asked_by_alice(&one, &two, &alice, &bob, &version).await;
            let folder = corpus.join("send_join");
            write(&folder, &format!("v{version}"), mode, &[template, answer]);
        });
    }
    for (number, edu) in edus().into_iter().enumerate() {
        let line = transaction(Vec::new(), vec![edu]);
        let folder = corpus.join("transaction");
        write(&folder, &format!("edu-{number}"), b'@', &[line]);
    }
    let destinations = ["destination=\"one\",", ""];
    let quoted = [
        "key=\"ed25519:1\",sig=\"SIG\"",
        "key=ed25519:1, sig=SIG, extra=\"a\\\"b\"",
    ];
    for (d, destination) in destinations.iter().enumerate() {
        for (q, rest) in quoted.iter().enumerate() {
            for mode in 0..16_u8 {
                let header = format!("X-Matrix origin=two,{destination}{rest}");
                let folder = corpus.join("x_matrix");
                let input = [&[b'@' + mode], header.as_bytes()].concat();
                put(&folder, &format!("{d}{q}-{mode:02}"), &input);
            }
        }
    }
}

/// What Bob says and does in a room that Alice made, as his server sends it.
async fn said_by_bob(
    one: &Server,
    two: &Server,
    alice: &OwnedUserId,
    bob: &OwnedUserId,
    version: &RoomVersionId,
) -> Vec<Value> {
    let room_id = one.rooms.create(alice, room_request(version)).await;
    let room_id = room_id.expect("Alice may make a room");
    let join = Join {
        user: bob.clone(),
        room_id: room_id.clone(),
        via: vec![server_name!("one").to_owned()],
        reason: None,
        extra: CanonicalJsonObject::new(),
    };
    two.rooms.join(join).await.expect("Bob may join");
    let named = events_of(one, &room_id).await;
    for (event_type, state_key, content) in deeds(&named, version) {
        let event = SendEvent {
            sender: bob.clone(),
            room_id: room_id.clone(),
            event_type: event_type.into(),
            state_key: state_key.map(ToOwned::to_owned),
            content: to_raw_value(&content).expect("it is JSON"),
            transaction: None,
        };
        two.rooms.send(event).await.expect("Bob may do so");
    }
    let pdus = two.store.read(|tx| {
        let one = tx.server_nid(server_name!("one"))?;
        let one = one.expect("Alice is in the room");
        tx.outgoing_pdus(one, Position::START, 100)
    });
    let pdus: luxchat_store::Result<_> = pdus.await;
    let (pdus, _) = pdus.expect("the store can be read");
    let names: HashMap<String, String> = named
        .iter()
        .take(NAMED)
        .enumerate()
        .map(|(index, id)| (id.to_string(), format!("${index}")))
        .collect();
    pdus.into_iter()
        .map(|(_, _, pdu)| {
            let mut pdu: Value = serde_json::from_str(&pdu).expect("events are JSON");
            strip(&mut pdu, &room_id, &names);
            pdu["prev_events"] = json!(["$tip"]);
            pdu
        })
        .collect()
}

fn deeds(
    named: &[OwnedEventId],
    version: &RoomVersionId,
) -> Vec<(&'static str, Option<&'static str>, Value)> {
    let mut users = json!({ "@alice:one": 100, "@bob:two": 100, "@carol:two": 50 });
    let mut tombstone = 100;
    if let (RoomVersionId::V12, Some(users)) = (version, users.as_object_mut()) {
        // Creators have more power than any number says, and alone may end a room.
        users.remove("@alice:one");
        tombstone = 150;
    }
    vec![
        (
            "m.room.message",
            None,
            json!({ "msgtype": "m.text", "body": "hello" }),
        ),
        ("m.room.name", Some(""), json!({ "name": "Room" })),
        ("m.room.topic", Some(""), json!({ "topic": "Things" })),
        (
            "m.reaction",
            None,
            json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": named[0], "key": "+" } }),
        ),
        (
            "m.room.redaction",
            None,
            json!({ "redacts": named[1], "reason": "no" }),
        ),
        (
            "m.room.encryption",
            Some(""),
            json!({ "algorithm": "m.megolm.v1.aes-sha2" }),
        ),
        (
            "m.room.join_rules",
            Some(""),
            json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": "!a:two" }] }),
        ),
        (
            "m.room.server_acl",
            Some(""),
            json!({ "allow": ["*"], "deny": ["bad.*"], "allow_ip_literals": false }),
        ),
        (
            "m.room.third_party_invite",
            Some("token"),
            json!({ "display_name": "a", "key_validity_url": "https://two/v", "public_key": "abc" }),
        ),
        (
            "m.room.member",
            Some("@carol:two"),
            json!({ "membership": "invite" }),
        ),
        (
            "m.room.member",
            Some("@eve:one"),
            json!({ "membership": "ban", "reason": "spam" }),
        ),
        (
            "m.room.history_visibility",
            Some(""),
            json!({ "history_visibility": "joined" }),
        ),
        (
            "m.room.guest_access",
            Some(""),
            json!({ "guest_access": "forbidden" }),
        ),
        (
            "m.room.pinned_events",
            Some(""),
            json!({ "pinned": [named[0]] }),
        ),
        (
            "m.space.child",
            Some("!b:two"),
            json!({ "via": ["two"], "order": "a" }),
        ),
        (
            "m.room.power_levels",
            Some(""),
            json!({ "users": users, "users_default": 0, "events": { "m.room.name": 50, "m.room.tombstone": tombstone }, "ban": 50 }),
        ),
        (
            "m.room.member",
            Some("@bob:two"),
            json!({ "membership": "leave" }),
        ),
    ]
}

/// What Bob's server answers when Alice's joins a room of his.
async fn asked_by_alice(
    one: &Server,
    two: &Server,
    alice: &OwnedUserId,
    bob: &OwnedUserId,
    version: &RoomVersionId,
) -> [Value; 2] {
    let mut request = room_request(version);
    request.power_level_content_override = None;
    let room_id = two.rooms.create(bob, request).await;
    let room_id = room_id.expect("Bob may make a room");
    let (mut template, mut answer) =
        join_through(&one.federation, server_name!("two"), alice, &room_id).await;
    let rules = version.rules().expect("the version is a known one");
    let id = |event: &Value| {
        let object: CanonicalJsonObject =
            serde_json::from_value(event.clone()).expect("events are canonical JSON");
        let hash = reference_hash(&object, &rules).expect("it can be hashed");
        format!("${hash}")
    };
    let lists = ["auth_chain", "state"].map(|list| answer[list].as_array().cloned());
    let mut all: Vec<Value> = lists.into_iter().flatten().flatten().collect();
    all.sort_by_key(|event| event["depth"].as_i64());
    let mut names = HashMap::new();
    for event in &all {
        let number = names.len();
        names.entry(id(event)).or_insert(format!("$e{number}"));
    }
    for list in ["auth_chain", "state"] {
        let events = answer[list].as_array_mut().expect("it is a list");
        events.sort_by_key(|event| event["depth"].as_i64());
        for event in events {
            let name = names[&id(event)].clone();
            strip(event, &room_id, &names);
            event["event_id"] = name.into();
        }
    }
    // Where the room's id is the hash of this event, a forge has to come by it first.
    let create = answer["state"].as_array().and_then(|state| state.first());
    let create = create.cloned().unwrap_or_default();
    answer["_"] = create;
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("event");
    }
    strip(&mut template["event"], &room_id, &names);
    [template, answer]
}

/// Takes away what a forge adds again, and puts names in place of ids.
fn strip(event: &mut Value, room_id: &RoomId, names: &HashMap<String, String>) {
    let Some(event) = event.as_object_mut() else {
        return;
    };
    for field in ["hashes", "signatures", "unsigned"] {
        event.remove(field);
    }
    if event
        .get("room_id")
        .is_some_and(|id| id == room_id.as_str())
    {
        event.insert("room_id".to_owned(), "!room".into());
    }
    for field in ["auth_events", "prev_events"] {
        let ids = event.get(field).and_then(Value::as_array);
        let ids: Vec<Value> = ids
            .into_iter()
            .flatten()
            .filter_map(|id| Some(names.get(id.as_str()?)?.clone().into()))
            .collect();
        event.insert(field.to_owned(), ids.into());
    }
}

/// An event that builds on events which are not here, and what its server answers when it is asked for them.
fn gaps(pdu: Value) -> Vec<Vec<Value>> {
    let with = |name: &str, prev: &str, auth: Option<&str>| {
        let mut pdu = pdu.clone();
        pdu["event_id"] = name.into();
        pdu["prev_events"] = json!([prev]);
        pdu["content"]["body"] = name.into();
        if let (Some(auth), Some(auth_events)) = (auth, pdu["auth_events"].as_array_mut()) {
            auth_events.push(auth.into());
        }
        pdu
    };
    let mut member = with("$m", "$tip", None);
    member["type"] = "m.room.member".into();
    member["state_key"] = member["sender"].clone();
    member["content"] = json!({ "membership": "join", "displayname": "Bob" });
    let ids = json!({ "pdu_ids": ["$0", "$1", "$2", "$m"], "auth_chain_ids": ["$0", "$1", "$2"] });
    let single = |event: Value| json!({ "origin": "two", "origin_server_ts": 1, "pdus": [event] });
    vec![
        vec![
            with("$y", "$x", None),
            json!({ "events": [with("$x", "$tip", None)] }),
        ],
        vec![
            with("$z", "$tip", Some("$m")),
            json!({ "auth_chain": [member.clone()] }),
        ],
        vec![
            with("$y", "$x", None),
            json!({ "events": [with("$x", "$w", None)] }),
            single(with("$w", "$v", None)),
            ids,
            single(member),
        ],
    ]
}

fn transaction(pdus: Vec<Value>, edus: Vec<Value>) -> Value {
    json!({ "origin": "two", "origin_server_ts": START, "pdus": pdus, "edus": edus })
}

fn edus() -> Vec<Value> {
    let user = "@bob:two";
    vec![
        json!({ "edu_type": "m.typing", "content": { "room_id": "!room", "user_id": user, "typing": true } }),
        json!({ "edu_type": "m.receipt", "content": { "!room": { "m.read": { user: { "data": { "ts": 1, "thread_id": "main" }, "event_ids": ["$tip"] } } } } }),
        json!({ "edu_type": "m.presence", "content": { "push": [{ "user_id": user, "presence": "online", "last_active_ago": 5, "currently_active": true, "status_msg": "here" }] } }),
        json!({ "edu_type": "m.device_list_update", "content": { "user_id": user, "device_id": "D", "device_display_name": "Phone", "stream_id": 5, "prev_id": [4], "deleted": false, "keys": { "user_id": user, "device_id": "D", "algorithms": ["m.olm.v1.curve25519-aes-sha2"], "keys": { "ed25519:D": "abc" }, "signatures": {} } } }),
        json!({ "edu_type": "m.direct_to_device", "content": { "sender": user, "type": "m.room_key_request", "message_id": "m", "messages": { "@alice:one": { "*": { "action": "request" } } } } }),
        json!({ "edu_type": "m.signing_key_update", "content": { "user_id": user, "master_key": { "user_id": user, "usage": ["master"], "keys": { "ed25519:abc": "abc" } } } }),
    ]
}

fn write(folder: &Path, name: &str, mode: u8, lines: &[Value]) {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    put(
        folder,
        name,
        &[&[mode], lines.join("\n").as_bytes()].concat(),
    );
}

fn put(folder: &Path, name: &str, input: &[u8]) {
    fs::create_dir_all(folder).expect("the folder can be made");
    fs::write(folder.join(name), input).expect("the folder can be written to");
}
