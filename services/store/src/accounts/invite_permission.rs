//! Whose invites a user wants.

use ruma::UserId;
use serde::Deserialize;

use crate::{ReadTx, Result, UserNid};

/// Patterns of one list that count.
const PATTERNS: usize = 1_000;

/// What is to become of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitePermission {
    /// The user sees it.
    Allowed,
    /// The user does not see it, and whoever invites is not told.
    Ignored,
    /// Whoever invites is told that the user wants no invites.
    Blocked,
}

impl ReadTx<'_> {
    /// Whether a local user wants to be invited by somebody, as their account data says.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#invite-permission), with the lists of
    /// [MSC4155](https://github.com/matrix-org/matrix-spec-proposals/pull/4155).
    pub fn invite_permission(&self, user: UserNid, inviter: &UserId) -> Result<InvitePermission> {
        for event_type in [
            "m.invite_permission_config",
            "org.matrix.msc4155.invite_permission_config",
        ] {
            let Some(content) = self.account_data(user, event_type)? else {
                continue;
            };
            // What makes no sense forbids nothing.
            let config: Config = serde_json::from_str(content.get()).unwrap_or_default();
            let permission = config.permission(inviter);
            if permission != InvitePermission::Allowed {
                return Ok(permission);
            }
        }
        Ok(InvitePermission::Allowed)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    default_action: Option<String>,
    allowed_users: Option<Vec<String>>,
    ignored_users: Option<Vec<String>>,
    blocked_users: Option<Vec<String>>,
    allowed_servers: Option<Vec<String>>,
    ignored_servers: Option<Vec<String>>,
    blocked_servers: Option<Vec<String>>,
}

impl Config {
    /// The first list that has the user decides, then the first one that has their server.
    fn permission(&self, inviter: &UserId) -> InvitePermission {
        use InvitePermission::{Allowed, Blocked, Ignored};
        let user = inviter.as_str();
        let server = inviter.server_name().host();
        for (list, name, permission) in [
            (&self.allowed_users, user, Allowed),
            (&self.ignored_users, user, Ignored),
            (&self.blocked_users, user, Blocked),
            (&self.allowed_servers, server, Allowed),
            (&self.ignored_servers, server, Ignored),
            (&self.blocked_servers, server, Blocked),
        ] {
            let mut patterns = list.iter().flatten().take(PATTERNS);
            if patterns.any(|pattern| matches(pattern, name)) {
                return permission;
            }
        }
        match self.default_action.as_deref() {
            Some("block") => Blocked,
            _ => Allowed,
        }
    }
}

/// Whether a name has the form of a pattern, in which `*` stands for anything and `?` for one character.
/// [Spec](https://spec.matrix.org/v1.19/appendices/#glob-style-matching).
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0, 0);
    // Behind the last star: where to go on in the pattern, and what the star stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, in_name));
            }
            Some(byte) if *byte == b'?' || *byte == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((behind, until)) = star else {
                    return false;
                };
                at = behind;
                in_name = until + 1;
                star = Some((behind, until + 1));
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::{Value, json};

    use super::*;

    fn permission(config: Value) -> InvitePermission {
        let config: Config = serde_json::from_value(config).unwrap();
        config.permission(user_id!("@bob:two.example"))
    }

    #[test]
    fn users_come_before_servers_and_allowing_before_blocking() {
        use InvitePermission::{Allowed, Blocked, Ignored};
        let bob = json!(["@bob:two.example"]);
        for (config, expected) in [
            (json!({}), Allowed),
            (json!({ "default_action": "block" }), Blocked),
            (
                json!({ "default_action": "allow", "blocked_users": null }),
                Allowed,
            ),
            (
                json!({ "ignored_users": bob, "blocked_users": bob }),
                Ignored,
            ),
            (
                json!({ "allowed_users": bob, "blocked_users": bob }),
                Allowed,
            ),
            (
                json!({ "allowed_users": bob, "blocked_servers": ["*"] }),
                Allowed,
            ),
            (
                json!({ "blocked_users": bob, "allowed_servers": ["*"] }),
                Blocked,
            ),
            (json!({ "ignored_servers": ["*.example"] }), Ignored),
            (json!({ "blocked_servers": ["two"] }), Allowed),
            (
                json!({ "allowed_servers": ["two.*"], "default_action": "block" }),
                Allowed,
            ),
        ] {
            assert_eq!(permission(config.clone()), expected, "{config}");
        }
    }

    #[test]
    fn stars_and_question_marks_stand_for_others() {
        for (pattern, name, expected) in [
            ("@user-?*", "@user-1:hs", true),
            ("@user-?*", "@user-", false),
            ("*:hs", "@a:hs", true),
            ("*:hs", "@a:hs:hs2", false),
            ("*a*b", "xaabxb", true),
            ("", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
