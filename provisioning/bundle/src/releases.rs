//! Releases of the box's operating system, as the signed repository names them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use tough::schema::Targets;

use crate::{Error, Fingerprint, text_form::text_form};

/// The largest file of a release, in bytes.
pub const MAX_RELEASE_FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// How many releases a repository names at most.
pub const MAX_RELEASES: usize = 8;

const PRODUCT: &str = "luxchat";
const MAX_PARTS: usize = 4;

/// The version of a release: one to four numbers with dots between them, ordered as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseVersion(Vec<u32>);

impl FromStr for ReleaseVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = || Error::Release(format!("{:?} is no version", clip(text)));
        let numbers: Vec<u32> = text
            .split('.')
            .take(MAX_PARTS + 1)
            .map(|part| part.parse().map_err(|_| fault()))
            .collect::<Result<_, _>>()?;
        let version = Self(numbers);
        // One spelling: no signs, no leading zeros.
        if version.0.len() > MAX_PARTS || version.to_string() != text {
            return Err(fault());
        }
        Ok(version)
    }
}

impl fmt::Display for ReleaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

text_form!(ReleaseVersion);

/// What a file of a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleasePart {
    /// The root file system: `luxchat_VERSION_UUID.root`.
    Root,
    /// Its hashes: `luxchat_VERSION_UUID.verity`.
    Verity,
    /// The kernel image with the root hash: `luxchat_VERSION.efi`.
    Kernel,
}

impl ReleasePart {
    const ALL: [Self; 3] = [Self::Root, Self::Verity, Self::Kernel];

    /// Which part of which release a file name stands for. `None` for every other name, and so for
    /// each one that would leave its folder.
    pub fn of(name: &str) -> Option<(ReleaseVersion, Self)> {
        let rest = name.strip_prefix(PRODUCT)?.strip_prefix('_')?;
        if let Some(version) = rest.strip_suffix(".efi") {
            return Some((version.parse().ok()?, Self::Kernel));
        }
        let (rest, part) = match rest.strip_suffix(".root") {
            Some(rest) => (rest, Self::Root),
            None => (rest.strip_suffix(".verity")?, Self::Verity),
        };
        let (version, uuid) = rest.split_once('_')?;
        is_uuid(uuid).then_some(())?;
        Some((version.parse().ok()?, part))
    }
}

/// One file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseFile {
    /// Its name, by the pattern under which the box installs it.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its content.
    pub digest: Fingerprint,
}

impl ReleaseFile {
    /// Its path inside the repository.
    pub fn path(&self) -> String {
        format!("targets/{}", self.file_name())
    }

    /// Its name among the targets of the repository.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.digest, self.name)
    }
}

/// All that is needed to install one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Which.
    pub version: ReleaseVersion,
    /// Root file system, hashes and kernel image, in this order.
    pub files: Vec<ReleaseFile>,
}

impl Release {
    /// The releases among `files`, oldest first. What is no file of a release is passed over.
    ///
    /// # Errors
    /// A release of which a part is missing or there twice, a file that is too large, or too many
    /// releases.
    pub fn collect(files: impl IntoIterator<Item = ReleaseFile>) -> Result<Vec<Self>, Error> {
        let mut parts: Vec<(ReleaseVersion, ReleasePart, ReleaseFile)> = files
            .into_iter()
            .filter_map(|file| {
                let (version, part) = ReleasePart::of(&file.name)?;
                Some((version, part, file))
            })
            .collect();
        if parts.len() > MAX_RELEASES * ReleasePart::ALL.len() {
            return Err(Error::TooLarge {
                what: "list of releases".to_owned(),
                limit: MAX_RELEASES,
            });
        }
        if let Some((_, _, file)) = parts
            .iter()
            .find(|(_, _, file)| file.length == 0 || file.length > MAX_RELEASE_FILE_BYTES)
        {
            let (name, length) = (&file.name, file.length);
            return Err(Error::Release(format!("{name} cannot have {length} bytes")));
        }
        parts.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        parts
            .chunk_by(|a, b| a.0 == b.0)
            .map(|parts| {
                let version = parts[0].0.clone();
                if !parts.iter().map(|it| it.1).eq(ReleasePart::ALL) {
                    return Err(Error::Release(format!(
                        "release {version} must have one root file system, its hashes and one kernel image"
                    )));
                }
                let files = parts.iter().map(|it| it.2.clone()).collect();
                Ok(Self { version, files })
            })
            .collect()
    }

