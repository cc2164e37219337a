"""Somebody else uses a VIP: found and named within a second, whoever it is and whether it says so or not; and nobody is
accused who has a right, or had it a moment ago.  The strangers are hosts of the LAN, frames of scapy, an address that was
added by hand, and a second cluster with the same pool."""

import contextlib
import os
import random
import re
import socket
import time
from collections import Counter
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from fakekube.cluster import FakeControlPlane
from netns.lab import mono_ns, wait_for

from e2e.agents import PATIENCE_S, Cluster, install_rbac
from e2e.strangers import ALL, ALL_NODES, MAC, configured, send, told

# What is promised is a second; what is asserted leaves room for a machine that does other things, too.
FOUND_MS = 5000
# A burst of defence, and the announcements in it that are counted before a stranger is taken for a balancer.
BALANCER_MS = 30000
CHURN_S = float(os.environ.get("CHURN_S", "25"))


def meet(host, node):
    """The host asks the node by ARP for its own address: so the node's kernel knows who has this MAC."""
    with host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.sendto(b"x", (node.ip4, 9))
    wait_for(lambda: any(n["dst"] == host.ip4 and n.get("lladdr") == host.mac for n in node.ip_json("neigh")),
             what=f"{host.name} among the neighbours of {node.name}")


def wait_told(agent, vip, kind, event="conflict", count=1, timeout_ms=FOUND_MS, **want):
    """Wait for that log line about the VIP; its fields."""
    def found():
        return [f for f in told(agent, event) if f["vip"] == vip and f["kind"] == kind and
                all(f.get(key) == value for key, value in want.items())]
    return wait_for(lambda: (f := found()) and len(f) >= count and f[-1], timeout_ms / 1000, 0.01,
                    lambda: f"{event} {kind} {vip} {want} on {agent}; told: {told(agent, event)}")


def ms_since(at):
    return (mono_ns() - at) / 1e6


def kinds(agent):
    """Conflicts counted by kind, those that there were."""
    found = {re.search(r'kind="(\w+)"', key)[1]: int(value) for key, value in agent.metrics().items()
             if key.startswith("leasehold_conflicts_total{")}
    assert sorted(found) == ["address", "balancer", "host", "node", "probe"]
    return {kind: n for kind, n in found.items() if n}


def probes(agent):
    return agent.metrics()["leasehold_conflict_probes_total"]


def defences(agent):
    return agent.metrics()["leasehold_announcements_total"]


def wait_settled(agent, n_vips):
    """The bursts are over, 6 rounds of each: what is announced now is the defence, and frames that are late after a move have
    an end, too."""
    v4_rounds = v6_rounds = 6 * n_vips / 2
    wait_for(lambda: defences(agent) >= 2 * v4_rounds + v6_rounds, what="the end of the bursts")


def in_conflict(agent):
    return int(agent.metrics()["leasehold_vips_in_conflict"])


def wait_event(service, *words, timeout_s=PATIENCE_S):
    def found():
        return [note for kind, _, note in service.events("AddressConflict") if kind == "Warning" and
                all(word in note for word in words)]
    return wait_for(found, timeout_s, 0.05, lambda: f"an Event with {words}; there are {service.events()}")


def report(what, ms):
    """Shown by pytest -s, and kept for whoever asks how fast it was."""
    print(f"\n{what}: {ms:.0f} ms")


# ---- strangers --------------------------------------------------------------------------------

def test_a_host_with_the_vip_configured_is_found_and_named(cluster):
    service, vips, holder = cluster.serve()
    stranger = cluster.lab.slow
    meet(stranger, holder.node)
    for vip in vips:
        at = mono_ns()
        with configured(stranger, vip):
            line = wait_told(holder, vip, "host", mac=stranger.mac)
            report(f"silent host {vip}", ms_since(at))
            assert stranger.ip4 in line["neighbours"] and line["interface"] == "eth0" and line["node"] == ""
            assert in_conflict(holder) >= 1
            shown = next(v for v in holder.status()["vips"] if v["address"] == vip)["claimed_by"]
            assert (shown["kind"], shown["mac"], shown["interface"]) == ("host", stranger.mac, "eth0")
            assert stranger.ip4 in shown["text"]
            wait_event(service, vip, stranger.mac, stranger.ip4, holder.name)
    for vip in vips:
        wait_told(holder, vip, "host", event="conflict_over", timeout_ms=40000)
    assert in_conflict(holder) == 0
    assert kinds(holder) == {"host": 2}
    assert all(kinds(agent) == {} for agent in cluster.others(holder))
    # One line and one Event each, however often it answered.
    assert len(told(holder)) == 2
    assert len(service.events("AddressConflict")) == 2


