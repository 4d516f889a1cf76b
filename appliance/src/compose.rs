//! A box, put together: configuration, store, services, listeners. Read it from the top down.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use axum::Router;
use luxchat_accounts::Accounts;
use luxchat_admin_api as admin_api;
use luxchat_bundle::Leaf;
use luxchat_client_api as client_api;
use luxchat_federation::{Federation, Updates};
use luxchat_http::{Listening, Plain, listen};
use luxchat_media::Media;
use luxchat_rooms::Rooms;
use luxchat_store::{Clock, Store};
use ruma::{ServerName, api::federation::transactions::edu::Edu};
use tokio::{
    net::{TcpListener, UnixListener},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    data_dir::{DataDir, Lock},
    enrolled::Enrolled,
    lifecycle::{Lifecycle, feed_watchdog},
    listeners::Inherited,
    sandbox,
    services::Services,
    settings,
    status::BoxStatus,
};

/// How often events are looked for that are to be tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(30);

/// How often erased and outdated media go.
const MEDIA_PERIOD: Duration = Duration::from_mins(1);

/// How often the media folder is compared with the store.
const SWEEP_PERIOD: Duration = Duration::from_hours(24);

/// How long the start of a box may wait for its first members list.
const FIRST_LIST_TIME: Duration = Duration::from_secs(5);

/// Of the files that the process may have open, in percent: so many connections of clients, of peers and of observers at
/// a time. The rest is for the database, files of media and requests to other servers.
const OPEN_FILES_FOR_CLIENTS: usize = 60;
const OPEN_FILES_FOR_PEERS: usize = 10;
const OPEN_FILES_FOR_OBSERVERS: usize = 2;

/// The sockets a box serves.
#[derive(Debug)]
pub struct Sockets {
    /// Matrix clients.
    pub client: TcpListener,
    /// Other servers.
    pub federation: TcpListener,
    /// Health, metrics, status.
    pub admin: TcpListener,
}

impl Sockets {
    /// The sockets that systemd handed over, the others bound where the site file says.
    ///
    /// # Errors
    ///
    /// Names the listener and the address that cannot be bound.
    pub async fn bind(config: &Config, inherited: &mut Inherited) -> Result<Self> {
        Ok(Self {
            client: inherited.or_bind("client", config.client.listen).await?,
            federation: inherited
                .or_bind("federation", config.federation.listen)
                .await?,
            admin: inherited.or_bind("admin", config.admin.listen).await?,
        })
    }
}

/// A box that could serve, and does not yet: its store is open, its sockets are bound, nobody is answered and nothing is
/// sent. Until [`serve`](Self::serve) an update can be undone as if it had not been.
#[must_use]
pub struct Prepared {
    config: Config,
    data: DataDir,
    sockets: Sockets,
    store: Store,
    membership: Enrolled,
    federation: Federation,
    updates: Option<Arc<Updates>>,
    services: Services,
    lifecycle: Lifecycle,
    lock: Lock,
    started: Instant,
}

