//! What a user's rules come to in a room, without looking at its events.

use std::collections::HashSet;

use luxchat_store::default_push_rules;
use ruma::{
    RoomId, UserId,
    push::{AnyPushRuleRef, PushCondition, Ruleset},
};

/// What rules come to in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The same as the default rules.
    Default,
    /// Highlights of the default rules, and nothing else, notify.
    Highlights,
    /// Nothing notifies.
    Nothing,
    /// Events have to be looked at one by one.
    Depends,
}

/// A user's rules in short. Sounds are left out: they change no count.
#[derive(Debug)]
pub(crate) struct Profile {
    rules: Vec<Rule>,
    /// Rooms that some rule names, in lower case.
    rooms: HashSet<String>,
    /// What the rules come to in all others.
    elsewhere: Outcome,
    /// The default ones that come before those that notify of everything.
    default_highlights: Vec<String>,
    /// The default ones, all of them.
    default: Vec<String>,
}

/// A rule that is on.
#[derive(Debug)]
struct Rule {
    /// All that matters of it.
    meaning: String,
    notifies: bool,
    scope: Scope,
}

/// Which events a rule can apply to.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    /// Some of any room.
    Some,
    /// All of any room.
    All,
    /// Some of one room.
    SomeOf(String),
    /// All of one room.
    AllOf(String),
    /// None.
    None,
}

impl Profile {
    pub(crate) fn new(rules: &Ruleset, user_id: &UserId) -> Self {
        let default = default_push_rules(user_id);
        let is_underride = |rule: &AnyPushRuleRef<'_>| matches!(rule, AnyPushRuleRef::Underride(_));
        let enabled = |rule: &AnyPushRuleRef<'_>| rule.enabled();
        let highlights = default
            .iter()
            .filter(enabled)
            .filter(|rule| !is_underride(rule));
        let rules: Vec<Rule> = rules.iter().filter(enabled).map(Rule::new).collect();
        let rooms = rules.iter().filter_map(|rule| match &rule.scope {
            Scope::SomeOf(room) | Scope::AllOf(room) => Some(room.to_lowercase()),
            Scope::Some | Scope::All | Scope::None => None,
        });
        let mut profile = Self {
            rooms: rooms.collect(),
            rules,
            elsewhere: Outcome::Depends,
            default_highlights: highlights.map(meaning).collect(),
            default: default.iter().filter(enabled).map(meaning).collect(),
        };
        profile.elsewhere = profile.evaluate("");
        profile
    }

    /// What the rules come to in a room.
    pub(crate) fn outcome(&self, room_id: &RoomId) -> Outcome {
        if self.rooms.is_empty() || !self.rooms.contains(&room_id.as_str().to_lowercase()) {
            self.elsewhere
        } else {
            self.evaluate(room_id.as_str())
        }
    }

    fn evaluate(&self, room_id: &str) -> Outcome {
        let mut rules: Vec<&Rule> = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let (applies, to_all) = rule.applies_in(room_id);
            if applies {
                rules.push(rule);
            }
            if to_all {
                break;
            }
        }
        if rules.iter().all(|rule| !rule.notifies) {
            return Outcome::Nothing;
        }
        let same = |default: &[String], rules: &[&Rule]| {
            default.iter().eq(rules.iter().map(|rule| &rule.meaning))
        };
        if same(&self.default, &rules) {
            return Outcome::Default;
        }
        let split = self.default_highlights.len();
        if rules.len() >= split
            && same(&self.default_highlights, &rules[..split])
            && rules[split..].iter().all(|rule| !rule.notifies)
        {
            return Outcome::Highlights;
        }
        Outcome::Depends
    }
}

impl Rule {
    fn new(rule: AnyPushRuleRef<'_>) -> Self {
        Self {
            meaning: meaning(rule),
            notifies: rule.triggers_notification(),
            scope: scope(rule),
        }
    }

    /// Whether the rule can apply to events of a room, and whether it applies to all of them.
    fn applies_in(&self, room_id: &str) -> (bool, bool) {
        match &self.scope {
            Scope::Some => (true, false),
            Scope::All => (true, true),
            Scope::SomeOf(room) => (room_id.eq_ignore_ascii_case(room), false),
            Scope::AllOf(room) => {
                let is_it = room_id.eq_ignore_ascii_case(room);
                (is_it, is_it)
            }
            Scope::None => (false, false),
        }
    }
}

