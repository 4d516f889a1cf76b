"""The box under test, and a connection to it."""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import subprocess
import time
import tomllib
import urllib.parse

START_SECONDS = 120
STOP_SECONDS = 30
ANSWER_SECONDS = 60
SECRET = "fuzz"
PANIC = re.compile(rb"panicked|RUST_BACKTRACE")


@contextlib.contextmanager
def running(appliance, folder):
    """One ministry of a nation that `demo` has founded, its peers not running; yields its address and its log."""
    nation = os.path.join(folder, "nation")
    found = [appliance, "demo", "--once", "--open", "--data", nation]
    subprocess.run(found, cwd=folder, check=True, timeout=START_SECONDS, stdout=subprocess.DEVNULL)
    config = os.path.join(nation, "interieur", "site.toml")
    secret = os.path.join(folder, "registration.secret")
    with open(secret, "w", encoding="utf-8") as file:
        file.write(SECRET)
    os.chmod(secret, 0o600)
    with open(config, encoding="utf-8") as file:
        text = file.read()
    limits = "[limits]\nrequests_per_user = 0\nlogins_per_address = 0\n"
    text = re.sub(r"(?ms)^\[limits\]$.*?(?=^\[|\Z)", "", text) + limits
    text = text.replace("[registration]\n", f'[registration]\nshared_secret_file = "{secret}"\n')
    text += f'[turn]\nuris = ["turn:turn.example.org"]\nshared_secret_file = "{secret}"\n'
    with open(config, "w", encoding="utf-8") as file:
        file.write(text)
    address = tomllib.loads(text)["client"]["listen"]
    log = os.path.join(folder, "box.log")
    with open(log, "wb") as output:
        command = [appliance, "serve", "--config", config]
        server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_for(address, server)
        yield address, log, server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(address, server):
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            if Connection(address).send("GET", "/_matrix/client/versions").status == 200:
                return
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the box did not start")
        time.sleep(0.1)


def panics(log):
    """The lines of the log that speak of a panic."""
    with open(log, "rb") as file:
        return [line.decode(errors="replace").strip() for line in file if PANIC.search(line)]


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    bytes: bytes

    @property
    def json(self):
        """The body as JSON, None where it is something else."""
        try:
            return json.loads(self.bytes)
        except ValueError:
            return None


class Connection:
    """One that is kept open, as clients do, and opened again where the box said that it closes it."""

    def __init__(self, address):
        self.address = address
        self.connection = None

    def send(self, method, target, body=None, headers=None):
        """Raises OSError or HTTPException where no answer comes."""
        fresh = self.connection is None
        if fresh:
            self.connection = http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS)
        try:
            self.connection.request(method, target, body, headers or {})
            response = self.connection.getresponse()
            answer = Answer(response.status, response.headers.get("content-type", ""), response.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            if fresh:
                raise
            # An idle connection may be closed at any time; a new one may not.
            return self.send(method, target, body, headers)
        if response.will_close:
            self.connection.close()
            self.connection = None
        return answer

    def call(self, method, path, token=None, body=None):
        """A well-formed request with a JSON body."""
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        body = None if body is None else json.dumps(body).encode()
        return self.send(method, urllib.parse.quote(path, safe="/?=&%"), body, headers)
