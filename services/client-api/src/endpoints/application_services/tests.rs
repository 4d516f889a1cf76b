use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State as Shared,
    http::{HeaderMap, Method, StatusCode, Uri, header::AUTHORIZATION},
};
use luxchat_accounts::{Config as AccountsConfig, Registration as AccountsRegistration};
use luxchat_application_services::{Live, Registration};
use luxchat_store::{Position, RoomNid, UserNid};
use ruma::{OwnedUserId, server_name};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    testing::{Answered, PASSWORD, Server},
};

const AS_TOKEN: &str = "as_token_of_irc";
const HS_TOKEN: &str = "hs_token_of_irc";
const REGISTER: &str = "/_matrix/client/v3/register";

/// A service that keeps what it is asked, and answers as told, else with success.
#[derive(Clone, Default)]
struct Bridge {
    asked: Arc<Mutex<VecDeque<(String, Value)>>>,
    answers: Arc<Mutex<VecDeque<(StatusCode, Value)>>>,
}

impl Bridge {
    /// Serves it on a port of this machine, and returns its URL.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answer_next(&self, status: u16, body: Value) {
        let status = StatusCode::from_u16(status).unwrap();
        self.answers.lock().unwrap().push_back((status, body));
    }

    /// The next request: method and path, and body.
    async fn next(&self) -> (String, Value) {
        let next = async {
            loop {
                if let Some(asked) = self.asked.lock().unwrap().pop_front() {
                    return asked;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), next).await.unwrap()
    }

    /// The events of the next transactions, up to and with one that bears a text.
    async fn events_until(&self, body: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let (path, mut transaction) = self.next().await;
            assert!(
                path.starts_with("PUT /_matrix/app/v1/transactions/"),
                "{path}"
            );
            let Value::Array(some) = transaction["events"].take() else {
                panic!("no events");
            };
            events.extend(some);
            if events.iter().any(|event| event["content"]["body"] == body) {
                return events;
            }
        }
    }
}

async fn answer(
    Shared(bridge): Shared<Bridge>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    assert_eq!(headers[AUTHORIZATION], format!("Bearer {HS_TOKEN}"));
    let body = serde_json::from_str(&body).unwrap_or_default();
    let asked = (format!("{method} {uri}"), body);
    bridge.asked.lock().unwrap().push_back(asked);
    let (status, body) =
        (bridge.answers.lock().unwrap().pop_front()).unwrap_or_else(|| (StatusCode::OK, json!({})));
    (status, Json(body))
}

/// Nobody types, and one user comes at some time, once.
#[derive(Debug, Default)]
struct Present(Mutex<Option<UserNid>>);

impl Live for Present {
    fn typing(&self, _: RoomNid, _: Position) -> Option<Vec<OwnedUserId>> {
        None
    }

    fn presence(&self, _: Position, _: usize) -> Vec<(UserNid, Value)> {
        let here = self.0.lock().unwrap().take();
        let here = here.map(|user| (user, json!({ "presence": "online" })));
        here.into_iter().collect()
    }
}

fn registration(url: &str) -> Registration {
    let yaml = format!(
        r##"
id: irc
url: {url}
as_token: {AS_TOKEN}
hs_token: {HS_TOKEN}
sender_localpart: irc_bot
protocols: [irc]
receive_ephemeral: true
namespaces:
  users: [{{ exclusive: true, regex: "@irc_.*" }}]
  aliases: [{{ exclusive: true, regex: "#irc_.*" }}]
"##
    );
    Registration::parse(&yaml, server_name!("example.org")).unwrap()
}

/// A server with one service, which may be served at a URL.
async fn server(url: &str) -> Server {
    let accounts = AccountsConfig {
        registration: AccountsRegistration {
            open: true,
            ..AccountsRegistration::default()
        },
        ..AccountsConfig::default()
    };
    let registrations = vec![registration(url)];
    let server = Server::with_services(accounts, Config::default(), registrations);
    let services = &server.services;
    for service in services.application_services.all() {
        let made = services.accounts.create_for_service(service.sender());
        made.await.unwrap();
    }
    server
}

