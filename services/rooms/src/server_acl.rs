//! Server access control lists.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms>

use luxchat_store::{ReadTx, RoomNid};
use ruma::{
    RoomId, ServerName,
    events::{StateEventType, room::server_acl::RoomServerAclEventContent},
};
use serde_json::Value;

use crate::{Error, Result, Rooms};

impl Rooms {
    /// Whether a room's server ACL lets a server send anything to it, ephemeral events included. A room that this server
    /// does not know has no ACL.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn admits(&self, room_id: &RoomId, server: &ServerName) -> Result<bool> {
        let (room_id, server) = (room_id.to_owned(), server.to_owned());
        let admits = move |tx: &ReadTx<'_>| match tx.room_by_id(&room_id)? {
            Some(room) => is_allowed(tx, room.nid, &server),
            None => Ok(true),
        };
        self.store.read(admits).await.map_err(Error::Store)
    }
}

/// Whether a server may take part in a room, as the room's current state says.
pub(crate) fn is_allowed(
    tx: &ReadTx<'_>,
    room: RoomNid,
    server: &ServerName,
) -> luxchat_store::Result<bool> {
    let Some(event) = tx.current_state_event(room, &StateEventType::RoomServerAcl, "")? else {
        return Ok(true);
    };
    let content: Value = event.pdu()?.content_as()?;
    Ok(lenient(&content).is_allowed(server))
}

/// What can be understood of an ACL: what is not as it should be counts as absent.
fn lenient(content: &Value) -> RoomServerAclEventContent {
    let list = |field: &str| {
        content
            .get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|glob| glob.as_str().map(ToOwned::to_owned))
            .collect()
    };
    let allow_ip_literals = content
        .get("allow_ip_literals")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    RoomServerAclEventContent::new(allow_ip_literals, list("allow"), list("deny"))
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use serde_json::json;

    use super::*;

    #[test]
    fn globs_and_ip_literals() {
        let acl = lenient(&json!({
            "allow": ["*.lu", 5], "deny": ["evil.*"], "allow_ip_literals": false,
        }));
        assert!(acl.is_allowed(server_name!("mae.gouvernement.lu")));
        assert!(acl.is_allowed(server_name!("mae.gouvernement.lu:8448")));
        assert!(!acl.is_allowed(server_name!("evil.lu")));
        assert!(!acl.is_allowed(server_name!("example.org")));
        assert!(!acl.is_allowed(server_name!("127.0.0.1:8448")));
    }

    #[test]
    fn without_a_list_of_allowed_servers_nobody_is() {
        assert!(!lenient(&json!({})).is_allowed(server_name!("one.lu")));
        assert!(!lenient(&json!({ "allow": "*" })).is_allowed(server_name!("one.lu")));
    }
}
