"""Connections outlive the holder of their VIP: it moves between two nodes, by plan and by crash, there and back,
and whoever was connected stays so, wherever the backend is (a pod of either node, a machine on the LAN).  What makes
it so is taken away in turn (source NAT to the VIP, guard, zone, the former holder's backends), and then connections do die.

No agent here: the node's part is played by kernel_driver.c and plan_driver.c, through netlink/, as the agent would."""

import contextlib
import ipaddress
import select
import socket
import threading
import time

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from netns.asking import TCP, UDP, VIP4, VIP6, ask_tcp, ask_udp, family_of, index_of
from netns.driver import BUILD, BUILT, Driver
from netns.lab import ECHO_PORT, Lab, wait_for
from netns.test_plan import frontend

CLIENTS = 12  # connections of each kind in a test
FLOWS = 40  # so many new ones meet every backend
ALL = ("pod1-1", "pod2-1", "lan")
PADDING = b"." * 3000  # of a line: windows move on
PATIENCE_S = 10  # for retransmissions after some darkness

pytestmark = [pytest.mark.netns, pytest.mark.skipif(not BUILT, reason=f"no drivers in {BUILD}")]


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2) as made:
        made.lan_backend = made.api
        made.start_echo(made.api, name="lan")
        yield made


@pytest.fixture
def nodes(lab):
    """A driver on each node; afterwards the kernel is as it was."""
    made = [Driver(node) for node in lab.nodes]
    yield made
    lab.heal()
    for drive in made:
        for vip in (VIP4, VIP6):
            drive(f"addr-del {index_of(drive.host)} {vip}")
        drive(f"ct-flush {VIP4} {VIP6}")
        drive("nat-remove")
        drive.end()
    for host in (lab.client, lab.api, *lab.nodes):
        host.flush_neighbours()


def address_of(host, vip):
    return host.ip6 if ":" in vip else host.ip4


def load(drive, vip, pods, snat=True, extra=()):
    """What an agent loads on a candidate: VIP, guards, homes, local backends, then the frontends."""
    backends = [(address_of(pod, vip), ECHO_PORT) for pod in pods] + [(a, ECHO_PORT) for a in extra]
    local = [address_of(pod, vip) for pod in pods if getattr(pod, "node", None) is drive.host]
    drive("nat-ensure")
    drive.want_more(f"member vip {vip}",
                    *(f"member guard {address} {proto} {port}" for address, port in backends for proto in (TCP, UDP)),
                    *([f"member home {vip} {index_of(drive.host)}", *(f"member local {a}" for a in local)] if snat else []),
                    *(frontend(vip, proto, 80, *backends, n_slots=61) for proto in (TCP, UDP)))


def hold(drive, vip):
    drive(f"addr-put {index_of(drive.host)} {vip} 300")
    drive("watch 0")
    drive(f"announce eth0 {vip} 1")


def leave(drive, vip, flush=True):
    drive(f"addr-del {index_of(drive.host)} {vip}")
    if flush:
        drive(f"ct-flush {vip}")


def move(frm, to, vip, flush=True):
    """A planned move: nobody answers for a moment."""
    leave(frm, vip, flush)
    hold(to, vip)


# ---- connections ------------------------------------------------------------------------------

