"""Backends on the node of a dead holder: its kernel has the VIP as its own address for some seconds yet, and drops
what comes with that source.  The next holder masquerades new flows there for that time."""

import contextlib

import pytest

from netns.lab import mono_ns, wait_for
from netns.probe import Sniffer, UdpProbe

from e2e.agents import PATIENCE_S, names_of

SECOND = 10**9


def former(node):
    """The backends of a dead holder that a node's table names now."""
    return {elem["elem"]["val"] for name in ("former4", "former6")
            for part in node.nft_json("list", "set", "inet", "leasehold", name)
            for elem in part.get("set", {}).get("elem", [])}


def keep_addresses(node, vips):
    """What a dead agent left stays longer than the lifetime that it gave, so that the case decides when it goes."""
    for vip in vips:
        node.ip("addr", "change", f"{vip}/{128 if ':' in vip else 32}", "dev", "eth0",
                "valid_lft", "60", "preferred_lft", "0")


def first_claim(seen, vip, node, since):
    """When a node first stood for a VIP after a moment."""
    return min(c.at for c in seen.of(vip, port=node.name, since=since))


def test_backends_of_a_killed_holders_node_are_reached_at_once(cluster):
    _, vips, holder = cluster.serve()
    everybody = names_of(cluster.lab.pods)
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Sniffer(cluster.lab, vips))
        probes = {vip: stack.enter_context(UdpProbe(cluster.lab.client, vip, 80, 4, fresh=True)) for vip in vips}
        at = holder.kill9()
        keep_addresses(holder.node, vips)
        new = cluster.wait_holder(but=holder)
        wire.wait(lambda s: all(s["latest"].get(vip, (0, ""))[1] == new.node.mac for vip in vips), PATIENCE_S,
                  f"{new} to announce {vips}")
        until = mono_ns() + 2 * SECOND
        for probe in probes.values():
            probe.wait_answer_after(until, PATIENCE_S)
        assert all(vip in holder.node.addresses() for vip in vips)
        claims = wire.stop()
        traces = {vip: probe.stop() for vip, probe in probes.items()}
    for vip, trace in traces.items():
        first = first_claim(claims, vip, new.node, at)
        assert set(trace.backends(first, first + SECOND)) == everybody
        # Without the masquerade a third of the flows is lost for as long as the address is there.
        lost, answered = len(trace.lost(first + SECOND, until)), trace.answered(first + SECOND, until)
        assert lost < answered / 10, f"{vip}: {lost} lost, {answered} answered"


def test_the_backends_of_a_killed_holder_alone_and_for_a_while(cluster):
    cluster.serve()
    holder = cluster.wait_holder()
    holder.kill9()
    new = cluster.wait_holder(but=holder)
    there = {a for pod in cluster.lab.pods if pod.node is holder.node for a in (pod.ip4, pod.ip6)}
    wait_for(lambda: former(new.node) == there, PATIENCE_S, what=lambda: f"{there}; the sets have {former(new.node)}")
    assert [former(agent.node) for agent in cluster.others(holder, new)] == [set()]
    wait_for(lambda: not former(new.node), PATIENCE_S, what="the elements to expire")


@pytest.mark.parametrize("how", ["handover", "stop"])
def test_a_planned_move_masquerades_nothing(cluster, how):
    """What the former holder had is gone when the next one begins."""
    _, vips, holder = cluster.serve()
    if how == "handover":
        assert cluster.handover()[1] == 0
    else:
        holder.stop()
    new = cluster.wait_holder(but=holder)
    cluster.settle_on(vips, new)
    assert not former(new.node)
