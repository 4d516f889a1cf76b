//! Telling of changes: this server's clients, and other servers.

use std::collections::{BTreeMap, HashSet};

use luxchat_store::{PresenceAudience, RoomNid, Topic, UserNid};
use ruma::{
    OwnedServerName, UInt,
    api::federation::transactions::edu::{PresenceContent, PresenceUpdate},
};

use super::{Presence, UPDATES_PER_EDU, table::Change};
use crate::{Error, Result};

/// Changes told in one go; the rest waits for the next.
const CHANGES: usize = 500;

/// Rooms woken in one go, and the most members that such a room has.
const ROOMS: usize = 50;
const MEMBERS: u32 = 100;

impl Presence {
    /// Gives changes a position, wakes some of the rooms that they concern, and says what to tell which server.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn tell(&self) -> Result<Vec<(OwnedServerName, PresenceContent)>> {
        let now_ms = self.now_ms();
        let (changes, late) = self.lock().take_changes(CHANGES, now_ms);
        if changes.is_empty() && late.is_empty() {
            return Ok(Vec::new());
        }
        let told = self.tell_of(&changes, &late).await;
        if told.is_err() {
            self.lock().take_back(&changes);
        }
        told
    }

    async fn tell_of(
        &self,
        changes: &[Change],
        late: &[Change],
    ) -> Result<Vec<(OwnedServerName, PresenceContent)>> {
        let users: Vec<UserNid> = changes.iter().map(|change| change.user).collect();
        let concerned = self.audiences(changes, late).await?;
        let rooms: HashSet<RoomNid> = concerned[..changes.len()]
            .iter()
            .flat_map(|audience| audience.rooms.iter().copied())
            .take(ROOMS)
            .collect();
        if !users.is_empty() {
            let presence = self.clone();
            self.store
                .write(move |tx| {
                    // On the writer's thread, before the position is announced: whoever wakes sees it.
                    presence.lock().place(&users, tx.next_position());
                    for room in rooms {
                        tx.announce(Topic::Room(room));
                    }
                    Ok::<_, Error>(())
                })
                .await?;
        }
        let mut outgoing: BTreeMap<OwnedServerName, Vec<PresenceUpdate>> = BTreeMap::new();
        for (change, audience) in changes.iter().chain(late).zip(concerned) {
            if change.is_local {
                for server in audience.servers {
                    outgoing.entry(server).or_default().push(update(change));
                }
            }
        }
        let contents = outgoing.into_iter().flat_map(|(server, updates)| {
            let pieces = updates.chunks(UPDATES_PER_EDU);
            let pieces = pieces.map(|piece| (server.clone(), PresenceContent::new(piece.to_vec())));
            pieces.collect::<Vec<_>>()
        });
        Ok(contents.collect())
    }

    async fn audiences(
        &self,
        changes: &[Change],
        late: &[Change],
    ) -> Result<Vec<PresenceAudience>> {
        let users = changes.iter().chain(late).map(|change| change.user);
        let users: Vec<UserNid> = users.collect();
        self.store
            .read(move |tx| {
                let audiences = users
                    .iter()
                    .map(|user| tx.presence_audience(*user, MEMBERS));
                Ok(audiences.collect::<luxchat_store::Result<_>>()?)
            })
            .await
    }
}

fn update(change: &Change) -> PresenceUpdate {
    let shown = &change.shown;
    let ago = UInt::new_saturating(shown.last_active_ago.unwrap_or_default());
    let mut update = PresenceUpdate::new(change.user_id.clone(), shown.state.clone(), ago);
    update.status_msg.clone_from(&shown.status_msg);
    update.currently_active = shown.currently_active;
    update
}
