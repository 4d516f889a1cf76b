//! What scenarios share: the builder, a build and its signed twin, and test keys that never leave the working folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The working folder and what is in it.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) work: PathBuf,
    cache: Option<PathBuf>,
    pub(crate) programs: Option<PathBuf>,
    /// The builder.
    pub(crate) builder: PathBuf,
}

/// Private keys and certificates made for one run.
#[derive(Debug)]
struct Keys {
    folder: PathBuf,
}

impl Bench {
    pub(crate) fn prepare(
        work: PathBuf,
        cache: Option<PathBuf>,
        programs: Option<PathBuf>,
        builder: Option<PathBuf>,
    ) -> Result<Self> {
        fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        let work = work.canonicalize()?;
        let builder = match builder {
            Some(builder) => std::path::absolute(builder)?,
            None => compile(&work.join("target"))?,
        };
        Ok(Self {
            work,
            cache: cache.map(std::path::absolute).transpose()?,
            programs: programs.map(std::path::absolute).transpose()?,
            builder,
        })
    }

    /// The unsigned build, made when it is first asked for.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        let out = self.work.join("build");
        if !out.join("manifest.json").exists() {
            let mut command = Command::new(&self.builder);
            command.arg("build").arg("--out").arg(&out);
            self.add_cache(&mut command);
            if let Some(programs) = &self.programs {
                command.arg("--programs").arg(programs);
            }
            run(&mut command)?;
        }
        Ok(out)
    }

    /// The build, signed with test keys.
    pub(crate) fn signed(&self) -> Result<PathBuf> {
        let build = self.build()?;
        let out = self.work.join("signed");
        if !out.join("manifest.json").exists() {
            let keys = Keys::make(&self.work.join("keys"))?;
            let mut command = Command::new(&self.builder);
            command
                .arg("sign")
                .arg("--build")
                .arg(&build)
                .arg("--out")
                .arg(&out);
            self.add_cache(&mut command);
            for (option, name) in [
                ("--secure-boot-key", "db.key"),
                ("--secure-boot-certificate", "db.crt"),
                ("--pcr-key", "pcr.key"),
                ("--pcr-public-key", "pcr.pub"),
            ] {
                command.arg(option).arg(keys.folder.join(name));
            }
            run(&mut command)?;
        }
        Ok(out)
    }

    /// Gives another cache the packages that are here already: what is in them, their hashes tell.
    pub(crate) fn seed_cache(&self, other: &Path) -> Result<()> {
        fs::create_dir_all(other)?;
        if let Some(cache) = &self.cache {
            let packages = cache.join("packages");
            run(Command::new("cp").arg("-r").args([&packages, other]))?;
        }
        Ok(())
    }

    fn add_cache(&self, command: &mut Command) {
        if let Some(cache) = &self.cache {
            command.arg("--cache").arg(cache);
        }
    }

    /// A copy of a disk for one scenario to write to.
    pub(crate) fn copy(&self, disk: &Path, scenario: &str) -> Result<PathBuf> {
        let copy = self.work.join(format!("{scenario}.raw"));
        let mut command = Command::new("cp");
        run(command.arg("--sparse=always").arg(disk).arg(&copy))?;
        Ok(copy)
    }

    /// A folder of a scenario, empty.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

impl Keys {
    fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let openssl = |words: &[&str]| run(Command::new("openssl").current_dir(folder).args(words));
        openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=test",
            "-keyout", "db.key", "-out", "db.crt",
        ])?;
        openssl(&["genrsa", "-out", "pcr.key", "2048"])?;
        openssl(&["rsa", "-in", "pcr.key", "-pubout", "-out", "pcr.pub"])?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }
}

/// The builder of this workspace.
fn compile(target: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace()).args([
        "build",
        "--locked",
        "--package",
        "luxchat-image",
        "--target-dir",
    ]);
    run(cargo.arg(target))?;
    Ok(target.join("debug/luxchat-image"))
}

/// The workspace of this program.
pub(crate) fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs a command to its end, and fails with what it said.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = (command.output()).with_context(|| {
        format!("starting {name}: is it installed? README.md says what is needed")
    })?;
    ensure!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
