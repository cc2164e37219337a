"""The laboratory and its probes tell the truth: each fault made by hand here must be reported, with
its figures, and nothing must be reported where nothing was made."""

import collections
import os
import signal
import subprocess
import time

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from netns import lab as lab_module, prober
from netns.lab import ECHO_PORT, Lab, entered, janitor, mono_ns, wait_for
from netns.probe import (Gap, NeighProbe, Sniffer, StreamsProbe, StreamsTrace, TcpProbe, Trace,
                         UdpProbe, overlaps, tenures, two_macs)

VIP4, VIP6 = "192.0.2.200", "2001:db8::c8"
MS = 10**6


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


@pytest.fixture
def holders(lab):
    """A function that gives nodes the VIPs and an echo server; undone after the test."""
    given = {}

    def give(node):
        node.ip("addr", "add", f"{VIP4}/32", "dev", "eth0")
        node.ip("addr", "add", f"{VIP6}/128", "dev", "eth0", "nodad")
        given[node] = lab.start_echo(node)
        return given[node]

    yield give
    for node, echo in given.items():
        take(node)
        if echo.poll() is None:
            echo.kill9()
    lab.heal()
    for node in lab.nodes:
        lab.plug(node)
    wait_for(lambda: all(n.carrier() for n in lab.nodes), what="carrier everywhere")
    for host in (lab.client, lab.watch):
        host.flush_neighbours()


def take(node):
    for prefix in (f"{VIP4}/32", f"{VIP6}/128"):
        if prefix.partition("/")[0] in node.addresses():
            node.ip("addr", "del", prefix, "dev", "eth0")


def send_frame(host, frame):
    """Send a frame as it stands out of a host's eth0."""
    with host.entered():
        sock = prober.packet_socket([(0x06, 0, 0, 0)], "eth0")
    with sock:
        at = mono_ns()
        sock.send(bytes(frame))
    return at


def garp(node, form="request"):
    """A gratuitous ARP for VIP4, built by scapy as a witness independent of our own frames."""
    arp = ARP(op=1 if form == "request" else 2, hwsrc=node.mac, psrc=VIP4, pdst=VIP4,
              hwdst="00:00:00:00:00:00" if form == "request" else node.mac)
    return Ether(src=node.mac, dst="ff:ff:ff:ff:ff:ff") / arp


def unsolicited_na(node):
    return (Ether(src=node.mac, dst="33:33:00:00:00:01") / IPv6(src=VIP6, dst="ff02::1", hlim=255)
            / ICMPv6ND_NA(tgt=VIP6, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=node.mac))


def ask_udp(host, address, port=ECHO_PORT):
    with UdpProbe(host, address, port, interval_ms=5, flows=1, linger_ms=5) as probe:
        probe.wait_answered(timeout_s=5)
        return probe.stop()


# -- the lab -----------------------------------------------------------------------------------

@pytest.mark.netns
@pytest.mark.parametrize("pod_network", ["bridge", "direct"])
def test_nodes_and_pods_reach_each_other(make_lab, pod_network):
    lab = make_lab(pod_network=pod_network)
    for source in (lab.nodes[0], lab.pods[0]):
        for pod in lab.pods:
            for address in (pod.ip4, pod.ip6):
                assert set(ask_udp(source, address).backends()) == {pod.name}
    lab.start_echo(lab.nodes[0])
    for address in (lab.nodes[0].ip4, lab.nodes[0].ip6):
        for host in (lab.client, lab.watch, lab.api):
            assert set(ask_udp(host, address).clients) == {host.ip4 if "." in address else host.ip6}


@pytest.mark.netns
def test_forwarding_is_on_unless_asked_otherwise(lab, make_lab):
    assert [n.sysctl_read("ipv4/ip_forward") for n in lab.nodes] == ["1"] * 3
    off = make_lab(nodes=1, pods_per_node=0, forwarding=False)
    assert off.nodes[0].sysctl_read("ipv4/ip_forward") == "0"
    assert off.nodes[0].sysctl_read("ipv6/conf/all/forwarding") == "0"


