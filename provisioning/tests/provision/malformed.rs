//! Documents from a stick may hold anything.

use std::sync::LazyLock;

use luxchat_bundle::{
    BoxKeys, CertificateRequest, Enrolment, Leaf, LeafCertificate, Members, SigningRequest,
};
use proptest::{prelude::*, sample::Index};

use crate::nation::{Nation, request};

/// Good documents to damage.
struct Good {
    request: Vec<u8>,
    enrolment: Vec<u8>,
    members: Vec<u8>,
    leaf: Vec<u8>,
    certificate_request: Vec<u8>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let mut nation = Nation::new();
    let keys = nation.box_keys("finance.lu");
    let request = request("finance.lu", &keys);
    let (_, enrolment) = nation.enrol("interior.lu");
    Good {
        request: request.to_json(),
        enrolment: enrolment.to_json(),
        members: nation.authority.members().to_json(),
        leaf: enrolment.certificate.der().to_vec(),
        certificate_request: request.certificate_request().der().to_vec(),
    }
});

/// One to three bytes changed, or the end cut off.
#[derive(Debug, Clone)]
struct Damage {
    changes: Vec<(Index, u8)>,
    cut: Option<Index>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 1..4);
    let cut = prop::option::weighted(0.2, any::<Index>());
    (changes, cut).prop_map(|(changes, cut)| Damage { changes, cut })
}

impl Damage {
    fn apply(&self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for (at, byte) in &self.changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Some(cut) = &self.cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// What still parses says the same as before: nothing in a request can be changed on the way.
    #[test]
    fn a_damaged_request_is_refused_or_unchanged(damage in damage()) {
        let good = SigningRequest::from_json(&GOOD.request).unwrap();
        if let Ok(request) = SigningRequest::from_json(&damage.apply(&GOOD.request)) {
            prop_assert_eq!(request.fingerprint(), good.fingerprint());
        }
    }

    #[test]
    fn damaged_documents_do_not_upset_anything(damage in damage()) {
        if let Ok(members) = Members::from_json(&damage.apply(&GOOD.members)) {
            prop_assert_eq!(Members::from_json(&members.to_json()).unwrap(), members);
        }
        if let Ok(enrolment) = Enrolment::from_json(&damage.apply(&GOOD.enrolment)) {
            prop_assert_eq!(Enrolment::from_json(&enrolment.to_json()).unwrap(), enrolment);
        }
    }

    #[test]
    fn damaged_certificates_do_not_upset_anything(damage in damage()) {
        let bytes = damage.apply(&GOOD.leaf);
        if let Ok(leaf) = LeafCertificate::from_der(bytes.clone().into()) {
            prop_assert_eq!(leaf.to_string().parse::<LeafCertificate>().unwrap(), leaf);
        }
        // The request signs itself: what is asked for cannot be changed.
        let good = CertificateRequest::from_der(&GOOD.certificate_request).unwrap();
        if let Ok(request) = CertificateRequest::from_der(&damage.apply(&GOOD.certificate_request)) {
            prop_assert_eq!(request.server_name(), good.server_name());
            prop_assert_eq!(request.key_fingerprint(), good.key_fingerprint());
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(SigningRequest::from_json(&bytes).is_err());
        prop_assert!(Enrolment::from_json(&bytes).is_err());
        prop_assert!(Members::from_json(&bytes).is_err());
        prop_assert!(Leaf::parse(&bytes).is_err());
        prop_assert!(CertificateRequest::from_der(&bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(text.parse::<LeafCertificate>().is_err());
    }
}

#[test]
fn swapped_parts_of_requests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = BoxKeys::generate(&folder.path().join("one")).unwrap();
    let other = BoxKeys::generate(&folder.path().join("two")).unwrap();
    let json = |keys| -> serde_json::Value {
        serde_json::from_slice(&request("interior.lu", keys).to_json()).unwrap()
    };
    let (good, foreign) = (json(&keys), json(&other));
    let paths = [
        "/keys/certificate_request",
        "/keys/signing_key",
        "/keys/signing_key_id",
        "/signatures/tls",
        "/signatures/matrix",
    ];
    for path in paths {
        let mut mixed = good.clone();
        *mixed.pointer_mut(path).unwrap() = foreign.pointer(path).unwrap().clone();
        let error = SigningRequest::from_json(&serde_json::to_vec(&mixed).unwrap());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("does not match"), "{path}: {error}");
    }
    for (path, value) in [
        ("/details/server_name", "finance.lu"),
        ("/details/display_name", "Another name"),
        ("/details/role", "directory"),
        ("/details/created_at", "2026-03-02T12:00:00Z"),
        ("/details/endpoints/0", "198.51.100.7:8448"),
    ] {
        let mut changed = good.clone();
        *changed.pointer_mut(path).unwrap() = value.into();
        let error = SigningRequest::from_json(&serde_json::to_vec(&changed).unwrap());
        assert!(error.is_err(), "{path} was changed unnoticed");
    }
    let mut extra = good;
    extra["details"]["note"] = "please hurry".into();
    let error = SigningRequest::from_json(&serde_json::to_vec(&extra).unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("unknown field `note`"),
        "{error}"
    );
}
