//! What commands tell the person in front of them.

use std::io::Write;

/// Prints one line. A reader that went away (`| head`) ends the program quietly.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => { $crate::say::line(format_args!($($arguments)*)) };
}

/// One line on standard output.
pub fn line(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// An error with its causes on standard error.
pub fn error(error: &anyhow::Error) {
    // Nobody is left to tell where standard error is gone.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}
