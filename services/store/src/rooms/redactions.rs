//! Taking content away.

use ruma::{CanonicalJsonObject, EventId, RoomVersionId, UserId, canonical_json::redact_in_place};
use rusqlite::params;

use super::parsed;
use crate::{Error, EventNid, Pdu, Result, RoomNid, WriteTx};

/// An accepted redaction.
#[derive(Clone, Copy, Debug)]
pub struct Redaction {
    /// The redaction event.
    pub event: EventNid,
    /// Whether its sender had the power to redact anybody's events; if not, it redacts those of senders on the same
    /// server only.
    pub any_sender: bool,
}

impl WriteTx<'_> {
    /// Redacts the event `target`, now or as soon as it arrives. Without the right to do so nothing happens, as
    /// <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions> says.
    pub fn redact(
        &mut self,
        room: RoomNid,
        version: &RoomVersionId,
        target: &EventId,
        redaction: Redaction,
    ) -> Result<()> {
        if let Some(target) = self.event_nid(room, target)? {
            return self.redact_stored(version, target, redaction);
        }
        let sql = "INSERT INTO pending_redactions (room_nid, event_id, redaction_nid, any_sender) \
                   VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let params = params![room, target.as_str(), redaction.event, redaction.any_sender];
        self.execute(sql, params)?;
        Ok(())
    }

    /// Applies the redactions that came before their target.
    pub fn apply_pending_redactions(
        &mut self,
        room: RoomNid,
        version: &RoomVersionId,
        pdu: &Pdu,
        target: EventNid,
    ) -> Result<()> {
        let sql = "DELETE FROM pending_redactions WHERE room_nid = ?1 AND event_id = ?2 \
                   RETURNING redaction_nid, any_sender";
        let pending = self.all(sql, params![room, pdu.event_id().as_str()], |row| {
            Ok(Redaction {
                event: row.get("redaction_nid")?,
                any_sender: row.get("any_sender")?,
            })
        })?;
        for redaction in pending {
            self.redact_stored(version, target, redaction)?;
        }
        Ok(())
    }

    fn redact_stored(
        &mut self,
        version: &RoomVersionId,
        target: EventNid,
        redaction: Redaction,
    ) -> Result<()> {
        let sql = "SELECT redacted_by IS NOT NULL FROM events WHERE event_nid = ?1";
        let already: bool = self.one(sql, [target], |row| row.get(0))?;
        if already || !(redaction.any_sender || self.same_server(target, redaction.event)?) {
            return Ok(());
        }
        let event = self.event_by_nid(target)?;
        self.remove_from_search(event.room, target)?;
        self.forget_highlights(&event)?;
        let json = redacted(&event.json, version)?;
        let sql = "UPDATE event_json SET json = ?2 WHERE event_nid = ?1";
        self.execute(sql, params![target, json])?;
        let sql = "UPDATE events SET redacted_by = ?2 WHERE event_nid = ?1";
        self.execute(sql, params![target, redaction.event])?;
        Ok(())
    }

    fn same_server(&self, one: EventNid, other: EventNid) -> Result<bool> {
        let sql = "SELECT u.user_id FROM events e JOIN users u ON u.user_nid = e.sender_nid WHERE e.event_nid = ?1";
        let sender = |event| {
            self.one(sql, [event], |row| {
                parsed::<ruma::OwnedUserId>(row, "user_id")
            })
        };
        let (one, other) = (sender(one)?, sender(other)?);
        Ok(UserId::server_name(&one) == UserId::server_name(&other))
    }
}

fn redacted(json: &str, version: &RoomVersionId) -> Result<String> {
    let rules = version
        .rules()
        .ok_or_else(|| Error::invalid("room version", version))?;
    let mut object: CanonicalJsonObject =
        serde_json::from_str(json).map_err(|error| Error::invalid("event", error))?;
    redact_in_place(&mut object, &rules.redaction, None)
        .map_err(|error| Error::invalid("event", format!("{error:?}")))?;
    serde_json::to_string(&object).map_err(|error| Error::invalid("event", error))
}

#[cfg(test)]
mod tests {
    use ruma::event_id;
    use serde_json::json;

    use super::*;
    use crate::{
        Visibility,
        rooms::test_room::{Fields, TestRoom, with_room},
    };

    fn message(test: &mut TestRoom<'_>, id: &str, sender: &str) -> (Pdu, EventNid) {
        let fields = Fields {
            id,
            sender,
            content: json!({ "body": "x" }),
            ..Fields::default()
        };
        (fields.pdu(), test.insert(&fields, Visibility::Newest).nid)
    }

    fn is_redacted(test: &TestRoom<'_>, event: EventNid) -> bool {
        let event = test.tx.event_by_nid(event).unwrap();
        let is_empty = event.pdu().unwrap().content().get() == "{}";
        assert_eq!(event.redacted_by.is_some(), is_empty);
        is_empty
    }

    #[test]
    fn a_redaction_applies_by_power_or_by_server() {
        with_room(|mut test| {
            let (room, version) = (test.room.nid, test.room.version.clone());
            for (sender, any_sender, expected) in [
                ("@bob:two", false, false),
                ("@bob:two", true, true),
                ("@carol:one", false, true),
            ] {
                let id = format!("${sender}{any_sender}");
                let (pdu, target) = message(&mut test, &id, "@alice:one");
                let (_, event) = message(&mut test, &format!("{id}r"), sender);
                let redaction = Redaction { event, any_sender };
                test.tx
                    .redact(room, &version, pdu.event_id(), redaction)
                    .unwrap();
                assert_eq!(is_redacted(&test, target), expected);
            }
        });
    }

    #[test]
    fn a_redaction_waits_for_its_target() {
        with_room(|mut test| {
            let (room, version) = (test.room.nid, test.room.version.clone());
            let (_, event) = message(&mut test, "$redaction", "@alice:one");
            let redaction = Redaction {
                event,
                any_sender: false,
            };
            test.tx
                .redact(room, &version, event_id!("$late"), redaction)
                .unwrap();
            let (pdu, target) = message(&mut test, "$late", "@carol:one");
            assert!(!is_redacted(&test, target));
            test.tx
                .apply_pending_redactions(room, &version, &pdu, target)
                .unwrap();
            assert!(is_redacted(&test, target));
        });
    }
}
