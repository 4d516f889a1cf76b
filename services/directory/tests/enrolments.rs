//! A directory that enrols boxes by vouchers, and refuses in words.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are tests, though clippy does not see it"
)]

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use luxchat_bundle::{
    BoxKeys, DirectorySource, Enrolment, Leaf, Role, SigningRequest, TrustStore, Voucher,
    VoucherRequest,
};
use luxchat_directory::{ENROLMENT_PATH, Vouchers, enrolments};
use luxchat_provision::{
    Authority, EnrolOptions, NewMember, VoucherPlan,
    testing::{self, details, now, passphrase},
};
use luxchat_store::{Config, ManualClock, Store};
use tower::ServiceExt;

#[tokio::test]
async fn a_voucher_brings_a_certificate_for_the_key_of_the_box() {
    let mut nation = Nation::new();
    let voucher = nation.voucher(&["a.lu", "b.lu"], 2).await;
    let (keys, request) = nation.request("a.lu");
    let answer = nation.enrol(&voucher, &request).await.unwrap();
    answer
        .check(&"a.lu".parse().unwrap(), &keys, now())
        .unwrap();
    assert!(voucher.is_answered_by(&answer));
    let Leaf {
        not_after, voucher, ..
    } = answer.certificate.leaf();
    assert_eq!(*not_after, now() + SignedDuration::from_hours(90 * 24));
    assert!(voucher.is_some());
    // Two certificates: the box's own and the one between it and the authority.
    assert_eq!(answer.chain().len(), 2);
}

#[tokio::test]
async fn uses_are_counted_and_a_repeated_request_is_not() {
    let mut nation = Nation::new();
    let voucher = nation.voucher(&["a.lu", "b.lu"], 2).await;
    let (_, first) = nation.request("a.lu");
    let answer = nation.enrol(&voucher, &first).await.unwrap();
    assert_eq!(nation.enrol(&voucher, &first).await.unwrap(), answer);
    let (_, second) = nation.request("b.lu");
    nation.enrol(&voucher, &second).await.unwrap();
    let (_, third) = nation.request("a.lu");
    let used_up = "the voucher is used up: 2 certificates came of it, and no more may";
    assert_eq!(nation.refusal(&voucher, &third).await, used_up);

    // The count is on disk.
    nation.restart();
    assert_eq!(nation.refusal(&voucher, &third).await, used_up);
    assert_eq!(nation.enrol(&voucher, &first).await.unwrap(), answer);
}

#[tokio::test]
async fn two_who_ask_at_once_do_not_share_the_last_use() {
    let mut nation = Nation::new();
    let voucher = nation.voucher(&["a.lu"], 1).await;
    let (one, two) = (nation.request("a.lu").1, nation.request("a.lu").1);
    let (first, second) = tokio::join!(nation.enrol(&voucher, &one), nation.enrol(&voucher, &two));
    assert_eq!(u32::from(first.is_ok()) + u32::from(second.is_ok()), 1);
}

#[tokio::test]
async fn an_expired_revoked_or_foreign_voucher_is_refused_in_words() {
    let mut nation = Nation::new();
    let voucher = nation.voucher(&["a.lu"], 5).await;
    let (_, request) = nation.request("a.lu");
    let (_, other) = nation.request("c.lu");
    let refusal = nation.refusal(&voucher, &other).await;
    assert_eq!(refusal, "the voucher is not for c.lu");

    // Another nation's, for a directory of the same name.
    let mut foreign = Nation::new();
    let theirs = foreign.voucher(&["a.lu"], 5).await;
    let refusal = nation.refusal(&theirs, &request).await;
    assert_eq!(
        refusal,
        "the voucher is by another authority than this directory's"
    );

    // The directory has other keys than when the voucher was made.
    nation.new_keys();
    let refusal = nation.refusal(&voucher, &request).await;
    assert!(refusal.contains("a new voucher is needed"), "{refusal}");
    nation.old_keys();

    let id = voucher.details().id.clone();
    nation.authority.revoke_voucher(&id, "lost", now()).unwrap();
    nation.publish().await;
    let refusal = nation.refusal(&voucher, &request).await;
    assert_eq!(refusal, "the voucher was revoked");

    nation
        .clock
        .advance(std::time::Duration::from_hours(30 * 24));
    let refusal = nation.refusal(&voucher, &request).await;
    assert_eq!(refusal, "the voucher expired at 2026-03-31T12:00:00Z");
}

#[tokio::test]
async fn a_voucher_for_another_directory_is_named() {
    let mut nation = Nation::new();
    let voucher = nation.voucher(&["a.lu"], 1).await;
    let (_, request) = nation.request("a.lu");
    nation.call_it("directory-2.lu");
    let refusal = nation.refusal(&voucher, &request).await;
    assert_eq!(
        refusal,
        "the voucher is for the directory directory.lu, and this is directory-2.lu"
    );
}

#[tokio::test]
async fn only_members_on_the_list_are_enrolled() {
    let mut nation = Nation::new();
    nation.publish().await;
    // Made, and not yet published to the directory.
    let voucher = nation.unpublished(&["a.lu"], 1);
    let (_, request) = nation.request("a.lu");
    let refusal = nation.refusal(&voucher, &request).await;
    assert_eq!(
        refusal,
        "a.lu is not on the member list; does the directory have the newest publication?"
    );
    nation.publish().await;
    nation
        .authority
        .suspend("a.lu", "under suspicion", now())
        .unwrap();
    nation.publish().await;
    let refusal = nation.refusal(&voucher, &request).await;
    assert!(refusal.contains("suspended: under suspicion"), "{refusal}");
}

