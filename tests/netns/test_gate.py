"""The gate on real interfaces: what a host says for a VIP while the gate is open, shut, expired or redirecting, and who
may stand before it.  The C side is gate_driver.c; single frames are in gate_frames.c.

The one who asks is `client`, with frames of its own making (no kernel's neighbour cache hides an answer or the lack of one);
an answer is any frame that claims the VIP or comes from it."""

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS,
                                ICMPv6NDOptSrcLLAddr, IPv6)
from scapy.layers.l2 import ARP, Dot1Q, Ether

from netns.lab import Lab, wait_for

DRIVER = os.environ.get("LEASEHOLD_GATE_DRIVER",
                        str(Path(__file__).parents[2] / "build/release/netns/gate_driver"))
VIP4, VIP6 = "192.0.2.200", "2001:db8::c8"
SOLICITED6, SOLICITED_MAC = "ff02::1:ff00:c8", "33:33:ff:00:00:c8"
ALL = "ff:ff:ff:ff:ff:ff"
EVERY_ANSWER = {"arp", "ping", "tcp"}
SILENT_S = 0.25  # how long an answer is waited for where none must come; the kernel's takes well under 1 ms
LONG_MS = 600000
ETH_P_ALL, PACKET_OUTGOING = 3, 4
RTM_NEWTFILTER = 44
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
PASS_ALL = "1,6 0 0 0"  # a classic BPF program that returns TC_ACT_OK: no filter behind it is asked

pytestmark = [pytest.mark.netns,
              pytest.mark.skipif(not os.access(DRIVER, os.X_OK), reason=f"no driver at {DRIVER}")]


class DriverError(Exception):
    def __init__(self, number, text):
        super().__init__(f"{errno.errorcode.get(number, number)}: {text}")
        self.errno, self.text = number, text


class Driver:
    """gate_driver in a host, or behind a prefix of words; `index` is what it attaches to."""

    def __init__(self, host=None, prefix=(), index=0):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        argv = [*prefix, DRIVER]
        self.process = host.spawn(argv, **pipes) if host else subprocess.Popen(argv, **pipes)
        self.index = index

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def __call__(self, line):
        """Run one command and return the lines it printed."""
        self.tell(line)
        out = []
        for answer in self.process.stdout:
            if answer == "ok\n":
                return out
            if answer.startswith("error "):
                _, number, text = answer.rstrip("\n").split(" ", 2)
                raise DriverError(int(number), text)
            out.append(answer.rstrip("\n"))
        raise AssertionError(f"the driver ended after {line!r}: {self.process.wait()}")

    def attach(self):
        """True when something had to be put there."""
        return self(f"attach {self.index}") == ["changed"]

    def set(self, vip, arp_ms, ip_ms, index=None):
        self(f"set {vip} {self.index if index is None else index} {arp_ms} {ip_ms}")

    def open(self, vip):
        self.set(vip, LONG_MS, LONG_MS)

    def shut(self, vip):
        self.set(vip, 0, 0)

    def watched(self, index):
        """Interfaces whose filters changed, read until `index` is among them."""
        seen = set()

        def look():
            seen.update(int(line.split()[1]) for line in self("watch 1000"))
            return index in seen or 0 in seen

        wait_for(look, what=lambda: f"a change on {index}, saw {seen}")
        return seen

    def end(self):
        """Ends by the end of its input: it must free all and say nothing (sanitizers)."""
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=20)


class Wire:
    """All frames of a host's eth0, and frames of our own."""

    def __init__(self, host):
        with host.entered():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("eth0", ETH_P_ALL))
        self.sock.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, frame):
        self.sock.send(bytes(frame))

    def raw(self, wait_s):
        """What comes in, until nothing came for `wait_s`."""
        while select.select([self.sock], [], [], wait_s)[0]:
            data, sender = self.sock.recvfrom(65536)
            if sender[2] != PACKET_OUTGOING:
                yield data

    def frames(self, wait_s):
        return map(Ether, self.raw(wait_s))


