"""Who claims a VIP on the wire is heard, and nothing else is; who has it answers when asked; no interface but its own
answers or asks in a VIP's name; and a VIP can be announced past an egress that drops it.  The other hosts' frames are
scapy's and the kernel's; the C side is wire_driver.c on node1."""

import contextlib
import errno
import os
import socket
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr,
                                IPv6, IPv6ExtHdrDestOpt)
from scapy.layers.l2 import ARP, Dot1Q, Ether

from netns.lab import Lab, wait_for

DRIVER = os.environ.get("LEASEHOLD_WIRE_DRIVER",
                        str(Path(__file__).parents[2] / "build/release/netns/wire_driver"))
VIP4, VIP6 = "192.0.2.200", "2001:db8::c8"
# Also VIPs to the driver: what is sent behind frames that must not be heard.  The v4 one is above VIP4, so that
# addresses lie between them that are none.
MARK4, MARK6 = "192.0.2.250", "2001:db8::fa"
ALL, NOBODY, ALL_NODES = "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "33:33:00:00:00:01"
MAC = "00:00:5e:00:53:77"  # of a holder that there is only in frames
STRANGER = "00:00:5e:00:53:66"  # nobody's: the bridge sends what is for it to all of its ports
BUDGET = 64  # WIRE_BUDGET

pytestmark = [pytest.mark.netns,
              pytest.mark.skipif(not os.access(DRIVER, os.X_OK), reason=f"no driver at {DRIVER}")]


class DriverError(Exception):
    def __init__(self, number, text):
        super().__init__(f"{errno.errorcode.get(number, number)}: {text}")
        self.errno, self.text = number, text


