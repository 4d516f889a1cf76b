//! A person's device: a logged-in client that syncs in the background and notes what arrives.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use matrix_sdk::{
    Client, Room, RoomState, SlidingSyncList, SlidingSyncMode,
    config::SyncSettings,
    deserialized_responses::EncryptionInfo,
    encryption::{BackupDownloadStrategy, EncryptionSettings},
    ruma::{
        OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId,
        events::{
            key::verification::request::ToDeviceKeyVerificationRequestEvent,
            room::{
                encrypted::OriginalSyncRoomEncryptedEvent,
                message::{OriginalSyncRoomMessageEvent, RoomMessageEventContent},
            },
        },
    },
    sliding_sync::VersionBuilder,
};
use tokio::task::JoinHandle;

use crate::{Homeserver, Reader, eventually_some};

const LONG_POLL: Duration = Duration::from_secs(20);

/// A registered user of one homeserver.
#[derive(Debug)]
pub struct Account {
    base_url: String,
    pub user_id: OwnedUserId,
    password: String,
}

/// What arrived in a room, as it arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A text message; `encrypted` says whether it was decrypted or came in the clear.
    Text {
        room_id: OwnedRoomId,
        sender: OwnedUserId,
        body: String,
        encrypted: bool,
    },
    /// An event whose key had not arrived before it.
    Undecryptable {
        room_id: OwnedRoomId,
        sender: OwnedUserId,
    },
}

/// One device of an account. It syncs until it is dropped.
#[derive(Debug)]
pub struct Device {
    pub client: Client,
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
    inbox: Arc<Mutex<Vec<Message>>>,
    verifications: Arc<Mutex<Vec<(OwnedUserId, String)>>>,
    syncing: JoinHandle<()>,
}

impl Account {
    /// Registers a user whose name begins with `name` and was never used before.
    pub async fn register(server: &Homeserver, name: &str) -> Result<Self> {
        let localpart = format!("{name}-{:08x}", rand::random::<u32>());
        let password = format!("{:032x}", rand::random::<u128>());
        let client = Client::builder()
            .homeserver_url(&server.base_url)
            .build()
            .await?;
        let user_id = server
            .registration
            .register(&client, &localpart, &password)
            .await?;
        Ok(Self {
            base_url: server.base_url.clone(),
            user_id,
            password,
        })
    }

    /// Logs a new device in and starts its sync. The account's first device sets cross-signing up.
    pub async fn log_in(&self, device_name: &str) -> Result<Device> {
        let client = self.client(device_name, VersionBuilder::None).await?;
        Device::start(client).await
    }

    /// The same with a device that keeps its rooms by sliding sync, as the server must say that it can.
    pub async fn log_in_sliding(&self, device_name: &str) -> Result<Device> {
        let client = self
            .client(device_name, VersionBuilder::DiscoverNative)
            .await?;
        Device::start_sliding(client).await
    }

    /// The same with a device that shows a room list and timelines, as Element X does.
    pub async fn log_in_reading(&self, device_name: &str) -> Result<Reader> {
        let client = self
            .client(device_name, VersionBuilder::DiscoverNative)
            .await?;
        Reader::start(client).await
    }

    async fn client(&self, device_name: &str, sliding: VersionBuilder) -> Result<Client> {
        let encryption = EncryptionSettings {
            auto_enable_cross_signing: true,
            auto_enable_backups: false,
            backup_download_strategy: BackupDownloadStrategy::Manual,
        };
        let client = Client::builder()
            .homeserver_url(&self.base_url)
            .with_encryption_settings(encryption)
            .sliding_sync_version_builder(sliding)
            .build()
            .await?;
        client
            .matrix_auth()
            .login_username(&self.user_id, &self.password)
            .initial_device_display_name(device_name)
            .await?;
        client
            .encryption()
            .wait_for_e2ee_initialization_tasks()
            .await;
        Ok(client)
    }
}

impl Device {
    async fn start(client: Client) -> Result<Self> {
        // Before the handlers: what happened earlier has not "arrived".
        client.sync_once(SyncSettings::default()).await?;
        let syncing = client.clone();
        Self::with_sync(client, async move {
            let settings = SyncSettings::default().timeout(LONG_POLL);
            if let Err(error) = syncing.sync(settings).await {
                tracing::error!(target: "matrix_sdk::interop", %error, "sync ended");
            }
        })
    }

    async fn start_sliding(client: Client) -> Result<Self> {
        let required = [("m.room.encryption", ""), ("m.room.member", "$LAZY")];
        let required = required.map(|(event_type, key)| (event_type.into(), key.to_owned()));
        let list = SlidingSyncList::builder("all")
            .sync_mode(SlidingSyncMode::new_growing(1))
            .timeline_limit(10)
            .required_state(required.into());
        let sliding = client
            .sliding_sync("rooms")?
            .add_list(list)
            .with_all_extensions()
            .poll_timeout(LONG_POLL)
            .build()
            .await?;
        Self::with_sync(client, async move {
            let mut updates = pin!(sliding.sync());
            while let Some(update) = updates.next().await {
                if let Err(error) = update {
                    tracing::error!(target: "matrix_sdk::interop", %error, "sliding sync failed");
                }
            }
        })
    }