def answer_kind(frame, vip):
    """'arp', 'ping', 'tcp', 'other' for a frame that claims the VIP or comes from it, else None."""
    if ARP in frame:
        return "arp" if frame[ARP].psrc == vip else None
    if ICMPv6ND_NA in frame and frame[ICMPv6ND_NA].tgt == vip:
        return "arp"
    ip = frame.getlayer(IP) or frame.getlayer(IPv6)
    if ip is None or ip.src != vip or ICMPv6ND_NS in frame:
        return None
    if TCP in frame:
        return "tcp"
    return "ping" if ICMPv6EchoReply in frame or (ICMP in frame and frame[ICMP].type == 0) else "other"


def echo(client, mac, vip, number=1):
    head = Ether(src=client.mac, dst=mac)
    if ":" in vip:
        return head / IPv6(src=client.ip6, dst=vip) / ICMPv6EchoRequest(id=7, seq=number)
    return head / IP(src=client.ip4, dst=vip) / ICMP(id=7, seq=number)


def questions(client, mac, vip):
    """Who has it, to all and to the host alone; an echo request; a connection."""
    tcp = TCP(sport=40000, dport=9, flags="S")
    if ":" in vip:
        ask = ICMPv6ND_NS(tgt=vip) / ICMPv6NDOptSrcLLAddr(lladdr=client.mac)
        return [Ether(src=client.mac, dst=SOLICITED_MAC) / IPv6(src=client.ip6, dst=SOLICITED6, hlim=255) / ask,
                Ether(src=client.mac, dst=mac) / IPv6(src=client.ip6, dst=vip, hlim=255) / ask,
                echo(client, mac, vip), Ether(src=client.mac, dst=mac) / IPv6(src=client.ip6, dst=vip) / tcp]
    ask = ARP(op=1, hwsrc=client.mac, psrc=client.ip4, pdst=vip)
    return [Ether(src=client.mac, dst=ALL) / ask, Ether(src=client.mac, dst=mac) / ask,
            echo(client, mac, vip), Ether(src=client.mac, dst=mac) / IP(src=client.ip4, dst=vip) / tcp]


def ask(client, frames, vip, wanted=frozenset()):
    """The answers to these frames, {(kind, MAC)}; read until all wanted kinds came or it is silent."""
    got = set()
    with Wire(client) as wire:
        for frame in frames:
            wire.send(frame)
        for frame in wire.frames(SILENT_S):
            if kind := answer_kind(frame, vip):
                got.add((kind, frame.src))
            if wanted and wanted <= {kind for kind, _ in got}:
                break
    return got


def answers(client, host, vip, mac=None, wanted=frozenset()):
    """The kinds of answers that a host gives; from nobody else may any come."""
    mac = mac or host.mac
    got = ask(client, questions(client, mac, vip), vip, wanted)
    assert {m for _, m in got} <= {mac}, got
    return {kind for kind, _ in got}


def is_answered(client, host, vip, mac=None):
    return answers(client, host, vip, mac, EVERY_ANSWER) == EVERY_ANSWER


def tc(host, *words, check=True):
    return host.run(["tc", *words], check=check)


def filters(host, hook="ingress", dev="eth0"):
    """(priority, handle, name) of all filters of a hook, in order."""
    found = []
    for line in tc(host, "filter", "show", "dev", dev, hook).splitlines():
        words = line.split()
        if "handle" in words:
            at = words.index("handle")
            found.append((int(words[words.index("pref") + 1]), words[at + 1],
                          "ours" if words[at + 2:at + 3] == ["leasehold_gate"] else "other"))
        elif "fh" in words:
            found.append((int(words[words.index("pref") + 1]), words[words.index("fh") + 1], "other"))
    return found


