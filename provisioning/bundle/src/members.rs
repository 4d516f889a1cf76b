//! `members.json`: who may federate.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AuthorityCertificate, Endpoint, Error, Fingerprint, PublicKey, Serial, ServerName, SigningKeyId,
};

/// The largest `members.json` that is read, in bytes.
pub const MAX_MEMBERS_BYTES: usize = 8 * 1024 * 1024;
/// The name of the document among the targets of the repository.
pub const MEMBERS_FILE: &str = "members.json";

const FORMAT: u32 = 1;
const MAX_MEMBERS: usize = 10_000;
const MAX_AUTHORITIES: usize = 8;
const MAX_ENDPOINTS: usize = 8;
const MAX_SIGNING_KEYS: usize = 8;
const MAX_OLD_SIGNING_KEYS: usize = 64;
const MAX_PINS: usize = 8;
const MAX_REVOKED_SERIALS: usize = 1000;
const MAX_TEXT: usize = 300;

/// The list of those who may federate, as the national authority signed it. Names are unique and
/// every part is checked when a list is made, so that a list at hand is a good one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Members {
    issued_at: Timestamp,
    authorities: Vec<AuthorityCertificate>,
    /// Sorted by server name.
    list: Vec<Member>,
    revoked_vouchers: Vec<Serial>,
}

/// One server of the nation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The Matrix server name; the certificate carries the same.
    pub server_name: ServerName,
    /// The administration in words, for people.
    pub display_name: String,
    /// What the server is for.
    pub role: Role,
    /// Where it listens for its peers, best first.
    pub endpoints: Vec<Endpoint>,
    /// What its certificate must satisfy beyond the chain to an authority.
    #[serde(default)]
    pub tls: TlsIdentity,
    /// The Matrix keys that it signs events and requests with today.
    pub signing_keys: BTreeMap<SigningKeyId, PublicKey>,
    /// Keys that it once signed with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub old_signing_keys: BTreeMap<SigningKeyId, OldSigningKey>,
    /// Whether it may federate.
    pub status: Status,
}

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A server with users.
    Ministry,
    /// The national directory: serves the signed repository and acts as key notary.
    Directory,
}

/// What a member's certificate must satisfy beyond the chain to an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentity {
    /// If not empty, the certificate's public key must have one of these fingerprints (SHA-256 of
    /// the SubjectPublicKeyInfo).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned_keys: Vec<Fingerprint>,
    /// Certificates that must not be accepted any more though they have not expired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_serials: Vec<Serial>,
}

/// A signing key out of use: <https://spec.matrix.org/v1.19/server-server-api/#publishing-keys>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldSigningKey {
    /// The key.
    pub key: PublicKey,
    /// When it went out of use. What it signed later is not valid.
    pub expired_at: Timestamp,
}

/// Whether a member may federate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Status {
    /// It may.
    Active {},
    /// It may not for now.
    Suspended { reason: String, since: Timestamp },
    /// It may not, for good.
    Revoked { reason: String, since: Timestamp },
}

impl Status {
    /// Whether the member may federate.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active {})
    }
}

impl Members {
    /// A list as of `issued_at`.
    ///
    /// # Errors
    /// Two members with one name, or more of something than [`Members`] may hold.
    pub fn new(
        issued_at: Timestamp,
        authorities: Vec<AuthorityCertificate>,
        mut members: Vec<Member>,
    ) -> Result<Self, Error> {
        check_count("list of authorities", authorities.len(), MAX_AUTHORITIES)?;
        check_count("list of members", members.len(), MAX_MEMBERS)?;
        members.iter().try_for_each(Member::check)?;
        members.sort_by(|a, b| a.server_name.cmp(&b.server_name));
        if let Some(pair) = members
            .windows(2)
            .find(|pair| pair[0].server_name == pair[1].server_name)
        {
            return Err(Error::Duplicate(pair[0].server_name.clone()));
        }
        Ok(Self {
            issued_at,
            authorities,
            list: members,
            revoked_vouchers: Vec::new(),
        })
    }

    /// The list with these vouchers withdrawn, and every certificate that came of them.
    pub fn with_revoked_vouchers(mut self, vouchers: Vec<Serial>) -> Result<Self, Error> {
        check_count(
            "list of revoked vouchers",
            vouchers.len(),
            MAX_REVOKED_SERIALS,
        )?;
        self.revoked_vouchers = vouchers;
        Ok(self)
    }

