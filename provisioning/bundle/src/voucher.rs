//! A voucher: the authority's word, given beforehand, that a box may become a member without another visit.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AuthorityCertificate, BoxKeys, CertificateAuthority, CertificateRequest, DirectoryPointer,
    Enrolment, Error, Serial, ServerName, SigningRequest, Validity, document, sealing,
};

/// How many servers one voucher names at most.
pub const MAX_VOUCHER_NAMES: usize = 100;
/// How many certificates come of one voucher at most.
pub const MAX_VOUCHER_USES: u32 = 1000;

const FORMAT: u32 = 1;
const MAX_BYTES: usize = 256 * 1024;
/// Separates these signatures from all others of the key.
const CONTEXT: &[u8] = b"luxchat voucher v1\0";

/// What the authority says in a voucher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoucherDetails {
    /// Which: the serial number of its issuing certificate.
    pub id: Serial,
    /// The servers that may be enrolled by it.
    pub server_names: Vec<ServerName>,
    /// How many certificates come of it.
    pub uses: u32,
    /// How many days each of them is valid.
    pub certificate_days: u32,
    /// When it was written.
    pub issued_at: Timestamp,
    /// The first moment at which it is good no longer.
    pub expires: Timestamp,
    /// The directory that takes it, and no other.
    pub directory: DirectoryPointer,
    /// The authority, as every certificate chains to it.
    pub authority: AuthorityCertificate,
    /// The root of trust, a TUF root as JSON text.
    pub trusted_root: String,
    /// The certificate that signs the servers' own: for the names of this voucher and no others.
    pub issuer: AuthorityCertificate,
}

/// A voucher, signed by the authority. Holds the key of the issuing certificate, which only the directory can open: whoever
/// finds a voucher can have certificates only through the directory, which counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Voucher {
    details: VoucherDetails,
    sealed_key: String,
    signature: String,
}

/// Why a voucher is not good. The text is meant for the technician at the box.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoucherRefusal {
    /// It was not signed by the authority that it names, or changed since.
    #[error("the voucher is forged, or was changed after it was signed")]
    Forged,
    /// Another nation's.
    #[error("the voucher is by another authority than this directory's")]
    OtherAuthority,
    /// Taken to a directory that it is not for.
    #[error("the voucher is for the directory {expected}, and this is {found}")]
    OtherDirectory {
        expected: ServerName,
        found: ServerName,
    },
    /// The directory has another key than when the voucher was made.
    #[error(
        "the directory has another key than when the voucher was made: a new voucher is needed"
    )]
    Unopenable,
    /// Too late.
    #[error("the voucher expired at {0}")]
    Expired(Timestamp),
    /// For others.
    #[error("the voucher is not for {0}")]
    OtherServer(ServerName),
    /// Withdrawn by the authority.
    #[error("the voucher was revoked")]
    Revoked,
    /// As many certificates came of it as were to.
    #[error("the voucher is used up: {0} certificates came of it, and no more may")]
    UsedUp(u32),
    /// Vouchers are for ministries.
    #[error("no directory is enrolled by a voucher")]
    Directory,
}

impl Voucher {
    /// Makes a voucher. `recipient` is a request for a certificate that the directory made once: its key opens the voucher.
    /// Of `details`, `issuer` must be the certificate of `issuer`.
    pub fn new(
        details: VoucherDetails,
        issuer: &CertificateAuthority,
        recipient: &CertificateRequest,
        authority: &CertificateAuthority,
    ) -> Result<Self, Error> {
        let sealed = sealing::seal(
            recipient.public_key(),
            details.id.as_bytes(),
            &issuer.key_pkcs8(),
        )?;
        let sealed_key = STANDARD_NO_PAD.encode(sealed);
        let signature = authority.sign(&message(&details, &sealed_key))?;
        let voucher = Self {
            details,
            sealed_key,
            signature: STANDARD_NO_PAD.encode(signature),
        };
        voucher.check()?;
        Ok(voucher)
    }

