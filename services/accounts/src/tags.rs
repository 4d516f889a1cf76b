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
        self.edit_tags(session, room_id, move |tags| {
            tags.insert(tag, info);
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
        self.edit_tags(session, room_id, move |tags| {
            tags.remove(&tag);
        })
        .await
    }

    async fn edit_tags(
        &self,
        session: &Session,
        room_id: &RoomId,
        edit: impl FnOnce(&mut Tags) + Send + 'static,
    ) -> Result<()> {
        let (user, room_id) = (session.user_nid, room_id.to_owned());
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
