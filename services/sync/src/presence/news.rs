//! What a sync tells of who is there.

use std::collections::BTreeSet;

use luxchat_store::UserNid;
use ruma::{OwnedUserId, events::presence::PresenceEvent, presence::PresenceState, serde::Raw};
use serde::Serialize;

use super::Shown;
use crate::{
    Result,
    client_event::raw,
    filter::{wants_sender, wants_type_of},
    response::Pass,
};

/// Users told of in one response.
const USERS: usize = 200;

/// Changes looked at for one response; a client that was away for long hears of the newest.
const CHANGES: usize = 200;

impl Pass<'_, '_> {
    /// How those are whose presence changed, and those whom the user just met.
    pub(crate) fn presence_events(&self) -> Result<Vec<Raw<PresenceEvent>>> {
        let filter = &self.filter().presence;
        if !self.live.presence.is_enabled() || !wants_type_of(filter, "m.presence") {
            return Ok(Vec::new());
        }
        let mut told = BTreeSet::new();
        let mut events = Vec::new();
        let since = self.since_position();
        for user in self.live.presence.changed_since(since, CHANGES) {
            if events.len() < USERS && self.may_see(user)? && told.insert(user) {
                let shown = self.live.presence.shown(user).unwrap_or_default();
                // A client that starts takes everybody for gone.
                if self.since.is_some() || shown.state != PresenceState::Offline {
                    self.add_presence(user, shown, &mut events)?;
                }
            }
        }
        for user in self.met.borrow().iter() {
            if events.len() < USERS && *user != self.viewer.user && told.insert(*user) {
                let shown = self.live.presence.shown(*user).unwrap_or_default();
                self.add_presence(*user, shown, &mut events)?;
            }
        }
        Ok(events)
    }

    /// Whether there is somebody else among presence events: that they are there themselves is nothing that a client who
    /// waits by syncing waits for.
    pub(crate) fn others_are_news(&self, events: &[Raw<PresenceEvent>]) -> bool {
        let own = self.viewer.user_id.as_str();
        let is_own = |event: &Raw<PresenceEvent>| matches!(event.get_field::<String>("sender"), Ok(Some(sender)) if sender == own);
        !events.iter().all(is_own)
    }

    fn may_see(&self, user: UserNid) -> Result<bool> {
        Ok(user == self.viewer.user || self.tx.shares_room(user, self.viewer.user)?)
    }

    fn add_presence(
        &self,
        user: UserNid,
        shown: Shown,
        events: &mut Vec<Raw<PresenceEvent>>,
    ) -> Result<()> {
        let user_id = self.tx.user_id(user)?;
        if wants_sender(&self.filter().presence, &user_id) && !self.is_ignored(&user_id) {
            events.push(event(user_id, shown)?);
        }
        Ok(())
    }
}

fn event(sender: OwnedUserId, shown: Shown) -> Result<Raw<PresenceEvent>> {
    #[derive(Serialize)]
    struct Written {
        content: Content,
        sender: OwnedUserId,
        #[serde(rename = "type")]
        event_type: &'static str,
    }
    #[derive(Serialize)]
    struct Content {
        currently_active: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_active_ago: Option<u64>,
        presence: PresenceState,
        #[serde(skip_serializing_if = "Option::is_none")]
        status_msg: Option<String>,
    }
    raw(&Written {
        content: Content {
            currently_active: shown.currently_active,
            last_active_ago: shown.last_active_ago,
            presence: shown.state,
            status_msg: shown.status_msg,
        },
        sender,
        event_type: "m.presence",
    })
}
