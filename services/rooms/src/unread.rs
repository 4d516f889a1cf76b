//! What counts as unread.

use luxchat_store::Pdu;
use ruma::events::TimelineEventType;
use serde::Deserialize;

/// Whether an event counts as unread for those who have not seen it: what the default push rules notify about, without
/// looking at who reads. Edits and notices do not.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#predefined-rules>
pub(crate) fn notifies(pdu: &Pdu) -> bool {
    pdu.state_key().is_none()
        && is_message(pdu.event_type())
        && pdu.content_as::<Content>().is_ok_and(|content| {
            content.msgtype.as_deref() != Some("m.notice")
                && content
                    .relates_to
                    .is_none_or(|relation| relation.rel_type.as_deref() != Some("m.replace"))
        })
}

fn is_message(event_type: &TimelineEventType) -> bool {
    matches!(
        event_type,
        TimelineEventType::RoomMessage
            | TimelineEventType::RoomEncrypted
            | TimelineEventType::Sticker
            | TimelineEventType::CallInvite
    ) || matches!(
        event_type.to_string().as_str(),
        "m.poll.start" | "org.matrix.msc3381.poll.start"
    )
}

#[derive(Deserialize)]
struct Content {
    msgtype: Option<String>,
    #[serde(rename = "m.relates_to")]
    relates_to: Option<Relation>,
}

#[derive(Deserialize)]
struct Relation {
    rel_type: Option<String>,
}
