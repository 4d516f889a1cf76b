//! <https://spec.matrix.org/v1.19/client-server-api/#device-management>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::device::{
        Device, delete_device::v3 as delete_device, delete_devices::v3 as delete_devices,
        get_device::v3 as get_device, get_devices::v3 as get_devices,
        update_device::v3 as update_device,
    },
};

use crate::{State, auth::Session, error::Answer};

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
) -> Answer<get_devices::Response> {
    let devices = state.accounts.devices(&session).await?;
    let devices = devices.into_iter().map(device).collect();
    Ok(Reply(get_devices::Response::new(devices)))
}

async fn get(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_device::Request>,
) -> Answer<get_device::Response> {
    let found = state.accounts.device(&session, &request.device_id).await?;
    Ok(Reply(get_device::Response::new(device(found))))
}

async fn update(
    state: State,
    session: Session,
    Matrix(request): Matrix<update_device::Request>,
) -> Answer<update_device::Response> {
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
