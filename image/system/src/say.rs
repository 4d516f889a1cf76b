//! What a command tells the journal and the console.

use std::io::Write;

/// Prints one line.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => { $crate::say::line(format_args!($($arguments)*)) };
}

/// One line on standard output.
pub fn line(text: std::fmt::Arguments<'_>) {
    // Nobody is left to tell where standard output is gone.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// An error with its causes on standard error.
pub fn error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

/// Keeps what a foreign document says from steering a terminal.
pub fn printable(text: &str) -> String {
    let clean = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(clean).collect()
}
