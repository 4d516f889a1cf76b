//! Messages, state and redactions from this server's users.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, UserId,
    events::{
        StateEventType, TimelineEventType,
        room::{member::MembershipState, power_levels::UserPowerLevel},
    },
};
use serde_json::value::RawValue;

use crate::{
    Error, Result, Rooms, Transaction,
    client_transactions::Once,
    draft::{Draft, canonical},
    membership::PATIENCE,
    room_writer::RoomWriter,
    rules_of,
};

/// A message or state event that a user of this server sends.
#[derive(Clone, Debug)]
pub struct SendEvent {
    /// Who sends it.
    pub sender: OwnedUserId,
    /// Into which room.
    pub room_id: OwnedRoomId,
    /// Its type.
    pub event_type: TimelineEventType,
    /// Its state key, if it is a state event.
    pub state_key: Option<String>,
    /// Its content: a JSON object.
    pub content: Box<RawValue>,
    /// What makes a second request the same as the first.
    pub transaction: Option<Transaction>,
}

/// A user's wish to take an event's content away.
#[derive(Clone, Debug)]
pub struct Redact {
    /// Who wishes so.
    pub sender: OwnedUserId,
    /// In which room.
    pub room_id: OwnedRoomId,
    /// Which event.
    pub event_id: OwnedEventId,
    /// Why.
    pub reason: Option<String>,
    /// What makes a second request the same as the first.
    pub transaction: Option<Transaction>,
}

impl Rooms {
    /// Sends a message or state event, and answers with its id. A state event that changes nothing is not sent again.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the room's rules, [`Error::BadJson`], [`Error::TooLarge`], [`Error::BadAlias`], and
    /// [`Error::RoomNotResident`] where no user of this server is in the room.
    pub async fn send(&self, event: SendEvent) -> Result<OwnedEventId> {
        self.send_at(event, None).await
    }

    /// The same, as if it were sent at another time. Of memberships that invite, and of redactions, the time stays theirs.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_at(
        &self,
        event: SendEvent,
        timestamp: Option<MilliSecondsSinceUnixEpoch>,
    ) -> Result<OwnedEventId> {
        let mut content = canonical(&event.content)?;
        if event.event_type == TimelineEventType::RoomMember {
            // Who lets a user in is for the servers to say.
            content.remove("join_authorised_via_users_server");
            if event.state_key.as_deref() != Some(event.sender.as_str()) {
                self.await_members(&event.room_id, PATIENCE).await?;
            }
        }
        if let Some(target) = invited(&event, &content)? {
            return self
                .invite_with(&event.sender, &target, &event.room_id, content)
                .await;
        }
        if let Some(redact) = redaction_request(&event, &content) {
            return self.redact(redact).await;
        }
        if event.event_type == TimelineEventType::RoomCanonicalAlias && event.state_key.is_some() {
            self.check_aliases(&event.room_id, &content).await?;
        }
        let draft = Draft {
            sender: event.sender,
            event_type: event.event_type,
            state_key: event.state_key,
            content,
            redacts: None,
        };
        let (rooms, room_id) = (self.clone(), event.room_id);
        let (id, sender) = (room_id.clone(), draft.sender.clone());
        let transaction = event.transaction.clone();
        let sent = self
            .store
            .write(move |tx| {
                let once = Once::new(tx, &draft.sender, event.transaction, "send")?;
                if let Some(event_id) = once.done(tx, &id)? {
                    return Ok(event_id);
                }
                let mut room = RoomWriter::open(&rooms, tx, &id)?;
                if let Some(event_id) = unchanged(&room, &draft)? {
                    return Ok(event_id);
                }
                check_possible(&room, &draft)?;
                let sent = match timestamp {
                    Some(timestamp) => room.send_at(&draft, timestamp.0.into())?,
                    None => room.send(&draft)?,
                };
                once.note(tx, &id, sent.nid)?;
                Ok(sent.event_id)
            })
            .await;
        self.once_signed_and_noted(sent, sender, room_id, transaction, "send")
            .await
    }

    /// Redacts an event, and answers with the redaction's id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for an event that is unknown here, unless the sender may redact those of others;
    /// [`Error::Forbidden`] for one of somebody else, unless the room's power
    /// levels allow it; and what [`send`](Self::send) may say.
    pub async fn redact(&self, redact: Redact) -> Result<OwnedEventId> {
        let rooms = self.clone();
        let (sender, room_id) = (redact.sender.clone(), redact.room_id.clone());
        let transaction = redact.transaction.clone();
        let sent = self
            .store
            .write(move |tx| {
                let once = Once::new(tx, &redact.sender, redact.transaction.clone(), "redact")?;
                if let Some(event_id) = once.done(tx, &redact.room_id)? {
                    return Ok(event_id);
                }
                let mut room = RoomWriter::open(&rooms, tx, &redact.room_id)?;
                check_redactable(&room, &redact)?;
                let draft = redaction(&room, &redact)?;
                let sent = room.send(&draft)?;
                once.note(tx, &redact.room_id, sent.nid)?;
                Ok(sent.event_id)
            })
            .await;
        self.once_signed_and_noted(sent, sender, room_id, transaction, "redact")
            .await
    }
}

