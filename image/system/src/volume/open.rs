//! From a partition to a mounted volume, with the help of the TPM, a stick, or the people at the console.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use luxchat_bundle::files::{self, Access};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{Header, MAPPER, PARTITION, RecoveryKey, commands, read_header, wipe};
use crate::{
    disks::{self, Disk, Partition},
    host::Host,
    people::{Echo, People},
    programs::CommandLine,
    stick,
};

/// After so many wrong keys the machine starts anew.
const MAX_ATTEMPTS: usize = 20;
/// The shortest passphrase that is taken for a new volume, in characters.
const MIN_PASSPHRASE: usize = 12;
/// So often a new passphrase may be mistyped.
const MAX_MISTYPED: usize = 10;
const KEY_FILE_BYTES: usize = 64;
const MAX_KEY_FILE: usize = 4_096;
/// What is typed to begin anew.
const RESET: &str = "reset";
const ERASE: &str = "ERASE";

/// What became of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It is open: `/dev/mapper/data`.
    Open,
    /// It was made just now, and the recovery key is still to be shown.
    Made,
    /// The system runs from a USB disk, to be installed elsewhere: it keeps nothing.
    Installer,
}

/// Opens the data volume, or makes it.
///
/// # Errors
///
/// When there is no disk to make it on, or nobody at the console has a key.
pub fn prepare(host: Host<'_>, people: &mut dyn People) -> Result<Prepared> {
    host.programs.run(&commands::settle())?;
    let system = system_disk(host)?;
    if system.is_usb {
        return Ok(Prepared::Installer);
    }
    let (partition, is_new) = match system.partition(PARTITION) {
        Some(partition) => (partition.clone(), false),
        None => (make_partition(&system, host)?, true),
    };
    let volume = Volume {
        node: host.paths.at(&partition.node().to_string_lossy()),
        key_file: format!("{}.key", partition.uuid),
        host,
    };
    if is_new {
        wipe(&volume.node)?;
    }
    match read_header(&volume.node)? {
        Header::Volume => volume.unlock(people),
        Header::Empty | Header::Unfinished => volume.make(people),
        Header::Foreign => {
            people.tell(
                "The data partition holds something that is no data volume of a box. It is not touched. To make a new \
                 volume in its place:",
            );
            volume.begin_anew(people)
        }
    }
}

fn system_disk(host: Host<'_>) -> Result<Disk> {
    let root = host.paths.at("/");
    let disks = disks::all(&root)?;
    disks::of_the_system(&root, &disks)
        .context("the disk that the system was started from cannot be told")
}

fn make_partition(system: &Disk, host: Host<'_>) -> Result<Partition> {
    let run = |line: CommandLine| host.programs.run(&line);
    run(commands::make_partition(&system.node()))
        .context("there is no partition for the data, and none could be made")?;
    run(commands::settle())?;
    let made = system_disk(host)?.partition(PARTITION).cloned();
    made.context("the partition for the data was made, and is not there")
}

#[derive(Debug)]
struct Volume<'a> {
    node: PathBuf,
    /// What its key file is called on a stick.
    key_file: String,
    host: Host<'a>,
}