fn meaning(rule: AnyPushRuleRef<'_>) -> String {
    let (kind, what) = match rule {
        AnyPushRuleRef::Override(rule) => ("override", serde_json::to_string(&rule.conditions)),
        AnyPushRuleRef::Underride(rule) => ("underride", serde_json::to_string(&rule.conditions)),
        AnyPushRuleRef::Content(rule) => ("content", Ok(rule.pattern.clone())),
        AnyPushRuleRef::Room(_) => ("room", Ok(String::new())),
        AnyPushRuleRef::Sender(_) => ("sender", Ok(String::new())),
        _ => ("other", Ok(String::new())),
    };
    let (notifies, is_highlight) = (rule.triggers_notification(), rule.triggers_highlight());
    let what = what.unwrap_or_default();
    format!("{kind} {} {notifies} {is_highlight} {what}", rule.rule_id())
}

fn scope(rule: AnyPushRuleRef<'_>) -> Scope {
    match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
            conditional(&rule.conditions)
        }
        AnyPushRuleRef::Room(rule) => Scope::AllOf(rule.rule_id.to_string()),
        _ => Scope::Some,
    }
}

fn conditional(conditions: &[PushCondition]) -> Scope {
    let mut room: Option<&str> = None;
    let mut others = 0;
    for condition in conditions {
        match condition {
            PushCondition::EventMatch(data)
                if data.key == "room_id" && !data.pattern.contains(['*', '?']) =>
            {
                if room.is_some_and(|room| !room.eq_ignore_ascii_case(&data.pattern)) {
                    return Scope::None;
                }
                room = Some(&data.pattern);
            }
            // Conditions that nobody knows never hold.
            PushCondition::_Custom(_) => return Scope::None,
            _ => others += 1,
        }
    }
    match (room, others) {
        (None, 0) => Scope::All,
        (None, _) => Scope::Some,
        (Some(room), 0) => Scope::AllOf(room.to_owned()),
        (Some(room), _) => Scope::SomeOf(room.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use ruma::{
        push::{
            Action, ConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
            RuleKind,
        },
        room_id, user_id,
    };
    use serde_json::json;

    use super::*;

    fn outcome(change: impl FnOnce(&mut Ruleset)) -> [Outcome; 2] {
        let alice = user_id!("@alice:one");
        let mut rules = default_push_rules(alice);
        change(&mut rules);
        let profile = Profile::new(&rules, alice);
        [room_id!("!here:one"), room_id!("!there:one")].map(|room| profile.outcome(room))
    }

    #[test]
    fn most_rulesets_come_to_something_simple() {
        use Outcome::{Default, Depends, Highlights, Nothing};
        assert_eq!(outcome(|_| {}), [Default; 2]);
        let master = outcome(|rules| {
            rules
                .set_enabled(RuleKind::Override, ".m.rule.master", true)
                .unwrap();
        });
        assert_eq!(master, [Nothing; 2]);
        let muted = outcome(|rules| {
            let mute = json!({
                "rule_id": "!here:one", "default": false, "enabled": true, "actions": [],
                "conditions": [{ "kind": "event_match", "key": "room_id", "pattern": "!here:one" }],
            });
            let mute: ConditionalPushRule = serde_json::from_value(mute).unwrap();
            rules.override_.shift_insert(1, mute);
        });
        assert_eq!(muted, [Nothing, Default]);
        let mentions = outcome(|rules| {
            let rule = NewSimplePushRule::new(room_id!("!here:one").to_owned(), Vec::new());
            rules.insert(NewPushRule::Room(rule), None, None).unwrap();
        });
        assert_eq!(mentions, [Highlights, Default]);
        let no_messages = outcome(|rules| {
            for rule in rules.underride.clone() {
                rules
                    .set_actions(RuleKind::Underride, rule.rule_id, Vec::new())
                    .unwrap();
            }
        });
        assert_eq!(no_messages, [Highlights; 2]);
        let quiet = outcome(|rules| {
            rules
                .set_actions(RuleKind::Underride, ".m.rule.call", vec![Action::Notify])
                .unwrap();
        });
        assert_eq!(quiet, [Default; 2], "sounds change no count");
        let keyword = outcome(|rules| {
            let rule =
                NewPatternedPushRule::new("lunch".into(), "lunch".into(), vec![Action::Notify]);
            rules
                .insert(NewPushRule::Content(rule), None, None)
                .unwrap();
        });
        assert_eq!(keyword, [Depends; 2]);
    }
}
