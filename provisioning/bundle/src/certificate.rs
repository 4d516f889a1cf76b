//! Certificates and requests as they are read, whoever made them.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{
    FromDer, GeneralName, X509Certificate, X509CertificationRequest, X509Name,
};

use crate::{Error, Fingerprint, Serial, ServerName, text_form::text_form};

/// The largest PEM text of one certificate or request, in bytes.
const MAX_PEM: usize = 16 * 1024;
const VOUCHER: &str = "voucher ";

/// What a member's certificate says. It names one Matrix server and serves both ends of a
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The one DNS name in the certificate.
    pub server_name: ServerName,
    /// The serial number.
    pub serial: Serial,
    /// Valid from, inclusive.
    pub not_before: Timestamp,
    /// Valid until, inclusive.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// SHA-256 of the SubjectPublicKeyInfo: stays the same when a certificate is renewed for the
    /// same key.
    pub key_fingerprint: Fingerprint,
    /// The voucher that it came of, if it did.
    pub voucher: Option<Serial>,
}

impl Leaf {
    /// Reads a DER certificate. Neither its signature nor its validity is checked here.
    ///
    /// # Errors
    /// Not a certificate, an authority's, one without exactly one DNS name, or one that does not
    /// serve for both client and server.
    pub fn parse(der: &[u8]) -> Result<Self, Error> {
        let fault = |why: &str| certificate_fault("certificate", why);
        let certificate = parse_certificate(der)?;
        if certificate.is_ca() {
            return Err(fault("it is an authority's, not a server's"));
        }
        let usage = certificate.extended_key_usage().ok().flatten();
        if !usage.is_some_and(|usage| usage.value.client_auth && usage.value.server_auth) {
            return Err(fault("it is not for both client and server authentication"));
        }
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .ok_or_else(|| fault("it names no server"))?;
        let validity = certificate.validity();
        Ok(Self {
            server_name: single_dns_name("certificate", &names.value.general_names)?,
            serial: Serial::from_bytes(certificate.raw_serial())
                .ok_or_else(|| fault("its serial number is out of range"))?,
            not_before: timestamp(validity.not_before.timestamp())?,
            not_after: timestamp(validity.not_after.timestamp())?,
            fingerprint: Fingerprint::of(der),
            key_fingerprint: Fingerprint::of(certificate.public_key().raw),
            voucher: voucher_of(certificate.issuer()),
        })
    }
}

/// How the issuing certificate of a voucher is called. That the name is right follows from the chain: the authority gives no
/// other certificate such a name.
pub(crate) fn voucher_name(id: &Serial) -> String {
    format!("{VOUCHER}{id}")
}

fn voucher_of(issuer: &X509Name<'_>) -> Option<Serial> {
    let mut names = issuer.iter_common_name();
    names
        .next()?
        .as_str()
        .ok()?
        .strip_prefix(VOUCHER)?
        .parse()
        .ok()
}

/// A member's certificate and what it says. Its text form is PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeafCertificate {
    der: CertificateDer<'static>,
    leaf: Leaf,
}

impl LeafCertificate {
    /// Reads a DER certificate, see [`Leaf::parse`].
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, Error> {
        let leaf = Leaf::parse(&der)?;
        Ok(Self { der, leaf })
    }

    /// The certificate as a TLS stack takes it.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// What it says.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Whether `authority` signed this certificate.
    pub fn is_signed_by(&self, authority: &AuthorityCertificate) -> bool {
        is_signed_by(&self.der, authority)
    }
}

fn is_signed_by(der: &[u8], authority: &AuthorityCertificate) -> bool {
    let (Ok(certificate), Ok(issuer)) = (parse_certificate(der), parse_certificate(&authority.0))
    else {
        return false;
    };
    certificate.issuer() == issuer.subject()
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

impl FromStr for LeafCertificate {
    type Err = Error;

    fn from_str(pem: &str) -> Result<Self, Error> {
        Self::from_der(certificate_from_pem(pem)?)
    }
}

impl fmt::Display for LeafCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pem(f, "CERTIFICATE", &self.der)
    }
}

text_form!(LeafCertificate);

/// The certificate of a certificate authority. Its text form is PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthorityCertificate(CertificateDer<'static>);

