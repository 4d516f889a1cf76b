//! The command line.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::{
    apt::Apt,
    cache::Cache,
    files, lock,
    make::{self, Order},
    mirror,
    progress::Progress,
    recipe::Recipe,
    run::{self, Machine},
    sbom,
    sign::{self, Keys},
    tools, verify,
};

/// Builds the operating system image of the appliance.
#[derive(Debug, Parser)]
#[command(name = "luxchat-image", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the image, unsigned
    Build {
        /// The folder to leave the artefacts in
        #[arg(long)]
        out: PathBuf,
        /// The version of the image; without it, that of this workspace
        #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
        version: String,
        /// Take the programs from this folder instead of compiling them
        #[arg(long)]
        programs: Option<PathBuf>,
        #[command(flatten)]
        source: Source,
    },
    /// Take the lock on to the packages that the archive has now
    Lock {
        #[command(flatten)]
        source: Source,
    },
    /// Sign a build for Secure Boot and for the TPM
    Sign {
        /// The folder of the build
        #[arg(long)]
        build: PathBuf,
        /// The folder to leave the signed artefacts in
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        keys: Keys,
        #[command(flatten)]
        source: Source,
    },
    /// Compare two builds, and say what differs
    Verify { first: PathBuf, second: PathBuf },
    /// List the packages and crates in the image with versions and licences, as SPDX JSON
    Sbom {
        /// The file to write; without it, the standard output
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        source: Source,
    },
    /// Start an image in a virtual machine, its serial console on this terminal
    Run(Machine),
    /// Run one of the build's tools
    #[command(hide = true)]
    InTools {
        tree: PathBuf,
        work: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// Where everything comes from.
#[derive(Debug, Args)]
struct Source {
    /// The recipe; without it, that of this workspace
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// What need not be made twice is kept here; without it, in the user's cache
    #[arg(long)]
    cache: Option<PathBuf>,
    /// The Debian archive; without it, that of this machine's apt
    #[arg(long)]
    mirror: Option<String>,
    /// The archive of security updates that goes with --mirror
    #[arg(long, requires = "mirror")]
    security_mirror: Option<String>,
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Build {
                out,
                version,
                programs,
                source,
            } => {
                make::make(&Order {
                    workspace: workspace()?,
                    recipe: source.recipe()?,
                    cache: source.cache()?,
                    mirrors: source.mirrors()?,
                    version,
                    out: absolute(&out)?,
                    programs,
                })?;
            }
            Command::Lock { source } => write_locks(&source)?,
            Command::Sign {
                build,
                out,
                keys,
                source,
            } => {
                let (recipe, cache) = (source.recipe()?, source.cache()?);
                let mirrors = source.mirrors()?;
                let (build, out) = (absolute(&build)?, absolute(&out)?);
                sign::sign(&recipe, &cache, &mirrors, &build, &out, &keys)?;
            }
            Command::Verify { first, second } => return compare(&first, &second),
            Command::Sbom { out, source } => {
                let text = sbom::document(
                    &workspace()?,
                    &source.recipe()?,
                    &source.cache()?,
                    &source.mirrors()?,
                )?;
                match out {
                    Some(path) => files::write(&path, text)?,
                    None => println!("{text}"),
                }
            }
            Command::Run(machine) => return run::start(&machine),
            Command::InTools {
                tree,
                work,
                command,
            } => tools::enter(&tree, &work, &command)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Source {
    fn recipe(&self) -> Result<Recipe> {
        match &self.recipe {
            Some(folder) => Recipe::open(folder),
            None => Recipe::open(&workspace()?.join("image/recipe")),
        }
    }

    fn cache(&self) -> Result<Cache> {
        Cache::open(self.cache.clone())
    }

    fn mirrors(&self) -> Result<Vec<mirror::Mirror>> {
        mirror::find(self.mirror.as_deref(), self.security_mirror.as_deref())
    }
}

fn write_locks(source: &Source) -> Result<()> {
    let progress = Progress::start();
    let (recipe, cache) = (source.recipe()?, source.cache()?);
    let apt = Apt::update(&cache.folder().join("apt"), &source.mirrors()?)?;
    progress.say("lists of the archive fetched");
    for (list, file, closure) in [
        ("packages.list", "packages.lock", false),
        ("tools.list", "tools.lock", true),
    ] {
        let wanted = recipe.wanted(list)?;
        let packages = if closure {
            apt.resolve_closure(&wanted)?
        } else {
            apt.resolve(&wanted)?
        };
        let count = packages.len();
        let path = recipe.path(file);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let after = lock::render(packages);
        let changed = after.lines().filter(|line| !before.contains(line)).count();
        files::write(&path, after)?;
        progress.say(format!("{file}: {count} packages, {changed} changed"));
    }
    Ok(())
}

fn compare(first: &Path, second: &Path) -> Result<ExitCode> {
    let differences = verify::differences(first, second)?;
    if differences.is_empty() {
        println!("identical");
        return Ok(ExitCode::SUCCESS);
    }
    for line in differences {
        println!("{line}");
    }
    Ok(ExitCode::FAILURE)
}

/// The workspace that this program was built from, or is run in by cargo.
fn workspace() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|folder| folder.join("recipe").is_dir())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned());
    let workspace = package.parent().context("the package has no workspace")?;
    (workspace.canonicalize()).with_context(|| format!("the sources at {}", workspace.display()))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}
