//! A box as a member of the nation: what it was told at its enrolment, and what follows from that for its services.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use axum::Router;
use luxchat_bundle::{BoxKeys, Bundle, DirectorySource, Enrolment, Source, TrustStore};
use luxchat_directory::Vouchers;
use luxchat_federation::{EnrolledDirectory, Federation, Identity, TlsIdentity, Updates};
use luxchat_store::Store;
use ruma::signatures::Ed25519KeyPair;
use tracing::warn;

use crate::{config::Config, data_dir::DataDir, enrolment, releases::Releases, settings};

/// How often a box looks for a newer members list; one must be in force within a minute of its publication.
const UPDATE_PERIOD: Duration = Duration::from_secs(20);

/// What the box was told at enrolment, and the members list it last took over.
pub(crate) struct Enrolled {
    enrolment: Option<Enrolment>,
    trust: Option<Arc<TrustStore>>,
    list: Option<Bundle>,
}

impl Enrolled {
    pub(crate) async fn load(data: &DataDir, store: &Store) -> Result<Self> {
        let Some(enrolment) = enrolment::installed(data)? else {
            warn!("the box is not enrolled: it is no part of the national network");
            return Ok(Self {
                enrolment: None,
                trust: None,
                list: None,
            });
        };
        let trust = TrustStore::open(&data.trust())?;
        let now = crate::timestamp(store.clock().now_ms())?;
        let list = trust.current(now).await.unwrap_or_else(|error| {
            warn!(%error, "the members list at hand is not in force");
            None
        });
        Ok(Self {
            enrolment: Some(enrolment),
            trust: Some(Arc::new(trust)),
            list,
        })
    }

    pub(crate) fn federation(
        &self,
        config: &Config,
        data: &DataDir,
        store: &Store,
    ) -> Result<Federation> {
        let keys = enrolment::keys(data)?;
        let signing_key = Ed25519KeyPair::from_der(
            &keys.signing_key_pkcs8(),
            keys.signing_key_id().version().to_owned(),
        )
        .context("the Matrix signing key")?;
        let Some(certificate) = self.certificate(config, &keys)? else {
            return Ok(Federation::local_only(store.clone(), signing_key)?);
        };
        let server_name = store.server_name().to_owned();
        let identity = Identity::new(server_name, signing_key)?.with_tls(certificate);
        let settings = settings::federation(&config.federation)?;
        Ok(Federation::new(
            store.clone(),
            identity,
            self.list.clone(),
            &settings,
        )?)
    }

    /// What the authority issued; on a box that is not enrolled, what the site file names, if anything.
    fn certificate(&self, config: &Config, keys: &BoxKeys) -> Result<Option<TlsIdentity>> {
        let given = settings::federation_tls(&config.federation)?;
        let Some(enrolment) = &self.enrolment else {
            return Ok(given);
        };
        if given.is_some() {
            bail!(
                "the box is enrolled: it cannot show the certificate of [federation.tls] as well"
            );
        }
        Ok(Some(TlsIdentity {
            chain: enrolment.chain(),
            key: keys.tls_key(),
        }))
    }

    pub(crate) fn updates(
        &self,
        config: &Config,
        federation: &Federation,
        store: &Store,
    ) -> Result<Option<Arc<Updates>>> {
        let (Some(enrolment), Some(trust)) = (&self.enrolment, &self.trust) else {
            return Ok(None);
        };
        let source = source(config, federation, enrolment)?;
        let clock = Arc::clone(store.clock());
        let membership = federation.membership().clone();
        let updates = Updates::new(Arc::clone(trust), source, membership, clock, UPDATE_PERIOD);
        Ok(Some(Arc::new(updates)))
    }

    pub(crate) fn releases(
        &self,
        config: &Config,
        data: &DataDir,
        federation: &Federation,
        store: &Store,
    ) -> Result<Option<Releases>> {
        let (Some(enrolment), Some(trust)) = (&self.enrolment, &self.trust) else {
            return Ok(None);
        };
        let Some(running) = config.release.clone().filter(|_| config.updates.fetch) else {
            return Ok(None);
        };
        Ok(Some(Releases {
            running,
            trust: Arc::clone(trust),
            source: source(config, federation, enrolment)?,
            folder: data.releases(),
            clock: Arc::clone(store.clock()),
        }))
    }

    /// Where the directory takes vouchers.
    pub(crate) fn office(
        &self,
        config: &Config,
        data: &DataDir,
        store: &Store,
    ) -> Result<Option<Router>> {
        let takes_vouchers = config.directory.as_ref().is_some_and(|it| it.vouchers);
        let (Some(enrolment), Some(trust), true) = (&self.enrolment, &self.trust, takes_vouchers)
        else {
            return Ok(None);
        };
        Ok(Some(luxchat_directory::enrolments(Vouchers {
            store: store.clone(),
            keys: enrolment::keys(data)?,
            enrolment: enrolment.clone(),
            trust: Arc::clone(trust),
        })))
    }

    /// The directory serves what it took over itself: every file was verified before it was put there.
    pub(crate) fn directory(&self, config: &Config) -> Option<Router> {
        let trust = self.trust.as_ref()?;
        let directory = config.directory.as_ref()?;
        Some(luxchat_directory::repository(
            Arc::clone(trust),
            &directory.publication,
        ))
    }
}

/// The directory takes from a folder what the others take from the directory.
fn source(
    config: &Config,
    federation: &Federation,
    enrolment: &Enrolment,
) -> Result<Arc<dyn Source>> {
    Ok(match &config.directory {
        Some(directory) => Arc::new(DirectorySource::new(&directory.publication)),
        None => Arc::new(federation.repository(enrolled_directory(enrolment))?),
    })
}

fn enrolled_directory(enrolment: &Enrolment) -> Option<EnrolledDirectory> {
    let pointer = enrolment.directory.clone()?;
    Some(EnrolledDirectory {
        pointer,
        authority: enrolment.authority.clone(),
    })
}