def foreign_bpf(host, hook="ingress", priority=1, program=PASS_ALL):
    tc(host, "filter", "add", "dev", "eth0", hook, "prio", str(priority), "protocol", "all", "bpf", "da",
       "bytecode", program)


def index_of(host, dev="eth0"):
    return host.ip_json("link", "show", "dev", dev)[0]["ifindex"]


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, pods_per_node=0) as made:
        yield made


@pytest.fixture
def make_driver(lab):
    """Drivers with a gate loaded, on node1; at the end each is ended, and no qdisc is left."""
    made = []

    def make(load=True):
        driver = Driver(lab.nodes[0], index=index_of(lab.nodes[0]))
        made.append(driver)
        if load:
            driver("load")
        return driver

    yield make
    for driver in made:
        if driver.process.poll() is None:
            driver.end()
    tc(lab.nodes[0], "qdisc", "del", "dev", "eth0", "clsact", check=False)


@pytest.fixture
def vips(lab):
    """Both VIPs on node1."""
    add_vips(lab.nodes[0])
    yield lab.nodes[0]
    for node in lab.nodes:
        node.delete_addresses([VIP4, VIP6])
    for host in (lab.client, *lab.nodes):
        host.flush_neighbours()


def add_vips(node):
    node.ip("addr", "replace", f"{VIP4}/32", "dev", "eth0")
    node.ip("addr", "replace", f"{VIP6}/128", "dev", "eth0", "nodad", "preferred_lft", "0")


# ---- open and shut ----

@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_answers_only_while_open(lab, vips, make_driver, vip):
    driver = make_driver()
    assert is_answered(lab.client, vips, vip)  # no gate
    assert driver.attach()
    assert is_answered(lab.client, vips, vip)  # no entry: not ours to judge
    driver.shut(vip)
    assert answers(lab.client, vips, vip) == set()
    driver.open(vip)
    assert is_answered(lab.client, vips, vip)
    driver.set(vip, 0, LONG_MS)
    assert answers(lab.client, vips, vip) == {"ping", "tcp"}
    driver.set(vip, LONG_MS, LONG_MS, index=driver.index + 1)  # carried by another interface
    assert answers(lab.client, vips, vip) == {"ping", "tcp"}
    driver.set(vip, LONG_MS, 0)
    assert answers(lab.client, vips, vip) == {"arp"}
    driver(f"unset {vip}")
    driver(f"unset {vip}")
    assert is_answered(lab.client, vips, vip)
    arp, ip, egress, redirected = map(int, driver("counts"))
    assert arp > 0 and ip > 0 and redirected == 0, (arp, ip, egress, redirected)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_nothing_leaves_a_shut_gate(lab, vips, make_driver, vip):
    """What the host sends of its own accord: packets from the VIP, and the question for their destination."""
    driver = make_driver()
    driver.attach()
    client_ip = lab.client.ip6 if ":" in vip else lab.client.ip4

    def sent_by_host():
        vips.flush_neighbours()
        with Wire(lab.client) as wire, vips.entered():
            with socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((vip, 0))
                sock.sendto(b"x", (client_ip, 9))
            return [f for f in wire.frames(SILENT_S) if f.src == vips.mac
                    and (answer_kind(f, vip) or (ICMPv6ND_NS in f and f[IPv6].src == vip))]

    driver.open(vip)
    assert sent_by_host()
    driver.shut(vip)
    before = int(driver("counts")[2])
    assert sent_by_host() == []
    assert int(driver("counts")[2]) > before


def test_vlan_zero_is_untagged(lab, vips, make_driver):
    """A priority tag does not make another network: the kernel answers it, so the gate must judge it."""
    driver = make_driver()
    driver.attach()
    client = lab.client
    frame = (Ether(src=client.mac, dst=ALL) / Dot1Q(vlan=0, prio=5, type=0x806)
             / ARP(op=1, hwsrc=client.mac, psrc=client.ip4, pdst=VIP4))
    driver.open(VIP4)
    assert ask(client, [frame], VIP4, {"arp"}) == {("arp", vips.mac)}
    driver.shut(VIP4)
    before = int(driver("counts")[0])
    assert ask(client, [frame], VIP4) == set()
    assert int(driver("counts")[0]) == before + 1  # at ingress; egress would hold back the answer, too


