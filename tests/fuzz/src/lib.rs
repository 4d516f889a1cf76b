//! What the fuzz targets share: a server as the product composes it, a peer that answers whatever it is told to, and events
//! that the peer signs.

mod forge;
mod input;
mod nation;
mod peer;
mod room;
mod server;

pub use self::{
    forge::Forge,
    input::Input,
    nation::{Nation, START, with_nation},
    peer::Peer,
    room::{NAMED, Room, events_of, join_through, room_request},
    server::{Server, key},
};
