"""A box in QEMU that can be talked to: its serial line, its stick, its client port."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

FIRMWARE = "/usr/share/OVMF"
# Emulated, on a machine that has other things to do as well.
BOOT = 600


class Failed(Exception):
    pass


def require(program, package):
    """Where a program is, or what to install."""
    found = shutil.which(program)
    if not found:
        raise Failed(f"{program} is missing: apt-get install {package}")
    return found


def copy_disk(image, to, size=4 << 30):
    """A copy of a built image on a disk that has room for data."""
    subprocess.run(["cp", "--sparse=always", image, to], check=True)
    os.truncate(to, size)


class VirtualBox:
    """One run of a virtual machine. What it shows on its serial line is in `log`."""

    def __init__(self, work, disk=None, usb_disk=None, stick=None, tpm=None, secure_boot=False, client_port=28443, wire=None):
        self.work, self.log, self.seen = work, b"", 0
        self.address, self.sticks = f"{wire.address}:443" if wire else f"127.0.0.1:{client_port}", 0
        os.makedirs(work, exist_ok=True)
        self.serial_path, self.monitor_path = f"{work}/serial.sock", f"{work}/monitor.sock"
        for path in (self.serial_path, self.monitor_path):
            if os.path.exists(path):
                os.remove(path)
        variables = f"{work}/variables.fd"
        if not os.path.exists(variables):
            shutil.copy(f"{FIRMWARE}/OVMF_VARS_4M.fd", variables)
        code = "OVMF_CODE_4M.secboot.fd" if secure_boot else "OVMF_CODE_4M.fd"
        arguments = [
            require("qemu-system-x86_64", "qemu-system-x86"), "-accel", "tcg,thread=multi", "-cpu", "Nehalem",
            "-machine", "q35,smm=on" if secure_boot else "q35", "-m", "1024", "-smp", "2",
            "-nodefaults", "-display", "none", "-no-reboot",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}/{code}",
            "-drive", f"if=pflash,format=raw,unit=1,file={variables}",
            "-device", "virtio-rng-pci", "-device", "qemu-xhci",
            "-chardev", f"socket,id=serial,path={self.serial_path},server=on,wait=on", "-serial", "chardev:serial",
            "-monitor", f"unix:{self.monitor_path},server=on,wait=off",
        ]
        if wire:
            arguments += ["-netdev", f"tap,id=net,ifname={wire.tap},script=no,downscript=no,vnet_hdr=off",
                          "-device", f"virtio-net-pci,netdev=net,romfile=,mac={wire.mac}"]
        else:
            # The machine reaches nothing, and is reached at its port for clients alone.
            arguments += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{client_port}-:443",
                          "-device", "virtio-net-pci,netdev=net,romfile="]
        arguments += ["-object", f"filter-dump,id=dump,netdev=net,file={work}/packets.pcap"]
        if secure_boot:
            arguments += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        if disk:
            arguments += ["-drive", f"file={disk},if=none,id=disk,format=raw,cache=unsafe",
                          "-device", "virtio-blk-pci,drive=disk" + ("" if usb_disk else ",bootindex=1")]
        if usb_disk:
            arguments += ["-drive", f"file={usb_disk},if=none,id=usb,format=raw,cache=unsafe",
                          "-device", "usb-storage,drive=usb,bootindex=1"]
        if stick:
            arguments += ["-drive", f"file={stick},if=none,id=stick0,format=raw",
                          "-device", "usb-storage,drive=stick0,removable=on,id=stick"]
        self.tpm = start_tpm(tpm) if tpm else None
        if tpm:
            arguments += ["-chardev", f"socket,id=tpm,path={tpm}/socket", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
                          "-device", "tpm-crb,tpmdev=tpm0"]
        with open(f"{work}/qemu.log", "w") as words:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
        self.begun = time.time()
        self.serial = connect(self.serial_path)
        self.serial.settimeout(None)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """A power cut."""
        self.process.kill()
        self.process.wait()
        if self.tpm:
            self.tpm.kill()
            self.tpm.wait()

    def listen(self):
        """Reads the serial line for as long as there is one. A line that nobody reads holds the machine up."""
        with open(f"{self.work}/serial.log", "ab") as log:
            while piece := self.receive():
                self.log += piece
                log.write(piece)
                log.flush()

    def receive(self):
        try:
            return self.serial.recv(65536)
        except OSError:
            return b""

    def expect(self, pattern, seconds=BOOT):
        """Waits until the serial line shows something that it did not show before the last call."""
        wanted, end = re.compile(pattern.encode(), re.S), time.time() + seconds
        while time.time() < end:
            time.sleep(0.2)
            # What it showed last counts, also when it is off by now.
            off = self.process.poll() is not None
            if off:
                self.listener.join()
            found = wanted.search(self.log, self.seen)
            if found:
                self.seen = found.end()
                words = found.group(0)[:100].decode(errors="replace")
                print(f"  {time.time() - self.begun:6.1f} s  {words!r}", flush=True)
                return found
            if off:
                break
        tail = self.log[-3000:].decode(errors="replace")
        raise Failed(f"the box did not show {pattern!r}; the end of what it showed:\n{tail}")

    def type(self, text):
        self.serial.sendall(text.encode() + b"\r")

    def choose(self, key, *answers):
        """One action of the console: what is typed for it, then question and answer by turns."""
        self.expect(r"> $")
        self.type(key)
        for question, answer in answers:
            self.expect(question)
            self.type(answer)

    def monitor(self, command):
        line = connect(self.monitor_path)
        line.sendall(command.encode() + b"\n")
        time.sleep(1)
        line.close()

    def pull_stick(self):
        self.monitor("device_del stick")
        time.sleep(3)

    def put_stick(self, image):
        self.sticks += 1
        self.monitor(f"drive_add 0 if=none,id=stick{self.sticks},file={image},format=raw")
        self.monitor(f"device_add usb-storage,drive=stick{self.sticks},removable=on,id=stick")

    def wait_until_off(self, seconds=300):
        end = time.time() + seconds
        while time.time() < end and self.process.poll() is None:
            time.sleep(0.2)
        if self.process.poll() is None:
            raise Failed("the box did not go off")

    def call(self, path, body=None, token=None, method=None, seconds=60):
        """One request of a Matrix client."""
        data = None if body is None else json.dumps(body).encode()
        url = f"https://{self.address}{path}"
        request = urllib.request.Request(url, data=data, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        unchecked = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(request, context=unchecked, timeout=seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def wait_until_it_serves(self, seconds=BOOT):
        end, why = time.time() + seconds, None
        while time.time() < end and self.process.poll() is None:
            time.sleep(1)
            try:
                self.call("/_matrix/client/versions", seconds=10)
                print(f"  {time.time() - self.begun:6.1f} s  serving", flush=True)
                return
            except OSError as error:
                why = error
        tail = self.log[-4000:].decode(errors="replace")
        raise Failed(f"the box does not serve ({why}); the end of what it showed:\n{tail}")


def start_tpm(folder):
    """An emulated TPM, whose state is in the folder."""
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/socket"
    if os.path.exists(path):
        os.remove(path)
    process = subprocess.Popen([
        require("swtpm", "swtpm"), "socket", "--tpm2", "--terminate", "--tpmstate", f"dir={folder}",
        "--ctrl", f"type=unixio,path={path}", "--flags", "not-need-init,startup-clear",
    ])
    wait_for(path)
    return process


def connect(path):
    wait_for(path)
    line = socket.socket(socket.AF_UNIX)
    line.connect(path)
    line.settimeout(1)
    return line


def wait_for(path):
    end = time.time() + 20
    while not os.path.exists(path):
        if time.time() > end:
            raise Failed(f"{path} does not appear")
        time.sleep(0.1)


class Stick:
    """The image of a stick. It is changed while it is not in."""

    def __init__(self, image):
        require("mformat", "mtools")
        self.image = image
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        self.tool("mformat", "-v", "LUXCHAT", "-F", "::")

    def tool(self, program, *arguments):
        command = [program, "-i", self.image, *arguments]
        return subprocess.run(command, check=True, capture_output=True, env=dict(os.environ, MTOOLS_SKIP_CHECK="1")).stdout

    def folder(self, name):
        self.tool("mmd", "-D", "s", f"::{name}")

    def put(self, path, name):
        self.tool("mcopy", "-s", "-o", path, f"::{name}")

    def get(self, name):
        return self.tool("mtype", f"::{name}")


class Authority:
    """The national authority, and the stick that it gets and gives."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        os.makedirs(folder, exist_ok=True)
        self.run("authority", "init", "--name", "Test", "--keys", "1", "--threshold", "1", "--demonstration")

    def run(self, *arguments):
        environment = dict(os.environ, LUXCHAT_PASSPHRASE="correct horse battery staple")
        done = subprocess.run([self.program, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"luxchat-provision {arguments[0]}: {done.stderr}")
        return done.stdout

    def request(self, stick, name):
        path = f"{self.folder}/request.json"
        with open(path, "wb") as file:
            file.write(stick.get(f"request/{name}.json"))
        return path

    def answer(self, stick, name, fingerprint):
        """Enrols the box whose request is on the stick, as a technician and an officer would."""
        answer = f"{self.folder}/{name}.json"
        self.run("enrol", "--request", self.request(stick, name), "--out", answer, "--fingerprint", fingerprint)
        self.run("publish", "--out", "repository")
        stick.folder("enrolment")
        stick.put(answer, f"enrolment/{name}.json")
        stick.put(f"{self.folder}/repository", "")

    def order_reset(self, stick, name):
        order = f"{self.folder}/reset.json"
        self.run("order", "reset", "--request", self.request(stick, name), "--out", order, "--yes")
        stick.put(order, "reset.json")


def site_files(folder, name, public, network, endpoint=None):
    """A site file and what it names, as they lie on a stick. `public` is where clients reach the box."""
    require("openssl", "openssl")
    os.makedirs(f"{folder}/files", exist_ok=True)
    files = "/var/lib/luxchat-system/files"
    with open(f"{folder}/site.toml", "w") as site:
        site.write(f"""server_name = "{name}"
display_name = "Test"
data_dir = "/var/lib/luxchat"

[client]
listen = "0.0.0.0:443"
public_url = "https://{public}/"

[client.tls]
certificate = "{files}/client.crt"
key = "{files}/client.key"

[federation]
listen = "0.0.0.0:8448"
endpoints = ["{endpoint or name + ':8448'}"]

[registration]
open = true

[network]
{network}
""")
    subprocess.run([
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
        "-keyout", f"{folder}/files/client.key", "-out", f"{folder}/files/client.crt",
    ], check=True, capture_output=True)


def main(cases, run):
    """Runs the cases that are named, or all."""
    failed = []
    for name, case in cases.items():
        print(f"{name}:", flush=True)
        try:
            run(name, case)
            print(f"{name}: ok", flush=True)
        except Failed as why:
            failed.append(name)
            print(f"{name}: FAILED: {why}", flush=True)
    sys.exit(1 if failed else 0)
