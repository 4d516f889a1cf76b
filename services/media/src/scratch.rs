//! Contents on their way to disk. Whoever receives one fills a block; a thread that may block hashes and writes it, while
//! the next one fills.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    mem,
    path::{Path, PathBuf},
};

use luxchat_store::ContentHash;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::{Error, Result, folder::blocking};

/// How many bytes are hashed and written at a time. Each upload keeps two such blocks at most.
const BLOCK: usize = 512 * 1024;

/// What direct writes are aligned to in memory and in the file: the largest sector there is, and the smallest page.
const ALIGNMENT: usize = 4096;

/// A content in the making: gone when dropped, unless it finds its place.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    filling: Block,
    writing: Writing,
    size: u64,
    limit: u64,
}

/// A content that is on disk, not yet in its place.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) path: ScratchPath,
    pub(crate) sha256: ContentHash,
    pub(crate) size: u64,
}

/// A file that goes with its owner.
#[derive(Debug)]
pub(crate) struct ScratchPath(PathBuf);

/// Where the writer is.
#[derive(Debug)]
enum Writing {
    /// Here: nothing has been written yet.
    Idle(Writer),
    /// On a thread that has the last block, and gives both back when that is written.
    Begun(JoinHandle<io::Result<(Writer, Block)>>),
    /// Nowhere: a write failed, or was given up waiting for.
    Over,
}

impl Scratch {
    /// A file that does not exist yet, to hold at most `limit` bytes.
    pub(crate) fn new(path: PathBuf, limit: u64) -> Self {
        Self {
            filling: Block::default(),
            writing: Writing::Idle(Writer::new(path.clone())),
            path,
            size: 0,
            limit,
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] beyond the limit.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(Error::TooLarge(self.limit));
        }
        loop {
            bytes = self.filling.take_from(bytes);
            if bytes.is_empty() {
                return Ok(());
            }
            let (writer, empty) = self.idle().await?;
            let full = mem::replace(&mut self.filling, empty);
            self.writing = Writing::Begun(tokio::task::spawn_blocking(|| writer.take_in(full)));
        }
    }

    /// Flushes to disk.
    pub(crate) async fn finish(mut self) -> Result<Written> {
        let (writer, _) = self.idle().await?;
        let (last, size) = (self.filling, self.size);
        let written = blocking(move || writer.take_in(last)?.0.finish(size)).await;
        written.map_err(|why| Error::file(&self.path, why))
    }

    /// The writer, once it has nothing left to do, and an empty block.
    async fn idle(&mut self) -> Result<(Writer, Block)> {
        let idle = match mem::replace(&mut self.writing, Writing::Over) {
            Writing::Idle(writer) => Ok((writer, Block::default())),
            Writing::Begun(task) => task
                .await
                .unwrap_or_else(|gone| Err(io::Error::other(gone))),
            Writing::Over => Err(ErrorKind::BrokenPipe.into()),
        };
        idle.map_err(|why| Error::file(&self.path, why))
    }
}

/// Bytes that await their write, at an address that suits direct writes.
#[derive(Debug, Default)]
struct Block {
    /// Empty until it is needed.
    memory: Vec<u8>,
    start: usize,
}

impl Block {
    /// Takes what it has room for, and returns the rest.
    fn take_from<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.memory.capacity() == 0 {
            self.memory.reserve_exact(ALIGNMENT + BLOCK);
            self.start = self.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
            self.memory.resize(self.start, 0);
        }
        let room = self.start + BLOCK - self.memory.len();
        let (taken, rest) = bytes.split_at(room.min(bytes.len()));
        self.memory.extend_from_slice(taken);
        rest
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    fn clear(&mut self) {
        self.memory.truncate(self.start);
    }
}

/// Hashes and writes. Used on threads that may block.
#[derive(Debug)]
struct Writer {
    path: ScratchPath,
    hash: Sha256,
    /// Made when there is something to write.
    file: Option<Output>,
}

impl Writer {
    fn new(path: PathBuf) -> Self {
        Self {
            path: ScratchPath(path),
            hash: Sha256::new(),
            file: None,
        }
    }

    /// Adds a block, and returns it empty. All blocks but the last are full.
    fn take_in(mut self, mut block: Block) -> io::Result<(Self, Block)> {
        let bytes = block.bytes();
        self.hash.update(bytes);
        let file = match &mut self.file {
            Some(file) => file,
            None => self
                .file
                .insert(Output::create(self.path.as_path(), bytes.len() == BLOCK)?),
        };
        file.write(bytes)?;
        block.clear();
        Ok((self, block))
    }