@pytest.mark.netns
def test_nodes_detect_duplicate_ipv6_addresses_as_the_kernel_does_by_default(lab):
    node = lab.nodes[0]
    node.ip("addr", "add", "2001:db8::cf/128", "dev", "eth0")
    try:
        assert node.addresses()["2001:db8::cf"].get("tentative") is True
    finally:
        node.ip("addr", "del", "2001:db8::cf/128", "dev", "eth0")


@pytest.mark.netns
def test_labs_side_by_side_do_not_meet(lab, make_lab):
    other = make_lab(nodes=1, pods_per_node=1)
    assert other.id != lab.id
    assert os.path.exists(f"/run/netns/{lab.client.netns}")
    assert set(ask_udp(other.nodes[0], other.pods[0].ip4).backends()) == {"pod1-1"}
    netns, workdir = other.client.netns, other.workdir
    other.close()
    assert not os.path.exists(f"/run/netns/{netns}") and not os.path.exists(workdir)
    assert os.path.exists(f"/run/netns/{lab.client.netns}")


@pytest.mark.netns
def test_unplug_takes_the_carrier_and_plug_brings_it_back(lab, holders):
    node = lab.nodes[0]
    holders(node)
    assert node.carrier()
    with UdpProbe(lab.client, VIP4, ECHO_PORT) as probe:
        probe.wait_answered(5)
        at = lab.unplug(node)
        unplugged = mono_ns()
        assert not node.carrier()
        wait_for(lambda: "NO-CARRIER" in node.ip_json("link", "show", "eth0")[0]["flags"],
                 what="NO-CARRIER")
        wait_for(lambda: mono_ns() - unplugged > 150 * MS, what="150 ms of darkness")
        back = lab.plug(node)
        wait_for(node.carrier, what="carrier")
        probe.wait_answer_after(back)
        trace = probe.stop()
    gap = trace.dark(since=at, until=back)
    assert gap.lost >= 10 and gap.end >= back
    assert gap.ms >= (back - unplugged) / MS - 5


@pytest.mark.netns
def test_one_way_loss_is_one_way_and_heals(lab, holders):
    node = lab.nodes[0]
    holders(node)
    with Sniffer(lab, [VIP4], ports=["node1"]) as wire, \
            NeighProbe(lab, [VIP4], interval_ms=5) as probe:
        probe.wait_answered(3)
        lab.lose(frm=node)
        cut = mono_ns()
        probe.wait(lambda s: s["last"] < mono_ns() - 50 * MS, what="silence")
        # What the node is sent still arrives: it goes on answering into its own port.
        assert wire.snapshot().of(kind="arp-reply", since=cut + 20 * MS)
        lab.heal()
        probe.wait_answered(3)
        lab.lose(to=node)
        cut = mono_ns()
        probe.wait(lambda s: s["last"] < mono_ns() - 50 * MS, what="silence")
        assert not wire.snapshot().of(kind="arp-reply", since=cut + 20 * MS)


@pytest.mark.netns
def test_losses_end_one_by_one_and_a_split_cuts_both_ways(lab, holders):
    one, two, other = lab.nodes
    for node in lab.nodes:
        holders(node)

    def hears(frm, to, patience_s=5):
        """An address that could not be resolved is asked for again after a second."""
        with UdpProbe(frm, to.ip4, ECHO_PORT, interval_ms=5, linger_ms=5) as probe:
            try:
                probe.wait_answered(3, patience_s)
            except TimeoutError:
                return False
            return True

    def deaf(frm, to):
        return not hears(frm, to, 0.5)

    split = lab.split([one], [two, lab.client])
    loss = lab.lose(frm=other, to=[two])
    assert deaf(one, two) and deaf(two, one) and deaf(lab.client, one) and deaf(two, other)
    assert hears(one, other) and hears(lab.client, two)
    lab.heal(split)
    assert hears(one, two) and deaf(other, two)
    lab.heal(loss)
    assert hears(other, two)
    assert lab.lan.nft("list", "ruleset") == ""


