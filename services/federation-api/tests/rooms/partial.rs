//! Joins that are done before the room's members are known, and what becomes of the events that come in between.

use std::time::Duration;

use axum::{Router, routing::get};
use futures_util::future::join_all;
use luxchat_rooms::{Error, Rooms};
use luxchat_store::EventStatus;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    events::room::member::MembershipState,
};
use serde_json::{Value, json};

use crate::nation::{Nation, Server, Signed, moderate};

const VERSION: RoomVersionId = RoomVersionId::V11;

/// A room on `one` with Alice, its creator, and Dave, who has power in it. Bob of `two` is about to come.
struct Scene {
    nation: Nation,
    one: Server,
    two: Server,
    alice: OwnedUserId,
    dave: OwnedUserId,
    bob: OwnedUserId,
    room: OwnedRoomId,
    /// The event by which Dave came.
    dave_joins: OwnedEventId,
}

impl Scene {
    async fn new() -> Self {
        let nation = Nation::new();
        let [(one, alice), (two, bob)] = nation.pair().await;
        let dave = one.user("dave").await;
        let room = one.public_room(&alice, VERSION).await;
        let levels = json!({ "users": { &alice: 100, &dave: 75 } });
        one.send(&alice, &room, "m.room.power_levels", Some(""), levels)
            .await
            .unwrap();
        one.name_room(&alice, &room, "named").await;
        one.join(&dave, &room, &[]).await.unwrap();
        let key = ("m.room.member".to_owned(), dave.to_string());
        let dave_joins = one.state(&room).await[&key].clone();
        Self {
            nation,
            one,
            two,
            alice,
            dave,
            bob,
            room,
            dave_joins,
        }
    }

    /// Bob comes; who else is in the room is still to be found out.
    async fn enter(&self) {
        self.two
            .enter(&self.bob, &self.room, &[&self.one])
            .await
            .unwrap();
        assert!(is_partial(&self.two, &self.room).await);
        self.one.outbox(&self.two).await;
    }

    /// An event of a user of `one` that names as its authority what it says.
    async fn claim(
        &self,
        sender: &UserId,
        event: (&str, Option<&str>, Value),
        member: &OwnedEventId,
        after: Option<&Signed>,
    ) -> Signed {
        let (event_type, state_key, content) = event;
        let mut draft = self
            .one
            .draft(&self.room, sender, event_type, state_key, content)
            .await;
        let state = self.one.state(&self.room).await;
        let own = [("m.room.create", ""), ("m.room.power_levels", "")];
        let mut auth_events: Vec<Value> = own
            .map(|(kind, key)| json!(state[&(kind.to_owned(), key.to_owned())]))
            .to_vec();
        auth_events.push(json!(member));
        draft["auth_events"] = json!(auth_events);
        if let Some(after) = after {
            draft["prev_events"] = json!([after.event_id]);
        }
        self.one.sign(&draft, &VERSION)
    }

    async fn status(&self, event: &Signed) -> EventStatus {
        let event = self.two.event(&self.room, &event.event_id).await;
        event.unwrap().status
    }

    async fn is_seen(&self, event: &Signed) -> bool {
        let event = self.two.event(&self.room, &event.event_id).await;
        event.unwrap().pos.is_some()
    }
}

async fn is_partial(server: &Server, room: &RoomId) -> bool {
    let room = room.to_owned();
    let room = server.store.read(move |tx| tx.room_by_id(&room)).await;
    room.unwrap().unwrap().is_partial()
}

async fn members(server: &Server, room: &RoomId) -> usize {
    let joined = server.state(room).await;
    let members = joined.keys().filter(|(kind, _)| kind == "m.room.member");
    members.count()
}