# ---- the deadline ----

@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_silent_at_the_deadline(lab, vips, make_driver, vip, how):
    """Whatever becomes of the process: a question that is asked after the deadline is not answered, one before it is."""
    driver = make_driver()
    driver.attach()
    driver.set(vip, 800, 800)
    deadline_ns = int(driver(f"get {vip}")[0].split()[2])
    driver.process.send_signal(how)
    answered = {}
    with Wire(lab.client) as wire:
        asked_ns = {}
        for number in range(1, 200):
            asked_ns[number] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            wire.send(echo(lab.client, vips.mac, vip, number))
            if asked_ns[number] > deadline_ns + 100_000_000:
                break
            time.sleep(0.01)
        for frame in wire.frames(SILENT_S):
            if answer_kind(frame, vip) == "ping":
                got = frame.getlayer(ICMP) or frame.getlayer(ICMPv6EchoReply)
                answered[got.seq] = asked_ns[got.seq]
    assert answered and max(asked_ns.values()) > deadline_ns
    assert max(answered.values()) < deadline_ns
    assert answers(lab.client, vips, vip) == set()
    if how == signal.SIGSTOP:
        driver.process.send_signal(signal.SIGCONT)
        assert answers(lab.client, vips, vip) == set()
    else:
        driver.kill()


def test_frozen_keeper(lab, vips, make_driver):
    """An agent that opens again and again, is stopped, and goes on later."""
    driver = make_driver()
    driver.attach()
    driver.tell(f"keep {VIP4} {driver.index} 600")
    wait_for(lambda: is_answered(lab.client, vips, VIP4), what="an open gate")
    driver.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: answers(lab.client, vips, VIP4) == set(), what="silence")
    driver.process.send_signal(signal.SIGCONT)
    wait_for(lambda: is_answered(lab.client, vips, VIP4), what="an open gate")
    driver.tell("counts")
    wait_for(lambda: driver.process.stdout.readline() == "ok\n", what="the end of keep")
    for _ in range(5):
        driver.process.stdout.readline()


# ---- what happens to the interface ----

@pytest.mark.parametrize("what", ["flap", "rename", "mac", "nft"])
def test_survives(lab, vips, make_driver, what):
    driver = make_driver()
    driver.attach()
    mac, name = vips.mac, "eth0"
    for vip in (VIP4, VIP6):
        driver.shut(vip)
    if what == "nft":
        vips.nft(script="table inet somebody { chain c { type filter hook input priority 0; }; }")
        vips.nft("flush", "ruleset")
    else:
        vips.ip("link", "set", "eth0", "down")
        if what == "rename":
            name = "uplink0"
            vips.ip("link", "set", "eth0", "name", name)
        if what == "mac":
            mac = "00:00:5e:00:53:aa"
            vips.ip("link", "set", "eth0", "address", mac)
        vips.ip("link", "set", name, "up")
        vips.ip("addr", "replace", f"{vips.ip6}/64", "dev", name, "nodad")
        vips.ip("addr", "replace", f"{VIP6}/128", "dev", name, "nodad", "preferred_lft", "0")
    try:
        wait_for(lambda: vips.carrier(name), what="carrier")
        for vip in (VIP4, VIP6):
            assert answers(lab.client, vips, vip, mac) == set()
            driver.open(vip)
            wait_for(lambda v=vip: is_answered(lab.client, vips, v, mac), what=f"answers for {vip}")
            driver.shut(vip)
            assert answers(lab.client, vips, vip, mac) == set()
        assert not driver.attach()
    finally:
        if name != "eth0" or mac != vips.mac:
            vips.ip("link", "set", name, "down")
            vips.ip("link", "set", name, "name", "eth0", "address", vips.mac)
            vips.ip("link", "set", "eth0", "up")
            vips.ip("addr", "replace", f"{vips.ip6}/64", "dev", "eth0", "nodad")
        wait_for(vips.links_ready, what="the links")


