"""What the table's rules do to real packets: how clients are spread over backends and return to them, whom a firewall lets
in, what becomes of ports that nobody serves, whose addresses backends see, what is counted, and what other tables do.
One node holds the VIPs; the elements come from plan_driver.c, through netlink/, as the agent's would."""

import collections
import contextlib
import math
import socket
import time

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.sctp import SCTP as SCTPHeader
from scapy.layers.sctp import SCTPChunkInit

from netns.asking import (SCTP, TCP, UDP, VIP4, VIP6, address_of, answers_pings, ask_tcp, ask_udp, assert_refused,
                          assert_silent, backends_of, family_of, frontend, hold, index_of, open_tcp, release, still_answers)
from netns.driver import BUILD, BUILT, Driver
from netns.lab import ECHO_PORT, ECHO_PORT_2, SLOTS4, SLOTS6, Lab, wait_for

VIPS = (VIP4, VIP6)
ROUTED4, ROUTED6 = "203.0.113.9", "2001:db8:1::9"  # on-link for the LAN, on no interface
both_families = pytest.mark.parametrize("vip", VIPS)
both_protocols = pytest.mark.parametrize("ask", [ask_tcp, ask_udp])

pytestmark = [pytest.mark.netns, pytest.mark.skipif(not BUILT, reason=f"no drivers in {BUILD}")]


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2) as made:
        for host in (made.client, made.watch, made.api):  # for what goes past the VIP
            host.ip("route", "add", "198.51.100.16/28", "via", made.nodes[0].ip4)
            host.ip("route", "add", "2001:db8:0:1::/64", "via", made.nodes[0].ip6)
        # Redirects would use up what the kernel allows a peer of ICMP errors.
        made.nodes[0].sysctls({f"ipv4/conf/{dev}/send_redirects": 0 for dev in ("all", "eth0")})
        yield made


@pytest.fixture
def drive(lab):
    """The driver on the node that holds the VIPs; what a test did there is undone."""
    node = lab.nodes[0]
    made = Driver(node)
    made("nat-ensure")
    hold(made)
    yield made
    made("nat-remove")
    release(made)
    made(f"ct-flush {VIP4} {VIP6} {ROUTED4} {ROUTED6}")
    made.end()
    for host in (lab.client, lab.watch, *lab.nodes):
        host.flush_neighbours()


def members(kind, *words):
    return [f"member {kind} {word}" for word in words]


def serve(drive, pods, *more, vips=VIPS, protos=(TCP, UDP), ports=(80,), forget=False, **kwargs):
    """The VIPs' ports lead to these pods."""
    lines = [*members("vip", *vips), *more]
    lines += [frontend(vip, proto, port, backends_of(pods, vip), **kwargs)
              for vip in vips for proto in protos for port in ports]
    drive.want(*lines, forget=forget)


def names(ask, host, vip, n=1, **kwargs):
    return [ask(host, vip, **kwargs)[0] for _ in range(n)]


def listed(node, kind, name):
    """The elements of a set or map, as nft has them in JSON."""
    found = node.nft_json("list", kind, "inet", "leasehold", name)
    return [part for o in found for part in o.get(kind, {}).get("elem", [])]


def counts(drive):
    """{words before the numbers: numbers} of nat-count."""
    found = {}
    for line in drive("nat-count 100000"):
        words = line.split()
        n = 1 if words[0] == "frontend" else 2
        found[" ".join(words[:-n])] = tuple(int(word) for word in words[-n:])
    return found


def counts_at_rest(drive):
    """The same when no packet comes any more: sets are read one after the other, and a connection's end may come between."""
    seen = [counts(drive)]

    def rests():
        time.sleep(0.05)
        seen.append(counts(drive))
        return seen[-1] == seen[-2]
    wait_for(rests, what="the last packets")
    return seen[-1]


def dropped(drive, why):
    return counts(drive)[f"drop {why}"][0]


# ---- balance ----------------------------------------------------------------------------------

@both_families
@both_protocols
@pytest.mark.parametrize("balance", ["hash", "random", "turn"])
def test_a_client_reaches_backends_on_both_nodes(lab, drive, vip, ask, balance):
    here, there = lab.pods[0], lab.pods[2]
    assert (here.node, there.node) == tuple(lab.nodes)
    serve(drive, [here, there], balance=balance, n_slots=2 if balance == "turn" else 61)
    seen = [ask(lab.client, vip) for _ in range(40)]
    assert {name for name, _ in seen} == {here.name, there.name}
    # Masqueraded: the backend saw an address of the node, never the VIP and never the client.
    assert not {address for _, address in seen} & {vip, lab.client.ip4, lab.client.ip6}


