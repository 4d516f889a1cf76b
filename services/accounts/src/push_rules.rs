//! Push rules, kept as account data of type `m.push_rules` that clients change rule by rule.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#push-rules).

use luxchat_store::{PUSH_RULES, push_rules_content};
use ruma::push::{Action, NewPushRule, RemovePushRuleError, RuleKind, Ruleset};

use crate::{Accounts, Error, Result, Session};

/// The largest ruleset, in bytes of JSON.
const MAX_RULES: usize = 256 * 1024;

impl Accounts {
    /// A user's rules.
    pub async fn push_rules(&self, session: &Session) -> Result<Ruleset> {
        let (user, user_id) = (session.user_nid, session.user_id.clone());
        let rules = self
            .store()
            .read(move |tx| tx.push_rules(user, &user_id))
            .await?;
        Ok(rules)
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
            if [&after, &before].contains(&&Some(id.clone())) {
                return Err(invalid("it cannot stand next to itself".to_owned()));
            }
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
                let mut rules = tx.push_rules(user, &user_id)?;
                edit(&mut rules)?;
                let content = push_rules_content(rules)?;
                if content.get().len() > MAX_RULES {
                    return Err(Error::TooLarge("set of push rules"));
                }
                tx.set_account_data(user, PUSH_RULES, &content)?;
                Ok(())
            })
            .await
    }
}

fn invalid(why: String) -> Error {
    Error::Invalid {
        what: "push rule",
        why,
    }
}

#[cfg(test)]
mod tests {
    use ruma::push::NewPatternedPushRule;

    use super::*;
    use crate::testing::Fixture;

    fn content_rule(id: &str) -> NewPushRule {
        let rule = NewPatternedPushRule::new(id.to_owned(), id.to_owned(), Vec::new());
        NewPushRule::Content(rule)
    }

    async fn content_ids(fixture: &Fixture, session: &Session) -> Vec<String> {
        let rules = fixture.accounts.push_rules(session).await.unwrap();
        let ids = rules.content.iter().map(|rule| rule.rule_id.clone());
        ids.filter(|id| !id.starts_with('.')).collect()
    }

    #[tokio::test]
    async fn an_account_starts_with_the_servers_rules() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let rules = fixture.accounts.push_rules(&session).await.unwrap();
        assert!(rules.get(RuleKind::Override, ".m.rule.master").is_some());
        let stored = fixture.accounts.account_data(&session, PUSH_RULES).await;
        assert!(stored.unwrap().get().contains("alice"));
    }

    #[tokio::test]
    async fn rules_move_and_keep_what_they_are() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let put = async |id: &str, after: Option<&str>, before: Option<&str>| {
            let (after, before) = (after.map(Into::into), before.map(Into::into));
            accounts
                .set_push_rule(&session, content_rule(id), after, before)
                .await
        };
        for id in ["c", "b", "a"] {
            put(id, None, None).await.unwrap();
        }
        assert_eq!(content_ids(&fixture, &session).await, ["a", "b", "c"]);
        accounts
            .enable_push_rule(&session, RuleKind::Content, "a".to_owned(), false)
            .await
            .unwrap();
        // To the very end, where nothing comes after.
        put("a", Some("c"), None).await.unwrap();
        assert_eq!(content_ids(&fixture, &session).await, ["b", "c", "a"]);
        let rules = accounts.push_rules(&session).await.unwrap();
        assert!(!rules.get(RuleKind::Content, "a").unwrap().enabled());
        put("a", None, Some("c")).await.unwrap();
        assert_eq!(content_ids(&fixture, &session).await, ["b", "a", "c"]);

        for (after, before) in [
            (Some("a"), None),
            (Some("none"), None),
            (Some("c"), Some("b")),
        ] {
            let refused = put("a", after, before).await;
            assert!(matches!(refused, Err(Error::Invalid { .. })));
        }
        assert_eq!(content_ids(&fixture, &session).await, ["b", "a", "c"]);
    }

    #[tokio::test]
    async fn the_servers_rules_stay_and_unknown_ones_are_not_there() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let delete = async |id: &str| {
            accounts
                .delete_push_rule(&session, RuleKind::Override, id.to_owned())
                .await
        };
        assert!(matches!(
            delete(".m.rule.master").await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(delete("none").await, Err(Error::NotFound(_))));
        let refused = accounts
            .set_push_rule(&session, content_rule(".mine"), None, None)
            .await;
        assert!(matches!(refused, Err(Error::Invalid { .. })));
        let refused = accounts
            .set_push_rule_actions(&session, RuleKind::Room, "!a:b".to_owned(), Vec::new())
            .await;
        assert!(matches!(refused, Err(Error::NotFound(_))));
    }
}