@pytest.mark.netns
def test_a_crashed_node_is_silent_at_once_and_comes_back_as_it_was_built(make_lab):
    lab = make_lab(nodes=2, pods_per_node=1)
    node, pod = lab.nodes[0], lab.pods[0]
    node.ip("addr", "add", f"{VIP4}/32", "dev", "eth0")
    sleeper = node.spawn(["sleep", "1000"])
    with NeighProbe(lab, [VIP4], interval_ms=5) as probe:
        probe.wait_answered(3)
        at = lab.crash(node)
        assert sleeper.poll() is not None and node.netns not in os.listdir("/run/netns")
        asked = probe.stats()["sent"]
        probe.wait(lambda s: s["sent"] > asked + 20, what="20 questions more")
        trace = probe.stop()
    assert all(when < at + 2 * MS for _, when, _ in trace.answers)
    lab.boot(node)
    assert VIP4 not in node.addresses() and node.sysctl_read("ipv4/ip_forward") == "1"
    for address in (pod.ip4, pod.ip6):
        assert set(ask_udp(lab.nodes[1], address).backends()) == {pod.name}


# -- the janitor -------------------------------------------------------------------------------

OWNER = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from netns.lab import Lab
lab = Lab(nodes=1, pods_per_node=1)
lab.open()
child = lab.client.spawn(["sleep", "1000"])
stray = lab.client.run(["setsid", "-f", "sh", "-c", "sleep 1001 >/dev/null 2>&1 &"])
print(lab.id, lab.workdir, child.pid, flush=True)
time.sleep(1000)
"""


def start_owner(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    owner = subprocess.Popen([lab_module.PYTHON, "-B", str(script), tests], stdout=subprocess.PIPE,
                             text=True)
    lab_id, workdir, pid = owner.stdout.readline().split()
    return owner, lab_id, workdir, int(pid)


def alive(pid):
    return lab_module._process_start(pid) is not None


def namespaces_of(lab_id):
    return [n for n in os.listdir("/run/netns") if n.startswith(f"lh-{lab_id}-")]


@pytest.mark.netns
def test_janitor_removes_what_a_killed_owner_left_and_nothing_else(lab, tmp_path):
    owner, lab_id, workdir, child = start_owner(tmp_path)
    try:
        assert lab_id not in janitor(), "the owner lives: its lab must stay"
        assert len(namespaces_of(lab_id)) == 7 and os.path.isdir(workdir)
        strays = [p for p in lab_module._pids_in([f"lh-{lab_id}-client"]) if p != child]
        assert strays and alive(child)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    wait_for(lambda: not alive(child), what="the kernel to end the owner's child")
    assert any(alive(p) for p in strays), "a daemonised process outlives its owner"
    assert lab_id in janitor()
    assert namespaces_of(lab_id) == [] and not os.path.exists(workdir)
    wait_for(lambda: not any(alive(p) for p in strays), what="the strays to be gone")
    assert namespaces_of(lab.id), "a living lab must stay"
    assert janitor() == []


# -- probes on a real wire ---------------------------------------------------------------------

@pytest.mark.netns
def test_an_answer_to_one_who_only_asks_is_no_answer_to_another(lab, holders):
    holders(lab.nodes[0])
    with NeighProbe(lab, [VIP4, VIP6], interval_ms=10) as probe, \
            NeighProbe(lab, [VIP4, VIP6], interval_ms=10, record=False) as asker:
        asker.wait(lambda s: s["sent"] >= 100, what="100 questions of the other's")
        probe.wait_answered(20)
        trace = probe.stop()
    answers = collections.Counter(request for request, _, _ in trace.answers)
    assert max(answers.values()) == 1


@pytest.mark.netns
def test_two_holders_are_reported_as_duplicates(lab, holders):
    one, two = lab.nodes[:2]
    holders(one)
    with NeighProbe(lab, [VIP4, VIP6], interval_ms=10) as probe, \
            Sniffer(lab, [VIP4, VIP6]) as wire:
        probe.wait_answered(20)
        single = probe.snapshot()
        assert single.duplicates() == [] and set(single.macs()) == {one.mac}
        assert single.overlaps() == [] and wire.snapshot().overlaps() == []
        at = mono_ns()
        holders(two)
        probe.wait(lambda s: len(s["names"]) == 2, what="the second MAC")
        probe.wait_answered(40)
        take(two)
        until = mono_ns()
        probe.wait_answered(20)
        trace, claims = probe.stop(), wire.stop()
    for vip in (VIP4, VIP6):
        doubles = trace.duplicates(vip)
        assert len(doubles) >= 10
        for sent, of_vip, macs in doubles:
            assert at <= sent <= until and of_vip == vip and macs == sorted([one.mac, two.mac])
        asked = [s for r, s in enumerate(trace.sent) if trace.vips[r % 2] == vip]
        inside = [s for s in asked if doubles[0][0] <= s <= doubles[-1][0]]
        assert len(inside) == len(doubles), "every request while both held it was answered twice"
        overlap, = claims.overlaps(vip)
        assert set(overlap.macs) == {one.mac, two.mac}
        assert at <= overlap.start <= overlap.end <= until
        assert overlap.end - overlap.start >= doubles[-1][0] - doubles[0][0] - 20 * MS
    assert {c.port for c in claims.of(VIP4)} == {"node1", "node2"}
    assert claims.dropped == 0


@pytest.mark.netns
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("vip, announce", [(VIP4, garp), (VIP6, unsolicited_na)])
def test_a_move_by_hand_shows_as_one_gap_of_the_right_length(lab, holders, vip, announce, fresh):
    one, two = lab.nodes[:2]
    holders(one)
    with UdpProbe(lab.client, vip, ECHO_PORT, interval_ms=2, fresh=fresh) as probe, \
            Sniffer(lab, [vip]) as wire, NeighProbe(lab, [vip], merge_ms=60) as neigh:
        probe.wait_answered(50)
        gone_before = mono_ns()
        take(one)
        gone_after = mono_ns()
        wait_for(lambda: mono_ns() - gone_after > 150 * MS, what="150 ms of darkness")
        back_before = mono_ns()
        holders(two)
        send_frame(two, announce(two))
        back_after = mono_ns()
        probe.wait_answer_after(back_after)
        probe.wait_answered(50)
        trace, claims, who = probe.stop(), wire.stop(), neigh.stop()
    gap, = trace.gaps(longer_ms=120)
    assert gap == trace.dark(since=gone_before)
    assert gone_before - 5 * MS <= gap.start <= gone_after and back_before <= gap.end
    assert (back_before - gone_after) / MS - 5 <= gap.ms, "no shorter than it really was"
    sent_inside = sum(1 for s in trace.sent if gone_after < s < back_before)
    # The old holder forwards: it keeps what it cannot place, and passes it on to the new one.
    assert sent_inside * 0.8 <= gap.lost + gap.late, "what was sent meanwhile was lost or late"
    assert set(trace.backends(until=gone_before - 5 * MS)) == {"node1"}
    assert set(trace.backends(since=gap.end)) == {"node2"}
    assert not trace.lost(until=gone_before - 5 * MS), "nothing lost before the move"
    assert claims.overlaps() == [] and who.duplicates() == [], "a clean move has no double claims"
    assert [t.mac for t in who.tenures(vip)] == [one.mac, two.mac]


@pytest.mark.netns
def test_sniffer_names_every_kind_of_claim_and_nothing_else(lab):
    node = lab.nodes[1]
    frames = {
        "arp-announce": [garp(node, "request"), garp(node, "reply")],
        "arp-request": [Ether(src=node.mac, dst="ff:ff:ff:ff:ff:ff")
                        / ARP(op=1, hwsrc=node.mac, psrc=VIP4, pdst="192.0.2.50")],
        "arp-reply": [Ether(src=node.mac, dst=lab.client.mac)
                      / ARP(op=2, hwsrc=node.mac, psrc=VIP4, hwdst=lab.client.mac,
                            pdst="192.0.2.50")],
        "na-announce": [unsolicited_na(node)],
    }
    foreign = [Ether(src=node.mac, dst="ff:ff:ff:ff:ff:ff")
               / ARP(op=1, hwsrc=node.mac, psrc="192.0.2.12", pdst=VIP4),
               Ether(src=node.mac, dst="33:33:ff:00:00:c8") / IPv6(src=node.ip6, dst="ff02::1:ff00:c8")
               / ICMPv6ND_NS(tgt=VIP6)]
    with Sniffer(lab, [VIP4, VIP6]) as wire:
        before = mono_ns()
        for frame in [*foreign, *(f for kind in frames.values() for f in kind), *foreign]:
            send_frame(node, frame)
        wire.wait(lambda s: s["claims"] >= 5, what="five claims")
        trace = wire.stop()
    seen = {kind: [c for c in trace.claims if c.kind == kind] for kind in {c.kind for c in trace.claims}}
    assert {k: len(v) for k, v in seen.items()} == {k: len(v) for k, v in frames.items()}
    for claim in trace.claims:
        assert (claim.port, claim.mac) == ("node2", node.mac)
        assert claim.vip == (VIP6 if claim.kind.startswith("na") else VIP4)
        assert before <= claim.at <= mono_ns()


@pytest.mark.netns
@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_sniffer_sees_data_from_the_vip_when_asked(lab, holders, vip):
    holders(lab.nodes[2])
    with Sniffer(lab, [VIP4, VIP6], data=True) as data, Sniffer(lab, [VIP4, VIP6]) as plain:
        ask_udp(lab.client, vip)
        ask_udp(lab.client, lab.nodes[2].ip4)
        data.wait(lambda s: s["claims"] > 0, what="a claim")
        seen = data.stop().of(kind="ip")
        assert {c.mac for c in seen if c.vip == vip} == {lab.nodes[2].mac}
        assert {c.port for c in seen} == {"node3"}
        assert plain.stop().of(kind="ip") == []


@pytest.mark.netns
def test_losses_are_counted_one_by_one(lab, holders):
    holders(lab.nodes[0])
    with UdpProbe(lab.client, VIP4, ECHO_PORT, interval_ms=2) as probe:
        probe.wait_answered(50)
        before = mono_ns()
        lab.lose(frm=lab.nodes[0], permille=300)
        since = mono_ns()
        probe.wait_answered(300)
        until = mono_ns()
        lab.heal()
        probe.wait_answered(50)
        trace = probe.stop()
    dropped = [r for o in lab.lan.nft_json("list", "ruleset") for r in o if r == "rule"]
    assert dropped == []
    asked = sum(1 for s in trace.sent if since <= s <= until)
    assert 0.15 * asked < len(trace.lost(since, until)) < 0.45 * asked
    assert trace.answered(since, until) + len(trace.lost(since, until)) == asked
    # While the address is being resolved the kernel keeps a few packets and drops the rest.
    assert trace.lost(trace.first_answer(0), before - 10 * MS) == [] and trace.duplicates == 0


@pytest.mark.netns
def test_a_held_up_prober_is_not_taken_for_a_dark_network(lab, holders):
    holders(lab.nodes[0])
    with UdpProbe(lab.client, VIP4, ECHO_PORT) as probe:
        probe.wait_answered(20)
        os.kill(probe.process.pid, signal.SIGSTOP)
        at = mono_ns()
        wait_for(lambda: mono_ns() - at > 100 * MS, what="100 ms")
        os.kill(probe.process.pid, signal.SIGCONT)
        probe.wait_answered(20)
        trace = probe.stop()
    gap = trace.dark(since=at)
    assert gap.ms >= 95 and gap.stall_ms >= 95 and gap.lost == gap.late == 0
    assert trace.missed_ticks >= 40


@pytest.mark.netns
def test_tcp_probe_tells_refusal_and_silence_from_answers(lab, holders):
    echo = holders(lab.nodes[0])
    with TcpProbe(lab.client, VIP4, ECHO_PORT, interval_ms=10, timeout_ms=200) as probe:
        probe.wait_answered(10)
        assert probe.stats()["errors"] == {}
        echo.kill9()
        refused = mono_ns()
        probe.wait(lambda s: s["errors"].get("ECONNREFUSED", 0) >= 5, what="refusals")
        lab.unplug(lab.nodes[0])
        probe.wait(lambda s: s["errors"].get("ETIMEDOUT", 0) >= 5, what="timeouts")
        trace = probe.stop()
    assert set(trace.backends()) == {"node1"} and trace.clients.keys() == {lab.client.ip4}
    gap = trace.dark(since=refused)
    assert gap.open and gap.lost >= 10


@pytest.mark.netns
def test_streams_live_and_their_end_is_seen(lab, holders):
    echo = holders(lab.nodes[0])
    with StreamsProbe(lab.client, VIP6, ECHO_PORT, count=5, interval_ms=10) as probe:
        probe.wait_up()
        start = mono_ns()
        probe.wait(lambda s: s["arrived"] >= 50, what="answers")
        healthy = probe.snapshot()
        assert len(healthy.survivors()) == 5 and healthy.cut() == []
        assert max(healthy.silences_ms(start)) < 1000
        at = echo.kill9()
        probe.wait(lambda s: s["closed"] == 5, what="the end of all")
        trace = probe.stop()
    assert trace.survivors() == [] and all(t >= at for t, _ in trace.cut())
    assert {reason for _, reason in trace.cut()} <= {"EOF", "ECONNRESET"}


@pytest.mark.netns
def test_idle_streams_say_nothing_until_told_and_count_as_alive_when_answered(lab, holders):
    holders(lab.nodes[0])
    with StreamsProbe(lab.client, VIP4, ECHO_PORT, count=5, interval_ms=10, idle=2) as probe:
        probe.wait_up()
        probe.wait(lambda s: s["arrived"] >= 30, what="answers")
        assert sum(1 for s in probe.snapshot().streams if s["sent"]) == 3
        at = mono_ns()
        assert not probe.wait_echoes(at, 0.3), "the idle ones have not spoken"
        probe.speak()
        assert probe.wait_echoes(at, 5)
        assert len(probe.snapshot().alive(at)) == 5
        lab.unplug(lab.nodes[0])
        cut = mono_ns()
        assert not probe.wait_echoes(cut, 0.3)
        assert probe.stop().alive(cut) == []


@pytest.mark.netns
@pytest.mark.parametrize("vip, announce", [(VIP4, garp), (VIP6, unsolicited_na)])
def test_the_slow_client_hears_no_announcement_but_finds_out_by_itself(lab, holders, vip, announce):
    one, two = lab.nodes[:2]
    holders(one)
    with UdpProbe(lab.client, vip, ECHO_PORT) as quick, UdpProbe(lab.slow, vip, ECHO_PORT) as slow:
        quick.wait_answered(20)
        slow.wait_answered(20)
        lab.unplug(one)
        holders(two)
        at = send_frame(two, announce(two))
        quick.wait_answer_after(at, 1)
        slow.wait_answer_after(at, 2 * lab_module.SLOW_ASKS_MS / 1000)
        fast, late = quick.stop().dark(since=at), slow.stop().dark(since=at)
    assert fast.ms < late.ms and late.ms >= 200, "it went on with the old MAC for a while"


@pytest.mark.netns
def test_backend_is_bounded(lab):
    """More connections than the bound are closed, and a line that never ends is cut off."""
    pod, node = lab.pods[0], lab.pods[0].node
    with entered(node.netns):
        import socket
        sock = socket.create_connection((pod.ip4, ECHO_PORT), timeout=5)
    with sock:
        assert sock.recv(200).startswith(b"pod1-1 ")
        with pytest.raises(OSError):
            for _ in range(1000):
                sock.sendall(b"x" * 4096)
                time.sleep(0.001)
            raise AssertionError("an endless line was accepted")
    with StreamsProbe(node, pod.ip4, ECHO_PORT, count=950, interval_ms=500) as probe:
        probe.wait(lambda s: s["up"] >= 850 and s["up"] + s["closed"] == 950,
                   timeout_s=60, what="all tried")
        assert 0 < probe.stats()["closed"] <= 100
    assert set(ask_udp(node, pod.ip4).backends()) == {"pod1-1"}


# -- frames and records, no kernel -------------------------------------------------------------

def test_our_questions_are_what_an_independent_decoder_reads():
    mac, client4, client6 = "00:00:5e:00:53:51", "192.0.2.64", "2001:db8::64"
    arp = Ether(prober.arp_request(prober.mac_bytes(mac), prober.address_bytes(client4),
                                   prober.address_bytes(VIP4)))
    assert (arp.dst, arp.src, arp[ARP].op) == ("ff:ff:ff:ff:ff:ff", mac, 1)
    assert (arp[ARP].hwsrc, arp[ARP].psrc, arp[ARP].pdst) == (mac, client4, VIP4)
    raw = prober.neighbour_solicitation(prober.mac_bytes(mac), prober.address_bytes(client6),
                                        prober.address_bytes(VIP6))
    ns = Ether(raw)
    assert (ns.dst, ns[IPv6].src, ns[IPv6].dst) == ("33:33:ff:00:00:c8", client6, "ff02::1:ff00:c8")
    assert (ns[IPv6].hlim, ns[ICMPv6ND_NS].tgt, ns.lladdr) == (255, VIP6, mac)
    sum_of_ours = ns[ICMPv6ND_NS].cksum
    del ns[ICMPv6ND_NS].cksum
    assert Ether(bytes(ns))[ICMPv6ND_NS].cksum == sum_of_ours


def test_advertisements_and_arp_are_read_or_refused():
    mac = "00:00:5e:00:53:11"
    na = bytes(Ether(src="00:00:5e:00:53:99", dst="33:33:00:00:00:01")
               / IPv6(src=VIP6, dst="ff02::1") / ICMPv6ND_NA(tgt=VIP6, R=1, S=0, O=1)
               / ICMPv6NDOptDstLLAddr(lladdr=mac))
    target, got, destination, flags = prober.parse_na(na)
    assert (target, prober.mac_text(got)) == (prober.address_bytes(VIP6), mac)
    assert (destination, flags) == (prober.address_bytes("ff02::1"), 0xA0)
    assert prober.mac_text(prober.parse_na(na[:78])[1]) == "00:00:5e:00:53:99"
    for cut in range(78):
        assert prober.parse_na(na[:cut]) is None
    arp = bytes(Ether() / ARP(op=2, hwsrc=mac, psrc=VIP4, hwdst="00:00:5e:00:53:50", pdst="192.0.2.50"))
    assert prober.parse_arp(arp)[:3] == (2, prober.mac_bytes(mac), prober.address_bytes(VIP4))
    for cut in range(42):
        assert prober.parse_arp(arp[:cut]) is None
    assert prober.parse_arp(na) is None and prober.parse_na(arp) is None


def trace_of(probes, now=None):
    """A Trace from [(sent ms, arrived ms or None)]."""
    return Trace({"sent": [s * MS for s, _ in probes],
                  "arrived": [int(a * MS) if a else 0 for _, a in probes],
                  "who": [0 if a else -1 for _, a in probes], "names": ["b"], "clients": {},
                  "errors": {}, "duplicates": 0, "missed_ticks": 0, "full": False,
                  "now": (now or probes[-1][0] + 1000) * MS})


def test_gap_arithmetic():
    probes = [(t, t + 1 if not 100 <= t < 140 else None) for t in range(10, 300, 10)]
    trace = trace_of(probes)
    gap = trace.dark(since=95 * MS)
    assert (gap.start, gap.end, gap.lost, gap.open) == (91 * MS, 141 * MS, 4, False)
    assert gap.stall_ms == 10 and gap.ms == 50
    assert trace.gaps(longer_ms=30) == [gap]
    assert trace.dark(since=200 * MS).ms == 10
    assert trace.dark(since=95 * MS, until=99 * MS) == gap, "a gap that begins in the window counts whole"
    assert len(trace.lost()) == 4 and trace.lost(since=150 * MS) == []
    assert trace.first_answer(95 * MS) == 141 * MS


def test_gap_at_either_end_and_late_answers():
    never = trace_of([(t, None) for t in range(10, 100, 10)])
    gap = never.dark()
    assert gap.open and gap.lost == 9 and (gap.start, gap.end) == (10 * MS, 90 * MS)
    dies = trace_of([(t, t + 1 if t < 50 else None) for t in range(10, 100, 10)])
    assert dies.dark(since=45 * MS) == Gap(41 * MS, 90 * MS, 5, 0, 10 * MS, True)
    # Queued while the neighbour was unknown and answered in a bunch: dark, though nothing is lost.
    late = trace_of([(t, t + 1 if t < 50 or t > 100 else 105) for t in range(10, 200, 10)])
    gap = late.dark(since=45 * MS)
    assert (gap.ms, gap.lost, gap.late) == (64, 0, 5)
    # Too young to be judged.
    assert trace_of([(10, 11), (20, None)], now=25).lost() == []


def test_tenures_and_overlaps():
    def claims(mac, start, end, vip="v"):
        return [(t * MS, vip, mac) for t in range(start, end + 1, 10)]

    clean = tenures(claims("a", 0, 500) + claims("b", 510, 900) + claims("a", 1000, 1200), 50)
    assert [(t.mac, t.start // MS, t.end // MS) for t in clean] == [
        ("a", 0, 500), ("b", 510, 900), ("a", 1000, 1200)]
    assert overlaps(clean) == []
    both = tenures(claims("a", 0, 500) + claims("b", 400, 900), 50)
    overlap, = overlaps(both)
    assert overlap.macs == ("a", "b") and overlap.ms == 100
    assert overlaps(tenures(claims("a", 0, 500, "v") + claims("b", 400, 900, "w"), 50)) == []
    nested = overlaps(tenures(claims("a", 0, 900) + claims("b", 100, 200) + claims("c", 150, 300), 50))
    assert len(nested) == 3


def test_two_macs_is_the_time_in_which_one_speaks_again_after_the_other():
    def frames(mac, *times, vip="v"):
        return [(t * MS, vip, mac) for t in times]

    handover = frames("a", 0, 5, 10) + frames("b", 11, 16, 20)
    assert two_macs(handover, 50) == []
    assert two_macs(handover + frames("a", 100, 105), 50) == [], "it may come back later"
    one, = two_macs(handover + frames("a", 14), 50)
    assert (one.vip, one.macs, one.start // MS, one.end // MS) == ("v", ("a", "b"), 10, 16), "a's gap and b's gap"
    both = frames("a", *range(0, 1000, 5)) + frames("b", *range(202, 1000, 5))
    assert sum(o.ms for o in two_macs(both, 50)) == 797, "as long as they alternate"
    assert len(two_macs(frames("b", 0, 5, 10) + frames("a", 7), 50)) == 1, "a single frame is seen"
    assert two_macs(frames("a", 0, 10) + frames("b", 5, vip="w"), 50) == []
    far = two_macs(frames("b", 0, 5, 10, 15, 20) + frames("a", 3, 18), 50)
    assert [(o.start // MS, o.end // MS) for o in far] == [(0, 20)]


def test_streams_silence_is_measured_up_to_the_last_send():
    stream = {"backend": "b", "client": "c", "closed": None, "error": None,
              "sent": [t * MS for t in (0, 10, 20, 30, 200)], "arrived": [t * MS for t in (1, 11, 21)]}
    trace = StreamsTrace({"streams": [stream], "now": 10_000 * MS})
    assert trace.silences_ms(15 * MS) == [179.0]
