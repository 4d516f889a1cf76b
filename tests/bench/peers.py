"""Servers that federate with each other over TLS on loopback, and that can be stopped and started again."""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import time
import tomllib

import servers

HOST = "localhost"
# The name of a box bears no port: a plain server looks for it at this one, which must be free.
BOX_PORT = 8448
STOP_SECONDS = 60
# Every account of a run is made in the name of this program, which costs no password hash.
SERVICE_TOKEN = secrets.token_hex(16)


class Server:
    """A server process in a folder of its own. It keeps its data when it is stopped, and says more in the same log."""

    def __init__(self, label, server_name, base_url, command, folder):
        self.label = label
        self.server_name = server_name
        self.base_url = base_url
        self.command = command
        self.folder = folder
        self.log_path = os.path.join(folder, "server.log")
        self.process = None

    @property
    def pids(self):
        return [self.process.pid] if self.process else []

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        servers.wait_for(self.base_url, self.process)

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def last_words(self, count=4000):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return f"--- the end of {self.log_path}\n{log.read()[-count:]}"


@contextlib.contextmanager
def running(*started):
    """Starts the servers, says what they logged last when something fails, and ends those very processes."""
    try:
        for server in started:
            server.start()
        yield
    except BaseException:
        for server in started:
            with contextlib.suppress(OSError):
                print(server.last_words(), flush=True)
        raise
    finally:
        for server in started:
            server.stop()


class Authority:
    """Vouches for servers on loopback. Needs the program `openssl`."""

    def __init__(self, folder):
        self.folder = folder
        self.certificate = os.path.join(folder, "authority.pem")
        self.key = os.path.join(folder, "authority.key")
        self._openssl("req", "-x509", *NEW_KEY, "-keyout", self.key, "-out", self.certificate,
                      "-days", "7", "-subj", "/CN=Test authority")

    def issue(self, name):
        """A certificate for loopback and its key, as paths."""
        path = os.path.join(self.folder, name)
        extensions = path + ".ext"
        servers.write(extensions, f"subjectAltName=DNS:{HOST}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl("req", *NEW_KEY, "-keyout", path + ".key", "-out", path + ".csr",
                      "-subj", f"/CN={HOST}")
        self._openssl("x509", "-req", "-in", path + ".csr", "-CA", self.certificate, "-CAkey", self.key,
                      "-days", "7", "-extfile", extensions, "-out", path + ".crt")
        return path + ".crt", path + ".key"

    @staticmethod
    def _openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, timeout=60, capture_output=True)


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def synapse(venv, folder, authority, name, **changes):
    """Synapse on SQLite that speaks TLS to other servers and plain HTTP to clients."""
    home = os.path.join(folder, name)
    os.mkdir(home)
    client_port, federation_port = servers.free_port(), servers.free_port()
    server_name = f"{HOST}:{federation_port}"
    template = servers.Synapse(venv, "sqlite")
    database = {"name": "sqlite3", "args": {"database": os.path.join(home, "homeserver.db")}}
    path = template.write_config(home, client_port, database)
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    certificate, key = authority.issue(name)
    config["listeners"][0]["resources"] = [{"names": ["client", "media"]}]
    config["listeners"].append(
        {
            "port": federation_port,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "tls": True,
            "resources": [{"names": ["federation", "media"]}],
        }
    )
    many = 1_000_000
    config |= {
        "server_name": server_name,
        "tls_certificate_path": certificate,
        "tls_private_key_path": key,
        "federation_custom_ca_list": [authority.certificate],
        # Loopback is what it keeps away from otherwise.
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "app_service_config_files": [service_registration(home)],
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": many,
            "sleep_delay": 1,
            "reject_limit": many,
            "concurrent": 50,
        },
        "federation_rr_transactions_per_room_per_second": many,
        # A peer that comes back is not left waiting for the ten minutes that it does by default.
        "federation": {"destination_min_retry_interval": "1s", "destination_max_retry_interval": "5s"},
        **changes,
    }
    servers.write(path, json.dumps(config, indent=1))
    python = os.path.join(venv, "bin", "python")
    command = [python, "-m", "synapse.app.homeserver", "--config-path", path]
    generate = [*command, "--generate-keys"]
    subprocess.run(generate, cwd=home, check=True, timeout=servers.START_SECONDS)
    return Server("synapse-sqlite", server_name, f"http://127.0.0.1:{client_port}", command, home)


