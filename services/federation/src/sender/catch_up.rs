//! In which order a server that was away hears of what it missed.

use luxchat_store::{Error, Position, ReadTx, RoomNid, ServerNid};

use super::batch::Pdus;

/// A server that misses more events than this hears of them room by room. With fewer, it has them all at once.
const FAR_BEHIND: u32 = 500;

/// What a server missed, room by room, those first in which something happened last. Within a room the events come in their
/// order: the server needs none that it does not have.
///
/// Nothing of this is written down. Where it ends early, the next one begins with what is the newest then, and the server
/// knows again what it got already.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// The rooms left, the next one last.
    rooms: Vec<RoomNid>,
    /// How far the next room, or in the end what stands in none, is told of.
    at: Position,
    until: Position,
}

impl CatchUp {
    /// What `server` has to be told of that comes after a position, if that is a lot.
    pub(super) fn plan(
        tx: &ReadTx<'_>,
        server: ServerNid,
        after: Position,
    ) -> Result<Option<Self>, Error> {
        if !tx.is_far_behind(after, FAR_BEHIND)? {
            return Ok(None);
        }
        let until = tx.position()?;
        let mut rooms = tx.outgoing_rooms(server, after, until)?;
        rooms.reverse();
        Ok(Some(Self {
            rooms,
            at: after,
            until,
        }))
    }

    pub(super) fn next(&self) -> Pdus {
        match self.rooms.last() {
            Some(room) => Pdus::OfRoom(*room, self.at, self.until),
            None => Pdus::OutOfLine(self.at, self.until),
        }
    }

    /// What [`next`](Self::next) named is told of up to `reached`; `after` is where all of it began. The position up to which
    /// the server knows everything, once it does.
    pub(super) fn advance(&mut self, after: Position, reached: Position) -> Option<Position> {
        self.at = reached;
        if reached < self.until {
            return None;
        }
        self.at = after;
        match self.rooms.pop() {
            Some(_) => None,
            None => Some(self.until),
        }
    }
}
