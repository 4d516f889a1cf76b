//! The one write path for events, of this server's users and of others.

use luxchat_store::{
    Coordinate, EventNid, EventStatus, Inserted, NewEvent, Pdu, Redaction, Room, StateChange,
    Topic, Visibility, WriteTx,
};
use ruma::events::{TimelineEventType, room::member::MembershipState};

use crate::{Authorised, Error, PduError, Result, authorise::Scope, power::Power};

/// Places left before an event whose parents are missing. Among the numbers that JSON can carry there are
/// enough for fifty gaps a second, for as long as a box may live.
const GAP: i64 = 1 << 16;

/// Where an event goes.
#[derive(Clone, Debug)]
pub enum Placement {
    /// Kept for auth chains and look-ups, not part of the event graph.
    Outlier,
    /// In the event graph, unseen by clients and without effect on the current state: rejected or soft-failed.
    Unseen {
        /// The state before it.
        before: Coordinate,
    },
    /// At the end of the timeline.
    Live {
        /// The state before it.
        before: Coordinate,
        /// What becomes of the room's current state.
        current: CurrentState,
    },
    /// Before the beginning of the timeline or in a gap of it, without effect on the current state.
    Backfilled {
        /// The place of the event that the gap comes before; `None`: before the beginning.
        ahead_of: Option<i64>,
        /// The state before it.
        before: Coordinate,
        /// The state after it, which is written down already.
        after: Coordinate,
    },
}

/// What becomes of a room's current state with a live event.
#[derive(Clone, Debug)]
pub enum CurrentState {
    /// The state after the event is the room's new current state: it was sent on top of it.
    Follows,
    /// Resolution says so: what to change in the current state. An event among these changes is in the store already,
    /// as an outlier if it is the one that is appended.
    Resolved(Vec<StateChange>),
}

/// Who made an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A user of this server, which distributes it.
    Own,
    /// A user of this server, through another server which distributes it: a join, knock or leave from outside.
    OwnElsewhere,
    /// A user of another server through this one, which distributes it.
    Brokered,
    /// Another server.
    Remote,
}

/// Stores an event with all that follows from it: state, members, servers, extremities, redaction, unread counters, and
/// who has to be told. `room.current` and `room.notify_count` are brought up to date. `None` where the room has the
/// event already.
///
/// # Errors
///
/// [`Error::Internal`] where the event was not checked as thoroughly as its placement asks for, [`PduError::Format`] where
/// it is of another room.
pub fn append(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    event: &Authorised,
    placement: Placement,
    origin: Origin,
) -> Result<Option<Inserted>> {
    check_scope(event, &placement)?;
    if event.pdu().room_id() != room.room_id {
        let why = format!("{} is of another room", event.pdu().event_id());
        return Err(PduError::Format(why).into());
    }
    match placement {
        Placement::Outlier => {
            let place = Place {
                visibility: Visibility::Hidden,
                before: None,
                after: None,
            };
            insert(tx, room, event, place, origin)
        }
        Placement::Unseen { before } => unseen(tx, room, event, before, origin),
        Placement::Backfilled {
            ahead_of,
            before,
            after,
        } => {
            let visibility = ahead_of.map_or(Visibility::Oldest, Visibility::Before);
            let place = Place::seen(visibility, before, after);
            backfill(tx, room, event, place, before, origin)
        }
        Placement::Live { before, current } => {
            leave_room(tx, room, event, origin)?;
            match current {
                CurrentState::Follows => follow(tx, room, event, before, origin),
                CurrentState::Resolved(changes) => merge(tx, room, event, before, &changes, origin),
            }
        }
    }
}

/// Leaves places in the timeline before an event whose parents are missing, for when they are fetched.
fn leave_room(tx: &mut WriteTx<'_>, room: &Room, event: &Authorised, origin: Origin) -> Result<()> {
    if origin != Origin::Own
        && tx.lacks_parent(room.nid, event.pdu().prev_events())?
        && tx.newest_pos(room.nid)?.is_some()
    {
        tx.skip_positions(GAP);
    }
    Ok(())
}

/// Where `insert` puts an event.
#[derive(Clone, Copy)]
struct Place {
    visibility: Visibility,
    before: Option<Coordinate>,
    after: Option<Coordinate>,
}

impl Place {
    fn seen(visibility: Visibility, before: Coordinate, after: Coordinate) -> Self {
        Self {
            visibility,
            before: Some(before),
            after: Some(after),
        }
    }
}

/// A live event on top of the current state.
fn follow(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    event: &Authorised,
    before: Coordinate,
    origin: Origin,
) -> Result<Option<Inserted>> {
    let head = match room.current {
        Some(head) => head,
        None => tx.open_main_chain(room.nid)?,
    };
    room.current = Some(head);
    if before != head {
        return Err(Error::Internal(
            "the event was not sent on top of the current state".to_owned(),
        ));
    }
    let is_state = event.pdu().state_key().is_some();
    let after = Coordinate {
        chain: head.chain,
        ord: head.ord + i64::from(is_state),
    };
    let place = Place::seen(Visibility::Newest, before, after);
    let Some(inserted) = insert(tx, room, event, place, origin)? else {
        return Ok(None);
    };
    if let Some(key) = inserted.state_key {
        let event = Some(inserted.nid);
        tx.change_current_state(room, &[StateChange { key, event }], inserted.seq)?;
    }
    finish_live(tx, room, event, before, inserted, origin)?;
    Ok(Some(inserted))
}

