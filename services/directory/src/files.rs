//! Which files there are in a repository.

use luxchat_bundle::ReleasePart;

/// What kind of file a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes with every publication under the same name.
    Changing,
    /// Named after its version or digest: never changes.
    Lasting,
    /// A part of a release: large, and never changes either.
    Release,
}

/// The kind of file that `part/name` is. `None` for everything that a repository does not hold,
/// and so for every attempt to leave it.
pub(crate) fn kind(part: &str, name: &str) -> Option<Kind> {
    match part {
        "metadata" if name == "timestamp.json" => Some(Kind::Changing),
        "metadata" => {
            let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
            let known = matches!(role, "root" | "snapshot" | "targets");
            (known && is_version(version)).then_some(Kind::Lasting)
        }
        "targets" => {
            let (digest, target) = name.split_once('.')?;
            if !is_digest(digest) {
                return None;
            }
            if target == luxchat_bundle::MEMBERS_FILE {
                return Some(Kind::Lasting);
            }
            ReleasePart::of(target).map(|_| Kind::Release)
        }
        _ => None,
    }
}

fn is_version(text: &str) -> bool {
    text.parse::<u64>()
        .is_ok_and(|version| version > 0 && version.to_string() == text)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_a_repository_are_known() {
        let digest = "0123456789abcdef".repeat(4);
        let members = format!("{digest}.members.json");
        let kernel = format!("{digest}.luxchat_0.2.0.efi");
        for (part, name, expected) in [
            ("metadata", "timestamp.json", Kind::Changing),
            ("metadata", "1.root.json", Kind::Lasting),
            (
                "metadata",
                "18446744073709551615.snapshot.json",
                Kind::Lasting,
            ),
            ("metadata", "20.targets.json", Kind::Lasting),
            ("targets", members.as_str(), Kind::Lasting),
            ("targets", kernel.as_str(), Kind::Release),
        ] {
            assert_eq!(kind(part, name), Some(expected), "{part}/{name}");
        }
        for (part, name) in [
            ("metadata", ""),
            ("metadata", "."),
            ("metadata", ".."),
            ("metadata", "../root.json"),
            ("metadata", "..%2froot.json"),
            ("metadata", "root.json"),
            ("metadata", "snapshot.json"),
            ("metadata", "01.root.json"),
            ("metadata", "0.root.json"),
            ("metadata", "+1.root.json"),
            ("metadata", "1.root.json/"),
            ("metadata", "1.root.json\0"),
            ("metadata", "1.timestamp.json"),
            ("metadata", "1..root.json"),
            ("metadata", "../targets.json"),
            ("metadata", ".new-abc"),
            ("targets", "members.json"),
            ("targets", "../../etc/passwd"),
            ("targets", &members.to_uppercase()),
            ("targets", &members[1..]),
            ("targets", &format!("{digest}.other.json")),
            ("targets", &format!("{digest}.luxchat_../1.efi")),
            ("targets", "luxchat_0.2.0.efi"),
            ("metadata", &kernel),
            ("", "timestamp.json"),
            (".", "root.json"),
            ("..", "timestamp.json"),
            ("keys", "tls.key"),
        ] {
            assert_eq!(kind(part, name), None, "{part}/{name}");
        }
    }
}
