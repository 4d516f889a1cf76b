//! Two people on two homeservers, from registration to a restored key backup. Each step rests on those before it.

// The futures of matrix-sdk are nested more deeply than the compiler looks by default.
#![recursion_limit = "512"]

use anyhow::{Context as _, Result, ensure};
use luxchat_interop::{Account, Device, Journal, Servers, eventually, verify_by_emoji};
use matrix_sdk::{
    deserialized_responses::TimelineEventKind,
    room::MessagesOptions,
    ruma::{
        OwnedRoomId,
        api::client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        events::{
            AnySyncMessageLikeEvent, AnySyncTimelineEvent, InitialStateEvent,
            room::{encryption::RoomEncryptionEventContent, message::SyncRoomMessageEvent},
        },
    },
};

const QUESTION: &str = "Is the crossing open?";
const ANSWER: &str = "Since this morning.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_conversation_across_two_ministries() -> Result<()> {
    let journal = Journal::start();
    let servers = Servers::from_env()?;

    step("register and log in on both sides");
    let alice_account = Account::register(&servers.a, "alice").await?;
    let bob_account = Account::register(&servers.b, "bob").await?;
    let alice = alice_account.log_in("Alice's desk").await?;
    let bob = bob_account.log_in("Bob's desk").await?;

    step("create an encrypted room in A, and bring the user of B in");
    let room_id = encrypted_room(&alice, &bob).await?;

    step("messages both ways, decrypted on arrival");
    alice.say(&room_id, QUESTION).await?;
    bob.hears(&room_id, &alice.user_id, QUESTION).await?;
    bob.say(&room_id, ANSWER).await?;
    alice.hears(&room_id, &bob.user_id, ANSWER).await?;

    step("verify the devices by emoji");
    verify_by_emoji(&alice, &bob).await?;
    ensure_verified(&alice, &bob).await?;
    ensure_verified(&bob, &alice).await?;

    step("back up the room keys behind a recovery key");
    let recovery = alice.client.encryption().recovery();
    let recovery_key = recovery.enable().wait_for_backups_to_upload().await?;

    step("restore them on a new device, with nobody else to ask for a key");
    drop(alice);
    let alice = alice_account.log_in("Alice's phone").await?;
    let room = alice.joined_room(&room_id).await?;
    ensure!(
        !history(&room).await?.iter().any(|body| body == QUESTION),
        "the new device reads the history without the backup"
    );
    let encryption = alice.client.encryption();
    encryption.recovery().recover(&recovery_key).await?;
    encryption
        .backups()
        .download_room_keys_for_room(&room_id)
        .await?;
    let restored = history(&room).await?;
    for body in [QUESTION, ANSWER] {
        ensure!(
            restored.iter().any(|text| text == body),
            "not restored: {body:?} ({restored:?})"
        );
    }
    let own = encryption
        .get_own_device()
        .await?
        .context("the new device does not know itself")?;
    ensure!(
        own.is_cross_signed_by_owner(),
        "recovery did not sign the new device"
    );

    step("the conversation goes on with the new device");
    let peer = bob.client.encryption();
    eventually("the other server learns of the new device", async || {
        let device = peer.get_device(&alice.user_id, &alice.device_id).await;
        matches!(device, Ok(Some(device)) if device.is_cross_signed_by_owner())
    })
    .await?;
    bob.say(&room_id, "And the bridge?").await?;
    alice
        .hears(&room_id, &bob.user_id, "And the bridge?")
        .await?;
    alice.say(&room_id, "Tomorrow.").await?;
    bob.hears(&room_id, &alice.user_id, "Tomorrow.").await?;

    step("nothing went wrong unnoticed");
    let errors = journal.errors();
    ensure!(errors.is_empty(), "the SDK logged errors: {errors:#?}");
    Ok(())
}

async fn encrypted_room(alice: &Device, bob: &Device) -> Result<OwnedRoomId> {
    let mut request = CreateRoom::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.invite = vec![bob.user_id.clone()];
    request.initial_state = vec![
        InitialStateEvent::with_empty_state_key(
            RoomEncryptionEventContent::with_recommended_defaults(),
        )
        .to_raw_any(),
    ];
    let room_id = alice
        .client
        .create_room(request)
        .await?
        .room_id()
        .to_owned();
    alice.joined_room(&room_id).await?;
    let room = bob.accept_invitation(&room_id).await?;
    ensure!(
        room.latest_encryption_state().await?.is_encrypted(),
        "the room is not encrypted"
    );
    // Alice encrypts for the members she knows of.
    let room = alice
        .client
        .get_room(&room_id)
        .context("the creator is not in the room")?;
    eventually("the creator sees the other join", async || {
        let member = room.get_member_no_sync(&bob.user_id).await;
        matches!(member, Ok(Some(member)) if member.membership().as_str() == "join")
    })
    .await?;
    Ok(room_id)
}

/// `seen` and its owner are verified in the eyes of `by`.
async fn ensure_verified(by: &Device, seen: &Device) -> Result<()> {
    let encryption = by.client.encryption();
    eventually("the verification shows on device and identity", async || {
        let device = encryption.get_device(&seen.user_id, &seen.device_id).await;
        let identity = encryption.get_user_identity(&seen.user_id).await;
        matches!((device, identity), (Ok(Some(device)), Ok(Some(identity)))
            if device.is_verified() && device.is_verified_with_cross_signing() && identity.is_verified())
    })
    .await
}

/// The texts of the room's latest events that this device can decrypt.
async fn history(room: &matrix_sdk::Room) -> Result<Vec<String>> {
    let page = room.messages(MessagesOptions::backward()).await?;
    let decrypted = page.chunk.iter().filter_map(|event| match &event.kind {
        TimelineEventKind::Decrypted(decrypted) => decrypted.event.deserialize().ok(),
        _ => None,
    });
    let texts = decrypted.filter_map(|event| match event.into() {
        AnySyncTimelineEvent::MessageLike(AnySyncMessageLikeEvent::RoomMessage(
            SyncRoomMessageEvent::Original(message),
        )) => Some(message.content.body().to_owned()),
        _ => None,
    });
    Ok(texts.collect())
}

fn step(what: &str) {
    println!("--- {what}");
}
