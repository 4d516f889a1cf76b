use anyhow::Result;

use crate::{host::Host, network, paths::Paths, programs::Machine};

/// Sets the network up as the site file in force says.
///
/// # Errors
///
/// When there is no site file, or a part of the network cannot be set up.
pub fn run() -> Result<()> {
    let paths = Paths::default();
    network::apply(Host::new(&paths, &Machine)?)
}
