//! Joining a room through a server that is in it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::{collections::HashMap, sync::Arc};

use luxchat_store::{EventStatus, Inserted, NewPartialRoom, Pdu, ReadTx, Room, RoomNid, WriteTx};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedServerName, RoomId, RoomVersionId,
    ServerName, UserId,
    api::federation::membership::{create_join_event, prepare_join_event},
    events::{TimelineEventType, room::member::MembershipState},
};
use serde::Deserialize;

use crate::{
    Authorised, CurrentState, Error, Origin, PduError, Placement, Result, Rooms, VERSIONS,
    accept::authorise_as_current,
    append,
    assess::difference,
    gap_states::{MAX_STATE, Trust, state_of},
    handshake::{Completed, Wish},
    receive::Inbound,
    receive_checks::{
        VerifiedPdu, blocking, check_format, ids_of_answer, parse_object, verify_answer,
    },
    resolve::State,
};

/// Servers that may be said to be in a room.
const MAX_RESIDENTS: usize = 10_000;

/// Servers whose signatures are taken over from another server's copy of a join.
const MAX_SIGNERS: usize = 8;

impl Rooms {
    /// Joins a user through one of `servers`.
    pub(crate) async fn join_remote(
        &self,
        user: &UserId,
        room_id: &RoomId,
        servers: &[OwnedServerName],
        content: CanonicalJsonObject,
    ) -> Result<()> {
        let wish = Wish {
            user,
            room_id,
            membership: MembershipState::Join,
            content,
        };
        self.ask_in_turn(room_id, servers, |server| {
            let wish = &wish;
            async move { self.join_via(&server, wish).await }
        })
        .await
    }

    async fn join_via(&self, server: &ServerName, wish: &Wish<'_>) -> Result<()> {
        let mut request =
            prepare_join_event::v1::Request::new(wish.room_id.to_owned(), wish.user.to_owned());
        request.ver = VERSIONS.to_vec();
        let template = self.federation.request(server, request).await?;
        let join = self.complete(wish, template.room_version, &template.event)?;
        let room = self.note_room(wish.room_id, &join.version).await?;

        // Events that follow the join may arrive before the answer to it: they wait until the room is here.
        let turn = self.room_turns.take(wish.room_id).await;
        let mut request = create_join_event::v2::Request::new(
            wish.room_id.to_owned(),
            join.event_id(),
            join.raw()?,
        );
        request.omit_members = true;
        let answer = self.federation.request(server, request).await?.room_state;
        let pdu = match &answer.event {
            Some(event) => countersigned(&join, event)?,
            None => Arc::clone(&join.pdu),
        };
        let inbound = Inbound {
            origin: server.to_owned(),
            made_by: Origin::OwnElsewhere,
            room,
            rules: join.rules.clone(),
            is_last_try: false,
        };
        let room = inbound.room.nid;
        if self.store.read(move |tx| tx.is_resident(room)).await? {
            drop(turn);
            return self.join_resident(&inbound, &pdu).await;
        }
        if answer.state.len().max(answer.auth_chain.len()) > MAX_STATE {
            return Err(PduError::Limit("the state of the room").into());
        }
        let lacks_members = answer.members_omitted;
        let residents = residents(&answer, server);
        let state = ids_of_answer(answer.state.clone(), &join.rules).await?;
        let mut events = answer.auth_chain;
        events.extend(answer.state);
        let events = verify_answer(&self.federation, events, &join.rules).await?;
        let (room_id, version) = (wish.room_id.to_owned(), join.version.clone());
        let events = blocking(move || check_create(events, &room_id, &version)).await??;
        self.store_outliers(room, &join.rules, events).await?;
        if lacks_members && self.rejoin(&inbound, &pdu).await? {
            return Ok(());
        }
        let residents = lacks_members.then_some(residents);
        self.enter(&inbound, pdu, state, residents).await
    }

    /// A join to a room that this server has left a moment ago, while members were still missing from its state: where the
    /// join builds on what is here, it is an event like others.
    async fn rejoin(&self, inbound: &Inbound, pdu: &Arc<Pdu>) -> Result<bool> {
        let room = inbound.room.nid;
        let is_partial = self
            .store
            .read(move |tx| Ok::<_, Error>(tx.room(room)?.is_partial()))
            .await?;
        if !is_partial || !self.missing_parents(inbound, pdu).await?.is_empty() {
            return Ok(false);
        }
        self.accept(inbound, pdu, HashMap::new()).await?.done()?;
        Ok(self.status_of(inbound, pdu).await? == EventStatus::Accepted)
    }

    /// A join that this server could not authorise by itself, to a room that it is in.
    async fn join_resident(&self, inbound: &Inbound, pdu: &Arc<Pdu>) -> Result<()> {
        match self.receive_one(inbound, pdu).await {
            // The room has let the user in: it must not be for want of an event that nobody has any more.
            Err(PduError::MissingAncestor(_)) => {
                self.receive_ancestor(inbound, pdu, Trust::AnyWord).await?;
            }
            received => received?,
        }
        match self.status_of(inbound, pdu).await? {
            EventStatus::Accepted => Ok(()),
            EventStatus::SoftFailed | EventStatus::Rejected => Err(Error::Forbidden(
                "the room's state does not allow the join".to_owned(),
            )),
        }
    }

