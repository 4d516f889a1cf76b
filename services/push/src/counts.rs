//! How much is unread.

use std::{collections::HashMap, sync::Arc};

use luxchat_store::{CountUnread, Position, ReadState, ReadTx, RoomNid, Stretch, Unread, UserNid};

use crate::{
    Push, Result,
    evaluate::{Evaluator, PushEvent},
    profile::Outcome,
    user_rules::UserRules,
};

/// At most this many unread events of a room are looked at one by one, the newest: a client shows "99+" long before.
const SCANNED: u32 = 1_000;

/// Ignored users of whom it is worth asking whether they are in a room.
const FEW_IGNORED: usize = 20;

/// What looking at a room's unread events one by one came to.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// When the rules that were applied last changed.
    rules: Position,
    /// What was read of the room.
    read: ReadState,
    /// The newest event that was looked at.
    until: i64,
    unread: Unread,
}

impl CountUnread for Push {
    fn unread(
        &self,
        tx: &ReadTx<'_>,
        user: UserNid,
        room: RoomNid,
    ) -> luxchat_store::Result<Unread> {
        self.count(tx, user, room).map_err(|error| match error {
            crate::Error::Store(error) => error,
            other => luxchat_store::Error::invalid("unread count", other),
        })
    }
}

impl Push {
    /// What a local user has not read of a room that they are joined to.
    pub(crate) fn count(&self, tx: &ReadTx<'_>, user: UserNid, room: RoomNid) -> Result<Unread> {
        let rules = self.rules_of(tx, user)?;
        let outcome = match rules.profile.outcome(&self.room_id(tx, room)?) {
            Outcome::Nothing => return Ok(Unread::default()),
            outcome if !ignores_somebody(tx, &rules, room)? => outcome,
            _ => Outcome::Depends,
        };
        Ok(match outcome {
            Outcome::Default => tx.unread(user, room)?,
            Outcome::Highlights => tx.unread_highlights(user, room)?,
            Outcome::Nothing => Unread::default(),
            Outcome::Depends => self.scan(tx, &rules, room)?,
        })
    }

    /// Looks at the unread events one by one, or at those that came since the last look.
    fn scan(&self, tx: &ReadTx<'_>, rules: &UserRules, room: RoomNid) -> Result<Unread> {
        let Some(mut state) = tx.read_state(rules.user, room)? else {
            return Ok(Unread::default());
        };
        tx.read_threads(rules.user, room, &mut state)?;
        let key = (rules.user, room);
        let held = self.shared.scanned.get(&key).filter(|held| {
            held.rules == rules.changed
                && held.read.main == state.main
                && held.read.all == state.all
                && held.read.threads == state.threads
        });
        let after = held.as_ref().map_or(state.all, |held| held.until);
        let mut stretch = Stretch {
            after,
            until: i64::MAX,
        };
        let mut rows = tx.timeline_backward(room, stretch, SCANNED)?;
        let mut unread = Unread::default();
        if let Some(held) = held {
            // A redaction takes away what was counted; and what was not looked at has to be counted.
            let is_whole = rows.len() < SCANNED as usize;
            if is_whole
                && !rows
                    .iter()
                    .any(|row| row.json.contains("\"m.room.redaction\""))
            {
                if rows.is_empty() {
                    return Ok(held.unread.clone());
                }
                unread = held.unread.clone();
            } else {
                stretch.after = state.all;
                rows = tx.timeline_backward(room, stretch, SCANNED)?;
            }
        }
        let threads: HashMap<i64, String> = tx
            .thread_events(room, stretch.after)?
            .into_iter()
            .map(|event| (event.pos, event.root))
            .collect();
        let evaluator = Evaluator::new(tx, rules, room, &tx.push_room(room)?)?;
        for row in &rows {
            let Some(pos) = row.pos else { continue };
            let thread = threads.get(&pos).map(String::as_str);
            if state.is_read(pos, thread) {
                continue;
            }
            if let Some(verdict) = PushEvent::new(row).and_then(|event| evaluator.judge(&event)) {
                let count = unread.of(thread);
                count.notifications += 1;
                count.highlights += u64::from(verdict.is_highlight);
            }
        }
        let newest = rows.first().and_then(|row| row.pos);
        let scanned = Scanned {
            rules: rules.changed,
            until: newest.unwrap_or(stretch.after),
            read: state,
            unread: unread.clone(),
        };
        self.shared.scanned.insert(key, Arc::new(scanned));
        Ok(unread)
    }
}

/// Whether a user ignores somebody who is or was in a room.
fn ignores_somebody(tx: &ReadTx<'_>, rules: &UserRules, room: RoomNid) -> Result<bool> {
    if rules.ignored.len() > FEW_IGNORED {
        return Ok(true);
    }
    for other in &rules.ignored {
        if tx.member(room, *other)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