/// The user that a state event invites: an invite has to reach their server too.
fn invited(event: &SendEvent, content: &CanonicalJsonObject) -> Result<Option<OwnedUserId>> {
    let membership = content
        .get("membership")
        .and_then(CanonicalJsonValue::as_str);
    match (&event.event_type, &event.state_key) {
        (TimelineEventType::RoomMember, Some(target))
            if membership == Some(MembershipState::Invite.as_str()) =>
        {
            let target = UserId::parse(target.as_str())
                .map_err(|error| Error::InvalidParam(format!("state key: {error}")))?;
            Ok(Some(target))
        }
        _ => Ok(None),
    }
}

/// What a redaction that was sent as a plain event asks for.
fn redaction_request(event: &SendEvent, content: &CanonicalJsonObject) -> Option<Redact> {
    if event.event_type != TimelineEventType::RoomRedaction || event.state_key.is_some() {
        return None;
    }
    let text = |field: &str| content.get(field).and_then(CanonicalJsonValue::as_str);
    Some(Redact {
        sender: event.sender.clone(),
        room_id: event.room_id.clone(),
        event_id: text("redacts")?.try_into().ok()?,
        reason: text("reason").map(ToOwned::to_owned),
        transaction: event.transaction.clone(),
    })
}

/// The event that says what a state draft says already.
pub(crate) fn unchanged(room: &RoomWriter<'_, '_>, draft: &Draft) -> Result<Option<OwnedEventId>> {
    let Some(state_key) = &draft.state_key else {
        return Ok(None);
    };
    let event_type = StateEventType::from(draft.event_type.to_string());
    let current = room
        .rooms
        .current_event(room.tx, &room.room, &event_type, state_key)?;
    let Some(current) = current.filter(|current| current.sender() == draft.sender) else {
        return Ok(None);
    };
    let same = canonical(current.content())? == draft.content;
    Ok(same.then(|| current.event_id().to_owned()))
}

