//! <https://spec.matrix.org/v1.19/client-server-api/#device-management>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply, Sparse};
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::device::{
        Device, delete_device::v3 as delete_device, delete_devices::v3 as delete_devices,
        get_device::v3 as get_device, get_devices::v3 as get_devices,
        update_device::v3 as update_device,
    },
};

use crate::{
    State,
    auth::Session,
    error::{Answer, SparseAnswer},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_devices::Request, _>(list)
        .endpoint::<get_device::Request, _>(get)
        .endpoint::<update_device::Request, _>(update)
        .endpoint::<delete_device::Request, _>(delete)
        .endpoint::<delete_devices::Request, _>(delete_several)
}

async fn list(
    state: State,
    session: Session,
    _: Matrix<get_devices::Request>,
) -> SparseAnswer<get_devices::Response> {
    let devices = state.accounts.devices(&session).await?;
    let devices = devices.into_iter().map(device).collect();
    Ok(Sparse(get_devices::Response::new(devices)))
}

async fn get(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_device::Request>,
) -> SparseAnswer<get_device::Response> {
    let found = state.accounts.device(&session, &request.device_id).await?;
    Ok(Sparse(get_device::Response::new(device(found))))
}

async fn update(
    state: State,
    session: Session,
    Matrix(request): Matrix<update_device::Request>,
) -> Answer<update_device::Response> {
    if session.service.is_some() {
        let (id, name) = (request.device_id, request.display_name);
        state.accounts.create_device(&session, id, name).await?;
        return Ok(Reply(update_device::Response::new()));
    }
    // A request without a name changes none, and is an error all the same where there is no such device.
    state.accounts.device(&session, &request.device_id).await?;
    if request.display_name.is_some() {
        state
            .accounts
            .rename_device(&session, &request.device_id, request.display_name)
            .await?;
    }
    Ok(Reply(update_device::Response::new()))
}

async fn delete(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_device::Request>,
) -> Answer<delete_device::Response> {
    state
        .accounts
        .confirm_owner(&session, "delete_devices", request.auth.as_ref())
        .await?;
    state
        .accounts
        .delete_devices(&session, vec![request.device_id])
        .await?;
    Ok(Reply(delete_device::Response::new()))
}

async fn delete_several(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_devices::Request>,
) -> Answer<delete_devices::Response> {
    state
        .accounts
        .confirm_owner(&session, "delete_devices", request.auth.as_ref())
        .await?;
    state
        .accounts
        .delete_devices(&session, request.devices)
        .await?;
    Ok(Reply(delete_devices::Response::new()))
}

fn device(stored: luxchat_store::Device) -> Device {
    let mut device = Device::new(stored.device_id);
    device.display_name = stored.display_name;
    device.last_seen_ip = stored.last_seen_ip;
    device.last_seen_ts = stored
        .last_seen_ts
        .map(|ts| MilliSecondsSinceUnixEpoch(UInt::new_saturating(ts)));
    device
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::testing::{PASSWORD, Server};

    const DEVICES: &str = "/_matrix/client/v3/devices";

    fn password(user: &str, session: &Value) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": PASSWORD,
            "session": session,
        })
    }

    #[tokio::test]
    async fn devices_are_listed_and_renamed() {
        let server = Server::new();
        let token = server.user("alice").await;
        let phone = json!({ "device_id": "PHONE", "initial_device_display_name": "Phone" });
        server.log_in("alice", phone).await.ok();
        let path = format!("{DEVICES}/PHONE");
        let listed = server.get(DEVICES, &token).await.ok();
        assert_eq!(listed["devices"].as_array().unwrap().len(), 2);
        server
            .put(&path, &token, json!({ "display_name": "Pocket" }))
            .await
            .ok();
        server.put(&path, &token, json!({})).await.ok();
        assert_eq!(
            server.get(&path, &token).await.ok()["display_name"],
            "Pocket"
        );
        let path = format!("{DEVICES}/NONE");
        for answer in [
            server.get(&path, &token).await,
            server.put(&path, &token, json!({})).await,
            server
                .put(&path, &token, json!({ "display_name": "x" }))
                .await,
        ] {
            assert_eq!(answer.error(), (404, "M_NOT_FOUND"));
        }
    }

    #[tokio::test]
    async fn deleting_a_device_takes_the_password() {
        let server = Server::new();
        let token = server.user("alice").await;
        server
            .log_in("alice", json!({ "device_id": "PHONE" }))
            .await
            .ok();
        let path = format!("{DEVICES}/PHONE");
        let delete =
            async |body: Value| server.send(Method::DELETE, &path, Some(&token), body).await;
        let challenge = delete(Value::Null).await;
        assert_eq!(challenge.error(), (401, ""));
        let session = &challenge.body["session"];
        let mut wrong = password("alice", session);
        wrong["password"] = json!("wrong horse");
        let refused = delete(json!({ "auth": wrong })).await;
        assert_eq!(refused.error(), (401, "M_FORBIDDEN"));
        server.get(&path, &token).await.ok();
        delete(json!({ "auth": password("alice", session) }))
            .await
            .ok();
        assert_eq!(server.get(&path, &token).await.status, 404);
    }

    #[tokio::test]
    async fn a_client_may_delete_its_own_device() {
        let server = Server::new();
        server.user("alice").await;
        let login = server
            .log_in("alice", json!({ "device_id": "PHONE" }))
            .await
            .ok();
        let token = login["access_token"].as_str().unwrap();
        let path = "/_matrix/client/v3/delete_devices";
        let challenge = server
            .post(path, token, json!({ "devices": ["PHONE"] }))
            .await;
        let auth = password("@alice:example.org", &challenge.body["session"]);
        let body = json!({ "devices": ["PHONE"], "auth": auth });
        server.post(path, token, body).await.ok();
        let after = server.get(DEVICES, token).await;
        assert_eq!(after.error(), (401, "M_UNKNOWN_TOKEN"));
    }
}
