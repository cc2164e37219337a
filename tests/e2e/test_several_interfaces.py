# SPDX-License-Identifier: Apache-2.0
"""A VIP on several interfaces at once (interface-mode all): what each of them does by itself."""

import pytest

from netns.lab import mono_ns, wait_for
from netns.probe import NeighProbe, Sniffer

from e2e.agents import PATIENCE_S
from e2e.farlan import NEAR_VIP, require_gated, require_reached, stop_all, wait_places, want_vip
from e2e.threads import ADDRESS_WORKER, worker_held

BURST_FRAMES = 12   # six rounds of two (agent/core/schedule.h)
REFRESH_S_MIN = 30  # from one round to the next after that


@pytest.fixture
def on_both(cluster, far):
    """An agent whose VIP is to be on both LANs: (the agent, what starts it and makes the Service)."""
    far.host.ip("route", "add", NEAR_VIP, "dev", "eth0")
    node = cluster.lab.nodes[0]
    # A Lease, and with it lifetimes of addresses, long enough for what the cases hold up.
    agent = cluster.agent(node, interface="eth0,eth1", interface_mode="all", interface_subnet="any", lease_duration="10s")

    def start():
        agent.start().wait_ready()
        service = want_vip(cluster, NEAR_VIP)
        service.wait_vips()
        return service

    yield agent, start
    stop_all(cluster)


def wait_knows_place(agent, vip, dev):
    wait_for(lambda: dev in str([v for v in agent.status()["vips"] if v["address"] == vip]), PATIENCE_S, 0.05,
             lambda: f"{vip} on {dev} in the status: {agent.status()['vips']}")


def test_connections_outlive_that_a_vip_leaves_one_of_its_interfaces(cluster, on_both):
    """What conntrack knows of them stays; it goes with the last of the interfaces."""
    agent, start = on_both
    node = agent.node
    service = start()
    wait_places(cluster, NEAR_VIP, (node.name, "eth0"), (node.name, "eth1"))
    key = ["-p", "udp", "-s", "192.0.2.60", "-d", NEAR_VIP, "--sport", "5555", "--dport", "80"]
    node.run(["conntrack", "-I", *key, "--dst-nat", "192.0.2.99:8080", "--src-nat", NEAR_VIP, "-t", "300"])

    def connections():
        return node.run(["conntrack", "-L", *key], check=False).splitlines()

    assert connections()
    node.ip("link", "set", "eth1", "name", "spare")
    wait_places(cluster, NEAR_VIP, (node.name, "eth0"))
    # Jobs come one after the other: with the next one's address the former is over, and what follows from it.
    want_vip(cluster, "192.0.2.201", "next").wait_vips()
    assert connections()
    service.delete()
    wait_places(cluster, NEAR_VIP)
    wait_for(lambda: not connections(), PATIENCE_S, 0.05, "conntrack to forget the VIP")


def test_a_further_interface_does_not_answer_before_the_gate_stands_there(cluster, far, on_both):
    """The kernel would, for the address of the first, and nothing would silence it when the agent is dead."""
    agent, start = on_both
    node = agent.node
    node.ip("link", "set", "eth1", "name", "spare")
    start()
    wait_places(cluster, NEAR_VIP, (node.name, "eth0"))
    with worker_held(agent, ADDRESS_WORKER):
        node.ip("link", "set", "spare", "name", "eth1")
        wait_knows_place(agent, NEAR_VIP, "eth1")
        # The other worker takes one job after the other: with the next VIP's table it has done what there was of guards.
        want_vip(cluster, "192.0.2.201", "next")
        wait_for(lambda: cluster.in_table(node, "192.0.2.201"), PATIENCE_S, 0.05, "the table to know the next VIP")
        with NeighProbe(cluster.lab, [NEAR_VIP], host=far.host) as asked, NeighProbe(cluster.lab, [NEAR_VIP]) as first:
            first.wait_answered(20, PATIENCE_S)
            asked.wait(lambda s: s["sent"] >= 50, PATIENCE_S, "50 questions")
            assert set(first.stop().macs()) == {node.mac}
            assert asked.stop().macs() == {}
        assert node.filters("eth1") == [], "it was not this worker that was held"
    with NeighProbe(cluster.lab, [NEAR_VIP], host=far.host) as asked:
        asked.wait_answered(20, PATIENCE_S)
        assert set(asked.stop().macs()) == {far.mac(node)}
    require_gated(node, "eth1")


def test_a_vip_is_announced_where_its_address_is(cluster, far, on_both):
    agent, start = on_both
    node = agent.node
    node.ip("addr", "add", f"{NEAR_VIP}/32", "dev", "eth1")
    near, other = node.name, far.port(node)
    with Sniffer(cluster.lab, [NEAR_VIP], ports=[near, other]) as wire:
        start()
        wait_knows_place(agent, NEAR_VIP, "eth1")
        wait_for(lambda: len(wire.snapshot().of(NEAR_VIP, near)) >= 6, PATIENCE_S, 0.05, "three rounds on the first interface")
        require_gated(node, "eth1")
        assert len(wire.snapshot().of(NEAR_VIP, other)) == 0
        node.ip("addr", "del", f"{NEAR_VIP}/32", "dev", "eth1")
        wait_for(lambda: len(wire.snapshot().of(NEAR_VIP, other)) > 0, PATIENCE_S, 0.05, "an announcement on the other")
    require_reached(cluster, far, NEAR_VIP)


def test_an_address_that_comes_back_is_announced_there(cluster, far, on_both):
    """The burst is over by then, and the next round is far away."""
    agent, start = on_both
    node = agent.node
    other = far.port(node)
    with Sniffer(cluster.lab, [NEAR_VIP], ports=[other]) as wire:
        start()
        wait_for(lambda: len(wire.snapshot().of(NEAR_VIP, other)) >= BURST_FRAMES, PATIENCE_S, 0.1, "the burst on the other interface")
        at = mono_ns()
        node.ip("addr", "del", f"{NEAR_VIP}/32", "dev", "eth1")
        wait_for(lambda: wire.snapshot().of(NEAR_VIP, other, since=at), REFRESH_S_MIN / 2, 0.05, "an announcement of what came back")
    wait_places(cluster, NEAR_VIP, (node.name, "eth0"), (node.name, "eth1"))
    require_reached(cluster, far, NEAR_VIP)
