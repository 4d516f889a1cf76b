//! A stretch of a room's timeline as one user sees it.

use std::collections::HashSet;

use luxchat_store::{ClientRow, ReadTx, RoomNid, Stretch, UserNid};
use ruma::api::client::filter::RoomEventFilter;

use crate::{
    RelationFilter, Result, SyncToken,
    client_event::Fields,
    filter::{looks_at_events, wants_event},
    history::History,
};

/// Events looked at for one answer. Where a filter lets hardly any through, the client comes back for more.
const SCANNED: usize = 2_000;

/// Events read in one go.
const PAGE: usize = 250;

/// Which events of a timeline a user wants and may see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'s> {
    pub(crate) history: &'s History<'s>,
    pub(crate) filter: &'s RoomEventFilter,
    /// What the filter says of relations, if anything.
    pub(crate) relations: Option<&'s RelationFilter>,
    /// Users whose messages are not to be shown.
    pub(crate) ignored: &'s HashSet<UserNid>,
}

impl Sight<'_> {
    /// Whether the user wants and may see an event.
    pub(crate) fn shows(&self, tx: &ReadTx<'_>, row: &ClientRow) -> Result<bool> {
        // What an ignored user does to the state shows: the room cannot be understood without.
        if row.state_key.is_none() && self.ignored.contains(&row.sender) {
            return Ok(false);
        }
        let relations = self.relations.filter(|relations| !relations.is_empty());
        if looks_at_events(self.filter) || relations.is_some() {
            let fields = Fields::parse(&row.json)?;
            let relates = relations.is_none_or(|relations| relations.wants(fields.content));
            if !relates || !wants_event(self.filter, &fields) {
                return Ok(false);
            }
        }
        self.history.can_see(tx, row)
    }
}

/// Events found in a stretch.
#[derive(Debug)]
pub(crate) struct Found {
    /// In the order in which they were looked for.
    pub(crate) rows: Vec<ClientRow>,
    /// Where to look on, if the stretch may hold more: the place that parts what was looked at from the rest.
    pub(crate) rest: Option<i64>,
}

/// The newest events of a stretch that show, newest first.
pub(crate) fn newest(
    tx: &ReadTx<'_>,
    room: RoomNid,
    stretch: Stretch,
    sight: Sight<'_>,
    limit: usize,
) -> Result<Found> {
    let before = |pos: i64| pos.saturating_sub(1);
    search(tx, sight, limit, (stretch.until, before), |until, page| {
        tx.timeline_backward(room, Stretch { until, ..stretch }, page)
    })
}

/// The oldest events of a stretch that show, oldest first.
pub(crate) fn oldest(
    tx: &ReadTx<'_>,
    room: RoomNid,
    stretch: Stretch,
    sight: Sight<'_>,
    limit: usize,
) -> Result<Found> {
    search(
        tx,
        sight,
        limit,
        (stretch.after, |pos| pos),
        |after, page| tx.timeline_forward(room, Stretch { after, ..stretch }, page),
    )
}

/// What a sync shows of a timeline.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Oldest first.
    pub(crate) rows: Vec<ClientRow>,
    /// Whether there is more between these events and where the client was.
    pub(crate) is_limited: bool,
    /// Where to look for what came before.
    pub(crate) prev_batch: SyncToken,
}

impl Timeline {
    /// Nothing, for a client that wants none.
    pub(crate) fn none(prev_batch: SyncToken) -> Self {
        Self {
            rows: Vec::new(),
            is_limited: false,
            prev_batch,
        }
    }

    /// The newest events of a stretch. It breaks off where this server lacks what came before.
    pub(crate) fn read(
        tx: &ReadTx<'_>,
        room: RoomNid,
        stretch: Stretch,
        sight: Sight<'_>,
        limit: usize,
    ) -> Result<Self> {
        let gap = tx.newest_gap(room, stretch)?;
        let held = Stretch {
            after: gap.map_or(stretch.after, |gap| gap.saturating_sub(1)),
            until: stretch.until,
        };
        let mut found = newest(tx, room, held, sight, limit)?;
        found.rows.reverse();
        let first = found.rows.first().and_then(|row| row.pos);
        Ok(Self {
            is_limited: found.rest.is_some() || gap.is_some(),
            prev_batch: match first {
                Some(first) => SyncToken::before(first),
                None => SyncToken::after(found.rest.unwrap_or(held.until)),
            },
            rows: found.rows,
        })
    }
}

/// Looks at page after page until `limit` events show, too many have been looked at, or there are no more. `way` is the
/// place to start from, and how to get from an event's place to the one behind it.
fn search(
    tx: &ReadTx<'_>,
    sight: Sight<'_>,
    limit: usize,
    (start, behind): (i64, impl Fn(i64) -> i64),
    read: impl Fn(i64, u32) -> luxchat_store::Result<Vec<ClientRow>>,
) -> Result<Found> {
    let mut rows: Vec<ClientRow> = Vec::new();
    let mut place = start;
    let mut scanned = 0;
    while scanned < SCANNED {
        // One more than wanted shows whether there are more.
        let page = (limit - rows.len() + 1).min(PAGE);
        let found = read(place, u32::try_from(page).unwrap_or(u32::MAX))?;
        let is_last_page = found.len() < page;
        scanned += found.len();
        for row in found {
            let shows = sight.shows(tx, &row)?;
            if shows && rows.len() == limit {
                let rest = Some(place);
                return Ok(Found { rows, rest });
            }
            place = row.pos.map_or(place, &behind);
            if shows {
                rows.push(row);
            }
        }
        if is_last_page {
            return Ok(Found { rows, rest: None });
        }
    }
    let rest = Some(place);
    Ok(Found { rows, rest })
}
