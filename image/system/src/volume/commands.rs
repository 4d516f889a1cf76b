//! The argument vectors of cryptsetup and its kin.

use std::{path::Path, time::Duration};

use crate::programs::CommandLine;

/// The name of the opened volume: `/dev/mapper/data`.
pub const MAPPER: &str = "data";
/// Headers and key slots end here: cryptsetup leaves 16 MiB for them.
pub const WIPE: u64 = 16 * 1024 * 1024;
/// The label of a volume whose making is not finished.
pub(super) const FRESH: &str = "luxchat-new";
/// The label of one that is.
pub(super) const READY: &str = "luxchat-data";

const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
const CRYPTENROLL: &str = "/usr/bin/systemd-cryptenroll";
const ATTACH: &str = "/usr/bin/systemd-cryptsetup";
const MKFS: &str = "/usr/sbin/mkfs.ext4";
const FSCK: &str = "/usr/sbin/e2fsck";
const REPART: &str = "/usr/bin/systemd-repart";
const UDEVADM: &str = "/usr/bin/udevadm";

/// Where the boot stub leaves the key and the signatures of the measured system, where it is signed.
pub(super) const PCR_KEY: &str = "/run/systemd/tpm2-pcr-public-key.pem";
pub(super) const PCR_SIGNATURE: &str = "/run/systemd/tpm2-pcr-signature.json";

/// A passphrase of 256 random bits needs no slow derivation; systemd derives its recovery keys like that too.
const QUICK: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
/// For a large disk or a slow machine.
const LONG: Duration = Duration::from_mins(30);

/// Makes the partition for the data at the end of the system's disk.
pub(super) fn make_partition(disk: &Path) -> CommandLine {
    CommandLine::new(REPART)
        .args([
            "--dry-run=no",
            "--seed=random",
            "--definitions=/usr/lib/luxchat/repart.d",
        ])
        .arg(disk)
}

/// Waits until udev has seen what changed.
pub(super) fn settle() -> CommandLine {
    CommandLine::new(UDEVADM).args(["settle", "--timeout=60"])
}

/// Makes a volume that the recovery key opens.
pub(super) fn format(partition: &Path, key: &str) -> CommandLine {
    CommandLine::new(CRYPTSETUP)
        .args(["luksFormat", "--batch-mode", "--type", "luks2"])
        .args([
            "--cipher",
            "aes-xts-plain64",
            "--key-size",
            "512",
            "--label",
            FRESH,
        ])
        .args(QUICK)
        .args(["--key-file", "-"])
        .arg(partition)
        .input(key.as_bytes())
        .within(LONG)
}

/// Says that the volume is finished.
pub(super) fn finish(partition: &Path) -> CommandLine {
    CommandLine::new(CRYPTSETUP)
        .args(["config", "--batch-mode", "--label", READY])
        .arg(partition)
}

/// Opens the volume by a passphrase or the bytes of a key file.
pub(super) fn open(partition: &Path, key: &[u8]) -> CommandLine {
    CommandLine::new(CRYPTSETUP)
        .args(["open", "--type", "luks2", "--key-file", "-"])
        .arg(partition)
        .arg(MAPPER)
        .input(key)
}

/// Opens the volume by the TPM.
pub(super) fn open_by_tpm(partition: &Path) -> CommandLine {
    CommandLine::new(ATTACH)
        .args(["attach", MAPPER])
        .arg(partition)
        .arg("-")
        .arg(format!(
            "tpm2-device=auto,tpm2-signature={PCR_SIGNATURE},headless=true"
        ))
}

/// No TPM opens the volume any more.
pub(super) fn unbind(partition: &Path) -> CommandLine {
    CommandLine::new(CRYPTENROLL)
        .arg("--wipe-slot=tpm2")
        .arg(partition)
}

/// Binds the volume to the TPM: to the state of Secure Boot (PCR 7), and to any system that the same key signed (PCR 11).
/// One that is bound must be unbound before: where the other machine's TPM stood for the same state, nothing would be done.
pub(super) fn bind_to_tpm(partition: &Path, recovery_key: &Path) -> CommandLine {
    let mut unlock = std::ffi::OsString::from("--unlock-key-file=");
    unlock.push(recovery_key);
    CommandLine::new(CRYPTENROLL)
        .arg(unlock)
        .args([
            "--tpm2-device=auto",
            "--tpm2-pcrs=7",
            "--tpm2-public-key-pcrs=11",
        ])
        .arg(format!("--tpm2-public-key={PCR_KEY}"))
        .arg(format!("--tpm2-signature={PCR_SIGNATURE}"))
        .arg(partition)
}

/// Lets the passphrase in the file `new` open the volume too: what people choose is derived slowly.
pub(super) fn add_passphrase(partition: &Path, recovery_key: &Path, new: &Path) -> CommandLine {
    add(partition, recovery_key, new, &[])
}

/// Lets the key file `new` open the volume too.
pub(super) fn add_key_file(partition: &Path, recovery_key: &Path, new: &Path) -> CommandLine {
    add(partition, recovery_key, new, &QUICK)
}

fn add(partition: &Path, recovery_key: &Path, new: &Path, derivation: &[&str]) -> CommandLine {
    CommandLine::new(CRYPTSETUP)
        .args(["luksAddKey", "--batch-mode", "--key-file"])
        .arg(recovery_key)
        .args(derivation)
        .arg(partition)
        .arg(new)
        .within(LONG)
}

/// Destroys every key slot.
pub fn erase(partition: &Path) -> CommandLine {
    CommandLine::new(CRYPTSETUP)
        .args(["erase", "--batch-mode"])
        .arg(partition)
}

/// Makes the file system in the opened volume.
pub(super) fn make_file_system(device: &Path) -> CommandLine {
    CommandLine::new(MKFS)
        .args(["-q", "-F", "-L", "data"])
        .arg(device)
        .within(LONG)
}

/// Repairs what needs no question.
pub(super) fn check_file_system(device: &Path) -> CommandLine {
    CommandLine::new(FSCK).arg("-p").arg(device).within(LONG)
}
