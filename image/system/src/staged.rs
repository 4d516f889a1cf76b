//! What a stick holds, copied before it is looked at: a stick that answers differently the second time changes nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use luxchat_bundle::{
    MAX_MEMBERS_BYTES, MEMBERS_FILE,
    files::{self, Access},
};

use crate::host::Host;

/// A folder of a stick with more entries than this is not looked through.
const MAX_ENTRIES: usize = 4_096;
/// More than this in all is not taken from a stick.
const MAX_TOTAL: usize = 96 * MIB;
/// So many faults are told at once.
const MAX_FAULTS: usize = 20;
/// The longest name of a file.
const MAX_NAME: usize = 128;
const MIB: usize = 1024 * 1024;
const KIB: usize = 1024;

/// The folders that are looked into, `""` being the stick itself.
const FOLDERS: &[&str] = &[
    "",
    "files",
    "enrolment",
    "repository/metadata",
    "repository/targets",
];

/// What becomes of a file on the stick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// It is copied if it has at most this many bytes.
    Take(usize),
    /// It is none of these programs' business.
    Leave,
    /// It has no business there.
    Refuse(&'static str),
}

/// A copy of what matters on a stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    folder: PathBuf,
}

impl Staged {
    /// Copies what matters on the stick in `stick`, in place of what was copied before.
    ///
    /// # Errors
    ///
    /// Everything that is too large or has the wrong form, in words. Then nothing is left of the copy.
    pub fn copy(stick: &Path, host: Host<'_>) -> Result<Self> {
        let folder = host.paths.staging();
        let staged = Self { folder };
        staged.remove()?;
        let copied = staged.fill(stick, host);
        if copied.is_err() {
            staged.remove()?;
        }
        copied.map(|()| staged)
    }

    /// The copy that a folder holds already.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Removes the copy: it may hold secrets.
    pub fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// The site file, if there is one.
    pub fn site(&self) -> Option<PathBuf> {
        self.file("site.toml")
    }

    /// The folder of the files that come with the site file. It is there, and may be empty.
    pub fn site_files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// The order to take the site file, if there is one.
    pub fn site_order(&self) -> Option<PathBuf> {
        self.file("site-order.json")
    }

    /// The order for a factory reset, if there is one.
    pub fn reset_order(&self) -> Option<PathBuf> {
        self.file("reset.json")
    }

    /// What lets a box in without a second visit, if there is one.
    pub fn voucher(&self) -> Option<PathBuf> {
        self.file("voucher.json")
    }

    /// The authority's answers, to this box and to others.
    pub fn answers(&self) -> Result<Vec<PathBuf>> {
        let mut answers = list(&self.folder.join("enrolment"))?;
        answers.extend(self.file("enrolment.json"));
        answers.sort();
        Ok(answers)
    }

