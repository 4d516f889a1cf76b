use ruma::{OwnedDeviceId, OwnedUserId};

use luxchat_store::UserNid;

/// Who sent a request, as its access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user_id: OwnedUserId,
    /// The same, as the store knows them.
    pub user_nid: UserNid,
    /// The device that the token was given to.
    pub device_id: OwnedDeviceId,
    /// May administer this server.
    pub is_admin: bool,
    /// May read, leave rooms and redact own messages, but not speak.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#account-suspension).
    pub is_suspended: bool,
}