/// Tells state that no power would allow from what the sender may not do.
pub(crate) fn check_possible(room: &RoomWriter<'_, '_>, draft: &Draft) -> Result<()> {
    if draft.state_key.as_deref() != Some("") {
        return Ok(());
    }
    match draft.event_type {
        TimelineEventType::RoomCreate => {
            Err(Error::InvalidParam("a room is created once".to_owned()))
        }
        TimelineEventType::RoomPowerLevels => {
            let Some(CanonicalJsonValue::Object(users)) = draft.content.get("users") else {
                return Ok(());
            };
            let power = room.power()?;
            let mut users = users.keys().filter_map(|user| UserId::parse(user).ok());
            match users.find(|user| power.of(user) == UserPowerLevel::Infinite) {
                Some(user) => Err(Error::InvalidParam(format!(
                    "{user} created the room: no power level can be set for them"
                ))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn check_redactable(room: &RoomWriter<'_, '_>, redact: &Redact) -> Result<()> {
    let Some(target) = room.tx.pdu(room.room.nid, &redact.event_id)? else {
        // It may be on its way, and whoever may redact anything may redact it.
        let may = room.power()?.may_redact(&redact.sender);
        return may.then_some(()).ok_or(Error::NotFound("event"));
    };
    if *target.event_type() == TimelineEventType::RoomCreate {
        return Err(Error::Forbidden(
            "the event that a room begins with cannot be redacted".to_owned(),
        ));
    }
    // To other servers, all users of this one are the same in this matter: it is for this server to tell them apart.
    if target.sender() != redact.sender && !room.power()?.may_redact(&redact.sender) {
        return Err(Error::Forbidden(
            "redacting somebody else's event takes more power".to_owned(),
        ));
    }
    Ok(())
}

fn redaction(room: &RoomWriter<'_, '_>, redact: &Redact) -> Result<Draft> {
    let mut content = CanonicalJsonObject::new();
    if let Some(reason) = &redact.reason {
        content.insert("reason".to_owned(), reason.clone().into());
    }
    let in_content = rules_of(&room.room.version)?
        .redaction
        .content_field_redacts;
    if in_content {
        content.insert("redacts".to_owned(), redact.event_id.to_string().into());
    }
    Ok(Draft {
        sender: redact.sender.clone(),
        event_type: TimelineEventType::RoomRedaction,
        state_key: None,
        content,
        redacts: (!in_content).then(|| redact.event_id.clone()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::{RoomVersionId, events::StateEventType};
    use serde_json::{json, value::to_raw_value};

    use super::*;
    use crate::{
        client_transactions::TRANSACTION_MEMORY,
        test_rooms::{TestRooms, content, moderate, user},
    };

    fn message(room_id: &ruma::RoomId, content: &serde_json::Value) -> SendEvent {
        SendEvent {
            sender: user("alice"),
            room_id: room_id.to_owned(),
            event_type: TimelineEventType::RoomMessage,
            state_key: None,
            content: to_raw_value(content).unwrap(),
            transaction: None,
        }
    }

    fn transaction(txn_id: &str) -> Transaction {
        Transaction {
            device_id: "DEVICE".into(),
            txn_id: txn_id.into(),
        }
    }

    #[tokio::test]
    async fn creators_have_no_power_level() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let levels = json!({ "users": { "@alice:one": 100 } });
        let error = rooms
            .set_state(&alice, &room_id, "m.room.power_levels", levels)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::InvalidParam(_)), "{error}");
    }

    #[tokio::test]
    async fn clients_do_not_say_who_lets_them_in() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let said = json!({ "membership": "join", "join_authorised_via_users_server": "unused" });
        let event = SendEvent {
            event_type: TimelineEventType::RoomMember,
            state_key: Some(alice.to_string()),
            ..message(&room_id, &said)
        };
        rooms.send(event).await.unwrap();
        let member = rooms.state(&room_id, StateEventType::RoomMember, alice.as_str());
        let member = content(&member.await.unwrap());
        assert_eq!(member, json!({ "membership": "join" }));
    }

    #[tokio::test]
    async fn a_request_made_twice_takes_effect_once() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let other_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let mut event = message(&room_id, &json!({ "body": "once" }));
        event.transaction = Some(transaction("1"));
        let first = rooms.send(event.clone()).await.unwrap();
        assert_eq!(rooms.send(event.clone()).await.unwrap(), first);
        event.transaction = Some(transaction("2"));
        let second = rooms.send(event.clone()).await.unwrap();
        assert_ne!(second, first);
        // The same id in another room, or at another endpoint, is another request.
        event.room_id = other_id;
        event.transaction = Some(transaction("1"));
        assert_ne!(rooms.send(event).await.unwrap(), first);
        let redact = Redact {
            sender: alice,
            room_id,
            event_id: first.clone(),
            reason: None,
            transaction: Some(transaction("1")),
        };
        let redaction = rooms.redact(redact.clone()).await.unwrap();
        assert_ne!(redaction, first);
        assert_eq!(rooms.redact(redact).await.unwrap(), redaction);
    }

    #[tokio::test]
    async fn requests_of_long_ago_are_forgotten() {
        let rooms = TestRooms::new();
        let room_id = rooms.public_room(&user("alice"), RoomVersionId::V12).await;
        let mut event = message(&room_id, &json!({ "body": "once" }));
        event.transaction = Some(transaction("1"));
        let first = rooms.send(event.clone()).await.unwrap();
        assert_eq!(rooms.forget_old_transactions().await.unwrap(), 0);
        rooms
            .clock
            .advance(TRANSACTION_MEMORY + Duration::from_secs(1));
        assert_eq!(rooms.forget_old_transactions().await.unwrap(), 1);
        assert_ne!(rooms.send(event).await.unwrap(), first);
    }

    #[tokio::test]
    async fn a_redaction_takes_the_content_away() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        for version in [
            RoomVersionId::V6,
            RoomVersionId::V10,
            RoomVersionId::V11,
            RoomVersionId::V12,
        ] {
            let room_id = rooms.public_room(&alice, version.clone()).await;
            let event_id = rooms.say(&alice, &room_id, "secret").await.unwrap();
            let redact = Redact {
                sender: alice.clone(),
                room_id: room_id.clone(),
                event_id: event_id.clone(),
                reason: Some("oops".to_owned()),
                transaction: None,
            };
            let redaction = rooms.redact(redact).await.unwrap();
            let event = rooms.event(&room_id, &event_id).await.unwrap();
            assert_eq!(content(&event), json!({}));
            let redaction = rooms.event(&room_id, &redaction).await.unwrap();
            assert_eq!(redaction.redacts().unwrap(), event_id);
            let in_content = content(&redaction).get("redacts").is_some();
            let is_new = [RoomVersionId::V11, RoomVersionId::V12].contains(&version);
            assert_eq!(in_content, is_new);
        }
    }

    #[tokio::test]
    async fn events_of_others_take_power_to_redact() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        rooms.enter(&bob, &room_id).await.unwrap();
        let of_alice = rooms.say(&alice, &room_id, "mine").await.unwrap();
        let of_bob = rooms.say(&bob, &room_id, "mine").await.unwrap();
        let redact = |sender: &OwnedUserId, event_id: &OwnedEventId| Redact {
            sender: sender.clone(),
            room_id: room_id.clone(),
            event_id: event_id.clone(),
            reason: None,
            transaction: None,
        };
        let error = rooms.redact(redact(&bob, &of_alice)).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        rooms.redact(redact(&alice, &of_bob)).await.unwrap();
        let create = rooms
            .state(&room_id, StateEventType::RoomCreate, "")
            .await
            .unwrap();
        let create = create.event_id().to_owned();
        let error = rooms.redact(redact(&alice, &create)).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        let unknown = ruma::owned_event_id!("$unknown");
        let error = rooms.redact(redact(&bob, &unknown)).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error}");
        // Other servers may have what this one lacks.
        rooms.redact(redact(&alice, &unknown)).await.unwrap();
    }

    #[tokio::test]
    async fn the_same_state_is_not_sent_again() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let set =
            |name: &str| rooms.set_state(&alice, &room_id, "m.room.name", json!({ "name": name }));
        let first = set("a").await.unwrap();
        assert_eq!(set("a").await.unwrap(), first);
        let second = set("b").await.unwrap();
        assert_ne!(second, first);
        assert_ne!(set("a").await.unwrap(), first);
    }

    #[tokio::test]
    async fn what_is_too_large_or_not_canonical_is_refused() {
        let rooms = TestRooms::new();
        let room_id = rooms.public_room(&user("alice"), RoomVersionId::V12).await;
        let large = message(&room_id, &json!({ "body": "x".repeat(70_000) }));
        let error = rooms.send(large).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
        let mut long_type = message(&room_id, &json!({}));
        long_type.event_type = "t".repeat(256).into();
        let error = rooms.send(long_type).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
        for content in [json!({ "n": 1.5 }), json!({ "n": 1_u64 << 60 }), json!([])] {
            let error = rooms.send(message(&room_id, &content)).await.unwrap_err();
            assert!(matches!(error, Error::BadJson(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn who_is_not_in_the_room_says_nothing() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let error = rooms.say(&bob, &room_id, "hi").await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        rooms.enter(&bob, &room_id).await.unwrap();
        rooms.say(&bob, &room_id, "hi").await.unwrap();
        rooms
            .kick(moderate("alice", &room_id, "bob"))
            .await
            .unwrap();
        let error = rooms.say(&bob, &room_id, "hi").await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
        let elsewhere = ruma::owned_room_id!("!elsewhere:two");
        let error = rooms.say(&bob, &elsewhere, "hi").await.unwrap_err();
        assert!(matches!(error, Error::RoomNotResident(_)), "{error}");
    }

    #[tokio::test]
    async fn a_second_create_event_is_refused() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V12).await;
        let create = json!({ "room_version": "12", "again": true });
        let error = rooms
            .set_state(&alice, &room_id, "m.room.create", create)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::InvalidParam(_)), "{error}");
    }
}