@both_families
@both_protocols
def test_turns_are_exact_for_each_port_however_ports_are_mixed(lab, drive, vip, ask):
    serve(drive, lab.pods[:3], balance="turn", n_slots=3, ports=(80, 81))
    asked = {80: [], 81: []}
    for i in range(24):
        for port in (80, 81) if i % 2 else (81,):
            asked[port] += names(ask, lab.client, vip, port=port)
    for port, found in asked.items():
        assert set(collections.Counter(found).values()) == {len(found) // 3}, port
    assert asked[81][:3] * 8 == asked[81]


@both_families
@both_protocols
def test_a_source_keeps_its_backend_and_sources_are_spread(lab, drive, vip, ask):
    serve(drive, lab.pods, balance="source")
    sources = (SLOTS6 if ":" in vip else SLOTS4)[:12]
    found = {source: set(names(ask, lab.watch, vip, n=3, source=source)) for source in sources}
    assert all(len(names_of_one) == 1 for names_of_one in found.values())
    assert len({name for one in found.values() for name in one}) >= 2


@both_families
@pytest.mark.parametrize("balance", ["hash", "source"])
def test_both_nodes_choose_the_same_backend_for_a_connection(lab, drive, vip, balance):
    other = Driver(lab.nodes[1])
    ports = range(20100, 20103)  # below the ephemeral ones: no earlier test's connection has them
    sources = (SLOTS6 if ":" in vip else SLOTS4)[:10]
    chosen = []
    try:
        for one, port in ((drive, 7010), (other, 7011)):
            one("nat-ensure")
            # The VIP's port belongs to the key of the slots, not to the hash.
            serve(one, lab.pods, protos=(UDP,), ports=(port,), balance=balance)
            hold(one)
            chosen.append([ask_udp(lab.watch, vip, port=port, source=source, source_port=p)[0]
                           for source in sources for p in ports])
            release(one)
            lab.watch.flush_neighbours()
    finally:
        release(other)
        other("nat-remove")
        other.end()
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) >= 2


def spray(host, vip, n, first=20000, port=80, source=None):
    """One datagram each from n ports."""
    with host.entered():
        for source_port in range(first, first + n):
            with socket.socket(family_of(vip), socket.SOCK_DGRAM) as sock:
                sock.bind((source or ("::" if ":" in vip else "0.0.0.0"), source_port))
                sock.sendto(b"x", (vip, port))


@both_families
@pytest.mark.parametrize("balance", ["hash", "random", "turn"])
def test_ten_thousand_connections_over_seven_backends(lab, drive, vip, balance):
    """As many each as its share of the slots says: three sigma (five at random, which is other numbers each time); by turns
    exactly."""
    pods = [f"198.51.100.{32 + i}" for i in range(2, 9)] if vip == VIP4 else [f"2001:db8:0:2::{i:x}" for i in range(32, 39)]
    lab.nodes[1].nft(script="table inet sink { chain in { type filter hook prerouting priority -400;"
                            " udp dport 9 drop; }; }\n")
    n, n_slots, port = 10000, 7 if balance == "turn" else 61, {"hash": 7001, "random": 7002, "turn": 7003}[balance]
    drive("nat-ensure counters")
    drive.want(f"member vip {vip}", *members("opened", *(f"{pod} {UDP} 9" for pod in pods)),
               frontend(vip, UDP, port, [(pod, 9) for pod in pods], balance=balance, n_slots=n_slots))
    try:
        spray(lab.client, vip, n, port=port)
        opened = {name.split()[1]: packets for name, (packets, _) in ((k, v) for k, v in counts(drive).items()
                                                                      if k.startswith("opened"))}
        assert sum(opened.values()) == n
        for i, pod in enumerate(pods):
            share = len(range(i, n_slots, len(pods))) / n_slots
            sigma = math.sqrt(n * share * (1 - share))
            bound = {"hash": 3 * sigma, "random": 5 * sigma, "turn": 1}[balance]
            assert abs(opened[pod] - n * share) <= bound, (pod, opened)
    finally:
        lab.nodes[1].nft("delete", "table", "inet", "sink")


@both_families
def test_established_connections_never_move(lab, drive, vip):
    """Not when backends come and go, the balance changes, a firewall shuts the client out, or the options change."""
    a, b, c = lab.pods[:3]
    serve(drive, [a, b], protos=(TCP,))
    with contextlib.ExitStack() as stack:
        opened = [open_tcp(lab.client, vip) for _ in range(12)]
        for sock, _, _ in opened:
            stack.enter_context(sock)
        for change in ({"pods": [a, b, c]}, {"pods": [c]}, {"pods": [c], "balance": "turn", "n_slots": 1},
                       {"pods": [a], "balance": "source", "sticky": 600}):
            serve(drive, change.pop("pods"), protos=(TCP,), **change)
            assert all(still_answers(sock, name) for sock, name, _ in opened)
        drive.want(*members("vip", *VIPS))  # no backends at all
        assert all(still_answers(sock, name) for sock, name, _ in opened)
        serve(drive, [c], "firewall default/web 1 restricted from=198.51.100.0/24", protos=(TCP,), firewall="default/web")
        drive("nat-ensure counters mark=16384 unmatched=drop")
        assert all(still_answers(sock, name) for sock, name, _ in opened)
        assert_silent(ask_tcp, lab.client, vip)