#[tokio::test]
async fn a_forged_voucher_is_refused() {
    let mut nation = Nation::new();
    let voucher = nation.voucher(&["a.lu"], 1).await;
    let (_, request) = nation.request("c.lu");
    let request = VoucherRequest { voucher, request }.to_json();
    let text = String::from_utf8(request).unwrap();
    for (from, to) in [
        ("\"uses\": 1", "\"uses\": 9"),
        ("2026-03-31T12:00:00Z", "2036-03-31T12:00:00Z"),
        ("\"certificate_days\": 90", "\"certificate_days\": 999"),
        (
            "\"server_names\": [\n        \"a.lu\"",
            "\"server_names\": [\n        \"c.lu\"",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let (status, words) = nation.post(text.replacen(from, to, 1)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            words.contains("the signature by the authority does not match"),
            "{words}"
        );
    }
    for odd in ["", "{}", "[", "\u{0}"] {
        let (status, _) = nation.post(odd.to_owned()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{odd:?}");
    }
    let (status, _) = nation.post(" ".repeat(1024 * 1024)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// An authority and a directory that takes vouchers.
struct Nation {
    folder: tempfile::TempDir,
    authority: Authority,
    enrolment: Enrolment,
    keys: &'static str,
    clock: Arc<ManualClock>,
    router: Option<Router>,
}

impl Nation {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = testing::authority(&folder.path().join("authority"), now());
        let keys = BoxKeys::generate(&folder.path().join("keys")).unwrap();
        BoxKeys::generate(&folder.path().join("new-keys")).unwrap();
        let request = SigningRequest::new(details("directory.lu", Role::Directory), &keys).unwrap();
        let options = EnrolOptions::default();
        let enrolment = authority
            .enrol(&request, options, &passphrase(), now())
            .unwrap();
        let root = authority.trusted_root().unwrap();
        TrustStore::create(&folder.path().join("trust"), &root).unwrap();
        let mut nation = Self {
            folder,
            authority,
            enrolment,
            keys: "keys",
            clock: Arc::new(ManualClock::at(ms(now()))),
            router: None,
        };
        nation
            .authority
            .publish(&nation.path("repository"), &passphrase(), now())
            .unwrap();
        nation.restart();
        nation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Closes the directory's store and opens it again.
    fn restart(&mut self) {
        self.router = None;
        let name = "directory.lu".try_into().unwrap();
        let config = Config {
            clock: self.clock.clone(),
            ..Config::new(self.path("store.db"), name)
        };
        self.router = Some(enrolments(Vouchers {
            store: Store::open(config).unwrap(),
            keys: BoxKeys::load(&self.path(self.keys)).unwrap(),
            enrolment: self.enrolment.clone(),
            trust: Arc::new(TrustStore::open(&self.path("trust")).unwrap()),
        }));
    }

    fn new_keys(&mut self) {
        self.keys = "new-keys";
        self.restart();
    }

    fn old_keys(&mut self) {
        self.keys = "keys";
        self.restart();
    }

    fn call_it(&mut self, name: &str) {
        self.enrolment.server_name = name.parse().unwrap();
        self.restart();
    }

    fn unpublished(&mut self, names: &[&str], uses: u32) -> Voucher {
        let members = names.iter().map(|name| NewMember {
            server_name: name.parse().unwrap(),
            display_name: (*name).to_owned(),
            endpoints: vec![format!("{name}:8448").parse().unwrap()],
        });
        let plan = VoucherPlan {
            members: members.collect(),
            uses,
            days: 30,
        };
        self.authority.voucher(&plan, &passphrase(), now()).unwrap()
    }

    async fn voucher(&mut self, names: &[&str], uses: u32) -> Voucher {
        let voucher = self.unpublished(names, uses);
        self.publish().await;
        voucher
    }

    async fn publish(&mut self) {
        let repository = self.path("repository");
        self.authority
            .publish(&repository, &passphrase(), now())
            .unwrap();
        let trust = TrustStore::open(&self.path("trust")).unwrap();
        let source = Arc::new(DirectorySource::new(repository));
        trust.update(source, now()).await.unwrap();
    }

    /// A box of that name, with keys of its own.
    fn request(&self, name: &str) -> (BoxKeys, SigningRequest) {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        let keys = BoxKeys::generate(&folder.path().join("keys")).unwrap();
        let request = SigningRequest::new(details(name, Role::Ministry), &keys).unwrap();
        (keys, request)
    }

    async fn enrol(
        &self,
        voucher: &Voucher,
        request: &SigningRequest,
    ) -> Result<Enrolment, String> {
        let asked = VoucherRequest {
            voucher: voucher.clone(),
            request: request.clone(),
        };
        let (status, body) = self.post(String::from_utf8(asked.to_json()).unwrap()).await;
        if status == StatusCode::OK {
            return Ok(Enrolment::from_json(body.as_bytes()).unwrap());
        }
        assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["errcode"], "M_FORBIDDEN");
        Err(body["error"].as_str().unwrap().to_owned())
    }

    async fn refusal(&self, voucher: &Voucher, request: &SigningRequest) -> String {
        self.enrol(voucher, request).await.unwrap_err()
    }

    async fn post(&self, body: String) -> (StatusCode, String) {
        let request = Request::post(ENROLMENT_PATH)
            .body(Body::from(body))
            .unwrap();
        let router = self.router.clone().unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }
}

fn ms(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap()
}