ANNOUNCEMENTS = {
    "ARP request": lambda v4, v6: (v4, Ether(src=MAC, dst=ALL) / ARP(op=1, hwsrc=MAC, psrc=v4, pdst=v4)),
    "ARP reply": lambda v4, v6: (v4, Ether(src=MAC, dst=ALL) / ARP(op=2, hwsrc=MAC, psrc=v4, hwdst=MAC, pdst=v4)),
    "NA": lambda v4, v6: (v6, Ether(src=MAC, dst=ALL_NODES) / IPv6(src=v6, dst="ff02::1", hlim=255) /
                          ICMPv6ND_NA(tgt=v6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC)),
}


def test_who_only_announces_is_found_and_answered(cluster):
    _, vips, holder = cluster.serve()
    v4, v6 = sorted(vips, key=lambda vip: ":" in vip)
    wait_settled(holder, len(vips))
    for count, (form, build) in enumerate(ANNOUNCEMENTS.items()):
        vip, frame = build(v4, v6)
        before = defences(holder)
        at = mono_ns()
        send(cluster.lab.client, frame)
        if count != 1:  # the second form tells nothing new
            wait_told(holder, vip, "host", mac=MAC, neighbours="")
            report(form, ms_since(at))
        # Defended at once, or a second after the last time.
        wait_for(lambda: defences(holder) > before, what="the defence")
    assert kinds(holder) == {"host": 2}


def test_a_probe_is_told_and_accuses_nobody(cluster):
    service, vips, holder = cluster.serve()
    for vip in vips:
        frame = Ether(src=MAC, dst=ALL) / ARP(op=1, hwsrc=MAC, psrc="0.0.0.0", pdst=vip) if "." in vip else \
            Ether(src=MAC, dst="33:33:ff:00:00:" + vip[-2:]) / IPv6(src="::", dst="ff02::1:ff00:" + vip[-2:], hlim=255) / \
            ICMPv6ND_NS(tgt=vip)
        at = mono_ns()
        send(cluster.lab.client, *[frame] * 3)  # as arping -D and a kernel's duplicate address detection ask
        wait_told(holder, vip, "probe", event="probed", mac=MAC)
        report(f"probe for {vip}", ms_since(at))
    assert kinds(holder) == {"probe": 2}
    assert in_conflict(holder) == 0
    assert told(holder) == [] and service.events("AddressConflict") == []


def test_an_address_added_by_hand_on_another_node_is_told_by_that_node(cluster):
    service, vips, holder = cluster.serve()
    other = cluster.others(holder)[0]
    for vip in vips:
        at = mono_ns()
        with configured(other.node, vip):
            line = wait_told(other, vip, "address")
            report(f"address by hand {vip}", ms_since(at))
            assert line["interface"] == "eth0" and line["node"] == other.name and line["mac"] == ""
            assert in_conflict(other) == 1
            wait_event(service, vip, f"stands on eth0 of node {other.name}")
        wait_told(other, vip, "address", event="conflict_over")
    # Its gate is shut for the VIP, so nobody on the LAN notices.
    assert kinds(other) == {"address": 2} and kinds(holder) == {}
    cluster.only_answers(vips, holder)


def test_a_node_without_the_lease_that_answers_is_named(cluster):
    """Its agent is gone, and so is its gate; its record tells whose MAC it is."""
    service, vips, holder = cluster.serve()
    other = cluster.others(holder)[0]
    assert other.stop()[1] == 0
    other.cleanup()
    wait_settled(holder, len(vips))
    for vip in vips:
        at = mono_ns()
        with configured(other.node, vip):
            wait_told(holder, vip, "node", node=other.name, mac=other.node.mac)
            report(f"another node {vip}", ms_since(at))
            wait_event(service, vip, f"node {other.name}", other.node.mac, holder.name)
    assert kinds(holder) == {"node": 2}


