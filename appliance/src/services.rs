//! The services of a box, put together.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use axum::Router;
use luxchat_accounts::Accounts;
use luxchat_application_services::{ApplicationServices, Live};
use luxchat_client_api as client_api;
use luxchat_encryption::Encryption;
use luxchat_federation::Federation;
use luxchat_federation_api as federation_api;
use luxchat_media::Media;
use luxchat_previews::Previews;
use luxchat_push::Push;
use luxchat_rooms::Rooms;
use luxchat_store::{Position, RoomNid, Store, UserNid};
use luxchat_sync::{Presence, Receipts, Sync, Typing};
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{config::Config, data_dir::DataDir, settings};

/// How often the box lets go of what has served its time.
const MAINTENANCE_PERIOD: Duration = Duration::from_hours(1);

/// The services of a box, each over the one store.
#[expect(
    clippy::struct_field_names,
    reason = "application services are called so by the specification"
)]
pub(crate) struct Services {
    pub(crate) store: Store,
    pub(crate) federation: Federation,
    pub(crate) accounts: Accounts,
    pub(crate) rooms: Rooms,
    pub(crate) encryption: Encryption,
    pub(crate) sync: Sync,
    pub(crate) receipts: Receipts,
    pub(crate) typing: Typing,
    pub(crate) presence: Presence,
    pub(crate) media: Media,
    pub(crate) previews: Option<Previews>,
    pub(crate) push: Push,
    pub(crate) application_services: ApplicationServices,
}

impl Services {
    pub(crate) fn new(
        config: &Config,
        data: &DataDir,
        store: &Store,
        federation: &Federation,
    ) -> Result<Self> {
        let (store, federation) = (store.clone(), federation.clone());
        let typing = Typing::new(store.clone());
        let presence = Presence::new(store.clone(), config.presence.enabled);
        let push = Push::new(store.clone(), settings::push(&config.push)?)?;
        Ok(Self {
            accounts: Accounts::new(store.clone(), settings::accounts(config)?)?,
            rooms: Rooms::new(
                store.clone(),
                federation.clone(),
                settings::rooms(&config.rooms),
            ),
            encryption: Encryption::new(
                store.clone(),
                federation.clone(),
                luxchat_encryption::Config::default(),
            ),
            sync: Sync::new(store.clone(), typing.clone(), presence.clone())
                .counting(Arc::new(push.clone())),
            push,
            receipts: Receipts::new(store.clone()),
            typing,
            presence,
            media: Media::open(
                store.clone(),
                federation.clone(),
                settings::media(config, data.media()),
            )?,
            previews: settings::previews(&config.previews)
                .map(|previews| Previews::new(store.clone(), previews))
                .transpose()?,
            application_services: ApplicationServices::new(
                store.clone(),
                settings::application_services(config)?,
            )?,
            store,
            federation,
        })
    }

    pub(crate) fn client_router(&self, config: &Config) -> Result<Router> {
        let config = settings::client_api(config)?;
        let open =
            federation_api::open_router(self.for_federation(), federation_api::Config::default());
        Ok(client_api::router_beside(
            self.client_services(),
            config,
            open,
        ))
    }

    pub(crate) fn client_services(&self) -> client_api::Services {
        client_api::Services {
            store: self.store.clone(),
            accounts: self.accounts.clone(),
            rooms: self.rooms.clone(),
            encryption: self.encryption.clone(),
            sync: self.sync.clone(),
            receipts: self.receipts.clone(),
            typing: self.typing.clone(),
            presence: self.presence.clone(),
            media: self.media.clone(),
            previews: self.previews.clone(),
            push: self.push.clone(),
            application_services: self.application_services.clone(),
            federation: self.federation.clone(),
        }
    }

    pub(crate) fn federation_router(&self, directory: Option<Router>) -> Router {
        let config = federation_api::Config::default();
        let router = federation_api::router(self.for_federation(), config);
        directory.into_iter().fold(router, Router::merge)
    }

    pub(crate) fn for_federation(&self) -> federation_api::Services {
        federation_api::Services {
            store: self.store.clone(),
            accounts: self.accounts.clone(),
            rooms: self.rooms.clone(),
            encryption: self.encryption.clone(),
            typing: self.typing.clone(),
            presence: self.presence.clone(),
            receipts: self.receipts.clone(),
            media: self.media.clone(),
            application_services: self.application_services.clone(),
            federation: self.federation.clone(),
        }
    }
}

impl Services {
    /// Makes the accounts that application services act as where they name no other.
    pub(crate) async fn make_service_users(&self) -> Result<()> {
        for service in self.application_services.all() {
            match self.accounts.create_for_service(service.sender()).await {
                Ok(()) | Err(luxchat_accounts::Error::UserInUse) => {}
                Err(error) => {
                    return Err(error).context(format!("application service {}", service.id()));
                }
            }
        }
        Ok(())
    }

    /// Makes the account that the box itself speaks as.
    pub(crate) async fn make_speaker(&self, config: &Config) -> Result<()> {
        let notices = &config.server_notices;
        let user_id =
            UserId::parse_with_server_name(&*notices.localpart, self.store.server_name())?;
        match self.accounts.create_for_service(&user_id).await {
            Ok(()) => {}
            Err(luxchat_accounts::Error::UserInUse) => {
                let account = self.accounts.account(&user_id).await?;
                if account.password_hash.is_some() {
                    bail!("server_notices.localpart: {user_id} is a person's account");
                }
            }
            Err(error) => return Err(error).context("server_notices.localpart"),
        }
        let name = notices.display_name.clone();
        Ok(self.accounts.set_display_name(&user_id, name).await?)
    }

    /// What application services are told beside events.
    pub(crate) fn live_users(&self) -> Arc<dyn Live> {
        Arc::new(LiveUsers {
            typing: self.typing.clone(),
            presence: self.presence.clone(),
        })
    }

    /// Lets go, now and again, of what has served its time: queues over their caps, ids kept against repetition.
    pub(crate) async fn maintain(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(MAINTENANCE_PERIOD);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.encryption.maintain().await {
                warn!(%error, "the maintenance of device messages failed");
            }
            if let Err(error) = self.rooms.forget_old_transactions().await {
                warn!(%error, "the maintenance of client transactions failed");
            }
        }
    }
}

/// What application services are told beside events.
#[derive(Debug)]
struct LiveUsers {
    typing: Typing,
    presence: Presence,
}

impl Live for LiveUsers {
    fn typing(&self, room: RoomNid, since: Position) -> Option<Vec<OwnedUserId>> {
        self.typing.changed_since(room, since)
    }

    fn presence(&self, since: Position, limit: usize) -> Vec<(UserNid, Value)> {
        let changed = self.presence.changed_since(since, limit).into_iter();
        let shown = changed.filter_map(|user| Some((user, self.presence.shown(user)?)));
        shown
            .map(|(user, shown)| {
                let mut content = json!({
                    "presence": shown.state,
                    "currently_active": shown.currently_active,
                });
                if let Some(ago) = shown.last_active_ago {
                    content["last_active_ago"] = ago.into();
                }
                if let Some(message) = shown.status_msg {
                    content["status_msg"] = message.into();
                }
                (user, content)
            })
            .collect()
    }
}