# ---- clients that return ----------------------------------------------------------------------

def returning(node, vip):
    """{client: (backend, seconds left)} as the kernel remembers them."""
    found = {}
    for key, value in listed(node, "map", f"clients{6 if ':' in vip else 4}"):
        elem = key["elem"]
        found[elem["val"]["concat"][3]] = (value["concat"][0], elem["expires"])
    return found


@both_families
@both_protocols
def test_a_returning_client_finds_its_backend_after_the_slots_have_moved(lab, drive, vip, ask):
    serve(drive, lab.pods[:2], balance="source", sticky=600)
    first = names(ask, lab.client, vip)
    known = returning(lab.nodes[0], vip)
    assert known.keys() == {address_of(lab.client, vip)}
    backend = next(pod for pod in lab.pods if pod.name == first[0])
    assert known[address_of(lab.client, vip)][0] == address_of(backend, vip)
    others = [pod for pod in lab.pods if pod.name != first[0]]
    for salt in range(3):  # another class of slots, too: its chain has another name
        serve(drive, [*others[:2], backend], balance="source", sticky=600, salt=salt, n_slots=13)
        assert names(ask, lab.client, vip, n=2) == first * 2
    # Without the memory the slots would say another: the tables above are not all the same.
    serve(drive, others[:2], balance="source")
    assert names(ask, lab.client, vip)[0] != first[0]


@both_families
def test_the_time_begins_anew_with_each_connection_and_ends(lab, drive, vip):
    a, b = lab.pods[:2]
    serve(drive, [a], balance="source", sticky=2)
    assert names(ask_udp, lab.client, vip) == [a.name]
    serve(drive, [b], balance="source", sticky=2)
    # A new connection from a new port: it returns, and the time is two seconds again.
    assert names(ask_udp, lab.client, vip) == [a.name]
    wait_for(lambda: not returning(lab.nodes[0], vip), what="the end of the client's time")
    assert names(ask_udp, lab.client, vip) == [b.name]


@both_families
def test_a_client_whose_backend_has_gone_is_sent_to_another(lab, drive, vip):
    a, b = lab.pods[:2]
    serve(drive, [a], balance="source", sticky=600)
    assert names(ask_tcp, lab.client, vip) == [a.name]
    serve(drive, [b], balance="source", sticky=600, forget=True)
    assert names(ask_tcp, lab.client, vip) == [b.name]


@both_families
def test_two_services_of_one_vip_remember_their_own_clients(lab, drive, vip):
    a, b = lab.pods[:2]
    ports = {80: a, 81: b}
    drive.want(*members("vip", vip), *(frontend(vip, TCP, port, backends_of([pod], vip), balance="source", sticky=600 + port)
                                       for port, pod in ports.items()))
    for port, pod in ports.items():
        assert names(ask_tcp, lab.client, vip, n=2, port=port) == [pod.name] * 2
    assert len(listed(lab.nodes[0], "map", f"clients{6 if ':' in vip else 4}")) == 2
    drive.want()  # what they had of their own goes with them
    assert not [o for o in lab.nodes[0].nft_json("list", "chains") if o["chain"]["name"].endswith(("80s", "81s"))]


# ---- firewall ---------------------------------------------------------------------------------

def net_of(host, vip):
    return f"{address_of(host, vip)}/{128 if ':' in vip else 32}"


@both_families
@both_protocols
def test_only_the_source_ranges_get_in(lab, drive, vip, ask):
    sources = f"from={net_of(lab.client, VIP4)} from={net_of(lab.client, VIP6)} from=198.51.100.0/25 from=2001:db8:0:1::/65"
    serve(drive, [lab.pods[2]], f"firewall default/web 1 restricted {sources}", firewall="default/web")
    assert names(ask, lab.client, vip) == [lab.pods[2].name]
    assert names(ask, lab.pods[0], vip) == [lab.pods[2].name]
    before = dropped(drive, "source-range")
    assert_silent(ask, lab.watch, vip)
    assert dropped(drive, "source-range") > before
    # Nobody's ranges could be read: nobody gets in.
    serve(drive, [lab.pods[2]], "firewall default/web 2 restricted", firewall="default/web")
    assert_silent(ask, lab.client, vip)
    # No firewall any more; its chains and sets go.
    serve(drive, [lab.pods[2]])
    assert names(ask, lab.watch, vip) == [lab.pods[2].name]
    assert "default/web" not in lab.nodes[0].nft("list", "table", "inet", "leasehold")


@both_families
def test_who_is_refused_uses_up_nothing_of_the_rate(lab, drive, vip):
    sources = f"from={net_of(lab.client, VIP4)} from={net_of(lab.client, VIP6)}"
    serve(drive, [lab.pods[2]], f"firewall default/web 1 restricted {sources} packets=1 connections=100",
          firewall="default/web")
    spray(lab.watch, vip, 50)
    assert (dropped(drive, "source-range"), dropped(drive, "rate"), dropped(drive, "connections")) == (50, 0, 0)
    assert names(ask_udp, lab.client, vip) == [lab.pods[2].name]


