use std::collections::HashMap;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, RoomVersionId,
    room_version_rules::RoomVersionRules,
    signatures::{Ed25519KeyPair, hash_and_sign_event, reference_hash},
};
use serde_json::{Map, Value};

use crate::key;

/// Makes events whose hashes, signatures and references hold, as far as what libFuzzer made of them allows.
///
/// Events have names in place of ids: their `event_id`, which is taken away. Wherever a name stands as a string of its own
/// it becomes what it stands for, once that is known.
pub struct Forge {
    rules: RoomVersionRules,
    key: Ed25519KeyPair,
    names: HashMap<String, Vec<String>>,
}

impl Forge {
    /// A forge for events of a room version.
    pub fn new(version: &RoomVersionId) -> Self {
        Self {
            rules: version.rules().expect("the version is a known one"),
            key: key("two"),
            names: HashMap::new(),
        }
    }

    /// Has a name stand for something; in a list it may stand for several.
    pub fn name(&mut self, name: impl Into<String>, meanings: Vec<String>) {
        self.names.insert(name.into(), meanings);
    }

    /// Forges the events in some JSON text, and replaces names. What is no JSON stays as it is, but for the names.
    pub fn text(&mut self, text: &str, is_forged: bool) -> String {
        let parsed = is_forged.then(|| serde_json::from_str::<Value>(text).ok());
        match parsed.flatten() {
            Some(mut value) => {
                self.value(&mut value);
                value.to_string()
            }
            None => self.replaced(text),
        }
    }

    fn replaced(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, meanings) in &self.names {
            let list = serde_json::to_string(meanings).unwrap_or_default();
            text = text.replace(&format!("\"{name}\""), list.trim_matches(['[', ']']));
        }
        text
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(meaning) = self.names.get(text).and_then(|all| all.first()) {
                    text.clone_from(meaning);
                }
            }
            Value::Array(items) => {
                *items = std::mem::take(items)
                    .into_iter()
                    .flat_map(|mut item| {
                        if let Some(meanings) = item.as_str().and_then(|name| self.names.get(name))
                        {
                            return meanings.iter().cloned().map(Value::String).collect();
                        }
                        self.value(&mut item);
                        vec![item]
                    })
                    .collect();
            }
            Value::Object(object) => {
                let is_event = object.contains_key("sender") && object.contains_key("type");
                let name = is_event.then(|| object.remove("event_id")).flatten();
                for item in object.values_mut() {
                    self.value(item);
                }
                if is_event {
                    self.event(object, name.as_ref().and_then(Value::as_str));
                }
            }
            _ => {}
        }
    }

    fn event(&mut self, event: &mut Map<String, Value>, name: Option<&str>) {
        let parsed = serde_json::from_value::<CanonicalJsonObject>(Value::Object(event.clone()));
        let Ok(mut signed) = parsed else {
            return;
        };
        let redaction = &self.rules.redaction;
        if hash_and_sign_event("two", &self.key, &mut signed, redaction).is_err() {
            return;
        }
        if let Ok(hash) = reference_hash(&signed, &self.rules) {
            if let Some(name) = name {
                self.name(name, vec![format!("${hash}")]);
            }
            let begins_room = signed.get("type").and_then(CanonicalJsonValue::as_str)
                == Some("m.room.create")
                && self.rules.authorization.room_create_event_id_as_room_id;
            if begins_room {
                self.name("!room", vec![format!("!{hash}")]);
            }
        }
        if let Ok(Value::Object(signed)) = serde_json::to_value(&signed) {
            *event = signed;
        }
    }
}
