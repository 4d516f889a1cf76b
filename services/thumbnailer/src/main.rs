//! The worker as a program of its own. The box starts itself in its place; this one is for tests and measurements.

use std::process::ExitCode;

fn main() -> ExitCode {
    luxchat_thumbnailer::run_worker()
}
