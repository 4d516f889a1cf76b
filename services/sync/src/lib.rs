//! What changed for a user since a position, and what they may read of their rooms.
//!
//! [`Sync`] only reads the store. Its two companions write: [`Typing`] takes a position for every change of who types,
//! so that waiting clients wake, and [`Receipts`] stores what users have read. Nothing here speaks HTTP: the Matrix error
//! code of an [`Error`] is the caller's choice.

mod access;
mod aggregation;
mod client_event;
mod context;
mod ephemeral;
mod error;
mod event_near;
mod filter;
mod hierarchy;
mod history;
mod member_summary;
mod members;
mod messages;
mod mutual_rooms;
mod peeking;
mod presence;
mod public_rooms;
mod receipts;
mod relation_filter;
mod relations;
mod response;
mod room_state;
mod room_summary;
mod room_updates;
mod search;
mod search_index;
mod server_hierarchy;
mod sliding;
mod state;
mod sync;
mod thread_subscriptions;
mod timeline;
mod token;
mod typing;
mod watch;

pub use self::{
    error::{Error, Result},
    event_near::EventNear,
    hierarchy::{Hierarchy, RemoteRooms},
    messages::{Gaps, Messages},
    mutual_rooms::MutualRooms,
    presence::{Presence, Shown, Syncing},
    public_rooms::{PublicRooms, PublicRoomsRequest, public_rooms},
    receipts::{ReceiptKind, Receipts},
    relation_filter::RelationFilter,
    relations::RelationsRequest,
    server_hierarchy::hierarchy_for_server,
    sliding::{ListExtra, RoomExtra, SlidingRequest, SlidingResponse},
    sync::{Sync, SyncRequest, Viewer},
    thread_subscriptions::ThreadSubscriptions,
    token::SyncToken,
    typing::Typing,
};
