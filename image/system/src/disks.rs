//! Disks and partitions, as the kernel and udev know them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// More disks than any machine has.
const MAX_DISKS: usize = 256;
/// The kernel counts in these, whatever the disk does.
const SECTOR: u64 = 512;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name: `sda`, `nvme0n1`.
    pub name: String,
    /// What its maker calls it.
    pub model: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it is at USB, as a stick is.
    pub is_usb: bool,
    /// In order of their numbers.
    pub partitions: Vec<Partition>,
}

/// A partition of a GPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name: `sda3`.
    pub name: String,
    /// Its place in the table.
    pub number: u32,
    /// The name in the table.
    pub label: String,
    /// The type in the table, a UUID.
    pub kind: String,
    /// The UUID in the table.
    pub uuid: String,
    /// Its size.
    pub bytes: u64,
}

impl Disk {
    /// Its device node.
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The partition of that name in the table.
    pub fn partition(&self, label: &str) -> Option<&Partition> {
        self.partitions.iter().find(|it| it.label == label)
    }
}

impl Partition {
    /// Its device node.
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

/// All disks of the machine whose `/` is `root`, by name.
pub fn all(root: &Path) -> Result<Vec<Disk>> {
    let folder = root.join("sys/block");
    let mut disks = Vec::new();
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    for entry in entries.take(MAX_DISKS) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let made_up = ["dm-", "loop", "ram", "zram", "md", "sr", "fd"];
        if !made_up.iter().any(|prefix| name.starts_with(prefix)) {
            disks.push(disk(root, &name, &entry.path())?);
        }
    }
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(disks)
}

/// The disk that the running system was started from: the one below the verified root.
pub fn of_the_system(root: &Path, disks: &[Disk]) -> Option<Disk> {
    let below = lowest(root, &root_device(root)?, 4)?;
    let holds =
        |disk: &&Disk| disk.name == below || disk.partitions.iter().any(|it| it.name == below);
    disks.iter().find(holds).cloned()
}

/// The kernel's name of the device-mapper device called `root`.
fn root_device(root: &Path) -> Option<String> {
    let entries = fs::read_dir(root.join("sys/block")).ok()?.flatten();
    entries
        .filter(|entry| read(&entry.path().join("dm/name")) == "root")
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .next()
}

/// What a device stands on, at most `depth` steps down.
fn lowest(root: &Path, name: &str, depth: usize) -> Option<String> {
    let slaves = root.join("sys/block").join(name).join("slaves");
    let below = fs::read_dir(slaves).ok().and_then(|mut it| it.next()?.ok());
    match below {
        Some(entry) if depth > 0 => lowest(root, &entry.file_name().to_string_lossy(), depth - 1),
        Some(_) => None,
        None => Some(name.to_owned()),
    }
}

fn disk(root: &Path, name: &str, folder: &Path) -> Result<Disk> {
    let place = fs::canonicalize(folder)?;
    let mut partitions = Vec::new();
    for entry in fs::read_dir(&place)?.flatten() {
        let number = read(&entry.path().join("partition"));
        if let Ok(number) = number.parse() {
            partitions.push(partition(root, number, &entry.path()));
        }
    }
    partitions.sort_by_key(|it| it.number);
    Ok(Disk {
        name: name.to_owned(),
        model: printable(&read(&place.join("device/model"))),
        bytes: size(&place),
        is_usb: place
            .components()
            .any(|it| it.as_os_str().to_string_lossy().starts_with("usb")),
        partitions,
    })
}

fn partition(root: &Path, number: u32, folder: &Path) -> Partition {
    let device = read(&folder.join("dev"));
    let database = root.join("run/udev/data").join(format!("b{device}"));
    let known = properties(&fs::read_to_string(database).unwrap_or_default());
    let property = |name: &str| known.get(name).cloned().unwrap_or_default();
    Partition {
        name: folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        number,
        label: property("ID_PART_ENTRY_NAME"),
        kind: property("ID_PART_ENTRY_TYPE"),
        uuid: property("ID_PART_ENTRY_UUID"),
        bytes: size(folder),
    }
}

/// The properties in an entry of udev's database.
fn properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("E:"));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn size(folder: &Path) -> u64 {
    read(&folder.join("size"))
        .parse::<u64>()
        .unwrap_or(0)
        .saturating_mul(SECTOR)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A machine with a system on `sda` and a stick at `sdb`.
    pub(crate) fn machine() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let devices = root.join("sys/devices");
        for (disk, at) in [("sda", "pci0/ata1"), ("sdb", "pci0/usb1/1-1")] {
            let place = devices.join(at).join(disk);
            put(&place.join("size"), "16777216\n");
            put(&place.join("device/model"), "QEMU HARDDISK \n");
            fs::create_dir_all(root.join("sys/block")).unwrap();
            symlink(&place, root.join("sys/block").join(disk)).unwrap();
        }
        let sda = devices.join("pci0/ata1/sda");
        for (number, label) in [(1, "esp"), (2, "root_0.1.0"), (6, "data")] {
            let place = sda.join(format!("sda{number}"));
            put(&place.join("partition"), &number.to_string());
            put(&place.join("size"), "2048\n");
            put(&place.join("dev"), &format!("8:{number}\n"));
            let entry = format!(
                "S:disk/by-x\nE:ID_PART_ENTRY_NAME={label}\nE:ID_PART_ENTRY_UUID=u{number}\nE:ID_PART_ENTRY_TYPE=t{number}\n"
            );
            put(&root.join(format!("run/udev/data/b8:{number}")), &entry);
        }
        let dm = devices.join("virtual/dm-0");
        put(&dm.join("dm/name"), "root\n");
        fs::create_dir_all(dm.join("slaves/sda2")).unwrap();
        symlink(&dm, root.join("sys/block/dm-0")).unwrap();
        folder
    }

    #[test]
    fn the_disk_of_the_system_is_the_one_below_its_root() {
        let machine = machine();
        let disks = all(machine.path()).unwrap();
        let names: Vec<_> = disks
            .iter()
            .map(|disk| (disk.name.as_str(), disk.is_usb))
            .collect();
        assert_eq!(names, [("sda", false), ("sdb", true)]);
        let system = of_the_system(machine.path(), &disks).unwrap();
        assert_eq!(system.name, "sda");
        assert_eq!(system.bytes, 8 << 30);
        assert_eq!(system.model, "QEMU HARDDISK");
        let data = system.partition("data").unwrap();
        assert_eq!((data.number, data.node()), (6, "/dev/sda6".into()));
        assert_eq!((data.kind.as_str(), data.uuid.as_str()), ("t6", "u6"));
        assert_eq!(data.bytes, 1 << 20);
    }

    #[test]
    fn without_a_verified_root_there_is_no_disk_of_the_system() {
        let machine = machine();
        fs::remove_file(machine.path().join("sys/block/dm-0")).unwrap();
        let disks = all(machine.path()).unwrap();
        assert_eq!(of_the_system(machine.path(), &disks), None);
    }
}
