//! Setting and listing pushers.

use luxchat_store::{NewPusher, Pusher, UserNid};
use ruma::OwnedDeviceId;
use serde_json::{Map, Value};
use url::Url;

use crate::{Error, Push, Result};

/// Pushers of one user.
const PUSHERS: usize = 50;

/// Limits of what a client says of a pusher, in bytes. The first two are the specification's.
const APP_ID: usize = 64;
const PUSHKEY: usize = 512;
const TEXT: usize = 512;
const DATA: usize = 8 * 1024;

/// A pusher that a client wants.
#[derive(Clone, Debug)]
pub struct PusherRequest {
    /// The app; with the key it names the pusher.
    pub app_id: String,
    /// What the gateway knows the app's installation by.
    pub pushkey: String,
    /// What the app calls itself.
    pub app_display_name: String,
    /// What the app calls the device.
    pub device_display_name: String,
    /// Which set of device rules it follows.
    pub profile_tag: Option<String>,
    /// The language of notifications.
    pub lang: String,
    /// The gateway.
    pub url: String,
    /// What is passed on to the gateway.
    pub data: Map<String, Value>,
    /// Leave other users' pushers of the same app and key alone.
    pub append: bool,
}

impl Push {
    /// A user's pushers.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn pushers(&self, user: UserNid) -> Result<Vec<Pusher>> {
        Ok(self.store().read(move |tx| tx.pushers_of(user)).await?)
    }

    /// Makes or changes a pusher of a user, on behalf of one of their devices, with which it goes.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::GatewayNotAllowed`]; [`Error::TooManyPushers`].
    pub async fn set_pusher(
        &self,
        user: UserNid,
        device_id: OwnedDeviceId,
        request: PusherRequest,
    ) -> Result<()> {
        let append = request.append;
        let pusher = self.check(request)?;
        self.store()
            .write(move |tx| {
                let held = tx.pushers_of(user)?;
                let is_new = !held.iter().any(|held| {
                    held.settings.app_id == pusher.app_id && held.settings.pushkey == pusher.pushkey
                });
                if is_new && held.len() >= PUSHERS {
                    return Err(Error::TooManyPushers(PUSHERS));
                }
                tx.set_pusher(user, &device_id, &pusher, append)?;
                Ok(())
            })
            .await?;
        self.shared.signals.pushers_changed(user);
        Ok(())
    }

    /// Removes a user's pusher, if there is one.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn delete_pusher(
        &self,
        user: UserNid,
        app_id: String,
        pushkey: String,
    ) -> Result<()> {
        let delete =
            move |tx: &mut luxchat_store::WriteTx<'_>| tx.delete_pusher(user, &app_id, &pushkey);
        self.store().write(delete).await?;
        self.shared.signals.pushers_changed(user);
        Ok(())
    }

    fn check(&self, request: PusherRequest) -> Result<NewPusher> {
        for (name, value, limit) in [
            ("app_id", &request.app_id, APP_ID),
            ("pushkey", &request.pushkey, PUSHKEY),
            ("app_display_name", &request.app_display_name, TEXT),
            ("device_display_name", &request.device_display_name, TEXT),
            ("lang", &request.lang, TEXT),
        ] {
            if value.len() > limit {
                return Err(Error::Invalid(format!(
                    "{name} is longer than {limit} bytes"
                )));
            }
        }
        for (name, value) in [("app_id", &request.app_id), ("pushkey", &request.pushkey)] {
            if value.is_empty() {
                return Err(Error::Invalid(format!("{name} is empty")));
            }
        }
        let tag = request.profile_tag.as_deref().unwrap_or_default();
        if tag.len() > TEXT || request.url.len() > TEXT {
            let why = format!("profile_tag or url is longer than {TEXT} bytes");
            return Err(Error::Invalid(why));
        }
        let url = Url::parse(&request.url)
            .map_err(|error| Error::Invalid(format!("data.url: {error}")))?;
        if !self.shared.config.allows(&url) {
            return Err(Error::GatewayNotAllowed(request.url));
        }
        let data = Value::Object(request.data).to_string();
        if data.len() > DATA {
            return Err(Error::Invalid(format!("data is longer than {DATA} bytes")));
        }
        Ok(NewPusher {
            app_id: request.app_id,
            pushkey: request.pushkey,
            app_display_name: request.app_display_name,
            device_display_name: request.device_display_name,
            profile_tag: request.profile_tag,
            lang: request.lang,
            url: url.into(),
            data,
        })
    }
}
