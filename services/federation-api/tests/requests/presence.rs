//! How users are, as their servers tell it.

use luxchat_sync::{Error, Viewer};
use ruma::{OwnedUserId, presence::PresenceState};
use serde_json::json;

use crate::{
    fixture::{Server, two_servers},
    transactions::{path, transaction},
};

async fn viewer(server: &Server, user_id: &OwnedUserId) -> Viewer {
    let id = user_id.clone();
    let user: luxchat_store::Result<_> = server.store.read(move |tx| tx.user_nid(&id)).await;
    Viewer {
        user_id: user_id.clone(),
        user: user.unwrap().unwrap(),
        device_id: "DEVICE".into(),
    }
}

#[tokio::test]
async fn servers_that_share_a_room_hear_of_their_own_users_alone() {
    let (a, b) = two_servers();
    let (alice, bob) = (b.user("alice").await, a.user("bob").await);
    let lonely = a.user("lonely").await;
    let room = b.public_room(&alice).await;
    a.join(&bob, &room, &b).await;
    for user in [&bob, &lonely] {
        let viewer = viewer(&a, user).await;
        let message = Some("at lunch".to_owned());
        let set = a.presence.set(&viewer, PresenceState::Unavailable, message);
        set.await.unwrap();
    }
    let told = a.presence.tell().await.unwrap();
    let [(server, content)] = &*told else {
        panic!("{told:?}");
    };
    assert_eq!(server, b.name());
    assert_eq!(content.push.len(), 1);
    // Nothing changed since.
    assert!(a.presence.tell().await.unwrap().is_empty());

    let edu = json!({ "edu_type": "m.presence", "content": content });
    let forged = json!({ "edu_type": "m.presence", "content": { "push": [
        { "user_id": alice, "presence": "online", "last_active_ago": 0 },
        { "user_id": lonely, "presence": "online", "last_active_ago": 0 },
    ] } });
    let edus = transaction(vec![], vec![edu, forged]);
    let request = a.signed(&b, "PUT", &path("1"), Some(&edus));
    assert_eq!(b.answer("a.lu", request).await.0, 200);
    let alice_sees = viewer(&b, &alice).await;
    let shown = b.presence.get(&alice_sees, bob).await.unwrap();
    assert_eq!(shown.state, PresenceState::Unavailable);
    assert_eq!(shown.status_msg.as_deref(), Some("at lunch"));
    let own = b.presence.get(&alice_sees, alice).await.unwrap();
    assert_eq!(own.state, PresenceState::Offline);
    let unseen = b.presence.get(&alice_sees, lonely).await;
    assert!(matches!(unseen, Err(Error::Forbidden(_))));
}