@both_families
@pytest.mark.parametrize("limit, passed", [("packets=1", range(5, 40)), ("bytes=1", range(20, 80))])
def test_what_is_over_the_rate_is_dropped(lab, drive, vip, limit, passed):
    """A burst of 5 packets, or of 1500 bytes of 29 or 49 each; the rate gives little more in the time that it takes."""
    drive("nat-ensure counters")
    serve(drive, [lab.pods[2]], f"firewall default/web 1 {limit}", *members("received", f"{vip} {UDP} 80"),
          firewall="default/web")
    spray(lab.client, vip, 500)
    n = counts(drive)[f"received {vip} {UDP} 80"][0]
    assert n in passed
    assert dropped(drive, "rate") == 500 - n


@both_families
def test_a_client_has_so_many_connections_at_a_time(lab, drive, vip):
    serve(drive, lab.pods[:2], "firewall default/web 1 connections=2", firewall="default/web", protos=(TCP,))
    source, other = (SLOTS6 if ":" in vip else SLOTS4)[:2]
    first, second = (open_tcp(lab.watch, vip, source=source) for _ in range(2))
    with first[0], second[0]:
        assert_silent(ask_tcp, lab.watch, vip, source=source)
        assert dropped(drive, "connections") > 0
        assert ask_tcp(lab.watch, vip, source=other)
        assert still_answers(first[0], first[1]) and still_answers(second[0], second[1])
        second[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset ends it at once
        second[0].close()
        def again():
            with contextlib.suppress(TimeoutError):
                return ask_tcp(lab.watch, vip, source=source, timeout=0.4)
        assert wait_for(again, timeout_s=30, what="room for another connection")


# ---- what nobody serves -----------------------------------------------------------------------

def crafted(host, vip, packet, answered, tries=5):
    """Sends a packet of the transport layer from a raw socket; whether an answer comes that `answered` takes."""
    with host.entered():
        sender = socket.socket(family_of(vip), socket.SOCK_RAW, socket.IPPROTO_RAW)
        hears = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86dd if ":" in vip else 0x0800))
    with sender, hears:
        hears.settimeout(0.4)
        for _ in range(tries):
            sender.sendto(bytes(packet), (vip, 0))
            with contextlib.suppress(TimeoutError):
                while True:
                    data = hears.recv(65536)
                    if answered((IPv6 if ":" in vip else IP)(data)):
                        return True
    return False


def is_unreachable(packet):
    """Port unreachable (RFC 792; RFC 4443 section 3.1)."""
    if packet.version == 4:
        return packet.proto == 1 and bytes(packet.payload)[:2] == b"\3\3"
    return packet.nh == 58 and bytes(packet.payload)[:2] == b"\1\4"


def network(host, vip, proto, payload):
    source = address_of(host, vip)
    if ":" in vip:
        return IPv6(src=source, dst=vip, nh=proto) / payload
    return IP(src=source, dst=vip, proto=proto) / payload


def init(sport=5000, dport=80):
    return SCTPHeader(sport=sport, dport=dport, tag=0) / SCTPChunkInit(init_tag=0x1234, a_rwnd=65536,
                                                                       n_out_streams=1, n_in_streams=1)


@both_families
@pytest.mark.parametrize("options", ["unmatched=reject", "unmatched=drop", "unmatched=accept"])
def test_ports_that_nobody_serves(lab, drive, vip, options):
    own = lab.start_echo(lab.nodes[0], ports=(9999,))
    try:
        drive(f"nat-ensure {options}")
        serve(drive, [lab.pods[2]])
        for ask in (ask_tcp, ask_udp):
            assert names(ask, lab.client, vip) == [lab.pods[2].name]
            if options == "unmatched=reject":
                assert_refused(ask, lab.client, vip, 9999)
            elif options == "unmatched=drop":
                assert_silent(ask, lab.client, vip, 9999)
            else:
                assert names(ask, lab.client, vip, port=9999) == ["node1"]
        for proto, payload in ((SCTP, init(dport=9999)), (50, b"ESP, say")):
            packet = network(lab.client, vip, proto, payload)
            if options != "unmatched=accept":  # else the kernel answers for itself
                reject = options == "unmatched=reject"
                assert crafted(lab.client, vip, packet, is_unreachable, tries=5 if reject else 1) == reject, proto
        assert (dropped(drive, "unmatched") > 0) == (options != "unmatched=accept")
        assert answers_pings(lab.client, vip)
        # The node's own ports are none of the VIP's.
        assert names(ask_tcp, lab.client, address_of(lab.nodes[0], vip), port=9999) == ["node1"]
    finally:
        own.kill9()


@both_families
@both_protocols
def test_a_service_without_backends_is_refused(lab, drive, vip, ask):
    drive.want(*members("vip", *VIPS))
    assert_refused(ask, lab.client, vip)