def test_new_interface_of_the_same_name(lab, make_driver):
    driver = make_driver()
    node = lab.nodes[0]
    indexes = []
    for _ in range(2):
        node.ip("link", "add", "name", "gate0", "type", "veth", "peer", "name", "gate1")
        driver.index = index_of(node, "gate0")
        indexes.append(driver.index)
        assert driver.attach()
        assert not driver.attach()
        node.ip("link", "del", "gate0")
        with pytest.raises(DriverError) as error:
            driver.attach()
        assert error.value.errno == errno.ENODEV
        driver(f"detach {driver.index}")
    assert indexes[0] != indexes[1]


# ---- other users of the hooks ----

@pytest.mark.parametrize("hook", ["ingress", "egress"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_first_among_bpf_filters(lab, vips, make_driver, hook, late):
    """Another's program lets everything pass for good: whether it came before the gate or puts itself in front of it, it
    must neither go nor be asked first."""
    driver = make_driver()
    driver.shut(VIP4)
    if late:
        assert driver.attach()
        driver.watched(driver.index)
    else:
        tc(vips, "qdisc", "add", "dev", "eth0", "clsact")
    foreign_bpf(vips, hook)
    foreign_bpf(vips, hook, priority=3)
    assert filters(vips, hook)[0][2] == "other"
    driver.watched(driver.index)
    for _ in range(3):
        assert driver.attach()
        assert not driver.attach()
        assert answers(lab.client, vips, VIP4) == set()
        names = [name for _, _, name in filters(vips, hook)]
        assert names[0] == "ours" and names.count("ours") == 1
        foreign_bpf(vips, hook)
    assert [name for _, _, name in filters(vips, hook)].count("other") == 5
    driver(f"detach {driver.index}")
    assert [name for _, _, name in filters(vips, hook)] == ["other"] * 5  # and so clsact stays
    assert is_answered(lab.client, vips, VIP4)


def test_beside_u32(lab, vips, make_driver):
    driver = make_driver()
    tc(vips, "qdisc", "add", "dev", "eth0", "clsact")
    for hook in ("ingress", "egress"):
        tc(vips, "filter", "add", "dev", "eth0", hook, "prio", "2", "protocol", "ip", "u32", "match", "u32", "0", "0",
           "classid", "1:1")
    assert driver.attach()
    driver.shut(VIP4)
    assert answers(lab.client, vips, VIP4) == set()
    driver.open(VIP4)
    assert is_answered(lab.client, vips, VIP4)
    assert [name for _, _, name in filters(vips)][0] == "ours" and len(filters(vips)) > 1


def test_who_cannot_be_passed(lab, make_driver):
    """What holds the first place for good is refused by name, and left as it is."""
    driver = make_driver()
    node = lab.nodes[0]
    tc(node, "qdisc", "add", "dev", "eth0", "clsact")
    tc(node, "filter", "add", "dev", "eth0", "ingress", "prio", "1", "protocol", "ip", "u32", "match", "u32", "0", "0",
       "classid", "1:1")
    before = filters(node)
    with pytest.raises(DriverError, match="u32, priority 1") as error:
        driver.attach()
    assert error.value.errno == errno.EBUSY
    assert filters(node) == before
    tc(node, "qdisc", "del", "dev", "eth0", "clsact")
    tc(node, "qdisc", "add", "dev", "eth0", "ingress")
    with pytest.raises(DriverError, match="ingress qdisc") as error:
        driver.attach()
    assert error.value.errno == errno.EBUSY
    driver(f"detach {driver.index}")
    assert "qdisc ingress" in tc(node, "qdisc", "show", "dev", "eth0")
    tc(node, "qdisc", "del", "dev", "eth0", "ingress")
    tc(node, "qdisc", "add", "dev", "eth0", "ingress_block", "7", "clsact")
    with pytest.raises(DriverError, match="shared"):
        driver.attach()
    with pytest.raises(DriverError, match="not an Ethernet device") as error:
        driver("attach 1")
    assert error.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_tcx_is_refused(lab, make_driver, hook):
    driver = make_driver()
    node = lab.nodes[0]
    node.ip("link", "add", "name", "gate0", "type", "veth", "peer", "name", "gate1")
    try:
        driver.index = index_of(node, "gate0")
        try:
            driver(f"tcx {driver.index} {hook}")
        except DriverError as error:
            if error.errno == errno.EOPNOTSUPP:
                pytest.skip(error.text)
            raise
        with pytest.raises(DriverError, match=f"TCX program stands before the gate at {hook}: program [0-9]+ somebody"
                           ) as error:
            driver.attach()
        assert error.value.errno == errno.EBUSY
        assert "clsact" not in tc(node, "qdisc", "show", "dev", "gate0")
    finally:
        node.ip("link", "del", "gate0")


# ---- taken away, put back, replaced ----

@pytest.mark.parametrize("what", ["filter", "clsact"])
def test_taken_away_is_seen_and_put_back(lab, vips, make_driver, what):
    driver = make_driver()
    driver.attach()
    driver.shut(VIP4)
    driver.watched(driver.index)
    assert driver("watch 0") == []
    if what == "filter":
        tc(vips, "filter", "del", "dev", "eth0", "ingress")
    else:
        tc(vips, "qdisc", "del", "dev", "eth0", "clsact")
    # Each half of the gate keeps the host silent by itself.
    assert is_answered(lab.client, vips, VIP4) if what == "clsact" else answers(lab.client, vips, VIP4) == set()
    assert driver.watched(driver.index) == {driver.index}
    assert driver.attach()
    assert answers(lab.client, vips, VIP4) == set()
    assert filters(vips, "ingress") == filters(vips, "egress") == [(1, "0x4c48", "ours")]


def test_watch_lost_messages(lab, make_driver):
    """More than the socket holds: all interfaces are to be looked at."""
    driver = make_driver(load=False)
    node = lab.nodes[0]
    tc(node, "qdisc", "add", "dev", "eth0", "clsact")
    script = "".join(f"filter {verb} dev eth0 ingress prio 9 protocol all bpf da bytecode \"1,6 0 0 0\"\n"
                     .replace("del dev eth0 ingress prio 9 protocol all bpf da bytecode \"1,6 0 0 0\"",
                              "del dev eth0 ingress prio 9")
                     for _ in range(1000) for verb in ("add", "del"))
    process = node.spawn(["tc", "-batch", "-"], stdin=subprocess.PIPE, text=True)
    process.communicate(script, timeout=60)
    assert process.returncode == 0
    assert 0 in driver.watched(0)


def numbered(frame, number):
    """An IPv4 echo request of number 0 as that of another number, checksum and all: scapy takes a millisecond for each."""
    total = (~struct.unpack_from("!H", frame, 36)[0] & 0xffff) + number  # RFC 1624, 3
    checksum = ~((total & 0xffff) + (total >> 16)) & 0xffff
    return frame[:36] + struct.pack("!H", checksum) + frame[38:40] + struct.pack("!H", number) + frame[42:]


@contextlib.contextmanager
def hammering(lab, host, vip):
    """Pings a host every millisecond; yields a list that holds at the end how many were sent and how many answered."""
    result, stop = [0, 0], threading.Event()
    frame = bytes(echo(lab.client, host.mac, vip, 0))
    reply = b"\x08\x00", b"\x01", socket.inet_aton(vip), b"\x00"  # EtherType, protocol, source, ICMP type

    def hammer(wire):
        while not stop.is_set() and result[0] < 60000:
            result[0] += 1
            wire.sock.send(numbered(frame, result[0]))
            time.sleep(0.001)

    with Wire(lab.client) as wire:
        thread = threading.Thread(target=hammer, args=(wire,))
        thread.start()
        try:
            wait_for(lambda: result[0] > 20, what="pings")
            yield result
        finally:
            stop.set()
            thread.join()
        result[1] = sum((data[12:14], data[23:24], data[26:30], data[34:35]) == reply for data in wire.raw(SILENT_S))


@contextlib.contextmanager
def filter_changes(host):
    """Yields a list that holds at the end the types of all messages about filters."""
    with host.entered():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((0, 1 << 3))  # RTMGRP_TC
        types = []
        yield types
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while data := sock.recv(65536):
                while data:
                    length, kind = struct.unpack_from("=IH", data)
                    types.append(kind)
                    data = data[(length + 3) & ~3:]


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "shut"])
def test_replaced_in_one_step(lab, vips, make_driver, is_open):
    """One agent after another takes the filter over: nothing is lost while both are open, and nothing gets through while
    both are shut."""
    first = make_driver()
    (first.open if is_open else first.shut)(VIP4)
    first.attach()
    assert is_answered(lab.client, vips, VIP4) == is_open
    first.kill()
    next_one = make_driver(load=False)
    with hammering(lab, vips, VIP4) as result, filter_changes(vips) as types:
        for _ in range(20):
            next_one("load")
            (next_one.open if is_open else next_one.shut)(VIP4)
            assert next_one.attach()
    sent, answered = result
    assert answered == (sent if is_open else 0)
    assert types == [RTM_NEWTFILTER] * 20 * 2  # a gap of microseconds escapes the pings, but a removal is told
    assert filters(vips) == [(1, "0x4c48", "ours")]


