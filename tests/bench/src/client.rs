//! The client-server API calls that the scenarios make, as a lean client makes them.

use std::{collections::HashMap, fmt::Write as _};

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    connection::{Connection, Failure, Payload},
    target::Target,
};

/// Ten events a room, as most clients ask for at first.
const SYNC_FILTER: &str = r#"{"room":{"timeline":{"limit":10}}}"#;

/// The same of clients that learn of members when they come up, as those do that are at home in large rooms.
const LAZY_FILTER: &str =
    r#"{"room":{"timeline":{"limit":10},"state":{"lazy_load_members":true}}}"#;

/// A logged-in device.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    authorization: HeaderValue,
}

/// A device with a connection of its own.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    session: Session,
}

/// The answer to `/sync`, undecoded but for its token.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) next_batch: String,
    pub(crate) body: Bytes,
}

/// A page of a room's history.
#[derive(Deserialize)]
pub(crate) struct Page {
    chunk: Vec<PageEvent>,
    pub(crate) end: Option<String>,
}

#[derive(Deserialize)]
struct PageEvent {
    #[serde(default)]
    content: PageContent,
}

#[derive(Default, Deserialize)]
struct PageContent {
    #[serde(default)]
    body: Option<String>,
}

#[derive(Deserialize)]
struct JoinedMembers {
    joined: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct UserId {
    user_id: String,
}

#[derive(Deserialize)]
struct JoinedRooms {
    #[serde(default)]
    rooms: SyncedRooms,
}

#[derive(Default, Deserialize)]
struct SyncedRooms {
    #[serde(default)]
    join: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct RoomId {
    room_id: String,
}

#[derive(Deserialize)]
struct ContentUri {
    content_uri: String,
}

#[derive(Deserialize)]
struct NextBatch {
    next_batch: String,
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: String,
}

impl Session {
    /// From an access token; `None` when the token cannot stand in a header.
    pub(crate) fn new(access_token: &str) -> Option<Self> {
        let authorization = bearer(access_token)?;
        Some(Self { authorization })
    }

    /// Logs a new device in with a password.
    pub(crate) async fn log_in(
        connection: &mut Connection,
        localpart: &str,
        password: &str,
    ) -> Result<Self, Failure> {
        let body = json(&serde_json::json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": localpart },
            "password": password,
        }))?;
        let body = connection
            .request(Method::POST, "/_matrix/client/v3/login", None, body)
            .await?;
        let reply: AccessToken = serde_json::from_slice(&body)?;
        Self::new(&reply.access_token).ok_or(Failure::Incomplete("a usable access token"))
    }
}

impl Synced {
    /// Whether a joined room is in it.
    pub(crate) fn shows(&self, room_id: &str) -> bool {
        serde_json::from_slice::<JoinedRooms>(&self.body)
            .is_ok_and(|synced| synced.rooms.join.contains_key(room_id))
    }
}

impl Page {
    /// The texts of its messages, newest first.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let bodies = self.chunk.iter().map(|event| &event.content.body);
        bodies.filter_map(Option::as_deref)
    }
}

impl Client {
    pub(crate) fn new(target: Target, session: Session) -> Self {
        Self {
            connection: Connection::new(target),
            session,
        }
    }

    /// Creates an unencrypted room that anybody may join, and returns its id.
    pub(crate) async fn create_room(&mut self, name: &str) -> Result<String, Failure> {
        let body = json(&serde_json::json!({ "preset": "public_chat", "name": name }))?;
        let reply: RoomId = self.post("/_matrix/client/v3/createRoom", body).await?;
        Ok(reply.room_id)
    }

    /// Closes the connection until the next request.
    pub(crate) fn rest(&mut self) {
        self.connection.close();
    }

    pub(crate) async fn join(&mut self, room_id: &str) -> Result<(), Failure> {
        let path = format!("/_matrix/client/v3/rooms/{}/join", encode(room_id));
        self.post::<RoomId>(&path, Bytes::from_static(b"{}"))
            .await?;
        Ok(())
    }

    /// Joins a room by way of a server that is in it.
    pub(crate) async fn join_via(&mut self, room_id: &str, via: &str) -> Result<(), Failure> {
        let (room_id, via) = (encode(room_id), encode(via));
        let path = format!("/_matrix/client/v3/join/{room_id}?via={via}&server_name={via}");
        self.post::<RoomId>(&path, Bytes::from_static(b"{}"))
            .await?;
        Ok(())
    }

    /// The Matrix name of the server.
    pub(crate) async fn server_name(&mut self) -> Result<String, Failure> {
        let path = "/_matrix/client/v3/account/whoami";
        let body = self.request(Method::GET, path, Bytes::new()).await?;
        let UserId { user_id } = serde_json::from_slice(&body)?;
        let (_, server_name) = user_id
            .split_once(':')
            .ok_or(Failure::Incomplete("a user id"))?;
        Ok(server_name.to_owned())
    }

    /// How many joined members of a room the server knows.
    pub(crate) async fn count_members(&mut self, room_id: &str) -> Result<usize, Failure> {
        let room_id = encode(room_id);
        let path = format!("/_matrix/client/v3/rooms/{room_id}/joined_members");
        let body = self.request(Method::GET, &path, Bytes::new()).await?;
        let JoinedMembers { joined } = serde_json::from_slice(&body)?;
        Ok(joined.len())
    }

