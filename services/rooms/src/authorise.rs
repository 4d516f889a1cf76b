//! The auth rules, and the type that says that an event was put to them.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#authorization-rules>

use std::sync::Arc;

use luxchat_store::{EventStatus, Pdu};
use ruma::{
    EventId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::AuthorizationRules,
    state_res::{check_state_dependent_auth_rules, check_state_independent_auth_rules},
};

/// An event with what the auth rules say about it. Nothing but the functions here makes one, and no event enters the
/// store without.
#[derive(Clone, Debug)]
pub struct Authorised {
    pdu: Arc<Pdu>,
    status: EventStatus,
    scope: Scope,
    reason: Option<String>,
}

/// What an event was checked against, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Its auth events.
    AuthEvents,
    /// Also the state before it.
    StateBefore,
    /// Also the room's current state.
    CurrentState,
}

impl Authorised {
    /// Checks an event against its auth events alone: what can be said of an outlier.
    ///
    /// `auth_event` finds the auth events, and in rooms of version 12 the create event. One that is missing makes the
    /// event rejected: look for them first.
    pub fn by_auth_events(
        rules: &AuthorizationRules,
        pdu: Arc<Pdu>,
        auth_event: impl Fn(&EventId) -> Option<Arc<Pdu>>,
    ) -> Self {
        let verdict = check_state_independent_auth_rules(rules, &*pdu, &auth_event)
            .and_then(|()| check_auth_events(rules, &pdu, &auth_event));
        let (status, reason) = match verdict {
            Ok(()) => (EventStatus::Accepted, None),
            Err(reason) => (EventStatus::Rejected, Some(reason)),
        };
        Self {
            pdu,
            status,
            scope: Scope::AuthEvents,
            reason,
        }
    }

    /// Checks it against the state before it too.
    #[must_use]
    pub fn and_state_before(
        mut self,
        rules: &AuthorizationRules,
        state: impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
    ) -> Self {
        self.check(rules, state, EventStatus::Rejected);
        self.scope = Scope::StateBefore;
        self
    }

    /// Checks it against the room's current state too: one that fails is soft-failed.
    #[must_use]
    pub fn and_current_state(
        mut self,
        rules: &AuthorizationRules,
        state: impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
    ) -> Self {
        self.check(rules, state, EventStatus::SoftFailed);
        if self.scope == Scope::StateBefore {
            self.scope = Scope::CurrentState;
        }
        self
    }

    /// Checks an event that this server makes on top of the room's current state, out of which its auth events were
    /// selected: one look at that state says it all.
    ///
    /// # Errors
    ///
    /// The rule that forbids the event.
    pub(crate) fn own(
        rules: &AuthorizationRules,
        pdu: Arc<Pdu>,
        state: impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
    ) -> Result<Self, String> {
        if *pdu.event_type() == TimelineEventType::RoomCreate {
            check_state_independent_auth_rules(rules, &*pdu, |_| None::<Arc<Pdu>>)?;
        }
        check_state_dependent_auth_rules(rules, &*pdu, state)?;
        Ok(Self {
            pdu,
            status: EventStatus::Accepted,
            scope: Scope::CurrentState,
            reason: None,
        })
    }

    /// An event of a room whose state this server does not hold, on the word of the servers that signed it: an invite or
    /// a knock, or an answer to one. It is fit for an outlier and nothing else.
    pub(crate) fn outside(pdu: Arc<Pdu>) -> Self {
        Self {
            pdu,
            status: EventStatus::Accepted,
            scope: Scope::AuthEvents,
            reason: None,
        }
    }

    /// Soft-fails an event that passed, for a reason that lies outside of the auth rules.
    pub(crate) fn hold_back(&mut self, reason: &str) {
        if self.status == EventStatus::Accepted {
            self.status = EventStatus::SoftFailed;
            self.reason = Some(reason.to_owned());
        }
    }

    /// The event.
    pub fn pdu(&self) -> &Arc<Pdu> {
        &self.pdu
    }

    /// What the rules say.
    pub fn status(&self) -> EventStatus {
        self.status
    }

    /// The rule that forbids the event, if one does.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    fn check(
        &mut self,
        rules: &AuthorizationRules,
        state: impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
        otherwise: EventStatus,
    ) {
        if self.status != EventStatus::Accepted {
            return;
        }
        if let Err(reason) = check_state_dependent_auth_rules(rules, &*self.pdu, state) {
            self.status = otherwise;
            self.reason = Some(reason);
        }
    }
}

/// The state-dependent rules, with the auth events as the state.
fn check_auth_events(
    rules: &AuthorizationRules,
    pdu: &Pdu,
    auth_event: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<(), String> {
    let mut state: Vec<Arc<Pdu>> = pdu
        .auth_events()
        .iter()
        .filter_map(|event_id| auth_event(event_id))
        .collect();
    if rules.room_create_event_id_as_room_id {
        // The create event is no auth event there: the room's id is its hash.
        let create = EventId::parse(format!("${}", pdu.room_id().strip_sigil()))
            .map_err(|error| error.to_string())?;
        state.extend(auth_event(&create));
    }
    check_state_dependent_auth_rules(rules, pdu, |event_type, state_key| {
        let event_type = event_type.to_string().into();
        state
            .iter()
            .find(|event| event.is_state(&event_type, state_key))
            .cloned()
    })
}
