//! The whole way: from one server's store through its sender to the other's.

use std::time::Duration;

use ruma::api::federation::transactions::edu::{Edu, TypingContent};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Server, two_servers};

async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .expect("what was waited for did not happen");
}

#[tokio::test]
async fn messages_and_typing_cross_in_both_directions() {
    let (a, b) = two_servers();
    let (alice, bob) = (a.user("alice").await, b.user("bob").await);
    let stop = CancellationToken::new();
    let tasks = [&a, &b].map(|server: &Server| server.federation.start(stop.clone()));

    let room = a.public_room(&alice).await;
    b.join(&bob, &room, &a).await;
    a.say(&alice, &room, "one").await;
    eventually(async || b.bodies(&room).await == ["one"]).await;
    b.say(&bob, &room, "two").await;
    eventually(async || a.bodies(&room).await == ["one", "two"]).await;
    for body in ["three", "four", "five"] {
        a.say(&alice, &room, body).await;
    }
    eventually(async || b.bodies(&room).await == ["one", "two", "three", "four", "five"]).await;

    let typing = TypingContent::new(room.clone(), alice.clone(), true);
    let b_name = b.name().to_owned();
    a.federation.send_edu([b_name], &Edu::Typing(typing));
    let types = async || {
        let id = room.clone();
        let nid: luxchat_store::Result<_> = b
            .store
            .read(move |tx| Ok(tx.room_by_id(&id)?.unwrap().nid))
            .await;
        let start = luxchat_store::Position::START;
        b.typing.changed_since(nid.unwrap(), start) == Some(vec![alice.clone()])
    };
    eventually(types).await;

    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}
