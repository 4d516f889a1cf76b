//! Locking and suspending accounts.
//! <https://spec.matrix.org/v1.19/client-server-api/#server-administration>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply, Sparse};
use luxchat_store::Account;
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt, UserId,
    api::client::admin::{
        get_user_info::v3::{self as whois, ConnectionInfo, DeviceInfo, SessionInfo},
        is_user_locked::v1 as is_locked,
        is_user_suspended::v1 as is_suspended,
        lock_user::v1 as lock,
        suspend_user::v1 as suspend,
    },
};
use tracing::info;

use crate::{
    State,
    auth::Session,
    error::{Answer, Error, SparseAnswer},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<is_locked::Request, _>(is_locked)
        .endpoint::<lock::Request, _>(lock)
        .endpoint::<is_suspended::Request, _>(is_suspended)
        .endpoint::<suspend::Request, _>(suspend)
        .endpoint::<whois::Request, _>(whois)
}

/// Where a user's devices were last seen: for the user, and for administrators.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3adminwhoisuserid).
async fn whois(
    state: State,
    session: Session,
    Matrix(request): Matrix<whois::Request>,
) -> SparseAnswer<whois::Response> {
    if session.user_id != request.user_id {
        check_admin(&state, &session, "user.whois", &request.user_id).await?;
    }
    let user = state.accounts.account(&request.user_id).await?.user_nid;
    let devices = state.store.read(move |tx| tx.devices(user)).await?;
    let devices = devices.into_iter().map(|device| {
        let mut connection = ConnectionInfo::new();
        connection.ip = device.last_seen_ip;
        connection.last_seen = device
            .last_seen_ts
            .map(|ts| MilliSecondsSinceUnixEpoch(UInt::new_saturating(ts)));
        let mut session = SessionInfo::new();
        session.connections.push(connection);
        let mut info = DeviceInfo::new();
        info.sessions.push(session);
        (device.device_id.to_string(), info)
    });
    let mut response = whois::Response::new();
    response.devices = devices.collect();
    response.user_id = Some(request.user_id);
    Ok(Sparse(response))
}

async fn is_locked(
    state: State,
    session: Session,
    Matrix(request): Matrix<is_locked::Request>,
) -> Answer<is_locked::Response> {
    let account = target(&state, &session, "user.is_locked", &request.user_id).await?;
    Ok(Reply(is_locked::Response::new(account.is_locked)))
}

async fn lock(
    state: State,
    session: Session,
    Matrix(request): Matrix<lock::Request>,
) -> Answer<lock::Response> {
    let account = target(&state, &session, "user.lock", &request.user_id).await?;
    state
        .accounts
        .set_locked(&account.user_id, request.locked)
        .await?;
    info!(
        locked = request.locked,
        "an administrator (un)locked an account"
    );
    Ok(Reply(lock::Response::new(request.locked)))
}

async fn is_suspended(
    state: State,
    session: Session,
    Matrix(request): Matrix<is_suspended::Request>,
) -> Answer<is_suspended::Response> {
    let account = target(&state, &session, "user.is_suspended", &request.user_id).await?;
    Ok(Reply(is_suspended::Response::new(account.is_suspended)))
}

async fn suspend(
    state: State,
    session: Session,
    Matrix(request): Matrix<suspend::Request>,
) -> Answer<suspend::Response> {
    let account = target(&state, &session, "user.suspend", &request.user_id).await?;
    state
        .accounts
        .set_suspended(&account.user_id, request.suspended)
        .await?;
    info!(
        suspended = request.suspended,
        "an administrator (un)suspended an account"
    );
    Ok(Reply(suspend::Response::new(request.suspended)))
}

/// Makes sure that an administrator asks, and that the audit log has it.
async fn check_admin(
    state: &State,
    session: &Session,
    action: &'static str,
    user_id: &UserId,
) -> Result<(), Error> {
    if !session.is_admin {
        return Err(ApiError::forbidden("You are not an administrator of this server").into());
    }
    let (actor, target) = (session.user_id.clone(), user_id.to_owned());
    let audit = state
        .store
        .write(move |tx| tx.audit(actor.as_str(), action, target.as_str()));
    Ok(audit.await?)
}

/// The account that an administrator may act on: of this server, alive, and no administrator's. That they do stands in
/// the audit log.
async fn target(
    state: &State,
    session: &Session,
    action: &'static str,
    user_id: &UserId,
) -> Result<Account, Error> {
    check_admin(state, session, action, user_id).await?;
    if user_id.server_name() != state.store.server_name() {
        return Err(ApiError::invalid_param("The user is not of this server").into());
    }
    let account = state.accounts.account(user_id).await?;
    if account.is_deactivated {
        return Err(ApiError::not_found("The account is deactivated").into());
    }
    if account.is_admin {
        return Err(ApiError::forbidden("The user is an administrator, too").into());
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::json;

    use crate::testing::Server;

    fn path(what: &str, user: &str) -> String {
        format!("/_matrix/client/v1/admin/{what}/@{user}")
    }

    #[tokio::test]
    async fn administrators_lock_and_suspend_others() {
        let server = Server::new();
        let accounts = &server.services.accounts;
        let root = server.user("root").await;
        let alice = server.user("alice").await;
        accounts
            .set_admin(user_id!("@root:example.org"), true)
            .await
            .unwrap();
        for (what, field) in [("lock", "locked"), ("suspend", "suspended")] {
            let path = path(what, "alice:example.org");
            assert_eq!(server.get(&path, &root).await.ok(), json!({ field: false }));
            server.put(&path, &root, json!({ field: true })).await.ok();
            assert_eq!(server.get(&path, &root).await.ok(), json!({ field: true }));
        }
        let whoami = server
            .get("/_matrix/client/v3/account/whoami", &alice)
            .await;
        assert_eq!(whoami.error(), (401, "M_USER_LOCKED"));
    }

    #[tokio::test]
    async fn nobody_else_does_and_not_to_anyone() {
        let server = Server::new();
        let accounts = &server.services.accounts;
        let root = server.user("root").await;
        let alice = server.user("alice").await;
        accounts
            .set_admin(user_id!("@root:example.org"), true)
            .await
            .unwrap();
        for what in ["lock", "suspend"] {
            let refused = server.get(&path(what, "nobody:example.org"), &alice).await;
            assert_eq!(refused.error(), (403, "M_FORBIDDEN"));
            for (user, expected) in [
                ("nobody:example.org", (404, "M_NOT_FOUND")),
                ("bob:elsewhere.org", (400, "M_INVALID_PARAM")),
                ("root:example.org", (403, "M_FORBIDDEN")),
            ] {
                let answer = server.get(&path(what, user), &root).await;
                assert_eq!(answer.error(), expected);
            }
        }
    }
}