impl Volume<'_> {
    fn make(&self, people: &mut dyn People) -> Result<Prepared> {
        people.tell("Making the data volume of this box. This happens once.");
        let key = RecoveryKey::generate()?;
        self.run(commands::format(&self.node, key.text()))?;
        let secret = Secret::put(self.host, "recovery", key.text().as_bytes())?;
        if !self.bind_to_tpm(&secret, people) {
            self.choose_key(&secret, people)?;
        }
        self.run(commands::open(&self.node, key.text().as_bytes()))?;
        let device = mapped(self.host);
        self.run(commands::make_file_system(&device))?;
        self.host.mount_data(&device)?;
        let state = self.host.paths.state();
        files::create_folder(&state)?;
        files::replace(
            &self.host.paths.recovery_key(),
            key.text().as_bytes(),
            Access::Private,
        )?;
        // Only now is there a volume that something may be kept in.
        self.run(commands::finish(&self.node))?;
        Ok(Prepared::Made)
    }

    fn unlock(&self, people: &mut dyn People) -> Result<Prepared> {
        if self.has_tpm() {
            match self.run(commands::open_by_tpm(&self.node)) {
                Ok(()) => return self.mount(people),
                Err(error) => {
                    people.tell(&format!("The TPM does not open the data volume: {error:#}"));
                }
            }
        }
        people.tell(&format!(
            "The data volume is locked. Insert the stick with its key file (keys/{}), or type the recovery key or the \
             passphrase. Without any of them the data are lost; type `{RESET}` to begin anew.",
            self.key_file
        ));
        for _ in 0..MAX_ATTEMPTS {
            let typed = loop {
                if self.unlock_by_stick() {
                    return self.mount(people);
                }
                if let Some(typed) = people.ask("Key: ", Echo::Off)? {
                    break Zeroizing::new(typed);
                }
            };
            if typed.trim() == RESET {
                return self.begin_anew(people);
            }
            let recovery = RecoveryKey::parse(&typed);
            let key = recovery
                .as_ref()
                .map_or(typed.as_bytes(), |key| key.text().as_bytes());
            match self.run(commands::open(&self.node, key)) {
                Ok(()) => {
                    if let Some(key) = recovery {
                        self.offer_to_bind(&key, people)?;
                    }
                    return self.mount(people);
                }
                Err(error) => people.tell(&format!("That does not open it. ({error:#})")),
            }
        }
        bail!("{MAX_ATTEMPTS} wrong keys: the machine starts anew")
    }

    /// Gives up what the partition holds, if somebody confirms it.
    fn begin_anew(&self, people: &mut dyn People) -> Result<Prepared> {
        let question = format!("Type {ERASE} to destroy everything on the data partition: ");
        for _ in 0..MAX_ATTEMPTS {
            if people.ask_until_answered(&question, Echo::On)?.trim() == ERASE {
                wipe(&self.node)?;
                return self.make(people);
            }
            people.tell("Nothing was destroyed.");
        }
        bail!("not confirmed: the machine starts anew")
    }

    fn mount(&self, people: &mut dyn People) -> Result<Prepared> {
        let device = mapped(self.host);
        if let Err(error) = self.run(commands::check_file_system(&device)) {
            people.tell(&format!("The file system was checked: {error:#}"));
        }
        self.host.mount_data(&device)?;
        Ok(Prepared::Open)
    }

    /// Whether there is a TPM, and a signed system that a volume can be bound to.
    fn has_tpm(&self) -> bool {
        let is_there = |path| self.host.paths.at(path).exists();
        is_there("/dev/tpmrm0") && is_there(commands::PCR_KEY) && is_there(commands::PCR_SIGNATURE)
    }

    fn bind_to_tpm(&self, recovery_key: &Secret, people: &mut dyn People) -> bool {
        if !self.has_tpm() {
            if self.host.paths.at("/dev/tpmrm0").exists() {
                people.tell("There is a TPM, but this system is not signed: the volume cannot be bound to it.");
            }
            return false;
        }
        match self.run(commands::bind_to_tpm(&self.node, recovery_key.path())) {
            Ok(()) => {
                people.tell("The TPM of this machine opens the data volume from now on.");
                true
            }
            Err(error) => {
                people.tell(&format!(
                    "The volume could not be bound to the TPM: {error:#}"
                ));
                false
            }
        }
    }

    fn offer_to_bind(&self, key: &RecoveryKey, people: &mut dyn People) -> Result<()> {
        if !self.has_tpm() {
            return Ok(());
        }
        let question = "Bind the volume to this machine's TPM anew? Type yes or no: ";
        if people.ask_until_answered(question, Echo::On)?.trim() == "yes" {
            self.run(commands::unbind(&self.node))?;
            let secret = Secret::put(self.host, "recovery", key.text().as_bytes())?;
            self.bind_to_tpm(&secret, people);
        }
        Ok(())
    }

    /// Without a TPM: a key file on the stick, where it has a folder for it, or a passphrase.
    fn choose_key(&self, recovery_key: &Secret, people: &mut dyn People) -> Result<()> {
        people.tell(
            "There is no TPM to open the data volume. Put in a stick with a folder `keys`, for a key file that opens it \
             at every start, or choose a passphrase that is asked for at every start.",
        );
        for _ in 0..MAX_MISTYPED {
            let passphrase = loop {
                if let Some(key) = self.write_key_file()? {
                    return self.take_key_file(&key, recovery_key, people);
                }
                if let Some(passphrase) = people.ask("New passphrase: ", Echo::Off)? {
                    break Zeroizing::new(passphrase);
                }
            };
            if passphrase.chars().count() < MIN_PASSPHRASE {
                people.tell(&format!("Use at least {MIN_PASSPHRASE} characters."));
                continue;
            }
            let again = Zeroizing::new(people.ask_until_answered("The same again: ", Echo::Off)?);
            if again == passphrase {
                let new = Secret::put(self.host, "new", passphrase.as_bytes())?;
                let add = commands::add_passphrase(&self.node, recovery_key.path(), new.path());
                return self.run(add);
            }
            people.tell("The two are not the same.");
        }
        bail!("no passphrase was chosen: the machine starts anew")
    }

    fn take_key_file(
        &self,
        key: &[u8],
        recovery_key: &Secret,
        people: &mut dyn People,
    ) -> Result<()> {
        let new = Secret::put(self.host, "new", key)?;
        self.run(commands::add_key_file(
            &self.node,
            recovery_key.path(),
            new.path(),
        ))?;
        people.tell(&format!(
            "The stick opens the data volume from now on, by keys/{}: it must be in at every start. Whoever has it has \
             the data.",
            self.key_file
        ));
        Ok(())
    }

    /// Draws a key and puts it on the stick, if one is in that has a folder for keys.
    fn write_key_file(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(device) = stick::device(self.host) else {
            return Ok(None);
        };
        stick::with_mounted(self.host, &device, |folder| {
            let keys = folder.join("keys");
            if !keys.is_dir() {
                return Ok(None);
            }
            let mut key = Zeroizing::new(vec![0; KEY_FILE_BYTES]);
            SystemRandom::new()
                .fill(&mut key)
                .map_err(|_| anyhow::anyhow!("no random numbers can be had"))?;
            files::replace(&keys.join(&self.key_file), &key, Access::Private)?;
            Ok(Some(key))
        })
    }

    fn unlock_by_stick(&self) -> bool {
        let Some(device) = stick::device(self.host) else {
            return false;
        };
        let read = |folder: &Path| {
            let path = folder.join("keys").join(&self.key_file);
            Ok(Zeroizing::new(files::read(&path, MAX_KEY_FILE)?))
        };
        let key = stick::with_mounted(self.host, &device, read);
        key.is_ok_and(|key| self.run(commands::open(&self.node, &key)).is_ok())
    }

    fn run(&self, line: CommandLine) -> Result<()> {
        self.host.programs.run(&line).map(drop)
    }
}

fn mapped(host: Host<'_>) -> PathBuf {
    host.paths.at("/dev/mapper").join(MAPPER)
}

/// A secret in a file in memory, for as long as another program needs it.
#[derive(Debug)]
struct Secret(PathBuf);

impl Secret {
    fn put(host: Host<'_>, name: &str, bytes: &[u8]) -> Result<Self> {
        let folder = host.paths.run().join("keys");
        files::create_folder(&folder)?;
        let path = folder.join(name);
        files::replace(&path, bytes, Access::Private)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // It lies in memory: nothing of it stays on a disk.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
