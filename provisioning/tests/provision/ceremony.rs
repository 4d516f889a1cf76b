//! From the first key to a member, and out again.

use std::os::unix::fs::PermissionsExt;

use luxchat_bundle::{
    BoxKeys, Enrolment, LeafCertificate, Refusal, RequestDetails, SigningRequest, Status,
};
use luxchat_provision::{
    Authority, EnrolOptions, Error, KeyName, KeyRole, Plan, Quorum, SamePassphrase, Settings,
};

use crate::nation::{Nation, Without, after_days, details, everybody, now, plan, request};

#[tokio::test]
async fn a_box_becomes_a_member() {
    let mut nation = Nation::new();
    let (_, directory) = nation.enrol("directory.lu");
    assert_eq!(directory.directory, None, "the directory points to itself");
    let (keys, enrolment) = nation.enrol("interior.lu");
    nation.publish();

    // On the stick and back.
    let enrolment = Enrolment::from_json(&enrolment.to_json()).unwrap();
    let name = "interior.lu".parse().unwrap();
    enrolment.check(&name, &keys, now()).unwrap();
    let pointer = enrolment.directory.unwrap();
    assert_eq!(&*pointer.server_name, "directory.lu");
    assert_eq!(pointer.endpoints[0].to_string(), "directory.lu:8448");

    let store = luxchat_bundle::TrustStore::create(
        &nation.path("trust"),
        enrolment.trusted_root.as_bytes(),
    )
    .unwrap();
    let bundle = nation.offer(&store).await.unwrap();
    assert_eq!(bundle.version, 1);
    assert_eq!(bundle.expires, after_days(90));
    assert_eq!(bundle.members.len(), 2);
    let leaf = enrolment.certificate.leaf();
    let member = bundle.members.admit(leaf, now()).unwrap();
    assert_eq!(
        member.signing_keys[keys.signing_key_id()],
        keys.signing_public_key()
    );
    assert!(
        enrolment
            .certificate
            .is_signed_by(&bundle.members.authorities()[0])
    );
    assert_eq!(leaf.not_after, after_days(90));
    assert_eq!(store.current(now()).await.unwrap(), Some(bundle));
}

#[tokio::test]
async fn a_revoked_member_is_refused_with_the_reason() {
    let mut nation = Nation::new();
    let (_, enrolment) = nation.enrol("interior.lu");
    let leaf = enrolment.certificate.leaf().clone();
    nation.publish();
    let store = nation.trust_store("trust");
    nation.offer(&store).await.unwrap();

    nation
        .authority
        .revoke("interior.lu", "the box was stolen", now())
        .unwrap();
    nation.publish();
    let bundle = nation.offer(&store).await.unwrap();
    let refusal = bundle.members.admit(&leaf, now()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "interior.lu is revoked: the box was stolen"
    );

    nation
        .authority
        .reinstate("interior.lu", "it was found", now())
        .unwrap();
    nation.publish();
    let bundle = nation.offer(&store).await.unwrap();
    assert!(bundle.members.admit(&leaf, now()).is_ok());

    nation
        .authority
        .suspend("interior.lu", "inventory", now())
        .unwrap();
    nation.publish();
    let bundle = nation.offer(&store).await.unwrap();
    assert!(matches!(
        bundle.members.admit(&leaf, now()),
        Err(Refusal::Suspended { .. })
    ));
}

#[test]
fn a_certificate_is_refused_for_each_reason() {
    let mut nation = Nation::new();
    let (_, enrolment) = nation.enrol("interior.lu");
    let leaf = enrolment.certificate.leaf().clone();
    let admit = |nation: &Nation, at| nation.authority.members().admit(&leaf, at).map(|_| ());
    assert_eq!(admit(&nation, after_days(90)), Ok(()));
    assert!(matches!(
        admit(&nation, after_days(91)),
        Err(Refusal::Expired { .. })
    ));
    assert!(matches!(
        admit(&nation, after_days(-1)),
        Err(Refusal::NotYetValid { .. })
    ));

    nation
        .authority
        .revoke_certificate("interior.lu", &leaf.serial, now())
        .unwrap();
    assert!(matches!(
        admit(&nation, now()),
        Err(Refusal::CertificateRevoked { .. })
    ));

    let (_, stranger) = Nation::new().enrol("stranger.lu");
    assert_eq!(
        nation
            .authority
            .members()
            .admit(stranger.certificate.leaf(), now())
            .unwrap_err(),
        Refusal::Unlisted("stranger.lu".parse().unwrap())
    );
    assert!(
        !stranger
            .certificate
            .is_signed_by(nation.authority.certificate())
    );
}

