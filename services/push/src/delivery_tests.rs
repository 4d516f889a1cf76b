//! What reaches a gateway.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use luxchat_store::{Backoff, UserNid};
use ruma::events::receipt::ReceiptThread;
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Error, PusherRequest,
    testing::{World, alice, bob, carol},
};

/// A gateway that keeps what it is told, and answers what it is told to.
#[derive(Clone, Default)]
struct Gateway {
    told: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<VecDeque<(StatusCode, Value)>>>,
}

impl Gateway {
    async fn start() -> (Self, String) {
        let gateway = Self::default();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", socket.local_addr().unwrap());
        let router = Router::new()
            .route("/_matrix/push/v1/notify", post(notify))
            .with_state(gateway.clone());
        tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        (gateway, origin)
    }

    fn will_answer(&self, status: StatusCode, body: Value) {
        self.answers.lock().unwrap().push_back((status, body));
    }

    /// The first `count` notifications, once there are so many.
    async fn told(&self, count: usize) -> Vec<Value> {
        let wait = async {
            loop {
                let told = self.told.lock().unwrap().clone();
                if told.len() >= count {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .expect("the gateway was told nothing")
    }
}

async fn notify(
    State(gateway): State<Gateway>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let answer = gateway.answers.lock().unwrap().pop_front();
    let (status, answer) = answer.unwrap_or((StatusCode::OK, json!({ "rejected": [] })));
    gateway
        .told
        .lock()
        .unwrap()
        .push(body["notification"].clone());
    (status, Json(answer))
}

fn config(origin: &str) -> Config {
    Config {
        gateways: vec![origin.parse().unwrap()],
        retry: Backoff {
            first: Duration::from_millis(5),
            longest: Duration::from_secs(1),
        },
        ..Config::default()
    }
}

fn request(origin: &str) -> PusherRequest {
    PusherRequest {
        app_id: "app".to_owned(),
        pushkey: "key".to_owned(),
        app_display_name: "App".to_owned(),
        device_display_name: "Phone".to_owned(),
        profile_tag: None,
        lang: "lb".to_owned(),
        url: format!("{origin}/_matrix/push/v1/notify"),
        data: Map::from_iter([("custom".to_owned(), json!(7))]),
        append: false,
    }
}

async fn set(world: &World, user: UserNid, origin: &str) {
    let request = request(origin);
    world
        .push
        .set_pusher(user, "DEVICE".into(), request)
        .await
        .unwrap();
}

fn run(world: &World) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let running = tokio::spawn(world.push.clone().run(stop.clone()));
    (stop, running)
}

#[tokio::test]
async fn what_notifies_is_told_by_its_id_alone() {
    let (gateway, origin) = Gateway::start().await;
    let world = World::new(config(&origin)).await;
    let user = world.user(alice()).await;
    world.say(bob(), "before").await;
    let (_stop, _running) = run(&world);
    set(&world, user, &origin).await;
    let event = world.say(bob(), "hello alice").await;
    gateway.told(1).await;
    // What a user sends says that they have read.
    world.say(alice(), "mine").await;
    let last = world.say(carol(), "again").await;
    let told = gateway.told(2).await;
    let device = json!({
        "app_id": "app", "pushkey": "key", "data": { "custom": 7 },
        "pushkey_ts": told[0]["devices"][0]["pushkey_ts"],
        "tweaks": { "highlight": true, "sound": "default" },
    });
    assert_eq!(told[0]["event_id"], event.event_id.as_str());
    assert_eq!(told[0]["devices"], json!([device]));
    assert_eq!(told[0]["prio"], "high");
    assert!(told[0].get("content").is_none() && told[0].get("sender").is_none());
    assert_eq!(told[1]["event_id"], last.event_id.as_str());
    assert_eq!(told[1]["counts"], json!({ "unread": 1 }));
}

#[tokio::test]
async fn a_site_may_allow_all_fields() {
    let (gateway, origin) = Gateway::start().await;
    let world = World::new(Config {
        full_events: true,
        ..config(&origin)
    })
    .await;
    let user = world.user(alice()).await;
    let (_stop, _running) = run(&world);
    set(&world, user, &origin).await;
    world.say(bob(), "hello").await;
    let told = gateway.told(1).await;
    assert_eq!(told[0]["content"]["body"], "hello");
    assert_eq!(told[0]["sender"], bob().as_str());
    let mut request = request(&origin);
    request
        .data
        .insert("format".to_owned(), json!("event_id_only"));
    let set = world.push.set_pusher(user, "DEVICE".into(), request);
    set.await.unwrap();
    world.say(bob(), "secret").await;
    assert!(gateway.told(2).await[1].get("content").is_none());
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_read_is_told() {
    let (gateway, origin) = Gateway::start().await;
    let world = World::new(config(&origin)).await;
    let user = world.user(alice()).await;
    set(&world, user, &origin).await;
    // Nobody delivers yet, as after a crash.
    let read = world.say(bob(), "one").await;
    let redacted = world.say(bob(), "two").await;
    world.redact(&redacted).await;
    let third = world.say(bob(), "three").await;
    world.read(alice(), ReceiptThread::Main, read.pos).await;
    for status in [StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS] {
        gateway.will_answer(status, json!({}));
    }
    let (stop, running) = run(&world);
    let told = gateway.told(3).await;
    for attempt in &told {
        assert_eq!(attempt["event_id"], third.event_id.as_str());
    }
    let fourth = world.say(bob(), "four").await;
    assert_eq!(
        gateway.told(4).await[3]["event_id"],
        fourth.event_id.as_str()
    );
    // Its cursor is written down: the next start has nothing to tell.
    loop {
        let pusher = &world.push.pushers(user).await.unwrap()[0];
        if pusher.cursor.0 >= fourth.pos {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.await.unwrap();
    let (_stop, _running) = run(&world);
    let fifth = world.say(bob(), "five").await;
    let told = gateway.told(5).await;
    assert_eq!(told[4]["event_id"], fifth.event_id.as_str());
}

#[tokio::test]
async fn who_has_read_is_told_so() {
    let (gateway, origin) = Gateway::start().await;
    let world = World::new(config(&origin)).await;
    let user = world.user(alice()).await;
    let (_stop, _running) = run(&world);
    set(&world, user, &origin).await;
    let event = world.say(bob(), "hello").await;
    assert_eq!(gateway.told(1).await[0]["counts"], json!({ "unread": 1 }));
    world.read(alice(), ReceiptThread::Main, event.pos).await;
    let told = &gateway.told(2).await[1];
    assert_eq!(told["counts"], json!({ "unread": 0 }));
    assert!(told.get("event_id").is_none());
}

#[tokio::test]
async fn a_rejected_pusher_goes() {
    let (gateway, origin) = Gateway::start().await;
    let world = World::new(config(&origin)).await;
    let user = world.user(alice()).await;
    let (_stop, _running) = run(&world);
    set(&world, user, &origin).await;
    gateway.will_answer(StatusCode::OK, json!({ "rejected": ["key"] }));
    world.say(bob(), "hello").await;
    gateway.told(1).await;
    while !world.push.pushers(user).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn pushers_go_to_named_gateways_alone_and_with_their_device() {
    let world = World::new(config("https://push.example.org")).await;
    let (user, other) = (world.user(alice()).await, world.user(bob()).await);
    let refused = world
        .push
        .set_pusher(user, "DEVICE".into(), request("https://evil.example.org"))
        .await;
    assert!(matches!(refused, Err(Error::GatewayNotAllowed(_))));
    let mut long = request("https://push.example.org");
    long.pushkey = "k".repeat(513);
    let refused = world.push.set_pusher(user, "DEVICE".into(), long).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));

    let origin = "https://push.example.org";
    set(&world, user, origin).await;
    set(&world, user, origin).await;
    assert_eq!(world.push.pushers(user).await.unwrap().len(), 1);
    let mut beside = request(origin);
    beside.append = true;
    let set_beside = world.push.set_pusher(other, "DEVICE".into(), beside);
    set_beside.await.unwrap();
    assert_eq!(world.push.pushers(user).await.unwrap().len(), 1);
    set(&world, other, origin).await;
    assert!(world.push.pushers(user).await.unwrap().is_empty());

    world
        .store
        .write(move |tx| tx.delete_device(other, "DEVICE".into()))
        .await
        .unwrap();
    assert!(world.push.pushers(other).await.unwrap().is_empty());
}
