#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Records the messages of this folder (README.md) from the running kernel: `record.py [SCENE...]`, as root, each scene in a
network namespace of its own.  A scene whose kinds of links the kernel lacks is named and left as it is."""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parents[1] / "fuzz/rtnetlink/corpus"
NEWLINK, DELLINK = 16, 17
GROUPS = (1, 5, 7, 9, 11)  # RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
IFLA = {"ADDRESS": 1, "IFNAME": 3, "LINK": 5, "MASTER": 10, "LINKINFO": 18, "NUM_RX_QUEUES": 32, "LINK_NETNSID": 37,
        "PROTO_DOWN": 39, "EVENT": 44}
READ = [IFLA[name] for name in ("ADDRESS", "IFNAME", "LINK", "MASTER", "LINKINFO", "LINK_NETNSID", "EVENT")]
INFO_KIND, INFO_SLAVE_KIND = 1, 4
BULK = (7, 23, 26)  # IFLA_STATS, IFLA_STATS64, IFLA_AF_SPEC: three quarters of a message
WHOLE = ("veth", "dump")
EVENT_NOTIFY_PEERS = 4

PAIR = ("link add d0 index 10 address 00:00:5e:00:53:01 type veth peer name d1 index 11 address 00:00:5e:00:53:02",)
UP = ("link set d0 up", "link set d1 up")
# Two ways out, d0 and d2; their other ends are d1 and d3.
TWO = (*PAIR, *UP, "link add d2 index 12 address 00:00:5e:00:53:03 type veth peer name d3 index 13 address 00:00:5e:00:53:04",
       "link set d1 up", "link set d3 up", "link set d0 down")
BOND = (("link add bond0 index 20 type bond mode active-backup miimon 20", "link set d0 master bond0",
         "link set d2 master bond0", "link set bond0 up"),)
ADDRESSES = ("addr add 192.0.2.10/24 dev d0", "addr add 2001:db8::10/64 dev d0 nodad")
ROUTES = ("route add default via 192.0.2.1 metric 100", "route add default via 2001:db8::1 proto ra metric 1024",
          "route add 198.51.100.0/24 via 192.0.2.1", "route add default dev d0 table 100",
          "route replace default metric 100 nexthop via 192.0.2.1 nexthop dev d1")

# Name: (commands of `ip` before, steps of commands that are recorded); after each step the kernel is left in peace.
SCENES = {
    "veth": ((), (PAIR, UP)),
    "carrier": ((*PAIR, *UP), (("link set d1 down",), ("link set d1 up",))),
    "mac-and-name": ((*PAIR, *UP), (("link set d0 address 00:00:5e:00:53:07", "link set d0 down", "link set d0 name d9",
                                     "link set d9 up"), ("link set d9 address 00:00:5e:00:53:01",))),
    "addresses": ((*PAIR, *UP), (
        (*ADDRESSES, "addr add 192.0.2.200/32 dev d0 metric 19528 noprefixroute valid_lft 100 preferred_lft 100"),
        ("addr del 192.0.2.200/32 dev d0",))),
    "routes": ((*PAIR, *UP, *ADDRESSES), ((*ROUTES, "route del 198.51.100.0/24", "route del default table 100"),)),
    "bridge": ((*PAIR, *UP), (("link add br0 index 20 address 00:00:5e:00:53:10 type bridge", "link set br0 up"),
                              ("link set d0 master br0",), ("link set d0 nomaster",), ("link del br0",))),
    "macvlan": ((*PAIR, *UP), (("link add link d0 name mv0 index 20 address 00:00:5e:00:53:10 type macvlan mode bridge",
                                "link set mv0 up"), ("link set d1 down",), ("link set d1 up",), ("link del mv0",))),
    "returns": ((*PAIR, *UP), (("link del d0",), PAIR)),
    "vlan": ((*PAIR, *UP), (("link add link d0 name d0.7 index 20 type vlan id 7", "link set d0.7 up"), ("link set d1 down",),
                            ("link set d1 up",), ("link del d0.7",))),
    "bond": (TWO, (*BOND, ("link add link bond0 name bond0.7 index 21 type vlan id 7", "link set bond0.7 up"),
                   ("link set d1 down",))),
    "bond-in-bridge": (TWO, (*BOND, ("link add br0 index 22 type bridge", "link set br0 up", "link set bond0 master br0"),
                             ("link set d1 down",), ("link set d3 down",), ("link set d3 up",))),
    "team": ((*PAIR,), (("link add team0 index 20 type team", "link set d0 master team0"), ("link set d0 nomaster",))),
    "vrf": ((*PAIR, *UP), (("link add red index 20 type vrf table 100", "link set red up"), ("link set d0 master red",),
                           ("link set d0 nomaster",), ("link del red",))),
}


# ---- attributes -------------------------------------------------------------------------------

def attribute(kind, data):
    return struct.pack("=HH", len(data) + 4, kind) + data.ljust(len(data) + 3 & ~3, b"\0")


def attributes(data):
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        yield kind & 0x3fff, data[at + 4:at + length]
        at += length + 3 & ~3


def type_of(message):
    return struct.unpack_from("=H", message, 4)[0]


def rebuilt(message, pairs):
    """The message with these attributes instead of its own."""
    body = message[16:32] + b"".join(attribute(number, data) for number, data in pairs)
    return struct.pack("=IHHII", 16 + len(body), type_of(message), 0, 0, 0) + body


# ---- recording --------------------------------------------------------------------------------

class Recorder:
    """A socket in the groups that the agent listens to."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))
        for group in GROUPS:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def taken(self):
        """All messages until the kernel has been silent for a while (linkwatch is up to a second late)."""
        messages = []
        self.socket.settimeout(2)
        while True:
            try:
                messages += split(self.socket.recv(65536))
            except TimeoutError:
                return messages

    def dump(self, kind, header):
        """The answer to one RTM_GET."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
            asking.send(struct.pack("=IHHII", 16 + len(header), kind, 0x301, 1, 0) + header)
            messages = []
            while True:
                for message in split(asking.recv(65536)):
                    if type_of(message) == 3:  # NLMSG_DONE
                        return messages
                    messages.append(message)


def split(data):
    messages, at = [], 0
    while at + 16 <= len(data):
        length = struct.unpack_from("=I", data, at)[0]
        messages.append(data[at:at + length])
        at += length + 3 & ~3
    return messages


def in_file(message):
    """Without sender and sequence number, filled up to four bytes."""
    return (message[:8] + bytes(8) + message[16:]).ljust(len(message) + 3 & ~3, b"\0")


def without_bulk(message):
    if type_of(message) not in (NEWLINK, DELLINK):
        return message
    return rebuilt(message, [(number, data) for number, data in attributes(message[32:]) if number not in BULK])


def keep(name, messages):
    if name not in WHOLE:
        messages = [without_bulk(message) for message in messages]
    text = b"".join(map(in_file, messages))
    (HERE / f"{name}.bin").write_bytes(text)
    (CORPUS / name).write_bytes(seed(name, messages))
    print(f"{name}.bin: {len(messages)} messages, {len(text)} bytes")


def seed(name, messages):
    """The same for the fuzzer, which wants it short: only the attributes that are read, and no more than 1,000 bytes."""
    text = b"\x00" if name == "dump" else b"\x01"
    for message in messages:
        if type_of(message) in (NEWLINK, DELLINK):
            pairs = [(number, data) for number, data in attributes(message[32:]) if number in READ]
            message = rebuilt(message, [(number, kinds_of(data) if number == IFLA["LINKINFO"] else data)
                                        for number, data in pairs])
        if len(text) + len(message) <= 1000:
            text += in_file(message)
    return text


def kinds_of(linkinfo):
    return b"".join(attribute(n, data) for n, data in attributes(linkinfo) if n in (INFO_KIND, INFO_SLAVE_KIND))


def ip(lines):
    done = subprocess.run(["ip", "-batch", "-"], input="".join(line + "\n" for line in lines), text=True,
                          stderr=subprocess.PIPE, check=False)
    if "Unknown device type" in done.stderr:
        return False
    assert done.returncode == 0, done.stderr
    return True


def record(name):
    """One scene, in this process's namespace."""
    before, steps = SCENES[name]
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")  # so that no address is late
    recorder = Recorder()
    assert ip(["link set lo up", *before])
    recorder.taken()
    messages = []
    for lines in steps:
        if not ip(lines):
            print(f"{name}: not recorded, this kernel lacks a kind of link that it needs")
            return
        messages += recorder.taken()
    keep(name, messages)


