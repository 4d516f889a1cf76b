//! Events from another server, in every room version: parsed, hashed, verified, authorised, resolved and stored, with all
//! that the server fetches for them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use luxchat_fuzz::{Input, Nation, with_nation};
use luxchat_rooms::{PduError, Received};
use ruma::server_name;
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    if let Some(input) = Input::parse(data) {
        with_nation(|nation| receive(nation, &input));
    }
});

fn receive(nation: &mut Nation, input: &Input) {
    let runtime = nation.runtime.handle().clone();
    runtime.block_on(async {
        let (sent, answers) = nation.script(input).await;
        let Ok(pdu) = RawValue::from_string(sent) else {
            return;
        };
        let first = take_in(nation, &pdu, &answers).await;
        let again = take_in(nation, &pdu, &answers).await;
        if let (Ok(first), Ok(again)) = (first, again) {
            for (event_id, result) in first {
                // The event may have shut its own server out.
                let is_so_again = matches!(
                    again.get(&event_id),
                    Some(Ok(()) | Err(PduError::Denied(_)))
                );
                assert!(
                    result.is_err() || is_so_again,
                    "an event that was taken in is not taken in again: {again:?}"
                );
            }
        }
        let waiting = nation.one.rooms.retry_waiting().await;
        assert!(waiting.is_ok(), "{waiting:?}");
    });
}

async fn take_in(
    nation: &Nation,
    pdu: &RawValue,
    answers: &[String],
) -> Result<Received, PduError> {
    nation.two.will_answer(answers.iter().cloned());
    let received = nation
        .one
        .rooms
        .receive_pdus(server_name!("two"), vec![pdu.to_owned()], 1)
        .await;
    let errors = received.iter().flat_map(Received::values);
    for error in errors.filter_map(|result| result.as_ref().err()) {
        assert!(!is_own_fault(error), "{error}");
    }
    if let Err(error) = &received {
        assert!(!is_own_fault(error), "{error}");
    }
    received
}

/// Whether an event shows that the server is broken, rather than that the event is.
fn is_own_fault(error: &PduError) -> bool {
    matches!(
        error,
        PduError::Internal(_) | PduError::Store(_) | PduError::Resolution(_) | PduError::Busy
    )
}
