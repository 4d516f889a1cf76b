//! Changing a password, and ending an account.

use ruma::{OwnedDeviceId, UserId};

use crate::{Accounts, Error, Result, Session, devices::delete_all_but};

impl Accounts {
    /// Changes a user's own password, and logs their other devices out where they wish so.
    ///
    /// # Errors
    ///
    /// [`Error::WeakPassword`].
    pub async fn change_password(
        &self,
        session: &Session,
        password: String,
        logout_others: bool,
    ) -> Result<()> {
        let kept = session.device_id.clone();
        self.replace_password(&session.user_id, password, logout_others, Some(kept))
            .await
    }

    /// Sets a password on the operator's word, and logs all devices out where asked to.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`], [`Error::Deactivated`], [`Error::WeakPassword`].
    pub async fn set_password(
        &self,
        user_id: &UserId,
        password: String,
        logout: bool,
    ) -> Result<()> {
        self.replace_password(user_id, password, logout, None).await
    }

    /// Ends an account for good: its devices and password go, and with `erase` its profile, account data and media as well; what it said is then shown to nobody who comes later. Rooms
    /// are left by the caller.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`].
    pub async fn deactivate(&self, user_id: &UserId, erase: bool) -> Result<()> {
        let user = self.account(user_id).await?.user_nid;
        self.change(user, move |tx| {
            delete_all_but(tx, user, None)?;
            tx.deactivate_account(user)?;
            tx.delete_email_addresses(user)?;
            if erase {
                tx.erase_user(user)?;
                tx.erase_media_of(user)?;
                tx.delete_profile(user)?;
                tx.delete_account_data(user)?;
            }
            Ok(())
        })
        .await
    }

    async fn replace_password(
        &self,
        user_id: &UserId,
        password: String,
        logout: bool,
        kept: Option<OwnedDeviceId>,
    ) -> Result<()> {
        self.inner.passwords.check_strength(&password)?;
        let account = self.account(user_id).await?;
        if account.is_deactivated {
            return Err(Error::Deactivated);
        }
        let hash = self.inner.passwords.hash(password).await?;
        let user = account.user_nid;
        self.change(user, move |tx| {
            tx.set_password_hash(user, Some(&hash))?;
            if logout {
                delete_all_but(tx, user, kept.as_deref())?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        NewDevice,
        testing::{Fixture, PASSWORD},
    };

    #[tokio::test]
    async fn a_new_password_replaces_the_old_one_and_ends_other_sessions() {
        let fixture = Fixture::new();
        let accounts = &fixture.accounts;
        let own = fixture.alice().await;
        let other = fixture.log_in("alice", NewDevice::default()).await;
        let session = fixture.session(&own).await;

        let weak = accounts
            .change_password(&session, "short".to_owned(), true)
            .await;
        assert!(matches!(weak, Err(Error::WeakPassword(_))));
        accounts
            .change_password(&session, "battery staple".to_owned(), true)
            .await
            .unwrap();

        fixture.session(&own).await;
        let ended = accounts.authenticate(&other.access_token).await;
        assert!(matches!(ended, Err(Error::UnknownToken)));
        let login = async |password: &str| {
            accounts
                .login("alice", password.to_owned(), NewDevice::default())
                .await
        };
        assert!(matches!(
            login(PASSWORD).await,
            Err(Error::WrongCredentials)
        ));
        login("battery staple").await.unwrap();
    }

    #[tokio::test]
    async fn other_sessions_may_stay() {
        let fixture = Fixture::new();
        let own = fixture.alice().await;
        let other = fixture.log_in("alice", NewDevice::default()).await;
        let session = fixture.session(&own).await;
        let changed =
            fixture
                .accounts
                .change_password(&session, "battery staple".to_owned(), false);
        changed.await.unwrap();
        fixture.session(&other).await;
    }

    #[tokio::test]
    async fn an_erased_account_leaves_nothing_but_its_name() {
        let fixture = Fixture::new();
        let accounts = &fixture.accounts;
        let login = fixture.alice().await;
        let session = fixture.session(&login).await;
        let name = accounts.set_profile_field(&session, "displayname", "Alice".into());
        name.await.unwrap();

        accounts.deactivate(&session.user_id, true).await.unwrap();
        let ended = accounts.authenticate(&login.access_token).await;
        assert!(matches!(ended, Err(Error::UnknownToken)));
        let refused = accounts
            .login("alice", PASSWORD.to_owned(), NewDevice::default())
            .await;
        assert!(matches!(refused, Err(Error::Deactivated)));
        let revived = accounts
            .set_password(&session.user_id, "battery staple".to_owned(), false)
            .await;
        assert!(matches!(revived, Err(Error::Deactivated)));
        assert!(accounts.profile(&session.user_id).await.unwrap().is_empty());
        assert!(accounts.devices(&session).await.unwrap().is_empty());
        let rules = accounts.account_data(&session, "m.push_rules").await;
        assert!(matches!(rules, Err(Error::NotFound(_))));
    }
}
