"""The servers under comparison: each is started in a fresh folder and ended by its own process id."""

import contextlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import tomllib
import urllib.error
import urllib.request

START_SECONDS = 120
STOP_SECONDS = 30
SECRET = secrets.token_hex(16)


class Appliance:
    """One ministry of a nation that `demo` has founded: enrolled like any box, its peers not running."""

    label = "appliance"
    registration = "open"

    def __init__(self, binary):
        self.binary = binary

    @contextlib.contextmanager
    def run(self, folder):
        nation = os.path.join(folder, "nation")
        found = [self.binary, "demo", "--once", "--open", "--data", nation]
        subprocess.run(found, cwd=folder, check=True, timeout=START_SECONDS, stdout=subprocess.DEVNULL)
        config = os.path.join(nation, "interieur", "site.toml")
        base_url = lift_limits(config)
        with process([self.binary, "serve", "--config", config], folder, "appliance") as server:
            wait_for(base_url, server)
            yield base_url, [server.pid]


def lift_limits(config):
    """Takes the rate limits out of a site file, and returns where it says that clients reach the box."""
    with open(config, "rb") as file:
        site = tomllib.load(file)
    limits = {"requests_per_user": 0, "logins_per_address": 0}
    lines = [f"{name} = {value}" for name, value in {**site.pop("limits", {}), **limits}.items()]
    with open(config, encoding="utf-8") as file:
        # A section runs to the next one: what stands there of [limits] is replaced whole.
        kept = re.sub(r"(?ms)^\[limits\]$.*?(?=^\[|\Z)", "", file.read())
    write(config, "\n".join([kept, "[limits]", *lines, ""]))
    return site["client"]["public_url"].rstrip("/")


class Synapse:
    """Synapse from PyPI in one process, as its documentation sets it up, on SQLite or PostgreSQL."""

    registration = f"shared-secret:{SECRET}"

    def __init__(self, venv, database):
        self.python = os.path.join(venv, "bin", "python")
        self.database = database
        self.label = f"synapse-{database}"

    @contextlib.contextmanager
    def run(self, folder):
        with contextlib.ExitStack() as stack:
            pids = []
            if self.database == "postgresql":
                settings, postmaster = stack.enter_context(postgresql(folder))
                pids.append(postmaster)
            else:
                path = os.path.join(folder, "homeserver.db")
                settings = {"name": "sqlite3", "args": {"database": path}}
            port = free_port()
            config = self.write_config(folder, port, settings)
            command = [self.python, "-m", "synapse.app.homeserver", "--config-path", config]
            subprocess.run([*command, "--generate-keys"], cwd=folder, check=True, timeout=START_SECONDS)
            server = stack.enter_context(process(command, folder, "synapse"))
            base_url = f"http://127.0.0.1:{port}"
            wait_for(base_url, server)
            yield base_url, [server.pid, *pids]

    def write_config(self, folder, port, database):
        """A YAML file, written as the JSON that every YAML parser reads."""
        unlimited = {"per_second": 1_000_000, "burst_count": 1_000_000}
        log_config = os.path.join(folder, "log.json")
        write(
            log_config,
            json.dumps(
                {
                    "version": 1,
                    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
                    "root": {"level": "WARNING", "handlers": ["stderr"]},
                    "disable_existing_loggers": False,
                }
            ),
        )
        config = {
            "server_name": "bench.localhost",
            "pid_file": os.path.join(folder, "homeserver.pid"),
            "signing_key_path": os.path.join(folder, "signing.key"),
            "media_store_path": os.path.join(folder, "media"),
            "log_config": log_config,
            "listeners": [
                {
                    "port": port,
                    "bind_addresses": ["127.0.0.1"],
                    "type": "http",
                    "tls": False,
                    "resources": [{"names": ["client"]}],
                }
            ],
            "database": database,
            "registration_shared_secret": SECRET,
            "report_stats": False,
            "trusted_key_servers": [],
            "presence": {"enabled": False},
            # Twice what Synapse takes by default, so that nothing measured here falls out of a cache.
            "caches": {"global_factor": 1.0},
            "rc_message": unlimited,
            "rc_registration": unlimited,
            "rc_login": {"address": unlimited, "account": unlimited, "failed_attempts": unlimited},
            "rc_joins": {"local": unlimited, "remote": unlimited},
            "rc_joins_per_room": unlimited,
            "rc_invites": {"per_room": unlimited, "per_user": unlimited, "per_issuer": unlimited},
            "rc_room_creation": unlimited,
        }
        path = os.path.join(folder, "homeserver.yaml")
        write(path, json.dumps(config, indent=1))
        return path


