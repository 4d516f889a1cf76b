//! Debian packages, unpacked without running anything of theirs.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tar::EntryType;

/// The largest file that a package may hold.
const MAX_FILE: u64 = 512 * 1024 * 1024;

/// Directories that are links into `/usr`, where packages may still write through them.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Unpacks the files that `keep` takes below `root`, and tells the paths of all that the package has.
pub(crate) fn unpack(
    deb: &Path,
    root: &Path,
    mut keep: impl FnMut(&str) -> bool,
) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    read(deb, |path, entry| {
        if keep(path) {
            place(root, path, entry).with_context(|| format!("unpacking {path}"))?;
        }
        paths.push(path.to_owned());
        Ok(())
    })?;
    Ok(paths)
}

/// Reads the files of a package that `wanted` names, without writing any.
pub(crate) fn contents(
    deb: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, Content)>> {
    let mut found = Vec::new();
    read(deb, |path, entry| {
        if !wanted(path) {
            return Ok(());
        }
        let content = if entry.header().entry_type() == EntryType::Symlink {
            Content::Link(link_target(entry)?)
        } else {
            let mut bytes = Vec::new();
            entry.take(MAX_FILE).read_to_end(&mut bytes)?;
            Content::File(bytes)
        };
        found.push((path.to_owned(), content));
        Ok(())
    })?;
    Ok(found)
}

/// What stands at a path of a package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    File(Vec<u8>),
    Link(PathBuf),
}

type Data<'a> = Box<dyn Read + 'a>;
type Entry<'a, 'b> = tar::Entry<'a, Data<'b>>;

fn read(deb: &Path, mut each: impl FnMut(&str, &mut Entry<'_, '_>) -> Result<()>) -> Result<()> {
    let context = || format!("{} is not a Debian package", deb.display());
    let mut outer = ar::Archive::new(BufReader::new(File::open(deb).with_context(context)?));
    while let Some(member) = outer.next_entry() {
        let member = member.with_context(context)?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let data: Data<'_> = match name.as_str() {
            "data.tar.xz" => Box::new(liblzma::read::XzDecoder::new(member)),
            "data.tar.zst" => Box::new(zstd::Decoder::new(member)?),
            "data.tar" => Box::new(member),
            other if other.starts_with("data.tar") => {
                bail!("{}: {other} is packed in an unknown way", deb.display())
            }
            _ => continue,
        };
        let mut archive = tar::Archive::new(data);
        for entry in archive.entries().with_context(context)? {
            let mut entry = entry.with_context(context)?;
            let path = inside(&entry.path()?)?;
            if !path.is_empty() {
                each(&path, &mut entry)?;
            }
        }
        return Ok(());
    }
    bail!("{} has no data", deb.display())
}

/// A path as it stands in the merged tree, refused when it leads out of it.
fn inside(path: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir | Component::RootDir => {}
            Component::Normal(part) => parts.push(part.to_str().context("a name is not UTF-8")?),
            _ => bail!("{} leads out of the tree", path.display()),
        }
    }
    let merged = parts.first().is_some_and(|first| MERGED.contains(first));
    if merged && parts.len() > 1 {
        parts.insert(0, "usr");
    }
    Ok(parts.join("/"))
}

fn place(root: &Path, path: &str, entry: &mut Entry<'_, '_>) -> Result<()> {
    let target = root.join(path);
    let kind = entry.header().entry_type();
    // Set-user-id and set-group-id bits are never taken over.
    let mode = entry.header().mode()? & 0o1777;
    if kind == EntryType::Directory {
        if !target.is_symlink() {
            fs::create_dir_all(&target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
        return Ok(());
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if target.is_symlink() || target.is_file() {
        fs::remove_file(&target)?;
    }
    match kind {
        EntryType::Regular => {
            let mut file = File::create_new(&target)?;
            std::io::copy(&mut entry.take(MAX_FILE), &mut file)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
        EntryType::Symlink => symlink(link_target(entry)?, &target)?,
        EntryType::Link => {
            let source = root.join(inside(&link_target(entry)?)?);
            fs::copy(&source, &target)
                .with_context(|| format!("the file that {path} is a second name of"))?;
        }
        other => bail!("a {other:?} has no place in a package"),
    }
    Ok(())
}

fn link_target(entry: &Entry<'_, '_>) -> Result<PathBuf> {
    Ok((entry.link_name()?)
        .context("a link to nowhere")?
        .into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package whose data holds the given files and links.
    fn package(folder: &Path, files: &[(&str, u32, &str)], links: &[(&str, &str)]) -> PathBuf {
        let mut data = tar::Builder::new(liblzma::write::XzEncoder::new(Vec::new(), 1));
        for (path, mode, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(*mode);
            data.append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
        for (path, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            data.append_link(&mut header, path, target).unwrap();
        }
        let data = data.into_inner().unwrap().finish().unwrap();
        let deb = folder.join("package.deb");
        let mut outer = ar::Builder::new(File::create(&deb).unwrap());
        for (name, bytes) in [
            ("debian-binary", &b"2.0\n"[..]),
            ("control.tar.xz", &b""[..]),
            ("data.tar.xz", &data),
        ] {
            let header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
            outer.append(&header, bytes).unwrap();
        }
        deb
    }

    #[test]
    fn only_what_is_kept_is_written_without_set_user_id() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("bin/mount", 0o4755, "mount"),
            ("usr/share/doc/x", 0o644, "doc"),
        ];
        let deb = package(folder.path(), &files, &[("lib/link", "../target")]);
        let root = folder.path().join("root");
        let all = unpack(&deb, &root, |path| !path.starts_with("usr/share")).unwrap();
        assert_eq!(all, ["usr/bin/mount", "usr/share/doc/x", "usr/lib/link"]);
        let mount = fs::metadata(root.join("usr/bin/mount")).unwrap();
        assert_eq!(mount.permissions().mode() & 0o7777, 0o755);
        assert!(!root.join("usr/share").exists());
        let link = fs::read_link(root.join("usr/lib/link")).unwrap();
        assert_eq!(link, Path::new("../target"));
    }

    #[test]
    fn contents_are_read_without_writing() {
        let folder = tempfile::tempdir().unwrap();
        let deb = package(
            folder.path(),
            &[("etc/a", 0o644, "A"), ("etc/b", 0o644, "B")],
            &[],
        );
        let found = contents(&deb, |path| path.ends_with("/b")).unwrap();
        assert_eq!(found, [("etc/b".to_owned(), Content::File(b"B".to_vec()))]);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        assert!(inside(Path::new("./usr/../../etc")).is_err());
        assert_eq!(
            inside(Path::new("./lib64/ld.so")).unwrap(),
            "usr/lib64/ld.so"
        );
        assert_eq!(inside(Path::new("./lib")).unwrap(), "lib");
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.deb");
        fs::write(&file, "hello").unwrap();
        let error = unpack(&file, folder.path(), |_| true).unwrap_err();
        assert!(error.to_string().contains("is not a Debian package"));
    }
}
