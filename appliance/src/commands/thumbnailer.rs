use std::{path::PathBuf, process::ExitCode};

/// The name of the command.
pub const NAME: &str = "thumbnailer";

/// Decodes one image for the box that started this process, which gives up everything else.
pub fn run() -> ExitCode {
    luxchat_media::thumbnailer::run_worker()
}

/// The running program: the worker is of the same version even after the file was replaced.
pub fn program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}
