use ruma::{OwnedUserId, RoomAliasId, RoomId, UserId};

use crate::{
    Registration,
    namespace::{excludes, matches},
};

/// One application service.
#[derive(Debug)]
pub struct Service {
    registration: Registration,
}

impl Service {
    pub(crate) fn new(registration: Registration) -> Self {
        Self { registration }
    }

    /// What the operator wrote about it.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.registration.id
    }

    /// The user that it acts as where it names none.
    pub fn sender(&self) -> &OwnedUserId {
        &self.registration.sender
    }

    /// Whether it may act as a user.
    pub fn owns_user(&self, user_id: &UserId) -> bool {
        let sender = self.sender();
        user_id.server_name() == sender.server_name()
            && (user_id == sender || matches(&self.registration.namespaces.users, user_id.as_str()))
    }

    /// Whether it may make an alias.
    pub fn owns_alias(&self, alias: &RoomAliasId) -> bool {
        alias.server_name() == self.sender().server_name()
            && matches(&self.registration.namespaces.aliases, alias.as_str())
    }

    /// Whether all that happens in a room is its business, by the room's id.
    pub(crate) fn wants_room(&self, room_id: &RoomId) -> bool {
        matches(&self.registration.namespaces.rooms, room_id.as_str())
    }

    /// Whether it keeps a user to itself.
    pub(crate) fn excludes_user(&self, user_id: &UserId) -> bool {
        let sender = self.sender();
        user_id == sender
            || (user_id.server_name() == sender.server_name()
                && excludes(&self.registration.namespaces.users, user_id.as_str()))
    }

    /// Whether it keeps an alias to itself.
    pub(crate) fn excludes_alias(&self, alias: &RoomAliasId) -> bool {
        alias.server_name() == self.sender().server_name()
            && excludes(&self.registration.namespaces.aliases, alias.as_str())
    }
}