    /// The list as of `issued_at` with `member` on it, in place of one with the same name.
    pub fn with(&self, issued_at: Timestamp, member: Member) -> Result<Self, Error> {
        let mut list = self.list.clone();
        list.retain(|it| it.server_name != member.server_name);
        list.push(member);
        Self::new(issued_at, self.authorities.clone(), list)?
            .with_revoked_vouchers(self.revoked_vouchers.clone())
    }

    /// Reads a document of at most [`MAX_MEMBERS_BYTES`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        crate::document::from_json("member list", bytes, MAX_MEMBERS_BYTES)
    }

    /// The document, for people to read as well.
    pub fn to_json(&self) -> Vec<u8> {
        crate::document::to_json(self)
    }

    /// When the authority wrote this list.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The certificate authorities that members' certificates must chain to.
    pub fn authorities(&self) -> &[AuthorityCertificate] {
        &self.authorities
    }

    /// The vouchers that the authority has withdrawn.
    pub fn revoked_vouchers(&self) -> &[Serial] {
        &self.revoked_vouchers
    }

    /// Everybody on the list, sorted by server name, whatever their status.
    pub fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.list.iter()
    }

    /// The member of that name, whatever its status.
    pub fn get(&self, server_name: &str) -> Option<&Member> {
        self.list
            .binary_search_by(|member| member.server_name.as_str().cmp(server_name))
            .ok()
            .map(|at| &self.list[at])
    }

    /// How many members are listed, whatever their status.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nobody is listed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The active national directories.
    pub fn directories(&self) -> impl Iterator<Item = &Member> {
        self.list
            .iter()
            .filter(|member| member.role == Role::Directory && member.status.is_active())
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = &'a Member;
    type IntoIter = std::slice::Iter<'a, Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Member {
    fn check(&self) -> Result<(), Error> {
        let of = |what| format!("{what} of {}", self.server_name);
        check_text(of("display name"), &self.display_name)?;
        check_count(of("list of endpoints"), self.endpoints.len(), MAX_ENDPOINTS)?;
        check_count(
            of("list of signing keys"),
            self.signing_keys.len(),
            MAX_SIGNING_KEYS,
        )?;
        check_count(
            of("list of old signing keys"),
            self.old_signing_keys.len(),
            MAX_OLD_SIGNING_KEYS,
        )?;
        check_count(
            of("list of pinned keys"),
            self.tls.pinned_keys.len(),
            MAX_PINS,
        )?;
        check_count(
            of("list of revoked certificates"),
            self.tls.revoked_serials.len(),
            MAX_REVOKED_SERIALS,
        )?;
        match &self.status {
            Status::Active {} => Ok(()),
            Status::Suspended { reason, .. } | Status::Revoked { reason, .. } => {
                check_text(of("reason"), reason)
            }
        }
    }
}

/// The list as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    issued_at: Timestamp,
    authorities: Vec<AuthorityCertificate>,
    members: Vec<Member>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked_vouchers: Vec<Serial>,
}

impl TryFrom<Document> for Members {
    type Error = Error;

    fn try_from(document: Document) -> Result<Self, Error> {
        crate::document::check_format("member list", document.format, FORMAT)?;
        Self::new(document.issued_at, document.authorities, document.members)?
            .with_revoked_vouchers(document.revoked_vouchers)
    }
}

impl From<Members> for Document {
    fn from(members: Members) -> Self {
        Self {
            format: FORMAT,
            issued_at: members.issued_at,
            authorities: members.authorities,
            members: members.list,
            revoked_vouchers: members.revoked_vouchers,
        }
    }
}

fn check_count(what: impl Into<String>, count: usize, limit: usize) -> Result<(), Error> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: what.into(),
        limit,
    })
}

/// Text for people: short, one line, nothing that could trick a terminal.
pub(crate) fn check_text(what: String, text: &str) -> Result<(), Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::TooLarge {
            what,
            limit: MAX_TEXT,
        });
    }
    if text.chars().any(misleads) {
        return Err(Error::Text(what));
    }
    Ok(())
}

