//! Which events of a room a user may see.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-11).

use luxchat_store::{
    ClientRow, Coordinate, EventNid, LoggedChange, Position, ReadTx, Room, StateKeyNid,
};
use ruma::{
    OwnedUserId, UserId,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde::Deserialize;

use crate::Result;

/// Changes of one entry that are looked at in advance; older ones are looked up one by one.
const LOG: u32 = 128;

/// The state entries that decide, by integer id. `None`: no room has any.
#[derive(Clone, Debug)]
pub(crate) struct HistoryKeys {
    user_id: OwnedUserId,
    membership: Option<StateKeyNid>,
    visibility: Option<StateKeyNid>,
}

impl HistoryKeys {
    /// The entries that decide for a user, in any room.
    pub(crate) fn of(tx: &ReadTx<'_>, user_id: &UserId) -> Result<Self> {
        Ok(Self {
            user_id: user_id.to_owned(),
            membership: tx.state_key_nid(&StateEventType::RoomMember, user_id.as_str())?,
            visibility: tx.state_key_nid(&StateEventType::RoomHistoryVisibility, "")?,
        })
    }
}

/// How a user's membership and the room's history visibility went.
#[derive(Debug)]
pub(crate) struct History<'k> {
    keys: &'k HistoryKeys,
    /// The room's current state; `None` where this server never held it.
    current: Option<Coordinate>,
    memberships: Log<MembershipState>,
    visibilities: Log<HistoryVisibility>,
}

/// What an entry of the state log was, change by change.
#[derive(Debug)]
struct Log<T> {
    /// `(ord, position, value)`, oldest first.
    changes: Vec<(i64, Position, T)>,
    is_whole: bool,
    /// Where the entry has no event.
    default: T,
}

impl<'k> History<'k> {
    /// How it went in one room.
    pub(crate) fn read(tx: &ReadTx<'_>, room: &Room, keys: &'k HistoryKeys) -> Result<Self> {
        let memberships = Log::read(
            tx,
            room,
            keys.membership,
            MembershipState::Leave,
            |_, change| Ok(change.membership.clone()),
        )?;
        let visibilities = Log::read(
            tx,
            room,
            keys.visibility,
            HistoryVisibility::Shared,
            |tx, change| change.event.map(|event| visibility(tx, event)).transpose(),
        )?;
        Ok(Self {
            keys,
            current: room.current,
            memberships,
            visibilities,
        })
    }

    /// Whether the user was joined when the room's state stood as at a position.
    pub(crate) fn was_joined_at(&self, position: Position) -> bool {
        let changes = &self.memberships.changes;
        let before = changes.partition_point(|(_, seq, _)| *seq <= position);
        match before.checked_sub(1) {
            Some(last) => changes[last].2 == MembershipState::Join,
            // What is not known is told in full.
            None => false,
        }
    }

    /// Whether the user was joined at some time up to a position; where that is not known, they were.
    pub(crate) fn was_joined_by(&self, position: Position) -> bool {
        let mut memberships = self.memberships.changes.iter();
        !self.memberships.is_whole
            || memberships.any(|(_, seq, membership)| {
                *seq <= position && *membership == MembershipState::Join
            })
    }

    /// Whether the user has ever been joined.
    pub(crate) fn was_ever_joined(&self) -> bool {
        let mut memberships = self.memberships.changes.iter();
        memberships.any(|(_, _, membership)| *membership == MembershipState::Join)
    }

    /// Whether anyone at all may read the room as it stands.
    pub(crate) fn is_world_readable(&self) -> bool {
        *self.visibilities.last() == HistoryVisibility::WorldReadable
    }

    /// The user's membership in the state at a coordinate.
    pub(crate) fn membership_at(&self, tx: &ReadTx<'_>, at: Coordinate) -> Result<MembershipState> {
        if let Some(membership) = self.memberships.get(self.current, at) {
            return Ok(membership.clone());
        }
        Ok(tx.membership_at(at, &self.keys.user_id)?)
    }

    /// Whether the user may see an event.
    pub(crate) fn can_see(&self, tx: &ReadTx<'_>, row: &ClientRow) -> Result<bool> {
        if self.is_open() {
            return Ok(true);
        }
        let Some(after) = row.after else {
            return Ok(self.is_allowed(self.visibilities.first(), &MembershipState::Leave, row));
        };
        if self.can_see_at(tx, row, after)? {
            return Ok(true);
        }
        // Whoever may see the room before or after such a change may see the change.
        let decides = row.state_key.is_some()
            && (row.state_key == self.keys.membership || row.state_key == self.keys.visibility);
        match row.before {
            Some(before) if decides => self.can_see_at(tx, row, before),
            _ => Ok(false),
        }
    }

