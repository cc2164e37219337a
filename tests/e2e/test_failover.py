"""The holder goes: in order, by SIGKILL, by a pulled cable; and an agent comes back without a gap."""

import pytest

from netns.lab import wait_for
from netns.probe import NeighProbe

from e2e.agents import LEASE, LEASE_MS, PATIENCE_S


@pytest.fixture
def served(cluster):
    """Three agents and a dual-stack Service that answers: (Service, VIPs, holder)."""
    cluster.start_agents()
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    for vip in vips:
        cluster.wait_on_one_node(vip)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    return service, vips, cluster.wait_holder()


def settle_on(cluster, vips, agent, pods=None):
    for vip in vips:
        cluster.wait_on_one_node(vip, agent.node)
        cluster.reach_all(cluster.lab.client, vip, pods or cluster.lab.pods, "TCP")


def only_answers(cluster, vips, node):
    """From now on one node alone answers who-has for each VIP."""
    with NeighProbe(cluster.lab, vips) as probe:
        probe.wait_answered(50 * len(vips))
        trace = probe.stop()
    assert set(trace.macs()) == {node.mac} and trace.duplicates() == []


def show(request, seen, at):
    for vip, trace in seen.traces.items():
        print(f"{request.node.name}: {vip} dark {trace.dark(since=at)}; "
              f"{len(seen.neigh.duplicates(vip))} double answers")


def test_sigterm_hands_over_without_a_moment_of_two_holders(cluster, served, request):
    service, vips, holder = served
    with cluster.observed(vips) as seen:
        at, status = holder.stop()
        assert status == 0
        new = cluster.wait_holder(but=holder)
        settle_on(cluster, vips, new)
        seen.wait_answers()
        seen.stop()
    show(request, seen, at)
    seen.require_one_claimant()
    assert not any(cluster.nodes_with(vip) == [holder.node] for vip in vips)
    for vip, trace in seen.traces.items():
        assert not trace.dark(since=at).open
        assert [t.mac for t in seen.neigh.tenures(vip)][-1] == new.node.mac
    assert service.vips() == vips
    wait_for(lambda: any(new.name in note for _, _, note in service.events("Moved")),
             PATIENCE_S, what="a Moved event that names the new node")


def test_the_last_agent_leaves_nothing_up(cluster, served):
    _, vips, _ = served
    for agent in cluster.agents.values():
        assert agent.stop()[1] == 0
    for vip in vips:
        assert cluster.nodes_with(vip) == []
    assert cluster.lease_holder() == "", "released, so that a successor need not wait"


def test_kill9_of_the_holder_moves_the_vip(cluster, served, request):
    """Until the gate of a later slice, the dead holder's kernel answers on for a while: counted only."""
    service, vips, holder = served
    with cluster.observed(vips) as seen:
        at = holder.kill9()
        new = cluster.wait_holder(but=holder)
        settle_on(cluster, vips, new)
        seen.wait_answers()
        seen.stop()
    show(request, seen, at)
    for trace in seen.traces.values():
        assert not trace.dark(since=at).open
    only_answers(cluster, vips, new.node)
    assert service.vips() == vips
    holder.start().wait_ready()
    settle_on(cluster, vips, new)
    assert cluster.lease_holder() == new.name, "the old holder comes back as a candidate"


def test_unplug_of_the_holder_moves_the_vip_and_replugging_makes_no_second_holder(cluster, served,
                                                                                   request):
    service, vips, holder = served
    # The cable takes the pods behind it away, too; here it is about the VIP.
    elsewhere = [pod for pod in cluster.lab.pods if pod.node is not holder.node]
    service.set_backends(elsewhere)
    cluster.reach_only(cluster.lab.client, vips[0], elsewhere)
    with cluster.observed(vips) as seen:
        at = cluster.lab.unplug(holder.node)
        new = cluster.wait_holder(but=holder)
        settle_on(cluster, vips, new, elsewhere)
        cluster.lab.plug(holder.node)
        wait_for(holder.ready, PATIENCE_S, what=lambda: f"{holder} ready:\n{holder.log_tail()}")
        seen.wait_answers()
        seen.stop()
    show(request, seen, at)
    seen.require_one_claimant()
    only_answers(cluster, vips, new.node)
    assert cluster.lease_holder() == new.name