@both_families
@both_protocols
@pytest.mark.parametrize("options", ["unmatched=reject", "unmatched=drop"])
def test_a_vip_without_an_address_is_served_and_refused_where_it_would_be_forwarded(lab, drive, vip, ask, options):
    routed = ROUTED6 if ":" in vip else ROUTED4
    node = lab.nodes[0]
    drive(f"nat-ensure {options}")
    lab.client.ip("route", "add", routed, "via", address_of(node, vip))
    node.ip("route", "add", routed, "via", address_of(lab.api, vip))  # where the node would send it
    try:
        serve(drive, [lab.pods[2]], *members("routed", routed), vips=(routed,))
        assert names(ask, lab.client, routed) == [lab.pods[2].name]
        (assert_refused if options == "unmatched=reject" else assert_silent)(ask, lab.client, routed, 9999)
        assert dropped(drive, "unmatched") > 0
    finally:
        lab.client.ip("route", "del", routed)
        node.ip("route", "del", routed)


@both_families
def test_a_udp_client_that_was_early_reaches_the_backends_later(lab, drive, vip):
    """Its datagrams must not be answered by the node meanwhile: conntrack would keep that up."""
    drive.want(*members("vip", *VIPS))
    own = lab.start_echo(lab.nodes[0], ports=(80,))
    try:
        assert_refused(ask_udp, lab.client, vip, source_port=20100)
        serve(drive, [lab.pods[2]])
        assert ask_udp(lab.client, vip, source_port=20100)[0] == lab.pods[2].name
    finally:
        own.kill9()


def test_a_frontend_whose_slots_are_missing_is_refused_and_hurts_no_other(lab, drive):
    serve(drive, [lab.pods[0]], ports=(80, 81), n_slots=13)
    for proto in ("tcp", "udp"):
        lab.nodes[0].nft("delete element inet leasehold slots4 { %s }" % ", ".join(
            f"{VIP4} . {proto} . 81 . {i}" for i in range(13)))
    for ask in (ask_tcp, ask_udp):
        assert_refused(ask, lab.client, VIP4, 81)
    assert names(ask_tcp, lab.client, VIP4) == [lab.pods[0].name]


# ---- whose address the backends see -----------------------------------------------------------

@both_families
@both_protocols
def test_clients_of_a_local_policy_keep_their_addresses(lab, drive, vip, ask):
    node, pod = lab.nodes[0], lab.pods[0]
    serve(drive, [pod], *members("keep", *VIPS), *members("hairpin", pod.ip4, pod.ip6), *members("local", pod.ip4, pod.ip6),
          *members("home", *(f"{v} {index_of(node)}" for v in VIPS)))
    assert ask(lab.client, vip) == (pod.name, address_of(lab.client, vip))
    # Another pod of the node, too; but not the backend itself, nor the node, whose source would be the VIP.
    assert ask(lab.pods[1], vip) == (pod.name, address_of(lab.pods[1], vip))
    for host in (pod, node):
        name, seen = ask(host, vip)
        assert name == pod.name
        assert seen not in (vip, address_of(pod, vip))


@both_families
@both_protocols
def test_a_backend_a_node_and_pods_reach_the_vip(lab, drive, vip, ask):
    serve(drive, [lab.pods[0]])
    for host in (*lab.pods, *lab.nodes):
        assert names(ask, host, vip) == [lab.pods[0].name]


# ---- the user's chain -------------------------------------------------------------------------

@both_families
def test_the_users_chain_is_obeyed_in_both_directions_and_never_touched(lab, drive, vip):
    node, family = lab.nodes[0], "ip6" if ":" in vip else "ip"
    serve(drive, [lab.pods[2]])
    assert node.nft("list", "chain", "inet", "leasehold", "user-forward").split() == \
        "table inet leasehold { chain user-forward { } }".split()
    client, pod = address_of(lab.client, vip), address_of(lab.pods[2], vip)
    add = f"add rule inet leasehold user-forward {family}"
    node.nft(script=f"{add} saddr {client} udp dport {ECHO_PORT} counter drop comment \"mine\"\n"
                    f"{add} saddr {pod} tcp sport {ECHO_PORT} counter drop\n")
    rules = node.nft("-a", "-s", "list", "chain", "inet", "leasehold", "user-forward")
    for ask in (ask_tcp, ask_udp):
        assert_silent(ask, lab.client, vip)
    assert names(ask_udp, lab.watch, vip) == [lab.pods[2].name]
    # What is forwarded without us does not come by.
    assert ask_udp(lab.client, address_of(lab.pods[0], vip), ECHO_PORT)[0] == lab.pods[0].name
    drive("nat-ensure counters unmatched=drop mark=16384")
    node.nft("flush", "chain", "inet", "leasehold", "filter-forward")
    drive("nat-ensure")
    assert node.nft("-a", "-s", "list", "chain", "inet", "leasehold", "user-forward") == rules
    assert_silent(ask_udp, lab.client, vip)


