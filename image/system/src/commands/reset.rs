use anyhow::{Context, Result};

use crate::{
    disks,
    host::Host,
    paths::Paths,
    programs::{CommandLine, Machine, SYSTEMCTL},
    volume::{self, PARTITION},
};

/// Destroys the keys of the data volume, and starts the machine anew. Whoever starts this has confirmed it.
///
/// # Errors
///
/// When the partition cannot be told or overwritten.
pub fn run() -> Result<()> {
    let paths = Paths::default();
    let host = Host::new(&paths, &Machine)?;
    destroy(host)?;
    // By force: whatever the server would still write on its way down is lost anyway.
    let reboot = CommandLine::new(SYSTEMCTL).args(["reboot", "--force"]);
    host.programs.run(&reboot).map(drop)
}

fn destroy(host: Host<'_>) -> Result<()> {
    let root = host.paths.at("/");
    let system = disks::of_the_system(&root, &disks::all(&root)?)
        .context("the disk that the system was started from cannot be told")?;
    let partition = system
        .partition(PARTITION)
        .context("there is no data partition")?;
    let node = host.paths.at(&partition.node().to_string_lossy());
    // The key slots, by the program that knows them; then the whole place where they were, whatever it said.
    let erased = host.programs.run(&volume::erase(&node));
    volume::wipe(&node)?;
    crate::say!("the keys of {} are destroyed", node.display());
    erased.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::tests::host, programs::tests::Recorder};

    #[test]
    fn key_slots_are_erased_and_overwritten() {
        let machine = disks::tests::machine();
        let paths = Paths::below(machine.path());
        let node = paths.at("dev/sda6");
        std::fs::create_dir_all(node.parent().unwrap()).unwrap();
        for answer in [Ok(""), Err("no such device")] {
            std::fs::write(&node, b"LUKS\xba\xbe and a key slot").unwrap();
            let programs = Recorder::default().answering("erase", answer);
            assert_eq!(destroy(host(&paths, &programs)).is_ok(), answer.is_ok());
            assert!(programs.lines()[0].contains("cryptsetup erase --batch-mode"));
            assert!(std::fs::read(&node).unwrap().iter().all(|byte| *byte == 0));
        }
    }
}
