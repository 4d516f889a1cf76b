//! What another server may see of a room's history.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::collections::HashMap;

use luxchat_store::{Coordinate, Event, ReadTx, Room};
use ruma::{
    CanonicalJsonObject, OwnedUserId, ServerName,
    canonical_json::redact_in_place,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, Result, rules_of, serve_join::raw};

/// Users of one server whose memberships are looked at: in a room with more, the first ones speak for all.
const MAX_USERS: usize = 1_000;

/// A room through the eyes of a server that is in it.
pub(crate) struct PeerView<'t, 'c> {
    tx: &'t ReadTx<'c>,
    room: &'t Room,
    server: &'t ServerName,
    users: Option<Vec<OwnedUserId>>,
    /// Whether the server sees events in a state.
    seen: HashMap<Coordinate, bool>,
}

impl<'t, 'c> PeerView<'t, 'c> {
    pub(crate) fn new(tx: &'t ReadTx<'c>, room: &'t Room, server: &'t ServerName) -> Self {
        Self {
            tx,
            room,
            server,
            users: None,
            seen: HashMap::new(),
        }
    }

    /// An event as the server may have it: redacted where it may not see the content.
    pub(crate) fn show(&mut self, event: Event) -> Result<Box<RawValue>> {
        if self.sees(&event)? {
            return raw(event.json);
        }
        let rules = rules_of(&self.room.version)?.redaction;
        let mut object: CanonicalJsonObject = serde_json::from_str(&event.json)
            .map_err(|error| luxchat_store::Error::invalid("event", error))?;
        redact_in_place(&mut object, &rules, None)
            .map_err(|error| Error::Internal(error.to_string()))?;
        crate::handshake::to_raw(&object)
    }

    /// Whether the server may see the content of an event.
    pub(crate) fn sees(&mut self, event: &Event) -> Result<bool> {
        // What has no place in the graph serves as proof of something else, and is state.
        let Some(at) = event.after else {
            return Ok(true);
        };
        if self.tx.user_id(event.sender)?.server_name() == self.server {
            return Ok(true);
        }
        if let Some(seen) = self.seen.get(&at) {
            return Ok(*seen);
        }
        let seen = match self.visibility(at)? {
            HistoryVisibility::Joined => self.has_user(at, &[MembershipState::Join])?,
            HistoryVisibility::Invited => {
                self.has_user(at, &[MembershipState::Join, MembershipState::Invite])?
            }
            _ => true,
        };
        self.seen.insert(at, seen);
        Ok(seen)
    }

    fn visibility(&self, at: Coordinate) -> Result<HistoryVisibility> {
        #[derive(Deserialize)]
        struct Content {
            history_visibility: HistoryVisibility,
        }
        let event_type = StateEventType::RoomHistoryVisibility;
        let Some(event) = self.tx.state_entry_at(at, &event_type, "")? else {
            return Ok(HistoryVisibility::Shared);
        };
        let pdu = self.tx.event_by_nid(event)?.into_pdu()?;
        let content = pdu.content_as::<Content>();
        Ok(content.map_or(HistoryVisibility::Shared, |content| {
            content.history_visibility
        }))
    }

    /// Whether a user of the server had one of some memberships in a state.
    fn has_user(&mut self, at: Coordinate, memberships: &[MembershipState]) -> Result<bool> {
        if self.users.is_none() {
            self.users = Some(match self.tx.server_nid(self.server)? {
                Some(server) => {
                    self.tx
                        .users_of_server_in_room(self.room.nid, server, MAX_USERS)?
                }
                None => Vec::new(),
            });
        }
        for user in self.users.iter().flatten() {
            if memberships.contains(&self.tx.membership_at(at, user)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
