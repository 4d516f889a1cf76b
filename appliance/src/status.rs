//! What a box says of itself.

use std::{sync::Arc, time::Instant};

use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use luxchat_admin_api::{
    Certificate, IncompleteRooms, ListState, MediaUsage, Membership, Offender, Peers, Status,
    StatusSource,
};
use luxchat_bundle::Leaf;
use luxchat_federation::{Federation, Standing, UpdateStatus, Updates};
use luxchat_media::{
    Media, ScannerState, ThumbnailerState, WhenDown,
    thumbnailer::{Confinement, Landlock},
};
use luxchat_rooms::Rooms;
use luxchat_store::{Error, Store};

use crate::config::ClientCertificates;

/// Failing destinations that are counted.
const MAX_FAILING: u32 = 10_000;

/// Servers shown that are slowed or refused.
const MAX_OFFENDERS: usize = 100;

/// Puts the status of a box together.
#[derive(Debug)]
pub(crate) struct BoxStatus {
    pub(crate) store: Store,
    pub(crate) federation: Federation,
    pub(crate) media: Media,
    pub(crate) rooms: Rooms,
    pub(crate) updates: Option<Arc<Updates>>,
    pub(crate) client_certificates: ClientCertificates,
    pub(crate) started: Instant,
}

impl StatusSource for BoxStatus {
    fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        async move {
            let (position, failing) = self
                .store
                .read(|tx| Ok::<_, Error>((tx.position()?, tx.failing_destinations(MAX_FAILING)?)))
                .await?;
            let incomplete = self.rooms.partial_rooms().await?;
            Ok(Status {
                server_name: self.store.server_name().to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_seconds: self.started.elapsed().as_secs(),
                position: position.0,
                client_certificates: match self.client_certificates {
                    ClientCertificates::Required => "required",
                    ClientCertificates::Optional => "optional",
                }
                .to_owned(),
                certificate: self.certificate(),
                membership: self.membership(),
                peers: Peers {
                    connected: self.federation.connected().len(),
                    failing: failing.len(),
                    plain: self.plain_servers(),
                    offenders: self.offenders(),
                },
                incomplete_rooms: IncompleteRooms {
                    rooms: incomplete.rooms,
                    failing: incomplete.failing,
                },
                media: self.media().await?,
            })
        }
        .boxed()
    }
}

impl BoxStatus {
    fn certificate(&self) -> Option<Certificate> {
        let leaf = Leaf::parse(self.federation.identity().tls()?.chain.first()?).ok()?;
        Some(Certificate {
            not_after: leaf.not_after.to_string(),
            fingerprint: leaf.fingerprint.to_string(),
        })
    }

    fn offenders(&self) -> Vec<Offender> {
        let offenders = self.federation.conduct().offenders(MAX_OFFENDERS);
        let told = offenders.into_iter().map(|offender| Offender {
            server_name: offender.server.to_string(),
            refused_seconds: match offender.standing {
                Standing::Refused(refusal) => Some(refusal.left.as_secs()),
                Standing::Good | Standing::Slowed(_) => None,
            },
            reason: offender.offence.to_string(),
            offences: offender.offences,
        });
        told.collect()
    }

    fn plain_servers(&self) -> Vec<String> {
        let servers = self.federation.membership().plain_servers();
        servers.iter().map(ToString::to_string).collect()
    }

    async fn media(&self) -> Result<MediaUsage, Error> {
        let usage = self.media.usage().await?;
        Ok(MediaUsage {
            upload_bytes: usage.local_bytes,
            cache_bytes: usage.cache_bytes,
            quarantined: usage.quarantined,
            scanner: match usage.scanner {
                ScannerState::None => "none".to_owned(),
                ScannerState::Up => "up".to_owned(),
                ScannerState::Down { why, when_down } => {
                    let meanwhile = match when_down {
                        WhenDown::Refuse => "files that it has not seen are refused",
                        WhenDown::Deliver => "files are delivered unseen",
                    };
                    format!("DOWN ({why}): {meanwhile}")
                }
            },
            thumbnails: match self.media.thumbnailer_state().await {
                ThumbnailerState::Off => "none are made".to_owned(),
                ThumbnailerState::Confined(Confinement { landlock }) => match landlock {
                    Landlock::Full => "confined by seccomp and landlock",
                    Landlock::Partial => "confined by seccomp and an OLD LANDLOCK",
                    Landlock::Missing => "confined by seccomp, WITHOUT LANDLOCK",
                }
                .to_owned(),
                ThumbnailerState::Failing(why) => format!("FAILING ({why})"),
            },
        })
    }

    fn membership(&self) -> Membership {
        let update = self
            .updates
            .as_ref()
            .map(|updates| updates.status())
            .unwrap_or_default();
        let UpdateStatus {
            checked_ms,
            error: last_error,
            ..
        } = update;
        let last_checked = checked_ms
            .and_then(|ms| crate::timestamp(ms).ok())
            .map(|at| at.to_string());
        let Some(list) = self.federation.membership().current() else {
            let state = ListState::Missing;
            return Membership {
                state,
                version: 0,
                expires: None,
                active: 0,
                inactive: 0,
                last_checked,
                last_error,
            };
        };
        let active = list
            .members
            .iter()
            .filter(|member| member.status.is_active())
            .count();
        let now = crate::timestamp(self.store.clock().now_ms()).unwrap_or(Timestamp::MAX);
        Membership {
            state: if list.expires > now {
                ListState::Valid
            } else {
                ListState::Expired
            },
            version: list.version,
            expires: Some(list.expires.to_string()),
            active,
            inactive: list.members.len() - active,
            last_checked,
            last_error,
        }
    }
}
