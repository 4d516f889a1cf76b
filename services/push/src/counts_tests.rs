//! What is counted equals what the rules say of every unread event, one by one.

use std::collections::HashMap;

use futures_util::FutureExt;
use luxchat_store::{Unread, default_push_rules};
use proptest::prelude::*;
use ruma::{
    OwnedUserId,
    events::receipt::ReceiptThread,
    push::{
        Action, ConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
        PushConditionRoomCtx, RuleKind, Ruleset,
    },
    serde::Raw,
};
use serde_json::{Value, json};

use crate::{
    Config,
    testing::{Put, World, alice, bob, carol, the_room},
};

/// Something that happens in the room. Numbers pick among what happened before.
#[derive(Clone, Debug)]
enum Step {
    Event {
        sender: u8,
        kind: u8,
        text: u8,
        mentions: u8,
        relation: u8,
        target: usize,
    },
    Read {
        thread: u8,
        target: usize,
    },
    Redact(usize),
    Count,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        any::<usize>(),
    )
        .prop_map(
            |(sender, kind, text, mentions, relation, target)| Step::Event {
                sender,
                kind,
                text,
                mentions,
                relation,
                target,
            },
        );
    let read =
        (any::<u8>(), any::<usize>()).prop_map(|(thread, target)| Step::Read { thread, target });
    let step = prop_oneof![
        8 => event,
        2 => read,
        1 => any::<usize>().prop_map(Step::Redact),
        1 => Just(Step::Count),
    ];
    prop::collection::vec(step, 1..40)
}

/// The room as somebody would count it who looks at every event.
#[derive(Default)]
struct Model {
    events: Vec<Seen>,
    all: i64,
    main: i64,
    threads: HashMap<String, i64>,
}

struct Seen {
    put: Put,
    json: Value,
    sender: OwnedUserId,
    thread: Option<String>,
    is_redacted: bool,
}

impl Model {
    fn read(&mut self, thread: &ReceiptThread, pos: i64) {
        match thread {
            ReceiptThread::Main => self.main = self.main.max(pos),
            ReceiptThread::Thread(root) => {
                let read = self.threads.entry(root.to_string()).or_default();
                *read = (*read).max(pos);
            }
            _ => {
                self.all = self.all.max(pos);
                self.main = self.main.max(pos);
            }
        }
    }

    fn unread(&self, rules: &Ruleset, context: &PushConditionRoomCtx) -> Unread {
        let mut unread = Unread::default();
        for event in &self.events {
            let read = match &event.thread {
                None => self.main,
                Some(root) => self
                    .all
                    .max(self.threads.get(root).copied().unwrap_or_default()),
            };
            if event.is_redacted || event.put.pos <= read || event.sender == alice() {
                continue;
            }
            let raw = Raw::new(&event.json).unwrap();
            let actions = rules.get_actions(&raw, context).now_or_never().unwrap();
            if actions
                .iter()
                .any(|action| matches!(action, Action::Notify))
            {
                let count = unread.of(event.thread.as_deref());
                count.notifications += 1;
                count.highlights += u64::from(actions.iter().any(Action::is_highlight));
            }
        }
        unread
    }
}

fn rules(which: u8) -> Ruleset {
    let mut rules = default_push_rules(alice());
    match which % 9 {
        0 | 1 => {}
        2 => {
            let rule = NewSimplePushRule::new(the_room().to_owned(), Vec::new());
            rules.insert(NewPushRule::Room(rule), None, None).unwrap();
        }
        3 => {
            let mute = json!({
                "rule_id": "mute", "default": false, "enabled": true, "actions": [],
                "conditions": [{ "kind": "event_match", "key": "room_id", "pattern": "!room:one" }],
            });
            let mute: ConditionalPushRule = serde_json::from_value(mute).unwrap();
            rules.override_.shift_insert(1, mute);
        }
        4 => {
            let rule = NewPatternedPushRule::new(
                "lunch".to_owned(),
                "lun*".to_owned(),
                serde_json::from_value(json!(["notify", { "set_tweak": "highlight" }])).unwrap(),
            );
            rules
                .insert(NewPushRule::Content(rule), None, None)
                .unwrap();
        }
        5 => {
            let rule = NewSimplePushRule::new(bob().to_owned(), Vec::new());
            rules.insert(NewPushRule::Sender(rule), None, None).unwrap();
        }
        6 => rules
            .set_enabled(RuleKind::Override, ".m.rule.master", true)
            .unwrap(),
        7 => rules
            .set_enabled(RuleKind::Underride, ".m.rule.message", false)
            .unwrap(),
        _ => {
            let few = json!({
                "rule_id": "few", "default": false, "enabled": true, "actions": ["notify"],
                "conditions": [
                    { "kind": "room_member_count", "is": "<10" },
                    { "kind": "event_match", "key": "content.body", "pattern": "hello" },
                ],
            });
            let few: ConditionalPushRule = serde_json::from_value(few).unwrap();
            rules.override_.shift_insert(1, few);
        }
    }
    rules
}

