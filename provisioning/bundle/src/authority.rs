//! The national certificate authority. Its key lives with people, never on a box.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::{
    AuthorityCertificate, CertificateRequest, Error, LeafCertificate, Serial, ServerName,
    certificate::{certificate_fault, voucher_name},
    members::check_text,
};

/// From when until when a certificate is valid, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last moment.
    pub not_after: Timestamp,
}

impl Validity {
    /// From an hour before `now`, for boxes whose clock is a little behind, to `days` after it.
    ///
    /// # Errors
    /// A time beyond the year 9999.
    pub fn days_from(now: Timestamp, days: u32) -> Result<Self, Error> {
        let end = SignedDuration::from_hours(i64::from(days) * 24);
        let range = || certificate_fault("validity", "it ends out of range");
        Ok(Self {
            not_before: now
                .checked_sub(SignedDuration::from_hours(1))
                .map_err(|_| range())?,
            not_after: now.checked_add(end).map_err(|_| range())?,
        })
    }
}

/// A certificate authority with its key.
#[derive(Debug)]
pub struct CertificateAuthority {
    certificate: AuthorityCertificate,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Makes a P-384 key and a certificate that it signs itself.
    pub fn generate(name: &str, validity: Validity) -> Result<Self, Error> {
        check_text("name of the authority".to_owned(), name)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)
            .map_err(|_| Error::Crypto("make a key"))?;
        let mut params = params(name, validity)?;
        // One below it: the issuing certificates of vouchers.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let certificate = params
            .self_signed(&key)
            .map_err(|error| certificate_fault("authority certificate", error))?;
        Ok(Self {
            certificate: AuthorityCertificate::from_der(certificate.der().clone())?,
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up an authority from its certificate and its key in PKCS #8.
    ///
    /// # Errors
    /// The key is not the one in the certificate.
    pub fn from_parts(certificate: AuthorityCertificate, pkcs8: &[u8]) -> Result<Self, Error> {
        let fault = |why: String| certificate_fault("authority key", why);
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &rcgen::PKCS_ECDSA_P384_SHA384)
                .map_err(|error| fault(error.to_string()))?;
        if !certificate.is_for_key(key.public_key_raw()) {
            return Err(fault("it does not belong to the certificate".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key)
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// Makes an authority below this one that issues certificates for `names` and no others, named after its serial number.
    pub fn delegate(
        &self,
        names: &[ServerName],
        validity: Validity,
    ) -> Result<(Serial, Self), Error> {
        let fault = |error: rcgen::Error| certificate_fault("issuing certificate", error);
        let id = random_serial()?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)
            .map_err(|_| Error::Crypto("make a key"))?;
        let not_after = validity.not_after.min(self.certificate.not_after()?);
        let mut params = params(
            &voucher_name(&id),
            Validity {
                not_after,
                ..validity
            },
        )?;
        params.serial_number = Some(SerialNumber::from_slice(id.as_bytes()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names
                .iter()
                .map(|name| GeneralSubtree::DnsName(name.to_string()))
                .collect(),
            excluded_subtrees: Vec::new(),
        });
        let certificate = params.signed_by(&key, &self.issuer).map_err(fault)?;
        let delegate = Self {
            certificate: AuthorityCertificate::from_der(certificate.der().clone())?,
            issuer: Issuer::new(params, key),
        };
        Ok((id, delegate))
    }

    /// Signs `message` (ECDSA, P-384, SHA-384).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        rcgen::SigningKey::sign(self.issuer.key(), message).map_err(|_| Error::Crypto("sign"))
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// The key in PKCS #8, to be encrypted and kept.
    pub fn key_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.issuer.key().serialize_der())
    }

    /// Issues a certificate for the server that asks, not valid for longer than the authority's.
    /// Nothing but the name and the key is taken over from the request.
    pub fn issue(
        &self,
        request: &CertificateRequest,
        validity: Validity,
    ) -> Result<LeafCertificate, Error> {
        let name = request.server_name();
        let not_after = validity.not_after.min(self.certificate.not_after()?);
        let mut params = params(
            name,
            Validity {
                not_after,
                ..validity
            },
        )?;
        params.subject_alt_names = vec![rcgen::SanType::DnsName(
            name.as_str()
                .try_into()
                .map_err(|error| certificate_fault("certificate", error))?,
        )];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let asked = CertificateSigningRequestParams::from_der(&request.der().into())
            .map_err(|error| certificate_fault("certificate request", error))?;
        let certificate = params
            .signed_by(&asked.public_key, &self.issuer)
            .map_err(|error| certificate_fault("certificate", error))?;
        LeafCertificate::from_der(certificate.der().clone())
    }
}

fn params(name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(validity.not_before)?;
    params.not_after = epoch + since_epoch(validity.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(random_serial()?.as_bytes()));
    Ok(params)
}

/// 16 random bytes, positive as DER reads them.
fn random_serial() -> Result<Serial, Error> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Crypto("draw random numbers"))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(Serial::from_bytes(&bytes).expect("the first byte is not zero and there are 16"))
}