# ---- router mode ------------------------------------------------------------------------------

def reaches_pod(lab, vip):
    with contextlib.suppress(TimeoutError):
        return ask_tcp(lab.client, address_of(lab.pods[0], vip), ECHO_PORT, timeout=0.4)[0] == lab.pods[0].name
    return False


@both_families
def test_a_router_drops_what_is_not_allowed(lab, drive, vip):
    node = lab.nodes[0]
    own, world = lab.start_echo(node, ports=(22, 179, 9999)), lab.start_echo(lab.api)
    address = address_of(node, vip)
    try:
        serve(drive, [lab.pods[0]])
        assert reaches_pod(lab, vip) and answers_pings(lab.client, address)
        drive("nat-ensure public=eth0")
        for host in (lab.client, node):
            host.flush_neighbours()  # they find each other again: ARP, and neighbour discovery (RFC 4890)
        assert names(ask_tcp, lab.client, vip) == [lab.pods[0].name]
        for port in (22, 179, 9999):
            assert_silent(ask_tcp, lab.client, address, port)
        assert_silent(ask_udp, lab.client, address, 9999)
        assert not reaches_pod(lab, vip) and not answers_pings(lab.client, address, timeout=0.4)
        assert not answers_pings(lab.client, vip, timeout=0.4)
        assert dropped(drive, "router") > 0
        # From inside all goes on: pods and the node reach the world and hear its answers.
        assert ask_tcp(lab.pods[1], address_of(lab.api, vip), ECHO_PORT)[0] == "api"
        assert ask_udp(node, address_of(lab.api, vip), ECHO_PORT)[0] == "api"
        assert ask_tcp(lab.pods[1], address, 9999)[0] == "node1"
    finally:
        own.kill9()
        world.kill9()


@both_families
def test_a_router_lets_in_what_is_allowed(lab, drive, vip):
    node = lab.nodes[0]
    own = lab.start_echo(node, ports=(22, 179, 9999))
    address = address_of(node, vip)
    try:
        serve(drive, [lab.pods[0]])
        drive("nat-ensure public=eth1 public=eth0 allow=ssh allow=bgp allow=icmp allow=vrrp")
        for port in (22, 179):
            assert names(ask_tcp, lab.client, address, port=port) == ["node1"]
        assert_silent(ask_tcp, lab.client, address, 9999)
        assert answers_pings(lab.client, address)
        # With administrators SSH is theirs, and all else, too.
        drive(f"nat-ensure public=eth0 allow=ssh allow=bgp admin={net_of(lab.watch, VIP4)} admin={net_of(lab.watch, VIP6)}")
        assert_silent(ask_tcp, lab.client, address, 22)
        assert names(ask_tcp, lab.client, address, port=179) == ["node1"]
        assert not answers_pings(lab.client, address, timeout=0.4)
        for port in (22, 9999):
            assert names(ask_tcp, lab.watch, address, port=port) == ["node1"]
        assert ask_tcp(lab.watch, address_of(lab.pods[0], vip), ECHO_PORT)[0] == lab.pods[0].name
        drive("nat-ensure")
        assert names(ask_tcp, lab.client, address, port=9999) == ["node1"]
        assert not [o for o in node.nft_json("list", "chains") if o["chain"]["name"].startswith("router-")]
    finally:
        own.kill9()


@both_families
def test_a_router_lets_in_vrrp(lab, drive, vip):
    """An advertisement (protocol 112) reaches a program of the node only where it is allowed."""
    node = lab.nodes[0]
    packet = network(lab.client, address_of(node, vip), 112, b"\x31\x07\x64\x00\x00\x64\x00\x00")
    with node.entered():
        sock = socket.socket(family_of(vip), socket.SOCK_RAW, 112)
    with sock:
        sock.settimeout(0.4)
        for options, heard in (("public=eth0", False), ("public=eth0 allow=vrrp", True)):
            drive(f"nat-ensure {options}")
            with lab.client.entered():
                sender = socket.socket(family_of(vip), socket.SOCK_RAW, socket.IPPROTO_RAW)
            with sender:
                sender.sendto(bytes(packet), (address_of(node, vip), 0))
            try:
                assert sock.recv(2048) and heard
            except TimeoutError:
                assert not heard


# ---- beside other tables ----------------------------------------------------------------------

KUBE_PROXY = """*filter
:FORWARD DROP [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-POSTROUTING - [0:0]
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
"""


