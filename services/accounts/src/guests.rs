//! Guests: people who did not register, and may do little.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#guest-access).

use luxchat_store::{PUSH_RULES, default_push_rules, push_rules_content};
use ruma::UserId;

use crate::{Accounts, Error, Login, NewDevice, RegistrationProof, Result, Session};

impl Accounts {
    /// Makes an account for a guest, and logs it in.
    ///
    /// # Errors
    ///
    /// [`Error::RegistrationDisabled`] where the site takes no guests.
    pub async fn create_guest(&self, display_name: Option<String>) -> Result<Login> {
        if !self.inner.config.registration.guests {
            return Err(Error::RegistrationDisabled);
        }
        let user_id = UserId::new(self.store().server_name());
        let rules = push_rules_content(default_push_rules(&user_id))?;
        let id = user_id.clone();
        let user = self
            .store()
            .write(move |tx| {
                let user = tx.insert_account(&id, None, false)?;
                let user = user.ok_or(Error::UserInUse)?;
                tx.insert_guest(user)?;
                tx.set_account_data(user, PUSH_RULES, &rules)?;
                Ok::<_, Error>(user)
            })
            .await?;
        let device = NewDevice {
            display_name,
            ..NewDevice::default()
        };
        self.start_session(user, user_id, device).await
    }

    /// Makes the account of a guest who registers one like any other. Its sessions stay.
    ///
    /// # Errors
    ///
    /// [`Error::WeakPassword`], [`Error::UserInUse`] where it is no guest's any more; [`Error::InvalidRegistrationToken`]
    /// where the token was used up meanwhile.
    pub async fn upgrade_guest(
        &self,
        guest: &Session,
        password: String,
        proof: RegistrationProof,
    ) -> Result<()> {
        self.inner.passwords.check_strength(&password)?;
        let hash = self.inner.passwords.hash(password).await?;
        let user = guest.user_nid;
        self.store()
            .write(move |tx| {
                if let Some(token) = proof.token
                    && !tx.use_registration_token(&token)?
                {
                    return Err(Error::InvalidRegistrationToken);
                }
                if !tx.delete_guest(user)? {
                    return Err(Error::UserInUse);
                }
                Ok(tx.set_password_hash(user, Some(&hash))?)
            })
            .await?;
        self.inner.sessions.forget_user(user);
        Ok(())
    }
}
