//! Push rules: what users have who never changed any, and what of a room they look at.

use std::sync::Arc;

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::{
        StateEventType,
        push_rules::PushRulesEventContent,
        room::power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
    },
    power_levels::NotificationPowerLevelsKey,
    push::{
        Action, ConditionalPushRule, EventMatchConditionData, HighlightTweakValue,
        NewSimplePushRule, PatternedPushRule, PatternedPushRuleInit, PushCondition,
        PushConditionPowerLevelsCtx, PushConditionRoomCtx, Ruleset, SoundTweakValue, Tweak,
    },
};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{Error, Position, ReadTx, Result, RoomNid, UserNid, WriteTx};

/// The type of account data that holds a user's rules.
pub const PUSH_RULES: &str = "m.push_rules";

/// Copies of a room's rules for the room that replaces it, at most.
const CARRIED_RULES: usize = 20;

/// The rules of a user who never changed any: those of the specification, those for polls (MSC3930), and one that takes a
/// user's name in a text for a mention where the sender's client does not know how to say whom it mentions.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#predefined-rules>
pub fn default_push_rules(user_id: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user_id);
    rules.content.insert(user_name_rule(user_id));
    rules.override_.insert(rule(
        ".org.matrix.msc3930.rule.poll_response",
        vec![is_of_type("org.matrix.msc3381.poll.response")],
        Vec::new(),
    ));
    for part in ["start", "end"] {
        let event_type = format!("org.matrix.msc3381.poll.{part}");
        let one_to_one = PushCondition::RoomMemberCount(
            ruma::push::RoomMemberCountConditionData::new(UInt::from(2_u32).into()),
        );
        rules.underride.insert(rule(
            &format!(".org.matrix.msc3930.rule.poll_{part}_one_to_one"),
            vec![one_to_one, is_of_type(&event_type)],
            vec![
                Action::Notify,
                Action::SetTweak(Tweak::Sound(SoundTweakValue::Default)),
            ],
        ));
        rules.underride.insert(rule(
            &format!(".org.matrix.msc3930.rule.poll_{part}"),
            vec![is_of_type(&event_type)],
            vec![Action::Notify],
        ));
    }
    rules
}

fn rule(id: &str, conditions: Vec<PushCondition>, actions: Vec<Action>) -> ConditionalPushRule {
    ruma::push::ConditionalPushRuleInit {
        actions,
        default: true,
        enabled: true,
        rule_id: id.to_owned(),
        conditions,
    }
    .into()
}

fn is_of_type(event_type: &str) -> PushCondition {
    let data = EventMatchConditionData::new("type".to_owned(), event_type.to_owned());
    PushCondition::EventMatch(data)
}

/// The rule by which a name in a text is a mention.
pub(crate) fn user_name_rule(user_id: &UserId) -> PatternedPushRule {
    PatternedPushRuleInit {
        actions: vec![
            Action::Notify,
            Action::SetTweak(Tweak::Sound(SoundTweakValue::Default)),
            Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes)),
        ],
        default: true,
        enabled: true,
        rule_id: ".m.rule.contains_user_name".to_owned(),
        pattern: user_id.localpart().to_owned(),
    }
    .into()
}

/// What of a room's current state push rules look at.
#[derive(Clone, Debug)]
pub struct PushRoom {
    /// The room.
    pub room_id: OwnedRoomId,
    /// How many users are joined.
    pub members: u64,
    /// Who may notify whom; `None` where the room has no power levels.
    pub power_levels: Option<Arc<PushConditionPowerLevelsCtx>>,
}

impl PushRoom {
    /// The room as one of its members sees it.
    pub fn context(&self, user_id: OwnedUserId, display_name: String) -> PushConditionRoomCtx {
        let members = UInt::new_saturating(self.members);
        let context =
            PushConditionRoomCtx::new(self.room_id.clone(), members, user_id, display_name);
        match &self.power_levels {
            Some(levels) => context.with_power_levels((**levels).clone()),
            None => context,
        }
    }

    /// Whether a user may mention everybody.
    pub fn may_notify_everyone(&self, user_id: &UserId) -> bool {
        let key = NotificationPowerLevelsKey::Room;
        self.power_levels
            .as_ref()
            .is_some_and(|levels| levels.has_sender_notification_permission(user_id, &key))
    }
}

