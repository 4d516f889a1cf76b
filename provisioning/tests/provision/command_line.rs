//! The program as people in the room use it.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use jiff::Timestamp;
use luxchat_bundle::{BoxKeys, RequestDetails, SigningRequest};

use crate::nation::{PASSPHRASE, details};

#[test]
fn the_whole_ceremony() {
    let room = Room::new();
    let text = room.done(&INIT);
    assert!(
        text.contains("2 of 3 must sign: root-1, root-2, root-3"),
        "{text}"
    );
    assert!(
        text.contains("move each file in authority/keys to its holder's stick"),
        "{text}"
    );

    let fingerprint = room.request();
    let text = room.done(&[
        "enrol",
        "--request",
        "request.json",
        "--out",
        "enrolment.json",
        "--fingerprint",
        &fingerprint,
    ]);
    assert!(text.contains("interior.lu has certificate "), "{text}");
    assert!(
        text.contains("Its enrolment is in enrolment.json."),
        "{text}"
    );

    let text = room.done(&["publish", "--out", "repository"]);
    assert!(
        text.starts_with("Publication 1 is in repository: 1 members, 1 of them active, good until"),
        "{text}"
    );
    let text = room.done(&["verify", "repository", "--enrolment", "enrolment.json"]);
    assert!(text.starts_with("Publication 1 is sound: "), "{text}");

    let text = room.done(&["revoke", "interior.lu", "--reason", "the box was stolen"]);
    assert_eq!(
        text,
        "interior.lu is revoked. Boxes learn of it with the next publication.\n"
    );
    let text = room.done(&["members", "show", "interior.lu"]);
    assert!(text.contains("status        revoked since "), "{text}");
    assert!(text.contains(": the box was stolen"), "{text}");
    let text = room.done(&["members", "list"]);
    assert!(text.starts_with("interior.lu "), "{text}");
    let text = room.done(&["publish", "--out", "repository"]);
    assert!(text.contains("1 members, 0 of them active"), "{text}");

    let text = room.done(&["authority", "rotate-key", "publishing-1"]);
    assert!(
        text.starts_with("publishing-2 is in place of publishing-1."),
        "{text}"
    );
    room.done(&["authority", "renew-root"]);
    let text = room.done(&["authority", "show"]);
    assert!(
        text.contains("root of trust version 3, good until "),
        "{text}"
    );
    let text = room.done(&["publish", "--out", "repository"]);
    assert!(text.starts_with("Publication 3 is in repository"), "{text}");
    room.done(&["verify", "repository", "--enrolment", "enrolment.json"]);
}