class Talk:
    """A TCP connection to the VIP with its backend's name, and the client's address as the backend sees it.

    Who hears nothing says another line: the new holder learns of a connection from its client alone, so one whose
    client is silent lasts until it speaks (or its kernel does: keepalive)."""

    def __init__(self, host, vip):
        with host.entered():
            self.sock = socket.socket(family_of(vip), socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect((vip, 80))
        self.port = self.sock.getsockname()[1]
        self.said = self.heard = 0
        greeting, self.unread = b"", b""
        while b"\n" not in greeting:
            greeting += self.sock.recv(4096)
        self.name, self.seen, _ = greeting.decode().split()
        self.sock.settimeout(1)

    def say(self):
        self.said += 1
        self.sock.sendall(b"line %d %s\n" % (self.said, PADDING))

    def hear(self):
        """Every line that was said has come back, in order."""
        deadline = time.monotonic() + PATIENCE_S
        while self.heard < self.said:
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                if time.monotonic() > deadline:
                    return False
                self.say()
                continue
            except OSError:
                return False
            *lines, self.unread = (self.unread + data).split(b"\n")
            for line in lines:
                self.heard += 1
                if line != b"%s line %d %s" % (self.name.encode(), self.heard, PADDING):
                    return False
            if not data:
                return False
        return True

    def lives(self):
        try:
            self.say()
        except OSError:
            return False
        return self.hear()

    def close(self):
        self.sock.close()


class UdpTalk:
    """A UDP flow likewise."""

    def __init__(self, host, vip):
        with host.entered():
            self.sock = socket.socket(family_of(vip), socket.SOCK_DGRAM)
        self.sock.settimeout(3)
        self.sock.connect((vip, 80))
        self.first = self.ask()
        self.name, self.seen, _ = self.first

    def ask(self):
        self.sock.send(b"x")
        return self.sock.recv(4096).decode().split("|")[1:]

    def lives(self):
        """The same backend, which sees the same client address and port."""
        try:
            return self.ask() == self.first
        except OSError:
            return False

    def close(self):
        self.sock.close()


@contextlib.contextmanager
def talking(host, vip, kind=Talk, n=CLIENTS, meets=()):
    """Some connections: n at least, and as many as it takes to meet these backends."""
    talks = []
    try:
        while len(talks) < n or not set(meets) <= {t.name for t in talks}:
            assert len(talks) < 20 * n, f"of {meets}, only {names(talks)} answer"
            talks.append(kind(host, vip))
        yield talks
    finally:
        for talk in talks:
            talk.close()


class Chatter(threading.Thread):
    """Keeps connections busy, so that a move meets them in the middle of a word."""

    def __init__(self, talks):
        super().__init__()
        self.talks, self.alive, self.rounds = talks, {t: True for t in talks}, 0
        self.ended = threading.Event()

    def run(self):
        while not self.ended.is_set():
            for talk in self.talks:
                self.alive[talk] = self.alive[talk] and talk.lives()
            self.rounds += 1

    def __enter__(self):
        self.start()
        wait_for(lambda: self.rounds > 1, PATIENCE_S, what="two rounds of talk")
        return self

    def settle(self):
        now = self.rounds
        wait_for(lambda: self.rounds > now + 1, 2 * PATIENCE_S, what="two more rounds of talk")

    def __exit__(self, *exc):
        self.ended.set()
        self.join()


def living(talks):
    return sorted(t.name for t in talks if t.lives())


def names(talks):
    return sorted(t.name for t in talks)


# ---- planned moves ----------------------------------------------------------------------------

@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_connections_outlive_planned_moves_there_and_back(lab, nodes, vip):
    a, b = nodes
    backends = [lab.pods[0], lab.pods[2], lab.api]
    for drive in nodes:
        load(drive, vip, backends)
    hold(a, vip)
    with talking(lab.client, vip, meets=ALL) as busy, talking(lab.client, vip, meets=ALL) as idle, \
            talking(lab.client, vip, UdpTalk, meets=ALL) as flows:
        assert {t.seen for t in (*busy, *flows)} == {vip}
        with Chatter(busy) as chatter:
            for frm, to in ((a, b), (b, a), (a, b)):
                move(frm, to, vip)
                chatter.settle()
                assert living(flows) == names(flows)
        assert all(chatter.alive.values())
        assert living(busy) == names(busy)
        assert living(idle) == names(idle)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_pods_and_backends_that_are_clients_keep_their_connections(lab, nodes, vip):
    """They are balanced by their own node, holder or not, and masqueraded: a move is none of their business."""
    a, b = nodes
    backends = [lab.pods[0], lab.pods[2], lab.api]
    for drive in nodes:
        load(drive, vip, backends)
    hold(a, vip)
    with contextlib.ExitStack() as stack:
        talks = [t for pod in lab.pods for t in stack.enter_context(talking(pod, vip, n=6, meets=ALL))]
        assert vip not in {t.seen for t in talks}
        for frm, to in ((a, b), (b, a)):
            move(frm, to, vip)
            assert living(talks) == names(talks)
    # On the holder itself, and from the machine on the LAN that is a backend of it.
    for host in (lab.nodes[0], lab.nodes[1], lab.api):
        for ask in (ask_tcp, ask_udp):
            met = set()
            wait_for(lambda: met.add(ask(host, vip)[0]) or met == set(ALL), what="an answer of every backend")


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_masqueraded_connections_do_not_outlive_a_move(lab, nodes, vip):
    """But new ones are as good as ever."""
    a, b = nodes
    for drive in nodes:
        load(drive, vip, [lab.pods[2], lab.api], snat=False)
    hold(a, vip)
    with talking(lab.client, vip, n=4) as talks:
        assert {t.seen for t in talks} == {address_of(lab.nodes[0], vip)}
        move(a, b, vip)
        assert living(talks) == []
    assert ask_tcp(lab.client, vip)[1] != vip


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_without_the_zone_a_pods_connections_do_not_outlive_the_way_back(lab, nodes, vip):
    """What node A forwarded for B stands in its conntrack when A is the holder again."""
    a, b = nodes
    for drive in nodes:
        load(drive, vip, [lab.pods[0]])
        drive.host.nft("flush chain inet leasehold zone-prerouting")
    hold(a, vip)
    with talking(lab.client, vip, n=4) as talks:
        move(a, b, vip)
        assert living(talks) == names(talks)
        move(b, a, vip)
        assert living(talks) == []


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("flush", [True, False], ids=["flush", "no-flush"])
def test_what_a_former_holder_remembers_kills_connections_that_come_back(lab, nodes, vip, flush):
    """They have gone on elsewhere, past the window that its conntrack knows."""
    a, b = nodes
    for drive in nodes:
        load(drive, vip, [lab.api])
    hold(a, vip)
    with talking(lab.client, vip, n=1) as (talk,):
        move(a, b, vip, flush)
        assert all(talk.lives() for _ in range(100))
        move(b, a, vip, flush)
        assert talk.lives() == flush


# ---- crashes ----------------------------------------------------------------------------------

def heard(tap, vip, ports, deadline):
    """Which of the client ports answers to the VIP went to, seen on a socket that hears all devices.  (Those of connections
    of earlier tests may still be sent again.)"""
    found = set()
    while found < ports and time.monotonic() < deadline:
        try:
            frame = Ether(tap.recv(4096))
        except TimeoutError:
            continue
        layer = frame.getlayer(IPv6 if ":" in vip else IP)
        if layer is not None and layer.dst == vip and layer.payload.name == "TCP" and layer.payload.sport == ECHO_PORT:
            found |= {layer.payload.dport} & ports
    return found


@contextlib.contextmanager
def hearing(host):
    with host.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with tap:
        tap.settimeout(0.2)
        yield tap


def crash_with_answers_under_way(lab, a, b, vip, talks):
    """The holder's link is cut while backends have answers that nobody has received; they send them again, and the
    new holder meets those before it meets any packet of the clients."""
    ports = {t.port for t in talks}
    with hearing(lab.nodes[0]) as tap:
        lab.lose(frm=lab.nodes[0], to=lab.client)
        for talk in talks:
            talk.say()
        assert heard(tap, vip, ports, time.monotonic() + 10) == ports
    lab.unplug(lab.nodes[0])
    lab.heal()
    silent = lab.lose(frm=lab.client, to=lab.nodes[1])
    try:
        with hearing(lab.nodes[1]) as tap:
            hold(b, vip)
            assert heard(tap, vip, ports, time.monotonic() + PATIENCE_S) == ports
    finally:
        lab.heal(silent)


@contextlib.contextmanager
def plugged_again(lab):
    try:
        yield
    finally:
        lab.heal()
        lab.plug(lab.nodes[0])
        wait_for(lab.nodes[0].carrier, what="the holder's carrier")


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("guarded", [True, False], ids=["guard", "no-guard"])
def test_connections_outlive_a_crash_with_answers_under_way(lab, nodes, vip, guarded):
    a, b = nodes
    for drive in nodes:
        load(drive, vip, [lab.pods[2], lab.api])
    if not guarded:
        lab.nodes[1].nft("flush chain inet leasehold guard-prerouting")
    hold(a, vip)
    with talking(lab.client, vip, n=8, meets=("pod2-1", "lan")) as talks, plugged_again(lab):
        crash_with_answers_under_way(lab, a, b, vip, talks)
        alive = [t for t in talks if t.hear()]
        assert len(alive) == (len(talks) if guarded else 0)
        assert living(alive) == names(alive)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_connections_outlive_a_crash_and_the_way_back(lab, nodes, vip):
    """The node that crashed forgets its connections when it finds that the VIP is no longer its own."""
    a, b = nodes
    for drive in nodes:
        load(drive, vip, [lab.pods[2], lab.api])
    hold(a, vip)
    with talking(lab.client, vip) as busy, talking(lab.client, vip) as idle, \
            talking(lab.client, vip, UdpTalk) as flows:
        with plugged_again(lab), Chatter(busy) as chatter:
            lab.unplug(lab.nodes[0])
            hold(b, vip)
            chatter.settle()
            assert all(chatter.alive.values())
            leave(a, vip)
        assert living(flows) == names(flows)
        with Chatter(busy) as chatter:
            move(b, a, vip)
            chatter.settle()
        assert all(chatter.alive.values())
        assert living(idle) == names(idle)
        assert living(flows) == names(flows)


# ---- a dead holder whose address is still up --------------------------------------------------

@contextlib.contextmanager
def dead_with_its_address(host, vip):
    """What a shut gate leaves of a holder: the VIP is its own, and it tells nobody."""
    target = int(ipaddress.ip_address(vip))
    ask = f"icmpv6 type nd-neighbor-solicit @th,64,128 {target:#034x}" if ":" in vip else f"arp daddr ip {vip}"
    family = "inet" if ":" in vip else "arp"
    host.nft(script=f"table {family} dead {{ chain in {{ type filter hook input priority 0; {ask} drop; }}; }}\n")
    try:
        yield
    finally:
        host.nft(script=f"delete table {family} dead\n")


def who_answers(host, vip, kind, patience_s):
    """New flows: {backend: the client's addresses that it saw}, and how many stay without an answer."""
    found, flows = {}, []
    with contextlib.ExitStack() as stack:
        with host.entered():
            flows = [stack.enter_context(socket.socket(family_of(vip), kind)) for _ in range(FLOWS)]
        for sock in flows:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect((vip, 80))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"x")
        deadline = time.monotonic() + patience_s
        while flows and (left := deadline - time.monotonic()) > 0:
            for sock in select.select(flows, [], [], left)[0]:
                name, seen = sock.recv(4096).decode().replace("x|", "").replace("|", " ").split()[:2]
                found.setdefault(name, set()).add(seen)
                flows.remove(sock)
    return found, len(flows)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("former", [True, False], ids=["former", "no-former"])
