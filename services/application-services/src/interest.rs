//! Which events concern a service.

use std::collections::{HashMap, HashSet};

use luxchat_store::{LoggedEvent, Position, ReadTx, Result, RoomNid, UserNid};
use ruma::events::room::member::MembershipState;

use crate::{Service, namespace};

/// Users read at a time.
const PAGE: u32 = 10_000;

/// The local users that are a service's. Ids of users only grow, so a look at the new ones keeps it complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnUsers {
    users: HashSet<UserNid>,
    seen: Option<UserNid>,
}

impl OwnUsers {
    /// Takes in the users that came since the last time.
    pub(crate) fn refresh(&mut self, tx: &ReadTx<'_>, service: &Service) -> Result<()> {
        loop {
            let after = self.seen.unwrap_or(UserNid(0));
            let page = tx.local_users_after(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            self.seen = Some(*last);
            let own = page.iter().filter(|(_, id)| service.owns_user(id));
            self.users.extend(own.map(|(nid, _)| *nid));
        }
    }

    pub(crate) fn contains(&self, user: UserNid) -> bool {
        self.users.contains(&user)
    }
}

/// What concerns a service, in one snapshot.
pub(crate) struct Interest<'a, 'tx> {
    tx: &'a ReadTx<'tx>,
    service: &'a Service,
    own: &'a OwnUsers,
    rooms: HashMap<RoomNid, RoomInterest>,
}

enum RoomInterest {
    /// Everything: the room itself is the service's.
    All,
    /// What happens while a user of the service is in it.
    Members {
        /// One has been there since.
        joined_since: Option<Position>,
        /// Those who were, or may have been, at some time.
        ever: Vec<UserNid>,
    },
}

impl<'a, 'tx> Interest<'a, 'tx> {
    pub(crate) fn new(tx: &'a ReadTx<'tx>, service: &'a Service, own: &'a OwnUsers) -> Self {
        Self {
            tx,
            service,
            own,
            rooms: HashMap::new(),
        }
    }

    /// Whether an event is to be sent. What a user of the service could see when it happened is, even if they have left
    /// since.
    pub(crate) fn has(&mut self, event: &LoggedEvent) -> Result<bool> {
        if self.own.contains(event.sender)
            || event.target.is_some_and(|user| self.own.contains(user))
        {
            return Ok(true);
        }
        let tx = self.tx;
        match self.room(event.room)? {
            RoomInterest::All => Ok(true),
            RoomInterest::Members { joined_since, ever } => {
                if joined_since.is_some_and(|since| since <= event.seq) {
                    return Ok(true);
                }
                let Some(before) = event.before else {
                    return Ok(false);
                };
                for user in ever {
                    if tx.was_joined(before, *user)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Whether what happens in a room now is to be sent.
    pub(crate) fn has_room(&mut self, room: RoomNid) -> Result<bool> {
        Ok(match self.room(room)? {
            RoomInterest::All => true,
            RoomInterest::Members { joined_since, .. } => joined_since.is_some(),
        })
    }

    fn room(&mut self, room: RoomNid) -> Result<&RoomInterest> {
        if !self.rooms.contains_key(&room) {
            let interest = self.look_at(room)?;
            self.rooms.insert(room, interest);
        }
        Ok(&self.rooms[&room])
    }

    fn look_at(&self, room: RoomNid) -> Result<RoomInterest> {
        let found = self.tx.room(room)?;
        if self.service.wants_room(&found.room_id) {
            return Ok(RoomInterest::All);
        }
        let lists = &self.service.registration().namespaces;
        if !lists.aliases.is_empty() {
            let aliases = self.tx.aliases_of_room(room)?;
            let mut aliases = aliases.iter();
            if aliases.any(|alias| namespace::matches(&lists.aliases, alias.as_str())) {
                return Ok(RoomInterest::All);
            }
        }
        let members = self.tx.local_members(room)?.into_iter();
        let own: Vec<_> = members
            .filter(|(user, ..)| self.own.contains(*user))
            .collect();
        let joined_since = own
            .iter()
            .filter(|(_, membership, _)| *membership == MembershipState::Join)
            .map(|(_, _, since)| *since)
            .min();
        Ok(RoomInterest::Members {
            joined_since,
            ever: own.into_iter().map(|(user, ..)| user).collect(),
        })
    }
}
