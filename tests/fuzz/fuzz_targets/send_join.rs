//! What another server answers to a join: the template of the event, then the room's state and its auth chain, then whatever
//! this server asks for after that.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

#![no_main]

use libfuzzer_sys::fuzz_target;
use luxchat_fuzz::{Forge, Input, Nation, with_nation};
use luxchat_rooms::{Error, Join, PduError};
use ruma::{CanonicalJsonObject, OwnedRoomId, events::StateEventType, server_name};

fuzz_target!(|data: &[u8]| {
    if let Some(input) = Input::parse(data) {
        with_nation(|nation| join(nation, &input));
    }
});

fn join(nation: &mut Nation, input: &Input) {
    let version = input.version();
    let mut forge = Forge::new(&version);
    let room_id = format!("!r{}:two", nation.input());
    forge.name("!room", vec![room_id]);
    // The template names events of the answer after it.
    let mut answers: Vec<String> = Vec::new();
    let (template, rest) = input.lines().split_first().expect("there is one line");
    for line in rest {
        answers.push(forge.text(line, input.is_forged));
    }
    answers.insert(0, forge.text(template, input.is_forged));
    let room_id = forge.text("\"!room\"", false);
    let Ok(room_id) = OwnedRoomId::try_from(room_id.trim_matches('"')) else {
        return;
    };
    nation.two.will_answer(answers);
    let runtime = nation.runtime.handle().clone();
    runtime.block_on(async {
        let join = Join {
            user: nation.alice.clone(),
            room_id: room_id.clone(),
            via: vec![server_name!("two").to_owned()],
            reason: None,
            extra: CanonicalJsonObject::new(),
        };
        let joined = nation.one.rooms.join(join).await;
        match joined {
            Ok(()) => assert_is_in(nation, room_id).await,
            Err(error) => assert!(!is_own_fault(&error), "{error}"),
        }
    });
}

/// Who has joined is in the room, and the room begins.
async fn assert_is_in(nation: &Nation, room_id: OwnedRoomId) {
    let alice = nation.alice.clone();
    let state = nation.one.store.read(move |tx| {
        let Some(room) = tx.room_by_id(&room_id)? else {
            return Ok((false, false));
        };
        let create = tx.current_state_entry(room.nid, &StateEventType::RoomCreate, "")?;
        let member =
            tx.current_state_event(room.nid, &StateEventType::RoomMember, alice.as_str())?;
        let is_in = match member.map(luxchat_store::Event::into_pdu).transpose()? {
            Some(event) => event.membership() == Some(&"join".into()),
            None => false,
        };
        Ok((create.is_some(), is_in))
    });
    let state: luxchat_store::Result<(bool, bool)> = state.await;
    let state = state.expect("the store can be read");
    assert_eq!(state, (true, true));
}

/// Whether an answer shows that the server is broken, rather than that the answer is.
fn is_own_fault(error: &Error) -> bool {
    matches!(
        error,
        Error::Internal(_)
            | Error::Store(_)
            | Error::Pdu(PduError::Internal(_) | PduError::Store(_))
    )
}
