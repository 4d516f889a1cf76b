//! Whom an event that enters a timeline concerns, by the rules that users have unless they change them
//! ([`default_push_rules`](crate::default_push_rules)). It is found out once for all users, when the event is written.

use std::borrow::Cow;

use ruma::{
    OwnedUserId, UInt, UserId,
    events::TimelineEventType,
    push::{FlattenedJson, PushConditionRoomCtx},
    serde::Raw,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{Pdu, Result, RoomNid, ServerNid, UserNid, WriteTx, push_rules::user_name_rule};

/// At most this many mentioned users of one event are told apart.
const MENTIONED_USERS: usize = 1_000;

/// Whom an event concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Attention {
    /// It counts as unread for all who have not seen it.
    pub(crate) notifies: bool,
    /// It is a highlight for all of them.
    pub(crate) everyone: bool,
    /// Local members for whom it is a highlight, and counts as unread whatever it is to others.
    pub(crate) users: Vec<UserNid>,
}

impl WriteTx<'_> {
    /// Whom an event concerns.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#predefined-rules>
    pub(crate) fn attention(&self, room: RoomNid, pdu: &Pdu) -> Result<Attention> {
        let content = Content::parse(pdu.content());
        if content.is_notice() || is_type(pdu, &["m.room.member"]) {
            return Ok(Attention::default());
        }
        let mentions = content.mentions();
        let is_tombstone = is_type(pdu, &["m.room.tombstone"]) && pdu.state_key() == Some("");
        let everyone = is_tombstone
            || mentions.room && self.push_room(room)?.may_notify_everyone(pdu.sender());
        let mut attention = Attention {
            notifies: everyone,
            everyone,
            users: self.mentioned(room, pdu.sender(), &mentions.user_ids)?,
        };
        let is_acl = is_type(pdu, &["m.room.server_acl"]) && pdu.state_key() == Some("");
        if is_acl || is_type(pdu, QUIET) || content.is_edit() {
            return Ok(attention);
        }
        // Who says whom they mention mentions nobody else.
        if content.mentions.is_none()
            && let Some(body) = text(content.body)
        {
            attention.users = self.named(room, pdu, &body)?;
        }
        attention.notifies |= is_type(pdu, LOUD);
        Ok(attention)
    }

    fn mentioned(
        &self,
        room: RoomNid,
        sender: &UserId,
        user_ids: &[OwnedUserId],
    ) -> Result<Vec<UserNid>> {
        let mut users = Vec::new();
        for user_id in user_ids.iter().take(MENTIONED_USERS) {
            if user_id != sender
                && let Some(user) = self.local_member(room, user_id)?
                && !users.contains(&user)
            {
                users.push(user);
            }
        }
        Ok(users)
    }

    /// Local members whose names a text contains.
    fn named(&self, room: RoomNid, pdu: &Pdu, body: &str) -> Result<Vec<UserNid>> {
        let names: Vec<String> = self.with_local_names(|names| {
            let names = names.in_text(body);
            names.into_iter().map(str::to_owned).collect()
        })?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let server = pdu.sender().server_name();
        let own = self.server_name_of(ServerNid::OWN)?;
        let raw: Raw<serde_json::Value> = Raw::from_json(
            RawValue::from_string(pdu.json().to_owned())
                .map_err(|error| crate::Error::invalid("event", error))?,
        );
        let event = FlattenedJson::from_raw(&raw);
        let mut users = Vec::new();
        for name in names {
            if server == own && pdu.sender().localpart() == name {
                continue;
            }
            let Ok(user_id) = UserId::parse(format!("@{name}:{own}")) else {
                continue;
            };
            let rule = user_name_rule(&user_id);
            let room_id = pdu.room_id().to_owned();
            let context =
                PushConditionRoomCtx::new(room_id, UInt::MIN, user_id.clone(), String::new());
            if rule.applies_to("content.body", &event, &context)
                && let Some(user) = self.local_member(room, &user_id)?
            {
                users.push(user);
            }
        }
        Ok(users)
    }

    fn local_member(&self, room: RoomNid, user_id: &UserId) -> Result<Option<UserNid>> {
        let sql = "SELECT u.user_nid FROM users u JOIN members m ON m.user_nid = u.user_nid
                   WHERE u.user_id = ?1 AND u.server_nid = 1 AND m.room_nid = ?2 AND m.membership = 'join'";
        let params = rusqlite::params![user_id.as_str(), room];
        self.optional(sql, params, |row| row.get(0))
    }
}

/// What counts as unread for everyone.
const LOUD: &[&str] = &[
    "m.room.message",
    "m.room.encrypted",
    "m.call.invite",
    "org.matrix.msc3381.poll.start",
    "org.matrix.msc3381.poll.end",
];

/// What says nothing to those whom it does not mention.
const QUIET: &[&str] = &["m.reaction", "org.matrix.msc3381.poll.response"];

/// Rules compare types without regard to case.
fn is_type(pdu: &Pdu, types: &[&str]) -> bool {
    // Nearly every event is of the first type of the longest list.
    if *pdu.event_type() == TimelineEventType::RoomMessage {
        return types.contains(&"m.room.message");
    }
    let event_type = pdu.event_type().to_string();
    types
        .iter()
        .any(|other| event_type.eq_ignore_ascii_case(other))
}

/// The parts of a content that rules look at, each with whatever is in it.
#[derive(Debug, Default, Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    msgtype: Option<&'a RawValue>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    // `null` is something, too.
    #[serde(borrow, default, deserialize_with = "present", rename = "m.mentions")]
    mentions: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "m.relates_to")]
    relates_to: Option<&'a RawValue>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Content<'a> {
    fn parse(content: &'a RawValue) -> Self {
        serde_json::from_str(content.get()).unwrap_or_default()
    }

    fn is_notice(&self) -> bool {
        text(self.msgtype).is_some_and(|msgtype| msgtype.eq_ignore_ascii_case("m.notice"))
    }

    fn is_edit(&self) -> bool {
        #[derive(Deserialize)]
        struct Relation<'a> {
            #[serde(borrow, default)]
            rel_type: Option<&'a RawValue>,
        }
        self.relates_to.is_some_and(|relation| {
            serde_json::from_str::<Relation<'_>>(relation.get())
                .is_ok_and(|relation| text(relation.rel_type).as_deref() == Some("m.replace"))
        })
    }

    fn mentions(&self) -> Mentions {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, default)]
            user_ids: Option<&'a RawValue>,
            #[serde(borrow, default)]
            room: Option<&'a RawValue>,
        }
        let mut mentions = Mentions::default();
        let Some(raw) = self.mentions else {
            return mentions;
        };
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(raw.get()) else {
            return mentions;
        };
        mentions.room = fields.room.is_some_and(|room| room.get() == "true");
        if let Some(ids) = fields.user_ids
            && let Ok(ids) = serde_json::from_str::<Vec<serde_json::Value>>(ids.get())
        {
            let ids = ids.iter().filter_map(serde_json::Value::as_str);
            mentions.user_ids = ids.filter_map(|id| UserId::parse(id).ok()).collect();
        }
        mentions
    }
}

#[derive(Default)]
struct Mentions {
    user_ids: Vec<OwnedUserId>,
    room: bool,
}

fn text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text: Text<'_> = serde_json::from_str(value?.get()).ok()?;
    Some(text.0)
}
