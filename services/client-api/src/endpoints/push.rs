//! <https://spec.matrix.org/v1.19/client-server-api/#push-notifications>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::{
    api::client::push::{
        delete_pushrule::v3 as delete_rule, get_pushrule::v3 as get_rule,
        get_pushrule_actions::v3 as get_actions, get_pushrule_enabled::v3 as get_enabled,
        get_pushrules_all::v3 as get_all, get_pushrules_global_scope::v3 as get_global,
        set_pushrule::v3 as set_rule, set_pushrule_actions::v3 as set_actions,
        set_pushrule_enabled::v3 as set_enabled,
    },
    push::{AnyPushRuleRef, RuleKind, Ruleset},
};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_all::Request, _>(get_all)
        // Some clients leave the last slash out.
        .endpoint_at::<get_all::Request, _>("/_matrix/client/v3/pushrules", get_all)
        .endpoint::<get_global::Request, _>(get_global)
        .endpoint::<get_rule::Request, _>(get_rule)
        .endpoint::<set_rule::Request, _>(set_rule)
        .endpoint::<delete_rule::Request, _>(delete_rule)
        .endpoint::<get_enabled::Request, _>(get_enabled)
        .endpoint::<set_enabled::Request, _>(set_enabled)
        .endpoint::<get_actions::Request, _>(get_actions)
        .endpoint::<set_actions::Request, _>(set_actions)
}

async fn get_all(
    state: State,
    session: Session,
    _: Matrix<get_all::Request>,
) -> Answer<get_all::Response> {
    let rules = state.accounts.push_rules(&session).await?;
    Ok(Reply(get_all::Response::new(rules)))
}

async fn get_global(
    state: State,
    session: Session,
    _: Matrix<get_global::Request>,
) -> Answer<get_global::Response> {
    let rules = state.accounts.push_rules(&session).await?;
    Ok(Reply(get_global::Response::new(rules)))
}

async fn get_rule(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_rule::Request>,
) -> Answer<get_rule::Response> {
    let rules = state.accounts.push_rules(&session).await?;
    let rule = find(&rules, request.kind, &request.rule_id)?;
    Ok(Reply(get_rule::Response::new(rule.to_owned().into())))
}

async fn set_rule(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_rule::Request>,
) -> Answer<set_rule::Response> {
    state
        .accounts
        .set_push_rule(&session, request.rule, request.after, request.before)
        .await?;
    Ok(Reply(set_rule::Response::new()))
}

async fn delete_rule(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_rule::Request>,
) -> Answer<delete_rule::Response> {
    state
        .accounts
        .delete_push_rule(&session, request.kind, request.rule_id)
        .await?;
    Ok(Reply(delete_rule::Response::new()))
}

async fn get_enabled(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_enabled::Request>,
) -> Answer<get_enabled::Response> {
    let rules = state.accounts.push_rules(&session).await?;
    let rule = find(&rules, request.kind, &request.rule_id)?;
    Ok(Reply(get_enabled::Response::new(rule.enabled())))
}

async fn set_enabled(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_enabled::Request>,
) -> Answer<set_enabled::Response> {
    state
        .accounts
        .enable_push_rule(&session, request.kind, request.rule_id, request.enabled)
        .await?;
    Ok(Reply(set_enabled::Response::new()))
}

async fn get_actions(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_actions::Request>,
) -> Answer<get_actions::Response> {
    let rules = state.accounts.push_rules(&session).await?;
    let rule = find(&rules, request.kind, &request.rule_id)?;
    Ok(Reply(get_actions::Response::new(rule.actions().to_vec())))
}

async fn set_actions(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_actions::Request>,
) -> Answer<set_actions::Response> {
    state
        .accounts
        .set_push_rule_actions(&session, request.kind, request.rule_id, request.actions)
        .await?;
    Ok(Reply(set_actions::Response::new()))
}

fn find<'r>(
    rules: &'r Ruleset,
    kind: RuleKind,
    rule_id: &str,
) -> Result<AnyPushRuleRef<'r>, Error> {
    rules
        .get(kind, rule_id)
        .ok_or_else(|| ApiError::not_found("There is no such push rule").into())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::testing::Server;

    const RULES: &str = "/_matrix/client/v3/pushrules";

    #[tokio::test]
    async fn rules_are_read_and_changed_one_by_one() {
        let server = Server::new();
        let token = server.user("alice").await;
        for path in [RULES.to_owned(), format!("{RULES}/")] {
            let rules = server.get(&path, &token).await.ok();
            assert_eq!(rules["global"]["override"][0]["rule_id"], ".m.rule.master");
        }
        let rule = format!("{RULES}/global/content/lunch");
        let body = json!({ "pattern": "lunch", "actions": ["notify"] });
        server.put(&rule, &token, body).await.ok();
        server
            .put(
                &format!("{rule}/enabled"),
                &token,
                json!({ "enabled": false }),
            )
            .await
            .ok();
        server
            .put(&format!("{rule}/actions"), &token, json!({ "actions": [] }))
            .await
            .ok();
        let kept = server.get(&rule, &token).await.ok();
        assert_eq!(
            (&kept["pattern"], &kept["enabled"], &kept["actions"]),
            (&json!("lunch"), &json!(false), &json!([]))
        );
        let enabled = server.get(&format!("{rule}/enabled"), &token).await.ok();
        assert_eq!(enabled, json!({ "enabled": false }));
        server
            .send(Method::DELETE, &rule, Some(&token), Value::Null)
            .await
            .ok();
        assert_eq!(
            server.get(&rule, &token).await.error(),
            (404, "M_NOT_FOUND")
        );
        let global = server.get(&format!("{RULES}/global/"), &token).await.ok();
        assert!(global["underride"].is_array());
    }

    #[tokio::test]
    async fn actions_of_former_days_are_kept() {
        let server = Server::new();
        let token = server.user("alice").await;
        let rule = format!("{RULES}/global/sender/@bob:example.org");
        let actions = json!({ "actions": ["dont_notify"] });
        server.put(&rule, &token, actions).await.ok();
        let rules = server.get(RULES, &token).await.ok();
        assert_eq!(
            rules["global"]["sender"][0]["actions"],
            json!(["dont_notify"])
        );
    }

    #[tokio::test]
    async fn the_servers_rules_are_not_the_users() {
        let server = Server::new();
        let token = server.user("alice").await;
        let master = format!("{RULES}/global/override/.m.rule.master");
        let deleted = server
            .send(Method::DELETE, &master, Some(&token), Value::Null)
            .await;
        assert_eq!(deleted.error(), (400, "M_INVALID_PARAM"));
        server
            .put(
                &format!("{master}/enabled"),
                &token,
                json!({ "enabled": true }),
            )
            .await
            .ok();
        let kept = server.get(&format!("{master}/enabled"), &token).await.ok();
        assert_eq!(kept, json!({ "enabled": true }));
        let pushers = server.get("/_matrix/client/v3/pushers", &token).await.ok();
        assert_eq!(pushers, json!({ "pushers": [] }));
    }
}
