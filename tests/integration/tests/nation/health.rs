//! That a box has come through.

use anyhow::{Result, ensure};
use luxchat_testkit::Kit;

/// It reads and writes. (A handler that panics answers 500, which the tests of bad input look for themselves.)
pub(crate) async fn assert_healthy(kit: &Kit, name: &str) -> Result<()> {
    let address = kit.running(name)?.admin_address();
    let ready = reqwest::get(format!("http://{address}/health/ready")).await?;
    ensure!(ready.status() == 200, "{name} is not ready: {ready:?}");
    Ok(())
}
