use axum::body::Body;
use http::Request;
use serde_json::json;

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
