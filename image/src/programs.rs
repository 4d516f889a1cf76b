//! The programs of this workspace, compiled so that neither folder, user nor machine leaves a trace in them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{cache::Cache, tools::require};

/// The cargo profile of the image, defined in the workspace's manifest.
const PROFILE: &str = "image";

/// Compiles the packages, and gives the folder that holds their programs.
pub(crate) fn compile(
    workspace: &Path,
    cache: &Cache,
    packages: &[String],
    epoch: u32,
) -> Result<PathBuf> {
    require("cargo", "cargo")?;
    require("cc", "build-essential")?;
    let target = cache.target();
    let maps = prefix_maps(workspace, &cargo_home()?, &target);
    let rust: Vec<String> = (maps.iter())
        .map(|map| format!("--remap-path-prefix={map}"))
        .collect();
    let c: Vec<String> = (maps.iter())
        .map(|map| format!("-ffile-prefix-map={map}"))
        .collect();

    let mut command = Command::new("cargo");
    command
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", PROFILE, "--target-dir"])
        .arg(&target);
    for package in packages {
        command.args(["--package", package]);
    }
    // What a developer's shell says to the compiler is not heard.
    for (name, _) in std::env::vars_os() {
        if is_compiler_setting(&name) {
            command.env_remove(name);
        }
    }
    let status = command
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
        .env("CFLAGS", c.join(" "))
        .env("CXXFLAGS", c.join(" "))
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env("CARGO_INCREMENTAL", "0")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "compiling {} failed", packages.join(", "));
    Ok(target.join(PROFILE))
}

/// What compiles: two builds that differ here may differ in every program.
pub(crate) fn toolchain() -> Result<Vec<String>> {
    let version = |program: &str, package: &str| -> Result<String> {
        require(program, package)?;
        let output = Command::new(program)
            .arg("--version")
            .env_remove("LD_PRELOAD")
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    Ok(vec![
        version("rustc", "rustc")?,
        version("cc", "build-essential")?,
        version("ld", "binutils")?,
    ])
}

fn prefix_maps(workspace: &Path, cargo_home: &Path, target: &Path) -> Vec<String> {
    // The compiler takes the last map that fits, so the target folder, which may lie in another, stands last.
    [
        (workspace, "/luxchat"),
        (cargo_home, "/cargo"),
        (target, "/target"),
    ]
    .iter()
    .map(|(from, to)| format!("{}={to}", from.display()))
    .collect()
}

fn is_compiler_setting(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let settings = [
        "RUSTFLAGS",
        "RUSTC",
        "CFLAGS",
        "CXXFLAGS",
        "CPPFLAGS",
        "LDFLAGS",
    ];
    settings.iter().any(|setting| name.contains(setting))
        || name.starts_with("CARGO_PROFILE_")
        || name.starts_with("CARGO_BUILD_")
        || name == "CARGO_TARGET_DIR"
        || name == "LD_PRELOAD"
}

fn cargo_home() -> Result<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    Ok(home.canonicalize().unwrap_or(home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_shell_are_recognised() {
        for name in [
            "LD_PRELOAD",
            "RUSTFLAGS",
            "CARGO_PROFILE_IMAGE_LTO",
            "CFLAGS_x86_64",
            "RUSTC_WRAPPER",
        ] {
            assert!(is_compiler_setting(&name.into()), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "HTTPS_PROXY"] {
            assert!(!is_compiler_setting(&name.into()), "{name}");
        }
    }

    #[test]
    fn the_innermost_folder_is_mapped_last() {
        let maps = prefix_maps(Path::new("/w"), Path::new("/h"), Path::new("/w/target"));
        assert_eq!(maps, ["/w=/luxchat", "/h=/cargo", "/w/target=/target"]);
    }
}
