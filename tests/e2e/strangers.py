"""Hosts that use a VIP beside its holder, and what agents say of them."""

import contextlib
import re
import socket

MAC = "00:00:5e:00:53:77"  # of a host that there is only in frames
ALL, ALL_NODES = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"


@contextlib.contextmanager
def configured(host, *vips):
    """The host has the addresses, and says nothing about it."""
    addresses = [f"{vip}/{128 if ':' in vip else 32}" for vip in vips]
    host.sysctls({"ipv4/conf/eth0/arp_notify": 0, "ipv6/conf/eth0/ndisc_notify": 0})
    for address in addresses:
        host.ip("addr", "add", address, "dev", "eth0", *(("nodad",) if ":" in address else ()))
    try:
        yield
    finally:
        for address in addresses:
            host.ip("addr", "del", address, "dev", "eth0")


def send(host, *frames):
    with host.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sock:
        sock.bind(("eth0", 0))
        for frame in frames:
            sock.send(bytes(frame))


def fields(line):
    """The fields of a log line: key=value, values with blanks quoted; `at`: when it was written."""
    return {"at": line.partition(" ")[0],
            **{key: quoted or plain for key, quoted, plain in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line)}}


def told(agent, event="conflict"):
    """What an agent has logged about conflicts, a dict a line."""
    return [fields(line) for line in agent.log().splitlines() if re.match(rf"\S+ \w+ +{event}: ", line)]
