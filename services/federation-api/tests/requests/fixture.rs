//! Two servers of one process, and requests as one of them signs them.

use axum::{Router, body::Body};
use http::{Request, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt;
use luxchat_accounts::Accounts;
use luxchat_encryption::Encryption;
use luxchat_federation::{Federation, MemoryNetwork, PeerIdentity};
use luxchat_federation_api::{Config, Services, open_router, router};
use luxchat_media::Media;
use luxchat_rooms::{Join, Rooms, SendEvent};
use luxchat_store::Store;
use luxchat_sync::{Presence, Receipts, Typing};
use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    api::{
        client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        federation::authentication::{XMatrix, XMatrixSigningInput},
    },
    signatures::Ed25519KeyPair,
};
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;
use tower::ServiceExt;

/// A server, its services and its door.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) federation: Federation,
    pub(crate) typing: Typing,
    pub(crate) presence: Presence,
    pub(crate) media: Media,
    pub(crate) router: Router,
    /// What it serves at the clients' door.
    pub(crate) open: Router,
    _folder: TempDir,
}

/// "a.lu" and "b.lu", which reach each other.
pub(crate) fn two_servers() -> (Server, Server) {
    let network = MemoryNetwork::new();
    (Server::new("a.lu", &network), Server::new("b.lu", &network))
}

impl Server {
    pub(crate) fn new(name: &str, network: &MemoryNetwork) -> Self {
        let name: OwnedServerName = name.try_into().unwrap();
        let folder = TempDir::new().unwrap();
        let config = luxchat_store::Config::new(folder.path().join("store"), name.clone());
        let store = Store::open(config).unwrap();
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
        let federation = Federation::in_memory(store.clone(), key, network.clone()).unwrap();
        let rooms = Rooms::new(
            store.clone(),
            federation.clone(),
            luxchat_rooms::Config::default(),
        );
        let encryption = Encryption::new(
            store.clone(),
            federation.clone(),
            luxchat_encryption::Config::default(),
        );
        let typing = Typing::new(store.clone());
        let presence = Presence::new(store.clone(), true);
        let services = Services {
            store: store.clone(),
            accounts: Accounts::new(store.clone(), luxchat_accounts::Config::default()).unwrap(),
            rooms: rooms.clone(),
            encryption,
            typing: typing.clone(),
            presence: presence.clone(),
            receipts: Receipts::new(store.clone()),
            media: Media::open(
                store.clone(),
                federation.clone(),
                luxchat_media::Config::new(folder.path().join("media")),
            )
            .unwrap(),
            application_services: luxchat_application_services::ApplicationServices::new(
                store.clone(),
                Vec::new(),
            )
            .unwrap(),
            federation: federation.clone(),
        };
        let media = services.media.clone();
        let open = open_router(services.clone(), Config::default());
        let router = router(services, Config::default());
        network.attach(name, router.clone());
        Self {
            store,
            rooms,
            federation,
            typing,
            presence,
            media,
            router,
            open,
            _folder: folder,
        }
    }

    pub(crate) fn name(&self) -> &ServerName {
        self.federation.server_name()
    }

    /// A user with an account and a device.
    pub(crate) async fn user(&self, localpart: &str) -> OwnedUserId {
        let user = UserId::parse(format!("@{localpart}:{}", self.name())).unwrap();
        let account = user.clone();
        self.store
            .write(move |tx| tx.insert_account(&account, None, false))
            .await
            .unwrap();
        user
    }

    pub(crate) async fn public_room(&self, creator: &UserId) -> OwnedRoomId {
        let mut request = CreateRoom::new();
        request.preset = Some(RoomPreset::PublicChat);
        self.rooms.create(creator, request).await.unwrap()
    }

    pub(crate) async fn join(&self, user: &UserId, room_id: &RoomId, via: &Server) {
        let join = Join {
            user: user.to_owned(),
            room_id: room_id.to_owned(),
            via: vec![via.name().to_owned()],
            reason: None,
            extra: ruma::CanonicalJsonObject::new(),
        };
        self.rooms.join(join).await.unwrap();
    }

    pub(crate) async fn say(&self, user: &UserId, room_id: &RoomId, body: &str) {
        let content = json!({ "msgtype": "m.text", "body": body });
        let event = SendEvent {
            sender: user.to_owned(),
            room_id: room_id.to_owned(),
            event_type: "m.room.message".into(),
            state_key: None,
            content: to_raw_value(&content).unwrap(),
            transaction: None,
        };
        self.rooms.send(event).await.unwrap();
    }

    /// Sets a piece of a room's state, under the empty state key.
    pub(crate) async fn set_state(
        &self,
        user: &UserId,
        room_id: &RoomId,
        event_type: &str,
        content: &Value,
    ) {
        let event = SendEvent {
            sender: user.to_owned(),
            room_id: room_id.to_owned(),
            event_type: event_type.into(),
            state_key: Some(String::new()),
            content: to_raw_value(content).unwrap(),
            transaction: None,
        };
        self.rooms.send(event).await.unwrap();
    }

    /// The bodies of the messages in a room, oldest first.
    pub(crate) async fn bodies(&self, room_id: &RoomId) -> Vec<String> {
        let room_id = room_id.to_owned();
        let timeline = self.store.read(move |tx| {
            let room = tx.room_by_id(&room_id)?.unwrap();
            tx.timeline_forwards(room.nid, i64::MIN, i64::MAX, 1_000)
        });
        let timeline: luxchat_store::Result<Vec<luxchat_store::Event>> = timeline.await;
        timeline
            .unwrap()
            .into_iter()
            .filter_map(|event| {
                let content: Value = event.pdu().unwrap().content_as().unwrap();
                Some(content.get("body")?.as_str()?.to_owned())
            })
            .collect()
    }

    /// A request to `to`, signed by this server.
    pub(crate) fn signed(
        &self,
        to: &Server,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Request<Body> {
        let bytes = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).unwrap());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(bytes)
            .unwrap();
        let (own, to) = (self.name().to_owned(), to.name().to_owned());
        let input = XMatrixSigningInput::new(own, to, self.federation.signing_key());
        let header = XMatrix::sign_http_request(&request, input).unwrap();
        let header = http::HeaderValue::from(&header);
        request.headers_mut().insert(AUTHORIZATION, header);
        request.map(Body::from)
    }

    /// What this server answers to a request that comes over a connection of `from`.
    pub(crate) async fn answer(
        &self,
        from: &str,
        mut request: Request<Body>,
    ) -> (StatusCode, Value) {
        let peer = PeerIdentity::certified(ServerName::parse(from).unwrap());
        request.extensions_mut().insert(peer);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

/// The error code of an answer.
pub(crate) fn code(answer: &(StatusCode, Value)) -> (u16, &str) {
    let code = answer.1["errcode"].as_str().unwrap_or_default();
    (answer.0.as_u16(), code)
}