class Driver:
    """wire_driver in a host, behind a prefix of words."""

    def __init__(self, host, prefix=()):
        self.process = host.spawn([*prefix, DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, line):
        """Run one command and return the lines it printed."""
        self.begin(line)
        return self.finish(line)

    def begin(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def finish(self, line):
        out = []
        for answer in self.process.stdout:
            if answer == "ok\n":
                return out
            if answer.startswith("error "):
                _, number, text = answer.rstrip("\n").split(" ", 2)
                raise DriverError(int(number), text)
            out.append(answer.rstrip("\n"))
        raise AssertionError(f"the driver ended after {line!r}: {self.process.wait()}")

    def hear(self, until):
        """The claims up to one of that VIP, as (VIP, MAC, interface, "reply" or "other")."""
        *claims, _ = self(f"hear 5000 {until}")
        found = [tuple(c.split()[1:]) for c in claims]
        assert found and any(c[0] == until for c in found), f"no claim of {until} in 5 s: {found}"
        return found

    def end(self):
        """Ends the driver by the end of its input: it must free all and say nothing (sanitizers)."""
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, pods_per_node=0, echo=False) as made:
        yield made


@pytest.fixture
def us(lab):
    return lab.nodes[0]


@pytest.fixture
def other(lab):
    """Another node; what it was given is taken away."""
    yield lab.nodes[1]
    take(lab.nodes[1])


@pytest.fixture
def drive(us):
    made = Driver(us)
    made("links")
    made(f"vips {VIP4} {VIP6} {MARK4} {MARK6}")
    yield made
    take(us)
    made("unguard")
    made.end()


@pytest.fixture
def second_nic(lab, us):
    """eth1 of node1 on the same LAN; its MAC."""
    mac = "00:00:5e:00:53:1b"
    lab.lan.ip("link", "add", "node1-b", "type", "veth", "peer", "name", "eth1", "address", mac, "netns", us.netns)
    lab.lan.ip("link", "set", "node1-b", "master", "br0", "up")
    us.ip("addr", "add", "192.0.2.111/24", "dev", "eth1")
    us.ip("link", "set", "eth1", "up")
    wait_for(us.links_ready, what="eth1")
    yield mac
    us.ip("link", "del", "eth1")


def give(host, *vips, dev="eth0"):
    for vip in vips:
        host.ip("addr", "add", *((f"{vip}/128", "dev", dev, "nodad") if ":" in vip else (f"{vip}/32", "dev", dev)))


def take(host):
    have = host.addresses()
    host.delete_addresses([vip for vip in (VIP4, VIP6, MARK4, MARK6) if vip in have])


def raw(host, dev="eth0"):
    with host.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind((dev, 0))
    return sock


def send(host, *frames, dev="eth0"):
    with raw(host, dev) as sock:
        for frame in frames:
            sock.send(bytes(frame))


@contextlib.contextmanager
def tapped(host, dev="eth0"):
    """A function that returns the frames which came in since."""
    with host.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.bind((dev, 3))
    tap.setblocking(False)

    def frames():
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, address = tap.recvfrom(4096)
                if address[2] != socket.PACKET_OUTGOING:
                    found.append(Ether(data))
        return found

    with tap:
        yield frames


def link_local(host, dev="eth0"):
    return next(a for a, attributes in host.addresses(dev).items() if attributes["scope"] == "link" and ":" in a)


def arp(op, psrc, pdst, mac=MAC, dst=ALL, hwdst=NOBODY, **fields):
    return Ether(src=mac, dst=dst) / ARP(op=op, hwsrc=mac, psrc=psrc, hwdst=hwdst, pdst=pdst, **fields)


def na(target, dst=ALL_NODES, ip="ff02::1", s=0, option=None, src=MAC, hlim=255, **fields):
    frame = Ether(src=src, dst=dst) / IPv6(src="2001:db8::99", dst=ip, hlim=hlim) / \
        ICMPv6ND_NA(tgt=target, R=0, S=s, O=1, **fields)
    return frame / ICMPv6NDOptDstLLAddr(lladdr=option) if option else frame


def mark(family):
    return arp(2, MARK4, MARK4) if family == 4 else na(MARK6)


def mark_of(vip):
    return MARK6 if ":" in vip else MARK4


# ---- listening --------------------------------------------------------------------------------

FORMS = {
    "gratuitous request": (lambda us: arp(1, VIP4, VIP4), VIP4, "other"),
    "gratuitous reply": (lambda us: arp(2, VIP4, VIP4, hwdst=MAC), VIP4, "other"),
    "a request in the VIP's name": (lambda us: arp(1, VIP4, "192.0.2.50"), VIP4, "other"),
    "a request of us alone": (lambda us: arp(1, VIP4, us.ip4, dst=us.mac), VIP4, "reply"),
    "a reply to us": (lambda us: arp(2, VIP4, us.ip4, dst=us.mac, hwdst=us.mac), VIP4, "reply"),
    "a reply to a probe": (lambda us: arp(2, VIP4, "0.0.0.0", dst=us.mac, hwdst=us.mac), VIP4, "reply"),
    "padded ARP": (lambda us: arp(1, VIP4, VIP4) / (b"\0" * 18), VIP4, "other"),
    "ARP tagged for no VLAN": (lambda us: Ether(src=MAC, dst=ALL) / Dot1Q(vlan=0, prio=5) / arp(1, VIP4, VIP4)[ARP],
                               VIP4, "other"),
    "unsolicited NA": (lambda us: na(VIP6, option=MAC), VIP6, "other"),
    "unsolicited NA, no option": (lambda us: na(VIP6), VIP6, "other"),
    "NA in another's name": (lambda us: na(VIP6, option=MAC, src="00:00:5e:00:53:78"), VIP6, "other"),
    "solicited NA": (lambda us: na(VIP6, dst=us.mac, ip=link_local(us), s=1, option=MAC), VIP6, "reply"),
    "solicited NA, no option": (lambda us: na(VIP6, dst=us.mac, ip=link_local(us), s=1), VIP6, "reply"),
    "NA with other options": (lambda us: na(VIP6) / ICMPv6NDOptSrcLLAddr(lladdr="00:00:5e:00:53:79") /
                              ICMPv6NDOptDstLLAddr(lladdr=MAC), VIP6, "other"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_claim_of_any_form_is_heard(lab, us, drive, form):
    build, vip, kind = FORMS[form]
    send(lab.client, build(us))
    assert drive.hear(vip) == [(vip, MAC, "eth0", kind)]


NO_CLAIMS = {
    "ARP probe": lambda us: arp(1, "0.0.0.0", VIP4),
    "ARP request for the VIP": lambda us: arp(1, "192.0.2.50", VIP4),
    "reply about another address": lambda us: arp(2, "192.0.2.50", VIP4, dst=us.mac, hwdst=us.mac),
    "an address between the VIPs": lambda us: arp(1, "192.0.2.201", "192.0.2.201"),
    "an address below the VIPs": lambda us: arp(1, "192.0.2.199", "192.0.2.199"),
    "an address above the VIPs": lambda us: arp(1, "192.0.2.251", "192.0.2.251"),
    "ARP of VLAN 7": lambda us: Ether(src=MAC, dst=ALL) / Dot1Q(vlan=7) / arp(1, VIP4, VIP4)[ARP],
    "ARP to another host": lambda us: arp(2, VIP4, "192.0.2.12", dst=STRANGER),
    "no operation of ARP": lambda us: arp(3, VIP4, VIP4),
    "ARP of another protocol": lambda us: arp(1, VIP4, VIP4, ptype=0x0801),
    "ARP of another hardware": lambda us: arp(1, VIP4, VIP4, hwtype=6),
    "half an ARP packet": lambda us: bytes(arp(1, VIP4, VIP4))[:36],
    "ARP from ourselves": lambda us: arp(1, VIP4, VIP4, mac=us.mac),
    "ARP that names us": lambda us: Ether(src=MAC, dst=ALL) / arp(1, VIP4, VIP4, mac=us.mac)[ARP],
    "NS for the VIP": lambda us: Ether(src=MAC, dst="33:33:ff:00:00:c8") / IPv6(src="fe80::77", dst="ff02::1:ff00:c8") /
    ICMPv6ND_NS(tgt=VIP6) / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
    "DAD for the VIP": lambda us: Ether(src=MAC, dst="33:33:ff:00:00:c8") / IPv6(src="::", dst="ff02::1:ff00:c8") /
    ICMPv6ND_NS(tgt=VIP6),
    "NA of another address": lambda us: na("2001:db8::c9"),
    "NA that was routed": lambda us: na(VIP6, hlim=254),
    "NA with a wrong checksum": lambda us: na(VIP6, cksum=1),
    "NA with a code": lambda us: na(VIP6, code=1),
    "NA to all that says solicited": lambda us: na(VIP6, s=1),
    "NA of VLAN 7": lambda us: Ether(src=MAC, dst=ALL_NODES) / Dot1Q(vlan=7) / na(VIP6)[IPv6],
    "NA to another host": lambda us: na(VIP6, dst=STRANGER, ip="2001:db8::12", s=1),
    "NA behind options": lambda us: Ether(src=MAC, dst=ALL_NODES) / IPv6(src="2001:db8::99", dst="ff02::1", hlim=255) /
    IPv6ExtHdrDestOpt() / na(VIP6)[ICMPv6ND_NA],
    "half an NA": lambda us: bytes(na(VIP6, option=MAC))[:70],
    "NA from ourselves": lambda us: na(VIP6, src=us.mac),
    "NA that names us": lambda us: na(VIP6, option=us.mac),
    "another ICMPv6 packet": lambda us: Ether(src=MAC, dst=ALL_NODES) / IPv6(src="2001:db8::99", dst="ff02::1", hlim=255) /
    ICMPv6EchoRequest(data=b"x" * 32),
}


@pytest.mark.parametrize("what", NO_CLAIMS)
def test_what_is_no_claim_is_not_heard(lab, us, drive, what):
    us.ip("link", "set", "eth0", "promisc", "on")
    frame = NO_CLAIMS[what](us)
    v6 = bytes(frame)[12:14] == b"\x86\xdd" or bytes(frame)[16:18] == b"\x86\xdd"
    try:
        send(lab.client, frame, mark(6 if v6 else 4))
        found = drive.hear(MARK6 if v6 else MARK4)
    finally:
        us.ip("link", "set", "eth0", "promisc", "off")
    assert [vip for vip, *_ in found] == [MARK6 if v6 else MARK4]


def test_a_frame_of_our_own_that_comes_back_is_no_claim(us, drive, second_nic):
    """Out of eth0 and, by the switch, into eth1."""
    drive("links")
    for vip, family in ((VIP4, 4), (VIP6, 6)):
        assert drive(f"announce eth0 {vip} 0") == [f"frames {2 if family == 4 else 1}"]
        send(us, mark(family))
        assert {c[:3] for c in drive.hear(MARK4 if family == 4 else MARK6)} == \
            {(MARK4 if family == 4 else MARK6, MAC, "eth1")}
        # Whoever does not say which links are ours takes it for somebody else's.
        drive("no-links")
        drive(f"announce eth0 {vip} 0")
        assert drive.hear(vip)[0] == (vip, us.mac, "eth1", "other")
        drive("links")


def test_a_claim_on_a_bridge_is_heard_there_and_not_on_its_port(lab, us, drive, second_nic):
    us.ip("link", "add", "br1", "type", "bridge", "stp_state", "0", "forward_delay", "0")
    try:
        us.ip("link", "set", "eth1", "master", "br1")
        us.ip("link", "set", "br1", "up")
        wait_for(lambda: us.carrier("br1"), what="br1")

        for frame in (arp(1, VIP4, VIP4), na(VIP6, option=MAC)):
            seen = set()

            def everywhere():
                send(lab.client, frame)
                seen.update(tuple(c.split()[2:]) for c in drive("dispatch"))
                return {(MAC, "eth0", "other"), (MAC, "br1", "other")} <= seen
            wait_for(everywhere, what="the claim on eth0 and br1")
            assert {dev for _, dev, _ in seen} == {"eth0", "br1"}
    finally:
        us.ip("link", "del", "br1")


def test_only_the_present_vips_are_heard(lab, drive):
    def send_all():
        send(lab.client, arp(1, VIP4, VIP4), na(VIP6), mark(4), mark(6))

    def heard(of):
        return [c[0] for c in drive.hear(of)]

    drive(f"vips {MARK4} {MARK6}")
    send_all()
    assert heard(MARK6) == [MARK4, MARK6]
    drive(f"vips {MARK6} {VIP6}")
    send_all()
    assert heard(MARK6) == [VIP6, MARK6]
    # None at all: nothing is even queued for later.
    drive("vips")
    send_all()
    drive(f"vips {MARK4} {VIP4}")
    send_all()
    assert heard(MARK4) == [VIP4, MARK4]


def test_others_traffic_wakes_nobody(lab, us, drive):
    """Five thousand packets that are about no VIP: the kernel's filter takes them, not the program."""
    noise = [arp(1, f"192.0.2.{i}", VIP4) for i in range(1, 200)]
    noise += [arp(2, f"198.51.100.{i}", "192.0.2.50") for i in range(1, 200)]
    noise += [arp(1, "0.0.0.0", VIP4)]
    noise += [Ether(src=MAC, dst=us.mac) / IPv6(src="2001:db8::99", dst=VIP6) / UDP(sport=i, dport=9) / (b"x" * 64)
              for i in range(1, 200)]
    noise += [na(VIP6, hlim=64)]
    frames = [bytes(f) for f in noise]
    listening = f"hear 20000 {MARK4}"
    drive.begin(listening)
    with raw(lab.client) as sock:
        for i in range(5000):
            sock.send(frames[i % len(frames)])
    send(lab.client, mark(4))
    *claims, wakes = drive.finish(listening)
    assert [c.split()[1] for c in claims] == [MARK4]
    assert wakes == "wakes 1"


@contextlib.contextmanager
def optmem(host, size):
    """The host's sockets have so many bytes for their options and filters: 20480 before Linux 6.8."""
    path = "net/core/optmem_max"
    with host.entered():
        try:
            before = Path("/proc/sys", path).read_text()
            Path("/proc/sys", path).write_text(str(size))
        except OSError:
            pytest.skip("net.core.optmem_max is not of a network namespace before Linux 6.8")
        assert int(Path("/proc/sys", path).read_text()) == size
    try:
        yield
    finally:
        with host.entered():
            Path("/proc/sys", path).write_text(before)


@pytest.mark.parametrize("size", [20480, 4096])
def test_the_filter_is_replaced_where_sockets_have_little_memory(lab, us, drive, size):
    """However many VIPs there are, and however they lie; coarser, if need be, but never the former ones."""
    with optmem(us, size):
        for n in (2, 60, 128, 5000, 40, 49, 60):
            last4, last6 = near(2 * (n - 1)), f"2001:db8:18::{2 * (n - 1):x}"
            drive(f"vips-many {n} {MARK4}")
            send(lab.client, na(last6), arp(1, last4, last4), mark(4))
            assert {c[0] for c in drive.hear(MARK4)} == {last4, last6, MARK4}


def near(i):
    """The i-th address of vips-many's range, IPv4: odd ones are none of its."""
    return f"198.{18 + (i >> 16)}.{i >> 8 & 255}.{i & 255}"


# Exact as long as there is room in the kernel's program; with more, what lies between is looked at by us.
@pytest.mark.parametrize("n", [1, 40, 5000])
def test_a_busy_lan_wakes_nobody_whatever_the_number_of_vips(lab, drive, n):
    """Ten thousand claims, probes and advertisements of other addresses, most of them beside ours."""
    last = near(2 * (n - 1))
    drive(f"vips-many {n} {MARK4}")
    beside = [2 * (i * 7 % n) + 1 for i in range(500)] if n <= 40 else [2 * n + 1 + 2 * i for i in range(500)]
    noise = [arp(1, near(i), near(i)) for i in beside] + [arp(1, "0.0.0.0", near(i)) for i in beside]
    noise += [na(f"2001:db8:18::{i >> 8:x}:{i & 255:x}") for i in beside] if n <= 40 else []
    frames = [bytes(f) for f in noise]
    listening = f"hear 60000 {MARK4}"
    drive.begin(listening)
    with raw(lab.client) as sock:
        for i in range(10000):
            sock.send(frames[i % len(frames)])
    send(lab.client, mark(4))
    *claims, wakes = drive.finish(listening)
    assert [c.split()[1] for c in claims] == [MARK4]
    assert wakes == "wakes 1"
    for frame, vip in ((arp(1, last, last), last), (arp(1, near(0), near(0)), near(0)), (na("2001:db8:18::"), "2001:db8:18::")):
        send(lab.client, frame)
        assert drive.hear(vip)[-1][0] == vip


PROBES = {
    "ARP": (VIP4, lambda: arp(1, "0.0.0.0", VIP4)),
    "NS": (VIP6, lambda: Ether(src=MAC, dst="33:33:ff:00:00:c8") / IPv6(src="::", dst="ff02::1:ff00:c8") /
           ICMPv6ND_NS(tgt=VIP6)),
}


@pytest.mark.parametrize("kind", PROBES)
def test_a_probe_is_heard_for_what_is_held_alone(lab, us, drive, kind):
    vip, build = PROBES[kind]
    give(us, vip)  # its solicited-node group is joined
    heard = lambda: [line.split() for line in drive(f"hear 5000 {mark_of(vip)}")[:-1]]
    drive(f"held {vip}")
    send(lab.client, build(), mark(6 if ":" in vip else 4))
    assert heard() == [["asked", vip, MAC, "eth0", "other"], ["claim", mark_of(vip), MAC, "eth0", "other"]]
    drive(f"held {mark_of(vip)}")
    send(lab.client, build(), mark(6 if ":" in vip else 4))
    assert heard() == [["claim", mark_of(vip), MAC, "eth0", "other"]]


def test_the_form_of_a_claim_is_told(lab, us, drive):
    forms = {"request": arp(1, VIP4, VIP4), "reply": arp(2, VIP4, VIP4), "use": arp(1, VIP4, "192.0.2.50"),
             "answer": arp(2, VIP4, us.ip4, dst=us.mac)}
    drive("forms")
    send(lab.client, *forms.values(), mark(4))
    assert [c[-1] for c in drive.hear(MARK4)] == [*forms, "reply"]
    send(lab.client, na(VIP6), na(VIP6, dst=us.mac, ip=link_local(us), s=1), mark(6))
    assert [c[-1] for c in drive.hear(MARK6)] == ["advert", "answer", "advert"]


def test_the_neighbour_table_names_a_mac(us, drive):
    mac, many = "00:00:5e:00:53:55", [f"192.0.2.{i}" for i in range(150, 160)]
    add = lambda ip, to=mac: us.ip("neigh", "replace", ip, "lladdr", to, "dev", "eth0", "nud", "stale")
    try:
        assert drive(f"neighbours eth0 {mac}") == []
        add("fe80::55")
        add("2001:db8::55")
        add("192.0.2.55")
        add("192.0.2.56", "00:00:5e:00:53:56")
        us.ip("neigh", "replace", "192.0.2.57", "dev", "eth0", "nud", "failed")
        assert drive(f"neighbours eth0 {mac}") == ["192.0.2.55", "2001:db8::55", "fe80::55"]
        assert drive(f"neighbours lo {mac}") == []
        for ip in many:
            add(ip)
        assert drive(f"neighbours eth0 {mac}") == ["192.0.2.55", *many[:7]]  # the first eight
    finally:
        us.ip("neigh", "flush", "dev", "eth0")


def test_one_dispatch_reads_no_more_than_its_budget(lab, drive):
    with raw(lab.client) as sock:
        for i in range(150):
            sock.send(bytes(arp(1, VIP4, VIP4)))
    counts = []
    wait_for(lambda: counts.append(len(drive("dispatch"))) or sum(counts) >= 150, what="150 claims")
    assert sum(counts) == 150
    assert max(counts) == BUDGET


def test_a_flood_of_claims_loses_some_and_does_no_harm(lab, drive):
    frame = bytes(arp(1, VIP4, VIP4))
    with raw(lab.client) as sock:
        for i in range(5000):
            sock.send(frame)
    for _ in range(5000 // BUDGET + 2):
        if not drive("dispatch"):
            break
    send(lab.client, mark(4))
    assert drive.hear(MARK4)[-1][0] == MARK4


# ---- asking -----------------------------------------------------------------------------------

# VIP, from where, what an answer is
QUESTIONS = {
    "ARP": (VIP4, lambda us: "-", "reply"),
    "NS": (VIP6, link_local, "reply"),
    "NS from ::": (VIP6, lambda us: "-", "other"),
}


@pytest.mark.parametrize("present", [False, True], ids=["not here", "here too"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_who_has_the_vip_answers(us, other, drive, question, present):
    vip, own, kind = QUESTIONS[question]
    give(other, vip)
    if present:
        give(us, vip)
    for _ in range(3):
        drive(f"probe eth0 {own(us)} {vip}")
        assert drive.hear(vip) == [(vip, other.mac, "eth0", kind)]
    if present:
        # That somebody else has it is no reason for the kernel to give it up.
        assert vip in us.addresses()
        assert not {"tentative", "dadfailed"} & us.addresses()[vip].keys()


@pytest.mark.parametrize("present", [False, True], ids=["not here", "here alone"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_who_does_not_have_it_is_silent(us, other, drive, question, present):
    vip, own, kind = QUESTIONS[question]
    if present:
        give(us, vip)
    give(other, mark_of(vip))
    drive(f"probe eth0 {own(us)} {vip}")
    drive(f"probe eth0 {own(us)} {mark_of(vip)}")
    assert drive.hear(mark_of(vip)) == [(mark_of(vip), other.mac, "eth0", kind)]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_as_the_rfcs_have_it(lab, us, drive, question):
    vip, own, _ = QUESTIONS[question]
    with tapped(lab.client) as frames:
        drive(f"probe eth0 {own(us)} {vip}")
        frame = wait_for(lambda: next((f for f in frames() if asks_for(f, vip)), None), what="the question")
    assert frame.src == us.mac
    if ARP in frame:
        assert (frame.dst, frame[ARP].hwsrc, frame[ARP].psrc, frame[ARP].hwdst) == (ALL, us.mac, "0.0.0.0", NOBODY)
        return
    assert (frame.dst, frame[IPv6].dst, frame[IPv6].hlim) == ("33:33:ff:00:00:c8", "ff02::1:ff00:c8", 255)
    if question == "NS":
        assert (frame[IPv6].src, frame[ICMPv6NDOptSrcLLAddr].lladdr) == (link_local(us), us.mac)
    else:
        assert frame[IPv6].src == "::"
        assert ICMPv6NDOptSrcLLAddr not in frame
    sum_sent = frame[ICMPv6ND_NS].cksum
    del frame[ICMPv6ND_NS].cksum
    assert Ether(bytes(frame))[ICMPv6ND_NS].cksum == sum_sent


def asks_for(frame, vip):
    return (ARP in frame and frame[ARP].pdst == vip) or (ICMPv6ND_NS in frame and frame[ICMPv6ND_NS].tgt == vip)


def test_asking_where_it_cannot_be_is_an_error(us, drive, second_nic):
    with pytest.raises(DriverError, match=f"probing {VIP4}: lo is not an Ethernet interface") as e:
        drive(f"probe lo - {VIP4}")
    assert e.value.errno == errno.EPFNOSUPPORT
    us.ip("link", "set", "eth1", "down")
    for vip in (VIP4, VIP6):
        with pytest.raises(DriverError, match=f"probing {vip} on eth1") as e:
            drive(f"probe eth1 - {vip}")
        assert e.value.errno == errno.ENETDOWN


def test_without_the_right_capability_the_error_names_it(us):
    process = us.spawn(["setpriv", "--bounding-set=-net_raw", "--inh-caps=-all", "--", DRIVER],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "packet socket for listening (CAP_NET_RAW)" in err


# ---- announcing past the gate -----------------------------------------------------------------

@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_an_announcement_passes_an_egress_that_drops_it(lab, us, drive, vip):
    """A classic BPF filter at clsact egress that returns TC_ACT_SHOT for all of ARP and IPv6."""
    def sent(*flags, dropped=False):
        with tapped(lab.client) as frames:
            for flag in flags:
                with pytest.raises(DriverError) if dropped else contextlib.nullcontext() as e:
                    drive(f"announce eth0 {vip} {flag}")
                if dropped:
                    assert e.value.errno == errno.ENOBUFS
            drive(f"announce eth0 {mark_of(vip)} 2")
            seen = []

            def marked():
                seen.extend(claimed_by(f) for f in frames() if f.src == us.mac)
                return mark_of(vip) in seen
            wait_for(marked, what="the mark")
        return seen.count(vip)

    rounds = 2 if vip == VIP4 else 1
    assert sent(0) == rounds
    us.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"])
    try:
        for protocol in ("arp", "ipv6"):
            us.run(["tc", "filter", "add", "dev", "eth0", "egress", "protocol", protocol, "bpf", "da",
                    "bytecode", "1,6 0 0 2"])
        assert sent(0, dropped=True) == 0
        assert sent(2) == rounds
    finally:
        us.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])


def claimed_by(frame):
    if ARP in frame:
        return frame[ARP].psrc
    return frame[ICMPv6ND_NA].tgt if ICMPv6ND_NA in frame else None


# ---- the ARP guard ----------------------------------------------------------------------------

def answers(lab, vip):
    """The MACs that answer an ARP request for a VIP; the asking host is the client."""
    with tapped(lab.client) as frames:
        # node2 answers for its own address behind all that was asked before: from then on nothing more comes.
        seen = []
        for target in (vip, vip, lab.nodes[1].ip4):
            send(lab.client, arp(1, lab.client.ip4, target, mac=lab.client.mac))

            def answered():
                seen.extend((f[ARP].psrc, f[ARP].hwsrc) for f in frames() if ARP in f and f[ARP].op == 2)
                return target == vip or any(ip == target for ip, _ in seen)
            wait_for(answered, what=f"an answer for {target}")
    return {mac for ip, mac in seen if ip == vip}


def test_one_interface_alone_answers_for_a_vip(lab, us, drive, second_nic):
    give(us, VIP4, MARK4)
    assert us.sysctl_read("ipv4/conf/all/arp_ignore") == "0"
    assert answers(lab, VIP4) == {us.mac, second_nic}
    drive(f"guard {VIP4} eth0")
    assert answers(lab, VIP4) == {us.mac}
    # Other addresses are as they were, the node's own and a VIP that the guard does not know.
    assert answers(lab, us.ip4) == {us.mac, second_nic}
    assert answers(lab, MARK4) == {us.mac, second_nic}
    drive(f"guard {VIP4} eth1 {MARK4} eth0")
    assert answers(lab, VIP4) == {second_nic}
    assert answers(lab, MARK4) == {us.mac}
    drive("guard")
    assert answers(lab, VIP4) == {us.mac, second_nic}


def test_no_other_interface_asks_in_the_vips_name(lab, us, drive, second_nic):
    """arp_announce = 0: a packet from the VIP that leaves by eth1 makes eth1 ask with SPA = VIP."""
    give(us, VIP4)
    assert us.sysctl_read("ipv4/conf/all/arp_announce") == "0"
    us.ip("route", "add", "203.0.113.77", "dev", "eth1", "src", VIP4)
    us.ip("route", "add", "203.0.113.78", "dev", "eth0", "src", VIP4)
    us.ip("route", "add", "203.0.113.79", "dev", "eth1")

    def asking():
        """{(target, MAC)} of requests in the VIP's name."""
        us.ip("neigh", "flush", "all")
        with us.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        seen = []
        with tapped(lab.client) as frames, sock:
            for target in ("203.0.113.77", "203.0.113.78", "203.0.113.79"):
                sock.sendto(b"x", (target, 9))

            def asked():
                seen.extend(f[ARP] for f in frames() if ARP in f and f[ARP].op == 1)
                return {"203.0.113.77", "203.0.113.78", "203.0.113.79"} <= {a.pdst for a in seen}
            wait_for(asked, what="the requests of eth0 and eth1")
        return {(a.pdst, a.hwsrc, a.psrc) for a in seen if a.pdst != "203.0.113.79"}

    try:
        assert asking() == {("203.0.113.77", second_nic, VIP4), ("203.0.113.78", us.mac, VIP4)}
        drive(f"guard {VIP4} eth0")
        # In nobody's name: whoever is behind that interface (a Pod) must still be found.
        assert asking() == {("203.0.113.77", second_nic, "0.0.0.0"), ("203.0.113.78", us.mac, VIP4)}
    finally:
        for last in (77, 78, 79):
            us.ip("route", "del", f"203.0.113.{last}")


GUARD = """table arp leasehold {
	set vips {
		type ipv4_addr
		elements = { %s }
	}

	set homes {
		type ipv4_addr . iface_index
		elements = { %s }
	}

	chain input {
		type filter hook input priority filter; policy accept;
		arp operation request arp daddr ip @vips arp daddr ip . iif != @homes drop comment "layout 1"
	}

	chain output {
		type filter hook output priority filter; policy accept;
		arp saddr ip @vips arp saddr ip . oif != @homes arp saddr ip set 0.0.0.0 comment "layout 1"
	}
}
"""


def listing(*homes):
    return GUARD % (", ".join(ip for ip, _ in homes), ", ".join(f'{ip} . "{dev}"' for ip, dev in homes))


def handles(us):
    """Of the table and its rules: a table that is made anew has another one, its rules the same again."""
    objects = us.nft_json("list", "table", "arp", "leasehold")
    return [o[kind]["handle"] for kind in ("table", "rule") for o in objects if kind in o]


def test_a_neighbour_is_found_in_nobodys_name(lab, us, drive, second_nic):
    """A connection from the VIP through another interface: the neighbour answers a request with SPA 0."""
    give(us, VIP4)
    drive(f"guard {VIP4} eth0")
    us.ip("route", "add", f"{lab.client.ip4}/32", "dev", "eth1", "src", VIP4)
    try:
        us.ip("neigh", "flush", "all")
        with us.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.sendto(b"x", (lab.client.ip4, 9))
        wait_for(lambda: lab.client.mac in us.ip("neigh", "show", lab.client.ip4, "dev", "eth1"), what="the neighbour")
    finally:
        us.ip("route", "del", f"{lab.client.ip4}/32")


def test_nft_prints_the_guard_and_reads_its_own_listing(us, drive):
    drive(f"guard {VIP4} eth0")
    text = us.nft("list", "table", "arp", "leasehold")
    assert text == listing((VIP4, "eth0"))
    us.nft(script="delete table arp leasehold\n" + text)
    assert us.nft("list", "table", "arp", "leasehold") == text


def test_the_guard_is_what_was_put_last(us, drive, second_nic):
    drive(f"guard {VIP4} eth0")
    before = handles(us)
    assert len(before) == 3
    for words, homes in ((f"{VIP4} eth0", [(VIP4, "eth0")]), (f"{VIP4} eth1", [(VIP4, "eth1")]),
                         (f"{MARK4} eth0", [(MARK4, "eth0")]), (f"{MARK4} eth0 {MARK4} eth0", [(MARK4, "eth0")])):
        drive(f"guard {words}")
        assert us.nft("list", "table", "arp", "leasehold") == listing(*homes)
    # The rules were there already: the same ones.
    assert handles(us) == before
    drive("unguard")
    assert us.nft("list", "tables", "arp") == ""
    drive("unguard")


DAMAGE = {
    "no rules": "flush table arp leasehold",
    "a rule less": "flush chain arp leasehold output",
    "a rule more": "add rule arp leasehold input drop",
    "a rule of another layout": 'flush chain arp leasehold input; add rule arp leasehold input accept comment "layout 0"',
    "a rule twice": 'add rule arp leasehold output accept comment "layout 1"',
    "no chain": "flush chain arp leasehold input; delete chain arp leasehold input",
    "another shape": "delete table arp leasehold; add table arp leasehold;"
                     "add set arp leasehold vips { type ether_addr; };"
                     "add chain arp leasehold input { type filter hook output priority 5; }",
    "no table": "delete table arp leasehold",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_guard_is_mended(us, drive, damage):
    us.nft(script="table arp theirs { chain input { type filter hook input priority 1; counter; }; }\n")
    try:
        theirs = us.nft("list", "table", "arp", "theirs")
        drive(f"guard {VIP4} eth0")
        us.nft(script=DAMAGE[damage] + "\n")
        drive(f"guard {VIP4} eth0")
        assert us.nft("list", "table", "arp", "leasehold") == listing((VIP4, "eth0"))
        drive("unguard")
        assert us.nft("list", "tables", "arp") == "table arp theirs\n"
        assert us.nft("list", "table", "arp", "theirs").split("counter")[0] == theirs.split("counter")[0]
    finally:
        us.nft("delete", "table", "arp", "theirs")


def test_the_guard_takes_very_many_vips(us, drive):
    for n in (1, 2728, 2729, 2730, 10000):  # around one message's elements
        drive(f"guard-many {n}")
        sets = {o["set"]["name"]: o["set"]["elem"] for o in us.nft_json("list", "table", "arp", "leasehold") if "set" in o}
        assert len(sets["vips"]) == n
        assert len(sets["homes"]) == n


def test_without_net_admin_the_guard_says_so(us):
    drive = Driver(us, ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", "--"])
    for command in (f"guard {VIP4} eth0", "unguard"):
        with pytest.raises(DriverError, match="table arp leasehold") as e:
            drive(command)
        assert e.value.errno == errno.EPERM
    drive.end()
