//! Who is typing where. In memory only: it is forgotten on restart, as clients expect.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use luxchat_store::{Position, RoomNid, ServerNid, Store, Topic};
use ruma::{
    OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    api::federation::transactions::edu::TypingContent, events::room::member::MembershipState,
};
use tokio::time::Instant;
use tracing::debug;

use crate::{Error, Result};

/// Users that may type in one room at a time; more are not shown.
const USERS_PER_ROOM: usize = 100;

/// Rooms with a typing state; the one that changed longest ago makes room for a new one.
const ROOMS: usize = 10_000;

/// The longest that a user types without saying so again.
const LONGEST: Duration = Duration::from_mins(2);

/// How long a remote user is taken to type: peers repeat themselves before, and say when it ends.
const REMOTE: Duration = Duration::from_mins(1);

/// After which time other servers are told again that a user still types.
const RETELL: Duration = Duration::from_secs(30);

/// Who types where. Clones share the state.
#[derive(Clone, Debug)]
pub struct Typing {
    store: Store,
    rooms: Arc<Mutex<HashMap<RoomNid, RoomTyping>>>,
}

#[derive(Debug)]
struct RoomTyping {
    users: HashMap<OwnedUserId, Typist>,
    /// The position of the last change of the set of users.
    seq: Position,
    /// Whether a task waits for the first to stop.
    has_timer: bool,
}

#[derive(Clone, Copy, Debug)]
struct Typist {
    /// When they stop, unless they say more.
    until: Instant,
    /// When others were last told.
    told: Instant,
}

