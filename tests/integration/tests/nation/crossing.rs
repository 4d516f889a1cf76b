//! Rooms across two ministries.

use std::time::Duration;

use anyhow::Result;
use luxchat_testkit::{Kit, messages};
use serde_json::{Value, json};

fn has_message(sync: &Value, room: &str, body: &str) -> Option<()> {
    messages(sync, room)
        .any(|event| event["content"]["body"] == body)
        .then_some(())
}

/// A message goes there and back in every room version the boxes offer.
#[tokio::test]
async fn messages_cross_in_every_room_version() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    for version in ["6", "7", "8", "9", "10", "11", "12"] {
        let parameters =
            json!({ "preset": "private_chat", "room_version": version, "invite": [bob.user_id] });
        let room = alice.create_room(&parameters).await?;
        let invited = |sync: &Value| sync["rooms"]["invite"].get(&room).map(drop);
        bob.sync_until(None, "the invitation", invited).await?;
        bob.join(&room, &["interieur.demo.lu"]).await?;
        alice.send_text(&room, "there", "Moien").await?;
        let ((), since) = bob
            .sync_until(None, "the message", |sync| {
                has_message(sync, &room, "Moien")
            })
            .await?;
        bob.send_text(&room, "back", "Äddi").await?;
        alice
            .sync_until(None, "the answer", |sync| has_message(sync, &room, "Äddi"))
            .await?;
        bob.sync_until(Some(since), "the echo", |sync| {
            has_message(sync, &room, "Äddi")
        })
        .await?;
    }
    Ok(())
}

/// A public room is found by its alias on the other server, and both sides see the same members.
#[tokio::test]
async fn a_public_room_is_joined_by_alias() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat", "room_alias_name": "plaz" }))
        .await?;
    assert_eq!(bob.join("#plaz:interieur.demo.lu", &[]).await?, room);
    for client in [&alice, &bob] {
        let both = |sync: &Value| {
            let summary = &sync["rooms"]["join"][&room]["summary"];
            (summary["m.joined_member_count"] == 2).then_some(())
        };
        client.sync_until(None, "both members", both).await?;
    }
    Ok(())
}

/// Who leaves, and who is kicked, is gone on both sides.
#[tokio::test]
async fn leaving_and_kicking_reach_the_other_side() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat" }))
        .await?;
    let is = |user: &str, membership: &'static str| {
        let user = user.to_owned();
        let room = room.clone();
        move |sync: &Value| {
            let of_room = ["join", "leave"].map(|section| &sync["rooms"][section][&room]);
            let events = of_room.into_iter().flat_map(|room| {
                ["timeline", "state"]
                    .map(|part| room[part]["events"].as_array().cloned().unwrap_or_default())
            });
            let last = events.flatten().rfind(|event| {
                event["type"] == "m.room.member" && event["state_key"] == user.as_str()
            })?;
            (last["content"]["membership"] == membership).then_some(())
        }
    };

    bob.join(&room, &["interieur.demo.lu"]).await?;
    let ((), since) = alice
        .sync_until(None, "bob's join", is(&bob.user_id, "join"))
        .await?;
    let leave = format!("/_matrix/client/v3/rooms/{room}/leave");
    bob.call(reqwest::Method::POST, &leave, Some(&json!({})))
        .await?;
    alice
        .sync_until(Some(since), "bob's leave", is(&bob.user_id, "leave"))
        .await?;

    bob.join(&room, &["interieur.demo.lu"]).await?;
    let since = bob.sync(None, Duration::ZERO).await?["next_batch"]
        .as_str()
        .map(ToOwned::to_owned);
    let kick = format!("/_matrix/client/v3/rooms/{room}/kick");
    alice
        .call(
            reqwest::Method::POST,
            &kick,
            Some(&json!({ "user_id": bob.user_id, "reason": "test" })),
        )
        .await?;
    bob.sync_until(since, "the kick", is(&bob.user_id, "leave"))
        .await?;
    let refused = bob
        .send_text(&room, "after", "still here?")
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("M_FORBIDDEN"), "{refused}");
    Ok(())
}

/// Typing and receipts reach the other side.
#[tokio::test]
async fn typing_and_receipts_cross() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat" }))
        .await?;
    bob.join(&room, &["interieur.demo.lu"]).await?;
    let event = alice.send_text(&room, "one", "read me").await?;
    bob.sync_until(None, "the message", |sync| {
        has_message(sync, &room, "read me")
    })
    .await?;

    let ephemeral = |kind: &'static str, user: String| {
        let room = room.clone();
        move |sync: &Value| {
            let events = sync["rooms"]["join"][&room]["ephemeral"]["events"].as_array()?;
            let found = events.iter().find(|event| event["type"] == kind)?;
            found.to_string().contains(&user).then_some(())
        }
    };
    let receipt = format!("/_matrix/client/v3/rooms/{room}/receipt/m.read/{event}");
    bob.call(reqwest::Method::POST, &receipt, Some(&json!({})))
        .await?;
    alice
        .sync_until(
            None,
            "bob's receipt",
            ephemeral("m.receipt", bob.user_id.clone()),
        )
        .await?;

    let typing = format!("/_matrix/client/v3/rooms/{room}/typing/{}", bob.user_id);
    bob.call(
        reqwest::Method::PUT,
        &typing,
        Some(&json!({ "typing": true, "timeout": 30_000 })),
    )
    .await?;
    alice
        .sync_until(
            None,
            "bob's typing",
            ephemeral("m.typing", bob.user_id.clone()),
        )
        .await?;
    Ok(())
}

/// Somebody who joins late can read back what was said before on another server.
#[tokio::test]
async fn a_newcomer_reads_back_over_federation() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat" }))
        .await?;
    for number in 0..50 {
        alice
            .send_text(&room, &format!("t{number}"), &format!("line {number}"))
            .await?;
    }
    bob.join(&room, &["interieur.demo.lu"]).await?;
    let mut lines = Vec::new();
    let mut from = String::new();
    for _ in 0..40 {
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=10{from}");
        let page = bob.call(reqwest::Method::GET, &path, None).await?;
        let chunk = page["chunk"].as_array().cloned().unwrap_or_default();
        lines.extend(
            chunk
                .iter()
                .filter_map(|event| event["content"]["body"].as_str().map(ToOwned::to_owned)),
        );
        let Some(end) = page["end"].as_str() else {
            break;
        };
        from = format!("&from={end}");
    }
    let expected: Vec<String> = (0..50)
        .rev()
        .map(|number| format!("line {number}"))
        .collect();
    assert_eq!(lines, expected);
    Ok(())
}
