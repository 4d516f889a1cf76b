//! A page of results, with what the client wants to know about each.

use std::collections::{BTreeMap, btree_map::Entry};

use luxchat_store::{ClientRow, ReadTx, Stretch};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt,
    api::client::{
        filter::RoomEventFilter,
        search::search_events::v3::{
            Criteria, EventContextResult, GroupingKey, ResultGroup, ResultGroupMap,
            ResultRoomEvents, SearchResult, UserProfile,
        },
    },
    events::{AnyTimelineEvent, StateEventType},
    serde::Raw,
};
use serde::Deserialize;

use super::{
    Batch,
    matches::{Match, Matches},
};
use crate::{
    Result, SyncToken, Viewer,
    access::Readable,
    client_event::{Composer, Fields},
    history::{History, HistoryKeys},
    response::ignored_users,
    timeline::{Sight, newest, oldest},
};

/// Results of a page, unless the client says how many, and at most.
const RESULTS: usize = 10;
const MOST_RESULTS: usize = 100;

/// The most events before or after a result.
const MOST_AROUND: usize = 20;

/// Writes results for one viewer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a, 'tx> {
    tx: &'a ReadTx<'tx>,
    viewer: &'a Viewer,
    criteria: &'a Criteria,
    now_ms: u64,
}

/// A result, and where it belongs.
struct Written {
    result: SearchResult,
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
}

impl<'a, 'tx> Page<'a, 'tx> {
    pub(super) fn new(
        tx: &'a ReadTx<'tx>,
        viewer: &'a Viewer,
        criteria: &'a Criteria,
        now_ms: u64,
    ) -> Self {
        Self {
            tx,
            viewer,
            criteria,
            now_ms,
        }
    }

    /// The results from `start` on.
    pub(super) fn write(self, matches: &Matches, start: Batch) -> Result<ResultRoomEvents> {
        let limit = self.criteria.filter.limit.map_or(RESULTS, |limit| {
            usize::try_from(u64::from(limit)).map_or(MOST_RESULTS, |limit| limit.min(MOST_RESULTS))
        });
        let matched = matches.events.iter().skip(start.offset).take(limit);
        let written: Vec<Written> = matched
            .map(|found| self.result(found))
            .collect::<Result<_>>()?;

        let mut results = ResultRoomEvents::new();
        results.count = UInt::try_from(matches.events.len()).ok();
        results.highlights.clone_from(&matches.words);
        if limit > 0 && written.len() == limit {
            results.next_batch = Some(start.after(limit));
        }
        for grouping in &self.criteria.groupings.group_by {
            results
                .groups
                .extend(grouping.key.as_ref().and_then(|key| groups(key, &written)));
        }
        if self.criteria.include_state == Some(true) {
            for found in &written {
                if let Entry::Vacant(entry) = results.state.entry(found.room_id.clone()) {
                    let state = self.state(entry.key())?;
                    entry.insert(state);
                }
            }
        }
        results.results = written.into_iter().map(|found| found.result).collect();
        Ok(results)
    }

    fn result(self, found: &Match) -> Result<Written> {
        let row = self.tx.client_event_by_nid(found.event)?;
        let room_id = self.tx.room_id(row.room)?;
        let keys = HistoryKeys::of(self.tx, &self.viewer.user_id)?;
        let readable = Readable::find(self.tx, self.viewer, &keys, &room_id)?;
        let history = History::read(self.tx, &readable.room, &keys)?;
        let composer = self.composer(&room_id);

        let mut result = SearchResult::new();
        result.rank = Some(found.rank);
        result.result = Some(composer.timeline_event(&row, &history)?);
        result.context = self.context(composer, &readable, &history, &row)?;
        let sender = self.tx.user_id(row.sender)?;
        Ok(Written {
            result,
            event_id: row
                .event_id
                .try_into()
                .map_err(|error| luxchat_store::Error::invalid("event id", error))?,
            room_id,
            sender,
        })
    }