#[test]
fn a_pinned_key_keeps_other_certificates_out() {
    let mut nation = Nation::new();
    let keys = nation.box_keys("interior.lu");
    let pin = EnrolOptions { pin_key: true };
    let first = nation
        .authority
        .enrol(&request("interior.lu", &keys), pin, &everybody(), now())
        .unwrap();
    // A certificate from the same authority for another key of the same name.
    let mut elsewhere = Nation::new();
    let (_, other) = elsewhere.enrol("interior.lu");
    let members = nation.authority.members();
    assert!(members.admit(first.certificate.leaf(), now()).is_ok());
    assert!(matches!(
        members.admit(other.certificate.leaf(), now()),
        Err(Refusal::OtherKey(_))
    ));

    // A renewal stays pinned, and the box may show its old certificate until it has the new one.
    let new_keys = nation.box_keys("replacement");
    let renewed = nation
        .authority
        .renew(
            &request("interior.lu", &new_keys),
            EnrolOptions::default(),
            &everybody(),
            now(),
        )
        .unwrap();
    let members = nation.authority.members();
    assert!(members.admit(renewed.certificate.leaf(), now()).is_ok());
    assert!(members.admit(first.certificate.leaf(), now()).is_ok());
    assert!(members.admit(other.certificate.leaf(), now()).is_err());
}

#[test]
fn a_renewal_takes_over_new_keys_and_keeps_the_old_ones_on_record() {
    let mut nation = Nation::new();
    let (old_keys, first) = nation.enrol("interior.lu");
    let again = request("interior.lu", &old_keys);
    assert!(matches!(
        nation
            .authority
            .enrol(&again, EnrolOptions::default(), &everybody(), now()),
        Err(Error::AlreadyMember(_))
    ));
    let later = after_days(60);
    let second = nation
        .authority
        .renew(&again, EnrolOptions::default(), &everybody(), later)
        .unwrap();
    assert_ne!(
        first.certificate.leaf().serial,
        second.certificate.leaf().serial
    );
    assert_eq!(second.certificate.leaf().not_after, after_days(150));
    let member = nation.authority.member("interior.lu").unwrap();
    assert!(member.old_signing_keys.is_empty());

    // The box was replaced.
    let new_keys = nation.box_keys("replacement");
    let request = request("interior.lu", &new_keys);
    nation
        .authority
        .renew(&request, EnrolOptions::default(), &everybody(), later)
        .unwrap();
    let member = nation.authority.member("interior.lu").unwrap();
    assert_eq!(member.signing_keys.len(), 1);
    let old = &member.old_signing_keys[old_keys.signing_key_id()];
    assert_eq!(
        (old.key, old.expired_at),
        (old_keys.signing_public_key(), later)
    );
}

#[test]
fn what_an_officer_must_not_sign_is_refused() {
    let mut nation = Nation::new();
    let (keys, _) = nation.enrol("interior.lu");
    let enrol = |nation: &mut Nation, details: RequestDetails, keys: &BoxKeys| {
        let request = SigningRequest::new(details, keys).unwrap();
        nation
            .authority
            .enrol(&request, EnrolOptions::default(), &everybody(), now())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        enrol(&mut nation, details("finance.lu"), &keys),
        "the Matrix signing key in the request is already that of interior.lu"
    );
    let other = nation.box_keys("other");
    let nowhere = RequestDetails {
        endpoints: Vec::new(),
        ..details("finance.lu")
    };
    assert_eq!(
        enrol(&mut nation, nowhere, &other),
        "the request names no endpoint, so finance.lu could not be reached"
    );
    nation
        .authority
        .revoke("interior.lu", "closed", now())
        .unwrap();
    let renewed = nation.authority.renew(
        &request("interior.lu", &keys),
        EnrolOptions::default(),
        &everybody(),
        now(),
    );
    assert!(matches!(renewed, Err(Error::Revoked(_))));
}

#[test]
fn an_enrolment_is_only_good_for_its_box() {
    let mut nation = Nation::new();
    let (keys, enrolment) = nation.enrol("interior.lu");
    let name = "interior.lu".parse().unwrap();
    let fault = |enrolment: &Enrolment, keys: &BoxKeys, at| {
        enrolment.check(&name, keys, at).unwrap_err().to_string()
    };
    let other_keys = nation.box_keys("other");
    assert_eq!(
        fault(&enrolment, &other_keys, now()),
        "the certificate in the enrolment is for another key than the one this box made"
    );
    let finance = "finance.lu".parse().unwrap();
    assert_eq!(
        enrolment
            .check(&finance, &keys, now())
            .unwrap_err()
            .to_string(),
        "the enrolment is for interior.lu, not for finance.lu"
    );
    assert!(fault(&enrolment, &keys, after_days(91)).contains("expired"));

    let foreign = Nation::new();
    let mut swapped = enrolment.clone();
    swapped.authority = foreign.authority.certificate().clone();
    assert!(fault(&swapped, &keys, now()).contains("signature by the authority"));
    let mut broken = enrolment;
    broken.trusted_root = broken
        .trusted_root
        .replace("\"threshold\": 2", "\"threshold\": 1");
    assert!(fault(&broken, &keys, now()).contains("root of trust"));
}