impl AuthorityCertificate {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// Not a certificate, or not an authority's.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, Error> {
        if !parse_certificate(&der)?.is_ca() {
            return Err(certificate_fault(
                "authority certificate",
                "it is not an authority's",
            ));
        }
        Ok(Self(der))
    }

    /// The certificate as a TLS stack takes it.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// Whether the certificate is for that public key, given as the bits of the key alone.
    pub(crate) fn is_for_key(&self, public_key: &[u8]) -> bool {
        parse_certificate(&self.0)
            .is_ok_and(|it| *it.public_key().subject_public_key.data == *public_key)
    }

    /// Whether `authority` signed this certificate.
    pub fn is_signed_by(&self, authority: &Self) -> bool {
        is_signed_by(&self.0, authority)
    }

    /// Whether `signature` (ECDSA, P-384, SHA-384) was made over `message` with its key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = &ring::signature::ECDSA_P384_SHA384_ASN1;
        parse_certificate(&self.0).is_ok_and(|certificate| {
            let key = &certificate.public_key().subject_public_key.data;
            ring::signature::UnparsedPublicKey::new(algorithm, key)
                .verify(message, signature)
                .is_ok()
        })
    }

    /// Its serial number.
    pub(crate) fn serial(&self) -> Result<Serial, Error> {
        Serial::from_bytes(parse_certificate(&self.0)?.raw_serial()).ok_or_else(|| {
            certificate_fault("authority certificate", "its serial number is out of range")
        })
    }

    /// Until when it may sign and is accepted.
    pub fn not_after(&self) -> Result<Timestamp, Error> {
        timestamp(parse_certificate(&self.0)?.validity().not_after.timestamp())
    }
}

impl FromStr for AuthorityCertificate {
    type Err = Error;

    fn from_str(pem: &str) -> Result<Self, Error> {
        Self::from_der(certificate_from_pem(pem)?)
    }
}

impl fmt::Display for AuthorityCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pem(f, "CERTIFICATE", &self.0)
    }
}

text_form!(AuthorityCertificate);

/// A certificate signing request (PKCS #10) whose own signature is right, for a P-256 key and one
/// server name. Its text form is PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateRequest {
    der: Vec<u8>,
    server_name: ServerName,
    /// The uncompressed point.
    public_key: Vec<u8>,
    key_fingerprint: Fingerprint,
}

impl CertificateRequest {
    /// Reads a DER request.
    ///
    /// # Errors
    /// Not a request, a signature that does not match, another kind of key, or not exactly one DNS
    /// name.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let fault = |why: &str| certificate_fault("certificate request", why);
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|_| fault("it is not a PKCS #10 request"))?;
        if !rest.is_empty() {
            return Err(fault("something follows it"));
        }
        let info = &request.certification_request_info;
        let p256 = info.subject_pki.parsed().is_ok_and(|key| {
            matches!(key, x509_parser::public_key::PublicKey::EC(point) if point.data().len() == 65)
        });
        if !p256 {
            return Err(fault("its key is not a P-256 key"));
        }
        request.verify_signature().map_err(|_| Error::Signature {
            document: "certificate request",
            by: "its own key".to_owned(),
        })?;
        let names = request
            .requested_extensions()
            .into_iter()
            .flatten()
            .find_map(|extension| match extension {
                x509_parser::prelude::ParsedExtension::SubjectAlternativeName(names) => Some(names),
                _ => None,
            })
            .ok_or_else(|| fault("it names no server"))?;
        Ok(Self {
            der: der.to_vec(),
            server_name: single_dns_name("certificate request", &names.general_names)?,
            public_key: info.subject_pki.subject_public_key.data.to_vec(),
            key_fingerprint: Fingerprint::of(info.subject_pki.raw),
        })
    }

    /// The DER encoding.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The server that asks.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn key_fingerprint(&self) -> Fingerprint {
        self.key_fingerprint
    }

    /// The public key, an uncompressed point.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Whether `signature` was made over `message` with the key in this request.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1;
        ring::signature::UnparsedPublicKey::new(algorithm, &self.public_key)
            .verify(message, signature)
            .is_ok()
    }
}

impl FromStr for CertificateRequest {
    type Err = Error;

    fn from_str(pem: &str) -> Result<Self, Error> {
        check_pem_size(pem)?;
        let der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| certificate_fault("certificate request", "it is not PEM"))?;
        Self::from_der(&der)
    }
}

impl fmt::Display for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pem(f, "CERTIFICATE REQUEST", &self.der)
    }
}

text_form!(CertificateRequest);

pub(crate) fn certificate_fault(what: &'static str, why: impl fmt::Display) -> Error {
    Error::Certificate {
        what,
        why: why.to_string(),
    }
}

/// Writes the PEM text of `der`.
pub(crate) fn write_pem(out: &mut impl fmt::Write, label: &str, der: &[u8]) -> fmt::Result {
    writeln!(out, "-----BEGIN {label}-----")?;
    let text = STANDARD.encode(der);
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII, so every cut is at a character.
        writeln!(out, "{}", String::from_utf8_lossy(line))?;
    }
    writeln!(out, "-----END {label}-----")
}

