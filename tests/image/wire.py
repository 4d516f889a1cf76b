"""A network of the test's own: a bridge that boxes hang on, and what is seen on it."""

import ctypes
import ipaddress
import os
import socket
import struct
import subprocess
import time

from virtual_box import Failed, require

CLONE_NEWNET = 0x40000000
# Where a box is served, and nowhere else.
PORTS = {443, 8448}
TCP, UDP, ICMP = 6, 17, 1
ARP, IPV4 = 0x0806, 0x0800
# Sockets that are open at once while ports are tried.
BATCH = 512


def leave_the_network():
    """From now on this process and what it starts see no network but the test's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Failed(f"no network namespace: {os.strerror(ctypes.get_errno())}; are you root?")


def ip(*arguments):
    subprocess.run([require("ip", "iproute2"), *arguments], check=True)


class Bridge:
    """The wire, with this process at its address."""

    def __init__(self, *addresses):
        ip("link", "set", "lo", "up")
        ip("link", "add", "wire", "type", "bridge")
        for address in addresses:
            ip("addr", "add", f"{address}/24", "dev", "wire")
        ip("link", "set", "wire", "up")


class Plug:
    """Where one box is plugged in."""

    def __init__(self, number, address):
        self.tap, self.mac, self.address = f"box{number}", f"52:54:00:00:00:{number:02x}", address
        ip("tuntap", "add", "dev", self.tap, "mode", "tap")
        ip("link", "set", self.tap, "master", "wire", "up")


def packets(capture, mac):
    """What a machine sent: the time, the protocol, where to and what."""
    wanted = bytes.fromhex(mac.replace(":", ""))
    with open(capture, "rb") as file:
        file.read(24)
        while len(head := file.read(16)) == 16:
            seconds, _, length, _ = struct.unpack("<IIII", head)
            frame = file.read(length)
            if frame[6:12] == wanted:
                yield seconds, describe(frame)


def describe(frame):
    """(what, destination, source port, destination port) of an Ethernet frame."""
    kind, = struct.unpack("!H", frame[12:14])
    if kind == ARP:
        return "arp", str(ipaddress.ip_address(frame[38:42])), 0, 0
    if kind != IPV4:
        return f"ethertype {kind:#06x}", frame[:6].hex(":"), 0, 0
    start, protocol = 14 + (frame[14] & 15) * 4, frame[23]
    to = str(ipaddress.ip_address(frame[30:34]))
    if protocol not in (TCP, UDP):
        return ("icmp" if protocol == ICMP else f"protocol {protocol}"), to, 0, 0
    source, target = struct.unpack("!HH", frame[start:start + 4])
    return ("tcp" if protocol == TCP else "udp"), to, source, target


def unexpected(capture, mac, own, near, allowed):
    """How often a machine sent what nobody named: answers of its listeners aside, and questions for addresses that are named."""
    found, count = {}, 0
    for _, packet in packets(capture, mac):
        count += 1
        what, to, source, target = packet
        named = (what == "arp" and to in {own, *near}) or (what == "tcp" and source in PORTS) or (what, to, target) in allowed
        if not named:
            key = f"{what} to {to}" + (f" from port {source} to port {target}" if source else "")
            found[key] = found.get(key, 0) + 1
    print(f"  {count} packets of {own}, {sum(found.values())} of them to whom nobody named", flush=True)
    # It has served: a capture without its packets was not understood.
    if count == 0:
        raise Failed(f"{capture} has no packet of the box")
    return found


def open_ports(address):
    """The TCP ports at which an address takes connections."""
    found = set()
    for first in range(1, 65536, BATCH):
        tries = {}
        for port in range(first, min(first + BATCH, 65536)):
            line = socket.socket()
            line.setblocking(False)
            line.connect_ex((address, port))
            tries[port] = line
        time.sleep(0.7)
        for port, line in tries.items():
            # A socket that is connected has a peer.
            try:
                line.getpeername()
                found.add(port)
            except OSError:
                pass
            line.close()
    return found


def knock_by_udp(address):
    """One datagram to each port: what it brings forth is in the capture."""
    with socket.socket(type=socket.SOCK_DGRAM) as line:
        for port in range(1, 65536):
            try:
                line.sendto(b"?", (address, port))
            except OSError:
                pass
            if port % 256 == 0:
                time.sleep(0.02)