def test_a_suspect_is_asked_again_before_its_turn(cluster):
    """At one question a second the turn of a VIP comes every 12 s; what was heard last time is forgotten by then."""
    cluster.start_agents(conflict_probe_rate=1)
    services = cluster.services(12)
    vips = [vip for service in services for vip in service.wait_vips()]
    holder = cluster.wait_holder()
    wait_for(lambda: holder.metrics()["leasehold_vips_held"] == len(vips), what="all VIPs")
    other = cluster.others(holder)[0]
    assert other.stop()[1] == 0
    other.cleanup()
    with configured(other.node, vips[5]):
        line = wait_told(holder, vips[5], "node", node=other.name, timeout_ms=60000)
    assert line["count"] == "2"  # the answer in its turn, and the one for certainty
    assert len(told(holder)) == 1


def announced(host, mac, v4, v6):
    """Another's round of announcements, in frames of this host, so that the LAN's bridge is not misled."""
    return [Ether(src=host.mac, dst=ALL) / ARP(op=1, hwsrc=mac, psrc=v4, pdst=v4),
            Ether(src=host.mac, dst=ALL) / ARP(op=2, hwsrc=mac, psrc=v4, hwdst=mac, pdst=v4),
            Ether(src=host.mac, dst=ALL_NODES) / IPv6(src=v6, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=v6, R=0, S=0, O=1) /
            ICMPv6NDOptDstLLAddr(lladdr=mac)]


def test_a_round_of_a_node_that_comes_late_accuses_nobody(cluster):
    """However late; but a node that goes on is named, even if it answers nobody."""
    _, vips, holder = cluster.serve()
    v4, v6 = sorted(vips, key=lambda vip: ":" in vip)
    client, other = cluster.lab.client, cluster.others(holder)[0]
    wait_settled(holder, len(vips))
    for _ in range(2):
        heard, asked = defences(holder), probes(holder)
        send(client, *announced(client, other.node.mac, v4, v6))
        wait_for(lambda: defences(holder) >= heard + 3, what="the defence")
        # Twice a second each in the sweep: so both were asked again for certainty, and the doubt is over.
        wait_for(lambda: probes(holder) >= asked + 2 * 2 + 6 * 2 * 2, what="time to pass")
        assert told(holder) == [] and in_conflict(holder) == 0
    for vip in vips:
        def still_there():
            send(client, *announced(client, other.node.mac, v4, v6))
            return [line for line in told(holder) if (line["vip"], line["kind"], line["node"]) == (vip, "node", other.name)]
        wait_for(still_there, FOUND_MS / 1000, 0.3, lambda: f"{other} to be named; told: {told(holder)}")


def test_two_clusters_with_one_pool_find_each_other(cluster, tmp_path):
    lab = cluster.lab
    plane = FakeControlPlane(lab.client.netns, lab.client.ip4, tmp_path / "second")
    plane.start()
    second = Cluster(lab, plane, install_rbac(plane), tmp_path / "agents")
    try:
        cluster.start_agents(lab.nodes[:2])
        service = cluster.service()
        [vip] = service.wait_vips()
        holder = cluster.wait_holder()
        second.start_agents(lab.nodes[2:])
        at = mono_ns()
        rival = second.service()
        assert rival.wait_vips() == [vip]
        intruder = second.wait_holder()
        for agent, to in ((holder, intruder), (intruder, holder)):
            wait_for(lambda: [f for f in told(agent) if (f["vip"], f["mac"]) == (vip, to.node.mac)], FOUND_MS / 1000, 0.01,
                     f"the conflict on {agent}")
            report(f"another cluster, by {agent}", ms_since(at))
        # Each defends, so each hears the other announce in both forms.
        for agent, to in ((holder, intruder), (intruder, holder)):
            line = wait_told(agent, vip, "balancer", mac=to.node.mac, timeout_ms=BALANCER_MS)
            assert "same pool" in next(l for l in agent.log().splitlines() if "balancer" in l), line
            report(f"known as a balancer, by {agent}", ms_since(at))
        for where, agent, to in ((service, holder, intruder), (rival, intruder, holder)):
            wait_event(where, vip, to.node.mac, agent.name)
        # A truce: one announcement each 10 s on either side, not a storm.
        before = [defences(agent) for agent in (holder, intruder)]
        time.sleep(5)
        after = [defences(agent) for agent in (holder, intruder)]
        assert all(b - a <= 12 for a, b in zip(before, after)), (before, after)
        assert cluster.lease_holder() == holder.name and second.lease_holder() == intruder.name
        second.stop_agents()
    finally:
        for agent in second.agents.values():
            if agent.running():
                agent.kill9()
        plane.stop()