def install_synapse(venv):
    """Makes the virtual environment, unless it is there already, and returns Synapse's version."""
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        subprocess.run(["python3", "-m", "venv", venv], check=True, timeout=120)
    query = "from importlib.metadata import version; print(version('matrix-synapse'))"
    found = subprocess.run([python, "-c", query], capture_output=True, text=True, timeout=60)
    if found.returncode != 0:
        install = [python, "-m", "pip", "install", "--quiet", "matrix-synapse", "psycopg2-binary"]
        subprocess.run(install, check=True, timeout=1800)
        found = subprocess.run([python, "-c", query], capture_output=True, text=True, check=True, timeout=60)
    return found.stdout.strip()


def postgresql_folder():
    """The folder of PostgreSQL's programs, newest version first, or None when it is not installed."""
    root = "/usr/lib/postgresql"
    versions = sorted(os.listdir(root), key=float, reverse=True) if os.path.isdir(root) else []
    for version in versions:
        folder = os.path.join(root, version, "bin")
        if os.path.exists(os.path.join(folder, "postgres")):
            return folder
    programs = shutil.which("postgres")
    return os.path.dirname(programs) if programs else None


@contextlib.contextmanager
def postgresql(folder):
    """A throwaway PostgreSQL on a Unix socket; yields Synapse's settings for it and the postmaster's process id.

    Durability is PostgreSQL's default: fsync and synchronous_commit are on.
    """
    programs = postgresql_folder()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # PostgreSQL refuses to run as root, so a root session runs it as the user of the Debian package.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    become = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    data = os.path.join(folder, "postgresql")
    os.mkdir(data, 0o700)
    if become:
        shutil.chown(data, user)
    cluster = os.path.join(data, "cluster")
    initdb = [*become, os.path.join(programs, "initdb"), "--pgdata", cluster]
    initdb += ["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-instructions"]
    subprocess.run(initdb, cwd=data, check=True, timeout=120, stdout=subprocess.DEVNULL)
    command = [*become, os.path.join(programs, "postgres"), "-D", cluster, "-k", data]
    command += ["-c", "listen_addresses=", "-c", "shared_buffers=512MB", "-c", "log_min_messages=error"]
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for clients to leave.
    with process(command, folder, "postgresql", stop=signal.SIGINT, cwd=data):
        postmaster = wait_for_postmaster(cluster)
        settings = {
            "name": "psycopg2",
            "args": {"user": user, "dbname": "postgres", "host": data, "cp_min": 5, "cp_max": 10},
        }
        yield settings, postmaster


def wait_for_postmaster(cluster):
    """The process id in the lock file, once the file says that PostgreSQL is ready."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(os.path.join(cluster, "postmaster.pid"), encoding="utf-8") as file:
                lines = file.read().splitlines()
            if lines[7].strip() == "ready":
                return int(lines[0])
        time.sleep(0.2)
    raise RuntimeError("PostgreSQL did not become ready")


@contextlib.contextmanager
def process(command, folder, name, stop=signal.SIGTERM, cwd=None):
    """Runs a server with its output in FOLDER/NAME.log, and ends that very process."""
    log_path = os.path.join(folder, f"{name}.log")
    with open(log_path, "wb") as log:
        server = subprocess.Popen(
            command, cwd=cwd or folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield server
        if server.poll() is not None:
            raise RuntimeError(f"{name} ended early with status {server.returncode}")
    except BaseException:
        with open(log_path, encoding="utf-8", errors="replace") as log:
            print(f"--- the end of {log_path}\n{log.read()[-2000:]}", flush=True)
        raise
    finally:
        server.send_signal(stop)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(base_url, server):
    """Waits until the server answers the request that every client starts with."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode}")
        with contextlib.suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"{base_url}/_matrix/client/versions", timeout=5) as reply:
                if reply.status == 200:
                    return
        time.sleep(0.2)
    raise RuntimeError(f"no answer from {base_url}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
