//! Orders to one box.

use luxchat_bundle::{Action, Fingerprint};
use luxchat_provision::{KeyName, KeyRole, site_action};

use crate::nation::{Nation, Without, everybody, now, request};

#[test]
fn a_box_follows_an_order_that_the_holders_signed() {
    let mut nation = Nation::new();
    let (keys, _) = nation.enrol("interior.lu");
    let asked = request("interior.lu", &keys);
    let name = "interior.lu".parse().unwrap();
    let order = nation
        .authority
        .order(&asked, Action::Reset {}, 7, &everybody(), now())
        .unwrap();
    let store = nation.trust_store("trust");
    let key = keys.tls_key_fingerprint();
    store.check_order(&order, &name, key, now()).unwrap();

    // The box that was reset has another key.
    let other = nation.box_keys("again").tls_key_fingerprint();
    assert!(store.check_order(&order, &name, other, now()).is_err());
    // One holder of two is not enough.
    let (holders, threshold) = nation.authority.quorum(KeyRole::Targets);
    assert_eq!((holders.len(), threshold), (2, 2));
    let one = Without(&[KeyName::Targets(1)]);
    let too_few = nation
        .authority
        .order(&asked, Action::Reset {}, 7, &one, now());
    assert!(too_few.is_err());
    // Nobody is ordered who is not a member.
    let stranger = request("stranger.lu", &nation.box_keys("stranger"));
    let refused = nation
        .authority
        .order(&stranger, Action::Reset {}, 7, &everybody(), now());
    assert!(refused.unwrap_err().to_string().contains("stranger.lu"));
}

#[test]
fn a_site_order_names_each_file_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("new-site.toml");
    let with = folder.path().join("with");
    std::fs::create_dir(&with).unwrap();
    std::fs::write(&site, "server_name").unwrap();
    std::fs::write(with.join("client.crt"), "certificate").unwrap();
    let Action::Site { files } = site_action(&site, Some(&with)).unwrap() else {
        panic!("it is no order for a site file");
    };
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["files/client.crt", "site.toml"]);
    assert_eq!(files["files/client.crt"], Fingerprint::of(b"certificate"));
}
