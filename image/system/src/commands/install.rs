use std::{fmt::Write, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use luxchat_bundle::files::{self, Access};

use crate::{
    disks::{self, Disk, Partition},
    host::Host,
    paths::Paths,
    programs::{CommandLine, Machine},
    volume::PARTITION,
};

const REPART: &str = "/usr/bin/systemd-repart";
/// For a slow USB disk.
const LONG: Duration = Duration::from_mins(50);
/// So much must be left for the data.
const MIN_DATA: u64 = 512 * 1024 * 1024;
/// What an empty slot is called.
const EMPTY: &str = "_empty";

/// Copy the running system to another disk. Whoever starts this has confirmed it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The disk, by the kernel's name: sda, nvme0n1.
    #[arg(value_name = "DISK")]
    disk: String,
}

/// # Errors
///
/// When the disk is not there, too small, or the system's own.
pub fn run(arguments: &Arguments) -> Result<()> {
    let paths = Paths::default();
    install(&arguments.disk, Host::new(&paths, &Machine)?)
}

fn install(name: &str, host: Host<'_>) -> Result<()> {
    let root = host.paths.at("/");
    let disks = disks::all(&root)?;
    let system = disks::of_the_system(&root, &disks)
        .context("the disk that the system was started from cannot be told")?;
    let target = disks.iter().find(|disk| disk.name == name);
    let target = target.with_context(|| format!("there is no disk {name}"))?;
    ensure!(
        target.name != system.name,
        "{name} is the disk that the system runs from"
    );
    let partitions = of_the_system(&system);
    let needed = partitions.iter().map(|it| it.bytes).sum::<u64>() + MIN_DATA;
    ensure!(
        target.bytes >= needed,
        "{name} has {} MB, and the system needs {} MB",
        target.bytes / 1_000_000,
        needed / 1_000_000
    );
    let folder = host.paths.run().join("install.d");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    files::create_folder(&folder)?;
    for partition in partitions {
        let path = folder.join(format!("{:02}.conf", partition.number));
        files::replace(&path, definition(partition).as_bytes(), Access::Public)?;
    }
    host.programs.run(&copy(&folder, &target.node())).map(drop)
}

/// All but the data: the new machine makes its own.
fn of_the_system(disk: &Disk) -> Vec<&Partition> {
    disk.partitions
        .iter()
        .filter(|it| it.label != PARTITION)
        .collect()
}

/// A partition of the same kind, name and UUID, which verity and the boot loader find their parts by, with the same content.
fn definition(partition: &Partition) -> String {
    let mut text = format!(
        "[Partition]\nType={}\nLabel={}\nUUID={}\nSizeMinBytes={bytes}\nSizeMaxBytes={bytes}\n",
        partition.kind,
        partition.label,
        partition.uuid,
        bytes = partition.bytes
    );
    if partition.label != EMPTY {
        let _ = writeln!(text, "CopyBlocks={}", partition.node().display());
    }
    text
}

fn copy(definitions: &Path, disk: &Path) -> CommandLine {
    CommandLine::new(REPART)
        .args(["--dry-run=no", "--empty=force", "--seed=random"])
        .arg(format!("--definitions={}", definitions.display()))
        .arg(disk)
        .within(LONG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::tests::host, programs::tests::Recorder};

    #[test]
    fn the_system_is_copied_without_its_data() {
        let machine = disks::tests::machine();
        let paths = Paths::below(machine.path());
        let programs = Recorder::default();
        install("sdb", host(&paths, &programs)).unwrap();
        let line = &programs.lines()[0];
        assert!(
            line.contains("--empty=force") && line.ends_with("/dev/sdb"),
            "{line}"
        );
        let folder = paths.run().join("install.d");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let root = read("02.conf");
        assert!(
            root.contains("Label=root_0.1.0") && root.contains("UUID=u2"),
            "{root}"
        );
        assert!(
            root.contains("CopyBlocks=/dev/sda2") && root.contains("Type=t2"),
            "{root}"
        );
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn the_system_s_own_disk_and_a_small_one_are_refused() {
        let machine = disks::tests::machine();
        let paths = Paths::below(machine.path());
        let programs = Recorder::default();
        let refused = |name: &str| {
            install(name, host(&paths, &programs))
                .unwrap_err()
                .to_string()
        };
        assert!(refused("sda").contains("runs from"));
        assert!(refused("sdz").contains("no disk"));
        let size = machine.path().join("sys/devices/pci0/usb1/1-1/sdb/size");
        std::fs::write(size, "2048\n").unwrap();
        assert!(refused("sdb").contains("needs"));
        assert!(programs.lines().is_empty());
    }
}