fn certificate_from_pem(pem: &str) -> Result<CertificateDer<'static>, Error> {
    check_pem_size(pem)?;
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    match (found.next(), found.next()) {
        (Some(Ok(der)), None) => Ok(der),
        (Some(Ok(_)), Some(_)) => Err(certificate_fault("certificate", "there is more than one")),
        _ => Err(certificate_fault("certificate", "it is not PEM")),
    }
}

fn check_pem_size(pem: &str) -> Result<(), Error> {
    if pem.len() <= MAX_PEM {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "certificate in bytes".to_owned(),
        limit: MAX_PEM,
    })
}

fn parse_certificate(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(certificate_fault("certificate", "something follows it")),
        Err(_) => Err(certificate_fault("certificate", "it is not X.509")),
    }
}

fn single_dns_name(what: &'static str, names: &[GeneralName<'_>]) -> Result<ServerName, Error> {
    match names {
        [GeneralName::DNSName(name)] => name.parse(),
        [_] => Err(certificate_fault(what, "the name in it is not a DNS name")),
        _ => Err(certificate_fault(
            what,
            format!("it must name one server, and names {}", names.len()),
        )),
    }
}

fn timestamp(seconds: i64) -> Result<Timestamp, Error> {
    Timestamp::from_second(seconds)
        .map_err(|_| certificate_fault("certificate", "its validity is out of range"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};

    use super::*;

    fn params(names: Vec<SanType>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn refusal(params: &CertificateParams) -> String {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Leaf::parse(&der).unwrap_err().to_string()
    }

    #[test]
    fn a_leaf_names_one_server() {
        let key = KeyPair::generate().unwrap();
        let good = params(vec![dns("interior.lu")]).self_signed(&key).unwrap();
        assert_eq!(
            &*Leaf::parse(good.der()).unwrap().server_name,
            "interior.lu"
        );

        assert!(refusal(&params(Vec::new())).contains("names no server"));
        let two = params(vec![dns("a.lu"), dns("b.lu")]);
        assert!(refusal(&two).contains("must name one server, and names 2"));
        let address = params(vec![SanType::IpAddress([10, 0, 0, 1].into())]);
        assert!(refusal(&address).contains("not a DNS name"));
        for odd in ["*.lu", "Interior.lu", "interior.lu:8448"] {
            let error = refusal(&params(vec![dns(odd)]));
            assert!(error.contains("not a usable Matrix server name"), "{error}");
        }
    }

    #[test]
    fn a_leaf_serves_both_ends() {
        let mut one_end = params(vec![dns("interior.lu")]);
        one_end.extended_key_usages.pop();
        assert!(refusal(&one_end).contains("both client and server"));
        one_end.extended_key_usages.clear();
        assert!(refusal(&one_end).contains("both client and server"));
    }

    #[test]
    fn a_request_signs_itself() {
        let key = KeyPair::generate().unwrap();
        let request = |params: CertificateParams, key: &KeyPair| {
            let request = params.serialize_request(key).unwrap();
            CertificateRequest::from_der(request.der())
        };
        let good = request(params(vec![dns("interior.lu")]), &key).unwrap();
        assert_eq!(
            good.to_string().parse::<CertificateRequest>().unwrap(),
            good
        );

        // The last byte is the signature's.
        let mut wrong = good.der().to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        let error = CertificateRequest::from_der(&wrong).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the signature by its own key does not match: \
             the certificate request was changed after it was made"
        );
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let error = request(params(vec![dns("interior.lu")]), &ed25519).unwrap_err();
        assert!(error.to_string().contains("not a P-256 key"), "{error}");
        assert!(request(params(Vec::new()), &key).is_err());
        let two = params(vec![dns("a.lu"), dns("b.lu")]);
        assert!(request(two, &key).is_err());
    }

    #[test]
    fn pem_holds_one_certificate() {
        let key = KeyPair::generate().unwrap();
        let pem = params(vec![dns("a.lu")]).self_signed(&key).unwrap().pem();
        let certificate: LeafCertificate = pem.parse().unwrap();
        assert_eq!(
            certificate.to_string().parse::<LeafCertificate>().unwrap(),
            certificate
        );
        for bad in [
            String::new(),
            "-----BEGIN CERTIFICATE-----".to_owned(),
            pem.replace("CERTIFICATE", "PRIVATE KEY"),
            format!("{pem}{pem}"),
            format!("{pem}{}", " ".repeat(MAX_PEM)),
        ] {
            assert!(bad.parse::<LeafCertificate>().is_err());
        }
    }
}