impl ReadTx<'_> {
    /// What of a room's current state push rules look at.
    pub fn push_room(&self, room: RoomNid) -> Result<PushRoom> {
        let sql = "SELECT coalesce(sum(joined), 0) FROM room_servers WHERE room_nid = ?1 AND until_seq IS NULL";
        let members = self.one(sql, [room], |row| row.get(0))?;
        let found = self.room(room)?;
        let levels = self.current_state_event(room, &StateEventType::RoomPowerLevels, "")?;
        let levels: Option<PowerLevels> =
            levels.and_then(|levels| serde_json::from_str(&levels.json).ok());
        let power_levels = match (levels, found.version.rules()) {
            (Some(levels), Some(rules)) => {
                let create = self.current_state_event(room, &StateEventType::RoomCreate, "")?;
                let create: Option<Create> =
                    create.and_then(|create| serde_json::from_str(&create.json).ok());
                let creators: Vec<OwnedUserId> = create.map(Create::creators).unwrap_or_default();
                let source = RoomPowerLevelsSource::Original(levels.content);
                let levels = RoomPowerLevels::new(source, &rules.authorization, creators);
                Some(Arc::new(PushConditionPowerLevelsCtx::from(levels)))
            }
            _ => None,
        };
        Ok(PushRoom {
            room_id: found.room_id,
            members,
            power_levels,
        })
    }

    /// When what decides of a user's notifications last changed: their rules, or whom they ignore.
    pub fn push_rules_changed(&self, user: UserNid) -> Result<Position> {
        let sql = "SELECT coalesce(max(seq), 0) FROM account_data
                   WHERE user_nid = ?1 AND event_type IN ('m.push_rules', 'm.ignored_user_list')";
        self.one(sql, [user], |row| row.get(0))
    }

    /// A user's rules.
    pub fn push_rules(&self, user: UserNid, user_id: &UserId) -> Result<Ruleset> {
        let Some(stored) = self.account_data(user, PUSH_RULES)? else {
            return Ok(default_push_rules(user_id));
        };
        let content: PushRulesEventContent = serde_json::from_str(stored.get())
            .map_err(|error| Error::invalid("push rules", error))?;
        Ok(content.global)
    }
}

impl WriteTx<'_> {
    /// Stores a user's rules and tells their clients.
    pub fn set_push_rules(&mut self, user: UserNid, rules: Ruleset) -> Result<()> {
        let content = push_rules_content(rules)?;
        self.set_account_data(user, PUSH_RULES, &content).map(drop)
    }

    /// Gives a local user who joins a room the same rules for it as for the one that it replaces, where they have any. Rules
    /// that the user has for the new room already stay.
    pub(crate) fn follow_predecessor(&mut self, user: UserNid, room: RoomNid) -> Result<()> {
        let create = self.current_state_event(room, &StateEventType::RoomCreate, "")?;
        let create: Option<Create> =
            create.and_then(|create| serde_json::from_str(&create.json).ok());
        let Some(predecessor) = create.and_then(|create| create.content.predecessor) else {
            return Ok(());
        };
        let new = self.room_id(room)?;
        self.carry_push_rules(user, &predecessor.room_id, &new)
    }

    fn carry_push_rules(&mut self, user: UserNid, old: &RoomId, new: &RoomId) -> Result<()> {
        // Without rules of their own a user has none for a room.
        let Some(stored) = self.account_data(user, PUSH_RULES)? else {
            return Ok(());
        };
        if !stored.get().contains(old.as_str()) {
            return Ok(());
        }
        let user_id = self.user_id(user)?;
        let mut rules = self.push_rules(user, &user_id)?;
        if carry(&mut rules, old, new) {
            self.set_push_rules(user, rules)?;
        }
        Ok(())
    }
}

/// Rules as account data.
///
/// # Errors
///
/// [`Error::Invalid`] where they cannot be written as JSON.
pub fn push_rules_content(rules: Ruleset) -> Result<Box<RawValue>> {
    to_raw_value(&PushRulesEventContent::new(rules))
        .map_err(|error| Error::invalid("push rules", error))
}