/// A live event whose effect on the current state was resolved.
fn merge(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    event: &Authorised,
    before: Coordinate,
    changes: &[StateChange],
    origin: Origin,
) -> Result<Option<Inserted>> {
    let Some(inserted) = insert_beside(tx, room, event, before, Visibility::Newest, origin)? else {
        return Ok(None);
    };
    tx.change_current_state(room, changes, inserted.seq)?;
    finish_live(tx, room, event, before, inserted, origin)?;
    Ok(Some(inserted))
}

fn backfill(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    event: &Authorised,
    place: Place,
    before: Coordinate,
    origin: Origin,
) -> Result<Option<Inserted>> {
    let Some(inserted) = insert(tx, room, event, place, origin)? else {
        return Ok(None);
    };
    note_parents(tx, room, event, inserted)?;
    redact(tx, room, event.pdu(), before, inserted.nid)?;
    Ok(Some(inserted))
}

fn unseen(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    event: &Authorised,
    before: Coordinate,
    origin: Origin,
) -> Result<Option<Inserted>> {
    let Some(inserted) = insert_beside(tx, room, event, before, Visibility::Hidden, origin)? else {
        return Ok(None);
    };
    note_parents(tx, room, event, inserted)?;
    Ok(Some(inserted))
}

/// An event whose state after it is not the room's current state.
fn insert_beside(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    event: &Authorised,
    before: Coordinate,
    visibility: Visibility,
    origin: Origin,
) -> Result<Option<Inserted>> {
    // A rejected event changes no state; a soft-failed one does, for whatever builds on it.
    let changes_state =
        event.pdu().state_key().is_some() && event.status() != EventStatus::Rejected;
    let after = if changes_state {
        tx.fork_coordinate(room, before)?
    } else {
        before
    };
    let place = Place::seen(visibility, before, after);
    let Some(inserted) = insert(tx, room, event, place, origin)? else {
        return Ok(None);
    };
    if changes_state && let Some(key) = inserted.state_key {
        let event = Some(inserted.nid);
        tx.record_changes(after, &[StateChange { key, event }], inserted.seq)?;
    }
    Ok(Some(inserted))
}

fn insert(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    event: &Authorised,
    place: Place,
    origin: Origin,
) -> Result<Option<Inserted>> {
    let pdu = event.pdu();
    let new = NewEvent {
        room: room.nid,
        pdu,
        status: event.status(),
        visibility: place.visibility,
        before: place.before,
        after: place.after,
        is_own: matches!(origin, Origin::Own | Origin::OwnElsewhere),
        outgoing: matches!(origin, Origin::Own | Origin::Brokered),
    };
    let inserted = tx.insert_event(new)?;
    if let Some(inserted) = &inserted
        && origin != Origin::Own
    {
        tx.apply_pending_redactions(room.nid, &room.version, pdu, inserted.nid)?;
    }
    Ok(inserted)
}

fn finish_live(
    tx: &mut WriteTx<'_>,
    room: &Room,
    event: &Authorised,
    before: Coordinate,
    inserted: Inserted,
    origin: Origin,
) -> Result<()> {
    let pdu = event.pdu();
    tx.advance_tips(room.nid, inserted.nid, pdu.prev_events())?;
    if origin != Origin::Own {
        // What this server sends builds on what it has, and nobody has built on it before.
        note_parents(tx, room, event, inserted)?;
    }
    if !may_be_unfounded(tx, room, pdu, before, origin)? {
        redact(tx, room, pdu, before, inserted.nid)?;
    }
    tx.announce(Topic::Room(room.nid));
    if matches!(origin, Origin::Own | Origin::Brokered) {
        tx.announce_destinations(room.nid, inserted.seq)?;
    }
    Ok(())
}

fn note_parents(
    tx: &mut WriteTx<'_>,
    room: &Room,
    event: &Authorised,
    inserted: Inserted,
) -> Result<()> {
    let pdu = event.pdu();
    tx.note_missing_prevs(room.nid, inserted.nid, pdu.event_id(), pdu.prev_events())?;
    Ok(())
}

/// Whether an event was believed that its sender is in the room. What it takes away cannot be brought back: that waits
/// until the room's members are known.
fn may_be_unfounded(
    tx: &WriteTx<'_>,
    room: &Room,
    pdu: &Pdu,
    before: Coordinate,
    origin: Origin,
) -> Result<bool> {
    Ok(room.is_partial()
        && origin == Origin::Remote
        && *pdu.event_type() == TimelineEventType::RoomRedaction
        && tx.membership_at(before, pdu.sender())? != MembershipState::Join)
}

/// Where the event is a redaction, redacts.
pub(crate) fn redact(
    tx: &mut WriteTx<'_>,
    room: &Room,
    pdu: &Pdu,
    before: Coordinate,
    event: EventNid,
) -> Result<()> {
    let Some(target) = pdu.redacts() else {
        return Ok(());
    };
    if *pdu.event_type() != TimelineEventType::RoomRedaction || pdu.state_key().is_some() {
        return Ok(());
    }
    let redaction = Redaction {
        event,
        any_sender: Power::at(tx, room, before)?.may_redact(pdu.sender()),
    };
    tx.redact(room.nid, &room.version, target, redaction)?;
    Ok(())
}

fn check_scope(event: &Authorised, placement: &Placement) -> Result<()> {
    let rejected = event.status() == EventStatus::Rejected;
    let fits = match placement {
        Placement::Outlier => true,
        Placement::Unseen { .. } => {
            rejected
                || event.scope() >= Scope::StateBefore && event.status() != EventStatus::Accepted
        }
        Placement::Backfilled { .. } => !rejected && event.scope() >= Scope::StateBefore,
        Placement::Live { .. } => {
            event.status() == EventStatus::Accepted && event.scope() == Scope::CurrentState
        }
    };
    fits.then_some(()).ok_or_else(|| {
        Error::Internal("the event was not authorised for its place in the room".to_owned())
    })
}
