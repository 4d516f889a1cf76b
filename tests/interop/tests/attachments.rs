//! An encrypted picture from one ministry to the other, which then does without the first.

// The futures of matrix-sdk are nested more deeply than the compiler looks by default.
#![recursion_limit = "512"]

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use luxchat_interop::{Account, Nation, eventually, eventually_some};
use matrix_sdk::{
    attachment::AttachmentConfig,
    media::{MediaFormat, MediaRequestParameters},
    ruma::{
        api::client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        events::{
            InitialStateEvent,
            room::{
                MediaSource,
                encryption::RoomEncryptionEventContent,
                message::{MessageType, OriginalSyncRoomMessageEvent},
            },
        },
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_outlives_the_server_that_it_came_from() -> Result<()> {
    let Some(mut nation) = Nation::start().await? else {
        println!("SKIPPED: attachments: LUXCHAT_APPLIANCE names no program to start boxes with");
        return Ok(());
    };
    let alice = Account::register(&nation.ministry("interieur")?, "alice").await?;
    let alice = alice.log_in("Alice's desk").await?;
    let bob = Account::register(&nation.ministry("sante")?, "bob").await?;
    let bob = bob.log_in("Bob's desk").await?;

    let mut request = CreateRoom::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.invite = vec![bob.user_id.clone()];
    let encryption = RoomEncryptionEventContent::with_recommended_defaults();
    request.initial_state = vec![InitialStateEvent::with_empty_state_key(encryption).to_raw_any()];
    let room = alice.client.create_room(request).await?;
    let room_id = room.room_id().to_owned();
    alice.joined_room(&room_id).await?;
    bob.accept_invitation(&room_id).await?;
    let room = alice.client.get_room(&room_id);
    let room = room.context("the creator is not in the room")?;
    eventually("the creator sees the other join", async || {
        let member = room.get_member_no_sync(&bob.user_id).await;
        matches!(member, Ok(Some(member)) if member.membership().as_str() == "join")
    })
    .await?;

    let arrived = Arc::<Mutex<Option<MediaSource>>>::default();
    let noted = arrived.clone();
    bob.client
        .add_event_handler(async move |event: OriginalSyncRoomMessageEvent| {
            if let MessageType::Image(image) = event.content.msgtype {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(image.source);
            }
        });
    let picture: Vec<u8> = (0..1_500_000_u32)
        .map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let config = AttachmentConfig::new();
    room.send_attachment("map.png", &mime::IMAGE_PNG, picture.clone(), config)
        .await?;
    let source = eventually_some("the picture arrives", async || {
        arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    })
    .await?;
    ensure!(
        matches!(source, MediaSource::Encrypted(_)),
        "the picture is not encrypted"
    );

    // Never from what the SDK itself keeps.
    let request = MediaRequestParameters {
        source,
        format: MediaFormat::File,
    };
    let media = bob.client.media();
    let seen = media.get_media_content(&request, false).await?;
    ensure!(seen == picture, "the picture is not what was sent");

    nation.stop("interieur")?;
    let seen = media.get_media_content(&request, false).await?;
    ensure!(seen == picture, "the picture has changed");
    Ok(())
}
