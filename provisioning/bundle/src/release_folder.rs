//! The files of a release on this machine's disk: fetched piece by piece, and kept only once they are what was signed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};

use crate::{Error, Fingerprint, Release, ReleaseFile, Source, UpdateError, files};

/// How much is fetched at once, in bytes.
pub const PIECE_BYTES: u64 = 1024 * 1024;

const UNFINISHED: &str = ".part";

/// A folder with the files of one release at most, each whole and verified, or marked as
/// unfinished.
#[derive(Clone, Debug)]
pub struct ReleaseFolder(PathBuf);

/// How a file is called in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As in the repository, digest first.
    Digest,
    /// As it is installed.
    Plain,
}

impl Naming {
    fn of(self, file: &ReleaseFile) -> String {
        match self {
            Self::Digest => file.file_name(),
            Self::Plain => file.name.clone(),
        }
    }
}

impl ReleaseFolder {
    /// The folder at `path`, which is made when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether all of `release` is here.
    pub fn holds(&self, release: &Release, naming: Naming) -> bool {
        let whole = |file: &ReleaseFile| {
            fs::metadata(self.0.join(naming.of(file))).is_ok_and(|it| it.len() == file.length)
        };
        release.files.iter().all(whole)
    }

    /// How many bytes of `release` are still to come.
    pub fn missing(&self, release: &Release, naming: Naming) -> u64 {
        let here = |file: &ReleaseFile| {
            let path = self.0.join(naming.of(file));
            let of = |path: &Path| fs::metadata(path).map_or(0, |it| it.len());
            of(&path).max(of(&unfinished(&path))).min(file.length)
        };
        let files = release.files.iter();
        files.map(|file| file.length - here(file)).sum()
    }

    /// Fetches what is missing of `release`, going on where an interruption left off. What is here
    /// of other releases goes first.
    ///
    /// # Errors
    /// The source does not deliver, or delivered something else than what was signed: that is
    /// thrown away.
    pub async fn fetch(
        &self,
        release: &Release,
        source: &dyn Source,
        naming: Naming,
    ) -> Result<(), UpdateError> {
        files::create_folder(&self.0).map_err(UpdateError::Store)?;
        self.keep_only(release, naming)
            .map_err(UpdateError::Store)?;
        for file in &release.files {
            let path = self.0.join(naming.of(file));
            if !path.exists() {
                fetch_file(file, &path, source).await?;
            }
        }
        files::sync_folder(&self.0).map_err(UpdateError::Store)
    }

    /// Removes what is here, but for files of `release`.
    pub fn keep_only(&self, release: &Release, naming: Naming) -> Result<(), Error> {
        let kept: Vec<_> = release.files.iter().map(|file| naming.of(file)).collect();
        self.remove(|name| {
            let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
            kept.iter().any(|it| it == name)
        })
    }

    /// Removes everything.
    pub fn clear(&self) -> Result<(), Error> {
        self.remove(|_| false)
    }

    fn remove(&self, keeps: impl Fn(&str) -> bool) -> Result<(), Error> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(files::io_error("read", &self.0, error)),
        };
        for entry in entries.flatten() {
            if !keeps(&entry.file_name().to_string_lossy()) {
                let path = entry.path();
                fs::remove_file(&path)
                    .map_err(|source| files::io_error("remove", &path, source))?;
            }
        }
        Ok(())
    }
}

/// Whether the file at `path` is what was signed as `file`.
///
/// # Errors
/// It is not, or cannot be read.
pub fn check_release_file(path: &Path, file: &ReleaseFile) -> Result<(), UpdateError> {
    let fault = |source| UpdateError::Store(files::io_error("read", path, source));
    let mut opened = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(UpdateError::Missing(file.path()));
        }
        opened => opened.map_err(fault)?,
    };
    let length = opened.metadata().map_err(fault)?.len();
    let digest = digest(&mut opened).map_err(fault)?;
    if length == file.length && digest == file.digest {
        return Ok(());
    }
    Err(UpdateError::Tampered(file.path()))
}

/// SHA-256 of what is left of a file.
pub fn digest(file: &mut impl Read) -> io::Result<Fingerprint> {
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        context.update(&piece[..read]);
    }
    Fingerprint::from_digest(context.finish().as_ref())
        .ok_or_else(|| io::Error::other("a digest has another length"))
}

