//! Who may do what in a room.

use luxchat_store::{Coordinate, Pdu, ReadTx, Room};
use ruma::{
    Int, OwnedUserId, UserId,
    events::{StateEventType, TimelineEventType, room::power_levels::UserPowerLevel},
    int,
    room_version_rules::AuthorizationRules,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};
use std::collections::HashSet;

use crate::{Result, version::rules_of};

/// The power levels of a room in one of its states.
#[derive(Debug)]
pub(crate) struct Power {
    rules: AuthorizationRules,
    creators: HashSet<OwnedUserId>,
    levels: Option<RoomPowerLevelsEvent<Pdu>>,
}

impl Power {
    /// The power levels in the state at a coordinate.
    pub(crate) fn at(tx: &ReadTx<'_>, room: &Room, at: Coordinate) -> Result<Self> {
        let event = |event_type| -> Result<Option<Pdu>> {
            let Some(event) = tx.state_entry_at(at, &event_type, "")? else {
                return Ok(None);
            };
            Ok(Some(tx.event_by_nid(event)?.into_pdu()?))
        };
        let rules = rules_of(&room.version)?.authorization;
        let create = event(StateEventType::RoomCreate)?;
        let levels = event(StateEventType::RoomPowerLevels)?;
        Ok(Self::new(rules, create, levels))
    }

    pub(crate) fn new(rules: AuthorizationRules, create: Option<Pdu>, levels: Option<Pdu>) -> Self {
        let creators = create
            .and_then(|create| RoomCreateEvent::new(create).creators(&rules).ok())
            .unwrap_or_default();
        Self {
            rules,
            creators,
            levels: levels.map(RoomPowerLevelsEvent::new),
        }
    }

    /// A user's power level.
    pub(crate) fn of(&self, user: &UserId) -> UserPowerLevel {
        let is_creator = self.creators.contains(user);
        if is_creator && self.rules.explicitly_privilege_room_creators {
            return UserPowerLevel::Infinite;
        }
        let level = match &self.levels {
            Some(levels) => levels.user_power_level(user, &self.rules).ok(),
            None => Some(if is_creator { int!(100) } else { int!(0) }),
        };
        level.unwrap_or(Int::MIN).into()
    }

    /// The power level that an action takes.
    pub(crate) fn needed(&self, action: RoomPowerLevelsIntField) -> Int {
        match &self.levels {
            // Levels that do not parse let nobody act, as in the auth rules.
            Some(levels) => levels
                .get_as_int_or_default(action, &self.rules)
                .unwrap_or(Int::MAX),
            None => action.default_value(),
        }
    }

    /// The power level that sending an event takes.
    pub(crate) fn needed_for(&self, event_type: &TimelineEventType, is_state: bool) -> Int {
        match &self.levels {
            Some(levels) => levels
                .event_power_level(event_type, is_state.then_some(""), &self.rules)
                .unwrap_or(Int::MAX),
            None if is_state => RoomPowerLevelsIntField::StateDefault.default_value(),
            None => RoomPowerLevelsIntField::EventsDefault.default_value(),
        }
    }

    /// Whether a user may redact anybody's events.
    pub(crate) fn may_redact(&self, user: &UserId) -> bool {
        self.of(user) >= self.needed(RoomPowerLevelsIntField::Redact)
    }

    /// Whether a user may invite, if they are joined.
    pub(crate) fn may_invite(&self, user: &UserId) -> bool {
        self.of(user) >= self.needed(RoomPowerLevelsIntField::Invite)
    }
}
