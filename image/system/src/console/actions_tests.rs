use super::*;
use crate::{host::tests::host, paths::Paths, people::tests::Prepared, programs::tests::Recorder};

/// What is typed at a box, and what is run and told then.
struct Typed {
    lines: Vec<String>,
    told: String,
    root: tempfile::TempDir,
}

fn view() -> View {
    View {
        server_name: Some("interior.lu".to_owned()),
        has_recovery_key: true,
        ..View::default()
    }
}

fn type_at(view: &View, typed: &[&str]) -> Typed {
    let root = crate::disks::tests::machine();
    let paths = Paths::below(root.path());
    std::fs::create_dir_all(paths.state()).unwrap();
    std::fs::write(
        paths.recovery_key(),
        RecoveryKey::generate().unwrap().text(),
    )
    .unwrap();
    let programs = Recorder::default();
    let mut people = Prepared::typing(&typed[1..]);
    perform(typed[0], view, host(&paths, &programs), &mut people).unwrap();
    Typed {
        lines: programs.lines(),
        told: people.told.join("\n"),
        root,
    }
}

#[test]
fn the_recovery_key_is_shown_until_it_is_written_down() {
    let declined = type_at(&view(), &["1", "no"]);
    assert!(!declined.told.contains('█'));
    let kept = type_at(&view(), &["1", "yes", "later"]);
    let key = Paths::below(kept.root.path()).recovery_key();
    let text = std::fs::read_to_string(&key).unwrap();
    assert!(
        kept.told.contains(&text[..35]) && kept.told.contains('█'),
        "{}",
        kept.told
    );
    let written = type_at(&view(), &["1", "yes", "written"]);
    assert!(!Paths::below(written.root.path()).recovery_key().exists());
    // A box without one does not offer it.
    let mut without = view();
    without.has_recovery_key = false;
    assert!(type_at(&without, &["1"]).told.contains("no such choice"));
}

#[test]
fn a_reset_needs_the_server_s_name() {
    for wrong in ["", "yes", "interior", "INTERIOR.LU"] {
        let typed = type_at(&view(), &["3", wrong]);
        assert!(typed.lines.is_empty() && typed.told.contains("nothing was done"));
    }
    let typed = type_at(&view(), &["3", "interior.lu"]);
    assert_eq!(
        typed.lines,
        ["/usr/bin/systemctl --no-block start luxchat-reset.service"]
    );
}

#[test]
fn addresses_are_changed_when_they_make_sense_and_are_confirmed() {
    let typed = type_at(&view(), &["2", "3", "10.20.1.9/24", "10.20.1.1", "yes"]);
    assert_eq!(
        typed.lines,
        ["/usr/bin/systemctl restart luxchat-network.service"]
    );
    let paths = Paths::below(typed.root.path());
    let kept = Settings::load(&paths.network_override()).unwrap();
    assert_eq!(kept, Settings::fixed("10.20.1.9/24", "10.20.1.1").unwrap());
    for dropped in [
        &["2", "3", "10.20.1.9", ""][..],
        &["2", "9"],
        &["2", "2", "no"],
    ] {
        let typed = type_at(&view(), dropped);
        assert!(typed.lines.is_empty(), "{dropped:?}");
        assert!(!Paths::below(typed.root.path()).network_override().exists());
    }
}

#[test]
fn the_system_is_installed_on_another_disk_than_its_own() {
    let installer = View {
        is_installer: true,
        ..View::default()
    };
    // The system is on sda in this machine.
    let typed = type_at(&installer, &["5", "sdb", "sdb"]);
    assert_eq!(
        typed.lines,
        ["/usr/bin/systemctl start luxchat-install@sdb.service"]
    );
    for dropped in [&["5", "sda"][..], &["5", "sdb", "yes"], &["5", "../sdb"]] {
        assert!(type_at(&installer, dropped).lines.is_empty(), "{dropped:?}");
    }
    // A box in use does not offer it, and an installer no reset.
    assert!(type_at(&view(), &["5"]).told.contains("no such choice"));
    assert!(type_at(&installer, &["3"]).told.contains("no such choice"));
}

#[test]
fn nothing_else_does_anything() {
    for typed in ["", " ", "sh", "1; reboot", "\u{1b}", "6"] {
        assert!(type_at(&view(), &[typed]).lines.is_empty(), "{typed:?}");
    }
}
