//! Whom a user can find: local accounts, and whoever is in a room with them or in a published one.

use std::collections::BTreeMap;

use ruma::{OwnedMxcUri, OwnedUserId, UserId};
use rusqlite::{Row, params};
use serde::Deserialize;

use super::parse;
use crate::{ReadTx, Result, UserNid};

/// Rows looked at by one search.
const SCAN_LIMIT: u32 = 20_000;

/// A user as a search finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUser {
    /// The user.
    pub user_id: OwnedUserId,
    /// How they call themselves.
    pub display_name: Option<String>,
    /// Their picture.
    pub avatar_url: Option<OwnedMxcUri>,
}

#[derive(Default, Deserialize)]
struct MemberEvent {
    #[serde(default)]
    content: MemberContent,
}

#[derive(Default, Deserialize)]
struct MemberContent {
    displayname: Option<String>,
    avatar_url: Option<OwnedMxcUri>,
}

impl ReadTx<'_> {
    /// The users that `searcher` may find and for whom `matches` holds, in the order of their ids: those in a room with them
    /// or in a published one, and all of this server if `all_local`. Accounts that are locked or deactivated are left out.
    pub fn search_users(
        &self,
        searcher: UserNid,
        all_local: bool,
        mut matches: impl FnMut(&DirectoryUser) -> bool,
    ) -> Result<Vec<DirectoryUser>> {
        let sql = "SELECT a.user_nid, u.user_id, \
                          (SELECT value FROM profile_fields p WHERE p.user_nid = a.user_nid AND p.field = 'displayname'), \
                          (SELECT value FROM profile_fields p WHERE p.user_nid = a.user_nid AND p.field = 'avatar_url') \
                   FROM accounts a JOIN users u USING (user_nid) \
                   WHERE a.deactivated_ts IS NULL AND a.locked_ts IS NULL AND a.user_nid <> ?1 \
                     AND (?3 OR a.user_nid IN (SELECT m.user_nid FROM members m \
                          WHERE m.membership = 'join' AND m.room_nid IN \
                            (SELECT room_nid FROM members WHERE user_nid = ?1 AND membership = 'join' \
                             UNION SELECT room_nid FROM published_rooms))) LIMIT ?2";
        let local = self.all(sql, params![searcher, SCAN_LIMIT, all_local], local_user)?;

        let sql = "SELECT u.user_nid, u.user_id, j.json FROM members m \
                   JOIN users u USING (user_nid) JOIN event_json j USING (event_nid) \
                   WHERE m.membership = 'join' AND u.server_nid <> 1 AND m.room_nid IN \
                         (SELECT room_nid FROM members WHERE user_nid = ?1 AND membership = 'join' \
                          UNION SELECT room_nid FROM published_rooms) LIMIT ?2";
        let remote = self.all(sql, params![searcher, SCAN_LIMIT], remote_user)?;

        let found: BTreeMap<OwnedUserId, DirectoryUser> = local
            .into_iter()
            .chain(remote)
            .filter(|user| matches(user))
            .map(|user| (user.user_id.clone(), user))
            .collect();
        Ok(found.into_values().collect())
    }
}

fn local_user(row: &Row<'_>) -> rusqlite::Result<DirectoryUser> {
    let field = |index| {
        let value: Option<String> = row.get(index)?;
        Ok::<_, rusqlite::Error>(value.and_then(|json| serde_json::from_str::<String>(&json).ok()))
    };
    Ok(DirectoryUser {
        user_id: parse(1, row.get(1)?, |id: String| UserId::parse(id))?,
        display_name: field(2)?,
        avatar_url: field(3)?.map(Into::into),
    })
}

fn remote_user(row: &Row<'_>) -> rusqlite::Result<DirectoryUser> {
    let json = row.get_ref(2)?.as_str()?;
    // What a remote server wrote there need not be of the right type.
    let member: MemberEvent = serde_json::from_str(json).unwrap_or_default();
    Ok(DirectoryUser {
        user_id: parse(1, row.get(1)?, |id: String| UserId::parse(id))?,
        display_name: member.content.displayname,
        avatar_url: member.content.avatar_url,
    })
}