    /// The authority's publication, if there is one.
    pub fn repository(&self) -> Option<PathBuf> {
        self.file("repository/metadata/timestamp.json")
            .map(|_| self.folder.join("repository"))
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name)).filter(|path| path.is_file())
    }

    fn fill(&self, stick: &Path, host: Host<'_>) -> Result<()> {
        let mut faults = Vec::new();
        let mut total = 0;
        for folder in FOLDERS {
            let there = self.folder.join(folder);
            files::create_folder(&there)?;
            for above in there
                .ancestors()
                .take_while(|it| it.starts_with(&self.folder))
            {
                host.let_appliance_read(above)?;
            }
            for path in list(&stick.join(folder))? {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let place = if folder.is_empty() {
                    name.clone()
                } else {
                    format!("{folder}/{name}")
                };
                let limit = match rule(&place) {
                    Rule::Leave => continue,
                    Rule::Refuse(why) => {
                        faults.push(format!("{place}: {why}"));
                        continue;
                    }
                    Rule::Take(limit) => limit.min(MAX_TOTAL - total),
                };
                match files::read(&path, limit) {
                    Ok(bytes) => {
                        total += bytes.len();
                        let copy = there.join(&name);
                        files::create(&copy, &bytes, Access::Private)?;
                        host.let_appliance_read(&copy)?;
                    }
                    Err(error) => faults.push(format!("{place}: {error}")),
                }
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        let more = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        anyhow::bail!("the stick is not as it should be: {}", faults.join("; "))
    }
}

/// The files in a folder, in order. None where there is no folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        if paths.len() == MAX_ENTRIES {
            anyhow::bail!("{} has more than {MAX_ENTRIES} entries", folder.display());
        }
        let path = entry?.path();
        if !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn rule(place: &str) -> Rule {
    let (folder, name) = place.rsplit_once('/').unwrap_or(("", place));
    if name.starts_with('.') {
        return Rule::Leave;
    }
    match folder {
        "" => match name {
            "site.toml" => Rule::Take(MIB),
            "site-order.json" | "reset.json" | "voucher.json" => Rule::Take(256 * KIB),
            "enrolment.json" => Rule::Take(2 * MIB),
            _ => Rule::Leave,
        },
        "files" if is_plain(name) => Rule::Take(MIB),
        "files" => {
            Rule::Refuse("a name has letters, digits, points, hyphens and underscores alone")
        }
        "enrolment" if has_ending(name, "json") => Rule::Take(2 * MIB),
        "repository/metadata" if has_ending(name, "json") => Rule::Take(MIB),
        "repository/targets" if name.ends_with(MEMBERS_FILE) => Rule::Take(MAX_MEMBERS_BYTES),
        _ => Rule::Leave,
    }
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == ending)
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= MAX_NAME && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::tests::host, paths::Paths, programs::tests::Recorder};

    fn copy(stick: &Path, root: &Path) -> Result<Staged> {
        let paths = Paths::below(root);
        let programs = Recorder::default();
        let host = host(&paths, &programs);
        Staged::copy(stick, host)
    }

    fn put(stick: &Path, name: &str, bytes: &[u8]) {
        let path = stick.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_matters_is_copied_and_the_rest_is_left() {
        let (stick, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let stick = stick.path();
        put(stick, "site.toml", b"site");
        put(stick, "files/client.key", b"key");
        put(stick, "enrolment/interior.lu.json", b"{}");
        put(stick, "repository/metadata/timestamp.json", b"{}");
        put(stick, "repository/targets/ab.members.json", b"{}");
        put(stick, "repository/targets/ab.luxchat_1.efi", &[0; 64]);
        put(stick, "holiday.jpg", &[0; 64]);
        put(stick, ".Trash/site.toml", b"");
        let staged = copy(stick, root.path()).unwrap();
        assert_eq!(std::fs::read(staged.site().unwrap()).unwrap(), b"site");
        assert_eq!(staged.answers().unwrap().len(), 1);
        let repository = staged.repository().unwrap();
        assert!(repository.join("targets/ab.members.json").is_file());
        assert!(!repository.join("targets/ab.luxchat_1.efi").exists());
        assert!(!root.path().join("run/luxchat/staging/holiday.jpg").exists());
        assert_eq!(staged.voucher(), None);

        // A later stick brings its own.
        let other = tempfile::tempdir().unwrap();
        let staged = copy(other.path(), root.path()).unwrap();
        assert_eq!((staged.site(), staged.repository()), (None, None));
        assert!(!staged.site_files().join("client.key").exists());
    }

    #[test]
    fn every_fault_is_told_and_nothing_is_taken() {
        let (stick, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(stick.path(), "site.toml", &vec![b'#'; MIB + 1]);
        put(stick.path(), "files/..evil name", b"");
        put(stick.path(), "files/a b", b"");
        put(stick.path(), "enrolment/a.json", &vec![b' '; 2 * MIB]);
        let error = copy(stick.path(), root.path()).unwrap_err().to_string();
        assert!(
            error.contains("site.toml") && error.contains("files/a b"),
            "{error}"
        );
        assert!(!error.contains("enrolment"), "{error}");
        assert!(!root.path().join("run/luxchat/staging").exists());
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_no_file() {
        let (stick, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(stick.path().join("site.toml")).unwrap();
        assert_eq!(copy(stick.path(), root.path()).unwrap().site(), None);
    }
}
