"""What a client of a VIP does, from Python: asks by TCP and UDP, pings, opens connections and keeps them.  And what a
node does for a VIP: has its address."""

import contextlib
import itertools
import socket

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoRequest

from netns.lab import ECHO_PORT

VIP4, VIP6 = "192.0.2.200", "2001:db8::c8"
TCP, UDP, SCTP = 6, 17, 132


# An earlier ping or flow is a connection that conntrack knows: none is like it.  (The kernel takes ports at random, and
# connections through a VIP stay where they were after a test, too.)
PING_IDS, UDP_PORTS = itertools.count(1), itertools.cycle(range(22000, 32000))


def index_of(host, dev="eth0"):
    return host.ip_json("link", "show", "dev", dev)[0]["ifindex"]


def hold(drive, vips=(VIP4, VIP6)):
    for vip in vips:
        drive(f"addr-put {index_of(drive.host)} {vip} 60")


def release(drive, vips=(VIP4, VIP6)):
    for vip in vips:
        drive(f"addr-del {index_of(drive.host)} {vip}")


def family_of(ip):
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def address_of(host, vip):
    """The host's address of the VIP's family."""
    return host.ip6 if ":" in vip else host.ip4


def backends_of(pods, vip, port=ECHO_PORT):
    return [(address_of(pod, vip), port) for pod in pods]


def frontend(vip, proto, port, backends, balance="hash", n_slots=61, sticky=0, firewall="-", salt=0):
    """The line of plan_driver.c: slot i has backend (i + salt) mod n."""
    ends = " ".join(f"{address} {backend_port}" for address, backend_port in backends)
    return f"frontend {vip} {proto} {port} {balance} {n_slots} {sticky} {firewall} {salt} {ends}"


def open_tcp(host, vip, port=80, source=None, timeout=5):
    """A connection that stays: (socket, the backend's name, the client it saw)."""
    with host.entered():
        sock = socket.socket(family_of(vip), socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        if source:
            sock.bind((source, 0))
        sock.connect((vip, port))
        line = b""
        while not line.endswith(b"\n"):
            part = sock.recv(4096)
            if not part:
                raise ConnectionResetError("closed at once")
            line += part
    except BaseException:
        sock.close()
        raise
    name, seen, _ = line.decode().split()
    return sock, name, seen


def still_answers(sock, name):
    sock.sendall(b"there and back\n")
    want, got = f"{name} there and back\n".encode(), b""
    while len(got) < len(want):
        part = sock.recv(4096)
        if not part:
            return False
        got += part
    return got == want


def ask_tcp(host, vip, port=80, source=None, timeout=5):
    """A connection to the VIP, with a line there and back; (backend's name, the client it saw)."""
    sock, name, seen = open_tcp(host, vip, port, source, timeout)
    with sock:
        assert still_answers(sock, name)
    return name, seen


def ask_udp(host, vip, port=80, source=None, timeout=3, source_port=0):
    with host.entered():
        sock = socket.socket(family_of(vip), socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(timeout)
        sock.bind((source or ("::" if ":" in vip else "0.0.0.0"), source_port or next(UDP_PORTS)))
        sock.connect((vip, port))
        sock.send(b"there and back")
        text, name, seen, _ = sock.recv(4096).decode().split("|")
        assert text == "there and back"
    return name, seen


def assert_refused(ask, host, vip, port=80, **kwargs):
    """The kernel holds back ICMP errors to a peer that it has just sent some (or redirects), so a
    UDP client may have to ask more than once before it hears."""
    with pytest.raises(ConnectionRefusedError):
        for _ in range(5):
            with contextlib.suppress(TimeoutError):
                answer = ask(host, vip, port, **kwargs)
                pytest.fail(f"answered by {answer}")


def assert_silent(ask, host, vip, port=80, **kwargs):
    """No answer at all, in a time that an answer never takes here."""
    with pytest.raises(TimeoutError):
        answer = ask(host, vip, port, timeout=0.4, **kwargs)
        pytest.fail(f"answered by {answer}")


def answers_pings(host, ip, timeout=5):
    """An echo request and its reply, as ping sends and reads them."""
    six, number = ":" in ip, next(PING_IDS)
    with host.entered():
        sock = socket.socket(family_of(ip), socket.SOCK_RAW,
                             socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    with sock:
        sock.settimeout(timeout)
        sock.connect((ip, 0))
        sock.send(bytes(ICMPv6EchoRequest(id=number)) if six else bytes(ICMP(id=number)))
        while True:
            try:
                data = sock.recv(2048)
            except TimeoutError:
                return False
            if six and data[0] == 129 or not six and data[20] == 0:
                return True