#[test]
fn mistakes_are_explained() {
    let room = Room::new();
    assert_eq!(
        room.refused(&["publish", "--out", "repository"]),
        "error: authority holds no authority: `authority init` makes one\n"
    );
    room.done(&INIT);
    let again = room.refused(&INIT);
    assert_eq!(
        again,
        "error: authority is not empty: an authority is only made in a new folder\n"
    );
    assert_eq!(
        room.refused(&["revoke", "nobody.lu", "--reason", "test"]),
        "error: nobody.lu is not a member\n"
    );
    let text = room.refused(&["authority", "rotate-key", "../root-1"]);
    assert!(text.contains("is no key: keys are called"), "{text}");

    room.request();
    let enrol = [
        "enrol",
        "--request",
        "request.json",
        "--out",
        "enrolment.json",
    ];
    let text = room.refused(&[&enrol[..], &["--fingerprint", &"0f".repeat(32)]].concat());
    assert!(
        text.contains("Do not sign it: it is not the request that the box made"),
        "{text}"
    );
    assert!(!room.path("enrolment.json").exists());

    let request = fs::read_to_string(room.path("request.json")).unwrap();
    fs::write(
        room.path("request.json"),
        request.replace("interior.lu:8448", "intruder.lu:8448"),
    )
    .unwrap();
    let text = room.refused(&enrol);
    assert!(
        text.contains("request.json: ") && text.contains("was changed after it was made"),
        "{text}"
    );
    // What a document says does not reach the terminal as it is.
    fs::write(room.path("request.json"), "{\"\\u001b[2Jhello\": 1}").unwrap();
    let text = room.refused(&enrol);
    assert!(
        text.contains("unknown field `\u{fffd}[2Jhello`"),
        "{text:?}"
    );
    fs::write(room.path("request.json"), "not a request").unwrap();
    let text = room.refused(&enrol);
    assert!(
        text.contains("the signing request cannot be read"),
        "{text}"
    );

    room.done(&["publish", "--out", "repository"]);
    let timestamp = room.path("repository/metadata/timestamp.json");
    let text = fs::read_to_string(&timestamp).unwrap();
    fs::write(&timestamp, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert_eq!(
        room.refused(&["verify", "repository"]),
        "error: wrong signature under the timestamp metadata: 0 of 1 needed are right\n"
    );
}

#[test]
fn an_officer_confirms_what_is_signed() {
    let room = Room::new();
    room.done(&INIT);
    room.request();
    let enrol = [
        "enrol",
        "--request",
        "request.json",
        "--out",
        "enrolment.json",
    ];
    let refused = room.run(&enrol, "no\n");
    let text = String::from_utf8(refused.stderr).unwrap();
    for shown in [
        "server name   interior.lu",
        "display name  The box interior.lu",
        "role          a ministry",
        "endpoint      interior.lu:8448",
        "signing key   ed25519:a_",
        "Is it the same, and shall it be signed? Type yes: ",
    ] {
        assert!(text.contains(shown), "{shown} is not shown: {text}");
    }
    assert!(
        text.ends_with("error: not confirmed, so nothing was signed\n"),
        "{text}"
    );
    assert!(!refused.status.success());

    assert!(room.run(&enrol, "yes\n").status.success());
    let again = String::from_utf8(room.run(&enrol, "yes\n").stderr).unwrap();
    assert_eq!(
        again,
        "error: enrolment.json exists already and is not overwritten\n"
    );
}

#[test]
fn passphrases_come_from_the_environment_or_a_file_but_not_from_the_command_line() {
    let room = Room::new();
    fs::write(
        room.path("passphrase"),
        format!("{PASSPHRASE}\nsecond line\n"),
    )
    .unwrap();
    let with_file = |arguments: &[&str]| {
        let mut command = room.command(arguments);
        command.env_remove("LUXCHAT_PASSPHRASE");
        command.args(["--passphrase-file", "passphrase"]);
        output(command, "")
    };
    assert!(with_file(&INIT).status.success());
    assert!(with_file(&["publish", "--out", "one"]).status.success());
    // The one for a key goes before the one for all.
    let mut command = room.command(&["publish", "--out", "two"]);
    command.env("LUXCHAT_PASSPHRASE_TARGETS_1", "something else entirely");
    let text = String::from_utf8(output(command, "").stderr).unwrap();
    assert_eq!(
        text,
        "error: wrong passphrase for targets-1, or its file is damaged\n"
    );

    let help = String::from_utf8(room.run(&["help", "publish"], "").stdout).unwrap();
    assert!(!help.contains("--passphrase "), "{help}");
    let mut command = room.command(&["authority", "init", "--name", "N", "--authority", "weak"]);
    command.env("LUXCHAT_PASSPHRASE", "short");
    let text = String::from_utf8(output(command, "").stderr).unwrap();
    assert!(
        text.contains("is too short: use at least 12 characters"),
        "{text}"
    );
    assert!(!room.path("weak").exists());
}

const INIT: [&str; 5] = [
    "authority",
    "init",
    "--name",
    "Test Nation",
    "--demonstration",
];
/// A folder to work in.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a box's signing request where the stick would bring it, and returns its fingerprint.
    fn request(&self) -> String {
        let keys = BoxKeys::generate(&self.path("box")).unwrap();
        let details = RequestDetails {
            created_at: Timestamp::now(),
            ..details("interior.lu")
        };
        let request = SigningRequest::new(details, &keys).unwrap();
        fs::write(self.path("request.json"), request.to_json()).unwrap();
        request.fingerprint().read_aloud()
    }

    /// What the program says when it has done as asked.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        assert_eq!(complaint, "", "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the program says when it has not.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert!(!output.status.success(), "{arguments:?} was done");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        output(self.command(arguments), input)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command =
            Command::new(std::env::var_os("CARGO_BIN_EXE_luxchat-provision").unwrap());
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("LUXCHAT_PASSPHRASE", PASSPHRASE)
            .args(arguments);
        command
    }
}

fn output(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input closes it early.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
