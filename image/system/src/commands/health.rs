use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use crate::{
    host::Host,
    paths::Paths,
    programs::Machine,
    update::health::{LOOK, Verdict, judge},
};

/// Judge a release at its first start, and let the server serve or the box fall back.
#[derive(Debug, Args)]
pub struct Arguments {}

/// # Errors
///
/// When nothing can be judged: then nobody is served.
pub fn run(_: Arguments) -> Result<()> {
    let paths = Paths::default();
    let host = Host::new(&paths, &Machine)?;
    let verdict = judge(host, Timestamp::now(), &|| std::thread::sleep(LOOK))?;
    match verdict {
        Verdict::Known => crate::say!("this release was found good before"),
        Verdict::Good => crate::say!("this release is good"),
        Verdict::Bad(reason) => crate::say!("this release is not good: {reason}"),
        Verdict::LastResort(reason) => crate::say!("there is no better release: {reason}"),
    }
    Ok(())
}