def test_detach_removes_what_is_ours(lab, make_driver):
    driver = make_driver()
    node = lab.nodes[0]
    driver(f"detach {driver.index}")
    driver.attach()
    other = make_driver(load=False)  # detaching takes no program
    other(f"detach {driver.index}")
    other(f"detach {driver.index}")
    assert "clsact" not in tc(node, "qdisc", "show", "dev", "eth0")


# ---- redirect ----

@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_redirect(lab, vips, make_driver, vip):
    """The old holder sends on what still comes to it: the successor gets the client's packets from the old holder's MAC,
    and answers the client itself."""
    old, successor, client = vips, lab.nodes[1], lab.client
    driver = make_driver()
    driver.attach()
    driver(f"redirect {vip} {LONG_MS} {successor.mac} {old.mac}")
    add_vips(successor)
    with Wire(successor) as wire:
        got = ask(client, questions(client, old.mac, vip), vip, EVERY_ANSWER)
        assert got == {(kind, successor.mac) for kind in EVERY_ANSWER}
        seen = [f for f in wire.frames(SILENT_S)
                if ICMPv6EchoRequest in f or (ICMP in f and f[ICMP].type == 8)]
    assert [(f.src, f.dst) for f in seen] == [(old.mac, successor.mac)]
    sent = echo(client, old.mac, vip)
    assert bytes(seen[0])[14:] == bytes(sent)[14:]  # as the client sent it: no hop counted
    # The switch still knows the client where it is.
    assert f"{client.mac} dev {client.name} " in lab.lan.run(["bridge", "fdb", "show", "br", "br0"])
    assert int(driver("counts")[3]) >= 3
    driver.set(vip, 0, 0)
    assert {mac for _, mac in ask(client, questions(client, old.mac, vip), vip)} == {successor.mac}  # the question to all