# ---- what is not one scene --------------------------------------------------------------------

def record_features():
    """Segmentation offload is switched (ETHTOOL_STSO): the kernel tells with an IFLA_EVENT that asks for no announcement."""
    assert ip([*PAIR, *UP])
    recorder = Recorder()
    recorder.taken()
    wish = ctypes.create_string_buffer(struct.pack("=II", 0x1f, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, 0x8946, struct.pack("16sQ16x", b"d0", ctypes.addressof(wish)))
    keep("features", recorder.taken())


def record_dump():
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
    assert ip(["link set lo up", *PAIR, *UP, *ADDRESSES, *ROUTES])
    recorder = Recorder()
    recorder.taken()
    messages = recorder.dump(18, struct.pack("=BxHiII", 0, 0, 0, 0, 0)) + recorder.dump(22, struct.pack("=BBBBI", 0, 0, 0, 0, 0))
    for family in (socket.AF_INET, socket.AF_INET6):
        messages += recorder.dump(26, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0))
    keep("dump", messages)


def build_virtual_function():
    """The one that is built, from the first message of "veth" and the IFLA_EVENT of "features": a virtual function below a
    master without a kind (netvsc_register_vf(): drivers/net/hyperv/netvsc_drv.c)."""
    card = split((HERE / "veth.bin").read_bytes())[0]

    def message(index, name, master=None, event=None):
        pairs = []
        for number, data in attributes(card[32:]):
            if number not in (IFLA["LINK"], IFLA["LINKINFO"]):
                pairs.append((number, name + b"\0" if number == IFLA["IFNAME"] else data))
            if number == IFLA["NUM_RX_QUEUES"] and master:
                pairs.append((IFLA["MASTER"], struct.pack("=I", master)))
            if number == IFLA["PROTO_DOWN"] and event:
                pairs.append((IFLA["EVENT"], struct.pack("=I", event)))
        made = rebuilt(card, pairs)
        return made[:20] + struct.pack("=i", index) + made[24:]

    keep("virtual-function", [message(12, b"eth0"), message(13, b"enP1", master=12),
                              message(12, b"eth0", event=EVENT_NOTIFY_PEERS)])


OTHERS = {"features": record_features, "dump": record_dump, "virtual-function": build_virtual_function}


def main():
    if sys.argv[1:2] == ["--here"]:
        name = sys.argv[2]
        OTHERS.get(name, lambda: record(name))()
        return
    for name in sys.argv[1:] or [*SCENES, *OTHERS]:
        assert name in SCENES or name in OTHERS, name
        subprocess.run(["unshare", "-n", sys.executable, os.path.abspath(__file__), "--here", name], check=True)


if __name__ == "__main__":
    main()