def test_a_candidate_that_dies_is_not_noticed(cluster, served):
    _, vips, holder = served
    version = cluster.lease()["spec"]["holderIdentity"]
    with cluster.observed(vips) as seen:
        for agent in cluster.agents.values():
            if agent is not holder:
                agent.kill9()
        wait_for(lambda: renewals(cluster) >= 3, PATIENCE_S, what="three renewals")
        seen.wait_answers()
        seen.stop()
    seen.require_one_claimant()
    assert cluster.lease()["spec"]["holderIdentity"] == version
    for trace in seen.traces.values():
        assert trace.lost() == []


def renewals(cluster, memory={}):   # pylint: disable=dangerous-default-value
    """How often the Lease has changed since this was first called for it."""
    lease = cluster.lease()
    seen = memory.setdefault(lease["metadata"]["uid"], set())
    seen.add(lease["metadata"]["resourceVersion"])
    return len(seen) - 1


def test_a_restarted_agent_adopts_what_it_held_without_a_gap(cluster, served, tmp_path, request):
    """kill -9 and a start at once, as a supervisor does it: no address is removed, nothing is lost."""
    _, vips, holder = served
    before = cluster.lease()["spec"]["holderIdentity"]
    changes = tmp_path / "address.log"
    monitor = holder.node.spawn(["ip", "-o", "monitor", "address"], log=changes)
    try:
        with cluster.observed(vips) as seen:
            at = holder.kill9()
            holder.start().wait_ready()
            wait_for(lambda: cluster.lease()["spec"]["holderIdentity"] != before, PATIENCE_S,
                     what="the Lease under the new identity")
            seen.wait_answers()
            # Past the lifetime that the dead process gave the addresses.
            wait_for(lambda: mono_passed(at, LEASE_MS + 3500), 60, what="the old lifetime to end")
            seen.wait_answers()
            seen.stop()
    finally:
        monitor.kill9()
    show(request, seen, at)
    assert cluster.lease_holder() == holder.name
    assert not [line for line in changes.read_text().splitlines()
                if line.startswith("Deleted") and any(f" {vip}/" in line for vip in vips)]
    seen.require_one_claimant()
    for trace in seen.traces.values():
        assert trace.lost() == []
    assert set(seen.neigh.macs()) == {holder.node.mac}


def mono_passed(at, milliseconds):
    from netns.lab import mono_ns
    return mono_ns() - at > milliseconds * 10**6


def test_an_address_removed_by_hand_is_put_back(cluster, served):
    _, vips, holder = served
    for vip in vips:
        prefix = f"{vip}/{128 if ':' in vip else 32}"
        holder.node.ip("addr", "del", prefix, "dev", "eth0")
        wait_for(lambda v=vip: v in holder.node.addresses(), PATIENCE_S, what=f"{vip} to be back")
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert cluster.lease_holder() == holder.name


def test_the_vip_goes_round_all_nodes(cluster, served):
    """Each holder in turn is ended in order and started again: addresses and status stay the same."""
    service, vips, holder = served
    visited = [holder.name]
    for _ in range(3):
        old = cluster.wait_holder()
        assert old.stop()[1] == 0
        new = cluster.wait_holder(but=old)
        settle_on(cluster, vips, new)
        old.start().wait_ready()
        visited.append(new.name)
        assert service.vips() == vips
    assert all(a != b for a, b in zip(visited, visited[1:]))


def test_a_holder_of_any_length_runs_out(cluster, served):
    """Somebody writes nonsense into the Lease: a stranger holds it, and its time runs out like any other's."""
    _, vips, _ = served
    cluster.api().patch(LEASE, {"spec": {"holderIdentity": "h" * 400}})
    wait_for(lambda: cluster.lease_holder() in cluster.agents, PATIENCE_S, what="one of ours to hold the Lease")
    new = cluster.wait_holder()
    settle_on(cluster, vips, new)
    only_answers(cluster, vips, new.node)
