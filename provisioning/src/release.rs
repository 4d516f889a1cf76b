//! Releases of the box's operating system, as the authority publishes them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use luxchat_bundle::{
    MAX_RELEASES, Release, ReleaseFile, ReleasePart, ReleaseVersion, check_release_file, digest,
    files,
};

use crate::{Authority, Error, authority::RELEASES};

impl Authority {
    /// The releases as of the next publication, oldest first.
    pub fn releases(&self) -> Result<Vec<Release>, Error> {
        Ok(Release::collect(self.release_files.iter().cloned())?)
    }

    /// Takes up the files of one release: root file system, hashes and kernel image, under the
    /// names that the image's builder gave them. They are copied into the authority's folder. Boxes
    /// learn of it with the next publication.
    pub fn add_release(&mut self, paths: &[PathBuf], now: Timestamp) -> Result<Release, Error> {
        let found = paths
            .iter()
            .map(|path| release_file(path))
            .collect::<Result<Vec<_>, _>>()?;
        let mut releases = Release::collect(found)?;
        let (Some(release), true) = (releases.pop(), releases.is_empty()) else {
            return Err(Error::OneRelease);
        };
        let known = self.releases()?;
        if known.iter().any(|it| it.version == release.version) {
            return Err(Error::ReleaseExists(release.version));
        }
        if let Some(newest) = known.last().filter(|it| it.version > release.version) {
            return Err(Error::OlderRelease {
                version: release.version,
                newest: newest.version.clone(),
            });
        }
        if known.len() >= MAX_RELEASES {
            return Err(Error::TooManyReleases(MAX_RELEASES));
        }
        self.journal(now, &format!("release add {}", release.version))?;
        let folder = self.folder.join(RELEASES);
        files::create_folder(&folder)?;
        for path in paths {
            let file = release_file(path)?;
            put(path, &folder.join(&file.name), &file)?;
        }
        let mut all = self.release_files.clone();
        all.extend(release.files.iter().cloned());
        self.set_release_files(all)?;
        Ok(release)
    }

    /// Publishes a release no longer. Boxes that have it keep it.
    pub fn remove_release(
        &mut self,
        version: &ReleaseVersion,
        now: Timestamp,
    ) -> Result<(), Error> {
        let known = self.releases()?;
        let release = known.into_iter().find(|it| it.version == *version);
        let release = release.ok_or_else(|| Error::NoRelease(version.clone()))?;
        self.journal(now, &format!("release remove {version}"))?;
        let mut left = self.release_files.clone();
        left.retain(|file| !release.files.contains(file));
        self.set_release_files(left)?;
        for file in &release.files {
            remove(&self.folder.join(RELEASES).join(&file.name))?;
        }
        Ok(())
    }

    /// Puts the files of all releases among the targets of the repository in `folder`. What is
    /// there already is looked at, not copied again.
    pub(crate) fn put_releases(&self, folder: &Path) -> Result<Vec<String>, Error> {
        let mut paths = Vec::new();
        for file in &self.release_files {
            let to = folder.join(file.path());
            if check_release_file(&to, file).is_err() {
                files::create_folder(&folder.join("targets"))?;
                remove(&to)?;
                put(&self.folder.join(RELEASES).join(&file.name), &to, file)?;
            }
            paths.push(file.path());
        }
        Ok(paths)
    }
}

/// What the file at `path` is as a part of a release.
fn release_file(path: &Path) -> Result<ReleaseFile, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if ReleasePart::of(&name).is_none() {
        return Err(Error::NotReleaseFile(path.to_owned()));
    }
    let fault = |source| io_error("read", path, source);
    let mut file = File::open(path).map_err(fault)?;
    let length = file.metadata().map_err(fault)?.len();
    Ok(ReleaseFile {
        name: name.into_owned(),
        length,
        digest: digest(&mut file).map_err(fault)?,
    })
}

/// Copies a file, checks the copy, and puts it under its name, on disk when this returns.
fn put(from: &Path, to: &Path, file: &ReleaseFile) -> Result<(), Error> {
    let mut name = to.as_os_str().to_owned();
    name.push(".new");
    let unfinished = PathBuf::from(name);
    let copied = fs::copy(from, &unfinished)
        .and_then(|_| File::open(&unfinished))
        .and_then(|copy| copy.sync_all());
    copied.map_err(|source| io_error("copy", from, source))?;
    check_release_file(&unfinished, file)?;
    fs::rename(&unfinished, to).map_err(|source| io_error("write", to, source))?;
    if let Some(folder) = to.parent() {
        files::sync_folder(folder)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Bundle(luxchat_bundle::Error::Io {
        action,
        path: path.to_owned(),
        source,
    })
}
