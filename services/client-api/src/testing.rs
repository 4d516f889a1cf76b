//! A whole client API on a temporary database, and a client to speak to it without a network.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode, header::AUTHORIZATION};
use luxchat_accounts::{Accounts, Config as AccountsConfig, NewAccount, PasswordCost};
use luxchat_application_services::{ApplicationServices, Registration};
use luxchat_encryption::Encryption;
use luxchat_federation::Federation;
use luxchat_media::Media;
use luxchat_previews::{Config as PreviewsConfig, Previews};
use luxchat_push::{Config as PushConfig, Push};
use luxchat_rooms::Rooms;
use luxchat_store::{Config as StoreConfig, Store};
use luxchat_sync::{Presence, Receipts, Sync, Typing};
use ruma::{server_name, signatures::Ed25519KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::{Config, Services, router};

pub(crate) const PASSWORD: &str = "correct horse";

/// A server `example.org` whose requests are function calls.
pub(crate) struct Server {
    pub(crate) services: Services,
    router: Router,
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `null` where the body was empty, or is no JSON.
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

impl Answered {
    /// Status and Matrix error code, for comparison.
    pub(crate) fn error(&self) -> (u16, &str) {
        let code = self.body["errcode"].as_str().unwrap_or_default();
        (self.status.as_u16(), code)
    }

    /// The body of an answer that must be a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(AccountsConfig::default(), Config::default())
    }

    pub(crate) fn with(accounts: AccountsConfig, config: Config) -> Self {
        Self::with_services(accounts, config, Vec::new())
    }

    /// A server that knows some application services.
    pub(crate) fn with_services(
        accounts: AccountsConfig,
        config: Config,
        registrations: Vec<Registration>,
    ) -> Self {
        Self::with_services_changed(accounts, config, registrations, |_| {})
    }

    /// A server with other services than most.
    pub(crate) fn with_services_changed(
        mut accounts: AccountsConfig,
        config: Config,
        registrations: Vec<Registration>,
        change: impl FnOnce(&mut Services),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Store::open(StoreConfig::new(
            path,
            server_name!("example.org").to_owned(),
        ))
        .unwrap();
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
        let federation = Federation::local_only(store.clone(), key).unwrap();
        accounts.password_cost = PasswordCost::cheap();
        let typing = Typing::new(store.clone());
        let presence = Presence::new(store.clone(), true);
        let push = PushConfig {
            gateways: vec!["https://push.example.org".parse().unwrap()],
            ..PushConfig::default()
        };
        let push = Push::new(store.clone(), push).unwrap();
        let mut services = Services {
            accounts: Accounts::new(store.clone(), accounts).unwrap(),
            rooms: Rooms::new(
                store.clone(),
                federation.clone(),
                luxchat_rooms::Config::default(),
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
            media: Media::open(
                store.clone(),
                federation.clone(),
                luxchat_media::Config {
                    free_bytes: 0,
                    ..luxchat_media::Config::new(folder.path().join("media"))
                },
            )
            .unwrap(),
            previews: Some(Previews::new(store.clone(), PreviewsConfig::default()).unwrap()),
            typing,
            presence,
            application_services: ApplicationServices::new(store.clone(), registrations).unwrap(),
            federation,
            store,
        };
        change(&mut services);
        Self {
            router: router(services.clone(), config),
            services,
            _folder: folder,
        }
    }

    /// Makes an account and logs it in; returns its access token.
    pub(crate) async fn user(&self, username: &str) -> String {
        let account = NewAccount {
            username: Some(username.to_owned()),
            password: Some(PASSWORD.to_owned()),
            is_admin: false,
        };
        self.services.accounts.create(account).await.unwrap();
        let body = self.log_in(username, json!({})).await.ok();
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// Logs in by password, with `extra` fields in the request.
    pub(crate) async fn log_in(&self, username: &str, extra: Value) -> Answered {
        let mut body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": username },
            "password": PASSWORD,
        });
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.send(Method::POST, "/_matrix/client/v3/login", None, body)
            .await
    }

    /// Makes a room and returns its id.
    pub(crate) async fn room(&self, token: &str, request: Value) -> String {
        let path = "/_matrix/client/v3/createRoom";
        let body = self.post(path, token, request).await.ok();
        body["room_id"].as_str().unwrap().to_owned()
    }

    /// Sends a text message and returns its event id.
    pub(crate) async fn message(&self, token: &str, room: &str, text: &str) -> String {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{text}");
        let content = json!({ "msgtype": "m.text", "body": text });
        let body = self.put(&path, token, content).await.ok();
        body["event_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answered {
        self.send(Method::GET, path, Some(token), Value::Null).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: Value) -> Answered {
        self.send(Method::PUT, path, Some(token), body).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answered {
        self.send(Method::POST, path, Some(token), body).await
    }

    /// Sends a JSON body, or none where it is `null`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Value,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        self.request(request.body(body).unwrap()).await
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes: bytes.into(),
        }
    }
}
