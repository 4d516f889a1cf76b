//! Room tags: one event of room account data, edited tag by tag.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#room-tagging).

use luxchat_store::{ReadTx, RoomNid, UserNid};
use ruma::{
    RoomId,
    events::tag::{TagEventContent, TagInfo, TagName, Tags},
};
use serde_json::value::to_raw_value;

use crate::{Accounts, Error, Result, Session, account_data::room_nid};

const EVENT_TYPE: &str = "m.tag";

/// The most tags of a room.
const MAX_TAGS: usize = 100;

/// The longest tag, in bytes, as the specification has it.
const MAX_TAG: usize = 255;

impl Accounts {
    /// The tags that a user has put on a room.
    pub async fn tags(&self, session: &Session, room_id: &RoomId) -> Result<Tags> {
        let (user, room_id) = (session.user_nid, room_id.to_owned());
        self.store()
            .read(move |tx| match room_nid(tx, &room_id)? {
                Some(room) => read(tx, user, room),
                None => Ok(Tags::default()),
            })
            .await
    }

    /// Puts a tag on a room, or changes its place.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server does not know the room, [`Error::TooLarge`], [`Error::TooMany`].
    pub async fn set_tag(
        &self,
        session: &Session,
        room_id: &RoomId,
        tag: TagName,
        info: TagInfo,
    ) -> Result<()> {
        if tag.as_ref().len() > MAX_TAG {
            return Err(Error::TooLarge("tag"));
        }
        self.edit_tags(session.user_nid, room_id, move |tags| {
            tags.insert(tag, info);
        })
        .await
    }

    /// Puts the tag on a room by which clients know that the server speaks there.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-notices).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server does not know the room, [`Error::TooMany`].
    pub async fn tag_notice_room(&self, user: UserNid, room_id: &RoomId) -> Result<()> {
        self.edit_tags(user, room_id, |tags| {
            tags.entry(TagName::ServerNotice)
                .or_insert_with(TagInfo::new);
        })
        .await
    }

    /// Takes a tag off a room. One that is not there is not missed.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server does not know the room.
    pub async fn delete_tag(
        &self,
        session: &Session,
        room_id: &RoomId,
        tag: TagName,
    ) -> Result<()> {
        self.edit_tags(session.user_nid, room_id, move |tags| {
            tags.remove(&tag);
        })
        .await
    }

    async fn edit_tags(
        &self,
        user: UserNid,
        room_id: &RoomId,
        edit: impl FnOnce(&mut Tags) + Send + 'static,
    ) -> Result<()> {
        let room_id = room_id.to_owned();
        self.store()
            .write(move |tx| {
                let room = room_nid(tx, &room_id)?.ok_or(Error::NotFound("room"))?;
                let mut tags = read(tx, user, room)?;
                edit(&mut tags);
                if tags.len() > MAX_TAGS {
                    return Err(Error::TooMany("tags"));
                }
                let content = to_raw_value(&TagEventContent::new(tags)).map_err(invalid)?;
                tx.set_room_account_data(user, room, EVENT_TYPE, &content)?;
                Ok(())
            })
            .await
    }
}

fn read(tx: &ReadTx<'_>, user: UserNid, room: RoomNid) -> Result<Tags> {
    let Some(content) = tx.room_account_data(user, room, EVENT_TYPE)? else {
        return Ok(Tags::default());
    };
    // Clients may write m.tag as any other account data, and so in any shape.
    let content: TagEventContent = serde_json::from_str(content.get())
        .unwrap_or_else(|_| TagEventContent::new(Tags::default()));
    Ok(content.tags)
}

fn invalid(error: serde_json::Error) -> Error {
    Error::Invalid {
        what: "tag",
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ruma::{RoomVersionId, room_id};
    use serde_json::value::RawValue;

    use super::*;
    use crate::testing::Fixture;

    fn room() -> &'static RoomId {
        room_id!("!a:example.org")
    }

    #[tokio::test]
    async fn tags_are_edited_one_by_one() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        accounts
            .store()
            .write(|tx| tx.insert_room(room(), &RoomVersionId::V11))
            .await
            .unwrap();
        let set = async |tag: &str| {
            accounts
                .set_tag(&session, room(), tag.into(), TagInfo::new())
                .await
        };
        set("m.favourite").await.unwrap();
        set("u.work").await.unwrap();
        accounts
            .delete_tag(&session, room(), TagName::Favorite)
            .await
            .unwrap();
        let tags = accounts.tags(&session, room()).await.unwrap();
        assert_eq!(
            tags.keys().map(AsRef::as_ref).collect::<Vec<_>>(),
            ["u.work"]
        );

        let long = set(&"x".repeat(256)).await;
        assert!(matches!(long, Err(Error::TooLarge("tag"))));
        let broken = RawValue::from_string(r#"{"tags":7}"#.to_owned()).unwrap();
        accounts
            .set_room_account_data(&session, room(), EVENT_TYPE, broken)
            .await
            .unwrap();
        assert!(accounts.tags(&session, room()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_room_that_nobody_knows_has_no_tags() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        assert!(accounts.tags(&session, room()).await.unwrap().is_empty());
        let refused = accounts
            .set_tag(&session, room(), TagName::Favorite, TagInfo::new())
            .await;
        assert!(matches!(refused, Err(Error::NotFound("room"))));
    }
}