/// Copies the rules for one room to another; says whether there were any.
fn carry(rules: &mut Ruleset, old: &RoomId, new: &RoomId) -> bool {
    let mut carried = false;
    if let Some(rule) = rules.room.get(old.as_str()).cloned()
        && rules.room.get(new.as_str()).is_none()
    {
        let (actions, enabled) = (rule.actions, rule.enabled);
        let copy = NewSimplePushRule::new(new.to_owned(), actions);
        let inserted = rules.insert(ruma::push::NewPushRule::Room(copy), None, None);
        carried |= inserted.is_ok();
        if inserted.is_ok() && !enabled {
            let kind = ruma::push::RuleKind::Room;
            carried |= rules.set_enabled(kind, new.as_str(), false).is_ok();
        }
    }
    carried | carry_overrides(rules, old, new)
}

/// The same for overrides that name the room in a condition: that is how clients mute a room for good.
fn carry_overrides(rules: &mut Ruleset, old: &RoomId, new: &RoomId) -> bool {
    let mut copies = Vec::new();
    for (index, rule) in rules.override_.iter().enumerate() {
        let Some(condition) = rule.conditions.iter().position(|condition| {
            matches!(condition, PushCondition::EventMatch(data)
                if data.key == "room_id" && data.pattern == old.as_str())
        }) else {
            continue;
        };
        let mut copy = rule.clone();
        copy.conditions[condition] = PushCondition::EventMatch(EventMatchConditionData::new(
            "room_id".to_owned(),
            new.as_str().to_owned(),
        ));
        // Clients name such a rule after its room.
        copy.rule_id = rule.rule_id.replace(old.as_str(), new.as_str());
        if copy.rule_id == rule.rule_id {
            copy.rule_id = format!("{}_{new}", rule.rule_id);
        }
        if !rule.default && !rules.override_.contains(copy.rule_id.as_str()) {
            copies.push((index, copy));
        }
    }
    copies.truncate(CARRIED_RULES);
    let carried = !copies.is_empty();
    // From the last on, so that the places of those before still hold.
    for (index, copy) in copies.into_iter().rev() {
        rules.override_.shift_insert(index + 1, copy);
    }
    carried
}

#[derive(Deserialize)]
struct PowerLevels {
    content: RoomPowerLevelsEventContent,
}

#[derive(Deserialize)]
struct Create {
    sender: OwnedUserId,
    content: CreateContent,
}

#[derive(Deserialize)]
struct CreateContent {
    #[serde(default)]
    additional_creators: Vec<OwnedUserId>,
    #[serde(default)]
    predecessor: Option<Predecessor>,
}

#[derive(Deserialize)]
struct Predecessor {
    room_id: OwnedRoomId,
}

impl Create {
    fn creators(self) -> Vec<OwnedUserId> {
        let mut creators = self.content.additional_creators;
        creators.push(self.sender);
        creators
    }
}

#[cfg(test)]
mod tests {
    use ruma::{push::RuleKind, room_id, user_id};
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_for_a_room_are_carried_over_to_its_successor() {
        let (old, new) = (room_id!("!old:one"), room_id!("!new:one"));
        let mut rules = default_push_rules(user_id!("@alice:one"));
        assert!(!carry(&mut rules, old, new));
        let mute = json!({
            "rule_id": "!old:one", "default": false, "enabled": true, "actions": [],
            "conditions": [{ "kind": "event_match", "key": "room_id", "pattern": "!old:one" }],
        });
        let mute: ConditionalPushRule = serde_json::from_value(mute).unwrap();
        rules.override_.shift_insert(1, mute);
        let quiet = NewSimplePushRule::new(old.to_owned(), Vec::new());
        rules
            .insert(ruma::push::NewPushRule::Room(quiet), None, None)
            .unwrap();
        rules
            .set_enabled(RuleKind::Room, old.as_str(), false)
            .unwrap();
        assert!(carry(&mut rules, old, new));
        let copy = rules.get(RuleKind::Room, new.as_str()).unwrap();
        assert!(!copy.enabled());
        let copy = &rules.override_[2];
        assert_eq!(copy.rule_id, "!new:one");
        assert!(matches!(&copy.conditions[0],
            PushCondition::EventMatch(data) if data.pattern == "!new:one"));
        assert!(!carry(&mut rules, old, new), "once is enough");
    }
}
