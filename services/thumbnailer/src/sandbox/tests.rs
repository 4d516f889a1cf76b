//! Each probe runs twice in a process of its own, which is this test's: free, where it must succeed, so that the test shows
//! something; and confined, where it must end the process.

use std::{
    fs::File,
    io::Read,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    process::{Command, ExitStatus, Stdio},
};

use super::*;

const PROBE: &str = "THUMBNAILER_PROBE";
const LAYER: &str = "THUMBNAILER_LAYER";
const PORT: &str = "THUMBNAILER_PORT";

/// What the probe exits with when it was let through.
const LET_THROUGH: i32 = 10;
/// When it was refused by an error.
const REFUSED: i32 = 11;
/// When the kernel does not know this layer.
const UNKNOWN_LAYER: i32 = 12;

const PROBES: &[&str] = &[
    "open", "create", "list", "connect", "bind", "datagram", "unix", "exec", "fork", "thread",
    "signal",
];

#[test]
fn everything_but_the_pipes_is_refused() {
    for probe in PROBES {
        assert_eq!(
            run(probe, "none").code(),
            Some(LET_THROUGH),
            "{probe}, free"
        );
        let confined = run(probe, "all");
        assert_eq!(
            confined.signal(),
            Some(Signal::SIGSYS as i32),
            "{probe}: {confined}"
        );
    }
}

/// Without seccomp, landlock alone.
#[test]
fn files_and_network_are_refused_twice() {
    for probe in ["open", "create", "list", "connect", "bind", "exec"] {
        let confined = run(probe, "landlock").code();
        let network = ["connect", "bind"].contains(&probe);
        let expected = match kernel_has() {
            // It refuses files, and perhaps more.
            Landlock::Partial if network => continue,
            Landlock::Full | Landlock::Partial => REFUSED,
            Landlock::Missing => UNKNOWN_LAYER,
        };
        assert_eq!(confined, Some(expected), "{probe}");
    }
}

#[test]
fn memory_is_bounded_and_what_decoding_needs_is_allowed() {
    assert_eq!(run("memory", "none").code(), Some(LET_THROUGH));
    assert_eq!(run("memory", "all").code(), Some(REFUSED));
    assert_eq!(run("nothing", "all").code(), Some(LET_THROUGH));
}

#[test]
fn what_was_open_is_closed() {
    assert_eq!(run("inherited", "none").code(), Some(LET_THROUGH));
    assert_eq!(run("inherited", "all").code(), Some(REFUSED));
}

/// Not a test: what the tests above start.
#[test]
fn probe() {
    let Ok(probe) = std::env::var(PROBE) else {
        return;
    };
    // Such as a worker may inherit, of a box that was careless.
    let inherited = File::open("/etc/passwd").unwrap();
    match std::env::var(LAYER).unwrap().as_str() {
        "all" => {
            enter().unwrap();
        }
        "landlock" if restrict_access().unwrap() == Landlock::Missing => {
            std::process::exit(UNKNOWN_LAYER)
        }
        "kernel" => std::process::exit(restrict_access().unwrap() as i32),
        _ => {}
    }
    let outcome = if attempt(&probe, &inherited).is_ok() {
        LET_THROUGH
    } else {
        REFUSED
    };
    std::process::exit(outcome)
}

fn attempt(probe: &str, mut inherited: &File) -> io::Result<()> {
    match probe {
        "inherited" => inherited.read_exact(&mut [0]),
        "open" => File::open("/etc/passwd").map(drop),
        "create" => {
            let path = format!("/tmp/thumbnailer-probe-{}", std::process::id());
            File::create(&path)?;
            fs::remove_file(path)
        }
        "list" => fs::read_dir("/").map(drop),
        "connect" => TcpStream::connect(("127.0.0.1", port())).map(drop),
        "bind" => TcpListener::bind(("127.0.0.1", 0)).map(drop),
        "datagram" => UdpSocket::bind(("127.0.0.1", 0)).map(drop),
        "unix" => UnixStream::pair().map(drop),
        // Both end with what this function would have led to.
        "exec" => Err(exec(&format!("exit {LET_THROUGH}"))),
        "fork" => Command::new("/bin/true").status().map(drop),
        "thread" => std::thread::Builder::new().spawn(|| ()).map(drop),
        "signal" => Ok(nix::sys::signal::kill(unistd::getppid(), None)?),
        "memory" => {
            let size = usize::try_from(8 * MEMORY).unwrap();
            Vec::<u8>::new()
                .try_reserve_exact(size)
                .map_err(io::Error::other)
        }
        _ => Ok(()),
    }
}

fn exec(script: &str) -> io::Error {
    use std::os::unix::process::CommandExt;
    Command::new("/bin/sh").args(["-c", script]).exec()
}

fn port() -> u16 {
    std::env::var(PORT).unwrap().parse().unwrap()
}

fn run(probe: &str, layer: &str) -> ExitStatus {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::tests::probe", "--test-threads=1"])
        .env(PROBE, probe)
        .env(LAYER, layer)
        .env(PORT, listener.local_addr().unwrap().port().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

fn kernel_has() -> Landlock {
    match run("nothing", "kernel").code() {
        Some(0) => Landlock::Full,
        Some(1) => Landlock::Partial,
        Some(2) => Landlock::Missing,
        other => panic!("{other:?}"),
    }
}
