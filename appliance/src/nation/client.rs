//! A Matrix client of a few lines: what the demonstration and the tests drive boxes with, through the public API alone.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client as Http, Method};
use serde_json::{Value, json};

/// How long a wait for something to arrive may take before it is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A logged-in user at one server.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    base_url: String,
    token: String,
    /// `@agent:server`
    pub user_id: String,
    /// The device this client logged in as.
    pub device_id: String,
}

impl Client {
    /// Logs in with a password.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn login(base_url: &str, user: &str, password: &str) -> Result<Self> {
        let anonymous = Self {
            http: Http::new(),
            base_url: base_url.trim_end_matches('/').to_owned(),
            token: String::new(),
            user_id: String::new(),
            device_id: String::new(),
        };
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": password,
        });
        let session = anonymous
            .call(Method::POST, "/_matrix/client/v3/login", Some(&body))
            .await?;
        Ok(Self {
            token: text(&session, "access_token")?,
            user_id: text(&session, "user_id")?,
            device_id: text(&session, "device_id")?,
            ..anonymous
        })
    }

    /// One request to the client-server API; the answer's JSON.
    ///
    /// # Errors
    ///
    /// With status, `errcode` and `error`, where the answer is one.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base_url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let body: Value = answer
            .json()
            .await
            .with_context(|| format!("{method} {path}: {status}"))?;
        if status.is_success() {
            return Ok(body);
        }
        bail!(
            "{method} {path}: {status} {} {}",
            text(&body, "errcode")?,
            text(&body, "error").unwrap_or_default()
        )
    }

    /// Where the server is, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What the server knows this device by.
    pub fn access_token(&self) -> &str {
        &self.token
    }

    /// Makes a room and returns its id.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn create_room(&self, parameters: &Value) -> Result<String> {
        text(
            &self
                .call(
                    Method::POST,
                    "/_matrix/client/v3/createRoom",
                    Some(parameters),
                )
                .await?,
            "room_id",
        )
    }

    /// Invites a user.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn invite(&self, room_id: &str, user_id: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/invite");
        self.call(Method::POST, &path, Some(&json!({ "user_id": user_id })))
            .await
            .map(drop)
    }

    /// Joins a room by id or alias, with the help of `via`.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn join(&self, room: &str, via: &[&str]) -> Result<String> {
        let via: Vec<String> = via.iter().map(|server| format!("via={server}")).collect();
        let path = format!(
            "/_matrix/client/v3/join/{}?{}",
            room.replace('#', "%23"),
            via.join("&")
        );
        text(
            &self.call(Method::POST, &path, Some(&json!({}))).await?,
            "room_id",
        )
    }

    /// Sends a text message and returns its event id.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn send_text(&self, room_id: &str, txn_id: &str, message: &str) -> Result<String> {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{txn_id}");
        let body = json!({ "msgtype": "m.text", "body": message });
        text(
            &self.call(Method::PUT, &path, Some(&body)).await?,
            "event_id",
        )
    }

    /// Uploads a file and returns its `mxc://` address.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn upload(&self, content_type: &str, bytes: Vec<u8>) -> Result<String> {
        let url = format!("{}/_matrix/media/v3/upload", self.base_url);
        let request = self.http.post(url).bearer_auth(&self.token);
        let request = request.header("content-type", content_type).body(bytes);
        let answer = request.send().await?.error_for_status()?;
        text(&answer.json().await?, "content_uri")
    }

    /// Downloads the file at an `mxc://` address.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn download(&self, uri: &str) -> Result<Vec<u8>> {
        let path = uri.strip_prefix("mxc://").context("not a mxc:// address")?;
        let path = format!("/_matrix/client/v1/media/download/{path}");
        self.fetch(&path).await
    }

    /// The bytes at a path.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn fetch(&self, path: &str) -> Result<Vec<u8>> {
        let url = format!("{}{path}", self.base_url);
        let request = self.http.get(url).bearer_auth(&self.token);
        let answer = request.send().await?.error_for_status()?;
        Ok(answer.bytes().await?.into())
    }

    /// One sync; waits up to `timeout` for something new.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn sync(&self, since: Option<&str>, timeout: Duration) -> Result<Value> {
        let since = since
            .map(|since| format!("&since={since}"))
            .unwrap_or_default();
        let path = format!(
            "/_matrix/client/v3/sync?timeout={}{since}",
            timeout.as_millis()
        );
        self.call(Method::GET, &path, None).await
    }

    /// Syncs from `since` on until `find` finds what it looks for in an answer. Returns that, and where the sync stands.
    ///
    /// # Errors
    ///
    /// What the server says, or that it did not arrive in time.
    pub async fn sync_until<T>(
        &self,
        since: Option<String>,
        what: &str,
        find: impl Fn(&Value) -> Option<T>,
    ) -> Result<(T, String)> {
        let mut since = since;
        let search = async {
            loop {
                let answer = self.sync(since.as_deref(), Duration::from_secs(10)).await?;
                let next = text(&answer, "next_batch")?;
                if let Some(found) = find(&answer) {
                    return anyhow::Ok((found, next));
                }
                since = Some(next);
            }
        };
        tokio::time::timeout(PATIENCE, search)
            .await
            .with_context(|| format!("{} waited {PATIENCE:?} for {what}", self.user_id))?
    }
}

/// The message events with this body in a sync answer's timeline of a room.
pub fn messages<'a>(sync: &'a Value, room_id: &str) -> impl Iterator<Item = &'a Value> {
    sync["rooms"]["join"][room_id]["timeline"]["events"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter(|event| event["type"] == "m.room.message")
}

fn text(value: &Value, key: &str) -> Result<String> {
    let found = value[key]
        .as_str()
        .with_context(|| format!("the answer has no {key}: {value}"))?;
    Ok(found.to_owned())
}
