use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use jiff::SignedDuration;
use luxchat_bundle::{Role, SigningRequest};
use luxchat_provision::{
    Authority, EnrolOptions,
    testing::{self, now, passphrase},
};

use super::{
    health::{Verdict, judge, served},
    *,
};
use crate::programs::Programs;

const UUID: &str = "0123abcd-0123-4567-89ab-0123456789ab";

/// A box that runs release 1, its authority, and what its programs answer.
struct Site {
    folder: tempfile::TempDir,
    authority: Authority,
    paths: Paths,
    machine: Machine,
}

/// Stands for the programs of the box.
#[derive(Default)]
struct Machine {
    paths: Option<Paths>,
    ran: RefCell<Vec<String>>,
    /// What systemd-sysupdate found to install, by name.
    seen: RefCell<BTreeMap<String, Vec<u8>>>,
    /// What systemd-bless-boot says of this start.
    counting: RefCell<&'static str>,
    /// What systemctl says of the server.
    server: RefCell<&'static str>,
}

impl Programs for Machine {
    fn run(&self, command: &CommandLine) -> Result<String> {
        let line = command.line();
        let answer = if line.ends_with(" status") {
            *self.counting.borrow()
        } else if line.contains(" show ") {
            *self.server.borrow()
        } else if line.contains("journalctl") {
            "\nerror: the disk is too full\n"
        } else {
            if line.contains("sysupdate") {
                let staged = staged(self.paths.as_ref().unwrap());
                for entry in fs::read_dir(staged).unwrap().map(Result::unwrap) {
                    let name = entry.file_name().into_string().unwrap();
                    let bytes = fs::read(entry.path()).unwrap();
                    self.seen.borrow_mut().insert(name, bytes);
                }
            }
            self.ran.borrow_mut().push(line);
            ""
        };
        Ok(answer.to_owned())
    }
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = testing::authority(&folder.path().join("authority"), now());
        let paths = Paths::below(folder.path().join("box"));
        let data = paths.data_dir();
        let keys = BoxKeys::generate(&data.join("keys")).unwrap();
        let details = testing::details("interior.lu", Role::Ministry);
        let request = SigningRequest::new(details, &keys).unwrap();
        let enrolment = authority
            .enrol(&request, EnrolOptions::default(), &passphrase(), now())
            .unwrap();
        fs::write(data.join("enrolment.json"), enrolment.to_json()).unwrap();
        let machine = Machine {
            paths: Some(paths.clone()),
            counting: RefCell::new("clean"),
            ..Machine::default()
        };
        let site = Self {
            folder,
            authority,
            paths,
            machine,
        };
        site.starts("1", "first");
        site
    }

    /// The box has started, into that release.
    fn starts(&self, version: &str, boot: &str) {
        let put = |path: &str, text: &str| {
            let path = self.paths.at(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "usr/lib/os-release",
            &format!("ID=luxchat\nIMAGE_VERSION={version}\n"),
        );
        put("proc/sys/kernel/random/boot_id", boot);
        let _ = fs::remove_file(served(&self.paths));
        self.machine.ran.borrow_mut().clear();
    }

    /// Builds a release and publishes it.
    fn release(&mut self, version: &str) {
        let build = self.folder.path().join("build");
        fs::create_dir_all(&build).unwrap();
        let names = [
            format!("luxchat_{version}_{UUID}.root"),
            format!("luxchat_{version}_{UUID}.verity"),
            format!("luxchat_{version}.efi"),
        ];
        let files = names.map(|name| {
            let path = build.join(&name);
            fs::write(&path, format!("the bytes of {name}")).unwrap();
            path
        });
        self.authority.add_release(&files, now()).unwrap();
        self.publish();
    }

    fn publish(&mut self) {
        let repository = self.repository();
        self.authority
            .publish(&repository, &passphrase(), now())
            .unwrap();
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// The technician brings what was published.
    fn bring(&self) {
        let stick = self.paths.stick().join("repository");
        let _ = fs::remove_dir_all(&stick);
        copy(&self.repository(), &stick);
    }

    /// The server's program has fetched what was published.
    fn fetch(&self) {
        let data = self.paths.data_dir();
        for part in ["metadata", "targets"] {
            copy(
                &self.repository().join(part),
                &data.join("trust").join(part),
            );
        }
        copy(
            &self.repository().join("targets"),
            &data.join("releases/targets"),
        );
    }

    fn host(&self) -> Host<'_> {
        crate::host::tests::host(&self.paths, &self.machine)
    }

    /// Looks at the stick.
    async fn look(&self) -> Result<Outcome> {
        let stick = Origin::Stick(self.paths.stick().join("repository"));
        self.look_at(&stick, now()).await
    }

    /// Looks at what was fetched.
    async fn look_fetched(&self, now: Timestamp) -> Result<Outcome> {
        self.look_at(&Origin::Directory, now).await
    }

    async fn look_at(&self, origin: &Origin, now: Timestamp) -> Result<Outcome> {
        let policy = Policy {
            window: "02:00-05:00".parse().unwrap(),
        };
        Updater::new(self.host(), policy, now).look(origin).await
    }

    /// Why nothing was installed; nothing was.
    async fn refusal(&self) -> String {
        let error = format!("{:#}", self.look().await.unwrap_err());
        assert_eq!(self.ran(), [""; 0], "{error}");
        assert!(self.message().contains(&error));
        error
    }

    /// A release is on trial: it was installed, and the box has restarted into it.
    fn on_trial(&self, version: &str) {
        let version = version.parse().unwrap();
        State::set_pending(&self.paths, &version, true).unwrap();
        self.starts(&version.to_string(), "trial");
    }

    fn judge(&self, counting: &'static str, server: &'static str) -> Verdict {
        self.machine.counting.replace(counting);
        self.machine.server.replace(server);
        judge(self.host(), now(), &|| ()).unwrap()
    }

    fn ran(&self) -> Vec<String> {
        self.machine.ran.borrow().clone()
    }

    fn ran_one(&self, part: &str) -> bool {
        self.ran().iter().any(|line| line.contains(part))
    }

    /// What the console shows.
    fn message(&self) -> String {
        let path = self.paths.state().join("update/status.json");
        let words: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        words["message"].as_str().unwrap().to_owned()
    }

    fn serves(&self) -> bool {
        served(&self.paths).exists()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn change(folder: &Path, part: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let file = entries
        .find(|it| it.file_name().to_string_lossy().ends_with(part))
        .unwrap();
    let mut bytes = fs::read(file.path()).unwrap();
    change(&mut bytes);
    fs::write(file.path(), bytes).unwrap();
}

fn at_night() -> Timestamp {
    "2026-03-02T03:00:00Z".parse().unwrap()
}

fn version(text: &str) -> ReleaseVersion {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_release_on_a_stick_is_installed_at_once_as_it_was_built() {
    let mut site = Site::new();
    assert_eq!(site.look().await.unwrap(), Outcome::Nothing);
    site.release("1");
    site.release("2");
    site.bring();
    let outcome = site.look().await.unwrap();
    assert_eq!(outcome, Outcome::Restarts(version("2")));
    assert_eq!(
        site.ran(),
        ["/usr/lib/systemd/systemd-sysupdate --verify=no update 2"],
        "the box restarts when the stick is done with"
    );
    assert!(is_waiting(&site.paths).unwrap());
    let seen = site.machine.seen.borrow().clone();
    let names: Vec<_> = seen.keys().cloned().collect();
    let expected = [
        "luxchat_2.efi".to_owned(),
        format!("luxchat_2_{UUID}.root"),
        format!("luxchat_2_{UUID}.verity"),
    ];
    assert_eq!(names, expected);
    for (name, bytes) in &seen {
        assert_eq!(*bytes, format!("the bytes of {name}").into_bytes());
    }
    assert!(site.message().contains("restarts into release 2"));
    // What was installed leaves the data volume, and is not installed again.
    assert_eq!(fs::read_dir(staged(&site.paths)).unwrap().count(), 0);
    site.machine.ran.borrow_mut().clear();
    assert_eq!(site.look().await.unwrap(), Outcome::Restarts(version("2")));
    assert_eq!(site.ran(), [""; 0]);
    site.starts("2", "second");
    assert!(!is_waiting(&site.paths).unwrap());
}

#[tokio::test]
async fn what_was_fetched_is_installed_and_started_in_the_window() {
    let mut site = Site::new();
    site.release("2");
    site.fetch();
    let kernel = site.paths.data_dir().join("releases/targets");
    change(&kernel, ".efi", |bytes| bytes.truncate(3));
    assert_eq!(
        site.look_fetched(now()).await.unwrap(),
        Outcome::Nothing,
        "half of it is here"
    );

    site.fetch();
    assert_eq!(
        site.look_fetched(now()).await.unwrap(),
        Outcome::Waits(version("2"))
    );
    assert!(site.ran_one("sysupdate") && !site.ran_one("reboot"));
    assert!(site.message().contains("in the window 02:00-05:00"));
    let outcome = site.look_fetched(at_night()).await.unwrap();
    assert_eq!(outcome, Outcome::Restarts(version("2")));
    assert!(site.ran_one("reboot"));
}

#[tokio::test]
async fn a_forged_release_is_refused() {
    let mut site = Site::new();
    site.release("2");
    site.bring();
    let stick = site.paths.stick().join("repository");
    for part in [".root", ".verity", ".efi"] {
        site.bring();
        change(&stick.join("targets"), part, |bytes| bytes[3] ^= 1);
        let error = site.refusal().await;
        assert!(error.contains("was changed after it was signed"), "{error}");
        let staged = fs::read_dir(staged(&site.paths)).unwrap();
        let whole = staged.map(|it| it.unwrap().file_name().into_string().unwrap());
        assert!(
            !whole
                .collect::<Vec<_>>()
                .iter()
                .any(|it| it.ends_with(part))
        );
    }
    // A list that the authority did not sign.
    site.bring();
    change(&stick.join("metadata"), "targets.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("luxchat_2", "luxchat_3").into_bytes();
    });
    let error = site.refusal().await;
    assert!(error.contains("was changed after it was signed"), "{error}");
    // Another authority's.
    let mut foreign = Site::new();
    foreign.release("9");
    foreign.bring();
    fs::remove_dir_all(&stick).unwrap();
    copy(&foreign.paths.stick().join("repository"), &stick);
    let error = site.refusal().await;
    assert!(error.contains("wrong signature"), "{error}");
}

#[tokio::test]
async fn an_expired_or_rolled_back_repository_is_refused() {
    let mut site = Site::new();
    site.release("2");
    let older = site.folder.path().join("older");
    copy(&site.repository(), &older);
    site.bring();
    let late = now() + SignedDuration::from_hours(24 * 91);
    let stick = Origin::Stick(site.paths.stick().join("repository"));
    let error = format!("{:#}", site.look_at(&stick, late).await.unwrap_err());
    assert!(error.contains("expired at"), "{error}");
    assert!(!site.ran_one("sysupdate"));

    // A publication that withdraws release 2 was seen; then somebody brings the one before.
    site.authority.remove_release(&version("2"), now()).unwrap();
    site.publish();
    site.bring();
    assert_eq!(site.look().await.unwrap(), Outcome::Nothing);
    let stick = site.paths.stick().join("repository");
    fs::remove_dir_all(&stick).unwrap();
    copy(&older, &stick);
    let error = site.refusal().await;
    assert!(error.contains("rollback refused"), "{error}");
}

#[tokio::test]
async fn an_older_release_is_no_update() {
    let mut site = Site::new();
    site.release("2");
    site.bring();
    site.starts("3", "first");
    assert_eq!(site.look().await.unwrap(), Outcome::Nothing);
    assert_eq!(site.ran(), [""; 0]);
}

#[tokio::test]
async fn a_box_without_a_good_certificate_is_not_tried_with_a_release() {
    let mut site = Site::new();
    site.release("2");
    site.bring();
    let enrolment = site.paths.data_dir().join("enrolment.json");
    let good = fs::read(&enrolment).unwrap();
    // The first look keeps the root of trust.
    let keys = site.paths.data_dir().join("keys");
    fs::remove_dir_all(&keys).unwrap();
    BoxKeys::generate(&keys).unwrap();
    let error = site.refusal().await;
    assert!(error.contains("would not be found good"), "{error}");

    // Whoever can write the server's own files cannot name another root of trust.
    let mut foreign = Site::new();
    foreign.release("9");
    foreign.bring();
    let theirs = fs::read(foreign.paths.data_dir().join("enrolment.json")).unwrap();
    fs::write(&enrolment, theirs).unwrap();
    let stick = site.paths.stick().join("repository");
    fs::remove_dir_all(&stick).unwrap();
    copy(&foreign.paths.stick().join("repository"), &stick);
    let error = site.refusal().await;
    assert!(error.contains("wrong signature"), "{error}");
    fs::write(&enrolment, good).unwrap();
}

#[tokio::test]
async fn a_good_release_is_blessed_before_anybody_is_served() {
    let mut site = Site::new();
    assert_eq!(
        site.judge("clean", "ActiveState=activating"),
        Verdict::Known
    );
    assert!(site.serves());
    site.release("2");
    site.bring();
    site.look().await.unwrap();

    site.starts("2", "second");
    let verdict = site.judge("indeterminate", "ActiveState=active\nNRestarts=0");
    assert_eq!(verdict, Verdict::Good);
    assert!(site.ran_one("systemd-bless-boot") && site.ran_one(" good"));
    assert!(site.serves());
    assert_eq!(site.message(), "release 2 runs and is good");
    assert_eq!(site.look().await.unwrap(), Outcome::Nothing);
    site.starts("2", "third");
    assert_eq!(site.judge("good", "ActiveState=activating"), Verdict::Known);
}

#[tokio::test]
async fn a_release_that_is_not_good_falls_back_says_why_and_is_not_tried_again() {
    let mut site = Site::new();
    site.release("2");
    site.bring();
    site.look().await.unwrap();
    site.starts("2", "second");
    let Verdict::Bad(reason) = site.judge("indeterminate", "ActiveState=failed\nResult=exit-code")
    else {
        panic!("it was found good");
    };
    let expected = "the server failed (exit-code): error: the disk is too full";
    assert_eq!(reason, expected);
    assert!(!site.serves(), "somebody was served");
    let path = site.paths.run().join("esp");
    assert_eq!(
        site.ran(),
        [
            &format!(
                "/usr/lib/systemd/systemd-bless-boot --path={} bad",
                path.display()
            ),
            "/usr/bin/systemctl reboot"
        ]
    );

    site.starts("1", "third");
    assert_eq!(site.judge("good", ""), Verdict::Known);
    assert!(site.serves());
    let message = site.message();
    assert!(
        message.contains("release 2 was not good, so the box runs 1 again"),
        "{message}"
    );
    assert!(message.contains(expected), "{message}");
    assert_eq!(site.look().await.unwrap(), Outcome::Nothing);
    site.release("3");
    site.bring();
    assert_eq!(site.look().await.unwrap(), Outcome::Restarts(version("3")));
}

#[tokio::test]
async fn a_release_that_never_comes_up_is_told_by_the_one_before() {
    let mut site = Site::new();
    site.release("2");
    site.bring();
    site.look().await.unwrap();
    // Not yet restarted.
    assert_eq!(site.judge("clean", ""), Verdict::Known);
    assert!(site.message().contains("restarts into release 2"));
    site.starts("1", "third");
    assert_eq!(site.judge("good", ""), Verdict::Known);
    let message = site.message();
    assert!(
        message.contains("did not come up far enough to say why"),
        "{message}"
    );
    assert_eq!(site.look().await.unwrap(), Outcome::Nothing);
}

#[test]
fn a_server_that_is_never_ready_or_an_expired_certificate_is_not_good() {
    let site = Site::new();
    site.on_trial("2");
    for (server, why) in [
        (
            "ActiveState=activating\nNRestarts=0",
            "was not ready after 20 minutes",
        ),
        (
            "ActiveState=inactive\nNRestarts=0",
            "something that it depends on failed",
        ),
        (
            "ActiveState=inactive\nJob=17\nNRestarts=0",
            "was not ready after 20 minutes",
        ),
        (
            "ActiveState=activating\nNRestarts=3",
            "failed again and again",
        ),
    ] {
        let Verdict::Bad(reason) = site.judge("indeterminate", server) else {
            panic!("it was found good");
        };
        assert!(reason.contains(why), "{reason}");
    }
    let late = now() + SignedDuration::from_hours(24 * 91);
    site.machine.server.replace("ActiveState=active");
    let Verdict::Bad(reason) = judge(site.host(), late, &|| ()).unwrap() else {
        panic!("it was found good");
    };
    assert!(reason.contains("it expired at"), "{reason}");
    assert!(!site.serves());
}

#[test]
fn where_no_slot_is_good_the_box_stays_up() {
    let site = Site::new();
    site.on_trial("2");
    let verdict = site.judge("bad", "ActiveState=failed\nResult=watchdog");
    assert!(matches!(verdict, Verdict::LastResort(_)));
    assert!(site.serves() && !site.ran_one("reboot"));
    assert!(site.message().contains("no release is good"));
}