    /// Flushes to disk a content of `size` bytes.
    fn finish(self, size: u64) -> io::Result<Written> {
        if let Some(output) = self.file {
            output.file.sync_data()?;
        }
        Ok(Written {
            path: self.path,
            sha256: self.hash.finalize().into(),
            size,
        })
    }
}

/// A file that is written from its beginning to its end.
#[derive(Debug)]
struct Output {
    file: File,
    /// Whether what is written goes past the page cache. That takes far less CPU than writing there and flushing, and
    /// what is in demand stays in the cache.
    is_direct: bool,
}

impl Output {
    fn create(path: &Path, is_large: bool) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self {
            // Not every file system can, and a small file is not worth it.
            is_direct: is_large && set_direct(&file, true).is_ok(),
            file,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_direct {
            // Only the end of a content has a rest.
            let (sectors, rest) = bytes.split_at(bytes.len() - bytes.len() % ALIGNMENT);
            self.write_all(sectors)?;
            if !rest.is_empty() {
                self.write_through_cache()?;
                self.write_all(rest)?;
            }
            return Ok(());
        }
        self.write_all(bytes)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The disk wants another alignment, or took a part that does not end where the next may begin.
                Err(error) if error.kind() == ErrorKind::InvalidInput && self.is_direct => {
                    self.write_through_cache()?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_through_cache(&mut self) -> io::Result<()> {
        self.is_direct = false;
        set_direct(&self.file, false)
    }
}

fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(fcntl_setfl(file, flags)?)
}

impl ScratchPath {
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchPath {
    fn drop(&mut self) {
        // Renamed files are not there any more; what cannot be removed goes at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        use rand::RngExt;
        let mut bytes = vec![0; length];
        rand::rng().fill(&mut bytes[..]);
        bytes
    }

    #[tokio::test]
    async fn contents_of_all_sizes_arrive_however_they_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = [0, 1, ALIGNMENT - 1, ALIGNMENT, BLOCK - 1, BLOCK, BLOCK + 1];
        let large = [2 * BLOCK, 3 * BLOCK + ALIGNMENT, 5 * BLOCK + 4097];
        for size in sizes.into_iter().chain(large) {
            for step in [1_000, 65_536, BLOCK, usize::MAX] {
                let bytes = noise(size);
                let path = folder.path().join("scratch");
                let mut scratch = Scratch::new(path.clone(), size as u64);
                for part in bytes.chunks(step) {
                    scratch.write(part).await.unwrap();
                }
                let written = scratch.finish().await.unwrap();
                assert_eq!(written.size, size as u64);
                assert_eq!(written.sha256[..], Sha256::digest(&bytes)[..]);
                assert!(fs::read(&path).unwrap() == bytes, "{size} by {step}");
                drop(written);
                assert!(!path.exists());
            }
        }
    }

    #[test]
    fn writes_that_a_disk_does_not_take_directly_go_through_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scratch");
        let mut output = Output::create(&path, true).unwrap();
        let mut block = Block::default();
        let bytes = noise(3 * ALIGNMENT);
        block.take_from(&bytes);
        // The second is not as long as it should be, the third not where it should be.
        let [first, second, third] = [
            0..ALIGNMENT,
            ALIGNMENT..ALIGNMENT + 700,
            ALIGNMENT + 700..bytes.len(),
        ];
        for part in [first, second, third] {
            output.write_all(&block.bytes()[part]).unwrap();
        }
        assert!(!output.is_direct);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[tokio::test]
    async fn what_is_given_up_while_it_is_written_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scratch");
        let mut scratch = Scratch::new(path.clone(), u64::MAX);
        scratch.write(&noise(4 * BLOCK)).await.unwrap();
        let Writing::Begun(task) = mem::replace(&mut scratch.writing, Writing::Over) else {
            panic!("nothing is being written");
        };
        drop(scratch);
        let given_back = task.await.unwrap().unwrap();
        assert!(path.exists());
        drop(given_back);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn more_than_the_limit_and_what_cannot_be_created_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(folder.path().join("scratch"), 10);
        scratch.write(b"ten bytes!").await.unwrap();
        let more = scratch.write(b"!").await;
        assert!(matches!(more, Err(Error::TooLarge(10))));
        let nowhere = Scratch::new(folder.path().join("missing/scratch"), 10);
        let refused = nowhere.finish().await;
        assert!(matches!(refused, Err(Error::File { .. })));
    }
}