    /// What became of an event that was taken in.
    pub(crate) async fn status_of(&self, inbound: &Inbound, pdu: &Pdu) -> Result<EventStatus> {
        let (room, event_id) = (inbound.room.nid, pdu.event_id().to_owned());
        self.store
            .read(move |tx| {
                let event = tx.event(room, &event_id)?;
                Ok(event.map_or(EventStatus::Rejected, |event| event.status))
            })
            .await
    }

    /// Notes a room that this server may get to know.
    pub(crate) async fn note_room(
        &self,
        room_id: &RoomId,
        version: &RoomVersionId,
    ) -> Result<Room> {
        let (room_id, version) = (room_id.to_owned(), version.clone());
        self.store
            .write(move |tx| {
                let room = tx.room_or_insert(&room_id, &version)?;
                if room.version == version {
                    Ok(room)
                } else {
                    let why = format!("the room has version {}", room.version);
                    Err(PduError::Format(why).into())
                }
            })
            .await
    }

    /// Makes a state, whose events are here as outliers, the room's current state, and the join the event after it. Where
    /// there are `residents`, members are missing from the state, who are users of these servers.
    async fn enter(
        &self,
        inbound: &Inbound,
        pdu: Arc<Pdu>,
        state_ids: Vec<OwnedEventId>,
        residents: Option<Vec<OwnedServerName>>,
    ) -> Result<()> {
        let (room, rules) = (inbound.room.nid, inbound.rules.clone());
        let lacks_members = residents.is_some();
        let (event, state) = self
            .store
            .read(move |tx| {
                let mut state = state_of(tx, room, &state_ids)?;
                if lacks_members {
                    add_known_members(tx, room, &pdu, &mut state)?;
                }
                let event = authorise_as_current(tx, room, &rules, pdu, &state)?;
                Ok::<_, PduError>((event, state))
            })
            .await?;
        if event.status() != EventStatus::Accepted {
            let reason = event.reason().unwrap_or("no reason given");
            return Err(Error::Forbidden(format!(
                "the room's state does not allow the join: {reason}"
            )));
        }
        let via = inbound.origin.clone();
        self.store
            .write(move |tx| {
                let inserted = begin(tx, room, event, &state)?;
                match (residents, inserted) {
                    (Some(servers), Some(inserted)) => tx.begin_partial(NewPartialRoom {
                        room,
                        join: inserted.nid,
                        from: inserted.seq,
                        via: &via,
                        servers: &servers,
                    })?,
                    _ => tx.end_partial(room)?,
                }
                Ok::<_, Error>(())
            })
            .await?;
        if lacks_members {
            self.partial_rooms_changed.notify_one();
        }
        Ok(())
    }
}

fn begin(
    tx: &mut WriteTx<'_>,
    room: RoomNid,
    event: Authorised,
    state: &State,
) -> Result<Option<Inserted>> {
    let mut room = tx.room(room)?;
    let old = match room.current {
        Some(current) => tx.state_at(current)?,
        None => State::new(),
    };
    let seq = tx.next_position();
    let before = tx.change_current_state(&mut room, &difference(&old, state), seq)?;
    tx.clear_tips(room.nid)?;
    let placement = Placement::Live {
        before,
        current: CurrentState::Follows,
    };
    append(tx, &mut room, &event, placement, Origin::OwnElsewhere)
}

/// Adds to a state without members those that authorise the join, and what this server knows of its own users.
fn add_known_members(
    tx: &ReadTx<'_>,
    room: RoomNid,
    join: &Pdu,
    state: &mut State,
) -> Result<(), PduError> {
    let mut known = State::new();
    if let Some(current) = tx.room(room)?.current {
        let old = tx.state_at(current)?;
        let own = tx.own_membership_keys(old.keys().copied())?;
        known.extend(old.into_iter().filter(|(key, _)| own.contains(key)));
    }
    // What the join names is newer than what was here.
    known.extend(state_of(tx, room, join.auth_events())?);
    let members = tx.membership_keys(known.keys().copied())?;
    for (key, event) in known {
        if members.contains(&key) {
            state.entry(key).or_insert(event);
        }
    }
    Ok(())
}

/// The servers in a room, as an answer to a join says.
fn residents(
    answer: &create_join_event::v2::RoomState,
    server: &ServerName,
) -> Vec<OwnedServerName> {
    let told = answer.servers_in_room.iter().flatten();
    let mut residents: Vec<OwnedServerName> = told
        .filter_map(|name| ServerName::parse(name).ok())
        .take(MAX_RESIDENTS)
        .collect();
    if !residents.iter().any(|resident| resident == server) {
        residents.push(server.to_owned());
    }
    residents
}

