use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::fixture::{code, two_servers};

#[tokio::test]
async fn version_and_keys_need_no_signature() {
    let (_, b) = two_servers();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (status, version) = b
        .answer("a.lu", get("/_matrix/federation/v1/version"))
        .await;
    assert_eq!(status, 200);
    assert_eq!(version["server"]["name"], "Luxchat Appliance");
    let (status, keys) = b.answer("a.lu", get("/_matrix/key/v2/server")).await;
    assert_eq!(status, 200);
    assert_eq!(keys["server_name"], "b.lu");
    assert!(keys["verify_keys"]["ed25519:1"]["key"].is_string());
    assert!(keys["signatures"]["b.lu"]["ed25519:1"].is_string());
}

#[tokio::test]
async fn keys_of_others_are_vouched_for() {
    let (a, b) = two_servers();
    let query = json!({ "server_keys": { "a.lu": {}, "b.lu": {}, "nowhere.lu": {} } });
    let request = Request::post("/_matrix/key/v2/query")
        .body(Body::from(query.to_string()))
        .unwrap();
    let (status, answer) = b.answer("a.lu", request).await;
    assert_eq!(status, 200);
    let documents = answer["server_keys"].as_array().unwrap();
    let names: Vec<_> = documents.iter().map(|it| &it["server_name"]).collect();
    assert_eq!(names, ["a.lu", "b.lu"]);
    for signer in ["a.lu", "b.lu"] {
        assert!(documents[0]["signatures"][signer].is_object());
    }
    drop(a);
}

#[tokio::test]
async fn profiles_of_this_servers_users_are_told() {
    let (a, b) = two_servers();
    let bob = b.user("bob").await;
    let user = bob.clone();
    b.store
        .write(move |tx| {
            let user = tx.user_nid_or_insert(&user)?;
            tx.set_profile_field(user, "displayname", &json!("Bob"))
        })
        .await
        .unwrap();
    let ask = async |query: &str| {
        let path = format!("/_matrix/federation/v1/query/profile?{query}");
        b.answer("a.lu", a.signed(&b, "GET", &path, None)).await
    };
    let whole = ask("user_id=%40bob%3Ab.lu").await;
    assert_eq!(whole.1, json!({ "displayname": "Bob" }));
    let field = ask("user_id=%40bob%3Ab.lu&field=avatar_url").await;
    assert_eq!(field.1, json!({}));
    let nobody = ask("user_id=%40nobody%3Ab.lu").await;
    assert_eq!(code(&nobody), (404, "M_NOT_FOUND"));
    let foreign = ask("user_id=%40alice%3Aa.lu").await;
    assert_eq!(code(&foreign), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn an_unknown_openid_token_is_refused() {
    let (_, b) = two_servers();
    let path = "/_matrix/federation/v1/openid/userinfo?access_token=guess";
    let request = Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(
        code(&b.answer("a.lu", request).await),
        (401, "M_UNKNOWN_TOKEN")
    );
}

#[tokio::test]
async fn at_the_clients_door_a_server_speaks_of_itself_alone() {
    let (_, b) = two_servers();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let ask = async |request: Request<Body>| {
        let response = b.open.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    };
    let (status, version) = ask(get("/_matrix/federation/v1/version")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(version["server"]["name"], "Luxchat Appliance");
    for (server, documents) in [("b.lu", 1), ("a.lu", 0)] {
        let path = format!("/_matrix/key/v2/query/{server}?minimum_valid_until_ts=0");
        let (status, answer) = ask(get(&path)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["server_keys"].as_array().unwrap().len(), documents);
    }
    let token = "/_matrix/federation/v1/openid/userinfo?access_token=unknown";
    assert_eq!(ask(get(token)).await.0, StatusCode::UNAUTHORIZED);
    let signed = "/_matrix/federation/v1/publicRooms";
    assert_eq!(ask(get(signed)).await.0, StatusCode::NOT_FOUND);
}
