//! The memory of a box does not depend on how large files are, nor on how slowly they are read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use luxchat_appliance::nation::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
    time::timeout,
};

use super::{nation, noise};
use crate::boxes::{BoxProcess, agent};

/// The largest upload of a site file that says nothing.
const FILE: usize = 100_000_000;

const DOWNLOADS: usize = 200;

/// What everybody reads before all stop reading for a while.
const FIRST_PART: u64 = 1_000_000;

/// How long all read on; who is through by then has read every byte.
const READING_TIME: Duration = Duration::from_secs(20);

/// What the memory of the box may grow by, in bytes.
const GROWTH: u64 = 100_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_downloads() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nation = nation(folder.path(), "")?;
    let mut interieur = BoxProcess::new(&nation, folder.path(), "interieur")?;
    interieur.start_and_wait().await?;
    let alice = agent(&nation, "interieur", "alice").await?;
    let began = interieur.resident_bytes()?;
    let film = alice.upload("video/mp4", noise(1, FILE)).await?;
    let uploaded = interieur.resident_bytes()?;
    ensure!(
        uploaded < began + GROWTH,
        "an upload: {began} -> {uploaded}"
    );

    let idle = interieur.resident_bytes()?;
    let stalled = Arc::new(Barrier::new(DOWNLOADS + 1));
    let go_on = Arc::new(Barrier::new(DOWNLOADS + 1));
    let read = Arc::new(AtomicU64::new(0));
    let downloads = (0..DOWNLOADS).map(|_| {
        let (stalled, go_on, read) = (stalled.clone(), go_on.clone(), read.clone());
        let download = Download::open(alice.clone(), film.clone());
        tokio::spawn(async move {
            let mut download = download.await?;
            download.read(FIRST_PART, &read).await?;
            stalled.wait().await;
            go_on.wait().await;
            timeout(READING_TIME, download.read(u64::MAX, &read))
                .await
                .unwrap_or(Ok(()))?;
            anyhow::Ok(download.left == 0)
        })
    });
    let downloads: Vec<_> = downloads.collect();

    stalled.wait().await;
    // Meanwhile the box fills the sockets of those who do not read.
    let mut most = 0;
    for _ in 0..20 {
        most = most.max(interieur.resident_bytes()?);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    go_on.wait().await;
    let began = Instant::now();
    let mut downloads = std::pin::pin!(try_join_all(downloads));
    let whole = loop {
        most = most.max(interieur.resident_bytes()?);
        if let Ok(ended) = timeout(Duration::from_millis(100), &mut downloads).await {
            break ended?.into_iter().collect::<Result<Vec<bool>>>()?;
        }
    };
    let whole = whole.into_iter().filter(|whole| *whole).count();
    eprintln!(
        "{DOWNLOADS} downloads read {} MB after {:?}, {whole} of them all there was; resident {} MB idle, {} MB at most",
        read.load(Relaxed) / 1_000_000,
        began.elapsed(),
        idle / 1_000_000,
        most / 1_000_000,
    );
    ensure!(read.load(Relaxed) > DOWNLOADS as u64 * FIRST_PART);
    ensure!(most < idle + GROWTH, "downloads: {idle} -> {most}");
    Ok(())
}

/// A download that is read at will.
struct Download {
    socket: TcpStream,
    /// What the box still owes.
    left: u64,
}

impl Download {
    async fn open(client: Client, uri: String) -> Result<Self> {
        let path = uri.strip_prefix("mxc://").context("an mxc:// address")?;
        let host = client.base_url().strip_prefix("http://");
        let host = host.context("the test's boxes serve plain HTTP")?;
        let mut socket = TcpStream::connect(host).await?;
        let request = format!(
            "GET /_matrix/client/v1/media/download/{path} HTTP/1.1\r\nHost: {host}\r\n\
             Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
            client.access_token()
        );
        socket.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < 10_000, "a head without end");
            head.push(socket.read_u8().await?);
        }
        let head = String::from_utf8(head)?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = format!("\r\ncontent-length: {FILE}\r\n");
        ensure!(head.to_ascii_lowercase().contains(&length), "{head}");
        Ok(Self {
            socket,
            left: FILE as u64,
        })
    }

    /// Reads about as many bytes, counting them.
    async fn read(&mut self, bytes: u64, count: &AtomicU64) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut wanted = bytes.min(self.left);
        while wanted > 0 {
            let read = self.socket.read(&mut buffer).await? as u64;
            ensure!(read > 0, "it broke off, {} bytes before its end", self.left);
            wanted = wanted.saturating_sub(read);
            self.left -= read;
            count.fetch_add(read, Relaxed);
        }
        Ok(())
    }
}