async fn put_event(world: &World, model: &mut Model, step: &Step) {
    let Step::Event {
        sender,
        kind,
        text,
        mentions,
        relation,
        target,
    } = step
    else {
        return;
    };
    let sender = [alice(), bob(), bob(), carol()][usize::from(*sender) % 4];
    let texts = [
        "hello",
        "Hello ALICE!",
        "lunch?",
        "malice",
        "@alice:one",
        "all of you",
        "",
    ];
    let mut content = json!({
        "msgtype": if kind % 11 == 0 { "m.notice" } else { "m.text" },
        "body": texts[usize::from(*text) % texts.len()],
    });
    match mentions % 6 {
        0 => content["m.mentions"] = json!({}),
        1 => content["m.mentions"] = json!({ "user_ids": [alice(), carol()] }),
        2 => content["m.mentions"] = json!({ "room": true }),
        _ => {}
    }
    let mut thread = None;
    let earlier = (!model.events.is_empty()).then(|| &model.events[target % model.events.len()]);
    if let Some(earlier) = earlier {
        let rel_type = match relation % 8 {
            0 | 1 => Some("m.thread"),
            2 => Some("m.replace"),
            3 => Some("m.reference"),
            _ => None,
        };
        if let Some(rel_type) = rel_type {
            let root = match (&earlier.thread, rel_type) {
                (Some(root), "m.thread") => root.clone(),
                _ => earlier.put.event_id.to_string(),
            };
            thread = match rel_type {
                "m.thread" => Some(root.clone()),
                _ if earlier.is_redacted => None,
                _ => thread_by_hops(model, earlier),
            };
            content["m.relates_to"] = json!({ "rel_type": rel_type, "event_id": root });
        }
    }
    let types = [
        "m.room.message",
        "m.room.message",
        "m.room.message",
        "m.room.encrypted",
        "m.reaction",
        "m.sticker",
        "org.matrix.msc3381.poll.start",
        "m.room.topic",
    ];
    let event_type = types[usize::from(*kind) % types.len()];
    let state_key = (event_type == "m.room.topic").then_some("");
    let put = world
        .put(sender, event_type, state_key, content.clone())
        .await;
    if sender == alice() && state_key.is_none() {
        let thread = match &thread {
            None => ReceiptThread::Main,
            Some(root) => ReceiptThread::Thread(root.as_str().try_into().unwrap()),
        };
        model.read(&thread, put.pos);
    }
    let mut json = json!({ "type": event_type, "sender": sender, "content": content });
    if let Some(state_key) = state_key {
        json["state_key"] = state_key.into();
    }
    model.events.push(Seen {
        put,
        json,
        sender: sender.to_owned(),
        thread,
        is_redacted: false,
    });
}

/// The thread of an event that relates to an earlier one: two more hops at most.
fn thread_by_hops(model: &Model, earlier: &Seen) -> Option<String> {
    let mut at = earlier;
    for _ in 0..2 {
        if at.is_redacted {
            return None;
        }
        let relation = &at.json["content"]["m.relates_to"];
        let parent = relation["event_id"].as_str()?;
        if relation["rel_type"] == "m.thread" {
            return Some(parent.to_owned());
        }
        at = model
            .events
            .iter()
            .find(|event| event.put.event_id == parent)?;
    }
    None
}