def test_redirects_do_not_chase_each_other(lab, vips, make_driver):
    """Two nodes that send a VIP's frames on to each other: the second ends it."""
    one, two = lab.nodes
    driver = make_driver()
    driver.attach()
    other = Driver(two, index=index_of(two))
    try:
        other("load")
        other.attach()
        driver(f"redirect {VIP4} {LONG_MS} {two.mac} {one.mac}")
        other(f"redirect {VIP4} {LONG_MS} {one.mac} {two.mac}")
        assert ask(lab.client, [echo(lab.client, one.mac, VIP4)], VIP4) == set()
        assert int(driver("counts")[3]) == 1 and int(other("counts")[3]) == 0
    finally:
        other(f"detach {other.index}")
        other.end()


# ---- the agent's own frames ----

def test_packet_socket_past_the_gate(lab, vips, make_driver):
    """A shut holder announces all the same (policy hold): PACKET_QDISC_BYPASS leaves out egress filters."""
    driver = make_driver()
    driver.attach()
    driver.shut(VIP4)
    frame = bytes(Ether(src=vips.mac, dst=ALL) / ARP(op=1, hwsrc=vips.mac, psrc=VIP4, pdst=VIP4))
    for bypass in (0, 1):
        with Wire(lab.client) as wire, Wire(vips) as sender:
            sender.sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, bypass)
            if bypass:
                sender.send(frame)
            else:
                with pytest.raises(OSError) as error:  # a drop at egress is told
                    sender.send(frame)
                assert error.value.errno == errno.ENOBUFS
            heard = [f for f in wire.frames(SILENT_S) if ARP in f and f[ARP].psrc == VIP4]
        assert len(heard) == bypass