#[test]
fn an_authority_is_only_made_where_there_is_nothing() {
    let nation = Nation::new();
    let folder = nation.path("authority");
    assert!(matches!(
        Authority::init(&folder, &plan(), &everybody(), now()),
        Err(Error::NotEmpty(_))
    ));
    let key = folder.join("keys/root-1.pem");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&key).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));

    for quorum in [(2, 3), (0, 0), (1, 0)] {
        let (keys, threshold) = quorum;
        let plan = Plan {
            root: Quorum { keys, threshold },
            ..plan()
        };
        assert!(matches!(
            Authority::init(&nation.path("second"), &plan, &everybody(), now()),
            Err(Error::Threshold { .. })
        ));
    }
    let plan = Plan {
        settings: Settings {
            certificate_days: 0,
            ..Settings::new("Nation")
        },
        ..plan()
    };
    let made = Authority::init(&nation.path("third"), &plan, &everybody(), now());
    assert!(matches!(made, Err(Error::Settings(_))));
    assert!(!nation.path("third").exists());
}

#[test]
fn an_authority_is_open_once_at_a_time() {
    let nation = Nation::new();
    let folder = nation.path("authority");
    assert!(matches!(Authority::open(&folder), Err(Error::Busy(_))));
    let (names, threshold) = nation.authority.quorum(KeyRole::Root);
    assert_eq!((names.len(), threshold), (3, 2));
    drop(nation.authority);
    let again = Authority::open(&folder).unwrap();
    assert_eq!(again.quorum(KeyRole::Root), (names, threshold));
    assert!(matches!(
        Authority::open(&folder.join("nowhere")),
        Err(Error::NoAuthority(_))
    ));
}

#[test]
fn keys_may_lie_on_their_holders_sticks() {
    let mut nation = Nation::new();
    let stick = nation.path("stick");
    std::fs::create_dir(&stick).unwrap();
    let home = nation.path("authority/keys/targets-2.pem");
    std::fs::rename(&home, stick.join("targets-2.pem")).unwrap();
    let repository = nation.path("repository");
    let error = nation
        .authority
        .publish(&repository, &everybody(), now())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "too few signatures for the targets metadata: 1 of 2 needed. \
         Absent: targets-2 (no key file)"
    );
    assert!(!repository.exists());

    nation.authority = nation.authority.with_key_folders(vec![stick]);
    nation.publish();
}

#[test]
fn a_wrong_passphrase_and_an_absent_holder_are_told_apart() {
    let mut nation = Nation::new();
    let repository = nation.path("repository");
    let wrong = SamePassphrase::new("something else entirely");
    let error = nation
        .authority
        .publish(&repository, &wrong, now())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "wrong passphrase for targets-1, or its file is damaged"
    );
    let error = nation
        .authority
        .publish(&repository, &Without(&[KeyName::Targets(1)]), now())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("Absent: targets-1 (no passphrase)")
    );
    assert_eq!(nation.authority.last_publication(), 0);
}

#[test]
fn the_journal_and_the_records_tell_what_was_done() {
    let mut nation = Nation::new();
    let (_, enrolment) = nation.enrol("interior.lu");
    nation.publish();
    nation
        .authority
        .revoke("interior.lu", "the box was stolen", now())
        .unwrap();
    let refused = nation.authority.reinstate("finance.lu", "error", now());
    assert!(
        refused.is_err(),
        "what is not a member cannot be reinstated"
    );
    let journal = std::fs::read_to_string(nation.path("authority/journal.log")).unwrap();
    let serial = &enrolment.certificate.leaf().serial;
    let expected = format!(
        "2026-03-01T12:00:00Z init\n\
         2026-03-01T12:00:00Z enrol interior.lu certificate {serial}\n\
         2026-03-01T12:00:00Z publish 1\n\
         2026-03-01T12:00:00Z revoke interior.lu the box was stolen\n"
    );
    assert_eq!(journal, expected);
    let kept = nation.path(&format!("authority/certificates/interior.lu/{serial}.pem"));
    let kept: LeafCertificate = std::fs::read_to_string(kept).unwrap().parse().unwrap();
    assert_eq!(kept, enrolment.certificate);
}

#[test]
fn a_reason_that_could_mislead_is_refused() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    let before = std::fs::read(nation.path("authority/journal.log")).unwrap();
    for reason in ["two\nlines", "turned \u{202e} round", "hidden\u{200b}"] {
        let error = nation
            .authority
            .revoke("interior.lu", reason, now())
            .unwrap_err();
        assert!(error.to_string().contains("must be one line"), "{error}");
    }
    let member = nation.authority.member("interior.lu").unwrap();
    assert!(matches!(member.status, Status::Active {}));
    let after = std::fs::read(nation.path("authority/journal.log")).unwrap();
    assert_eq!(before, after);
}