@both_families
@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_mark_passes_kube_proxys_forward_chain_and_none_of_its_masquerade(lab, drive, vip, variant):
    node, pod = lab.nodes[0], lab.pods[0]
    tool = f"{'ip6' if ':' in vip else 'ip'}tables-{variant}"
    restore(node, tool, KUBE_PROXY)
    try:
        serve(drive, [pod], *members("keep", *VIPS))
        for ask in (ask_tcp, ask_udp):
            assert_silent(ask, lab.client, vip)
        drive("nat-ensure mark=16384")
        for ask in (ask_tcp, ask_udp):
            assert ask(lab.client, vip) == (pod.name, address_of(lab.client, vip))
        masqueraded = node.run([tool, "-t", "nat", "-vxnL", "KUBE-POSTROUTING"]).splitlines()
        assert [line.split()[0] for line in masqueraded if "MASQUERADE" in line] == ["0"]
        # Nothing but the VIPs' connections is let through.
        assert not reaches_pod(lab, vip)
    finally:
        for table in ("filter", "nat"):
            restore(node, tool, f"*{table}\n" + (":FORWARD ACCEPT [0:0]\n" if table == "filter" else "") + "COMMIT\n")


def restore(host, tool, text):
    process = host.spawn([f"{tool}-restore"], stdin=-1, stdout=-1, stderr=-1, text=True)
    _, err = process.communicate(text, timeout=30)
    host.processes.remove(process)
    assert process.returncode == 0, err


# ---- SCTP -------------------------------------------------------------------------------------

@both_families
def test_sctp_goes_to_a_backend_and_its_answer_comes_from_the_vip(lab, drive, vip):
    """Crafted packets: this kernel need not have SCTP sockets."""
    pods = lab.pods[:3]
    serve(drive, pods, protos=(SCTP,), ports=(9000,))
    ether = 0x86dd if ":" in vip else 0x0800
    layer = IPv6 if ":" in vip else IP
    seen = collections.Counter()
    hears = {}
    for host in (*pods, lab.client):
        with host.entered():
            hears[host] = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ether))
        hears[host].settimeout(0.2)
    with lab.client.entered():
        sender = socket.socket(family_of(vip), socket.SOCK_RAW, socket.IPPROTO_RAW)

    def sctp_at(host):
        with contextlib.suppress(TimeoutError):
            while True:
                data, where = hears[host].recvfrom(65536)
                packet = layer(data)
                if where[2] != socket.PACKET_OUTGOING and (packet.nh if ":" in vip else packet.proto) == SCTP:
                    return packet
        return None
    try:
        for sport in range(5000, 5008):
            sender.sendto(bytes(network(lab.client, vip, SCTP, init(sport=sport, dport=9000))), (vip, 0))
            arrived = [(pod, packet) for pod in pods if (packet := sctp_at(pod))]
            assert len(arrived) == 1
            pod, packet = arrived[0]
            seen[pod.name] += 1
            assert (packet.dst, packet[SCTPHeader].dport) == (address_of(pod, vip), ECHO_PORT)
            answer = layer(src=packet.dst, dst=packet.src) / SCTPHeader(
                sport=ECHO_PORT, dport=packet[SCTPHeader].sport, tag=0x1234
            ) / b"\2\0\0\x14\0\0\x56\x78\0\1\0\0\0\1\0\1\0\0\0\1"
            if ":" not in vip:
                answer.proto = SCTP
            else:
                answer.nh = SCTP
            with pod.entered(), socket.socket(family_of(vip), socket.SOCK_RAW, socket.IPPROTO_RAW) as back:
                back.sendto(bytes(answer), (packet.src, 0))
            came = sctp_at(lab.client)
            assert came and (came.src, came[SCTPHeader].sport, came[SCTPHeader].dport) == (vip, 9000, sport)
    finally:
        for sock in (*hears.values(), sender):
            sock.close()
    assert len(seen) >= 2


# ---- counters ---------------------------------------------------------------------------------

def counted(vip, pods, proto, port=80):
    return [*members("received", f"{vip} {proto} {port}"), *members("sent", f"{vip} {proto} {port}"),
            *(line for pod in pods for kind in ("backend", "opened")
              for line in members(kind, f"{address_of(pod, vip)} {proto} {ECHO_PORT}"))]


@both_families
def test_packets_bytes_and_connections_are_counted(lab, drive, vip):
    pods, n = [lab.pods[0], lab.pods[2]], 9
    wanted = [line for proto in (TCP, UDP) for line in counted(vip, pods, proto)]
    serve(drive, pods, *wanted, vips=(vip,), protos=(TCP, UDP), balance="turn", n_slots=2)
    names(ask_udp, lab.client, vip, n=2)
    assert not any(packets for name, (packets, *_) in counts(drive).items()
                   if name.split()[0] in ("received", "sent", "backend", "opened"))
    drive("nat-ensure counters")
    answers = names(ask_udp, lab.client, vip, n=n)
    found = counts(drive)
    head = 48 if ":" in vip else 28
    assert found[f"received {vip} 17 80"] == (n, n * (head + len("there and back")))
    assert found[f"sent {vip} 17 80"][0] == n
    assert found[f"sent {vip} 17 80"][1] > n * (head + len("there and back|pod1-1|"))
    for pod in pods:
        end = f"{address_of(pod, vip)} 17 {ECHO_PORT}"
        one = answers.count(pod.name)
        assert found[f"backend {end}"] == (one, one * (head + len("there and back")))
        assert found[f"opened {end}"][0] == one
    assert found[f"frontend {vip} 17 80"] == (n + 2,)
    # A TCP connection has many packets and is one connection; from the node itself, too.
    names(ask_tcp, lab.client, vip, n=4)
    names(ask_tcp, lab.nodes[0], vip, n=2)
    found = counts_at_rest(drive)
    opened = sum(found[f"opened {address_of(pod, vip)} 6 {ECHO_PORT}"][0] for pod in pods)
    packets = sum(found[f"backend {address_of(pod, vip)} 6 {ECHO_PORT}"][0] for pod in pods)
    assert (opened, found[f"frontend {vip} 6 80"]) == (6, (6,))
    assert packets == found[f"received {vip} 6 80"][0] > 6 * 4
    assert found[f"sent {vip} 6 80"][0] >= 6 * 3