/// Seconds from 1970, which is how a moment reaches rcgen: its time library is not ours.
fn since_epoch(moment: Timestamp) -> Result<Duration, Error> {
    u64::try_from(moment.as_second())
        .map(Duration::from_secs)
        .map_err(|_| certificate_fault("validity", "it begins before 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxKeys, Leaf};

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn days(days: u32) -> Validity {
        Validity::days_from(now(), days).unwrap()
    }

    fn keys() -> BoxKeys {
        BoxKeys::generate(tempfile::tempdir().unwrap().path()).unwrap()
    }

    #[test]
    fn a_certificate_says_what_was_asked_and_nothing_else() {
        let authority = CertificateAuthority::generate("Nation", days(3650)).unwrap();
        let keys = keys();
        let name = "interior.lu".parse().unwrap();
        let request = keys.certificate_request(&name).unwrap();
        let certificate = authority.issue(&request, days(90)).unwrap();
        let leaf = certificate.leaf();
        assert_eq!(leaf.server_name, name);
        assert_eq!(leaf.key_fingerprint, keys.tls_key_fingerprint());
        assert_eq!(leaf.not_before, now() - SignedDuration::from_hours(1));
        assert_eq!(leaf.not_after, now() + SignedDuration::from_hours(90 * 24));
        assert!(certificate.is_signed_by(authority.certificate()));
        let again = authority.issue(&request, days(90)).unwrap();
        assert_ne!(again.leaf().serial, leaf.serial);

        // One of the same name.
        let other = CertificateAuthority::generate("Nation", days(3650)).unwrap();
        assert!(!certificate.is_signed_by(other.certificate()));
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let authority = CertificateAuthority::generate("Nation", days(30)).unwrap();
        let request = keys().certificate_request(&"a.lu".parse().unwrap());
        let certificate = authority.issue(&request.unwrap(), days(90)).unwrap();
        assert_eq!(certificate.leaf().not_after, days(30).not_after);
    }

    #[test]
    fn an_authority_is_taken_up_with_its_own_key_only() {
        let authority = CertificateAuthority::generate("Nation", days(30)).unwrap();
        let certificate = authority.certificate().clone();
        let again =
            CertificateAuthority::from_parts(certificate.clone(), &authority.key_pkcs8()).unwrap();
        let request = keys().certificate_request(&"a.lu".parse().unwrap());
        let issued = again.issue(&request.unwrap(), days(10)).unwrap();
        assert!(issued.is_signed_by(&certificate));

        let other = CertificateAuthority::generate("Nation", days(30)).unwrap();
        let error = CertificateAuthority::from_parts(certificate, &other.key_pkcs8());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("does not belong to the certificate"),
            "{error}"
        );
    }

    #[test]
    fn authorities_and_servers_are_not_mistaken_for_each_other() {
        let authority = CertificateAuthority::generate("Nation", days(30)).unwrap();
        assert!(Leaf::parse(authority.certificate().der()).is_err());
        let request = keys().certificate_request(&"a.lu".parse().unwrap());
        let leaf = authority.issue(&request.unwrap(), days(10)).unwrap();
        assert!(AuthorityCertificate::from_der(leaf.der().clone()).is_err());
    }
}
