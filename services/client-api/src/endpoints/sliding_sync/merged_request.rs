//! The merged dialect's request, and how it reads as one of the engine's.

use std::collections::BTreeMap;

use luxchat_http::ApiError;
use luxchat_sync::{ListExtra, SlidingRequest};
use ruma::{
    OwnedRoomId, UInt,
    api::client::sync::sync_events::v5::request::{
        Extensions, List, ListFilters, RoomSubscription,
    },
    directory::RoomTypeFilter,
    events::StateEventType,
};
use serde::Deserialize;

const ANY: &str = "*";

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Merged {
    lists: BTreeMap<String, MergedList>,
    room_subscriptions: BTreeMap<OwnedRoomId, Config>,
    extensions: Extensions,
}

#[derive(Deserialize)]
struct MergedList {
    #[serde(flatten)]
    config: Config,
    range: Option<(UInt, UInt)>,
    #[serde(default)]
    filters: Filters,
}

#[derive(Deserialize)]
struct Config {
    timeline_limit: UInt,
    required_state: RequiredState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RequiredState {
    include: Vec<Element>,
    exclude: Vec<Element>,
    lazy_members: bool,
}

#[derive(Deserialize)]
struct Element {
    #[serde(rename = "type")]
    event_type: Option<String>,
    state_key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Filters {
    is_dm: Option<bool>,
    spaces: Option<Vec<OwnedRoomId>>,
    is_encrypted: Option<bool>,
    is_invited: Option<bool>,
    room_types: Vec<RoomTypeFilter>,
    not_room_types: Vec<RoomTypeFilter>,
    tags: Option<Vec<String>>,
    not_tags: Vec<String>,
}

impl Merged {
    pub(super) fn into_request(self) -> Result<SlidingRequest, ApiError> {
        let mut request = SlidingRequest::default();
        for (name, list) in self.lists {
            // Without a range all rooms are meant.
            let range = list.range.unwrap_or((UInt::MIN, UInt::MAX));
            if range.0 > range.1 {
                return Err(ApiError::invalid_param("A range ends before it begins"));
            }
            let mut filters = ListFilters::default();
            filters.is_dm = list.filters.is_dm;
            filters.is_encrypted = list.filters.is_encrypted;
            filters.is_invite = list.filters.is_invited;
            filters.room_types = list.filters.room_types;
            filters.not_room_types = list.filters.not_room_types;
            let mut common = List::default();
            common.ranges = vec![range];
            common.filters = Some(filters);
            common.room_details.timeline_limit = list.config.timeline_limit;
            let (wanted, excluded) = list.config.required_state.pairs();
            common.room_details.required_state = wanted;
            request.common.lists.insert(name.clone(), common);
            let extra = ListExtra {
                tags: list.filters.tags,
                not_tags: list.filters.not_tags,
                spaces: list.filters.spaces,
                excluded,
            };
            if extra != ListExtra::default() {
                request.lists.insert(name, extra);
            }
        }
        for (room_id, config) in self.room_subscriptions {
            let mut common = RoomSubscription::default();
            common.timeline_limit = config.timeline_limit;
            let (wanted, excluded) = config.required_state.pairs();
            common.required_state = wanted;
            let subscriptions = &mut request.common.room_subscriptions;
            subscriptions.insert(room_id.clone(), common);
            if !excluded.is_empty() {
                request.excluded.insert(room_id, excluded);
            }
        }
        request.common.extensions = self.extensions;
        Ok(request)
    }
}

/// Pairs of event type and state key.
type Wanted = Vec<(StateEventType, String)>;
type Excluded = Vec<(String, String)>;

impl RequiredState {
    fn pairs(self) -> (Wanted, Excluded) {
        let wanted = self.include.into_iter().map(Element::pair);
        let mut wanted: Wanted = wanted.map(|(it, key)| (it.into(), key)).collect();
        if self.lazy_members {
            wanted.push((StateEventType::RoomMember, "$LAZY".to_owned()));
            // Who asks for everything and for few members wants the others not.
            let everything = (ANY.to_owned(), ANY.to_owned());
            if wanted
                .iter()
                .any(|(it, key)| (it.to_string(), key.clone()) == everything)
            {
                let members = ("m.room.member".to_owned(), ANY.to_owned());
                let mut excluded = vec![members];
                excluded.extend(self.exclude.into_iter().map(Element::pair));
                return (wanted, excluded);
            }
        }
        (
            wanted,
            self.exclude.into_iter().map(Element::pair).collect(),
        )
    }
}

impl Element {
    fn pair(self) -> (String, String) {
        let any = || ANY.to_owned();
        (
            self.event_type.unwrap_or_else(any),
            self.state_key.unwrap_or_else(any),
        )
    }
}
