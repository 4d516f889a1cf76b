//! Which events a client wants.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#filtering).

use ruma::{
    RoomId, UserId,
    api::client::filter::{Filter, RoomEventFilter, RoomFilter, UrlFilter},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::client_event::Fields;

/// Whether a filter lets a room through.
pub(crate) fn wants_room(filter: &RoomFilter, room_id: &RoomId) -> bool {
    is_listed(filter.rooms.as_deref(), &filter.not_rooms, |id| {
        id == room_id
    })
}

/// Whether a filter lets a room's events of one kind through.
pub(crate) fn wants_events_of(filter: &RoomEventFilter, room_id: &RoomId) -> bool {
    is_listed(filter.rooms.as_deref(), &filter.not_rooms, |id| {
        id == room_id
    })
}

/// Whether a filter looks at events at all, so that they must be parsed for it.
pub(crate) fn looks_at_events(filter: &RoomEventFilter) -> bool {
    filter.types.is_some()
        || !filter.not_types.is_empty()
        || filter.senders.is_some()
        || !filter.not_senders.is_empty()
        || filter.url_filter.is_some()
}

/// Whether a filter lets an event through.
pub(crate) fn wants_event(filter: &RoomEventFilter, event: &Fields<'_>) -> bool {
    wants_type(filter, &event.event_type)
        && is_listed(filter.senders.as_deref(), &filter.not_senders, |id| {
            *id == *event.sender
        })
        && match filter.url_filter {
            None => true,
            Some(UrlFilter::EventsWithUrl) => has_url(event.content),
            Some(UrlFilter::EventsWithoutUrl) => !has_url(event.content),
        }
}

/// Whether a filter lets an event of this type through that has no sender, such as a receipt.
pub(crate) fn wants_type(filter: &RoomEventFilter, event_type: &str) -> bool {
    is_listed(filter.types.as_deref(), &filter.not_types, |pattern| {
        matches(pattern, event_type)
    })
}

/// The same for what is not of a room: account data, presence.
pub(crate) fn wants_type_of(filter: &Filter, event_type: &str) -> bool {
    is_listed(filter.types.as_deref(), &filter.not_types, |pattern| {
        matches(pattern, event_type)
    })
}

/// Whether a filter lets events of this sender through.
pub(crate) fn wants_sender(filter: &Filter, sender: &UserId) -> bool {
    is_listed(filter.senders.as_deref(), &filter.not_senders, |id| {
        id == sender
    })
}

/// Nothing of the second list passes, whatever the first one says; without a first list all the rest does.
fn is_listed<T>(wanted: Option<&[T]>, unwanted: &[T], is_it: impl Fn(&T) -> bool) -> bool {
    !unwanted.iter().any(&is_it) && wanted.is_none_or(|wanted| wanted.iter().any(&is_it))
}

/// Whether `text` has the form of `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn has_url(content: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Content {
        url: Option<IgnoredAny>,
    }
    serde_json::from_str::<Content>(content.get()).is_ok_and(|content| content.url.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.room.*", "m.room.message", true),
            ("*", "", true),
            ("*.message", "m.room.message", true),
            ("m.*.me*e", "m.room.message", true),
            ("m.*.me*x", "m.room.message", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_not_wanted_outweighs_what_is() {
        let mut filter = RoomEventFilter::default();
        assert!(wants_type(&filter, "m.room.message"));
        filter.types = Some(vec!["m.room.*".to_owned()]);
        filter.not_types = vec!["m.room.member".to_owned()];
        assert!(wants_type(&filter, "m.room.message"));
        assert!(!wants_type(&filter, "m.room.member"));
        assert!(!wants_type(&filter, "m.call.invite"));
        filter.types = Some(Vec::new());
        assert!(!wants_type(&filter, "m.room.message"));
    }

    #[test]
    fn events_are_told_apart_by_sender_and_url() {
        let json = r#"{"type":"m.room.message","sender":"@a:one","origin_server_ts":1,"content":{"url":"mxc://a/b"}}"#;
        let event = Fields::parse(json).unwrap();
        let mut filter = RoomEventFilter::default();
        filter.not_senders = vec!["@a:one".try_into().unwrap()];
        assert!(!wants_event(&filter, &event));
        filter.not_senders.clear();
        filter.url_filter = Some(UrlFilter::EventsWithoutUrl);
        assert!(!wants_event(&filter, &event));
        filter.url_filter = Some(UrlFilter::EventsWithUrl);
        assert!(wants_event(&filter, &event));
    }
}
