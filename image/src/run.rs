//! An image in a virtual machine: QEMU with a firmware, a disk, perhaps a stick and a TPM, its serial console here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::tools::require;

/// Where Debian's package ovmf puts the firmware.
const FIRMWARE: &str = "/usr/share/OVMF";

/// How long the TPM's emulator may take to listen.
const TPM_PATIENCE: Duration = Duration::from_secs(10);

/// What the virtual machine is made of.
#[derive(Debug, Args)]
pub(crate) struct Machine {
    /// The disk image; what the machine writes is written to it
    #[arg(long)]
    disk: PathBuf,
    /// The least size of the disk in GiB: a smaller raw image is extended, so that the data has a place
    #[arg(long, default_value_t = 4)]
    disk_size: u64,
    /// The image of a USB stick
    #[arg(long)]
    stick: Option<PathBuf>,
    /// A folder for the state of an emulated TPM
    #[arg(long)]
    tpm: Option<PathBuf>,
    /// A folder for what the firmware remembers; without it, it forgets
    #[arg(long)]
    firmware_state: Option<PathBuf>,
    /// Firmware variables with enrolled keys: starts with Secure Boot
    #[arg(long)]
    secure_boot: Option<PathBuf>,
    /// Leave the disk as it is: what the machine writes is forgotten
    #[arg(long)]
    snapshot: bool,
    /// The port of this machine's loopback that leads to the box's port for clients
    #[arg(long, default_value_t = 8443)]
    client_port: u16,
    /// The port of this machine's loopback that leads to the box's port for other servers
    #[arg(long, default_value_t = 8448)]
    federation_port: u16,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Run on this machine's processor instead of an emulated one
    #[arg(long)]
    kvm: bool,
    /// The file to write the serial console to, instead of this terminal
    #[arg(long)]
    console: Option<PathBuf>,
    /// More for QEMU
    #[arg(last = true)]
    more: Vec<String>,
}

