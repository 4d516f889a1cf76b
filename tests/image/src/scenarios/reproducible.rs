//! Two builders, who share nothing but the sources, get one image.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::bench::{Bench, run as finish, workspace};

/// One builder's circumstances.
struct Builder {
    folder: &'static str,
    umask: &'static str,
    clock: Option<&'static str>,
}

const BUILDERS: [Builder; 2] = [
    Builder {
        folder: "reproducible",
        umask: "022",
        clock: None,
    },
    Builder {
        folder: "another/longer/name",
        umask: "077",
        clock: Some("+40d"),
    },
];

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let outs: Vec<PathBuf> = (BUILDERS.iter())
        .map(|builder| build(bench, builder))
        .collect::<Result<_>>()?;
    let output = Command::new(&bench.builder)
        .arg("verify")
        .args(outs)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.trim() == "identical",
        "the builds differ:\n{said}"
    );
    Ok(())
}

/// Clones the sources, compiles the builder and builds, with a cache and a cargo home of its own.
fn build(bench: &Bench, builder: &Builder) -> Result<PathBuf> {
    let folder = bench.fresh(builder.folder)?;
    let (source, out) = (folder.join("source"), folder.join("out"));
    let mut clone = Command::new("git");
    finish(
        clone
            .args(["clone", "--quiet"])
            .arg(workspace())
            .arg(&source),
    )?;
    bench.seed_cache(&folder.join("cache"))?;
    let home = folder.join("cargo");
    // The compiler does not run under a moved clock, so the builder is ready before.
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--package", "luxchat-image"]);
    cargo.current_dir(&source).env("CARGO_HOME", &home);
    finish(cargo.env_remove("CARGO_TARGET_DIR"))?;

    let mut shell = Command::new("sh");
    shell.current_dir(&source);
    shell.args(["-c", "umask $0 && exec \"$@\"", builder.umask]);
    if let Some(clock) = builder.clock {
        shell.args(["faketime", "-f", clock]);
        // Files have the times that they have.
        shell.env("NO_FAKE_STAT", "1");
    }
    shell.arg(source.join("target/debug/luxchat-image"));
    shell.args(["build", "--out"]).arg(&out);
    shell.arg("--cache").arg(folder.join("cache"));
    if let Some(programs) = &bench.programs {
        shell.arg("--programs").arg(programs);
    }
    shell
        .env("CARGO_HOME", &home)
        .env_remove("CARGO_TARGET_DIR");
    finish(&mut shell)?;
    Ok(out)
}