    fn can_see_at(&self, tx: &ReadTx<'_>, row: &ClientRow, at: Coordinate) -> Result<bool> {
        let visibility = self.visibility_at(tx, at)?;
        let membership = self.membership_at(tx, at)?;
        Ok(self.is_allowed(&visibility, &membership, row))
    }

    fn is_allowed(
        &self,
        visibility: &HistoryVisibility,
        membership: &MembershipState,
        row: &ClientRow,
    ) -> bool {
        match visibility {
            HistoryVisibility::WorldReadable => true,
            _ if *membership == MembershipState::Join => true,
            HistoryVisibility::Invited => *membership == MembershipState::Invite,
            HistoryVisibility::Joined => false,
            // `shared`, and whatever else somebody has put there.
            _ => self.joined_later(row),
        }
    }

    fn joined_later(&self, row: &ClientRow) -> bool {
        let is_backfilled = row.pos.is_some_and(|pos| pos != row.seq.0);
        let mut changes = self.memberships.changes.iter().rev();
        changes.any(|(_, seq, membership)| {
            *membership == MembershipState::Join && (is_backfilled || *seq >= row.seq)
        }) || *self.memberships.last() == MembershipState::Join
    }

    /// Whether the user is joined to a room whose whole history is open to members, as most are.
    fn is_open(&self) -> bool {
        *self.memberships.last() == MembershipState::Join
            && self.visibilities.is_whole
            && self
                .visibilities
                .changes
                .iter()
                .all(|(_, _, visibility)| is_open(visibility))
    }

    fn visibility_at(&self, tx: &ReadTx<'_>, at: Coordinate) -> Result<HistoryVisibility> {
        if let Some(visibility) = self.visibilities.get(self.current, at) {
            return Ok(visibility.clone());
        }
        let Some(key) = self.keys.visibility else {
            return Ok(HistoryVisibility::Shared);
        };
        match tx.state_nid_at(at, key)? {
            Some(event) => visibility(tx, event),
            None => Ok(HistoryVisibility::Shared),
        }
    }
}

impl<T: Clone> Log<T> {
    fn read(
        tx: &ReadTx<'_>,
        room: &Room,
        key: Option<StateKeyNid>,
        default: T,
        value: impl Fn(&ReadTx<'_>, &LoggedChange) -> Result<Option<T>>,
    ) -> Result<Self> {
        let logged = match (room.current, key) {
            (Some(current), Some(key)) => tx.logged_changes(current.chain, key, LOG)?,
            _ => Vec::new(),
        };
        let is_whole = logged.len() < LOG as usize;
        let changes = logged
            .iter()
            .map(|change| {
                let value = value(tx, change)?.unwrap_or_else(|| default.clone());
                Ok((change.ord, change.seq, value))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            changes,
            is_whole,
            default,
        })
    }

    fn first(&self) -> &T {
        self.changes
            .first()
            .map_or(&self.default, |(_, _, value)| value)
    }

    fn last(&self) -> &T {
        self.changes
            .last()
            .map_or(&self.default, |(_, _, value)| value)
    }

    /// The value at a coordinate of the main chain, where the log reaches back so far.
    fn get(&self, current: Option<Coordinate>, at: Coordinate) -> Option<&T> {
        if current.is_none_or(|current| current.chain != at.chain) {
            return None;
        }
        let until = self.changes.partition_point(|(ord, _, _)| *ord <= at.ord);
        match until.checked_sub(1) {
            Some(last) => Some(&self.changes[last].2),
            None => self.is_whole.then_some(&self.default),
        }
    }
}

fn is_open(visibility: &HistoryVisibility) -> bool {
    matches!(
        visibility,
        HistoryVisibility::Shared | HistoryVisibility::WorldReadable
    )
}

fn visibility(tx: &ReadTx<'_>, event: EventNid) -> Result<HistoryVisibility> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        history_visibility: HistoryVisibility,
    }
    let row = tx.client_event_by_nid(event)?;
    let event: Option<Event> = serde_json::from_str(&row.json).ok();
    // A redacted one says nothing any more.
    Ok(event.map_or(HistoryVisibility::Shared, |event| {
        event.content.history_visibility
    }))
}