def test_who_claims_every_vip_under_ever_new_macs_is_told_within_bounds(cluster):
    """64 lines and 16 Events a minute; and what was not told to begin is not told to end."""
    cluster.start_agents()
    services = cluster.services(36)
    vips = [vip for service in services for vip in service.wait_vips()]
    holder = cluster.wait_holder()
    wait_for(lambda: all(cluster.nodes_with(vip) for vip in vips), what="the VIPs on a node")
    time.sleep(3)  # frames just after a takeover accuse nobody
    began = mono_ns()
    for k in range(3):
        macs = [f"00:00:5e:00:53:{k * 36 + i:02x}" for i in range(len(vips))]
        send(cluster.lab.client, *[Ether(src=mac, dst=ALL) / ARP(op=1, hwsrc=mac, psrc=vip, pdst=vip)
                                   for mac, vip in zip(macs, vips)])
        time.sleep(0.3)
    wait_for(lambda: in_conflict(holder) == len(vips), what="all VIPs in conflict")
    wait_for(lambda: sum(len(s.events("AddressConflict")) for s in services) >= 16, 10, 0.2, "16 Events")
    wait_for(lambda: in_conflict(holder) == 0, 60, 0.2, "the end of it")
    minutes = 1 + ms_since(began) // 60000
    begun, ended = told(holder), told(holder, "conflict_over")
    assert 64 <= len(begun) + len(ended) <= 64 * minutes
    assert Counter(line["vip"] for line in ended) <= Counter(line["vip"] for line in begun)
    assert 16 <= sum(len(s.events("AddressConflict")) for s in services) <= 16 * minutes


@contextlib.contextmanager
def no_room_for_filters(node):
    """No program fits into the memory that the node's sockets have for it."""
    path = Path("/proc/sys/net/core/optmem_max")
    with node.entered():
        try:
            before = path.read_text()
            path.write_text("64")
        except OSError:
            pytest.skip("net.core.optmem_max is not of a network namespace before Linux 6.8")
    try:
        yield
    finally:
        with node.entered():
            path.write_text(before)


def test_the_gate_does_not_wait_for_the_listener(cluster):
    """VIPs are served while nobody can be heard, and others are heard as soon as that can be."""
    with contextlib.ExitStack() as stack:
        for node in cluster.lab.nodes:
            stack.enter_context(no_room_for_filters(node))
        _, vips, holder = cluster.serve()
        wait_for(lambda: told(holder, "wire_filter"), what="word of it in the log")
        assert told(holder, "gate_rows") == []
        assert len(told(holder, "wire_filter")) < 5
    stranger = cluster.lab.slow
    with configured(stranger, vips[0]):
        wait_told(holder, vips[0], "host", mac=stranger.mac)


# ---- nobody -----------------------------------------------------------------------------------

