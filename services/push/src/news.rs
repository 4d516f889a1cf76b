//! What is still news to a pusher's user.

use luxchat_store::{ClientRow, Position, PushCandidate, Pusher, PusherNid, ReadTx};
use ruma::events::room::member::MembershipState;
use url::Url;

use crate::{
    Push, Result,
    evaluate::{Evaluator, PushEvent, Verdict},
    notification::Composed,
    notifications::sent_at,
};

/// Events looked at in one go when finding again what waits.
const PAGE: u32 = 256;

/// What a search found.
pub(crate) struct Searched {
    pub(crate) waiting: Vec<PushCandidate>,
    /// Up to where it went.
    pub(crate) until: Position,
    pub(crate) has_more: bool,
}

/// What is to be done about an event.
pub(crate) enum Prepared {
    /// Nothing any more: there is no such pusher.
    Gone,
    /// Nothing: it is read, redacted, too old, or the rules say so.
    NoNews,
    /// It is to be sent.
    Send(Box<Pusher>, Composed),
}

impl Push {
    /// Finds in the log what waits for a pusher; `None` where there is no such pusher.
    pub(crate) fn search(
        &self,
        tx: &ReadTx<'_>,
        nid: PusherNid,
        after: Position,
    ) -> Result<Option<Searched>> {
        let Some(pusher) = tx.pusher(nid)? else {
            return Ok(None);
        };
        let after = after.max(pusher.cursor);
        let candidates = tx.push_candidates(pusher.user, after, PAGE)?;
        let mut found = Searched {
            waiting: Vec::new(),
            until: after,
            has_more: candidates.len() >= PAGE as usize,
        };
        for candidate in candidates {
            found.until = candidate.at;
            let row = tx.client_event_by_nid(candidate.event)?;
            if self.verdict(tx, &pusher, &row)?.is_some() {
                found.waiting.push(candidate);
            }
        }
        Ok(Some(found))
    }

    /// Decides what is to be done about an event, now.
    pub(crate) fn prepare(
        &self,
        tx: &ReadTx<'_>,
        nid: PusherNid,
        candidate: PushCandidate,
    ) -> Result<Prepared> {
        let Some(pusher) = tx.pusher(nid)? else {
            return Ok(Prepared::Gone);
        };
        let row = tx.client_event_by_nid(candidate.event)?;
        let Some(verdict) = self.verdict(tx, &pusher, &row)? else {
            return Ok(Prepared::NoNews);
        };
        let composed = self.compose(tx, &pusher, &row, &verdict)?;
        Ok(Prepared::Send(Box::new(pusher), composed))
    }

    /// Whether an event is news to a pusher's user, and what their rules say to it.
    fn verdict(
        &self,
        tx: &ReadTx<'_>,
        pusher: &Pusher,
        row: &ClientRow,
    ) -> Result<Option<Verdict>> {
        // The site may name other gateways than when the pusher was set.
        let url = Url::parse(&pusher.settings.url);
        if !url.is_ok_and(|url| self.shared.config.allows(&url)) {
            return Ok(None);
        }
        let keep = u64::try_from(self.shared.config.keep.as_millis()).unwrap_or(u64::MAX);
        let oldest = self.store().clock().now_ms().saturating_sub(keep);
        if u64::from(sent_at(row).0) < oldest {
            return Ok(None);
        }
        let membership = tx.member(row.room, pusher.user)?;
        match membership.map(|member| (member.membership, member.event)) {
            Some((MembershipState::Join, _)) => {
                let Some(mut state) = tx.read_state(pusher.user, row.room)? else {
                    return Ok(None);
                };
                tx.read_threads(pusher.user, row.room, &mut state)?;
                let Some(pos) = row.pos.filter(|pos| *pos > state.joined) else {
                    return Ok(None);
                };
                let thread = tx.thread_at(row.room, pos)?;
                if state.is_read(pos, thread.as_deref()) {
                    return Ok(None);
                }
            }
            Some((MembershipState::Invite, event)) if event == row.nid => {}
            _ => return Ok(None),
        }
        let Some(event) = PushEvent::new(row) else {
            return Ok(None);
        };
        let rules = self.rules_of(tx, pusher.user)?;
        let evaluator = Evaluator::new(tx, &rules, row.room, &tx.push_room(row.room)?)?;
        Ok(evaluator.judge(&event))
    }
}
