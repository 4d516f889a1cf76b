//! What clients keep on the server for themselves.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#client-config).

use luxchat_store::{ReadTx, RoomNid};
use ruma::RoomId;
use serde_json::value::RawValue;

use crate::{Accounts, Error, Result, Session};

/// The largest content, in bytes.
const MAX_CONTENT: usize = 256 * 1024;

/// The longest type, in bytes.
const MAX_TYPE: usize = 255;

/// The most types that a user can have globally, and in one room.
const MAX_TYPES: usize = 10_000;

impl Accounts {
    /// The content of one type.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn account_data(&self, session: &Session, event_type: &str) -> Result<Box<RawValue>> {
        let (user, event_type) = (session.user_nid, event_type.to_owned());
        self.store()
            .read(move |tx| tx.account_data(user, &event_type))
            .await?
            .ok_or(Error::NotFound("account data"))
    }

    /// Sets the content of one type. An empty object deletes it, as
    /// [MSC3391](https://github.com/matrix-org/matrix-spec-proposals/pull/3391) says.
    ///
    /// # Errors
    ///
    /// [`Error::ReservedType`] for types that have endpoints of their own, [`Error::TooLarge`], [`Error::TooMany`].
    pub async fn set_account_data(
        &self,
        session: &Session,
        event_type: &str,
        content: Box<RawValue>,
    ) -> Result<()> {
        check(event_type, &content)?;
        let (user, event_type) = (session.user_nid, event_type.to_owned());
        self.store()
            .write(move |tx| {
                if is_empty(&content) {
                    return Ok(tx.unset_account_data(user, &event_type)?);
                }
                if tx.account_data_count(user)? >= MAX_TYPES {
                    return Err(Error::TooMany("account data types"));
                }
                tx.set_account_data(user, &event_type, &content)?;
                Ok(())
            })
            .await
    }

    /// The content of one type in a room.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn room_account_data(
        &self,
        session: &Session,
        room_id: &RoomId,
        event_type: &str,
    ) -> Result<Box<RawValue>> {
        let (user, room_id, event_type) =
            (session.user_nid, room_id.to_owned(), event_type.to_owned());
        let found = self
            .store()
            .read(move |tx| {
                let Some(room) = room_nid(tx, &room_id)? else {
                    return Ok(None);
                };
                tx.room_account_data(user, room, &event_type)
            })
            .await?;
        found.ok_or(Error::NotFound("account data"))
    }

    /// Sets the content of one type in a room. An empty object deletes it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server does not know the room; else as [`Accounts::set_account_data`].
    pub async fn set_room_account_data(
        &self,
        session: &Session,
        room_id: &RoomId,
        event_type: &str,
        content: Box<RawValue>,
    ) -> Result<()> {
        check(event_type, &content)?;
        let (user, room_id, event_type) =
            (session.user_nid, room_id.to_owned(), event_type.to_owned());
        self.store()
            .write(move |tx| {
                let room = room_nid(tx, &room_id)?.ok_or(Error::NotFound("room"))?;
                if is_empty(&content) {
                    return Ok(tx.unset_room_account_data(user, room, &event_type)?);
                }
                if tx.room_account_data_count(user, room)? >= MAX_TYPES {
                    return Err(Error::TooMany("account data types"));
                }
                tx.set_room_account_data(user, room, &event_type, &content)?;
                Ok(())
            })
            .await
    }
}

pub(crate) fn room_nid(
    tx: &ReadTx<'_>,
    room_id: &RoomId,
) -> luxchat_store::Result<Option<RoomNid>> {
    Ok(tx.room_by_id(room_id)?.map(|room| room.nid))
}

/// Whether an object has no fields.
fn is_empty(object: &RawValue) -> bool {
    let fields = object.get().trim_matches(['{', '}']);
    fields.trim().is_empty()
}

fn check(event_type: &str, content: &RawValue) -> Result<()> {
    if matches!(event_type, "m.fully_read" | "m.push_rules") {
        return Err(Error::ReservedType);
    }
    if event_type.is_empty() || event_type.len() > MAX_TYPE {
        return Err(Error::TooLarge("account data type"));
    }
    if content.get().len() > MAX_CONTENT {
        return Err(Error::TooLarge("account data"));
    }
    if !content.get().starts_with('{') {
        return Err(Error::Invalid {
            what: "account data",
            why: "it must be an object".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ruma::{RoomVersionId, room_id};
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::testing::Fixture;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn what_a_client_keeps_it_gets_back() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let content = r#"{ "z": 1.50, "a": [] }"#;
        accounts
            .set_account_data(&session, "org.example", raw(content))
            .await
            .unwrap();
        let kept = accounts
            .account_data(&session, "org.example")
            .await
            .unwrap();
        assert_eq!(kept.get(), content);
        let missing = accounts.account_data(&session, "org.other").await;
        assert!(matches!(missing, Err(Error::NotFound(_))));
    }

    #[tokio::test]
    async fn room_data_needs_a_room() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let room = room_id!("!a:example.org");
        let set = async || {
            accounts
                .set_room_account_data(&session, room, "org.example", raw(r#"{"a":1}"#))
                .await
        };
        assert!(matches!(set().await, Err(Error::NotFound("room"))));
        accounts
            .store()
            .write(|tx| tx.insert_room(room_id!("!a:example.org"), &RoomVersionId::V11))
            .await
            .unwrap();
        set().await.unwrap();
        let kept = accounts
            .room_account_data(&session, room, "org.example")
            .await;
        assert_eq!(kept.unwrap().get(), r#"{"a":1}"#);
    }

    #[tokio::test]
    async fn an_empty_object_deletes() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        for content in [r#"{"a":{}}"#, "{ }"] {
            accounts
                .set_account_data(&session, "org.example", raw(content))
                .await
                .unwrap();
        }
        let gone = accounts.account_data(&session, "org.example").await;
        assert!(matches!(gone, Err(Error::NotFound(_))));
        let user = session.user_nid;
        let since = async |position| {
            let read = move |tx: &ReadTx<'_>| tx.account_data_since(user, position);
            accounts.store().read(read).await.unwrap()
        };
        let told = since(luxchat_store::Position(1)).await;
        let told: Vec<_> = told.iter().map(|data| data.content.get()).collect();
        assert_eq!(told, ["{}"], "whoever knew it is told");
        let afresh = since(luxchat_store::Position::START).await;
        assert!(afresh.iter().all(|data| data.event_type != "org.example"));
    }

    #[tokio::test]
    async fn not_everything_is_account_data() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let set = async |event_type: &str, content: Box<RawValue>| {
            fixture
                .accounts
                .set_account_data(&session, event_type, content)
                .await
        };
        for reserved in ["m.fully_read", "m.push_rules"] {
            let refused = set(reserved, raw("{}")).await;
            assert!(matches!(refused, Err(Error::ReservedType)));
        }
        let list = set("org.example", raw("[]")).await;
        assert!(matches!(list, Err(Error::Invalid { .. })));
        let large = to_raw_value(&serde_json::json!({ "a": "x".repeat(MAX_CONTENT) })).unwrap();
        let refused = set("org.example", large).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))));
        let refused = set(&"x".repeat(256), raw("{}")).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))));
    }
}
