//! A scanner looks at each content once, before it is first handed out. What clients encrypted is noise to it.

mod clamd;
mod icap;

use std::{io, path::PathBuf, time::Duration};

use luxchat_federation::Turns;
use luxchat_store::{ContentHash, Store};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use tracing::warn;

use crate::{Error, Found, Result, folder::hex};

/// How many contents are scanned at a time.
const PARALLEL: usize = 8;

/// How long the scanner may take to say that it is there.
const GREETING_TIME: Duration = Duration::from_secs(2);

/// Who the audit log says has put a content in quarantine.
const ACTOR: &str = "scanner";

/// What looks at contents, and what happens when it does not.
#[derive(Clone, Debug)]
pub struct ScannerConfig {
    /// The scanner.
    pub service: ScanService,
    /// What happens while it does not answer.
    pub when_down: WhenDown,
    /// How long one scan may take.
    pub time: Duration,
}

/// What a scanner speaks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanService {
    /// The protocol of ClamAV's `clamd`.
    Clamd(ScannerAddress),
    /// ICAP (RFC 3507): `RESPMOD`.
    Icap {
        /// Host and port.
        address: String,
        /// The path of the service.
        service: String,
    },
}

/// Where a scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerAddress {
    /// A socket of this machine.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// What happens to contents while the scanner does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// They wait until it does.
    Refuse,
    /// They are handed out, and scanned when it is there again.
    Deliver,
}

/// How it stands with the scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerState {
    /// The site has none.
    None,
    /// It answers.
    Up,
    /// It does not.
    Down {
        /// Why.
        why: String,
        /// What happens meanwhile.
        when_down: WhenDown,
    },
}

/// What a scanner says of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    /// With the name of what was found.
    Infected(String),
    /// It began to let the content through, and did not go on.
    Undecided,
}

/// A connection to a scanner.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The site's scanner at work.
#[derive(Debug)]
pub(crate) struct Scanning {
    config: ScannerConfig,
    /// One scan of each content at a time.
    turns: Turns<ContentHash>,
    places: Semaphore,
}

impl Scanning {
    pub(crate) fn new(config: ScannerConfig) -> Self {
        Self {
            config,
            turns: Turns::default(),
            places: Semaphore::new(PARALLEL),
        }
    }

    /// Makes sure that a content is clean. One that is not goes to quarantine.
    pub(crate) async fn check(&self, store: &Store, found: &Found) -> Result<()> {
        let sha256 = found.row().sha256;
        let _turn = self.turns.take(&sha256).await;
        let state: luxchat_store::Result<_> = store
            .read(move |tx| Ok((tx.is_quarantined(&sha256)?, tx.is_media_scanned(&sha256)?)))
            .await;
        match state? {
            (true, _) => return Err(Error::Quarantined),
            (_, true) => return Ok(()),
            _ => {}
        }
        match self.scan(found).await {
            Ok(Verdict::Clean) => {
                let noted: luxchat_store::Result<()> =
                    store.write(move |tx| tx.set_media_scanned(&sha256)).await;
                Ok(noted?)
            }
            Ok(Verdict::Infected(name)) => {
                warn!(
                    content = hex(&sha256),
                    name, "the scanner puts a content in quarantine"
                );
                store
                    .write(move |tx| {
                        tx.quarantine_content(&sha256, &name)?;
                        let what = format!("{} {name}", hex(&sha256));
                        tx.audit(ACTOR, "media.quarantine", &what)
                    })
                    .await?;
                Err(Error::Quarantined)
            }
            Ok(Verdict::Undecided) => {
                warn!(content = hex(&sha256), "the scanner broke off");
                Err(Error::NotScanned)
            }
            Err(error) => {
                warn!(content = hex(&sha256), %error, "a content could not be scanned");
                match self.config.when_down {
                    WhenDown::Refuse => Err(Error::NotScanned),
                    WhenDown::Deliver => Ok(()),
                }
            }
        }
    }

    /// Whether the scanner answers now.
    pub(crate) async fn state(&self) -> ScannerState {
        let greeting = async {
            match &self.config.service {
                ScanService::Clamd(address) => clamd::ping(connect(address).await?).await,
                ScanService::Icap { address, service } => {
                    icap::ping(TcpStream::connect(address).await?, address, service).await
                }
            }
        };
        match within(GREETING_TIME, greeting).await {
            Ok(()) => ScannerState::Up,
            Err(error) => ScannerState::Down {
                why: error.to_string(),
                when_down: self.config.when_down,
            },
        }
    }

    async fn scan(&self, found: &Found) -> io::Result<Verdict> {
        let place = self.places.acquire();
        let _place = place.await.map_err(io::Error::other)?;
        let size = found.size();
        let content = std::pin::pin!(found.read(0, size));
        let scan = async {
            match &self.config.service {
                ScanService::Clamd(address) => clamd::scan(connect(address).await?, content).await,
                ScanService::Icap { address, service } => {
                    let connection = TcpStream::connect(address).await?;
                    let sha256 = found.row().sha256;
                    icap::scan(connection, (address, service), (size, sha256), content).await
                }
            }
        };
        within(self.config.time, scan).await
    }
}

async fn connect(address: &ScannerAddress) -> io::Result<Box<dyn Connection>> {
    Ok(match address {
        ScannerAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        ScannerAddress::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    })
}

async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long")))
}