    fn with_sync(client: Client, sync: impl Future<Output = ()> + Send + 'static) -> Result<Self> {
        let user_id = client
            .user_id()
            .context("no user id after the login")?
            .to_owned();
        let device_id = client
            .device_id()
            .context("no device id after the login")?
            .to_owned();
        let inbox = note_messages(&client);
        let verifications = note_verification_requests(&client);
        let syncing = tokio::spawn(sync);
        Ok(Self {
            client,
            user_id,
            device_id,
            inbox,
            verifications,
            syncing,
        })
    }

    /// Waits for an invitation and accepts it.
    pub async fn accept_invitation(&self, room_id: &RoomId) -> Result<Room> {
        let invited = async || {
            let room = self.client.get_room(room_id)?;
            (room.state() == RoomState::Invited).then_some(room)
        };
        let room = eventually_some("the invitation arrives", invited).await?;
        room.join().await?;
        self.joined_room(room_id).await
    }

    /// Waits until the sync shows the room as joined.
    pub async fn joined_room(&self, room_id: &RoomId) -> Result<Room> {
        eventually_some("the joined room shows in the sync", async || {
            let room = self.client.get_room(room_id)?;
            (room.state() == RoomState::Joined).then_some(room)
        })
        .await
    }

    /// Sends a text into a room, encrypted where the room is.
    pub async fn say(&self, room_id: &RoomId, body: &str) -> Result<()> {
        let room = self
            .client
            .get_room(room_id)
            .context("the sender is not in the room")?;
        room.send(RoomMessageEventContent::text_plain(body)).await?;
        Ok(())
    }

    /// Waits until `body` from `sender` is there, and checks that it came encrypted and was decrypted on arrival.
    pub async fn hears(&self, room_id: &RoomId, sender: &UserId, body: &str) -> Result<()> {
        let expected = Message::Text {
            room_id: room_id.to_owned(),
            sender: sender.to_owned(),
            body: body.to_owned(),
            encrypted: true,
        };
        let undecryptable = Message::Undecryptable {
            room_id: room_id.to_owned(),
            sender: sender.to_owned(),
        };
        let what = format!("{} hears {body:?} from {sender}", self.user_id);
        let found = eventually_some(&what, async || {
            let inbox = lock(&self.inbox);
            inbox
                .iter()
                .find(|message| **message == expected || **message == undecryptable)
                .cloned()
        })
        .await;
        match found {
            Ok(message) if message == expected => Ok(()),
            Ok(_) => anyhow::bail!("{what}: an event arrived before its key"),
            Err(error) => Err(error.context(format!("arrived: {:?}", lock(&self.inbox)))),
        }
    }

    /// Waits for a request of `other` to verify each other, and returns its flow id.
    pub(crate) async fn verification_request(&self, other: &UserId) -> Result<String> {
        eventually_some("the verification request arrives", async || {
            let requests = lock(&self.verifications);
            requests
                .iter()
                .rev()
                .find(|(from, _)| from == other)
                .map(|(_, flow)| flow.clone())
        })
        .await
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.syncing.abort();
    }
}

fn note_messages(client: &Client) -> Arc<Mutex<Vec<Message>>> {
    let inbox = Arc::<Mutex<Vec<Message>>>::default();
    let texts = inbox.clone();
    client.add_event_handler(
        async move |event: OriginalSyncRoomMessageEvent,
                    room: Room,
                    encryption: Option<EncryptionInfo>| {
            lock(&texts).push(Message::Text {
                room_id: room.room_id().to_owned(),
                sender: event.sender,
                body: event.content.body().to_owned(),
                encrypted: encryption.is_some(),
            });
        },
    );
    let undecryptable = inbox.clone();
    client.add_event_handler(
        async move |event: OriginalSyncRoomEncryptedEvent, room: Room| {
            lock(&undecryptable).push(Message::Undecryptable {
                room_id: room.room_id().to_owned(),
                sender: event.sender,
            });
        },
    );
    inbox
}

fn note_verification_requests(client: &Client) -> Arc<Mutex<Vec<(OwnedUserId, String)>>> {
    let requests = Arc::<Mutex<Vec<(OwnedUserId, String)>>>::default();
    let noted = requests.clone();
    client.add_event_handler(async move |event: ToDeviceKeyVerificationRequestEvent| {
        lock(&noted).push((event.sender, event.content.transaction_id.to_string()));
    });
    requests
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
