//! Devices and logging out.

use luxchat_store::{Device, UserNid, WriteTx};
use ruma::{DeviceId, OwnedDeviceId, UserId};

use crate::{
    Accounts, Error, NewDevice, Result, Session,
    login::{check_device, check_device_name},
};

/// Account data of one device, which is named behind a dot: how it notifies.
/// [MSC3890](https://github.com/matrix-org/matrix-spec-proposals/pull/3890)
const LOCAL_NOTIFICATION_SETTINGS: [&str; 2] = [
    "m.local_notification_settings",
    "org.matrix.msc3890.local_notification_settings",
];

impl Accounts {
    /// The devices of a session's user.
    pub async fn devices(&self, session: &Session) -> Result<Vec<Device>> {
        let user = session.user_nid;
        Ok(self.store().read(move |tx| tx.devices(user)).await?)
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchDevice`].
    pub async fn device(&self, session: &Session, device_id: &DeviceId) -> Result<Device> {
        let (user, device_id) = (session.user_nid, device_id.to_owned());
        self.store()
            .read(move |tx| tx.device(user, &device_id))
            .await?
            .ok_or(Error::NoSuchDevice)
    }

    /// Renames one of them; whoever keeps a list of the user's devices is told.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchDevice`], [`Error::TooLarge`].
    pub async fn rename_device(
        &self,
        session: &Session,
        device_id: &DeviceId,
        name: Option<String>,
    ) -> Result<()> {
        check_device_name(name.as_deref())?;
        let (user, device_id) = (session.user_nid, device_id.to_owned());
        self.store()
            .write(move |tx| {
                if !tx.set_device_name(user, &device_id, name.as_deref())? {
                    return Err(Error::NoSuchDevice);
                }
                Ok(tx.device_changed(user, &device_id)?)
            })
            .await
    }

    /// Makes a device without tokens, as application services do for their users; one that is there is renamed.
    /// [Spec](https://spec.matrix.org/v1.19/application-service-api/#creating-devices).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::TooMany`], [`Error::Invalid`] for the id.
    pub async fn create_device(
        &self,
        session: &Session,
        device_id: OwnedDeviceId,
        name: Option<String>,
    ) -> Result<()> {
        let device = NewDevice {
            device_id: Some(device_id.clone()),
            display_name: name,
            refresh: false,
        };
        check_device(&device)?;
        let (user, max_devices) = (session.user_nid, self.config().max_devices);
        self.store()
            .write(move |tx| {
                let name = device.display_name.as_deref();
                if tx.insert_device(user, &device_id, name)? {
                    if tx.device_count(user)? > max_devices {
                        return Err(Error::TooMany("devices"));
                    }
                } else if name.is_some() && tx.set_device_name(user, &device_id, name)? {
                    tx.device_changed(user, &device_id)?;
                }
                Ok(())
            })
            .await
    }

    /// Deletes devices: their tokens end, their keys go. Those that are not there are not missed.
    pub async fn delete_devices(
        &self,
        session: &Session,
        device_ids: Vec<OwnedDeviceId>,
    ) -> Result<()> {
        let user = session.user_nid;
        self.change(user, move |tx| delete(tx, user, &device_ids))
            .await
    }

    /// The same for any user of this server, on an administrator's word.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`].
    pub async fn delete_devices_of(
        &self,
        user_id: &UserId,
        device_ids: Vec<OwnedDeviceId>,
    ) -> Result<()> {
        let user = self.account(user_id).await?.user_nid;
        self.change(user, move |tx| delete(tx, user, &device_ids))
            .await
    }

    /// Logs a session out, with its device.
    pub async fn logout(&self, session: &Session) -> Result<()> {
        self.delete_devices(session, vec![session.device_id.clone()])
            .await
    }

    /// Logs all sessions of a user out, with their devices.
    pub async fn logout_all(&self, session: &Session) -> Result<()> {
        self.delete_devices_but(session.user_nid, None).await
    }

    /// Deletes all devices of a user, or all but one.
    pub(crate) async fn delete_devices_but(
        &self,
        user: UserNid,
        kept: Option<OwnedDeviceId>,
    ) -> Result<()> {
        self.change(user, move |tx| delete_all_but(tx, user, kept.as_deref()))
            .await
    }
}

/// Deletes all devices of a user, or all but one, within a transaction that changes more.
pub(crate) fn delete_all_but(
    tx: &mut WriteTx<'_>,
    user: UserNid,
    kept: Option<&DeviceId>,
) -> luxchat_store::Result<()> {
    let devices = tx.devices(user)?.into_iter().map(|device| device.device_id);
    let doomed: Vec<_> = devices.filter(|id| Some(&**id) != kept).collect();
    delete(tx, user, &doomed)
}

fn delete(
    tx: &mut WriteTx<'_>,
    user: UserNid,
    device_ids: &[OwnedDeviceId],
) -> luxchat_store::Result<()> {
    for device_id in device_ids {
        if tx.delete_device(user, device_id)? {
            tx.delete_device_encryption(user, device_id)?;
            for event_type in LOCAL_NOTIFICATION_SETTINGS {
                tx.unset_account_data(user, &format!("{event_type}.{device_id}"))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    fn named(id: &str) -> NewDevice {
        NewDevice {
            device_id: Some(id.into()),
            display_name: Some(format!("{id}'s name")),
            refresh: false,
        }
    }

    #[tokio::test]
    async fn devices_are_listed_renamed_and_deleted() {
        let fixture = Fixture::new();
        let accounts = &fixture.accounts;
        fixture.create("alice").await;
        let phone = fixture.log_in("alice", named("PHONE")).await;
        let laptop = fixture.log_in("alice", named("LAPTOP")).await;
        let session = fixture.session(&phone).await;

        accounts
            .rename_device(&session, "LAPTOP".into(), Some("Work".to_owned()))
            .await
            .unwrap();
        let names: Vec<_> = accounts
            .devices(&session)
            .await
            .unwrap()
            .into_iter()
            .map(|device| device.display_name.unwrap())
            .collect();
        assert_eq!(names, ["Work", "PHONE's name"]);

        accounts
            .delete_devices(&session, vec!["LAPTOP".into(), "NONE".into()])
            .await
            .unwrap();
        let gone = accounts.device(&session, "LAPTOP".into()).await;
        assert!(matches!(gone, Err(Error::NoSuchDevice)));
        let ended = accounts.authenticate(&laptop.access_token).await;
        assert!(matches!(ended, Err(Error::UnknownToken)));
        fixture.session(&phone).await;
    }

    #[tokio::test]
    async fn another_users_device_is_out_of_reach() {
        let fixture = Fixture::new();
        let alice = fixture.alice_session().await;
        fixture.create("bob").await;
        let bob = fixture.log_in("bob", named("PHONE")).await;
        let accounts = &fixture.accounts;
        accounts
            .delete_devices(&alice, vec!["PHONE".into()])
            .await
            .unwrap();
        let refused = accounts.rename_device(&alice, "PHONE".into(), None).await;
        assert!(matches!(refused, Err(Error::NoSuchDevice)));
        fixture.session(&bob).await;
    }
}
