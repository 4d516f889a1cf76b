//! What clients ask for, in either dialect.

use std::{collections::BTreeMap, ops::Deref};

use ruma::{
    OwnedRoomId,
    api::client::sync::sync_events::v5::{self, Request},
    events::room::member::MembershipState,
};

use crate::ThreadSubscriptions;

/// A sliding sync: what both dialects say, and beside it what only one of them does.
#[derive(Clone, Debug, Default)]
pub struct SlidingRequest {
    /// What both say.
    pub common: Request,
    /// What lists ask for beyond that, by their names.
    pub lists: BTreeMap<String, ListExtra>,
    /// Pairs of event type and state key that a subscription wants none of, `*` standing for any.
    pub excluded: BTreeMap<OwnedRoomId, Vec<(String, String)>>,
    /// How many decisions about threads to tell; `None`: whatever fits. Outer `None`: none at all.
    pub thread_subscriptions: Option<Option<u32>>,
}

/// What a list asks for that only the merged dialect knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListExtra {
    /// Only rooms with one of these tags.
    pub tags: Option<Vec<String>>,
    /// No rooms with one of these tags.
    pub not_tags: Vec<String>,
    /// Only rooms in one of these spaces.
    pub spaces: Option<Vec<OwnedRoomId>>,
    /// Pairs of event type and state key that are not wanted, `*` standing for any.
    pub excluded: Vec<(String, String)>,
}

impl ListExtra {
    /// Whether it narrows the list down by what rooms are grouped by.
    pub(super) fn looks_at_groups(&self) -> bool {
        self.tags.is_some() || !self.not_tags.is_empty() || self.spaces.is_some()
    }
}

impl Deref for SlidingRequest {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.common
    }
}

impl From<Request> for SlidingRequest {
    fn from(common: Request) -> Self {
        Self {
            common,
            ..Self::default()
        }
    }
}

/// The answer: what both dialects say, and beside it what only one of them does.
#[derive(Clone, Debug)]
pub struct SlidingResponse {
    /// What both say.
    pub common: v5::Response,
    /// What the merged dialect adds to each room.
    pub rooms: BTreeMap<OwnedRoomId, RoomExtra>,
    /// What the user decided about threads.
    pub thread_subscriptions: ThreadSubscriptions,
}

/// What the merged dialect says of a room beyond what both do.
#[derive(Clone, Debug)]
pub struct RoomExtra {
    /// What the user is to it.
    pub membership: MembershipState,
    /// The lists that show it.
    pub lists: Vec<String>,
    /// Whether the timeline holds older events because the client asks for a longer one.
    pub is_expanded: bool,
}