def test_what_is_heard_on_another_interface_is_no_conflict(cluster):
    """A Pod may claim and ask for what it likes on its own link; the same claim on the LAN is one."""
    _, vips, holder = cluster.serve()
    v4 = next(vip for vip in vips if "." in vip)
    node, pod_mac = holder.node, "00:00:5e:00:53:78"
    node.ip("link", "add", "pod9", "type", "veth", "peer", "name", "pod9-in")
    try:
        for dev in ("pod9", "pod9-in"):
            node.ip("link", "set", dev, "up")
        wait_for(lambda: node.carrier("pod9") and node.carrier("pod9-in"), what="pod9")
        time.sleep(1)  # just after a takeover nobody is accused at all
        with node.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sock:
            sock.bind(("pod9-in", 0))
            for psrc in (v4, "0.0.0.0"):
                sock.send(bytes(Ether(src=pod_mac, dst=ALL) / ARP(op=1, hwsrc=pod_mac, psrc=psrc, pdst=v4)))
        send(cluster.lab.client, Ether(src=MAC, dst=ALL) / ARP(op=1, hwsrc=MAC, psrc=v4, pdst=v4))
        wait_told(holder, v4, "host", mac=MAC, interface="eth0")
        assert [line["mac"] for line in told(holder) + told(holder, "probed")] == [MAC]
        assert kinds(holder) == {"host": 1}
    finally:
        node.ip("link", "del", "pod9")


def accusations(cluster):
    return [(agent.name, event, line) for agent in cluster.agents.values() for event in ("conflict", "probed")
            for line in told(agent, event)]


def churn(cluster, chance, deadline):
    """One thing after the other that moves VIPs about, each waited for."""
    def holder():
        return cluster.agents[wait_for(lambda: cluster.lease_holder(), PATIENCE_S, 0.05, "a holder")]

    def moved(agent):
        wait_for(lambda: cluster.lease_holder() not in ("", agent.name), PATIENCE_S, 0.05, f"another holder than {agent}")

    def hand_over(agent):
        # One that is refused or comes too late, because the successor is not ready again, is churn, too.
        cluster.handover("--to", chance.choice(cluster.others(agent)).name)

    def kill(agent):
        agent.kill9()
        moved(agent)
        agent.start().wait_ready()

    def restart(agent):
        agent.stop()
        agent.start().wait_ready()

    def crash_and_return(agent):
        agent.kill9()
        agent.start().wait_ready()

    def pull_cable(agent):
        cluster.lab.unplug(agent.node)
        try:
            moved(agent)
        finally:
            cluster.lab.plug(agent.node)
        wait_for(agent.node.carrier, what="carrier")
        agent.wait_ready()

    def flap(agent):
        cluster.lab.unplug(agent.node)
        time.sleep(chance.uniform(0, 0.3))
        cluster.lab.plug(agent.node)
        wait_for(agent.node.carrier, what="carrier")
        agent.wait_ready()

    def freeze(agent):
        agent.freeze()
        try:
            moved(agent)
            time.sleep(chance.uniform(0, 1))
        finally:
            agent.thaw()
        agent.wait_ready()

    def hiccup(agent):
        agent.freeze()
        time.sleep(chance.uniform(0, 3))
        agent.thaw()
        agent.wait_ready()

    kinds_of = [hand_over, kill, restart, crash_and_return, pull_cable, flap, freeze, hiccup]
    done = []
    while mono_ns() < deadline or len(done) < len(kinds_of):  # each at least once
        turn = kinds_of[len(done)] if len(done) < len(kinds_of) else chance.choice(kinds_of)
        turn(holder())
        done.append(turn.__name__)
        assert accusations(cluster) == [], done
    return done


@pytest.mark.timeout(int(CHURN_S) * 2 + 240)
@pytest.mark.slow
def test_churn_accuses_nobody(cluster):
    """CHURN_S=600 for a long run; CHURN_SEED repeats one."""
    seed = int(os.environ.get("CHURN_SEED", "0")) or random.randrange(1, 10**6)
    print(f"CHURN_SEED={seed}")
    _, vips, holder = cluster.serve()
    done = churn(cluster, random.Random(seed), mono_ns() + int(CHURN_S * 1e9))
    # It would have been noticed: the very same agents find a stranger now.
    last = cluster.wait_holder()
    cluster.settle_on_wire(vips, last)
    assert accusations(cluster) == [], done
    with configured(cluster.lab.slow, vips[0]):
        wait_told(last, vips[0], "host", mac=cluster.lab.slow.mac, timeout_ms=2 * FOUND_MS)
    report(f"{len(done)} moves, {sorted({(n, done.count(n)) for n in done})}", CHURN_S * 1000)
