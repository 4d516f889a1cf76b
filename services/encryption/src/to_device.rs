use std::collections::BTreeMap;

use luxchat_federation::Denial;
use luxchat_store::WriteTx;
use ruma::{
    DeviceId, OwnedServerName, OwnedUserId, TransactionId, UserId,
    api::federation::transactions::edu::{DirectDeviceContent, DirectDeviceMessages},
    events::{AnyToDeviceEvent, ToDeviceEventType},
    serde::Raw,
    to_device::DeviceIdOrAllDevices,
};
use serde::Serialize;

use crate::{Encryption, Error, Result, encryption::local_user};

impl Encryption {
    /// Sends messages to devices, here and on other servers: once, however often the client repeats the request.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::TooLarge`].
    pub async fn send_to_device(
        &self,
        sender: &UserId,
        device: &DeviceId,
        txn_id: &TransactionId,
        event_type: &ToDeviceEventType,
        messages: DirectDeviceMessages,
    ) -> Result<()> {
        let limit = self.config().users_per_query;
        if messages.len() > limit {
            return Err(Error::TooLarge(format!(
                "a request may send to {limit} users"
            )));
        }
        let (local, remote): (DirectDeviceMessages, DirectDeviceMessages) = messages
            .into_iter()
            .partition(|(user, _)| self.is_local(user));
        let local = Messages::new(sender, event_type, local)?;
        let remote = self.edus(sender, event_type, remote);
        let scope = format!("sendToDevice/{event_type}");
        let (sender, device, txn_id) = (sender.to_owned(), device.to_owned(), txn_id.to_owned());
        self.store()
            .write(move |tx| {
                let sender = local_user(tx, &sender)?;
                let (device, txn_id) = (device.as_str(), txn_id.as_str());
                if tx
                    .client_transaction(sender, device, &scope, txn_id)?
                    .is_some()
                {
                    return Ok(());
                }
                tx.insert_client_transaction(sender, device, &scope, txn_id, None)?;
                deliver(tx, &local)?;
                for (server, edu) in &remote {
                    let server = tx.server_nid_or_insert(server)?;
                    tx.queue_to_device(server, edu)?;
                }
                Ok(())
            })
            .await
    }

    /// One EDU for each server that may be sent to.
    fn edus(
        &self,
        sender: &UserId,
        event_type: &ToDeviceEventType,
        messages: DirectDeviceMessages,
    ) -> BTreeMap<OwnedServerName, DirectDeviceContent> {
        let mut edus: BTreeMap<OwnedServerName, DirectDeviceContent> = BTreeMap::new();
        for (user, devices) in messages {
            let edu = edus
                .entry(user.server_name().to_owned())
                .or_insert_with(|| {
                    DirectDeviceContent::new(
                        sender.to_owned(),
                        event_type.clone(),
                        TransactionId::new(),
                    )
                });
            edu.messages.insert(user, devices);
        }
        let now = self.store().clock().now_ms();
        edus.retain(|server, _| {
            match self.federation().membership().admit(server, now) {
                // What stands in the way of the others may pass: their messages wait.
                Err(reason @ (Denial::Unlisted | Denial::Revoked(_))) => {
                    tracing::info!(%server, %reason, "to-device messages dropped");
                    false
                }
                _ => true,
            }
        });
        edus
    }
}

/// Messages for local devices, written out as their clients get them.
pub(crate) struct Messages {
    by_user: Vec<(
        OwnedUserId,
        BTreeMap<DeviceIdOrAllDevices, Raw<AnyToDeviceEvent>>,
    )>,
}

impl Messages {
    pub(crate) fn new(
        sender: &UserId,
        event_type: &ToDeviceEventType,
        messages: DirectDeviceMessages,
    ) -> Result<Self> {
        #[derive(Serialize)]
        struct Event<'e, C> {
            r#type: &'e ToDeviceEventType,
            sender: &'e UserId,
            content: &'e C,
        }

        let by_user = messages.into_iter().map(|(user, devices)| {
            let devices = devices
                .into_iter()
                .map(|(device, content)| {
                    let event = Event {
                        r#type: event_type,
                        sender,
                        content: &content,
                    };
                    let json = serde_json::value::to_raw_value(&event)
                        .map_err(|error| Error::Malformed(error.to_string()))?;
                    Ok((device, Raw::from_json(json)))
                })
                .collect::<Result<_>>()?;
            Ok((user, devices))
        });
        Ok(Self {
            by_user: by_user.collect::<Result<_>>()?,
        })
    }
}

/// Puts messages into inboxes. A device named by itself gets that message, not the one for all.
pub(crate) fn deliver(tx: &mut WriteTx<'_>, messages: &Messages) -> Result<()> {
    for (user, devices) in &messages.by_user {
        let Some(user) = tx.user_nid(user)? else {
            continue;
        };
        let mut deliveries: BTreeMap<_, &Raw<AnyToDeviceEvent>> = BTreeMap::new();
        if let Some(event) = devices.get(&DeviceIdOrAllDevices::AllDevices) {
            let all = tx.devices(user)?;
            deliveries.extend(all.into_iter().map(|device| (device.device_id, event)));
        }
        for (device, event) in devices {
            if let DeviceIdOrAllDevices::DeviceId(device) = device {
                deliveries.insert(device.clone(), event);
            }
        }
        let deliveries = deliveries.iter().map(|(device, event)| (&**device, *event));
        tx.deliver_to_device(user, deliveries)?;
    }
    Ok(())
}
