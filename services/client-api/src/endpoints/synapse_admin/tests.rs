use http::Method;
use luxchat_accounts::{Config as AccountsConfig, NewAccount};
use ruma::user_id;
use serde_json::{Value, json};

use crate::{
    Config, ServerNotices,
    testing::{Answered, PASSWORD, Server},
};

/// A server with an administrator `root`, whose token comes with it.
async fn server() -> (Server, String) {
    let speaker = user_id!("@_server:example.org");
    let config = Config {
        server_notices: Some(ServerNotices {
            user_id: speaker.to_owned(),
            room_name: "Notices".to_owned(),
        }),
        synapse_admin_api: true,
        ..Config::default()
    };
    let server = Server::with(AccountsConfig::default(), config);
    let accounts = &server.services.accounts;
    accounts.create_for_service(speaker).await.unwrap();
    let root = NewAccount {
        username: Some("root".to_owned()),
        password: Some(PASSWORD.to_owned()),
        is_admin: true,
    };
    accounts.create(root).await.unwrap();
    let login = server.log_in("root", json!({})).await.ok();
    let token = login["access_token"].as_str().unwrap().to_owned();
    (server, token)
}

async fn delete(server: &Server, path: &str, token: &str) -> Answered {
    server
        .send(Method::DELETE, path, Some(token), json!({}))
        .await
}

#[tokio::test]
async fn only_administrators_are_let_in_and_leave_a_trace() {
    let (server, root) = server().await;
    let alice = server.user("alice").await;
    let path = "/_synapse/admin/v2/users/@alice:example.org";
    let bare = server.send(Method::GET, path, None, Value::Null).await;
    assert_eq!(bare.error(), (401, "M_MISSING_TOKEN"));
    assert_eq!(server.get(path, &alice).await.error(), (403, "M_FORBIDDEN"));
    let user = server.get(path, &root).await.ok();
    assert_eq!(
        (&user["name"], &user["admin"]),
        (&json!("@alice:example.org"), &json!(false))
    );

    let log = server.services.store.read(|tx| tx.audit_log(None, 10));
    let log: Result<_, luxchat_store::Error> = log.await;
    let [entry] = &log.unwrap()[..] else {
        panic!("one call, one row");
    };
    assert_eq!(entry.actor, "@root:example.org");
    assert_eq!(entry.action, "GET /_synapse/admin/v2/users/{user_id}");
    assert_eq!(entry.target, path);

    let closed = Server::new();
    let bob = closed.user("bob").await;
    assert_eq!(
        closed.get(path, &bob).await.error(),
        (404, "M_UNRECOGNIZED")
    );
}

