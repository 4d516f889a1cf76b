//! Rules against events.

use std::collections::HashMap;

use futures_util::FutureExt;
use luxchat_store::{ClientRow, PushRoom, ReadTx, RoomNid, UserNid};
use ruma::{
    events::StateEventType,
    push::{Action, FlattenedJson, PushConditionRoomCtx},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Result, user_rules::UserRules};

/// An event as rules see it: once for all users.
pub(crate) struct PushEvent {
    fields: FlattenedJson,
    sender: UserNid,
}

impl PushEvent {
    /// `None` for an event that notifies nobody: its content is gone.
    pub(crate) fn new(row: &ClientRow) -> Option<Self> {
        if row.redacted_by.is_some() {
            return None;
        }
        let json = RawValue::from_string(row.json.clone()).ok()?;
        let raw: Raw<serde_json::Value> = Raw::from_json(json);
        Some(Self {
            fields: FlattenedJson::from_raw(&raw),
            sender: row.sender,
        })
    }
}

/// What rules say to an event that notifies.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Whether it is a highlight.
    pub(crate) is_highlight: bool,
    /// What the matching rule wants to be done.
    pub(crate) actions: Vec<Action>,
}

/// A user's rules in a room.
pub(crate) struct Evaluator<'r> {
    rules: &'r UserRules,
    context: PushConditionRoomCtx,
}

impl<'r> Evaluator<'r> {
    pub(crate) fn new(
        tx: &ReadTx<'_>,
        rules: &'r UserRules,
        room: RoomNid,
        push_room: &PushRoom,
    ) -> Result<Self> {
        let display_name = display_name(tx, room, rules)?;
        Ok(Self {
            rules,
            context: push_room.context(rules.user_id.clone(), display_name),
        })
    }

    /// What the first rule that applies says; `None` where that is not to notify.
    pub(crate) fn judge(&self, event: &PushEvent) -> Option<Verdict> {
        if event.sender == self.rules.user || self.rules.ignored.contains(&event.sender) {
            return None;
        }
        let rule = self.rules.rules.iter().find(|rule| {
            // Nothing is waited for: the context holds all there is to know.
            rule.applies(&event.fields, &self.context)
                .now_or_never()
                .unwrap_or(false)
        })?;
        rule.triggers_notification().then(|| Verdict {
            is_highlight: rule.triggers_highlight(),
            actions: rule.actions().to_vec(),
        })
    }
}

/// Rooms as rules see them, each read once from a snapshot.
#[derive(Default)]
pub(crate) struct PushRooms(HashMap<RoomNid, PushRoom>);

impl PushRooms {
    pub(crate) fn get(&mut self, tx: &ReadTx<'_>, room: RoomNid) -> Result<&PushRoom> {
        match self.0.entry(room) {
            std::collections::hash_map::Entry::Occupied(held) => Ok(held.into_mut()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                Ok(vacant.insert(tx.push_room(room)?))
            }
        }
    }
}

/// What a user is called in a room, for rules of old that look for it.
fn display_name(tx: &ReadTx<'_>, room: RoomNid, rules: &UserRules) -> Result<String> {
    #[derive(Deserialize)]
    struct Member {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        displayname: Option<String>,
    }
    let member = StateEventType::RoomMember;
    let event = tx.current_state_event(room, &member, rules.user_id.as_str())?;
    let member: Option<Member> = event.and_then(|event| serde_json::from_str(&event.json).ok());
    Ok(member
        .and_then(|member| member.content.displayname)
        .unwrap_or_default())
}
