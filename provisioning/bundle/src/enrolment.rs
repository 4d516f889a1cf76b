//! What the national authority answers to a signing request.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::{
    AuthorityCertificate, BoxKeys, Endpoint, Error, Fingerprint, LeafCertificate, ServerName,
    document,
};

const FORMAT: u32 = 1;
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// What the national authority answers to a signing request: all that a box needs to be part of
/// the nation. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    format: u32,
    /// Whom it is for.
    pub server_name: ServerName,
    /// When it was written.
    pub issued_at: Timestamp,
    /// The box's certificate.
    pub certificate: LeafCertificate,
    /// The authority that it chains to.
    pub authority: AuthorityCertificate,
    /// The issuing certificate between the two, if it came of a voucher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<AuthorityCertificate>,
    /// The root of trust, a TUF root as JSON text.
    pub trusted_root: String,
    /// Where new repositories are fetched, if there is a directory yet and it is not the box
    /// itself.
    pub directory: Option<DirectoryPointer>,
}

/// Where the national directory is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryPointer {
    /// Its Matrix server name, which its certificate carries.
    pub server_name: ServerName,
    /// Where it listens, best first.
    pub endpoints: Vec<Endpoint>,
}

impl Enrolment {
    /// An answer for the server that `certificate` names.
    pub fn new(
        issued_at: Timestamp,
        certificate: LeafCertificate,
        authority: AuthorityCertificate,
        trusted_root: String,
        directory: Option<DirectoryPointer>,
    ) -> Self {
        Self {
            format: FORMAT,
            server_name: certificate.leaf().server_name.clone(),
            issued_at,
            certificate,
            authority,
            issuer: None,
            trusted_root,
            directory,
        }
    }

    /// With an issuing certificate between the authority and the box's.
    #[must_use]
    pub(crate) fn issued_by(mut self, issuer: AuthorityCertificate) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// The certificates that the box shows: its own, and what leads from it to the authority.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let issuer = self.issuer.iter().map(|it| it.der().clone());
        std::iter::once(self.certificate.der().clone())
            .chain(issuer)
            .collect()
    }

    /// Reads an answer. Whether it is right for a box, [`Enrolment::check`] tells.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let enrolment: Self = document::from_json("enrolment", bytes, MAX_BYTES)?;
        document::check_format("enrolment", enrolment.format, FORMAT)?;
        Ok(enrolment)
    }

    /// The document for the stick.
    pub fn to_json(&self) -> Vec<u8> {
        document::to_json(self)
    }

    /// What the officer at the authority and the technician at the box read to each other: SHA-256
    /// of the root of trust.
    pub fn root_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.trusted_root.as_bytes())
    }

    /// Checks that the answer is for this box and its key, and whole in itself.
    pub fn check(
        &self,
        server_name: &ServerName,
        keys: &BoxKeys,
        now: Timestamp,
    ) -> Result<(), Error> {
        let leaf = self.certificate.leaf();
        for (document, found) in [
            ("enrolment", &self.server_name),
            ("certificate", &leaf.server_name),
        ] {
            if found != server_name {
                return Err(Error::OtherServer {
                    document,
                    found: found.clone(),
                    expected: server_name.clone(),
                });
            }
        }
        if leaf.key_fingerprint != keys.tls_key_fingerprint() {
            return Err(Error::OtherKey);
        }
        let issuer = self.issuer.as_ref().unwrap_or(&self.authority);
        let issuer_is_right = self
            .issuer
            .as_ref()
            .is_none_or(|issuer| issuer.is_signed_by(&self.authority));
        if !issuer_is_right || !self.certificate.is_signed_by(issuer) {
            return Err(Error::Signature {
                document: "certificate",
                by: "the authority".to_owned(),
            });
        }
        if now > leaf.not_after {
            return Err(Error::Certificate {
                what: "certificate",
                why: format!("it expired at {}", leaf.not_after),
            });
        }
        crate::verification::root_version(self.trusted_root.as_bytes()).map(drop)
    }
}
