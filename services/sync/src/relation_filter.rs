//! Which events a client wants by how they relate to others.
//! [MSC3874](https://github.com/matrix-org/matrix-spec-proposals/pull/3874).

use serde::Deserialize;
use serde_json::value::RawValue;

/// The part of an event filter that ruma's type does not know.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RelationFilter {
    /// Only events that relate in one of these ways.
    #[serde(alias = "org.matrix.msc3874.rel_types")]
    pub rel_types: Option<Vec<String>>,
    /// No events that relate in one of these ways, whatever the list above says.
    #[serde(alias = "org.matrix.msc3874.not_rel_types")]
    pub not_rel_types: Vec<String>,
}

impl RelationFilter {
    /// What a room event filter says of relations; one that cannot be read says nothing.
    pub fn of_event_filter(filter: &str) -> Self {
        serde_json::from_str(filter).unwrap_or_default()
    }

    /// What a sync filter says of the relations of timeline events.
    pub fn of_sync_filter(filter: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Filter {
            room: Room,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Room {
            timeline: RelationFilter,
        }
        let filter: Filter = serde_json::from_str(filter).unwrap_or_default();
        filter.room.timeline
    }

    /// Whether it lets everything through.
    pub(crate) fn is_empty(&self) -> bool {
        self.rel_types.is_none() && self.not_rel_types.is_empty()
    }

    /// Whether it lets an event with this content through.
    pub(crate) fn wants(&self, content: &RawValue) -> bool {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: Option<Relation>,
        }
        #[derive(Deserialize)]
        struct Relation {
            rel_type: Option<String>,
        }
        let content = serde_json::from_str::<Content>(content.get()).ok();
        let rel_type = content
            .and_then(|content| content.relates_to)
            .and_then(|relation| relation.rel_type);
        match rel_type {
            Some(rel_type) => {
                !self.not_rel_types.contains(&rel_type)
                    && (self.rel_types.as_ref()).is_none_or(|wanted| wanted.contains(&rel_type))
            }
            None => self.rel_types.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_by_how_they_relate() {
        let reply = RawValue::from_string(
            r#"{"m.relates_to":{"rel_type":"m.thread","event_id":"$root"}}"#.to_owned(),
        );
        let plain = RawValue::from_string(r#"{"body":"hello"}"#.to_owned());
        let (reply, plain) = (reply.unwrap(), plain.unwrap());
        let threads =
            RelationFilter::of_event_filter(r#"{"org.matrix.msc3874.rel_types":["m.thread"]}"#);
        assert!(threads.wants(&reply) && !threads.wants(&plain));
        let main = RelationFilter::of_sync_filter(
            r#"{"room":{"timeline":{"not_rel_types":["m.thread"],"rel_types":["m.thread"]}}}"#,
        );
        assert!(!main.wants(&reply) && !main.wants(&plain));
        assert!(RelationFilter::of_event_filter("{}").is_empty());
    }
}
