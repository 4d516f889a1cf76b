//! What a box hands over to become a member, or to renew its certificate.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    BoxKeys, CertificateRequest, Endpoint, Error, Fingerprint, PublicKey, Role, ServerName,
    SigningKeyId, document, members::check_text,
};

const FORMAT: u32 = 1;
const MAX_BYTES: usize = 64 * 1024;
const MAX_ENDPOINTS: usize = 8;
/// Keeps these signatures apart from everything else that the same keys sign.
const CONTEXT: &[u8] = b"luxchat signing request, format 1\0";

/// What a box hands over to become a member: who it says it is and its public keys. Signed by its
/// TLS key and its Matrix signing key, so that no part can be swapped on the way; that the whole
/// was not swapped, people check by comparing [`SigningRequest::fingerprint`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct SigningRequest {
    details: RequestDetails,
    keys: Keys,
    signatures: Signatures,
}

/// Who a box says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestDetails {
    /// The Matrix server name.
    pub server_name: ServerName,
    /// The administration in words.
    pub display_name: String,
    /// What the box is for.
    pub role: Role,
    /// Where it will listen for its peers, best first.
    pub endpoints: Vec<Endpoint>,
    /// When the request was made.
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    certificate_request: CertificateRequest,
    signing_key_id: SigningKeyId,
    signing_key: PublicKey,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signatures {
    tls: String,
    matrix: String,
}

impl SigningRequest {
    /// Makes the request of a box.
    pub fn new(details: RequestDetails, keys: &BoxKeys) -> Result<Self, Error> {
        let public = Keys {
            certificate_request: keys.certificate_request(&details.server_name)?,
            signing_key_id: keys.signing_key_id().clone(),
            signing_key: keys.signing_public_key(),
        };
        let message = message(&details, &public);
        let signatures = Signatures {
            tls: STANDARD_NO_PAD.encode(keys.sign_with_tls_key(&message)?),
            matrix: STANDARD_NO_PAD.encode(keys.sign_with_signing_key(&message)),
        };
        let request = Self {
            details,
            keys: public,
            signatures,
        };
        request.check()?;
        Ok(request)
    }

    /// Reads a request and checks all its signatures.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        document::from_json("signing request", bytes, MAX_BYTES)
    }

    /// The document for the stick.
    pub fn to_json(&self) -> Vec<u8> {
        document::to_json(self)
    }

    /// Who the box says it is.
    pub fn details(&self) -> &RequestDetails {
        &self.details
    }

    /// The request for a certificate.
    pub fn certificate_request(&self) -> &CertificateRequest {
        &self.keys.certificate_request
    }

    /// The Matrix signing keys of the box.
    pub fn signing_keys(&self) -> BTreeMap<SigningKeyId, PublicKey> {
        BTreeMap::from([(self.keys.signing_key_id.clone(), self.keys.signing_key)])
    }

    /// What the technician at the box and the officer at the authority read to each other.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&message(&self.details, &self.keys))
    }

    fn check(&self) -> Result<(), Error> {
        check_text("display name".to_owned(), &self.details.display_name)?;
        if self.details.endpoints.len() > MAX_ENDPOINTS {
            return Err(Error::TooLarge {
                what: "list of endpoints".to_owned(),
                limit: MAX_ENDPOINTS,
            });
        }
        let asked_for = self.keys.certificate_request.server_name();
        if *asked_for != self.details.server_name {
            return Err(Error::OtherServer {
                document: "certificate request",
                found: asked_for.clone(),
                expected: self.details.server_name.clone(),
            });
        }
        let message = message(&self.details, &self.keys);
        let fault = |by: &str| Error::Signature {
            document: "signing request",
            by: by.to_owned(),
        };
        let decode = |text: &str, by| STANDARD_NO_PAD.decode(text).map_err(|_| fault(by));
        let tls = decode(&self.signatures.tls, "the TLS key")?;
        if !self.keys.certificate_request.verifies(&message, &tls) {
            return Err(fault("the TLS key"));
        }
        let matrix = decode(&self.signatures.matrix, "the Matrix signing key")?;
        if !self.keys.signing_key.verifies(&message, &matrix) {
            return Err(fault("the Matrix signing key"));
        }
        Ok(())
    }
}

/// The bytes that are signed. Both parts are written anew from parsed values, so the spelling of
/// the document (order, spaces, escapes) does not matter.
fn message(details: &RequestDetails, keys: &Keys) -> Vec<u8> {
    let mut bytes = CONTEXT.to_vec();
    bytes.extend_from_slice(&document::to_json(&(details, keys)));
    bytes
}

/// The request as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    details: RequestDetails,
    keys: Keys,
    signatures: Signatures,
}

impl TryFrom<Document> for SigningRequest {
    type Error = Error;

    fn try_from(document: Document) -> Result<Self, Error> {
        crate::document::check_format("signing request", document.format, FORMAT)?;
        let request = Self {
            details: document.details,
            keys: document.keys,
            signatures: document.signatures,
        };
        request.check()?;
        Ok(request)
    }
}

impl From<SigningRequest> for Document {
    fn from(request: SigningRequest) -> Self {
        Self {
            format: FORMAT,
            details: request.details,
            keys: request.keys,
            signatures: request.signatures,
        }
    }
}
