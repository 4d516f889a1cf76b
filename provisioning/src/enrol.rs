//! A box becomes a member, or gets a new certificate.

use std::collections::BTreeMap;

use jiff::Timestamp;
use luxchat_bundle::{
    DirectoryPointer, Enrolment, LeafCertificate, Member, OldSigningKey, PublicKey, Role,
    ServerName, SigningKeyId, SigningRequest, Status, TlsIdentity, Validity,
    files::{self, Access},
};

use crate::{Authority, Error, Passphrases};

/// What the officer decides beyond what the request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnrolOptions {
    /// Whether only certificates for the key in the request shall be accepted, so that even a
    /// thief of the certificate authority's key could not stand in for the box.
    pub pin_key: bool,
}

impl Authority {
    /// Makes the box that wrote `request` a member, and answers it. Others learn of it with the
    /// next publication.
    pub fn enrol(
        &mut self,
        request: &SigningRequest,
        options: EnrolOptions,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<Enrolment, Error> {
        let details = request.details();
        let name = &details.server_name;
        if self.members().get(name).is_some() {
            return Err(Error::AlreadyMember(name.clone()));
        }
        let member = Member {
            server_name: name.clone(),
            display_name: details.display_name.clone(),
            role: details.role,
            endpoints: details.endpoints.clone(),
            tls: TlsIdentity::default(),
            signing_keys: request.signing_keys(),
            old_signing_keys: BTreeMap::new(),
            status: Status::Active {},
        };
        self.answer("enrol", request, member, options, passphrases, now)
    }

    /// Gives a member a new certificate, and takes over what else is new in its request: keys,
    /// endpoints, display name. Matrix signing keys that are no longer in the request count as old
    /// from now on.
    pub fn renew(
        &mut self,
        request: &SigningRequest,
        options: EnrolOptions,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<Enrolment, Error> {
        let details = request.details();
        let mut member = self.member(&details.server_name)?.clone();
        if let Status::Revoked { .. } = member.status {
            return Err(Error::Revoked(member.server_name));
        }
        if member.role != details.role {
            return Err(Error::OtherRole(member.server_name));
        }
        member.display_name.clone_from(&details.display_name);
        member.endpoints.clone_from(&details.endpoints);
        retire_keys(&mut member, &request.signing_keys(), now);
        self.answer("renew", request, member, options, passphrases, now)
    }

    /// The member of that name, whatever its status.
    pub fn member(&self, server_name: &str) -> Result<&Member, Error> {
        self.members()
            .get(server_name)
            .ok_or_else(|| Error::NotMember(server_name.chars().take(255).collect()))
    }

    fn answer(
        &mut self,
        action: &str,
        request: &SigningRequest,
        mut member: Member,
        options: EnrolOptions,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<Enrolment, Error> {
        self.check(request)?;
        pin_key(&mut member, request, options);
        let authority = self.certificate_authority(passphrases)?;
        let validity = Validity::days_from(now, self.settings().certificate_days)?;
        let certificate = authority.issue(request.certificate_request(), validity)?;
        let enrolment = Enrolment::new(
            now,
            certificate.clone(),
            self.certificate().clone(),
            self.root_text()?,
            self.directory_for(&member.server_name),
        );
        let leaf = certificate.leaf();
        let entry = format!("{action} {} certificate {}", leaf.server_name, leaf.serial);
        self.keep(request, &certificate)?;
        self.change_member(&entry, member, now)?;
        Ok(enrolment)
    }

    fn check(&self, request: &SigningRequest) -> Result<(), Error> {
        let details = request.details();
        if details.endpoints.is_empty() {
            return Err(Error::NoEndpoint(details.server_name.clone()));
        }
        let keys = request.signing_keys();
        let shares_key = |other: &&Member| {
            other.server_name != details.server_name
                && other
                    .signing_keys
                    .values()
                    .any(|theirs| keys.values().any(|ours| ours == theirs))
        };
        match self.members().iter().find(shares_key) {
            Some(other) => Err(Error::KeyInUse(other.server_name.clone())),
            None => Ok(()),
        }
    }

    fn root_text(&self) -> Result<String, Error> {
        String::from_utf8(self.trusted_root()?).map_err(crate::metadata::fault)
    }

    fn directory_for(&self, server_name: &ServerName) -> Option<DirectoryPointer> {
        self.members()
            .directories()
            .find(|directory| directory.server_name != *server_name)
            .map(|directory| DirectoryPointer {
                server_name: directory.server_name.clone(),
                endpoints: directory.endpoints.clone(),
            })
    }

    /// Keeps what was asked and what was issued.
    fn keep(&self, request: &SigningRequest, certificate: &LeafCertificate) -> Result<(), Error> {
        let leaf = certificate.leaf();
        let folder = self
            .folder
            .join("certificates")
            .join(leaf.server_name.as_str());
        files::create_folder(&folder)?;
        let put = |suffix: &str, bytes: &[u8]| {
            let path = folder.join(format!("{}.{suffix}", leaf.serial));
            files::create(&path, bytes, Access::Public)
        };
        put("request.json", &request.to_json())?;
        put("pem", certificate.to_string().as_bytes())?;
        Ok(())
    }
}

/// What the officer looks at before signing.
pub fn describe(request: &SigningRequest) -> String {
    let details = request.details();
    let role = match details.role {
        Role::Ministry => "a ministry",
        Role::Directory => "THE NATIONAL DIRECTORY",
    };
    let mut lines = vec![
        format!("server name   {}", details.server_name),
        format!("display name  {}", details.display_name),
        format!("role          {role}"),
    ];
    for endpoint in &details.endpoints {
        lines.push(format!("endpoint      {endpoint}"));
    }
    for (id, key) in request.signing_keys() {
        lines.push(format!("signing key   {id} {key}"));
    }
    lines.push(format!("made at       {:.0}", details.created_at));
    lines.push("fingerprint, to be compared with the one that the box shows:".to_owned());
    lines.push(format!("    {}", request.fingerprint().read_aloud()));
    lines.join("\n")
}

/// Once pinned, a member stays so. The key before the last one counts too, until the box has its
/// new certificate.
fn pin_key(member: &mut Member, request: &SigningRequest, options: EnrolOptions) {
    let pins = &mut member.tls.pinned_keys;
    if pins.is_empty() && !options.pin_key {
        return;
    }
    let key = request.certificate_request().key_fingerprint();
    pins.retain(|pin| *pin != key);
    pins.insert(0, key);
    pins.truncate(2);
}

fn retire_keys(member: &mut Member, keys: &BTreeMap<SigningKeyId, PublicKey>, now: Timestamp) {
    for (id, key) in std::mem::take(&mut member.signing_keys) {
        if keys.get(&id) != Some(&key) {
            let old = OldSigningKey {
                key,
                expired_at: now,
            };
            member.old_signing_keys.insert(id, old);
        }
    }
    member.signing_keys.clone_from(keys);
}