# ---- loading ----

def test_rights(lab):
    """CAP_BPF and CAP_NET_ADMIN do; without one of them the error says so."""
    node = lab.nodes[0]
    enter = ["nsenter", f"--net=/run/netns/{node.netns}", "setpriv", "--inh-caps=-all"]
    lo = tc(node, "qdisc", "show", "dev", "lo")
    driver = Driver(prefix=[*enter, "--bounding-set=-all,+bpf,+net_admin"], index=index_of(node))
    driver("load")
    driver("self-test")
    assert driver.attach()
    driver(f"detach {driver.index}")
    driver.end()
    assert tc(node, "qdisc", "show", "dev", "lo") == lo
    for caps in ("+net_admin", "+bpf"):
        driver = Driver(prefix=[*enter, f"--bounding-set=-all,{caps}"])
        with pytest.raises(DriverError, match="CAP_BPF and CAP_NET_ADMIN") as error:
            driver("load")
        assert error.value.errno == errno.EPERM
        driver.end()


def test_self_test_leaves_others_alone(lab, make_driver):
    driver = make_driver()
    node = lab.nodes[0]
    tc(node, "qdisc", "add", "dev", "lo", "clsact")
    try:
        driver("self-test")
        assert "clsact" in tc(node, "qdisc", "show", "dev", "lo")
        assert filters(node, dev="lo") == filters(node, "egress", dev="lo") == []
    finally:
        tc(node, "qdisc", "del", "dev", "lo", "clsact")


def test_map_is_bounded_and_small(make_driver):
    driver = make_driver(load=False)
    before = int(driver("memory")[0])
    driver("load")
    driver("fill 8192")
    with pytest.raises(DriverError, match="more than 8192 VIPs") as error:
        driver("set 192.0.2.1 1 0 0")
    assert error.value.errno == errno.E2BIG
    driver("set 2001:db8:ffff::1 1 0 0")  # a refresh needs no room
    driver("unset 2001:db8:ffff::1")
    driver("set 192.0.2.1 1 0 0")
    with pytest.raises(DriverError) as error:
        driver("get 2001:db8:ffff::1")
    assert error.value.errno == errno.ENOENT
    if "asan" not in DRIVER:
        assert int(driver("memory")[0]) - before < 1024
