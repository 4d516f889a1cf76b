//! A user's rules, read once and kept until they change.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use luxchat_store::{Position, ReadTx, UserNid, default_push_rules};
use ruma::{OwnedUserId, UserId, push::Ruleset};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::warn;

use crate::{Push, Result, profile::Profile};

/// Ignored users that are told apart.
const IGNORED_USERS: usize = 1_000;

/// Rules of one user, as they stood at a position.
#[derive(Debug)]
pub(crate) struct UserRules {
    pub(crate) user: UserNid,
    pub(crate) user_id: OwnedUserId,
    /// When they last changed.
    pub(crate) changed: Position,
    pub(crate) rules: Ruleset,
    /// In short, for counting.
    pub(crate) profile: Profile,
    /// Users whose events do not notify.
    pub(crate) ignored: HashSet<UserNid>,
}

impl Push {
    /// A user's rules as they are in a snapshot.
    pub(crate) fn rules_of(&self, tx: &ReadTx<'_>, user: UserNid) -> Result<Arc<UserRules>> {
        let changed = tx.push_rules_changed(user)?;
        let cache = &self.shared.rules;
        if let Some(held) = cache.get(&user)
            && held.changed == changed
        {
            return Ok(held);
        }
        let user_id = tx.user_id(user)?;
        let rules = tx.push_rules(user, &user_id).unwrap_or_else(|error| {
            // Damaged rules must not keep a user from reading.
            warn!(%error, "a user's push rules cannot be read: the default ones apply");
            default_push_rules(&user_id)
        });
        let read = Arc::new(UserRules {
            user,
            changed,
            profile: Profile::new(&rules, &user_id),
            rules,
            ignored: ignored_users(tx, user)?,
            user_id,
        });
        cache.insert(user, Arc::clone(&read));
        Ok(read)
    }
}

/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users).
fn ignored_users(tx: &ReadTx<'_>, user: UserNid) -> Result<HashSet<UserNid>> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        ignored_users: BTreeMap<String, &'a RawValue>,
    }
    let mut ignored = HashSet::new();
    let Some(content) = tx.account_data(user, "m.ignored_user_list")? else {
        return Ok(ignored);
    };
    let Ok(content) = serde_json::from_str::<Content<'_>>(content.get()) else {
        return Ok(ignored);
    };
    for user_id in content.ignored_users.keys().take(IGNORED_USERS) {
        if let Ok(user_id) = <&UserId>::try_from(user_id.as_str())
            && let Some(other) = tx.user_nid(user_id)?
            && other != user
        {
            ignored.insert(other);
        }
    }
    Ok(ignored)
}
