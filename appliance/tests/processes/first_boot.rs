//! What a stick does to a box, with the server's own program and an authority: from the first visit to the factory reset.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use luxchat_appliance::config::SAMPLE;
use luxchat_bundle::{Action, SigningRequest};
use luxchat_provision::{
    Authority, EnrolOptions, site_action,
    testing::{self, passphrase},
};
use luxchat_system::{
    host::Host,
    paths::Paths,
    programs::{APPLIANCE, CommandLine, Programs},
    staged::Staged,
    stick,
    visit::{Outcome, Report, visit},
};

const NAME: &str = "interieur.example.lu";

/// Runs the server's program as it was built, and keeps what else would have been run.
#[derive(Debug, Default)]
struct Here(RefCell<Vec<String>>);

impl Programs for Here {
    fn run(&self, line: &CommandLine) -> Result<String> {
        if line.program() != APPLIANCE {
            self.0.borrow_mut().push(line.line());
            return Ok(String::new());
        }
        let output = Command::new(crate::boxes::program())
            .args(line.arguments())
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// A box in a folder, a folder that stands for a stick, and an authority.
struct Scene {
    folder: tempfile::TempDir,
    paths: Paths,
    programs: Here,
    authority: Authority,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let scene = Self {
            paths: Paths::below(folder.path().join("box")),
            programs: Here::default(),
            authority: testing::authority(&folder.path().join("authority"), now),
            now,
            folder,
        };
        fs::create_dir_all(scene.paths.state()).unwrap();
        scene.bring_site("Ministère de l'Intérieur");
        scene
    }

    fn stick(&self, name: &str) -> PathBuf {
        self.folder.path().join("stick").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.stick(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Puts a site file and the files that it names on the stick.
    fn bring_site(&self, display_name: &str) {
        let files = self.paths.site_files();
        let site = SAMPLE
            .replace("/etc/luxchat", &files.to_string_lossy())
            .replace(
                "/var/lib/luxchat\"",
                &format!("{}\"", self.paths.data_dir().display()),
            )
            .replace("Ministère de l'Intérieur", display_name)
            .replace("# [network]", "[network]")
            .replace("# addresses =", "addresses =");
        self.put("site.toml", site.as_bytes());
        if !self.stick("files/client.key").exists() {
            let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
            self.put("files/client.crt", made.cert.pem().as_bytes());
            self.put(
                "files/client.key",
                made.signing_key.serialize_pem().as_bytes(),
            );
        }
    }

    /// Puts the stick in.
    fn visit(&self) -> Report {
        let host = Host {
            paths: &self.paths,
            programs: &self.programs,
            group: None,
            set_clock: |_| Ok(()),
            mount: |_, _| Ok(()),
        };
        let staged = Staged::copy(&self.stick(""), host).unwrap();
        let report = visit(host, &staged, self.now);
        stick::leave(&self.stick(""), &report, self.now).unwrap();
        report
    }

    fn request(&self) -> SigningRequest {
        let bytes = fs::read(self.stick(&format!("request/{NAME}.json"))).unwrap();
        SigningRequest::from_json(&bytes).unwrap()
    }

    /// Carries the stick to the authority and back.
    fn ask_the_authority(&mut self) {
        let request = self.request();
        let options = EnrolOptions::default();
        let answer = if self.authority.members().get(NAME).is_some() {
            self.authority
                .renew(&request, options, &passphrase(), self.now)
        } else {
            self.authority
                .enrol(&request, options, &passphrase(), self.now)
        };
        self.put(
            &format!("enrolment/{NAME}.json"),
            &answer.unwrap().to_json(),
        );
        self.authority
            .publish(&self.stick("repository"), &passphrase(), self.now)
            .unwrap();
    }

    fn enrolled(&mut self) {
        assert_eq!(self.visit().outcome, Outcome::Asked);
        self.ask_the_authority();
        let report = self.visit();
        assert_eq!(report.outcome, Outcome::Enrolled, "{:?}", report.lines);
    }

    fn is_enrolled(&self) -> bool {
        self.paths.data_dir().join("enrolment.json").exists()
    }

    fn site_in_force(&self) -> String {
        fs::read_to_string(self.paths.site()).unwrap_or_default()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.stick("log/luxchat.log")).unwrap()
    }
}

/// Flips one bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn members(scene: &Scene) -> PathBuf {
    let mut targets = fs::read_dir(scene.stick("repository/targets")).unwrap();
    targets.next().unwrap().unwrap().path()
}

#[test]
fn two_visits_make_a_member() {
    let mut scene = Scene::new();
    let first = scene.visit();
    assert_eq!(first.outcome, Outcome::Asked, "{:?}", first.lines);
    let fingerprint = scene.request().fingerprint().read_aloud();
    assert!(
        first.lines.iter().any(|line| line.contains(&fingerprint)),
        "{:?}",
        first.lines
    );
    assert!(!scene.is_enrolled());

    scene.ask_the_authority();
    let second = scene.visit();
    assert_eq!(second.outcome, Outcome::Enrolled, "{:?}", second.lines);
    assert!(scene.is_enrolled());
    assert!(
        scene
            .paths
            .data_dir()
            .join("trust/metadata/timestamp.json")
            .exists()
    );
    assert!(scene.log().contains("is enrolled"));
    assert!(!scene.paths.staging().join("nothing").exists());
    let run = scene.programs.0.borrow().clone();
    assert!(
        run.iter()
            .all(|line| line.contains("restart luxchat-network.service")),
        "{run:?}"
    );

    // The same stick again brings nothing.
    let again = scene.visit();
    assert!(
        again.lines.iter().any(|line| line.contains("nothing new")),
        "{:?}",
        again.lines
    );
}

#[test]
fn a_flipped_bit_is_refused_with_its_reason_and_changes_nothing() {
    let mut scene = Scene::new();
    scene.visit();
    scene.ask_the_authority();
    flip(&members(&scene));
    let refused = scene.visit();
    assert_eq!(refused.outcome, Outcome::Refused);
    assert!(
        refused.lines[0].contains("was changed after it was signed"),
        "{:?}",
        refused.lines
    );
    assert!(scene.log().contains("was changed after it was signed"));
    assert!(!scene.is_enrolled());

    flip(&members(&scene));
    let answer = scene.stick(&format!("enrolment/{NAME}.json"));
    let whole = fs::read(&answer).unwrap();
    flip(&answer);
    assert_eq!(scene.visit().outcome, Outcome::Refused);
    assert!(!scene.is_enrolled());
    fs::write(&answer, whole).unwrap();
    assert_eq!(scene.visit().outcome, Outcome::Enrolled);
}

#[test]
fn a_site_file_that_is_not_right_is_refused_in_words() {
    let scene = Scene::new();
    let whole = fs::read_to_string(scene.stick("site.toml")).unwrap();
    for (change, with, reason) in [
        ("[client]", "[client]\ncolour = \"red\"", "colour"),
        ("[network]", "# [network]", "invalid"),
        ("client.key", "other.key", "other.key"),
        ("server_name = \"", "server_name = \"A ", "server name"),
    ] {
        scene.put("site.toml", whole.replacen(change, with, 1).as_bytes());
        let report = scene.visit();
        assert_eq!(report.outcome, Outcome::Refused, "{with}");
        let said = report.lines.join(" ");
        assert!(
            said.contains(reason) || reason == "invalid",
            "{with}: {said}"
        );
        assert_eq!(scene.site_in_force(), "");
        assert!(!scene.paths.data_dir().join("keys").exists());
    }
}

#[test]
fn an_answer_for_another_key_is_refused_before_anything_changes() {
    let mut scene = Scene::new();
    scene.enrolled();
    // The box is lost; another one comes in its place, with the old stick.
    fs::remove_dir_all(scene.paths.data_dir()).unwrap();
    let early = scene.visit();
    assert_eq!(early.outcome, Outcome::Refused, "{:?}", early.lines);
    assert!(early.lines[0].contains("no key yet"), "{:?}", early.lines);
    fs::remove_dir_all(scene.stick("enrolment")).unwrap();
    assert_eq!(scene.visit().outcome, Outcome::Asked);
    scene.ask_the_authority();
    assert_eq!(scene.visit().outcome, Outcome::Enrolled);
}

#[test]
fn a_certificate_is_renewed_by_stick() {
    let mut scene = Scene::new();
    scene.enrolled();
    let before = fs::read(scene.paths.data_dir().join("enrolment.json")).unwrap();
    scene.now += SignedDuration::from_hours(24 * 40);
    scene.ask_the_authority();
    let report = scene.visit();
    assert!(
        report.lines.iter().any(|line| line.contains("is renewed")),
        "{:?}",
        report.lines
    );
    assert_ne!(
        fs::read(scene.paths.data_dir().join("enrolment.json")).unwrap(),
        before
    );
    let run = scene.programs.0.borrow().join("\n");
    assert!(
        run.contains("try-restart luxchat-appliance.service"),
        "{run}"
    );
}

#[test]
fn an_enrolled_box_takes_a_site_file_by_order_alone() {
    let mut scene = Scene::new();
    scene.enrolled();
    let before = scene.site_in_force();
    scene.bring_site("Somebody else");
    let report = scene.visit();
    assert!(
        report.lines[0].contains("is left alone"),
        "{:?}",
        report.lines
    );
    assert_eq!(scene.site_in_force(), before);

    let action = site_action(&scene.stick("site.toml"), Some(&scene.stick("files"))).unwrap();
    let now = scene.now;
    let order = scene
        .authority
        .order(&scene.request(), action, 7, &passphrase(), now)
        .unwrap();
    scene.put("site-order.json", &order.to_json());
    // Not for other files than those that were signed for.
    scene.bring_site("Somebody else again");
    assert_eq!(scene.visit().outcome, Outcome::Refused);
    assert_eq!(scene.site_in_force(), before);
    scene.bring_site("Somebody else");
    let report = scene.visit();
    assert_eq!(report.outcome, Outcome::Enrolled, "{:?}", report.lines);
    assert!(scene.site_in_force().contains("Somebody else"));

    // The order before it does not bring the site file of that time back.
    fs::write(scene.paths.site(), &before).unwrap();
    let replayed = scene.visit();
    assert_eq!(replayed.outcome, Outcome::Refused);
    assert!(
        replayed.lines[0].contains("followed one of"),
        "{:?}",
        replayed.lines
    );
}

#[test]
fn a_factory_reset_is_ordered_by_the_authority_alone() {
    let mut scene = Scene::new();
    scene.enrolled();
    let now = scene.now;
    let order = scene
        .authority
        .order(&scene.request(), Action::Reset {}, 7, &passphrase(), now);
    let order = order.unwrap().to_json();
    let mut forged = order.clone();
    let at = String::from_utf8(forged.clone())
        .unwrap()
        .find("signature\"")
        .unwrap()
        + 20;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    scene.put("reset.json", &forged);
    let refused = scene.visit();
    assert_eq!(refused.outcome, Outcome::Refused, "{:?}", refused.lines);
    scene.put("reset.json", &order);
    scene.now += SignedDuration::from_hours(24 * 8);
    assert!(scene.visit().lines[0].contains("expired"));
    scene.now -= SignedDuration::from_hours(24 * 8);
    assert_eq!(scene.visit().outcome, Outcome::Reset);
}
