//! Who may federate, and when that ends.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use luxchat_testkit::Kit;
use serde_json::json;

/// What the issue of trust allows from publication to effect.
const ALLOWED: Duration = Duration::from_mins(1);

/// A revoked box is cut off by the others by themselves, within the time allowed, and refused with the reason from then on.
#[tokio::test]
async fn a_revoked_box_is_cut_off_and_told_why() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat" }))
        .await?;
    bob.join(&room, &["interieur.demo.lu"]).await?;
    let connected = || -> Result<bool> {
        let peers = kit.running("interieur")?.connected_peers();
        Ok(peers
            .iter()
            .any(|leaf| leaf.server_name.as_str() == "sante.demo.lu"))
    };
    ensure!(connected()?, "the two boxes have talked");

    kit.revoke("sante", "the box was stolen")?;
    let published = Instant::now();
    // Nobody is told: the boxes look by themselves.
    while connected()? {
        ensure!(
            published.elapsed() < ALLOWED,
            "the revocation has not taken effect"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let refusal = alice
        .invite(&room, &bob.user_id)
        .await
        .unwrap_err()
        .to_string();
    ensure!(refusal.contains("403"), "{refusal}");
    let other = alice
        .create_room(&json!({ "preset": "private_chat" }))
        .await?;
    let refusal = alice
        .invite(&other, "@carol:sante.demo.lu")
        .await
        .unwrap_err()
        .to_string();
    ensure!(
        refusal.contains("the box was stolen"),
        "the refusal names its reason: {refusal}"
    );
    Ok(())
}