/// A running box.
#[derive(Debug)]
pub struct Appliance {
    store: Store,
    accounts: Accounts,
    federation: Federation,
    updates: Option<Arc<Updates>>,
    client_address: SocketAddr,
    admin_address: SocketAddr,
    lifecycle: Lifecycle,
    _lock: Lock,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared {
    /// Opens the data folder, with the store brought up to date, and puts the services together.
    ///
    /// # Errors
    ///
    /// When the data folder is in use or damaged, or a file that the site file names is not what it should be.
    pub async fn new(config: Config, clock: Arc<dyn Clock>, sockets: Sockets) -> Result<Self> {
        let started = Instant::now();
        let data = DataDir::open(&config.data_dir)?;
        let lock = data.lock()?;
        let lifecycle = Lifecycle::new();
        let store = open_store(&config, &data, clock)?;

        let membership = Enrolled::load(&data, &store).await?;
        let federation = membership.federation(&config, &data, &store)?;
        let updates = membership.updates(&config, &federation, &store)?;
        let services = Services::new(&config, &data, &store, &federation)?;

        services.make_service_users().await?;
        services.make_speaker(&config).await?;
        feed_watchdog_from(&store, &lifecycle);
        Ok(Self {
            config,
            data,
            sockets,
            store,
            membership,
            federation,
            updates,
            services,
            lifecycle,
            lock,
            started,
        })
    }

    /// Ends without having served. Returns whether all ended in time.
    pub async fn stop(self) -> bool {
        self.lifecycle.stop().await
    }

    /// Serves the sockets. From here on there is no way back to an older program.
    ///
    /// # Errors
    ///
    /// When the copy from before a migration cannot be let go, or a socket cannot be served.
    pub async fn serve(self) -> Result<Appliance> {
        let Self {
            config,
            data,
            sockets,
            store,
            membership,
            federation,
            updates,
            services,
            lifecycle,
            lock,
            started,
        } = self;
        luxchat_store::give_up_way_back(&data.database())?;
        let status = Arc::new(BoxStatus {
            store: store.clone(),
            federation: federation.clone(),
            media: services.media.clone(),
            rooms: services.rooms.clone(),
            updates: updates.clone(),
            client_certificates: config.federation.client_certificates,
            started,
        });
        let metrics = admin_api::Metrics::of_process();
        let admin = admin_api::Services {
            store: store.clone(),
            accounts: services.accounts.clone(),
            media: services.media.clone(),
            rooms: services.rooms.clone(),
            metrics: metrics.clone(),
            status,
        };

        let accounts = services.accounts.clone();
        let client_address = sockets.client.local_addr()?;
        let admin_address = sockets.admin.local_addr()?;
        let listeners = Listeners {
            lifecycle: &lifecycle,
        };
        listeners.clients(sockets.client, &config, services.client_router(&config)?)?;
        listeners.peers(
            sockets.federation,
            &federation,
            services.federation_router(membership.directory(&config)),
            membership.office(&config, &data, &store)?,
        )?;
        listeners.operators(&data.socket(), admin_api::operate(admin.clone()))?;
        // Last: whoever reads here that the box is ready may use all the others.
        listeners.observers(sockets.admin, admin_api::observe(admin));

        if config.registration.guests {
            let services = services.client_services();
            lifecycle.spawn(client_api::keep_guests_out(services, lifecycle.stopping()));
        }
        first_members_list(&federation, updates.as_deref()).await;
        if let Some(releases) = membership.releases(&config, &data, &federation, &store)? {
            lifecycle.spawn(releases.run(lifecycle.stopping()));
        }
        start_background(&lifecycle, &federation, updates.as_ref(), services);
        let (counting, stop) = (metrics.keep_counting(), lifecycle.stopping());
        lifecycle.spawn(async move {
            stop.run_until_cancelled(counting).await;
        });
        info!(server = %config.server_name, "the box serves");
        Ok(Appliance {
            store,
            accounts,
            federation,
            updates,
            client_address,
            admin_address,
            lifecycle,
            _lock: lock,
        })
    }
}

impl Appliance {
    /// Opens the data folder, starts the services and serves the sockets.
    ///
    /// # Errors
    ///
    /// See [`Prepared::new`] and [`Prepared::serve`].
    pub async fn start(config: Config, clock: Arc<dyn Clock>, sockets: Sockets) -> Result<Self> {
        Prepared::new(config, clock, sockets).await?.serve().await
    }

    /// The Matrix server name.
    pub fn server_name(&self) -> &ServerName {
        self.store.server_name()
    }

    /// Where clients are served.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where health, metrics and status are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The certificates of the peers connected now.
    pub fn connected_peers(&self) -> Vec<Leaf> {
        self.federation.connected()
    }

    /// Looks for a newer members list now, without waiting for the next time.
    ///
    /// # Errors
    ///
    /// Why there is none in force, or why the newest was refused.
    pub async fn look_for_members(&self) -> Result<()> {
        let updates = self.updates.as_ref().context("the box is not enrolled")?;
        Ok(updates.check().await?)
    }

    /// Stops serving: no new connections, requests end, the database closes. Returns whether all ended in time.
    pub async fn stop(self) -> bool {
        info!(server = %self.server_name(), "the box stops");
        let ended = self.lifecycle.stop().await;
        self.accounts.flush_last_seen().await;
        ended
    }
}

/// Tries events again that arrived without what they build upon.
async fn retry_waiting_events(rooms: Rooms) {
    let mut ticks = tokio::time::interval(RETRY_PERIOD);
    loop {
        ticks.tick().await;
        if let Err(error) = rooms.retry_waiting().await {
            warn!(%error, "events that wait could not be tried again");
        }
    }
}

/// Puts routers behind sockets.
struct Listeners<'a> {
    lifecycle: &'a Lifecycle,
}

impl Listeners<'_> {
    fn clients(&self, socket: TcpListener, config: &Config, router: Router) -> Result<()> {
        let (listening, stop) = (listening(OPEN_FILES_FOR_CLIENTS), self.lifecycle.stopping());
        match settings::client_tls(&config.client)? {
            Some(tls) => self
                .lifecycle
                .spawn(listen(socket, tls, router, listening, stop)),
            None => self
                .lifecycle
                .spawn(listen(socket, Plain, router, listening, stop)),
        }
        Ok(())
    }

    /// Without a certificate there is nothing to show to peers: the socket stays closed to them.
    fn peers(
        &self,
        socket: TcpListener,
        federation: &Federation,
        router: Router,
        office: Option<Router>,
    ) -> Result<()> {
        let tls = match office {
            Some(office) => federation.mutual_tls_with_enrolment(office)?,
            None => federation.mutual_tls(),
        };
        if let Some(tls) = tls {
            self.lifecycle.spawn(listen(
                socket,
                tls,
                router,
                listening(OPEN_FILES_FOR_PEERS),
                self.lifecycle.stopping(),
            ));
        }
        Ok(())
    }

    fn observers(&self, socket: TcpListener, router: Router) {
        self.lifecycle.spawn(listen(
            socket,
            Plain,
            router,
            listening(OPEN_FILES_FOR_OBSERVERS),
            self.lifecycle.stopping(),
        ));
    }

    fn operators(&self, path: &Path, router: Router) -> Result<()> {
        // Left over from a run that was killed; the data folder's lock says that nobody serves it.
        if path.exists() {
            std::fs::remove_file(path).with_context(|| path.display().to_string())?;
        }
        let socket = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        restrict(path)?;
        let stop = self.lifecycle.stopping();
        self.lifecycle.spawn(async move {
            let served = axum::serve(socket, router)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await;
            if let Err(error) = served {
                warn!(%error, "the operator's socket failed");
            }
        });
        Ok(())
    }
}

