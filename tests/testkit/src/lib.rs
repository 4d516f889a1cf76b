//! A throwaway nation in one process: authority, directory, ministries, each a whole box with its own database and
//! listeners on free loopback ports. It is founded by the code that technicians use, and gone when dropped.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
pub use luxchat_appliance::nation::{Client, Plan, Site, messages};
use luxchat_appliance::{compose::Appliance, nation::Nation, operator::Operator};
use luxchat_store::{Clock, SystemClock};
use tempfile::TempDir;

/// The password of every agent.
pub const PASSWORD: &str = "correct horse battery staple";

/// A nation whose boxes are up, unless stopped.
#[derive(Debug)]
pub struct Kit {
    nation: Nation,
    boxes: BTreeMap<String, Appliance>,
    clock: Arc<dyn Clock>,
    // Last: the boxes close before their folders go.
    _folder: TempDir,
}

impl Kit {
    /// A directory and two ministries, `interieur` and `sante`.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Plan::default()).await
    }

    /// A nation after a plan, all boxes up.
    pub async fn start_with(plan: &Plan) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let nation = Nation::open_or_found(&folder.path().join("nation"), plan, &*clock)?;
        let mut kit = Self {
            nation,
            boxes: BTreeMap::new(),
            clock,
            _folder: folder,
        };
        let names: Vec<String> = kit
            .nation
            .sites()
            .iter()
            .map(|site| site.name.clone())
            .collect();
        for name in names {
            kit.start_box(&name).await?;
        }
        Ok(kit)
    }

    /// The nation on disk.
    pub fn nation(&self) -> &Nation {
        &self.nation
    }

    /// A running box.
    pub fn running(&self, name: &str) -> Result<&Appliance> {
        self.boxes
            .get(name)
            .with_context(|| format!("the box {name} is not running"))
    }

    /// Where clients reach a box.
    pub fn base_url(&self, name: &str) -> Result<String> {
        Ok(self.nation.site(name)?.base_url())
    }

    /// Starts a box that is not running.
    pub async fn start_box(&mut self, name: &str) -> Result<()> {
        let appliance = self
            .nation
            .site(name)?
            .start(Arc::clone(&self.clock))
            .await?;
        self.boxes.insert(name.to_owned(), appliance);
        Ok(())
    }

    /// Stops a box as SIGTERM does.
    pub async fn stop_box(&mut self, name: &str) -> Result<()> {
        let appliance = self
            .boxes
            .remove(name)
            .with_context(|| format!("the box {name} is not running"))?;
        anyhow::ensure!(
            appliance.stop().await,
            "the box {name} did not stop in time"
        );
        Ok(())
    }

    /// The operator's socket of a box.
    pub fn operator(&self, name: &str) -> Result<Operator> {
        self.nation.site(name)?.operator()
    }

    /// Makes an account through the operator's socket and logs it in.
    pub async fn agent(&self, name: &str, localpart: &str) -> Result<Client> {
        let site = self.nation.site(name)?;
        site.make_agent(localpart, PASSWORD).await?;
        self.login(name, localpart).await
    }

    /// Logs an agent in, as a new device.
    pub async fn login(&self, name: &str, localpart: &str) -> Result<Client> {
        Client::login(&self.base_url(name)?, localpart, PASSWORD).await
    }

    /// Revokes a member, publishes the new list, and leaves it to the boxes to find it.
    pub fn revoke(&self, name: &str, reason: &str) -> Result<()> {
        let now = jiff::Timestamp::now();
        let mut authority = self.nation.authority()?;
        authority.revoke(&format!("{name}.demo.lu"), reason, now)?;
        authority.publish(&self.nation.publication(), self.nation.passphrase(), now)?;
        Ok(())
    }
}