@both_families
def test_connections_to_a_backend_on_the_node_itself_are_counted_and_remembered(lab, drive, vip):
    node = lab.nodes[0]
    own = lab.start_echo(node, ports=(7000,))
    try:
        drive("nat-ensure counters")
        end = f"{address_of(node, vip)} 6 7000"
        drive.want(*members("vip", vip), *members("opened", end), *members("backend", end),
                   *(line for kind in ("received", "sent") for line in members(kind, f"{vip} 6 80")),
                   frontend(vip, TCP, 80, [(address_of(node, vip), 7000)], balance="source", sticky=600))
        assert names(ask_tcp, lab.client, vip, n=3) == ["node1"] * 3
        found = counts(drive)
        assert found[f"opened {end}"][0] == 3
        assert found[f"backend {end}"][0] > 3 * 3
        assert found[f"sent {vip} 6 80"][0] >= 3 * 3
        assert returning(node, vip)[address_of(lab.client, vip)][0] == address_of(node, vip)
    finally:
        own.kill9()


@both_families
@pytest.mark.parametrize("client, backend", [("node", "node"), ("node", "pod"), ("pod", "pod"), ("watch", "node")])
def test_each_packet_is_counted_once_whoever_sends_and_answers_it(lab, drive, vip, client, backend):
    """What the node sends to itself comes by the loopback interface, too."""
    node, pod = lab.nodes[0], lab.pods[0]
    hosts = {"node": node, "pod": pod, "watch": lab.watch}
    host, port = hosts[backend], ECHO_PORT if backend == "pod" else 7000
    own = lab.start_echo(node, ports=(7000,))
    try:
        drive("nat-ensure counters")
        end = f"{address_of(host, vip)} {UDP} {port}"
        drive.want(*members("vip", vip), *members("backend", end),
                   *(line for kind in ("received", "sent") for line in members(kind, f"{vip} {UDP} 80")),
                   frontend(vip, UDP, 80, [(address_of(host, vip), port)]))
        n = len(names(ask_udp, hosts[client], vip, n=5))
        found = counts(drive)
        assert [found[name][0] for name in (f"received {vip} {UDP} 80", f"backend {end}", f"sent {vip} {UDP} 80")] == [n] * 3
    finally:
        own.kill9()


@both_families
def test_what_others_send_to_a_backend_is_not_counted(lab, drive, vip):
    node, pod = lab.nodes[0], lab.pods[0]
    other = "203.0.113.77" if vip == VIP4 else "2001:db8:1::77"
    family = "ip6" if ":" in vip else "ip"
    target = f"[{pod.ip6}]" if ":" in vip else pod.ip4
    drive("nat-ensure counters")
    serve(drive, [pod], *counted(vip, [pod], UDP), vips=(vip,), protos=(UDP,))
    node.nft(script=f"table {family} other {{ chain p {{ type nat hook prerouting priority -100; "
                    f"{family} daddr {other} udp dport 80 dnat to {target}:{ECHO_PORT}; }}; }}\n")
    lab.client.ip("route", "add", other, "via", address_of(node, vip))
    try:
        assert names(ask_udp, lab.client, other) == [pod.name]
        assert counts(drive)[f"backend {address_of(pod, vip)} 17 {ECHO_PORT}"] == (0, 0)
        assert counts(drive)[f"opened {address_of(pod, vip)} 17 {ECHO_PORT}"][0] == 0
    finally:
        lab.client.ip("route", "del", other)
        node.nft("delete", "table", family, "other")


def test_drops_of_the_guard_are_counted(lab, drive):
    """What comes from a backend to a VIP without a connection that is known."""
    pod = lab.pods[2]
    serve(drive, [pod], *members("guard", f"{pod.ip4} {UDP} {ECHO_PORT_2}"))
    with pod.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with contextlib.suppress(OSError):
            sock.bind((pod.ip4, ECHO_PORT_2))
        before = dropped(drive, "invalid")
        sock.sendto(b"an answer to nobody", (VIP4, 80))
    wait_for(lambda: dropped(drive, "invalid") == before + 1, what="the drop to be counted")