fn open_store(config: &Config, data: &DataDir, clock: Arc<dyn Clock>) -> Result<Store> {
    let server_name = ServerName::parse(config.server_name.as_str())?;
    let settings = luxchat_store::Config {
        clock,
        ..luxchat_store::Config::new(data.database(), server_name)
    };
    Ok(Store::open(settings)?)
}

/// A box that starts for the first time asks for the members list before it says that it serves, so that the first request
/// to a peer does not fail for want of one. A directory that does not answer holds it up for a moment only.
async fn first_members_list(federation: &Federation, updates: Option<&Updates>) {
    if let Some(updates) = updates.filter(|_| federation.membership().current().is_none())
        && timeout(FIRST_LIST_TIME, updates.check()).await.is_err()
    {
        warn!("the directory has not answered yet");
    }
}

fn start_background(
    lifecycle: &Lifecycle,
    federation: &Federation,
    updates: Option<&Arc<Updates>>,
    services: Services,
) {
    let stop = || -> CancellationToken { lifecycle.stopping() };
    let sender = federation.start(stop());
    lifecycle.spawn(async move {
        if let Err(error) = sender.await {
            warn!(%error, "the federation's background work failed");
        }
    });
    if let Some(updates) = updates.cloned() {
        let stop = stop();
        lifecycle.spawn(async move { updates.run(stop).await });
    }
    let (push, push_stop) = (services.push.clone(), stop());
    lifecycle.spawn(async move { push.run(push_stop).await });
    let (media, sweep_stop) = (services.media.clone(), stop());
    lifecycle.spawn(async move {
        media.log_thumbnailer().await;
        sweep_stop.run_until_cancelled(keep_media(media)).await;
    });
    let (rooms, retry_stop) = (services.rooms.clone(), stop());
    lifecycle.spawn(async move {
        let retries = retry_waiting_events(rooms);
        retry_stop.run_until_cancelled(retries).await;
    });
    let (rooms, complete_stop) = (services.rooms.clone(), stop());
    lifecycle.spawn(async move {
        complete_stop
            .run_until_cancelled(rooms.keep_completing())
            .await;
    });
    let (sync, index_stop) = (services.sync.clone(), stop());
    lifecycle.spawn(async move {
        index_stop
            .run_until_cancelled(sync.keep_search_index())
            .await;
    });
    let (presence, presence_stop) = (services.presence.clone(), stop());
    let outside = federation.clone();
    lifecycle.spawn(async move {
        let told = presence.run(|server, content| {
            outside.send_edu([server], &Edu::Presence(content));
        });
        presence_stop.run_until_cancelled(told).await;
    });
    let (rooms, delayed_stop) = (services.rooms.clone(), stop());
    lifecycle.spawn(async move {
        delayed_stop
            .run_until_cancelled(rooms.keep_sending_delayed())
            .await;
    });
    let (application_services, services_stop) = (services.application_services.clone(), stop());
    let live = services.live_users();
    lifecycle.spawn(async move { application_services.run(live, services_stop).await });
    let maintenance_stop = stop();
    lifecycle.spawn(async move { services.maintain(maintenance_stop).await });
}

/// Sends systemd's watchdog its signs of life, as long as the store takes writes.
fn feed_watchdog_from(store: &Store, lifecycle: &Lifecycle) {
    let (store, stop) = (store.clone(), lifecycle.stopping());
    lifecycle.spawn(feed_watchdog(stop, move || {
        let store = store.clone();
        async move {
            store
                .write(|_| Ok::<_, luxchat_store::Error>(()))
                .await
                .is_ok()
        }
    }));
}

/// Brings media and their files in step at the start and every day, and lets go of what has served its time every minute.
async fn keep_media(media: Media) {
    let mut sweeps = tokio::time::interval(SWEEP_PERIOD);
    let mut ticks = tokio::time::interval(MEDIA_PERIOD);
    loop {
        let outcome = tokio::select! {
            _ = sweeps.tick() => media.sweep().await,
            _ = ticks.tick() => media.maintain().await,
        };
        if let Err(error) = outcome {
            warn!(%error, "the upkeep of the media folder failed");
        }
    }
}

/// A listener that may hold `percent` of the files that the process may have open. All of them together never take all:
/// a request that cannot open the database fails.
fn listening(percent: usize) -> Listening {
    Listening {
        max_connections: sandbox::open_files() / 100 * percent,
        grace: settings::REQUEST_GRACE,
        ..Listening::default()
    }
}

/// Leaves a socket to its owner alone.
fn restrict(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| path.display().to_string())
}
