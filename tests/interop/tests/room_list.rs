//! A room list, timelines, read receipts and encrypted messages, as matrix-sdk-ui drives them for Element X.

// The futures of matrix-sdk are nested more deeply than the compiler looks by default.
#![recursion_limit = "512"]

use anyhow::{Context as _, Result, ensure};
use luxchat_interop::{Account, Journal, Reader, Servers, shows, shows_read};
use matrix_sdk::{
    RoomState,
    ruma::{
        OwnedRoomId,
        api::client::{
            receipt::create_receipt::v3::ReceiptType,
            room::create_room::v3::{Request as CreateRoom, RoomPreset},
        },
        events::{
            InitialStateEvent,
            room::{encryption::RoomEncryptionEventContent, message::RoomMessageEventContent},
        },
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_phones_keep_rooms_and_read_each_other() -> Result<()> {
    let journal = Journal::start();
    let servers = Servers::from_env()?;
    let alice = Account::register(&servers.a, "alice").await?;
    let alice = alice.log_in_reading("Alice's phone").await?;
    let bob = Account::register(&servers.b, "bob").await?;
    let bob = bob.log_in_reading("Bob's phone").await?;
    ensure!(bob.room_list().is_empty(), "a new account has rooms");

    let bridge = create(&alice, &bob, "The bridge").await?;
    let ferry = create(&alice, &bob, "The ferry").await?;
    for (room_id, listed) in [
        (&bridge, &["The bridge"][..]),
        (&ferry, &["The ferry", "The bridge"]),
    ] {
        let room = bob.room(room_id).await?;
        ensure!(
            room.state() == RoomState::Invited,
            "there was no invitation"
        );
        room.join().await?;
        alice.sees_join(room_id, &bob.user_id).await?;
        bob.sees_join(room_id, &bob.user_id).await?;
        if listed.len() == 1 {
            // The other invitation is listed, too.
            continue;
        }
        bob.lists(listed).await?;
    }

    let spoken = alice.open(&bridge).await?;
    let heard = bob.open(&bridge).await?;
    for (question, answer) in [("Is it open?", "Yes."), ("Since when?", "This morning.")] {
        spoken
            .send(RoomMessageEventContent::text_plain(question).into())
            .await?;
        let event = shows(&heard, &alice.user_id, question).await?;
        ensure!(!event.is_own(), "somebody else's message is one's own");
        // The room with the newest message is on top, on both phones.
        bob.lists(&["The bridge", "The ferry"]).await?;
        alice.lists(&["The bridge", "The ferry"]).await?;
        let is_sent = heard.mark_as_read(ReceiptType::Read).await?;
        ensure!(is_sent, "there was nothing to mark as read");
        shows_read(&spoken, &bob.user_id, question).await?;
        heard
            .send(RoomMessageEventContent::text_plain(answer).into())
            .await?;
        shows(&spoken, &bob.user_id, answer).await?;
    }

    // Whoever opens the room again sees what was said, in its order.
    let room = bob.room(&bridge).await?;
    ensure!(
        room.latest_encryption_state().await?.is_encrypted(),
        "the room is not encrypted"
    );
    let items = heard.items().await;
    let said: Vec<String> = items
        .iter()
        .filter_map(|item| Some(item.as_event()?.content().as_message()?.body().to_owned()))
        .collect();
    let order = ["Is it open?", "Yes.", "Since when?", "This morning."];
    ensure!(said == order, "the timeline shows {said:?}");

    alice.stop().await;
    bob.stop().await;
    let errors = journal.errors();
    ensure!(errors.is_empty(), "the SDK logged errors: {errors:#?}");
    Ok(())
}

/// An encrypted room of one, with an invitation for the other.
async fn create(creator: &Reader, guest: &Reader, name: &str) -> Result<OwnedRoomId> {
    let mut request = CreateRoom::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.name = Some(name.to_owned());
    request.invite = vec![guest.user_id.clone()];
    let encryption = RoomEncryptionEventContent::with_recommended_defaults();
    request.initial_state = vec![InitialStateEvent::with_empty_state_key(encryption).to_raw_any()];
    let room = creator.client.create_room(request).await;
    Ok(room.context("creating a room")?.room_id().to_owned())
}
