//! A throwaway authority for the tests of other crates.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::path::Path;

use jiff::Timestamp;
use luxchat_bundle::{RequestDetails, Role};

use crate::{Authority, KeyCost, Plan, Quorum, SamePassphrase, Settings};

/// An authority in `folder` with one key for each role, all with the same [`passphrase`].
pub fn authority(folder: &Path, now: Timestamp) -> Authority {
    let one = Quorum {
        keys: 1,
        threshold: 1,
    };
    let plan = Plan {
        settings: Settings::new("Test Nation"),
        root: one,
        targets: one,
        cost: KeyCost::NEGLIGIBLE,
    };
    Authority::init(folder, &plan, &passphrase(), now).unwrap()
}

/// The passphrase of its keys.
pub fn passphrase() -> SamePassphrase {
    SamePassphrase::new("correct horse battery staple")
}

/// A moment for tests that take place at no particular one: at noon.
pub fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// What a server says of itself in a request made [`now`].
pub fn details(name: &str, role: Role) -> RequestDetails {
    RequestDetails {
        server_name: name.parse().unwrap(),
        display_name: name.to_owned(),
        role,
        endpoints: vec![format!("{name}:8448").parse().unwrap()],
        created_at: now(),
    }
}