/// This server's event with the signatures that the other server added. Nothing else is taken from its copy: the event id
/// does not cover what a redaction would take away.
fn countersigned(join: &Completed, event: &serde_json::value::RawValue) -> Result<Arc<Pdu>> {
    let theirs = check_format(parse_object(event)?, &join.rules)?;
    if theirs.event_id != join.event_id() {
        let why = "the answer to a join has another event".to_owned();
        return Err(PduError::Format(why).into());
    }
    let mut object = join.pdu.to_object()?;
    if let Some(CanonicalJsonValue::Object(ours)) = object.get_mut("signatures")
        && let Some(CanonicalJsonValue::Object(theirs)) = theirs.object.get("signatures")
    {
        for (server, signatures) in theirs.iter().take(MAX_SIGNERS) {
            ours.entry(server.clone())
                .or_insert_with(|| signatures.clone());
        }
    }
    let event_id = theirs.event_id;
    Ok(VerifiedPdu { event_id, object }.into_pdu()?)
}

/// Checks that the room begins as its id and its version say.
fn check_create(
    events: Vec<VerifiedPdu>,
    room_id: &RoomId,
    version: &RoomVersionId,
) -> Result<Vec<VerifiedPdu>, PduError> {
    #[derive(Deserialize)]
    struct Content {
        room_version: Option<RoomVersionId>,
    }
    let mut creates = 0;
    for event in &events {
        let pdu = event.clone().into_pdu()?;
        if pdu.room_id() != room_id {
            let why = format!("event {} is of another room", pdu.event_id());
            return Err(PduError::Format(why));
        }
        if pdu.is_state(&TimelineEventType::RoomCreate, "") {
            creates += 1;
            let content: Content = pdu
                .content_as()
                .map_err(|error| PduError::Format(error.to_string()))?;
            if content.room_version.as_ref().unwrap_or(&RoomVersionId::V1) != version {
                return Err(PduError::Format("the room has another version".to_owned()));
            }
        }
    }
    if creates == 1 {
        Ok(events)
    } else {
        Err(PduError::Format(format!("{creates} create events")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn join() -> (Value, Completed) {
        let version = RoomVersionId::V11;
        let rules = version.rules().unwrap();
        let event = json!({
            "auth_events": ["$a"], "content": { "membership": "join", "displayname": "Alice" },
            "depth": 3, "hashes": { "sha256": "" }, "origin_server_ts": 1, "prev_events": ["$a"],
            "room_id": "!r:two", "sender": "@alice:one", "signatures": { "one": { "ed25519:1": "s" } },
            "state_key": "@alice:one", "type": "m.room.member",
        });
        let parsed = parse_object(&to_raw_value(&event).unwrap()).unwrap();
        let parsed = check_format(parsed, &rules).unwrap();
        let pdu = Pdu::from_object(parsed.event_id, &parsed.object, EventStatus::Accepted);
        let pdu = Arc::new(pdu.unwrap());
        let join = Completed {
            pdu,
            version,
            rules,
        };
        (event, join)
    }

    #[test]
    fn another_server_adds_signatures_and_nothing_else() {
        let (mut event, join) = join();
        event["signatures"] = json!({ "one": { "ed25519:1": "x" }, "two": { "ed25519:2": "t" } });
        event["content"]["displayname"] = json!("Mallory");
        let pdu = countersigned(&join, &to_raw_value(&event).unwrap()).unwrap();
        let stored: Value = serde_json::from_str(pdu.json()).unwrap();
        assert_eq!(stored["content"]["displayname"], "Alice");
        let both = json!({ "one": { "ed25519:1": "s" }, "two": { "ed25519:2": "t" } });
        assert_eq!(stored["signatures"], both);
        event["content"]["membership"] = json!("leave");
        assert!(countersigned(&join, &to_raw_value(&event).unwrap()).is_err());
    }

    #[test]
    fn a_room_begins_with_one_event_of_its_version() {
        let create = |version: Value| {
            let object = json!({
                "auth_events": [], "content": { "room_version": version }, "depth": 1,
                "hashes": {}, "origin_server_ts": 1, "prev_events": [], "room_id": "!r:two",
                "sender": "@bob:two", "signatures": {}, "state_key": "", "type": "m.room.create",
            });
            VerifiedPdu {
                event_id: ruma::event_id!("$create").to_owned(),
                object: serde_json::from_value(object).unwrap(),
            }
        };
        let check = |events| check_create(events, ruma::room_id!("!r:two"), &RoomVersionId::V11);
        assert!(check(vec![create(json!("11"))]).is_ok());
        let bad = "\u{fffd}".repeat(20);
        for events in [
            vec![],
            vec![create(json!("11")), create(json!("11"))],
            vec![create(json!("10"))],
            vec![create(json!(bad))],
            vec![create(json!(11))],
        ] {
            assert!(matches!(check(events), Err(PduError::Format(_))));
        }
    }
}