    /// A room's history, from its end or from the end of the page before.
    pub(crate) async fn history(
        &mut self,
        room_id: &str,
        from: Option<&str>,
        limit: usize,
    ) -> Result<Page, Failure> {
        let room_id = encode(room_id);
        let mut path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit={limit}");
        if let Some(from) = from {
            path.push_str("&from=");
            path.push_str(&encode(from));
        }
        let body = self.request(Method::GET, &path, Bytes::new()).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Sends a text message. `txn_id` must be new for this device.
    pub(crate) async fn send(
        &mut self,
        room_id: &str,
        txn_id: &str,
        text: &str,
    ) -> Result<(), Failure> {
        let room_id = encode(room_id);
        let path = format!(
            "/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{}",
            encode(txn_id)
        );
        let body = json(&serde_json::json!({ "msgtype": "m.text", "body": text }))?;
        self.request(Method::PUT, &path, body).await?;
        Ok(())
    }

    /// Syncs from the start, or from a token, waiting up to `timeout_ms` for news.
    pub(crate) async fn sync(
        &mut self,
        since: Option<&str>,
        timeout_ms: u32,
    ) -> Result<Synced, Failure> {
        self.sync_by(SYNC_FILTER, since, timeout_ms).await
    }

    /// Syncs at once, without the members that nothing is heard of.
    pub(crate) async fn sync_lazily(&mut self, since: Option<&str>) -> Result<Synced, Failure> {
        self.sync_by(LAZY_FILTER, since, 0).await
    }

    async fn sync_by(
        &mut self,
        filter: &str,
        since: Option<&str>,
        timeout_ms: u32,
    ) -> Result<Synced, Failure> {
        let mut path = format!(
            "/_matrix/client/v3/sync?set_presence=offline&timeout={timeout_ms}&filter={}",
            encode(filter)
        );
        if let Some(since) = since {
            path.push_str("&since=");
            path.push_str(&encode(since));
        }
        let body = self.request(Method::GET, &path, Bytes::new()).await?;
        let NextBatch { next_batch } = serde_json::from_slice(&body)?;
        Ok(Synced { next_batch, body })
    }

    /// A first sliding sync.
    pub(crate) async fn sliding_sync<T: DeserializeOwned>(
        &mut self,
        request: &serde_json::Value,
    ) -> Result<T, Failure> {
        let path =
            "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?set_presence=offline";
        self.post(path, json(request)?).await
    }

    /// Looks for users whose names begin with a term.
    pub(crate) async fn search_users(&mut self, term: &str) -> Result<(), Failure> {
        let body = json(&serde_json::json!({ "search_term": term, "limit": 10 }))?;
        let path = "/_matrix/client/v3/user_directory/search";
        self.request(Method::POST, path, body).await?;
        Ok(())
    }

    /// Uploads a file, and returns its server and id as they stand in a path.
    pub(crate) async fn upload(
        &mut self,
        content_type: &str,
        file: Payload,
    ) -> Result<String, Failure> {
        let path = "/_matrix/media/v3/upload";
        let authorization = &self.session.authorization;
        let body = self
            .connection
            .upload(path, authorization, content_type, file)
            .await?;
        let reply: ContentUri = serde_json::from_slice(&body)?;
        let file = reply.content_uri.strip_prefix("mxc://");
        Ok(file.ok_or(Failure::Incomplete("an mxc URI"))?.to_owned())
    }

    /// Downloads a file that [`Client::upload`] named, and returns its length.
    pub(crate) async fn download(&mut self, file: &str) -> Result<u64, Failure> {
        let path = format!("/_matrix/client/v1/media/download/{file}");
        let authorization = &self.session.authorization;
        self.connection.download(&path, authorization).await
    }

    /// Downloads the largest usual thumbnail of an image that [`Client::upload`] named.
    pub(crate) async fn thumbnail(&mut self, image: &str) -> Result<u64, Failure> {
        let path =
            format!("/_matrix/client/v1/media/thumbnail/{image}?width=800&height=600&method=scale");
        let authorization = &self.session.authorization;
        self.connection.download(&path, authorization).await
    }

    async fn post<T: DeserializeOwned>(&mut self, path: &str, body: Bytes) -> Result<T, Failure> {
        let body = self.request(Method::POST, path, body).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    async fn request(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        self.connection
            .request(method, path, Some(&self.session.authorization), body)
            .await
    }
}

/// The header that a token stands in; `None` when it cannot.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

pub(crate) fn json(value: &impl Serialize) -> Result<Bytes, Failure> {
    Ok(Bytes::from(serde_json::to_vec(value)?))
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn encode(part: &str) -> String {
    let mut encoded = String::with_capacity(part.len() + 16);
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_ids_for_a_path() {
        assert_eq!(encode("!a:b.c/é"), "%21a%3Ab.c%2F%C3%A9");
    }

    #[test]
    fn refuses_a_token_that_is_no_header() {
        assert!(Session::new("a\nb").is_none());
        assert!(Session::new("syt_abc").is_some());
    }
}
