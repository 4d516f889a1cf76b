use super::*;
use crate::{
    disks, host::tests::host, paths::Paths, people::tests::Prepared as Typing,
    programs::tests::Recorder,
};

const MIB: usize = 1024 * 1024;

/// A machine whose data partition holds `content`.
struct Machine {
    folder: tempfile::TempDir,
    paths: Paths,
}

impl Machine {
    fn new(content: &[u8]) -> Self {
        let folder = disks::tests::machine();
        let paths = Paths::below(folder.path());
        std::fs::create_dir_all(paths.at("dev/mapper")).unwrap();
        let mut bytes = content.to_vec();
        bytes.resize(2 * MIB, 0);
        std::fs::write(paths.at("dev/sda6"), bytes).unwrap();
        Self { folder, paths }
    }

    fn with(self, path: &str) -> Self {
        let path = self.paths.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        self
    }

    fn with_tpm(self) -> Self {
        self.with("dev/tpmrm0")
            .with(commands::PCR_KEY)
            .with(commands::PCR_SIGNATURE)
    }

    fn partition(&self) -> Vec<u8> {
        std::fs::read(self.paths.at("dev/sda6")).unwrap()
    }

    fn stick(&self) -> PathBuf {
        let stick = self.paths.at("dev/disk/by-label/LUXCHAT");
        std::fs::create_dir_all(stick.join("keys")).unwrap();
        stick
    }
}

/// The programs' names and the first word of their arguments.
fn steps(programs: &Recorder) -> Vec<String> {
    let short = |line: String| {
        let words = line
            .split(' ')
            .take(2)
            .map(|word| word.rsplit('/').next().unwrap_or(word).to_owned());
        words.collect::<Vec<_>>().join(" ")
    };
    let lines = programs.lines().into_iter().map(short);
    lines.filter(|line| line != "udevadm settle").collect()
}

fn luks() -> Vec<u8> {
    [b"LUKS\xba\xbe".as_slice(), &[0; 100]].concat()
}

#[test]
fn a_new_volume_is_bound_to_the_tpm() {
    let machine = Machine::new(&[]).with_tpm();
    let programs = Recorder::default();
    let mut people = Typing::default();
    let made = prepare(host(&machine.paths, &programs), &mut people).unwrap();
    assert_eq!(made, Prepared::Made);
    let steps = steps(&programs);
    assert_eq!(
        steps,
        [
            "cryptsetup luksFormat",
            "systemd-cryptenroll recovery",
            "cryptsetup open",
            "mkfs.ext4 -q",
            "cryptsetup config"
        ]
    );
    let enrolled = &programs.lines()[2];
    assert!(enrolled.contains("--tpm2-pcrs=7") && enrolled.contains("--tpm2-public-key-pcrs=11"));
    let key = std::fs::read_to_string(machine.paths.recovery_key()).unwrap();
    assert!(RecoveryKey::parse(&key).is_some());
    // It is on the volume alone, and in no argument.
    assert!(!machine.paths.run().join("keys/recovery").exists());
    assert!(programs.lines().iter().all(|line| !line.contains(&key)));
}

#[test]
fn without_a_tpm_a_passphrase_is_chosen() {
    let machine = Machine::new(&[]);
    let programs = Recorder::default();
    let mut people = Typing::typing(&[
        "short",
        "a long passphrase",
        "another one",
        "a long passphrase",
        "a long passphrase",
    ]);
    prepare(host(&machine.paths, &programs), &mut people).unwrap();
    assert!(steps(&programs).contains(&"cryptsetup luksAddKey".to_owned()));
    assert!(people.told.iter().any(|told| told.contains("at least 12")));
    assert!(people.told.iter().any(|told| told.contains("not the same")));
}

#[test]
fn without_a_tpm_a_stick_with_a_folder_for_keys_gets_one_and_opens_the_volume_later() {
    let machine = Machine::new(&[]);
    let stick = machine.stick();
    let programs = Recorder::default();
    prepare(host(&machine.paths, &programs), &mut Typing::default()).unwrap();
    let key = std::fs::read(stick.join("keys/u6.key")).unwrap();
    assert_eq!(key.len(), KEY_FILE_BYTES);
    assert_ne!(key, [0; KEY_FILE_BYTES]);

    std::fs::write(machine.paths.at("dev/sda6"), luks()).unwrap();
    let programs = Recorder::default();
    let opened = prepare(host(&machine.paths, &programs), &mut Typing::default()).unwrap();
    assert_eq!(opened, Prepared::Open);
    assert_eq!(steps(&programs), ["cryptsetup open", "e2fsck -p"]);
}

#[test]
fn a_locked_volume_is_opened_by_the_recovery_key_and_bound_anew() {
    let machine = Machine::new(&luks()).with_tpm();
    let before = machine.partition();
    let programs = Recorder::default().answering("attach", Err("the PCR values differ"));
    let key = RecoveryKey::generate().unwrap();
    let typed = key.text().to_uppercase();
    let mut people = Typing::typing(&[&typed, "yes"]);
    let opened = prepare(host(&machine.paths, &programs), &mut people).unwrap();
    assert_eq!(opened, Prepared::Open);
    assert!(
        people.told[0].contains("the PCR values differ"),
        "{:?}",
        people.told
    );
    let steps = steps(&programs);
    assert_eq!(
        steps,
        [
            "systemd-cryptsetup attach",
            "cryptsetup open",
            "systemd-cryptenroll --wipe-slot=tpm2",
            "systemd-cryptenroll recovery",
            "e2fsck -p"
        ]
    );
    assert_eq!(machine.partition(), before);
    assert!(machine.folder.path().exists());
}

#[test]
fn wrong_keys_do_not_open_and_do_not_destroy() {
    let machine = Machine::new(&luks());
    let before = machine.partition();
    let programs = Recorder::default().answering("cryptsetup open", Err("No key available"));
    let wrong = vec!["a wrong passphrase"; MAX_ATTEMPTS];
    let mut people = Typing::typing(&wrong);
    let error = prepare(host(&machine.paths, &programs), &mut people).unwrap_err();
    assert!(error.to_string().contains("wrong keys"), "{error}");
    assert_eq!(machine.partition(), before);
}

#[test]
fn what_is_no_volume_is_not_touched_until_somebody_confirms() {
    let machine = Machine::new(b"a file system of another system");
    let before = machine.partition();
    let programs = Recorder::default();
    let mut people = Typing::typing(&["yes", "erase"]);
    assert!(prepare(host(&machine.paths, &programs), &mut people).is_err());
    assert_eq!(machine.partition(), before);
    assert!(steps(&programs).is_empty());

    let mut people = Typing::typing(&[ERASE, "a long passphrase", "a long passphrase"]);
    let made = prepare(host(&machine.paths, &programs), &mut people).unwrap();
    assert_eq!(made, Prepared::Made);
    assert!(machine.partition().iter().all(|byte| *byte == 0));
}

#[test]
fn a_volume_whose_making_was_cut_off_is_made_anew() {
    let mut header = luks();
    header[24..35].copy_from_slice(b"luxchat-new");
    let machine = Machine::new(&header).with_tpm();
    let programs = Recorder::default();
    let made = prepare(host(&machine.paths, &programs), &mut Typing::default()).unwrap();
    assert_eq!(made, Prepared::Made);
}
