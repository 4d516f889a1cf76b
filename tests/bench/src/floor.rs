//! The least that an upload and a download can cost a server on this machine: what no server can leave out, done by one
//! thread and nothing else.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use ring::digest::{Context as Hash, SHA256};
use rustix::{
    fs::{OFlags, sendfile},
    time::{ClockId, clock_gettime},
};

/// The files of the scenarios, in bytes, and how many of each are sent.
const FILES: [(usize, u32); 2] = [(1_000_000, 1_000), (20_000_000, 50)];

/// What servers read from a socket at a time, and what they write to a disk at a time.
const READ: usize = 64 * 1024;
const BLOCK: usize = 512 * 1024;

/// What direct writes are aligned to.
const ALIGNMENT: usize = 4096;

/// How much is done of an upload or a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Receive,
    Hash,
    WriteThroughCache,
    WriteDirectly,
    ReadAndSend,
    SendFile,
}

const STEPS: [(Step, &str); 6] = [
    (Step::Receive, "receive"),
    (Step::Hash, "receive, hash"),
    (Step::WriteThroughCache, "receive, hash, write, flush"),
    (
        Step::WriteDirectly,
        "receive, hash, write past the page cache, flush",
    ),
    (Step::ReadAndSend, "read, send"),
    (Step::SendFile, "send with sendfile"),
];

/// Measures in a folder on the disk in question, and lays the figures out as Markdown.
///
/// # Errors
///
/// When the folder cannot be written to, or loopback connections fail.
pub fn floor(folder: &Path) -> Result<String> {
    let mut table =
        "| CPU of one thread, in milliseconds per file | 1 MB | 20 MB |\n| --- | ---: | ---: |\n"
            .to_owned();
    for (step, name) in STEPS {
        let mut figures = Vec::new();
        for (length, count) in FILES {
            let spent =
                measure(step, length, count, folder).with_context(|| format!("cannot {name}"))?;
            figures.push(spent.as_secs_f64() * 1e3 / f64::from(count));
        }
        writeln!(table, "| {name} | {:.2} | {:.2} |", figures[0], figures[1])?;
    }
    Ok(table)
}

/// The CPU time of the thread that plays the server.
fn measure(step: Step, length: usize, count: u32, folder: &Path) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let is_upload = !matches!(step, Step::ReadAndSend | Step::SendFile);
    let peer = thread::spawn(move || {
        if is_upload {
            send(address, length, count)
        } else {
            discard(address)
        }
    });
    let (stream, _) = listener.accept()?;
    let server = Server {
        stream,
        block: Block::new(),
        path: &folder.join("luxchat-bench-floor"),
        length,
    };
    let spent = server.run(step, count);
    // It ends with the connection.
    let peer = peer.join();
    let removed = fs::remove_file(folder.join("luxchat-bench-floor"));
    let spent = spent?;
    peer.map_err(|_| anyhow!("the peer's thread died"))??;
    if step != Step::Receive && step != Step::Hash {
        removed?;
    }
    Ok(spent)
}

fn send(to: SocketAddr, length: usize, count: u32) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    let file = vec![7; length];
    for _ in 0..count {
        stream.write_all(&file)?;
    }
    Ok(())
}

fn discard(from: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(from)?;
    let mut part = vec![0; 4 * READ];
    while stream.read(&mut part)? > 0 {}
    Ok(())
}

struct Server<'a> {
    stream: TcpStream,
    block: Block,
    path: &'a Path,
    length: usize,
}

impl Server<'_> {
    fn run(mut self, step: Step, count: u32) -> Result<Duration> {
        if matches!(step, Step::ReadAndSend | Step::SendFile) {
            fs::write(self.path, vec![7; self.length])?;
        }
        let began = thread_time();
        for _ in 0..count {
            match step {
                Step::Receive | Step::Hash => self.receive(step, None)?,
                Step::WriteThroughCache | Step::WriteDirectly => self.keep(step)?,
                Step::ReadAndSend => self.read_and_send()?,
                Step::SendFile => self.send_file()?,
            }
        }
        Ok(thread_time().saturating_sub(began))
    }

    fn receive(&mut self, step: Step, file: Option<&File>) -> io::Result<()> {
        let mut hash = Hash::new(&SHA256);
        let mut done = 0;
        while done < self.length {
            let wanted = BLOCK.min(self.length - done);
            let bytes = self.block.bytes();
            let mut filled = 0;
            while filled < wanted {
                let part = &mut bytes[filled..wanted.min(filled + READ)];
                let read = self.stream.read(part)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if step != Step::Receive {
                    hash.update(&part[..read]);
                }
                filled += read;
            }
            if let Some(file) = file {
                // Direct writes take whole sectors; what is too much is cut off later.
                let sectors = wanted.next_multiple_of(ALIGNMENT);
                let length = if step == Step::WriteDirectly {
                    sectors
                } else {
                    wanted
                };
                file.write_all_at(&bytes[..length], done as u64)?;
            }
            done += wanted;
        }
        std::hint::black_box(hash.finish());
        Ok(())
    }

    fn keep(&mut self, step: Step) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        if step == Step::WriteDirectly {
            options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        let file = options.open(self.path)?;
        self.receive(step, Some(&file))?;
        file.set_len(self.length as u64)?;
        file.sync_data()
    }

    fn read_and_send(&mut self) -> io::Result<()> {
        let mut file = File::open(self.path)?;
        let part = &mut self.block.bytes()[..READ];
        loop {
            let read = file.read(part)?;
            if read == 0 {
                return Ok(());
            }
            self.stream.write_all(&part[..read])?;
        }
    }

    fn send_file(&mut self) -> io::Result<()> {
        let file = File::open(self.path)?;
        let mut at = 0;
        while sendfile(&self.stream, &file, Some(&mut at), BLOCK)? > 0 {}
        Ok(())
    }
}

/// Memory at an address that suits direct writes.
struct Block {
    memory: Vec<u8>,
    start: usize,
}

impl Block {
    fn new() -> Self {
        let memory = vec![0; ALIGNMENT + BLOCK];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + BLOCK]
    }
}

/// User and system time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_takes_its_time_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (step, name) in STEPS {
            // Not every file system takes direct writes.
            let spent = measure(step, BLOCK + 1_000, 2, folder.path());
            assert!(spent.is_ok_and(|spent| !spent.is_zero()), "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
        }
    }
}
