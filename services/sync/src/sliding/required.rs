//! Which state of a room a client asks for.

use std::collections::{BTreeSet, HashSet};

use luxchat_store::{ClientRow, EventNid, ReadTx, RoomNid, StateSelection, UserNid};
use ruma::{UserId, events::StateEventType};

use crate::{Result, client_event::Fields};

const ANY: &str = "*";
const ME: &str = "$ME";
const LAZY: &str = "$LAZY";
const MEMBER: &str = "m.room.member";

/// Pairs of event type and state key, `*` standing for any.
type Pairs = BTreeSet<(String, String)>;

/// Pairs that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Required {
    pairs: Pairs,
    /// What else is wanted: of the first pairs those that are not among the second.
    exceptions: BTreeSet<(Pairs, Pairs)>,
    /// The memberships without which the client cannot show the timeline.
    pub(super) lazy: bool,
}

impl Required {
    /// Adds what a client writes.
    pub(super) fn extend(
        &mut self,
        pairs: &[(StateEventType, String)],
        excluded: &[(String, String)],
        viewer: &UserId,
    ) {
        let mut wanted = BTreeSet::new();
        for (event_type, state_key) in pairs {
            match (event_type.to_string(), state_key.as_str()) {
                (event_type, LAZY) => self.lazy |= event_type == MEMBER,
                (event_type, ME) => {
                    wanted.insert((event_type, viewer.to_string()));
                }
                (event_type, state_key) => {
                    wanted.insert((event_type, state_key.to_owned()));
                }
            }
        }
        if excluded.is_empty() {
            self.pairs.append(&mut wanted);
        } else {
            let excluded = excluded.iter().cloned().collect();
            self.exceptions.insert((wanted, excluded));
        }
    }

    /// What is asked for here and not there.
    pub(super) fn without(&self, other: &Self) -> Self {
        Self {
            pairs: self.pairs.difference(&other.pairs).cloned().collect(),
            exceptions: (self.exceptions.difference(&other.exceptions).cloned()).collect(),
            lazy: self.lazy && !other.lazy,
        }
    }

    /// Whether an entry is asked for.
    pub(super) fn wants(&self, event_type: &str, state_key: &str) -> bool {
        let is_among = |pairs: &Pairs| {
            pairs.iter().any(|(wanted_type, wanted_key)| {
                (wanted_type == ANY || wanted_type == event_type)
                    && (wanted_key == ANY || wanted_key == state_key)
            })
        };
        let mut exceptions = self.exceptions.iter();
        is_among(&self.pairs)
            || exceptions.any(|(wanted, excluded)| is_among(wanted) && !is_among(excluded))
    }

    /// Whether an event is asked for.
    pub(super) fn wants_row(&self, row: &ClientRow) -> Result<bool> {
        let fields = Fields::parse(&row.json)?;
        let state_key = fields.state_key.as_deref();
        Ok(state_key.is_some_and(|state_key| self.wants(&fields.event_type, state_key)))
    }

    /// The entries of a room's current state that are asked for, `$LAZY` aside.
    pub(super) fn read(&self, tx: &ReadTx<'_>, room: RoomNid) -> Result<Vec<ClientRow>> {
        let of_any_type = self
            .pairs
            .iter()
            .filter(|(event_type, _)| event_type == ANY);
        let mut rows = if of_any_type.count() > 0 || !self.exceptions.is_empty() {
            let mut wanted = Vec::new();
            for row in tx.client_state(room, StateSelection::All)? {
                if self.wants_row(&row)? {
                    wanted.push(row);
                }
            }
            return Ok(wanted);
        } else {
            Vec::new()
        };
        for (event_type, state_key) in &self.pairs {
            if state_key == ANY {
                rows.extend(tx.client_state_of_type(room, event_type)?);
            } else if !self.pairs.contains(&(event_type.clone(), ANY.to_owned())) {
                let event_type = StateEventType::from(event_type.as_str());
                if let Some(entry) = tx.current_state_entry(room, &event_type, state_key)? {
                    rows.push(tx.client_event_by_nid(entry.event)?);
                }
            }
        }
        Ok(rows)
    }

    /// The memberships of users, where they are asked for as the timeline needs them and not there already.
    pub(super) fn add_members(
        &self,
        tx: &ReadTx<'_>,
        room: RoomNid,
        users: impl Iterator<Item = UserNid>,
        rows: &mut Vec<ClientRow>,
    ) -> Result<()> {
        if !self.lazy {
            return Ok(());
        }
        let mut told: HashSet<EventNid> = rows.iter().map(|row| row.nid).collect();
        let users: BTreeSet<UserNid> = users.collect();
        for user in users {
            if let Some(member) = tx.member(room, user)?
                && told.insert(member.event)
            {
                rows.push(tx.client_event_by_nid(member.event)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn required(pairs: &[(&str, &str)]) -> Required {
        let mut required = Required::default();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(event_type, key)| (StateEventType::from(*event_type), (*key).to_owned()))
            .collect();
        required.extend(&pairs, &[], user_id!("@alice:one"));
        required
    }

    #[test]
    fn stars_and_the_user_are_understood() {
        let some = required(&[
            ("m.room.name", ""),
            (MEMBER, ME),
            ("m.space.child", ANY),
            (ANY, "x"),
        ]);
        for (event_type, state_key, expected) in [
            ("m.room.name", "", true),
            ("m.room.name", "y", false),
            ("m.room.topic", "", false),
            (MEMBER, "@alice:one", true),
            (MEMBER, "@bob:one", false),
            ("m.space.child", "!any", true),
            ("m.room.topic", "x", true),
        ] {
            assert_eq!(
                some.wants(event_type, state_key),
                expected,
                "{event_type} {state_key}"
            );
        }
        assert!(!some.lazy);
        assert!(required(&[(MEMBER, LAZY)]).lazy);
    }

    #[test]
    fn what_is_excluded_is_so_only_where_nothing_else_asks_for_it() {
        let mut some = Required::default();
        let all = [(StateEventType::from(ANY), ANY.to_owned())];
        let excluded = [("m.room.create".to_owned(), String::new())];
        some.extend(&all, &excluded, user_id!("@alice:one"));
        assert!(some.wants("m.room.name", "") && !some.wants("m.room.create", ""));
        let create = [(StateEventType::RoomCreate, String::new())];
        some.extend(&create, &[], user_id!("@alice:one"));
        assert!(some.wants("m.room.create", ""));
    }

    #[test]
    fn what_is_new_is_told_apart() {
        let less = required(&[("m.room.name", "")]);
        let more = required(&[("m.room.name", ""), ("m.room.topic", ""), (MEMBER, LAZY)]);
        assert_eq!(
            more.without(&less),
            required(&[("m.room.topic", ""), (MEMBER, LAZY)])
        );
        assert_eq!(less.without(&more), Required::default());
    }
}