impl Typing {
    /// Nobody types.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            rooms: Arc::default(),
        }
    }

    /// A local user starts or goes on typing, for at most `timeout`. Returns the servers to tell; none where this is no
    /// news.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user is not joined to the room.
    pub async fn start(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        timeout: Duration,
    ) -> Result<Vec<OwnedServerName>> {
        let room = self.joined_room(user_id, room_id).await?;
        let is_news = self.set(room, user_id, Some(timeout.min(LONGEST))).await?;
        self.others(room, is_news).await
    }

    /// A local user stops typing. Returns the servers to tell; none where this is no news.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user is not joined to the room.
    pub async fn stop(&self, user_id: &UserId, room_id: &RoomId) -> Result<Vec<OwnedServerName>> {
        let room = self.joined_room(user_id, room_id).await?;
        let is_news = self.set(room, user_id, None).await?;
        self.others(room, is_news).await
    }

    /// A peer says who of its users types. What is not its business is ignored.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#typing-notifications).
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn receive(&self, origin: &ServerName, content: TypingContent) -> Result<()> {
        if content.user_id.server_name() != origin {
            debug!(%origin, "typing notification for a user of another server");
            return Ok(());
        }
        let room = match self.joined_room(&content.user_id, &content.room_id).await {
            Err(Error::Forbidden(_)) => self.room_lacking(origin, &content.room_id).await?,
            found => Some(found?),
        };
        match room {
            Some(room) => {
                let timeout = content.typing.then_some(REMOTE);
                self.set(room, &content.user_id, timeout).await?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The room, where members are missing from its state who may be users of a server.
    async fn room_lacking(&self, server: &ServerName, room_id: &RoomId) -> Result<Option<RoomNid>> {
        let (server, room_id) = (server.to_owned(), room_id.to_owned());
        self.store
            .read(move |tx| Ok(tx.room_lacking_users_of(&room_id, &server)?))
            .await
    }

    /// Who types in a room, where that changed after a position.
    pub fn changed_since(&self, room: RoomNid, since: Position) -> Option<Vec<OwnedUserId>> {
        let rooms = self.lock();
        let typing = rooms.get(&room).filter(|typing| typing.seq > since)?;
        let mut users: Vec<_> = typing.users.keys().cloned().collect();
        users.sort();
        Some(users)
    }

    /// The rooms whose typing users changed after a position.
    pub fn rooms_changed_since(&self, since: Position) -> Vec<RoomNid> {
        let rooms = self.lock();
        let changed = rooms.iter().filter(|(_, typing)| typing.seq > since);
        changed.map(|(room, _)| *room).collect()
    }

    async fn joined_room(&self, user_id: &UserId, room_id: &RoomId) -> Result<RoomNid> {
        let (user_id, room_id) = (user_id.to_owned(), room_id.to_owned());
        let room = self
            .store
            .read(move |tx| tx.room_with_membership(&room_id, &user_id))
            .await?;
        match room {
            Some((room, MembershipState::Join)) => Ok(room),
            _ => Err(Error::Forbidden("the user is not in the room")),
        }
    }

    /// The other servers in a room, where there is something to tell them.
    async fn others(&self, room: RoomNid, is_news: bool) -> Result<Vec<OwnedServerName>> {
        if !is_news {
            return Ok(Vec::new());
        }
        let servers = self
            .store
            .read(move |tx| tx.servers_in_room(room))
            .await?
            .into_iter();
        let others = servers.filter(|(server, _)| *server != ServerNid::OWN);
        Ok(others.map(|(_, name)| name).collect())
    }

    /// Says whether this is news to others.
    async fn set(
        &self,
        room: RoomNid,
        user_id: &UserId,
        timeout: Option<Duration>,
    ) -> Result<bool> {
        let now = Instant::now();
        let until = timeout.map(|timeout| now + timeout);
        if let Some(is_news) = self.prolong(room, user_id, until, now) {
            return Ok(is_news);
        }
        let user_id = user_id.to_owned();
        self.update(room, move |users| match until {
            Some(until) => {
                if users.len() < USERS_PER_ROOM || users.contains_key(&user_id) {
                    users.insert(user_id, Typist { until, told: now });
                }
            }
            None => {
                users.remove(&user_id);
            }
        })
        .await?;
        if until.is_some() {
            self.ensure_timer(room);
        }
        Ok(true)
    }

    /// Applies what leaves the set of users as it is. Then says whether to tell other servers all the same.
    fn prolong(
        &self,
        room: RoomNid,
        user_id: &UserId,
        until: Option<Instant>,
        now: Instant,
    ) -> Option<bool> {
        let mut rooms = self.lock();
        let typist = rooms
            .get_mut(&room)
            .and_then(|typing| typing.users.get_mut(user_id));
        match (typist, until) {
            (Some(typist), Some(until)) => {
                typist.until = until;
                let is_late = now.duration_since(typist.told) >= RETELL;
                if is_late {
                    typist.told = now;
                }
                Some(is_late)
            }
            (None, None) => Some(false),
            _ => None,
        }
    }

    /// Changes a room's set of users at a new position, and wakes the room. The set changes on the writer's thread
    /// before the position is announced: whoever wakes sees it.
    async fn update(
        &self,
        room: RoomNid,
        change: impl FnOnce(&mut HashMap<OwnedUserId, Typist>) + Send + 'static,
    ) -> Result<()> {
        let rooms = Arc::clone(&self.rooms);
        self.store
            .write(move |tx| {
                let seq = tx.next_position();
                tx.announce(Topic::Room(room));
                let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                make_room(&mut rooms, room);
                let typing = rooms.entry(room).or_insert_with(|| RoomTyping {
                    users: HashMap::new(),
                    seq,
                    has_timer: false,
                });
                change(&mut typing.users);
                typing.seq = seq;
                Ok(())
            })
            .await
    }

    fn ensure_timer(&self, room: RoomNid) {
        let mut rooms = self.lock();
        if let Some(typing) = rooms.get_mut(&room)
            && !typing.has_timer
        {
            typing.has_timer = true;
            tokio::spawn(self.clone().expire(room));
        }
    }

    /// Takes users out of a room as their time comes, until nobody is left.
    async fn expire(self, room: RoomNid) {
        while let Some(first) = self.first_to_stop(room) {
            tokio::time::sleep_until(first).await;
            let now = Instant::now();
            let due = {
                let rooms = self.lock();
                let users = rooms.get(&room).map(|typing| &typing.users);
                users.is_some_and(|users| users.values().any(|typist| typist.until <= now))
            };
            let removal = move |users: &mut HashMap<OwnedUserId, Typist>| {
                users.retain(|_, typist| typist.until > now);
            };
            if due && let Err(error) = self.update(room, removal).await {
                // The set itself has changed; only the wake is late.
                debug!(%error, "typing users expired without a position");
            }
        }
    }

    /// When the next user of a room stops; `None` ends the room's timer.
    fn first_to_stop(&self, room: RoomNid) -> Option<Instant> {
        let mut rooms = self.lock();
        let typing = rooms.get_mut(&room)?;
        let first = typing.users.values().map(|typist| typist.until).min();
        typing.has_timer = first.is_some();
        first
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomNid, RoomTyping>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the room that changed longest ago where a new one would be one too many.
fn make_room(rooms: &mut HashMap<RoomNid, RoomTyping>, room: RoomNid) {
    if rooms.len() < ROOMS || rooms.contains_key(&room) {
        return;
    }
    let oldest = rooms.iter().min_by_key(|(_, typing)| typing.seq);
    if let Some(oldest) = oldest.map(|(room, _)| *room) {
        rooms.remove(&oldest);
    }
}
