//! A room list and an encrypted conversation by sliding sync, with somebody who syncs the classic way.

// The futures of matrix-sdk are nested more deeply than the compiler looks by default.
#![recursion_limit = "512"]

use anyhow::{Context as _, Result, ensure};
use luxchat_interop::{Account, Journal, Servers, eventually};
use matrix_sdk::ruma::{
    api::client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
    events::{InitialStateEvent, room::encryption::RoomEncryptionEventContent},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_by_sliding_sync() -> Result<()> {
    let journal = Journal::start();
    let servers = Servers::from_env()?;
    let alice = Account::register(&servers.a, "alice").await?;
    let alice = alice.log_in("Alice's desk").await?;
    let bob = Account::register(&servers.b, "bob").await?;
    let bob = bob.log_in_sliding("Bob's phone").await?;

    let mut request = CreateRoom::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.name = Some("The bridge".to_owned());
    request.invite = vec![bob.user_id.clone()];
    let encryption = RoomEncryptionEventContent::with_recommended_defaults();
    request.initial_state = vec![InitialStateEvent::with_empty_state_key(encryption).to_raw_any()];
    let room = alice.client.create_room(request).await?;
    let room_id = room.room_id().to_owned();
    alice.joined_room(&room_id).await?;

    let seen = bob.accept_invitation(&room_id).await?;
    eventually("the room list names the room", async || {
        seen.name().as_deref() == Some("The bridge")
    })
    .await?;
    ensure!(
        seen.latest_encryption_state().await?.is_encrypted(),
        "the room is not encrypted"
    );
    let room = alice.client.get_room(&room_id);
    let room = room.context("the creator is not in the room")?;
    eventually("the creator sees the other join", async || {
        let member = room.get_member_no_sync(&bob.user_id).await;
        matches!(member, Ok(Some(member)) if member.membership().as_str() == "join")
    })
    .await?;

    for (question, answer) in [("Is it open?", "Yes."), ("Since when?", "This morning.")] {
        alice.say(&room_id, question).await?;
        bob.hears(&room_id, &alice.user_id, question).await?;
        bob.say(&room_id, answer).await?;
        alice.hears(&room_id, &bob.user_id, answer).await?;
    }

    let errors = journal.errors();
    ensure!(errors.is_empty(), "the SDK logged errors: {errors:#?}");
    Ok(())
}
