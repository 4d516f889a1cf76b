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

    /// Ends an account for good: its devices and password go, and with `erase` its profile and account data as well. Rooms
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
            if erase {
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
