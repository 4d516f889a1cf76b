//! Stopping and starting the peer: whoever started the generator does it when asked.

use std::io::{self, BufRead as _, Write as _};

use anyhow::{Result, ensure};

/// Writes `what` on standard output, and waits for a line on standard input that says that it is done.
pub(super) fn ask(what: &str) -> Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{what} the peer")?;
    output.flush()?;
    let mut answer = String::new();
    let length = io::stdin().lock().read_line(&mut answer)?;
    ensure!(
        length > 0,
        "nobody is there to {what} the peer: standard input is closed"
    );
    Ok(())
}