/// A server whose service hears of everything.
async fn bridged(bridge: &Bridge) -> Server {
    bridged_with(bridge, Arc::default()).await
}

async fn bridged_with(bridge: &Bridge, live: Arc<Present>) -> Server {
    let server = server(&bridge.serve().await).await;
    let services = server.services.application_services.clone();
    tokio::spawn(async move {
        services.run(live, CancellationToken::new()).await;
    });
    // A service hears of what happens from its first start on.
    let store = &server.services.store;
    while store
        .read(|tx| tx.service_progress("irc"))
        .await
        .is_ok_and(|progress: Option<_>| progress.is_none())
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server
}

async fn register(server: &Server, token: Option<&str>, name: &str) -> Answered {
    let body = json!({
        "type": "m.login.application_service",
        "username": name,
        "inhibit_login": true,
    });
    server.send(Method::POST, REGISTER, token, body).await
}

#[tokio::test]
async fn a_service_makes_users_of_its_own_and_acts_as_them() {
    let server = server("null").await;
    let bob = register(&server, Some(AS_TOKEN), "irc_Bob").await.ok();
    assert_eq!(bob, json!({ "user_id": "@irc_Bob:example.org" }));
    for (token, name, expected) in [
        (Some(AS_TOKEN), "irc_Bob", (400, "M_USER_IN_USE")),
        (Some(AS_TOKEN), "bob", (400, "M_EXCLUSIVE")),
        (Some("nonsense"), "irc_eve", (401, "M_UNKNOWN_TOKEN")),
        (None, "irc_eve", (401, "M_MISSING_TOKEN")),
    ] {
        let refused = register(&server, token, name).await;
        assert_eq!(refused.error(), expected, "{token:?} {name}");
    }

    let whoami = async |query: &str| {
        let path = format!("/_matrix/client/v3/account/whoami{query}");
        server.get(&path, AS_TOKEN).await
    };
    let own = whoami("").await.ok();
    assert_eq!(own["user_id"], "@irc_bot:example.org");
    assert_eq!(own.get("device_id"), None);
    let bob = whoami("?user_id=@irc_Bob:example.org").await.ok();
    assert_eq!(bob["user_id"], "@irc_Bob:example.org");
    server.user("alice").await;
    for (query, expected) in [
        ("?user_id=@alice:example.org", (403, "M_FORBIDDEN")),
        ("?user_id=@irc_eve:example.org", (403, "M_FORBIDDEN")),
        ("?user_id=@irc_Bob:elsewhere.org", (403, "M_FORBIDDEN")),
        ("?user_id=bob", (400, "M_INVALID_PARAM")),
        ("?device_id=NONE", (400, "M_UNKNOWN_DEVICE")),
    ] {
        assert_eq!(whoami(query).await.error(), expected, "{query}");
    }
}

#[tokio::test]
async fn what_is_exclusive_is_closed_to_others() {
    let server = server("null").await;
    let alice = server.user("alice").await;
    for name in ["irc_eve", "irc_bot"] {
        let body = json!({ "username": name, "password": PASSWORD });
        let refused = server.send(Method::POST, REGISTER, None, body).await;
        assert_eq!(refused.status, 400, "{name}");
    }
    let path = "/_matrix/client/v3/register/available?username=irc_eve";
    let asked = server.send(Method::GET, path, None, Value::Null).await;
    assert_eq!(asked.error(), (400, "M_EXCLUSIVE"));

    let room = server.room(&alice, json!({})).await;
    let alias = |name: &str| format!("/_matrix/client/v3/directory/room/%23{name}:example.org");
    let body = json!({ "room_id": room });
    let refused = server.put(&alias("irc_lux"), &alice, body.clone()).await;
    assert_eq!(refused.error(), (400, "M_EXCLUSIVE"));
    let create = "/_matrix/client/v3/createRoom";
    let named = json!({ "room_alias_name": "irc_lux" });
    let refused = server.post(create, &alice, named.clone()).await;
    assert_eq!(refused.error(), (400, "M_EXCLUSIVE"));

    server.post(create, AS_TOKEN, named).await.ok();
    let refused = server
        .post(create, AS_TOKEN, json!({ "room_alias_name": "lux" }))
        .await;
    assert_eq!(refused.error(), (400, "M_EXCLUSIVE"));
    let lux = alias("irc_lux");
    let deleted = server.send(Method::DELETE, &lux, Some(&alice), Value::Null);
    assert_eq!(deleted.await.error(), (400, "M_EXCLUSIVE"));
}