async fn fetch_file(
    file: &ReleaseFile,
    path: &Path,
    source: &dyn Source,
) -> Result<(), UpdateError> {
    let part = unfinished(path);
    let fault = |error| UpdateError::Store(files::io_error("write", &part, error));
    let mut out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&part)
        .map_err(fault)?;
    let mut here = out.metadata().map_err(fault)?.len();
    if here > file.length {
        out.set_len(0).map_err(fault)?;
        here = 0;
    }
    while here < file.length {
        let wanted = PIECE_BYTES.min(file.length - here);
        let piece = source
            .fetch_part(&file.path(), here, wanted)
            .await
            .map_err(|error| match error {
                crate::SourceError::NotFound => UpdateError::Missing(file.path()),
                crate::SourceError::Failed(why) => {
                    UpdateError::Fetch(format!("{}: {why}", file.path()))
                }
            })?;
        if piece.is_empty() || piece.len() as u64 > wanted {
            return Err(UpdateError::Tampered(file.path()));
        }
        out.write_all(&piece).map_err(fault)?;
        here += piece.len() as u64;
    }
    out.sync_all().map_err(fault)?;
    let (checked, signed) = (part.clone(), file.clone());
    let sound = tokio::task::spawn_blocking(move || check_release_file(&checked, &signed))
        .await
        .expect("the task is not aborted, and reading a file does not panic");
    if let Err(error) = sound {
        // Nothing of it can be told from what was changed.
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    fs::rename(&part, path).map_err(fault)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::{DirectorySource, SourceError, SourceFuture};

    /// Breaks off after so many pieces.
    #[derive(Debug)]
    struct Flaky {
        folder: DirectorySource,
        left: AtomicU64,
        served: AtomicU64,
    }

    impl Source for Flaky {
        fn fetch<'a>(&'a self, path: &'a str, limit: u64) -> SourceFuture<'a> {
            self.folder.fetch(path, limit)
        }

        fn fetch_part<'a>(&'a self, path: &'a str, from: u64, length: u64) -> SourceFuture<'a> {
            if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
                return Box::pin(async { Err(SourceError::Failed("the line is cut".to_owned())) });
            }
            self.served.fetch_add(length, Ordering::Relaxed);
            self.folder.fetch_part(path, from, length)
        }
    }

    struct Site {
        folder: tempfile::TempDir,
        release: Release,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("targets")).unwrap();
            let uuid = "0123abcd-0123-4567-89ab-0123456789ab";
            let files = [
                (format!("luxchat_2_{uuid}.root"), 5 * PIECE_BYTES / 2),
                (format!("luxchat_2_{uuid}.verity"), 17),
                ("luxchat_2.efi".to_owned(), PIECE_BYTES),
            ]
            .map(|(name, length)| {
                let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                let file = ReleaseFile {
                    name,
                    length,
                    digest: Fingerprint::of(&bytes),
                };
                fs::write(folder.path().join(file.path()), bytes).unwrap();
                file
            });
            let release = Release::collect(files).unwrap().remove(0);
            Self { folder, release }
        }

        fn source(&self, pieces: u64) -> Flaky {
            Flaky {
                folder: DirectorySource::new(self.folder.path()),
                left: AtomicU64::new(pieces),
                served: AtomicU64::new(0),
            }
        }

        fn kept(&self) -> ReleaseFolder {
            ReleaseFolder::new(self.folder.path().join("kept"))
        }
    }

    #[tokio::test]
    async fn an_interrupted_fetch_goes_on_where_it_was() {
        let site = Site::new();
        let kept = site.kept();
        assert_eq!(
            kept.missing(&site.release, Naming::Plain),
            site.release.length()
        );
        let cut = site.source(2);
        let error = kept.fetch(&site.release, &cut, Naming::Plain).await;
        assert!(matches!(error, Err(UpdateError::Fetch(_))), "{error:?}");
        assert!(!kept.holds(&site.release, Naming::Plain));
        let left = kept.missing(&site.release, Naming::Plain);
        assert_eq!(left, site.release.length() - 2 * PIECE_BYTES);

        let rest = site.source(100);
        kept.fetch(&site.release, &rest, Naming::Plain)
            .await
            .unwrap();
        assert_eq!(rest.served.load(Ordering::Relaxed), left);
        assert!(kept.holds(&site.release, Naming::Plain));
        for file in &site.release.files {
            check_release_file(&kept.path().join(&file.name), file).unwrap();
        }
        let again = site.source(0);
        kept.fetch(&site.release, &again, Naming::Plain)
            .await
            .unwrap();
        kept.clear().unwrap();
        assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_flipped_bit_is_refused_and_nothing_of_it_kept() {
        let site = Site::new();
        let root = site.folder.path().join(site.release.files[0].path());
        let mut bytes = fs::read(&root).unwrap();
        bytes[1_000_000] ^= 1;
        fs::write(&root, bytes).unwrap();
        let kept = site.kept();
        let error = kept
            .fetch(&site.release, &site.source(100), Naming::Digest)
            .await
            .unwrap_err();
        assert!(matches!(error, UpdateError::Tampered(_)), "{error}");
        assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_missing_or_cut_short_is_named() {
        let site = Site::new();
        let kernel = site.folder.path().join(site.release.files[2].path());
        File::options()
            .write(true)
            .open(&kernel)
            .unwrap()
            .set_len(PIECE_BYTES - 1)
            .unwrap();
        let fetch = async || {
            let kept = site.kept();
            kept.fetch(&site.release, &site.source(100), Naming::Digest)
                .await
                .unwrap_err()
        };
        assert!(matches!(fetch().await, UpdateError::Tampered(_)));
        fs::remove_file(&kernel).unwrap();
        let error = fetch().await;
        assert!(matches!(error, UpdateError::Missing(_)), "{error}");
        assert!(error.to_string().contains("luxchat_2.efi"), "{error}");
    }

    #[tokio::test]
    async fn the_files_of_another_release_make_room() {
        let site = Site::new();
        let kept = site.kept();
        files::create_folder(kept.path()).unwrap();
        let old = kept.path().join("luxchat_1.efi");
        fs::write(&old, "old").unwrap();
        kept.fetch(&site.release, &site.source(100), Naming::Plain)
            .await
            .unwrap();
        assert!(!old.exists());
    }
}