def service_registration(folder, namespace="@bench-.*"):
    """A program in whose name accounts are made; nothing is sent to it."""
    path = os.path.join(folder, "service.yaml")
    registration = {
        "id": "bench",
        "url": None,
        "as_token": SERVICE_TOKEN,
        "hs_token": secrets.token_hex(16),
        "sender_localpart": "bench-service",
        "rate_limited": False,
        "namespaces": {"users": [{"exclusive": False, "regex": namespace}], "rooms": [], "aliases": []},
    }
    servers.write(path, json.dumps(registration))
    return path


class PlainBox:
    """A box that is not enrolled and federates with the plain Matrix servers that its site file names."""

    def __init__(self, binary, folder, authority, name):
        self.binary = binary
        self.home = os.path.join(folder, name)
        os.mkdir(self.home)
        self.client_port, self.admin_port = servers.free_port(), servers.free_port()
        self.server_name = HOST
        self.authority = authority
        self.certificate, self.key = authority.issue(name)

    def server(self, *peers):
        """The box with these peers in its site file."""
        base_url = f"http://127.0.0.1:{self.client_port}"
        site = os.path.join(self.home, "site.toml")
        lines = [
            f'server_name = "{self.server_name}"',
            'display_name = "A box among plain servers"',
            f'data_dir = "{self.home}/data"',
            "[client]",
            f'listen = "127.0.0.1:{self.client_port}"',
            f'public_url = "{base_url}/"',
            "[federation]",
            f'listen = "127.0.0.1:{BOX_PORT}"',
            f'endpoints = ["{HOST}:{BOX_PORT}"]',
            'client_certificates = "optional"',
            "[federation.tls]",
            f'certificate = "{self.certificate}"',
            f'key = "{self.key}"',
        ]
        for peer in peers:
            lines += [
                "[[federation.peers]]",
                f'server_name = "{peer.server_name}"',
                f'endpoints = ["{peer.server_name}"]',
                f'authorities = "{self.authority.certificate}"',
            ]
        lines += [
            "[registration]",
            "open = true",
            "[presence]",
            "enabled = true",
            "[limits]",
            "requests_per_user = 0",
            "logins_per_address = 0",
            "[application_services]",
            f'registrations = ["{service_registration(self.home)}"]',
            "[admin]",
            f'listen = "127.0.0.1:{self.admin_port}"',
            "",
        ]
        servers.write(site, "\n".join(lines))
        command = [self.binary, "serve", "--config", site]
        server = Server("appliance", self.server_name, base_url, command, self.home)
        server.admin_url = f"http://127.0.0.1:{self.admin_port}"
        return server


def ministries(binary, folder):
    """The two ministries of a nation that `demo` has founded, enrolled as any box is."""
    nation = os.path.join(folder, "nation")
    found = [binary, "demo", "--once", "--open", "--data", nation]
    subprocess.run(found, cwd=folder, check=True, timeout=servers.START_SECONDS, stdout=subprocess.DEVNULL)
    return [ministry(binary, os.path.join(nation, name)) for name in ("interieur", "sante")]


def ministry(binary, folder):
    config = os.path.join(folder, "site.toml")
    base_url = servers.lift_limits(config)
    with open(config, encoding="utf-8") as file:
        text = file.read()
    # A section runs to the next one: what stands there of this one is replaced whole.
    text = re.sub(r"(?ms)^\[application_services\]$.*?(?=^\[|\Z)", "", text)
    text += f'\n[application_services]\nregistrations = ["{service_registration(folder)}"]\n'
    servers.write(config, text)
    server_name = tomllib.loads(text)["server_name"]
    return Server("appliance", server_name, base_url, [binary, "serve", "--config", config], folder)


def wait_until(what, condition, seconds=30, pause=0.05):
    """Waits until `condition` yields something that is true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {seconds} s: {what}")
        time.sleep(pause)
