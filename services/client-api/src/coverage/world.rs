//! Somebody with something of everything, a stranger, and well-formed requests for it.

use http::Method;
use serde_json::{Value, json};

use super::Endpoint;
use crate::testing::{Answered, Server};

/// Variables of paths that name something that belongs to somebody.
const OWNED: &[&str] = &[
    "{user_id}",
    "{room_id}",
    "{room_id_or_alias}",
    "{room_alias}",
    "{device_id}",
    "{filter_id}",
    "{version}",
    "{delay_id}",
];

/// What requests that need more than their path say: query and body, with the variables of [`World::fill`].
const REQUESTS: &[(&str, &str, &str)] = &[
    ("admin::lock_user::v1", "", r#"{"locked":true}"#),
    ("admin::suspend_user::v1", "", r#"{"suspended":true}"#),
    ("alias::create_alias::v3", "", r#"{"room_id":"{room_id}"}"#),
    (
        "appservice::set_room_visibility::v3",
        "",
        r#"{"visibility":"public"}"#,
    ),
    ("backup::add_backup_keys::v3", VERSION, r#"{"rooms":{}}"#),
    (
        "backup::add_backup_keys_for_room::v3",
        VERSION,
        r#"{"sessions":{}}"#,
    ),
    ("backup::add_backup_keys_for_session::v3", VERSION, SESSION),
    ("backup::delete_backup_keys::v3", VERSION, ""),
    ("backup::delete_backup_keys_for_room::v3", VERSION, ""),
    ("backup::delete_backup_keys_for_session::v3", VERSION, ""),
    ("backup::get_backup_keys::v3", VERSION, ""),
    ("backup::get_backup_keys_for_room::v3", VERSION, ""),
    ("backup::get_backup_keys_for_session::v3", VERSION, ""),
    ("backup::update_backup_version::v3", "", BACKUP),
    (
        "delayed_events::delayed_message_event::unstable",
        DELAY,
        MESSAGE,
    ),
    (
        "delayed_events::delayed_state_event::unstable",
        DELAY,
        r#"{"name":"x"}"#,
    ),
    (
        "delayed_events::send_delayed_event::unstable",
        "",
        r#"{"delay":1000,"content":{"body":"x"}}"#,
    ),
    (
        "delayed_events::update_delayed_event::unstable_v1",
        "",
        r#"{"action":"cancel"}"#,
    ),
    (
        "device::delete_device::v3",
        "",
        r#"{"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},"password":"correct horse"}}"#,
    ),
    ("device::update_device::v3", "", r#"{"display_name":"x"}"#),
    (
        "directory::set_room_visibility::v3",
        "",
        r#"{"visibility":"public"}"#,
    ),
    ("membership::ban_user::v3", "", CAROL),
    ("membership::invite_user::v3", "", CAROL),
    ("membership::kick_user::v3", "", CAROL),
    ("membership::unban_user::v3", "", CAROL),
    ("message::get_message_events::v3", "dir=b", ""),
    ("message::send_message_event::v3", "", MESSAGE),
    ("presence::set_presence::v3", "", r#"{"presence":"online"}"#),
    (
        "profile::set_avatar_url::v3",
        "",
        r#"{"avatar_url":"mxc://example.org/x"}"#,
    ),
    (
        "profile::set_display_name::v3",
        "",
        r#"{"displayname":"x"}"#,
    ),
    (
        "profile::set_profile_field::v3",
        "",
        r#"{"org.example":"x"}"#,
    ),
    (
        "read_marker::set_read_marker::v3",
        "",
        r#"{"m.fully_read":"{event_id}"}"#,
    ),
    ("room::get_event_by_timestamp::v1", "ts=0&dir=f", ""),
    ("room::upgrade_room::v3", "", r#"{"new_version":"11"}"#),
    ("state::send_state_event::v3", "", r#"{"name":"x"}"#),
    ("typing::create_typing_event::v3", "", r#"{"typing":false}"#),
];
const BACKUP: &str = r#"{"algorithm":"m.megolm_backup.v1.curve25519-aes-sha2","auth_data":{"public_key":"abcdefg","signatures":{}}}"#;
const SESSION: &str =
    r#"{"first_message_index":0,"forwarded_count":0,"is_verified":false,"session_data":{}}"#;
const VERSION: &str = "version={version}";
const CAROL: &str = r#"{"user_id":"@carol:example.org"}"#;
const DELAY: &str = "org.matrix.msc4140.delay=1000";
const MESSAGE: &str = r#"{"msgtype":"m.text","body":"x"}"#;

pub(super) struct World {
    pub(super) server: Server,
    /// The token of `@bob:example.org`, whose everything is.
    pub(super) owner: String,
    /// The token of `@alice:example.org`, who has nothing to do with him.
    pub(super) stranger: String,
    room: String,
    event: String,
    device: String,
    filter: String,
    backup: String,
    delayed: String,
}

impl World {
    pub(super) async fn new(server: Server) -> Self {
        let stranger = server.user("alice").await;
        server.user("carol").await;
        let owner = server.user("bob").await;
        let made = json!({ "preset": "private_chat", "room_alias_name": "bobs" });
        let room = server.room(&owner, made).await;
        let event = server.message(&owner, &room, "hello").await;
        let field = async |method, path: &str, body: Value, field: &str| {
            let body = server.send(method, path, Some(&owner), body).await.ok();
            body[field].as_str().unwrap().to_owned()
        };
        let whoami = "/_matrix/client/v3/account/whoami";
        let filter = "/_matrix/client/v3/user/@bob:example.org/filter";
        let backup = "/_matrix/client/v3/room_keys/version";
        let delayed =
            format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/later?{DELAY}0000");
        let content = serde_json::from_str(MESSAGE).unwrap();
        let auth = serde_json::from_str(BACKUP).unwrap();
        let data = "/_matrix/client/v3/user/@bob:example.org/account_data/org.example";
        server.put(data, &owner, json!({ "kept": true })).await.ok();
        Self {
            device: field(Method::GET, whoami, Value::Null, "device_id").await,
            filter: field(Method::POST, filter, json!({}), "filter_id").await,
            backup: field(Method::POST, backup, auth, "version").await,
            delayed: field(Method::PUT, &delayed, content, "delay_id").await,
            server,
            owner,
            stranger,
            room,
            event,
        }
    }

    /// Whether a path, or the query that goes with it, names something that belongs to somebody.
    pub(super) fn is_owned(endpoint: &Endpoint, path: &str) -> bool {
        let (query, _) = known(endpoint);
        OWNED
            .iter()
            .any(|variable| path.contains(variable) || query.contains(variable))
    }

    /// A well-formed request about what is the owner's.
    pub(super) async fn ask(&self, endpoint: &Endpoint, path: &str, token: &str) -> Answered {
        let (query, body) = known(endpoint);
        let path = self.fill(path);
        let path = if query.is_empty() {
            path
        } else {
            format!("{path}?{}", self.fill(query))
        };
        let body = match (&endpoint.method, body) {
            (&Method::GET, _) => Value::Null,
            (_, "") => json!({}),
            (_, body) => serde_json::from_str(&self.fill(body)).unwrap(),
        };
        let method = endpoint.method.clone();
        self.server.send(method, &path, Some(token), body).await
    }

    fn fill(&self, text: &str) -> String {
        let is_account_data = text.contains("account_data");
        let event_type = if is_account_data {
            "org.example"
        } else if text.contains("/state/") {
            "m.room.name"
        } else {
            "m.room.message"
        };
        let mut text = text.to_owned();
        for (variable, value) in [
            ("{user_id}", "@bob:example.org"),
            ("{room_id}", &self.room),
            ("{room_id_or_alias}", &self.room),
            ("{room_alias}", "%23bobs:example.org"),
            ("{event_id}", &self.event),
            ("{device_id}", &self.device),
            ("{filter_id}", &self.filter),
            ("{version}", &self.backup),
            ("{delay_id}", &self.delayed),
            ("{event_type}", event_type),
            ("{state_key}", ""),
            ("{field}", "org.example"),
            ("{receipt_type}", "m.read"),
            ("{rel_type}", "m.thread"),
            ("{action}", "cancel"),
        ] {
            text = text.replace(variable, value);
        }
        if text.starts_with('/') {
            text = text.replace(['{', '}'], "");
        }
        text
    }

    /// What the owner sees of what is theirs.
    pub(super) async fn belongings(&self) -> Vec<Value> {
        let mut seen = Vec::new();
        for path in [
            "/_matrix/client/v3/rooms/{room_id}/state",
            "/_matrix/client/v3/rooms/{room_id}/messages?dir=b",
            "/_matrix/client/v3/directory/room/{room_alias}",
            "/_matrix/client/v3/directory/list/room/{room_id}",
            "/_matrix/client/v3/user/{user_id}/account_data/org.example",
            "/_matrix/client/v3/user/{user_id}/filter/{filter_id}",
            "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags",
            "/_matrix/client/v3/room_keys/version",
            "/_matrix/client/v3/profile/{user_id}",
            "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}",
        ] {
            let answer = self.server.get(&self.fill(path), &self.owner).await;
            let mut body = answer.ok();
            without_age(&mut body);
            seen.push(body);
        }
        let devices = self.server.get("/_matrix/client/v3/devices", &self.owner);
        let devices = devices.await.ok();
        seen.extend(
            devices["devices"]
                .as_array()
                .unwrap()
                .iter()
                .map(|device| json!([device["device_id"], device["display_name"]])),
        );
        seen
    }
}

/// Query and body of an endpoint's requests.
fn known(endpoint: &Endpoint) -> (&'static str, &'static str) {
    let mut requests = REQUESTS.iter();
    let request = requests.find(|(module, ..)| *module == endpoint.module);
    request.map_or(("", ""), |(_, query, body)| (*query, *body))
}

/// Takes out how old events are, which changes by itself.
fn without_age(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("age");
            fields.values_mut().for_each(without_age);
        }
        Value::Array(items) => items.iter_mut().for_each(without_age),
        _ => {}
    }
}
