//! Push rules, kept as account data of type `m.push_rules` that clients change rule by rule.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#push-rules).

use luxchat_store::{ReadTx, UserNid};
use ruma::{
    UserId,
    events::push_rules::PushRulesEventContent,
    push::{Action, NewPushRule, RemovePushRuleError, RuleKind, Ruleset},
};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Accounts, Error, Result, Session};

pub(crate) const EVENT_TYPE: &str = "m.push_rules";

/// The largest ruleset, in bytes of JSON.
const MAX_RULES: usize = 256 * 1024;

impl Accounts {
    /// A user's rules.
    pub async fn push_rules(&self, session: &Session) -> Result<Ruleset> {
        let (user, user_id) = (session.user_nid, session.user_id.clone());
        self.store().read(move |tx| read(tx, user, &user_id)).await
    }

    /// Adds a rule or replaces the one of its kind and id, at its place or between two others.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for ids and places that are reserved or unknown, [`Error::TooLarge`].
    pub async fn set_push_rule(
        &self,
        session: &Session,
        rule: NewPushRule,
        after: Option<String>,
        before: Option<String>,
    ) -> Result<()> {
        self.edit_push_rules(session, move |rules| {
            let (kind, id) = (rule.kind(), rule.rule_id().to_owned());
            let old = rules.get(kind.clone(), &id).map(|rule| rule.enabled());
            if old.is_some() && (after.is_some() || before.is_some()) {
                // Positions are counted in the set without the rule that moves.
                rules
                    .remove(kind.clone(), &id)
                    .map_err(|error| invalid(error.to_string()))?;
            }
            rules
                .insert(rule, after.as_deref(), before.as_deref())
                .map_err(|error| invalid(error.to_string()))?;
            if let Some(enabled) = old {
                rules
                    .set_enabled(kind, &id, enabled)
                    .map_err(|_| Error::NotFound("push rule"))?;
            }
            Ok(())
        })
        .await
    }

    /// Removes a rule of the user's own.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] for the server's own rules.
    pub async fn delete_push_rule(
        &self,
        session: &Session,
        kind: RuleKind,
        rule_id: String,
    ) -> Result<()> {
        self.edit_push_rules(session, move |rules| {
            rules.remove(kind, &rule_id).map_err(|error| match error {
                RemovePushRuleError::NotFound => Error::NotFound("push rule"),
                other => invalid(other.to_string()),
            })
        })
        .await
    }

    /// Turns a rule on or off.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn enable_push_rule(
        &self,
        session: &Session,
        kind: RuleKind,
        rule_id: String,
        enabled: bool,
    ) -> Result<()> {
        self.edit_push_rules(session, move |rules| {
            rules
                .set_enabled(kind, &rule_id, enabled)
                .map_err(|_| Error::NotFound("push rule"))
        })
        .await
    }

    /// Changes what a rule does.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn set_push_rule_actions(
        &self,
        session: &Session,
        kind: RuleKind,
        rule_id: String,
        actions: Vec<Action>,
    ) -> Result<()> {
        self.edit_push_rules(session, move |rules| {
            rules
                .set_actions(kind, &rule_id, actions)
                .map_err(|_| Error::NotFound("push rule"))
        })
        .await
    }

    async fn edit_push_rules(
        &self,
        session: &Session,
        edit: impl FnOnce(&mut Ruleset) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (user, user_id) = (session.user_nid, session.user_id.clone());
        self.store()
            .write(move |tx| {
                let mut rules = read(tx, user, &user_id)?;
                edit(&mut rules)?;
                let content = content(rules)?;
                if content.get().len() > MAX_RULES {
                    return Err(Error::TooLarge("set of push rules"));
                }
                tx.set_account_data(user, EVENT_TYPE, &content)?;
                Ok(())
            })
            .await
    }
}

/// The rules as they are stored.
pub(crate) fn content(rules: Ruleset) -> Result<Box<RawValue>> {
    to_raw_value(&PushRulesEventContent::new(rules)).map_err(|error| invalid(error.to_string()))
}

fn read(tx: &ReadTx<'_>, user: UserNid, user_id: &UserId) -> Result<Ruleset> {
    let Some(stored) = tx.account_data(user, EVENT_TYPE)? else {
        return Ok(Ruleset::server_default(user_id));
    };
    let content: PushRulesEventContent =
        serde_json::from_str(stored.get()).map_err(|error| invalid(error.to_string()))?;
    Ok(content.global)
}

fn invalid(why: String) -> Error {
    Error::Invalid {
        what: "push rule",
        why,
    }
}