    /// Reads a voucher and checks its signature against the authority that it names itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        document::from_json("voucher", bytes, MAX_BYTES)
    }

    /// The document for the stick.
    pub fn to_json(&self) -> Vec<u8> {
        document::to_json(self)
    }

    /// What it says.
    pub fn details(&self) -> &VoucherDetails {
        &self.details
    }

    /// Whether it is good for `server_name` at `now`, as far as it says itself.
    pub fn check_for(
        &self,
        server_name: &ServerName,
        now: Timestamp,
    ) -> Result<(), VoucherRefusal> {
        if now >= self.details.expires {
            return Err(VoucherRefusal::Expired(self.details.expires));
        }
        if !self.details.server_names.contains(server_name) {
            return Err(VoucherRefusal::OtherServer(server_name.clone()));
        }
        Ok(())
    }

    /// Whether `answer` is one to this voucher: from the same authority, with the same root of trust.
    pub fn is_answered_by(&self, answer: &Enrolment) -> bool {
        let details = &self.details;
        answer.authority == details.authority
            && answer.issuer.as_ref() == Some(&details.issuer)
            && answer.trusted_root == details.trusted_root
    }

    /// Answers a request by this voucher, with the directory's keys. That the voucher is from the right authority, good and
    /// not used up is for the caller to check before.
    ///
    /// # Errors
    /// [`VoucherRefusal::Unopenable`] as the inner error, if it was sealed for another key.
    pub fn answer(
        &self,
        request: &SigningRequest,
        keys: &BoxKeys,
        now: Timestamp,
    ) -> Result<Result<Enrolment, VoucherRefusal>, Error> {
        let details = &self.details;
        let sealed = STANDARD_NO_PAD.decode(&self.sealed_key).unwrap_or_default();
        let Some(key) = keys.open_sealed(details.id.as_bytes(), &sealed) else {
            return Ok(Err(VoucherRefusal::Unopenable));
        };
        let issuer = CertificateAuthority::from_parts(details.issuer.clone(), &key)?;
        let validity = Validity::days_from(now, details.certificate_days)?;
        let certificate = issuer.issue(request.certificate_request(), validity)?;
        let answer = Enrolment::new(
            now,
            certificate,
            details.authority.clone(),
            details.trusted_root.clone(),
            Some(details.directory.clone()),
        );
        Ok(Ok(answer.issued_by(details.issuer.clone())))
    }

    fn check(&self) -> Result<(), Error> {
        let details = &self.details;
        let limits = [
            (
                "list of servers",
                details.server_names.len(),
                MAX_VOUCHER_NAMES,
            ),
            (
                "number of uses",
                usize::try_from(details.uses).unwrap_or(usize::MAX),
                MAX_VOUCHER_USES as usize,
            ),
        ];
        for (what, found, limit) in limits {
            if found > limit {
                return Err(Error::TooLarge {
                    what: what.to_owned(),
                    limit,
                });
            }
        }
        let fault = || Error::Signature {
            document: "voucher",
            by: "the authority".to_owned(),
        };
        let signature = STANDARD_NO_PAD
            .decode(&self.signature)
            .map_err(|_| fault())?;
        let message = message(details, &self.sealed_key);
        let signed = details.authority.verifies(&message, &signature)
            && details.issuer.is_signed_by(&details.authority)
            && details.issuer.serial()? == details.id;
        signed.then_some(()).ok_or_else(fault)
    }
}

/// The bytes that are signed, written anew from parsed values.
fn message(details: &VoucherDetails, sealed_key: &str) -> Vec<u8> {
    let mut bytes = CONTEXT.to_vec();
    bytes.extend_from_slice(&document::to_json(&(details, sealed_key)));
    bytes
}

/// The voucher as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    details: VoucherDetails,
    sealed_key: String,
    signature: String,
}

impl TryFrom<Document> for Voucher {
    type Error = Error;

    fn try_from(document: Document) -> Result<Self, Error> {
        document::check_format("voucher", document.format, FORMAT)?;
        let voucher = Self {
            details: document.details,
            sealed_key: document.sealed_key,
            signature: document.signature,
        };
        voucher.check()?;
        Ok(voucher)
    }
}

impl From<Voucher> for Document {
    fn from(voucher: Voucher) -> Self {
        Self {
            format: FORMAT,
            details: voucher.details,
            sealed_key: voucher.sealed_key,
            signature: voucher.signature,
        }
    }
}

/// What a box sends to the directory: the voucher and its own request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoucherRequest {
    /// The voucher.
    pub voucher: Voucher,
    /// The request, by the box's own keys.
    pub request: SigningRequest,
}

impl VoucherRequest {
    /// The largest such document, in bytes.
    pub const MAX_BYTES: usize = MAX_BYTES + 64 * 1024;

    /// Reads a request with its voucher, and checks the signatures of both.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        document::from_json("voucher with its request", bytes, Self::MAX_BYTES)
    }

    /// The document for the directory.
    pub fn to_json(&self) -> Vec<u8> {
        document::to_json(self)
    }
}