#[tokio::test]
async fn a_service_logs_in_and_manages_devices_without_passwords() {
    let server = server("null").await;
    register(&server, Some(AS_TOKEN), "irc_bob").await.ok();
    let login = async |user: &str| {
        let body = json!({
            "type": "m.login.application_service",
            "identifier": { "type": "m.id.user", "user": user },
        });
        let path = "/_matrix/client/v3/login";
        server.send(Method::POST, path, Some(AS_TOKEN), body).await
    };
    let made = login("irc_bob").await.ok();
    assert_eq!(made["user_id"], "@irc_bob:example.org");
    server.user("alice").await;
    assert_eq!(login("alice").await.error(), (400, "M_EXCLUSIVE"));

    let as_bob = |path: &str, more: &str| {
        format!("/_matrix/client/v3/{path}?user_id=@irc_bob:example.org{more}")
    };
    let keys = json!({ "one_time_keys": {} });
    let refused = server
        .post(&as_bob("keys/upload", ""), AS_TOKEN, keys.clone())
        .await;
    assert_eq!(refused.error(), (400, "M_MISSING_PARAM"));
    let device = as_bob("devices/BRIDGE", "");
    let name = json!({ "display_name": "Bridge" });
    server.put(&device, AS_TOKEN, name).await.ok();
    assert_eq!(
        server.get(&device, AS_TOKEN).await.ok()["display_name"],
        "Bridge"
    );
    let with_device = as_bob("keys/upload", "&device_id=BRIDGE");
    server.post(&with_device, AS_TOKEN, keys).await.ok();
    let deleted = server
        .send(Method::DELETE, &device, Some(AS_TOKEN), json!({}))
        .await;
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    assert_eq!(
        server.get(&device, AS_TOKEN).await.error(),
        (404, "M_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_service_hears_in_order_and_again_until_it_has_heard() {
    let bridge = Bridge::default();
    let server = bridged(&bridge).await;
    let alice = server.user("alice").await;
    register(&server, Some(AS_TOKEN), "irc_bob").await.ok();
    let room = server
        .room(&alice, json!({ "preset": "public_chat" }))
        .await;
    server.message(&alice, &room, "early").await;
    let as_bob =
        |path: &str| format!("/_matrix/client/v3/rooms/{room}/{path}?user_id=@irc_bob:example.org");
    server.post(&as_bob("join"), AS_TOKEN, json!({})).await.ok();
    server.message(&alice, &room, "hello").await;
    let events = bridge.events_until("hello").await;
    assert_eq!(events[0]["state_key"], "@irc_bob:example.org");
    assert_eq!(events[0]["room_id"], room);
    assert!(
        events
            .iter()
            .all(|event| event["content"]["body"] != "early")
    );

    // It is down, and a user of its leaves meanwhile: it hears of what was said before.
    bridge.answer_next(503, json!({}));
    server.message(&alice, &room, "again").await;
    let (path, first) = bridge.next().await;
    server.message(&alice, &room, "later").await;
    server
        .post(&as_bob("leave"), AS_TOKEN, json!({}))
        .await
        .ok();
    server.message(&alice, &room, "unseen").await;
    assert_eq!(bridge.next().await, (path, first), "the same transaction");
    register(&server, Some(AS_TOKEN), "irc_eve").await.ok();
    let as_eve = format!("/_matrix/client/v3/rooms/{room}/join?user_id=@irc_eve:example.org");
    server.post(&as_eve, AS_TOKEN, json!({})).await.ok();
    server.message(&alice, &room, "end").await;
    let events = bridge.events_until("end").await;
    let said: Vec<_> = events
        .iter()
        .filter_map(|event| event["content"]["body"].as_str())
        .collect();
    assert_eq!(said, ["later", "end"]);
}

#[tokio::test]
async fn a_service_hears_who_has_read_and_who_is_there() {
    let bridge = Bridge::default();
    let live = Arc::new(Present::default());
    let server = bridged_with(&bridge, Arc::clone(&live)).await;
    let alice = server.user("alice").await;
    let room = server
        .room(&alice, json!({ "preset": "public_chat" }))
        .await;
    let path = format!("/_matrix/client/v3/rooms/{room}");
    let join = format!("{path}/join");
    server.post(&join, AS_TOKEN, json!({})).await.ok();
    let event = server.message(&alice, &room, "hello").await;
    bridge.events_until("hello").await;

    let user_id = ruma::user_id!("@alice:example.org");
    let account = server.services.accounts.account(user_id).await.unwrap();
    *live.0.lock().unwrap() = Some(account.user_nid);
    let receipt = format!("{path}/receipt/m.read/{event}");
    server.post(&receipt, &alice, json!({})).await.ok();
    // Together or one after the other: the sender may look after the events again before the receipt is there.
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        let (_, mut transaction) = bridge.next().await;
        assert_eq!(transaction["events"], json!([]));
        let Value::Array(ephemeral) = transaction["ephemeral"].take() else {
            panic!("{transaction}");
        };
        let by_type = |event: Value| (event["type"].to_string(), event);
        told.extend(ephemeral.into_iter().map(by_type));
    }
    let [presence, receipt] = ["m.presence", "m.receipt"].map(|kind| &told[&format!("{kind:?}")]);
    assert_eq!(receipt["room_id"], room);
    assert!(receipt["content"][&event]["m.read"][user_id.as_str()]["ts"].is_u64());
    assert_eq!(presence["sender"], user_id.as_str());
    assert_eq!(presence["content"]["presence"], "online");
}

#[tokio::test]
async fn events_bear_the_time_that_a_service_says() {
    let server = server("null").await;
    let alice = server.user("alice").await;
    let room = server
        .room(&alice, json!({ "preset": "public_chat" }))
        .await;
    let path = format!("/_matrix/client/v3/rooms/{room}");
    server
        .post(&format!("{path}/join"), AS_TOKEN, json!({}))
        .await
        .ok();
    let send = async |token: &str, txn: &str| {
        let path = format!("{path}/send/m.room.message/{txn}?ts=1234");
        let content = json!({ "msgtype": "m.text", "body": "long ago" });
        let sent = server.put(&path, token, content).await.ok();
        let event_id = sent["event_id"].as_str().unwrap();
        let event = format!("/_matrix/client/v3/rooms/{room}/event/{event_id}");
        server.get(&event, token).await.ok()["origin_server_ts"].clone()
    };
    assert_eq!(send(AS_TOKEN, "1").await, 1234);
    assert_ne!(send(&alice, "1").await, 1234);
}

#[tokio::test]
async fn a_service_is_asked_for_users_and_aliases_of_its_own() {
    let bridge = Bridge::default();
    let server = server(&bridge.serve().await).await;
    let alice = server.user("alice").await;
    let room = server.room(&alice, json!({})).await;
    let invite = format!("/_matrix/client/v3/rooms/{room}/invite");
    let body = json!({ "user_id": "@irc_bob:example.org" });
    server.post(&invite, &alice, body).await.ok();
    let (path, _) = bridge.next().await;
    assert_eq!(path, "GET /_matrix/app/v1/users/@irc_bob:example.org");

    bridge.answer_next(404, json!({ "errcode": "M_NOT_FOUND" }));
    let join = "/_matrix/client/v3/join/%23irc_lux:example.org";
    let refused = server.post(join, &alice, json!({})).await;
    assert_eq!(refused.error(), (404, "M_NOT_FOUND"));
    let (path, _) = bridge.next().await;
    assert_eq!(path, "GET /_matrix/app/v1/rooms/%23irc_lux:example.org");
}

#[tokio::test]
async fn a_ping_goes_there_and_back() {
    let bridge = Bridge::default();
    let server = server(&bridge.serve().await).await;
    let alice = server.user("alice").await;
    let ping = async |token: &str, id: &str| {
        let path = format!("/_matrix/client/v1/appservice/{id}/ping");
        server
            .post(&path, token, json!({ "transaction_id": "meow" }))
            .await
    };
    assert!(ping(AS_TOKEN, "irc").await.ok()["duration_ms"].is_u64());
    let (path, body) = bridge.next().await;
    assert_eq!(path, "POST /_matrix/app/v1/ping");
    assert_eq!(body, json!({ "transaction_id": "meow" }));

    bridge.answer_next(403, json!({ "errcode": "M_FORBIDDEN" }));
    let refused = ping(AS_TOKEN, "irc").await;
    assert_eq!(refused.error(), (502, "M_BAD_STATUS"));
    assert_eq!(refused.body["status"], 403);
    assert_eq!(ping(AS_TOKEN, "xmpp").await.error(), (403, "M_FORBIDDEN"));
    assert_eq!(ping(&alice, "irc").await.error(), (403, "M_FORBIDDEN"));
    let silent = self::server("null").await;
    let path = "/_matrix/client/v1/appservice/irc/ping";
    let refused = silent.post(path, AS_TOKEN, json!({})).await;
    assert_eq!(refused.error(), (400, "M_URL_NOT_SET"));
}

#[tokio::test]
async fn networks_have_rooms_and_people_of_their_own() {
    let bridge = Bridge::default();
    let server = server(&bridge.serve().await).await;
    let alice = server.user("alice").await;
    let instance = json!({ "desc": "Libera", "network_id": "libera", "fields": {} });
    let irc = json!({
        "user_fields": ["nick"],
        "location_fields": [],
        "icon": "",
        "field_types": {},
        "instances": [instance],
    });
    bridge.answer_next(200, irc);
    let protocols = server.get("/_matrix/client/v3/thirdparty/protocols", &alice);
    let protocols = protocols.await.ok();
    let id = &protocols["irc"]["instances"][0]["instance_id"];
    assert_eq!(id, "irc|libera");
    bridge.next().await;

    let user = json!({ "userid": "@irc_bob:example.org", "protocol": "irc", "fields": {} });
    bridge.answer_next(200, json!([user]));
    let found = server.get("/_matrix/client/v3/thirdparty/user/irc?nick=bob", &alice);
    assert_eq!(found.await.ok(), json!([user]));
    let (path, _) = bridge.next().await;
    assert_eq!(path, "GET /_matrix/app/v1/thirdparty/user/irc?nick=bob");

    let room = server
        .room(&alice, json!({ "preset": "public_chat" }))
        .await;
    let path = format!("/_matrix/client/v3/directory/list/appservice/libera/{room}");
    let body = json!({ "visibility": "public" });
    assert_eq!(
        server.put(&path, &alice, body.clone()).await.error(),
        (403, "M_FORBIDDEN")
    );
    server.put(&path, AS_TOKEN, body).await.ok();
    let listed = async |query: Value| {
        let found = server.post("/_matrix/client/v3/publicRooms", &alice, query);
        found.await.ok()["chunk"].as_array().unwrap().len()
    };
    assert_eq!(listed(json!({})).await, 0);
    assert_eq!(listed(json!({ "include_all_networks": true })).await, 1);
    assert_eq!(
        listed(json!({ "third_party_instance_id": "irc|libera" })).await,
        1
    );
    assert_eq!(
        listed(json!({ "third_party_instance_id": "irc|oftc" })).await,
        0
    );
}