/// Control characters, and those that are invisible or turn the direction of writing.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        let key = PublicKey::from_bytes([7; 32]).to_string();
        let member = |name: &str| {
            json!({
                "server_name": name,
                "display_name": "Ministère de l’Intérieur",
                "role": "ministry",
                "endpoints": ["interior.lu:8448", "[2001:db8::1]:8448"],
                "tls": {"pinned_keys": ["ab".repeat(32)], "revoked_serials": ["01ff"]},
                "signing_keys": {"ed25519:a": key},
                "status": {"state": "active"},
            })
        };
        json!({
            "format": 1,
            "issued_at": "2026-03-01T12:00:00Z",
            "authorities": [],
            "members": [member("b.lu"), member("a.lu")],
        })
    }

    fn parse(document: &Value) -> Result<Members, Error> {
        Members::from_json(&serde_json::to_vec(document).unwrap())
    }

    fn refusal(path: &str, value: Value) -> String {
        let mut document = document();
        let (parent, field) = path.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap();
        match field.parse::<usize>() {
            Ok(at) => parent[at] = value,
            Err(_) => parent[field] = value,
        }
        parse(&document).unwrap_err().to_string()
    }

    #[test]
    fn members_are_found_by_name_and_survive_writing() {
        let members = parse(&document()).unwrap();
        let names: Vec<_> = members.iter().map(|it| it.server_name.as_str()).collect();
        assert_eq!(names, ["a.lu", "b.lu"]);
        assert_eq!(members.get("b.lu").unwrap().endpoints.len(), 2);
        assert!(members.get("c.lu").is_none());
        assert_eq!(Members::from_json(&members.to_json()).unwrap(), members);
    }

    #[test]
    fn a_status_has_its_reason() {
        let mut document = document();
        document["members"][0]["status"] =
            json!({"state": "revoked", "reason": "stolen", "since": "2026-03-01T12:00:00Z"});
        let members = parse(&document).unwrap();
        let status = &members.get("b.lu").unwrap().status;
        assert!(matches!(status, Status::Revoked { reason, .. } if reason == "stolen"));
        let of = "/members/0/status";
        assert!(refusal(of, json!({"state": "revoked"})).contains("missing field `reason`"));
        assert!(refusal(of, json!({"state": "asleep"})).contains("unknown variant"));
        let extra = json!({"state": "active", "reason": "none"});
        assert!(refusal(of, extra).contains("unknown field `reason`"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            refusal("/format", json!(2)),
            "the member list cannot be read: the member list has format 2, \
             this program reads format 1"
        );
        for (path, value, why) in [
            ("/comment", json!("hello"), "unknown field `comment`"),
            (
                "/members/0/comment",
                json!("hello"),
                "unknown field `comment`",
            ),
            (
                "/members/0/tls/comment",
                json!(1),
                "unknown field `comment`",
            ),
            (
                "/members/0/server_name",
                json!("a.lu"),
                "a.lu is listed twice",
            ),
            ("/members/0/server_name", json!("A.lu"), "lower case"),
            ("/members/0/role", json!("spy"), "unknown variant `spy`"),
            (
                "/members/0/endpoints/0",
                json!("interior.lu"),
                "write host:port",
            ),
            (
                "/members/0/endpoints",
                json!("interior.lu:1"),
                "expected a sequence",
            ),
            (
                "/members/0/signing_keys/ed25519:a",
                json!("AAAA"),
                "not an Ed25519 public key",
            ),
            (
                "/members/0/signing_keys",
                json!({"rsa:a": "A"}),
                "not a Matrix signing key id",
            ),
            (
                "/members/0/tls/pinned_keys/0",
                json!("ab"),
                "not a SHA-256 fingerprint",
            ),
            (
                "/members/0/tls/revoked_serials/0",
                json!("xy"),
                "not a certificate serial",
            ),
            (
                "/members/0/display_name",
                json!("a\u{202e}b"),
                "must be one line",
            ),
            ("/issued_at", json!("yesterday"), "cannot be read"),
            ("/authorities", json!(["no certificate"]), "it is not PEM"),
        ] {
            let error = refusal(path, value);
            assert!(error.contains(why), "{path}: {error}");
        }
    }

    #[test]
    fn everything_has_a_limit() {
        let endpoints = vec!["interior.lu:8448"; MAX_ENDPOINTS + 1];
        let error = refusal("/members/0/endpoints", json!(endpoints));
        assert!(
            error.contains("list of endpoints of b.lu is too large"),
            "{error}"
        );
        let error = refusal("/members/0/display_name", json!("a".repeat(MAX_TEXT + 1)));
        assert!(
            error.contains("display name of b.lu is too large"),
            "{error}"
        );
        let error = Members::from_json(&vec![b' '; MAX_MEMBERS_BYTES + 1]);
        assert!(matches!(error, Err(Error::TooLarge { .. })));
        let deep = "[".repeat(100_000);
        assert!(Members::from_json(deep.as_bytes()).is_err());
    }
}