    /// What a signed list of targets says of releases.
    pub(crate) fn in_targets(targets: &Targets) -> Result<Vec<Self>, Error> {
        let files = targets.targets.iter().filter_map(|(name, target)| {
            Some(ReleaseFile {
                name: name.raw().to_owned(),
                length: target.length,
                digest: Fingerprint::from_digest(&target.hashes.sha256)?,
            })
        });
        Self::collect(files)
    }

    /// The bytes of all its files.
    pub fn length(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }
}

/// Lower-case hexadecimal digits in groups of 8, 4, 4, 4 and 12.
fn is_uuid(text: &str) -> bool {
    let digits = |group: &str| {
        group
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(digits)
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0123abcd-0123-4567-89ab-0123456789ab";

    fn file(name: &str) -> ReleaseFile {
        ReleaseFile {
            name: name.to_owned(),
            length: 4096,
            digest: Fingerprint::of(name.as_bytes()),
        }
    }

    fn names(version: &str) -> [String; 3] {
        [
            format!("luxchat_{version}.efi"),
            format!("luxchat_{version}_{UUID}.root"),
            format!("luxchat_{version}_{UUID}.verity"),
        ]
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        let version = |text: &str| text.parse::<ReleaseVersion>().unwrap();
        assert!(version("0.10.0") > version("0.9.9"));
        assert!(version("1") < version("1.0"));
        assert_eq!(version("1.2.3.4").to_string(), "1.2.3.4");
        for bad in [
            "",
            ".",
            "1.",
            "01",
            "+1",
            "1.2.3.4.5",
            "a",
            "1_2",
            "4294967296",
            "1 ",
        ] {
            assert!(bad.parse::<ReleaseVersion>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn only_names_by_the_pattern_are_parts() {
        for name in names("1.2") {
            assert!(ReleasePart::of(&name).is_some(), "{name}");
        }
        for bad in [
            "members.json".to_owned(),
            "luxchat_1.2".to_owned(),
            "luxchat_1.2.efi.efi".to_owned(),
            "luxchat_../1.efi".to_owned(),
            "../luxchat_1.efi".to_owned(),
            "luxchat_1.2_uuid.root".to_owned(),
            format!("luxchat_1.2_{}.root", UUID.to_uppercase()),
            format!("luxchat_1.2_{UUID}.raw"),
            format!("other_1.2_{UUID}.root"),
        ] {
            assert!(ReleasePart::of(&bad).is_none(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_release_is_whole_or_refused() {
        let both = names("0.10").into_iter().chain(names("0.9"));
        let files = both.chain(["members.json".to_owned()]);
        let releases = Release::collect(files.map(|it| file(&it))).unwrap();
        let versions: Vec<_> = releases.iter().map(|it| it.version.to_string()).collect();
        assert_eq!(versions, ["0.9", "0.10"]);
        assert_eq!(releases[0].length(), 3 * 4096);
        assert_eq!(releases[0].files[2].name, "luxchat_0.9.efi");

        let half = names("1").into_iter().skip(1).map(|it| file(&it));
        let error = Release::collect(half).unwrap_err().to_string();
        assert!(error.contains("release 1 must have"), "{error}");
        let other = file("luxchat_1_ffffffff-0123-4567-89ab-0123456789ab.root");
        let twice = names("1").into_iter().map(|it| file(&it)).chain([other]);
        assert!(Release::collect(twice.collect::<Vec<_>>()).is_err());
        let mut large = names("1").map(|it| file(&it));
        large[0].length = MAX_RELEASE_FILE_BYTES + 1;
        assert!(Release::collect(large).is_err());
        let many = (0..=MAX_RELEASES).flat_map(|n| names(&n.to_string()));
        assert!(Release::collect(many.map(|it| file(&it))).is_err());
    }
}
