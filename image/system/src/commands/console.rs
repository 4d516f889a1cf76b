use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    console::{gather, perform, render},
    host::Host,
    paths::Paths,
    people::{Echo, People},
    programs::Machine,
    terminals::Terminals,
};

/// How often the view is looked at anew.
const REFRESH: Duration = Duration::from_secs(20);

/// Show the state of the box on a terminal, and take the few actions of a technician.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The terminal: tty1, ttyS0.
    #[arg(value_name = "TERMINAL")]
    terminal: String,
}

/// # Errors
///
/// When the terminal cannot be used.
pub fn run(arguments: &Arguments) -> Result<()> {
    let name = &arguments.terminal;
    ensure!(
        name.starts_with("tty") && name.chars().all(|c| c.is_ascii_alphanumeric()),
        "{name:?} is no terminal"
    );
    let paths = Paths::default();
    let host = Host::new(&paths, &Machine)?;
    let mut terminals = Terminals::one(&Path::new("/dev").join(name), REFRESH)?;
    let mut shown = None;
    loop {
        let view = gather(host);
        if shown.as_ref() != Some(&view) {
            terminals.show(&render(&view));
            shown = Some(view.clone());
        }
        if let Some(typed) = terminals.ask("> ", Echo::On)? {
            if let Err(error) = perform(&typed, &view, host, &mut terminals) {
                terminals.tell(&format!("That did not work: {error:#}"));
            }
            // Whatever was told stays until somebody has read it.
            terminals.ask("Press Enter. ", Echo::On)?;
            shown = None;
        }
    }
}