def test_backends_of_a_dead_holder_are_reached_while_its_address_is_up(lab, nodes, vip, former):
    """Its node drops what has its own address as the source, so new flows are masqueraded there; those that were there
    before go on by themselves when the address has gone."""
    a, b = nodes
    for drive in nodes:
        load(drive, vip, [lab.pods[0], lab.pods[2], lab.api])
    hold(a, vip)
    with talking(lab.client, vip, meets=ALL) as talks, dead_with_its_address(a.host, vip):
        hold(b, vip)
        if former:
            b(f"nat-former 600000 {address_of(lab.pods[0], vip)}")
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            found, silent = who_answers(lab.client, vip, kind, PATIENCE_S if former else 2)
            assert found == {**({"pod1-1": {address_of(b.host, vip)}} if former else {}),
                             "pod2-1": {vip}, "lan": {vip}}
            assert (silent == 0) == former
        for talk in talks:
            talk.say()
        leave(a, vip, flush=False)
        assert sorted(t.name for t in talks if t.hear()) == names(talks)


# ---- elsewhere --------------------------------------------------------------------------------

@pytest.mark.parametrize("vip, here, there", [(VIP4, "203.0.113.1", "203.0.113.2"),
                                              (VIP6, "2001:db8:2::1", "2001:db8:2::2")])
