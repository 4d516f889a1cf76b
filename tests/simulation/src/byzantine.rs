//! A server that lies: a real box whose requests and answers are changed on their way, with its own key.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use ruma::{
    CanonicalJsonObject, OwnedServerName, RoomVersionId, ServerName,
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    signatures::{Ed25519KeyPair, hash_and_sign_event},
};
use serde_json::{Value, json};

use crate::{dice::Dice, trace::Trace};

/// Events in one transaction at most.
const MAX_PDUS: usize = 50;

/// What makes a server lie.
#[derive(Clone, Debug)]
pub(crate) struct Byzantine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: OwnedServerName,
    key: Ed25519KeyPair,
    dice: Dice,
    trace: Trace,
    /// The servers and users that it slanders.
    others: Vec<OwnedServerName>,
    repents: AtomicBool,
}

impl Byzantine {
    /// Makes `name`, which signs with `key`, lie about itself and `others`.
    pub(crate) fn new(
        name: OwnedServerName,
        key: Ed25519KeyPair,
        others: Vec<OwnedServerName>,
        dice: Dice,
        trace: Trace,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                name,
                key,
                dice,
                trace,
                others,
                repents: AtomicBool::new(false),
            }),
        }
    }

    /// Whether this is its name.
    pub(crate) fn is(&self, server: &ServerName) -> bool {
        self.shared.name == server
    }

    /// From here on it tells the truth.
    pub(crate) fn repent(&self) {
        self.shared.repents.store(true, Ordering::Relaxed);
    }

    fn lies(&self, percent: u64) -> bool {
        !self.shared.repents.load(Ordering::Relaxed) && self.shared.dice.happens(percent)
    }

    /// A request of its own as it leaves: the events of a transaction are forged now and then.
    pub(crate) fn send(
        &self,
        destination: &ServerName,
        request: http::Request<Bytes>,
    ) -> http::Request<Bytes> {
        let is_transaction = request
            .uri()
            .path()
            .starts_with("/_matrix/federation/v1/send/");
        if !is_transaction || !self.lies(40) {
            return request;
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(request.body()) else {
            return request;
        };
        let Some(pdus) = body.get_mut("pdus").and_then(Value::as_array_mut) else {
            return request;
        };
        let forged: Vec<Value> = pdus.drain(..).flat_map(|pdu| self.forge(pdu)).collect();
        pdus.extend(forged.into_iter().take(MAX_PDUS));
        self.signed(destination, request, body.to_string())
    }

    /// What it sends in place of an event.
    fn forge(&self, pdu: Value) -> Vec<Value> {
        let Shared { dice, trace, .. } = &*self.shared;
        let lie = dice.below(12);
        trace.note(format_args!("byzantine event {lie}"));
        let mut other = pdu.clone();
        match lie {
            // Keeps it to itself.
            0 => vec![],
            // Says something else to everyone.
            1 => {
                other["content"]["body"] = json!(format!("lie {}", dice.below(1_000_000)));
                vec![self.sign(other)]
            }
            // Changes the content under the signature.
            2 => {
                other["content"]["body"] = json!("not what was signed");
                vec![other]
            }
            // Speaks for a user of somebody else, signed with its own key.
            3 => {
                other["sender"] = json!(self.stranger("anchor"));
                vec![pdu, self.sign(other)]
            }
            // Takes the power.
            4 => {
                let sender = pdu["sender"].clone();
                other["type"] = json!("m.room.power_levels");
                other["state_key"] = json!("");
                other["content"] = json!({ "users": { sender.as_str().unwrap_or(""): 100 } });
                vec![pdu, self.sign(other)]
            }
            // Throws somebody out.
            5 => {
                other["type"] = json!("m.room.member");
                other["state_key"] = json!(self.stranger("anchor"));
                other["content"] = json!({ "membership": "ban" });
                vec![pdu, self.sign(other)]
            }
            // Builds upon what nobody has.
            6 => {
                let nothing = format!("${:043}", dice.below(1_000_000));
                other["prev_events"] = json!([nothing]);
                vec![pdu, self.sign(other)]
            }
            // Names authority that is not there, or none.
            7 => {
                let nothing = format!("${:043}", dice.below(1_000_000));
                other["auth_events"] = if dice.happens(50) {
                    json!([nothing])
                } else {
                    json!([])
                };
                vec![pdu, self.sign(other)]
            }
            // Claims to be at the end of time, or before its beginning.
            8 => {
                other["depth"] = json!(9_007_199_254_740_991_i64);
                other["origin_server_ts"] = json!(dice.below(2) * 8_000_000_000_000_000);
                vec![self.sign(other)]
            }
            // Is no event.
            9 => vec![
                json!({ "type": 5, "room_id": pdu["room_id"] }),
                json!([pdu]),
            ],
            // Signs by nobody.
            10 => {
                other["signatures"] = json!({});
                vec![other, pdu]
            }
            // Says it twice, in the wrong order, with another state beside.
            _ => {
                other["type"] = json!("m.room.topic");
                other["state_key"] = json!("");
                other["content"] = json!({ "topic": format!("lie {}", dice.below(1_000_000)) });
                vec![self.sign(other), pdu.clone(), pdu]
            }
        }
    }

    fn stranger(&self, localpart: &str) -> String {
        let Shared { dice, others, .. } = &*self.shared;
        let server = dice.pick(others).map_or("nobody", |name| name.as_str());
        format!("@{localpart}:{server}")
    }

    /// Signs an event anew, whoever it claims to be from.
    fn sign(&self, event: Value) -> Value {
        let Shared {
            name, key, dice, ..
        } = &*self.shared;
        let Ok(mut object) = serde_json::from_value::<CanonicalJsonObject>(event.clone()) else {
            return event;
        };
        object.remove("signatures");
        // The redaction of another version at times: then the signature does not hold.
        let version = if dice.happens(50) {
            RoomVersionId::V11
        } else {
            RoomVersionId::V6
        };
        let Some(rules) = version.rules() else {
            return event;
        };
        match hash_and_sign_event(name.as_str(), key, &mut object, &rules.redaction) {
            Ok(()) => serde_json::to_value(object).unwrap_or(event),
            Err(_) => event,
        }
    }

    fn signed(
        &self,
        destination: &ServerName,
        request: http::Request<Bytes>,
        body: String,
    ) -> http::Request<Bytes> {
        let (parts, _) = request.into_parts();
        let mut request = http::Request::from_parts(parts, Bytes::from(body));
        request.headers_mut().remove(AUTHORIZATION);
        let Shared { name, key, .. } = &*self.shared;
        let signing = XMatrixSigningInput::new(name.clone(), destination.to_owned(), key);
        if let Ok(header) = XMatrix::sign_http_request(&request, signing) {
            let header = http::HeaderValue::from(&header);
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        request
    }

    /// An answer of its own as it leaves.
    pub(crate) fn answer(
        &self,
        path: &str,
        response: http::Response<Bytes>,
    ) -> http::Response<Bytes> {
        let lists: &[&str] = if path.contains("/get_missing_events/") {
            &["events"]
        } else if path.contains("/state_ids/") {
            &["pdu_ids", "auth_chain_ids"]
        } else if path.contains("/state/") || path.contains("/backfill/") {
            &["pdus", "auth_chain"]
        } else if path.contains("/event_auth/") {
            &["auth_chain"]
        } else if path.contains("/event/") {
            &["pdus"]
        } else {
            return response;
        };
        if !self.lies(40) {
            return response;
        }
        let dice = &self.shared.dice;
        let lie = dice.below(5);
        self.shared
            .trace
            .note(format_args!("byzantine answer {lie} to {path}"));
        if lie == 0 {
            return response.map(|_| Bytes::from_static(b"[\"neither this nor that\"]"));
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(response.body()) else {
            return response;
        };
        for list in lists {
            let Some(list) = body.get_mut(list).and_then(Value::as_array_mut) else {
                continue;
            };
            match lie {
                1 => list.clear(),
                2 => list.retain(|_| dice.happens(70)),
                3 => list.reverse(),
                _ => {
                    for event in list.iter_mut().filter(|event| event.is_object()) {
                        if dice.happens(30) {
                            event["content"] = json!({ "membership": "ban", "lie": true });
                        }
                    }
                }
            }
        }
        response.map(|_| Bytes::from(body.to_string()))
    }
}