#[tokio::test]
async fn a_room_of_two_thousand_is_of_use_before_its_members_are_known() {
    let scene = Scene::new().await;
    let (one, two, room) = (&scene.one, &scene.two, &scene.room);
    let joins = (0..2_000).map(|number| async move {
        let user = one.user(&format!("u{number}")).await;
        one.join(&user, room, &[]).await.unwrap();
        user
    });
    let users = join_all(joins).await;
    scene.enter().await;
    // Nobody but Bob and whom the join rests upon.
    assert!(members(two, room).await < 5);
    two.say(&scene.bob, room, "from bob").await;
    one.say(&users[7], room, "from a stranger").await;
    one.name_room(&scene.alice, room, "renamed").await;
    one.deliver(two).await;
    two.deliver(one).await;
    assert_eq!(two.bodies(room).await, ["from bob", "from a stranger"]);

    assert_eq!(two.rooms.complete_due().await.unwrap(), 1);
    assert!(!is_partial(two, room).await);
    assert_eq!(members(two, room).await, 2_003);
    assert_eq!(one.state(room).await, two.state(room).await);
    let alone = two.membership(room, &users[1_999]).await;
    assert_eq!(alone, MembershipState::Join);
    // It goes on as if nothing had been missing.
    one.say(&users[8], room, "after all").await;
    one.deliver(two).await;
    let expected = ["from bob", "from a stranger", "after all"];
    assert_eq!(two.bodies(room).await, expected);
    assert_eq!(two.rooms.complete_due().await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_believed_by_mistake_is_taken_back() {
    let scene = Scene::new().await;
    let (one, two, room) = (&scene.one, &scene.two, &scene.room);
    one.rooms.leave(&scene.dave, room, None).await.unwrap();
    scene.enter().await;
    // Dave says that he is still there.
    let forged = ("m.room.topic", Some(""), json!({ "topic": "mine" }));
    let forged = scene
        .claim(&scene.dave, forged, &scene.dave_joins, None)
        .await;
    two.receive_one(one, forged.json.clone()).await.unwrap();
    assert_eq!(scene.status(&forged).await, EventStatus::Accepted);
    assert!(scene.is_seen(&forged).await);
    let said = one.say(&scene.alice, room, "who is this?").await;
    one.deliver(two).await;

    two.rooms.complete_due().await.unwrap();
    assert_eq!(scene.status(&forged).await, EventStatus::Rejected);
    assert!(!scene.is_seen(&forged).await);
    assert_eq!(one.state(room).await, two.state(room).await);
    assert_eq!(two.bodies(room).await, ["who is this?"]);
    assert!(two.event(room, &said).await.unwrap().pos.is_some());
}

#[tokio::test]
async fn what_was_refused_by_mistake_is_brought_back() {
    let scene = Scene::new().await;
    let (one, two, room) = (&scene.one, &scene.two, &scene.room);
    one.rooms.leave(&scene.dave, room, None).await.unwrap();
    let elsie = one.user("elsie").await;
    one.join(&elsie, room, &[]).await.unwrap();
    let key = ("m.room.member".to_owned(), elsie.to_string());
    let elsie_joins = one.state(room).await[&key].clone();
    scene.enter().await;
    let kick = (
        "m.room.member",
        Some(elsie.as_str()),
        json!({ "membership": "leave" }),
    );
    let kick = scene
        .claim(&scene.dave, kick, &scene.dave_joins, None)
        .await;
    two.receive_one(one, kick.json.clone()).await.unwrap();
    assert_eq!(scene.status(&kick).await, EventStatus::Accepted);
    // On top of the kick Elsie seems to be out of the room.
    let message = ("m.room.message", None, json!({ "body": "still here" }));
    let message = scene
        .claim(&elsie, message, &elsie_joins, Some(&kick))
        .await;
    two.receive_one(one, message.json.clone()).await.unwrap();
    assert_eq!(scene.status(&message).await, EventStatus::Rejected);

    two.rooms.complete_due().await.unwrap();
    assert_eq!(scene.status(&kick).await, EventStatus::Rejected);
    assert_eq!(scene.status(&message).await, EventStatus::Accepted);
    assert_eq!(two.bodies(room).await, ["still here"]);
    assert_eq!(one.state(room).await, two.state(room).await);
}

#[tokio::test]
async fn a_redaction_by_who_may_not_be_there_waits() {
    let scene = Scene::new().await;
    let (one, two, room) = (&scene.one, &scene.two, &scene.room);
    scene.enter().await;
    let said = two.say(&scene.bob, room, "worth keeping").await;
    two.deliver(one).await;
    let redact = || json!({ "redacts": said });
    let redaction = ("m.room.redaction", None, redact());
    let real = scene
        .claim(&scene.dave, redaction, &scene.dave_joins, None)
        .await;
    two.receive_one(one, real.json.clone()).await.unwrap();
    assert_eq!(scene.status(&real).await, EventStatus::Accepted);
    assert_eq!(two.bodies(room).await, ["worth keeping"]);
    // He is there: his redaction counts.
    two.rooms.complete_due().await.unwrap();
    assert!(two.bodies(room).await.is_empty());
}

#[tokio::test]
async fn the_members_come_from_any_server_in_the_room() {
    let scene = Scene::new().await;
    let (two, room) = (&scene.two, &scene.room);
    let (three, carol) = scene.nation.server_of("three", "carol").await;
    three.join(&carol, room, &[&scene.one]).await.unwrap();
    scene.enter().await;
    scene.one.deliver(&three).await;
    scene.nation.network.detach(scene.one.name());
    assert_eq!(two.rooms.complete_due().await.unwrap(), 1);
    assert!(!is_partial(two, room).await);
    assert_eq!(three.state(room).await, two.state(room).await);
}

#[tokio::test]
async fn it_is_tried_again_after_a_restart() {
    let scene = Scene::new().await;
    let (two, room) = (&scene.two, &scene.room);
    scene.enter().await;
    let one = scene.nation.network.detach(scene.one.name()).unwrap();
    assert_eq!(two.rooms.complete_due().await.unwrap(), 1);
    assert!(is_partial(two, room).await);
    let partial = two.rooms.partial_rooms().await.unwrap();
    assert_eq!((partial.rooms, partial.failing), (1, 1));
    let patience = Duration::from_millis(1);
    let error = two.rooms.await_members(room, patience).await.unwrap_err();
    assert!(matches!(error, Error::Incomplete), "{error}");

    // What is to be done stands in the store.
    let name = scene.one.name().to_owned();
    scene.nation.network.attach(name, one);
    let config = luxchat_rooms::Config::default();
    let again = Rooms::new(two.store.clone(), two.federation.clone(), config);
    assert_eq!(again.complete_due().await.unwrap(), 0, "not yet");
    scene.nation.clock.advance(Duration::from_secs(5));
    assert_eq!(again.complete_due().await.unwrap(), 1);
    again.await_members(room, patience).await.unwrap();
    assert_eq!(scene.one.state(room).await, two.state(room).await);
}

#[tokio::test]
async fn a_state_that_does_not_allow_the_join_is_no_state_of_the_room() {
    let scene = Scene::new().await;
    let (two, room) = (&scene.two, &scene.room);
    scene.enter().await;
    let router = scene.nation.network.detach(scene.one.name()).unwrap();
    let empty = || async { r#"{ "pdu_ids": [], "auth_chain_ids": [] }"# };
    let path = "/_matrix/federation/v1/state_ids/{room}";
    let liar = Router::new()
        .route(path, get(empty))
        .fallback_service(router);
    let name = scene.one.name().to_owned();
    scene.nation.network.attach(name, liar);
    two.rooms.complete_due().await.unwrap();
    assert!(is_partial(two, room).await);
    // The room is as usable as it was.
    two.say(&scene.bob, room, "hello").await;
    assert_eq!(two.bodies(room).await, ["hello"]);
}

#[tokio::test]
async fn nobody_joins_through_a_server_that_lacks_members() {
    let scene = Scene::new().await;
    let (three, carol) = scene.nation.server_of("three", "carol").await;
    scene.enter().await;
    let through_two = three.join(&carol, &scene.room, &[&scene.two]).await;
    assert!(matches!(through_two, Err(Error::Remote(_))));
    scene.two.rooms.complete_due().await.unwrap();
    three
        .join(&carol, &scene.room, &[&scene.two])
        .await
        .unwrap();
}

#[tokio::test]
async fn who_leaves_early_and_comes_back_finds_the_room_whole() {
    let scene = Scene::new().await;
    let (one, two, room) = (&scene.one, &scene.two, &scene.room);
    scene.enter().await;
    two.rooms.leave(&scene.bob, room, None).await.unwrap();
    two.deliver(one).await;
    assert_eq!(
        one.membership(room, &scene.bob).await,
        MembershipState::Leave
    );
    // Nobody is asked on behalf of nobody: the server is no longer in the room.
    two.rooms.complete_due().await.unwrap();
    assert!(!is_partial(two, room).await);
    one.say(&scene.alice, room, "unheard").await;
    scene.enter().await;
    two.rooms.complete_due().await.unwrap();
    assert_eq!(one.state(room).await, two.state(room).await);
    one.say(&scene.dave, room, "heard").await;
    one.deliver(two).await;
    assert_eq!(two.bodies(room).await, ["heard"]);
}

#[tokio::test]
async fn a_gap_beside_the_join_needs_no_state() {
    let scene = Scene::new().await;
    let (one, two, room) = (&scene.one, &scene.two, &scene.room);
    // Said at the same time as Bob comes: he does not hear of it, but of what builds upon it.
    let beside = ("m.room.message", None, json!({ "body": "beside" }));
    let beside = scene
        .claim(&scene.dave, beside, &scene.dave_joins, None)
        .await;
    scene.enter().await;
    one.receive_one(two, beside.json.clone()).await.unwrap();
    one.say(&scene.alice, room, "after").await;
    one.deliver(two).await;
    assert_eq!(two.bodies(room).await, ["beside", "after"]);
    assert!(members(two, room).await < 5);
    two.rooms.complete_due().await.unwrap();
    assert_eq!(one.state(room).await, two.state(room).await);
    assert_eq!(two.bodies(room).await, ["beside", "after"]);
}

#[tokio::test]
async fn a_ban_is_believed_of_whom_nobody_knows_yet() {
    let scene = Scene::new().await;
    let (one, two, room) = (&scene.one, &scene.two, &scene.room);
    scene.enter().await;
    let ban = moderate(&scene.alice, room, &scene.dave);
    one.rooms.ban(ban).await.unwrap();
    one.deliver(two).await;
    assert_eq!(
        two.membership(room, &scene.dave).await,
        MembershipState::Ban
    );
    two.rooms.complete_due().await.unwrap();
    assert_eq!(
        two.membership(room, &scene.dave).await,
        MembershipState::Ban
    );
    assert_eq!(one.state(room).await, two.state(room).await);
}