def test_a_backend_behind_another_interface_is_reached_masqueraded(lab, nodes, vip, here, there):
    """Its answers to the VIP would not come back by that way."""
    a, _ = nodes
    node, other = lab.nodes
    node.ip("link", "add", "tun0", "type", "veth", "peer", "name", "tun0", "netns", other.netns)
    server = lab.start_echo(other, name="far", wait=False)
    try:
        for host, address in ((node, here), (other, there)):
            host.ip("addr", "add", f"{address}/{64 if ':' in vip else 30}", "dev", "tun0",
                    *(["nodad"] if ":" in vip else []))
            host.ip("link", "set", "tun0", "up")
        lab.await_ready(server)
        load(a, vip, [], extra=[there])
        hold(a, vip)
        wait_for(node.links_ready, what="tun0")
        assert ask_tcp(lab.client, vip) == ("far", here)
        assert ask_udp(lab.client, vip) == ("far", here)
    finally:
        server.kill9()
        node.ip("link", "del", "tun0")


# ---- forgetting -------------------------------------------------------------------------------

def entries(host, *match):
    return host.run(["conntrack", "-L", *match], check=False).splitlines()


@pytest.mark.parametrize("vip, other", [(VIP4, VIP6), (VIP6, VIP4)])
def test_a_flush_takes_the_vips_connections_and_no_others(lab, nodes, vip, other):
    a, _ = nodes
    for address in (vip, other):
        load(a, address, [lab.pods[0]])
        hold(a, address)
    with talking(lab.client, vip, UdpTalk, n=5), talking(lab.client, other, n=3) as others, \
            talking(lab.pods[1], vip, n=2) as masqueraded:
        def count(address):
            family = ["-f", "ipv6"] if ":" in address else []
            return len(entries(lab.nodes[0], *family, "--orig-dst", address))

        before = count(other)
        assert count(vip) >= 7 and before >= 3
        (line,) = a(f"ct-flush 192.0.2.1 {VIP4}" if vip == VIP4 else f"ct-flush 192.0.2.1 2001:db8::1 {VIP6}")
        assert int(line.split()[1]) >= 5
        assert count(other) == before
        left = entries(lab.nodes[0], *(["-f", "ipv6"] if ":" in vip else []), "--orig-dst", vip)
        assert len(left) >= 2 and all(f"dst={vip} " not in line.partition("[")[0].split("src=")[2] for line in left)
        assert living(masqueraded) == names(masqueraded) and living(others) == names(others)
        assert a(f"ct-flush {vip}") == ["deleted 0"]
