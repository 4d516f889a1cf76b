//! What happens when a box is away for a while.

use anyhow::Result;
use luxchat_testkit::{Kit, messages};
use serde_json::{Value, json};

/// Everything that was said while a box was down arrives when it is back: once, and in order.
#[tokio::test]
async fn a_box_that_was_down_catches_up() -> Result<()> {
    let mut kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat" }))
        .await?;
    bob.join(&room, &["interieur.demo.lu"]).await?;

    kit.stop_box("sante").await?;
    for number in 0..120 {
        alice
            .send_text(&room, &format!("t{number}"), &format!("line {number}"))
            .await?;
    }
    // The sender's own box may go down in between as well.
    kit.stop_box("interieur").await?;
    kit.start_box("interieur").await?;
    kit.start_box("sante").await?;
    alice.send_text(&room, "last", "line 120").await?;

    let is_last = |sync: &Value| {
        messages(sync, &room)
            .any(|event| event["content"]["body"] == "line 120")
            .then_some(())
    };
    bob.sync_until(None, "the last line", is_last).await?;
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=200");
    let page = bob.call(reqwest::Method::GET, &path, None).await?;
    let lines: Vec<&str> = page["chunk"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| event["content"]["body"].as_str())
        .filter(|body| body.starts_with("line"))
        .collect();
    let expected: Vec<String> = (0..=120)
        .rev()
        .map(|number| format!("line {number}"))
        .collect();
    assert_eq!(lines, expected);
    Ok(())
}
