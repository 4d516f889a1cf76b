//! A small nation on one machine: an authority, a directory and ministries, each a whole box with its own data folder and
//! site file. The demonstration and the tests found one with the code that technicians use.

mod client;
mod founding;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use luxchat_admin_api::{CreateUser, UserSummary};
use luxchat_provision::{Authority, SamePassphrase};
use luxchat_store::Clock;
use reqwest::Method;

pub use self::{
    client::{Client, messages},
    founding::Plan,
};
use crate::{
    compose::{Appliance, Sockets},
    config::Config,
    listeners::Inherited,
    operator::Operator,
};

/// A nation on disk.
#[derive(Debug)]
pub struct Nation {
    folder: PathBuf,
    passphrase: SamePassphrase,
    sites: Vec<Site>,
}

/// One box of the nation.
#[derive(Clone, Debug)]
pub struct Site {
    /// The short name that its folder bears.
    pub name: String,
    /// Its site file, parsed.
    pub config: Config,
}

impl Nation {
    /// The nation in a folder: the one that is there, or a new one after `plan`.
    ///
    /// # Errors
    ///
    /// When the folder holds something else, or half a nation.
    pub fn open_or_found(folder: &std::path::Path, plan: &Plan, clock: &dyn Clock) -> Result<Self> {
        if founding::is_whole(folder) {
            Self::open(folder)
        } else {
            founding::found(folder, plan, clock)
        }
    }

    /// Names the program that decodes images for the boxes; without, nothing does.
    pub fn set_thumbnailer(&mut self, program: &std::path::Path) {
        for site in &mut self.sites {
            site.config.thumbnailer = Some(program.to_owned());
        }
    }

    fn open(folder: &std::path::Path) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            passphrase: founding::passphrase(folder)?,
            sites: founding::sites(folder)?,
        })
    }

    /// The boxes, the directory first.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The box with a short name.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn site(&self, name: &str) -> Result<&Site> {
        self.sites
            .iter()
            .find(|site| site.name == name)
            .with_context(|| format!("the nation has no box {name}"))
    }

    /// The authority's own folder, opened for one change.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or another change is under way.
    pub fn authority(&self) -> Result<Authority> {
        Ok(Authority::open(&self.folder.join(founding::AUTHORITY))?
            .with_key_cost(founding::KEY_COST))
    }

    /// The passphrase of all of the authority's keys.
    pub fn passphrase(&self) -> &SamePassphrase {
        &self.passphrase
    }

    /// Where publications go, and where the directory finds them.
    pub fn publication(&self) -> PathBuf {
        self.folder.join(founding::PUBLICATION)
    }
}

impl Site {
    /// Starts the box on the addresses of its site file.
    ///
    /// # Errors
    ///
    /// When an address is taken or the box cannot start.
    pub async fn start(&self, clock: Arc<dyn Clock>) -> Result<Appliance> {
        let sockets = Sockets::bind(&self.config, &mut Inherited::default()).await?;
        Appliance::start(self.config.clone(), clock, sockets)
            .await
            .with_context(|| format!("the box {}", self.name))
    }

    /// The operator's socket of the box, which runs.
    ///
    /// # Errors
    ///
    /// When there is no way to make the client.
    pub fn operator(&self) -> Result<Operator> {
        Operator::new(self.config.data_dir.join("admin.sock"))
    }

    /// Makes an account through the operator's socket.
    ///
    /// # Errors
    ///
    /// When the box does not run, or has that account already.
    pub async fn make_agent(&self, localpart: &str, password: &str) -> Result<()> {
        let new = CreateUser {
            localpart: localpart.to_owned(),
            password: password.to_owned(),
            admin: false,
        };
        let operator = self.operator()?;
        let _: UserSummary = operator.call(Method::POST, "/users", Some(&new)).await?;
        Ok(())
    }

    /// Where clients reach the box.
    pub fn base_url(&self) -> String {
        self.config.client.public_url.to_string()
    }
}