#[tokio::test]
async fn accounts_are_made_changed_and_ended() {
    let (server, root) = server().await;
    let bob = "/_synapse/admin/v2/users/@bob:example.org";
    let body = json!({ "password": PASSWORD, "displayname": "Bob" });
    let made = server.put(bob, &root, body).await;
    assert_eq!(
        (made.status.as_u16(), &made.body["displayname"]),
        (201, &json!("Bob"))
    );
    let session = server
        .log_in("bob", json!({ "device_id": "PHONE" }))
        .await
        .ok();
    let token = session["access_token"].as_str().unwrap();

    let devices = server.get(&format!("{bob}/devices"), &root).await.ok();
    assert_eq!(devices["devices"][0]["device_id"], "PHONE");
    let suspend = "/_synapse/admin/v1/suspend/@bob:example.org";
    server
        .put(suspend, &root, json!({ "suspend": true }))
        .await
        .ok();
    let create = "/_matrix/client/v3/createRoom";
    let refused = server.post(create, token, json!({})).await;
    assert_eq!(refused.error(), (403, "M_USER_SUSPENDED"));
    server
        .put(suspend, &root, json!({ "suspend": false }))
        .await
        .ok();
    let room = server.room(token, json!({})).await;
    let joined = "/_synapse/admin/v1/users/@bob:example.org/joined_rooms";
    assert_eq!(
        server.get(joined, &root).await.ok()["joined_rooms"],
        json!([room])
    );

    server.put(bob, &root, json!({ "locked": true })).await.ok();
    let whoami = "/_matrix/client/v3/account/whoami";
    assert_eq!(
        server.get(whoami, token).await.error(),
        (401, "M_USER_LOCKED")
    );
    server
        .put(bob, &root, json!({ "locked": false }))
        .await
        .ok();
    delete(&server, &format!("{bob}/devices/PHONE"), &root)
        .await
        .ok();
    assert_eq!(
        server.get(whoami, token).await.error(),
        (401, "M_UNKNOWN_TOKEN")
    );

    let login = "/_synapse/admin/v1/users/@bob:example.org/login";
    let as_bob = server.post(login, &root, json!({})).await.ok();
    let as_bob = as_bob["access_token"].as_str().unwrap();
    assert_eq!(
        server.get(whoami, as_bob).await.ok()["user_id"],
        "@bob:example.org"
    );
    let deactivate = "/_synapse/admin/v1/deactivate/@bob:example.org";
    server
        .post(deactivate, &root, json!({ "erase": true }))
        .await
        .ok();
    assert_eq!(
        server.get(whoami, as_bob).await.error(),
        (401, "M_UNKNOWN_TOKEN")
    );
    let listed = async |query: &str| {
        let path = format!("/_synapse/admin/v2/users?{query}");
        let users = server.get(&path, &root).await.ok();
        let users = users["users"].as_array().unwrap().iter();
        users.map(|user| user["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed("name=bob").await, Vec::<Value>::new());
    assert_eq!(
        listed("name=BOB&deactivated=true").await,
        ["@bob:example.org"]
    );
    assert_eq!(listed("admins=true").await, ["@root:example.org"]);
    let bad = server.get("/_synapse/admin/v2/users?limit=x", &root).await;
    assert_eq!(bad.error(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn rooms_are_listed_taken_over_and_closed() {
    let (server, root) = server().await;
    let alice = server.user("alice").await;
    let room = server.room(&alice, json!({ "name": "Weather" })).await;
    let listed = server.get("/_synapse/admin/v1/rooms?search_term=weath", &root);
    let listed = listed.await.ok();
    assert_eq!(listed["total_rooms"], 1);
    assert_eq!(listed["rooms"][0]["creator"], "@alice:example.org");
    let path = format!("/_synapse/admin/v1/rooms/{room}");
    assert_eq!(
        server.get(&path, &root).await.ok()["joined_local_members"],
        1
    );
    let members = server.get(&format!("{path}/members"), &root).await.ok();
    assert_eq!(members["members"], json!(["@alice:example.org"]));

    server
        .post(&format!("{path}/make_room_admin"), &root, json!({}))
        .await
        .ok();
    let join = format!("/_matrix/client/v3/rooms/{room}/join");
    server.post(&join, &root, json!({})).await.ok();

    let gone = server.send(Method::DELETE, &path, Some(&root), json!({ "block": true }));
    let gone = gone.await.ok();
    assert_eq!(gone["kicked_users"].as_array().unwrap().len(), 2);
    let blocked = server.get(&format!("{path}/block"), &root).await.ok();
    assert_eq!(
        blocked,
        json!({ "block": true, "user_id": "@root:example.org" })
    );
    let refused = server.post(&join, &alice, json!({})).await;
    assert_eq!(refused.error(), (403, "M_FORBIDDEN"));
    let unknown = server.get("/_synapse/admin/v1/rooms/!none:example.org", &root);
    assert_eq!(unknown.await.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn registration_tokens_come_and_go() {
    let (server, root) = server().await;
    let path = "/_synapse/admin/v1/registration_tokens";
    let new = json!({ "token": "welcome", "uses_allowed": 1 });
    let made = server.post(&format!("{path}/new"), &root, new).await.ok();
    assert_eq!(
        (&made["token"], &made["uses_allowed"]),
        (&json!("welcome"), &json!(1))
    );
    let one = format!("{path}/welcome");
    let changed = server
        .put(&one, &root, json!({ "uses_allowed": null }))
        .await
        .ok();
    assert_eq!(changed["uses_allowed"], Value::Null);
    let listed = server.get(&format!("{path}?valid=true"), &root).await.ok();
    assert_eq!(listed["registration_tokens"][0]["token"], "welcome");
    delete(&server, &one, &root).await.ok();
    assert_eq!(server.get(&one, &root).await.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn notices_come_in_one_room_that_cannot_be_declined() {
    let (server, root) = server().await;
    let alice = server.user("alice").await;
    let notice = json!({
        "user_id": "@alice:example.org",
        "content": { "msgtype": "m.text", "body": "maintenance at noon" },
    });
    let path = "/_synapse/admin/v1/send_server_notice";
    server.post(path, &root, notice.clone()).await.ok();
    let sync = "/_matrix/client/v3/sync";
    let invited = async || {
        let synced = server.get(sync, &alice).await.ok();
        let rooms = synced["rooms"]["invite"].as_object().unwrap().clone();
        rooms.keys().next().unwrap().clone()
    };
    let room = invited().await;
    let act = |what: &str| format!("/_matrix/client/v3/rooms/{room}/{what}");
    let expected = (403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM");
    assert_eq!(
        server.post(&act("leave"), &alice, json!({})).await.error(),
        expected
    );
    let state = act("state/m.room.member/@alice:example.org");
    let refused = server
        .put(&state, &alice, json!({ "membership": "leave" }))
        .await;
    assert_eq!(refused.error(), expected);

    server.post(&act("join"), &alice, json!({})).await.ok();
    let tags = format!("/_matrix/client/v3/user/@alice:example.org/rooms/{room}/tags");
    let tags = server.get(&tags, &alice).await.ok();
    assert!(tags["tags"]["m.server_notice"].is_object());
    let send = act("send/m.room.message/1");
    let refused = server.put(&send, &alice, json!({ "body": "x" }));
    assert_eq!(refused.await.error(), (403, "M_FORBIDDEN"));
    server.post(&act("leave"), &alice, json!({})).await.ok();

    let once = format!("{path}/txn");
    let first = server.put(&once, &root, notice.clone()).await.ok();
    assert_eq!(server.put(&once, &root, notice).await.ok(), first);
    assert_eq!(invited().await, room);
    let nobody = json!({ "user_id": "@nobody:example.org", "content": {} });
    assert_eq!(
        server.post(path, &root, nobody).await.error(),
        (404, "M_NOT_FOUND")
    );
}
