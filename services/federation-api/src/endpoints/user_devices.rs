//! <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use axum::Router;
use luxchat_encryption::CrossSigningUsage;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::device::get_devices::v1::{self as get_devices, UserDevice};

use crate::{State, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<get_devices::Request, _>(devices)
}

async fn devices(
    state: State,
    Matrix(request): Matrix<get_devices::Request>,
) -> Answer<get_devices::Response> {
    let mut list = state.encryption.device_list(&request.user_id).await?;
    let mut response = get_devices::Response::new(request.user_id, list.stream_id);
    let mut take = |usage| list.cross_signing.remove(&usage).map(|stored| stored.key);
    response.master_key = take(CrossSigningUsage::Master);
    response.self_signing_key = take(CrossSigningUsage::SelfSigning);
    response.devices = list
        .devices
        .into_iter()
        .map(|(device, keys, name)| {
            let mut device = UserDevice::new(device, keys);
            device.device_display_name = name;
            device
        })
        .collect();
    Ok(Reply(response))
}