    fn composer<'r>(self, room_id: &'r RoomId) -> Composer<'r, 'tx>
    where
        'a: 'r,
    {
        Composer {
            tx: self.tx,
            viewer: self.viewer,
            now_ms: self.now_ms,
            room_id: Some(room_id),
        }
    }

    fn context(
        self,
        composer: Composer<'_, '_>,
        readable: &Readable,
        history: &History<'_>,
        row: &ClientRow,
    ) -> Result<EventContextResult> {
        let wanted = &self.criteria.event_context;
        let Some(pos) = row.pos else {
            return Ok(EventContextResult::new());
        };
        let filter = RoomEventFilter::default();
        let sight = Sight {
            history,
            filter: &filter,
            relations: None,
            ignored: &ignored_users(self.tx, self.viewer.user)?,
        };
        let room = readable.room.nid;
        let before = Stretch {
            after: i64::MIN,
            until: pos.saturating_sub(1),
        };
        let before = newest(self.tx, room, before, sight, around(wanted.before_limit))?.rows;
        let after = Stretch {
            after: pos,
            until: readable.until,
        };
        let after = oldest(self.tx, room, after, sight, around(wanted.after_limit))?.rows;

        let mut context = EventContextResult::new();
        let first = before.last().and_then(|row| row.pos).unwrap_or(pos);
        let last = after.last().and_then(|row| row.pos).unwrap_or(pos);
        context.start = Some(SyncToken::before(first).to_string());
        context.end = Some(SyncToken::after(last).to_string());
        if wanted.include_profile {
            for row in before.iter().chain([row]).chain(&after) {
                let sender = self.tx.user_id(row.sender)?;
                if let Some(profile) = self.profile(&sender, row)? {
                    context.profile_info.entry(sender).or_insert(profile);
                }
            }
        }
        let write = |rows: &[ClientRow]| -> Result<Vec<Raw<AnyTimelineEvent>>> {
            let rows = rows.iter();
            rows.map(|row| composer.timeline_event(row, history))
                .collect()
        };
        context.events_before = write(&before)?;
        context.events_after = write(&after)?;
        Ok(context)
    }

    /// What a sender was called when an event was sent.
    fn profile(self, sender: &OwnedUserId, row: &ClientRow) -> Result<Option<UserProfile>> {
        #[derive(Deserialize)]
        struct Member {
            displayname: Option<String>,
            avatar_url: Option<String>,
        }
        let Some(at) = row.after else {
            return Ok(None);
        };
        let member = self
            .tx
            .state_entry_at(at, &StateEventType::RoomMember, sender.as_str())?;
        let Some(member) = member else {
            return Ok(None);
        };
        let member = self.tx.client_event_by_nid(member)?;
        let content = Fields::parse(&member.json)?.content;
        // A membership may say anything in these fields.
        let member: Option<Member> = serde_json::from_str(content.get()).ok();
        Ok(member.map(|member| {
            let mut profile = UserProfile::new();
            profile.displayname = member.displayname;
            profile.avatar_url = member.avatar_url.map(Into::into);
            profile
        }))
    }

    /// The state of a room, as new as the user may know it.
    fn state(self, room_id: &RoomId) -> Result<Vec<Raw<ruma::events::AnyStateEvent>>> {
        let keys = HistoryKeys::of(self.tx, &self.viewer.user_id)?;
        let readable = Readable::find(self.tx, self.viewer, &keys, room_id)?;
        let composer = self.composer(room_id);
        let state = self.tx.state_at(readable.state)?.into_values();
        state
            .map(|event| composer.bare_event(&self.tx.client_event_by_nid(event)?))
            .collect()
    }
}

fn around(limit: UInt) -> usize {
    usize::try_from(u64::from(limit)).map_or(MOST_AROUND, |limit| limit.min(MOST_AROUND))
}

fn groups(key: &GroupingKey, written: &[Written]) -> Option<ResultGroupMap> {
    match key {
        GroupingKey::RoomId => {
            let group = grouped(written, |found| &found.room_id);
            Some(ResultGroupMap::RoomId(group))
        }
        GroupingKey::Sender => {
            let group = grouped(written, |found| &found.sender);
            Some(ResultGroupMap::Sender(group))
        }
        _ => None,
    }
}

/// The groups of results, in the order of their first ones.
fn grouped<K: Clone + Ord>(
    written: &[Written],
    key: impl Fn(&Written) -> &K,
) -> BTreeMap<K, ResultGroup> {
    let mut groups: BTreeMap<K, ResultGroup> = BTreeMap::new();
    for found in written {
        let order = groups.len();
        let group = groups.entry(key(found).clone()).or_insert_with(|| {
            let mut group = ResultGroup::new();
            group.order = UInt::try_from(order).ok();
            group
        });
        group.results.push(found.event_id.clone());
    }
    groups
}