async fn check(which: u8, steps: Vec<Step>) {
    let world = World::new(Config::default()).await;
    let rules = rules(which);
    if !which.is_multiple_of(9) {
        world.set_rules(alice(), rules.clone()).await;
    }
    let mut model = Model::default();
    let context = {
        let push_room = world
            .store
            .read(|tx| {
                let room = tx.room_by_id(the_room())?.unwrap();
                tx.push_room(room.nid)
            })
            .await
            .unwrap();
        push_room.context(alice().to_owned(), String::new())
    };
    for step in steps.iter().chain([&Step::Count]) {
        match step {
            Step::Event { .. } => put_event(&world, &mut model, step).await,
            Step::Read { thread, target } => {
                let Some(event) = pick(&model, *target) else {
                    continue;
                };
                let pos = event.put.pos;
                let thread = match (thread % 3, &event.thread) {
                    (0, _) => ReceiptThread::Unthreaded,
                    (1, _) | (_, None) => ReceiptThread::Main,
                    (_, Some(root)) => ReceiptThread::Thread(root.as_str().try_into().unwrap()),
                };
                model.read(&thread, pos);
                world.read(alice(), thread, pos).await;
            }
            Step::Redact(target) => {
                let len = model.events.len();
                if len > 0 {
                    let event = &mut model.events[target % len];
                    event.is_redacted = true;
                    world.redact(&event.put).await;
                }
            }
            Step::Count => {
                let mut expected = model.unread(&rules, &context);
                expected.threads.retain(|_, count| count.notifications > 0);
                let counted = world.count(alice()).await;
                assert_eq!(counted, expected, "rules {which}, {steps:?}");
            }
        }
    }
}

fn pick(model: &Model, target: usize) -> Option<&Seen> {
    let len = model.events.len();
    (len > 0).then(|| &model.events[target % len])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_what_the_rules_say(which in any::<u8>(), steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(which, steps));
    }
}

#[tokio::test]
async fn a_tombstone_is_for_everybody_but_who_set_it() {
    let world = World::new(Config::default()).await;
    world
        .state(bob(), "m.room.tombstone", "", json!({ "body": "gone" }))
        .await;
    let unread = world.count(alice()).await;
    assert_eq!((unread.main.notifications, unread.main.highlights), (1, 1));
    assert_eq!(world.count(bob()).await, Unread::default());
}

#[tokio::test]
async fn ignored_users_notify_nobody() {
    let world = World::new(Config::default()).await;
    world.say(bob(), "one").await;
    world.say(carol(), "two").await;
    assert_eq!(world.count(alice()).await.main.notifications, 2);
    world
        .store
        .write(|tx| {
            let user = tx.user_nid(alice())?.unwrap();
            let ignored = json!({ "ignored_users": { (bob()): {} } });
            let ignored = serde_json::value::to_raw_value(&ignored).unwrap();
            tx.set_account_data(user, "m.ignored_user_list", &ignored)
        })
        .await
        .unwrap();
    assert_eq!(world.count(alice()).await.main.notifications, 1);
    world.say(bob(), "three").await;
    world.say(carol(), "four").await;
    assert_eq!(world.count(alice()).await.main.notifications, 2);
}

#[tokio::test]
async fn the_list_shows_what_notified_newest_first() {
    let world = World::new(Config::default()).await;
    let first = world.say(bob(), "one").await;
    world.say(alice(), "mine").await;
    for text in ["hello alice", "two", "three"] {
        world.say(bob(), text).await;
    }
    let user = world.user(alice()).await;
    let list = async |from: Option<String>, limit: u32, only_highlights| {
        let listing = crate::Listing {
            from,
            limit: Some(limit.into()),
            only_highlights,
        };
        let (found, next) = world.push.notifications(user, listing).await.unwrap();
        let texts: Vec<String> = found
            .iter()
            .map(|found| {
                let event: Value = found.event.deserialize_as_unchecked().unwrap();
                event["content"]["body"].as_str().unwrap().to_owned()
            })
            .collect();
        (texts, next, found)
    };
    let (texts, next, found) = list(None, 3, false).await;
    assert_eq!(texts, ["three", "two", "hello alice"]);
    assert!(found.iter().all(|found| !found.is_read));
    let (texts, next, found) = list(next, 3, false).await;
    assert_eq!((texts, next), (vec!["one".to_owned()], None));
    assert!(found[0].is_read);
    let event: Value = found[0].event.deserialize_as_unchecked().unwrap();
    assert_eq!(event["event_id"], first.event_id.as_str());
    let (texts, ..) = list(None, 10, true).await;
    assert_eq!(texts, ["hello alice"]);
    let listing = crate::Listing {
        from: Some("nonsense".to_owned()),
        ..crate::Listing::default()
    };
    assert!(world.push.notifications(user, listing).await.is_err());
}
