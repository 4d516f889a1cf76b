//! Profiles: display name, picture, and any other field.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#profiles).

use luxchat_store::UserNid;
use ruma::UserId;
use serde_json::Value;

use crate::{Accounts, Error, Result, Session};

/// The longest name of a field, in bytes.
const MAX_FIELD_NAME: usize = 255;

/// The largest profile, in bytes of JSON.
const MAX_PROFILE: usize = 64 * 1024;

/// The largest display name and picture URL, in bytes: both go into member events.
const MAX_MEMBER_FIELD: usize = 1_024;

impl Accounts {
    /// All fields of a local user's profile.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`].
    pub async fn profile(&self, user_id: &UserId) -> Result<Vec<(String, Value)>> {
        let user = self.account(user_id).await?.user_nid;
        Ok(self.store().read(move |tx| tx.profile(user)).await?)
    }

    /// One field of a local user's profile.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`].
    pub async fn profile_field(&self, user_id: &UserId, field: &str) -> Result<Option<Value>> {
        let user = self.account(user_id).await?.user_nid;
        let field = field.to_owned();
        let read = self.store().read(move |tx| tx.profile_field(user, &field));
        Ok(read.await?)
    }

    /// Sets a field of the session's user's profile; `null` takes the display name or the picture away. Rooms learn of it
    /// from the caller.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLarge`], [`Error::ProfileTooLarge`], [`Error::Invalid`].
    pub async fn set_profile_field(
        &self,
        session: &Session,
        field: &str,
        value: Value,
    ) -> Result<()> {
        self.set_field(session.user_nid, field, value).await
    }

    /// Names a user on the operator's word.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`], [`Error::TooLarge`].
    pub async fn set_display_name(&self, user_id: &UserId, name: String) -> Result<()> {
        let user = self.account(user_id).await?.user_nid;
        self.set_field(user, "displayname", name.into()).await
    }

    /// Sets a field of a local user's profile on an administrator's word, as
    /// [`set_profile_field`](Self::set_profile_field) does.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`], [`Error::KeyTooLarge`], [`Error::ProfileTooLarge`], [`Error::Invalid`].
    pub async fn set_profile_field_of(
        &self,
        user_id: &UserId,
        field: &str,
        value: Value,
    ) -> Result<()> {
        let user = self.account(user_id).await?.user_nid;
        self.set_field(user, field, value).await
    }

    /// Takes a field of the session's user's profile away. One that is not there is not missed.
    pub async fn delete_profile_field(&self, session: &Session, field: &str) -> Result<()> {
        self.delete_field(session.user_nid, field).await
    }

    async fn set_field(&self, user: UserNid, field: &str, value: Value) -> Result<()> {
        if field.len() > MAX_FIELD_NAME {
            return Err(Error::KeyTooLarge);
        }
        let is_member_field = matches!(field, "displayname" | "avatar_url");
        if is_member_field && is_unset(&value) {
            return self.delete_field(user, field).await;
        }
        if is_member_field && !value.is_string() {
            return Err(Error::Invalid {
                what: "profile field",
                why: format!("{field} must be a string"),
            });
        }
        if is_member_field
            && value
                .as_str()
                .is_some_and(|text| text.len() > MAX_MEMBER_FIELD)
        {
            return Err(Error::TooLarge("display name or picture URL"));
        }
        let field = field.to_owned();
        self.store()
            .write(move |tx| {
                tx.set_profile_field(user, &field, &value)?;
                let size: usize = tx
                    .profile(user)?
                    .iter()
                    .map(|(field, value)| field.len() + value.to_string().len() + 4)
                    .sum();
                if size > MAX_PROFILE {
                    return Err(Error::ProfileTooLarge);
                }
                Ok(())
            })
            .await
    }

    async fn delete_field(&self, user: UserNid, field: &str) -> Result<()> {
        let field = field.to_owned();
        self.store()
            .write::<_, Error, _>(move |tx| {
                tx.delete_profile_field(user, &field)?;
                Ok(())
            })
            .await
    }
}

/// Clients unset a picture with an empty string.
fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn fields_come_and_go() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let set = async |field: &str, value: Value| {
            fixture
                .accounts
                .set_profile_field(&session, field, value)
                .await
        };
        let get = async |field: &str| {
            let user_id = &session.user_id;
            fixture
                .accounts
                .profile_field(user_id, field)
                .await
                .unwrap()
        };
        set("displayname", json!("Alice")).await.unwrap();
        set("m.tz", json!("Europe/Luxembourg")).await.unwrap();
        set("org.example.pet", json!({ "cat": true }))
            .await
            .unwrap();
        assert_eq!(get("displayname").await, Some(json!("Alice")));
        assert_eq!(get("org.example.pet").await, Some(json!({ "cat": true })));
        for unset in [json!(""), json!(null)] {
            set("displayname", json!("Alice")).await.unwrap();
            set("displayname", unset).await.unwrap();
            assert_eq!(get("displayname").await, None);
        }
        let fields = fixture.accounts.profile(&session.user_id).await.unwrap();
        assert_eq!(fields.len(), 2);
    }

    #[tokio::test]
    async fn a_profile_has_bounds() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let set = async |field: &str, value: Value| {
            fixture
                .accounts
                .set_profile_field(&session, field, value)
                .await
        };
        let long = "x".repeat(40_000);
        assert!(matches!(
            set(&"k".repeat(256), json!(1)).await,
            Err(Error::KeyTooLarge)
        ));
        assert!(matches!(
            set("displayname", json!(long)).await,
            Err(Error::TooLarge(_))
        ));
        assert!(matches!(
            set("avatar_url", json!(1)).await,
            Err(Error::Invalid { .. })
        ));
        set("a", json!(long)).await.unwrap();
        assert!(matches!(
            set("b", json!(long)).await,
            Err(Error::ProfileTooLarge)
        ));
        let fields = fixture.accounts.profile(&session.user_id).await.unwrap();
        assert_eq!(fields.len(), 1);
    }
}