/// Starts the machine and waits until it is off.
pub(crate) fn start(machine: &Machine) -> Result<ExitCode> {
    require("qemu-system-x86_64", "qemu-system-x86")?;
    ensure!(
        Path::new(FIRMWARE).is_dir(),
        "the firmware is missing: apt-get install ovmf"
    );
    for file in [Some(&machine.disk), machine.stick.as_ref()]
        .into_iter()
        .flatten()
    {
        ensure!(file.is_file(), "{} is not there", file.display());
    }
    if is_raw(&machine.disk) && !machine.snapshot {
        extend(&machine.disk, machine.disk_size << 30)?;
    }
    let (_temporary, state) = firmware_state(machine)?;
    let variables = state.join("variables.fd");
    if !variables.exists() {
        let empty = Path::new(FIRMWARE).join("OVMF_VARS_4M.fd");
        let from = machine.secure_boot.as_ref().unwrap_or(&empty);
        fs::copy(from, &variables).with_context(|| format!("copying {}", from.display()))?;
    }
    let mut tpm = machine.tpm.as_deref().map(start_tpm).transpose()?;
    let status = Command::new("qemu-system-x86_64")
        .args(arguments(machine, &variables))
        .status()
        .context("starting QEMU");
    if let Some(tpm) = &mut tpm {
        // It ends with QEMU's connection; killing an ended process is no error.
        tpm.kill()?;
        tpm.wait()?;
    }
    let code = status?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn arguments(machine: &Machine, variables: &Path) -> Vec<String> {
    let secure = machine.secure_boot.is_some();
    let code = if secure {
        "OVMF_CODE_4M.secboot.fd"
    } else {
        "OVMF_CODE_4M.fd"
    };
    let smm = if secure { ",smm=on" } else { "" };
    let console = match &machine.console {
        Some(path) => format!("file:{}", path.display()),
        None => "mon:stdio".to_owned(),
    };
    let mut arguments: Vec<String> = [
        "-nodefaults",
        "-no-reboot",
        "-display",
        "none",
        "-smp",
        "2",
        "-device",
        "virtio-rng-pci",
        "-device",
        "qemu-xhci",
        "-uuid",
        "7a1c9d52-6a5b-4c1e-9e59-3f0c9a3b1d10",
        "-device",
        "virtio-blk-pci,drive=disk,bootindex=1",
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
    ]
    .map(str::to_owned)
    .into();
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    add("-machine", format!("q35{smm}"));
    if machine.kvm {
        add("-cpu", "host".to_owned());
        add("-accel", "kvm".to_owned());
    } else {
        add("-cpu", "Nehalem".to_owned());
        add("-accel", "tcg,thread=multi".to_owned());
    }
    add("-m", machine.memory.to_string());
    add("-serial", console);
    add(
        "-drive",
        format!("if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}/{code}"),
    );
    add(
        "-drive",
        format!("if=pflash,format=raw,unit=1,file={}", variables.display()),
    );
    let format = if is_raw(&machine.disk) {
        "raw"
    } else {
        "qcow2"
    };
    let snapshot = if machine.snapshot { "on" } else { "off" };
    let disk = machine.disk.display();
    add(
        "-drive",
        format!("file={disk},if=none,id=disk,format={format},snapshot={snapshot}"),
    );
    let (client, federation) = (machine.client_port, machine.federation_port);
    add(
        "-netdev",
        format!(
            "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{client}-:443,hostfwd=tcp:127.0.0.1:{federation}-:8448"
        ),
    );
    if secure {
        add(
            "-global",
            "driver=cfi.pflash01,property=secure,value=on".to_owned(),
        );
    }
    if let Some(stick) = &machine.stick {
        let stick = stick.display();
        add(
            "-drive",
            format!("file={stick},if=none,id=stick,format=raw"),
        );
        add("-device", "usb-storage,drive=stick,removable=on".to_owned());
    }
    if let Some(folder) = &machine.tpm {
        let socket = folder.join("socket");
        add(
            "-chardev",
            format!("socket,id=tpm,path={}", socket.display()),
        );
        add("-tpmdev", "emulator,id=tpm0,chardev=tpm".to_owned());
        add("-device", "tpm-crb,tpmdev=tpm0".to_owned());
    }
    arguments.extend(machine.more.iter().cloned());
    arguments
}

fn is_raw(disk: &Path) -> bool {
    disk.extension()
        .is_none_or(|extension| extension != "qcow2")
}

/// Makes a disk larger, with nothing in what is added.
fn extend(disk: &Path, bytes: u64) -> Result<()> {
    let context = || format!("extending {}", disk.display());
    let file = fs::OpenOptions::new()
        .write(true)
        .open(disk)
        .with_context(context)?;
    if file.metadata()?.len() < bytes {
        file.set_len(bytes).with_context(context)?;
    }
    Ok(())
}

/// A folder that the firmware's variables outlive the machine in, or one that is deleted with the guard.
fn firmware_state(machine: &Machine) -> Result<(Option<tempfile::TempDir>, PathBuf)> {
    if let Some(folder) = &machine.firmware_state {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        return Ok((None, folder.clone()));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    Ok((Some(folder), path))
}

fn start_tpm(folder: &Path) -> Result<Child> {
    require("swtpm", "swtpm")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let socket = folder.join("socket");
    if socket.exists() {
        fs::remove_file(&socket)?;
    }
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--terminate"])
        .args(["--flags", "not-need-init,startup-clear", "--tpmstate"])
        .arg(format!("dir={}", folder.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdin(Stdio::null())
        .spawn()
        .context("starting swtpm")?;
    let start = Instant::now();
    while !socket.exists() {
        ensure!(start.elapsed() < TPM_PATIENCE, "swtpm does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(child)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        machine: Machine,
    }

    fn line(words: &[&str]) -> String {
        let words = [&["x", "--disk", "d.raw"], words].concat();
        let wrapper = Wrapper::parse_from(words);
        arguments(&wrapper.machine, Path::new("vars.fd")).join(" ")
    }

    #[test]
    fn ports_lead_to_the_box_from_loopback_alone() {
        let line = line(&["--client-port", "9443"]);
        assert!(line.contains("hostfwd=tcp:127.0.0.1:9443-:443,"), "{line}");
        assert!(line.contains("restrict=on"), "{line}");
        assert!(
            !line.contains("usb-storage") && !line.contains("tpm"),
            "{line}"
        );
    }

    #[test]
    fn a_small_disk_is_extended_and_a_large_one_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk.raw");
        fs::write(&disk, "disk").unwrap();
        extend(&disk, 1 << 20).unwrap();
        extend(&disk, 1 << 10).unwrap();
        let bytes = fs::read(&disk).unwrap();
        assert_eq!((bytes.len(), &bytes[..5]), (1 << 20, &b"disk\0"[..]));
        assert!(is_raw(&disk) && !is_raw(Path::new("disk.qcow2")));
    }

    #[test]
    fn secure_boot_takes_the_firmware_that_has_it() {
        let line = line(&["--secure-boot", "vars", "--stick", "s.img", "--tpm", "t"]);
        for part in [
            "secboot.fd",
            "smm=on",
            "property=secure",
            "drive=stick",
            "path=t/socket",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
