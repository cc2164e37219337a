"""Connections through a VIP outlive its holder: planned moves, a crash, and the way back."""

import contextlib

import pytest

from netns.lab import mono_ns, wait_for
from netns.probe import StreamsProbe, UdpProbe

from e2e.agents import LEASE_MS, PATIENCE_S
from e2e.threads import workers_held

COUNT, IDLE = 50, 25
ALIVE_S = 15


@contextlib.contextmanager
def connected(cluster, vips, host=None):
    """50 connections to each VIP, half of them idle until after what happens in here; all of them live on."""
    with contextlib.ExitStack() as stack:
        probes = {vip: stack.enter_context(StreamsProbe(host or cluster.lab.client, vip, 80, COUNT, 20, IDLE))
                  for vip in vips}
        for probe in probes.values():
            probe.wait_up(PATIENCE_S)
            probe.wait(lambda s: s["arrived"] >= 5 * (COUNT - IDLE), PATIENCE_S, "the connections to speak")
        yield
        at = mono_ns()
        for probe in probes.values():
            probe.speak()
        for probe in probes.values():
            probe.wait_echoes(at, ALIVE_S)
        traces = {vip: probe.stop() for vip, probe in probes.items()}
    for vip, trace in traces.items():
        alive = trace.alive(at, ALIVE_S)
        idle = sum(1 for s in alive if s["idle"])
        assert len(alive) == COUNT, (f"{vip}: {len(alive)} of {COUNT} alive ({idle} of {IDLE} idle ones); cut: "
                                     f"{sorted({reason for _, reason in trace.cut()})}")


def strike(cluster, how, holder):
    if how == "kill -9":
        holder.kill9()
    elif how == "SIGTERM":
        assert holder.stop()[1] == 0
    elif how == "SIGSTOP":
        holder.freeze()
    else:
        _, status, out = cluster.handover()
        assert status == 0, out


def backends(cluster, where, holder):
    lab = cluster.lab
    here = [pod for pod in lab.pods if pod.node is holder.node]
    return {"everywhere": lab.pods, "on the holder": here,
            "elsewhere": [pod for pod in lab.pods if pod not in here]}[where]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["everywhere", "on the holder", "elsewhere"])
@pytest.mark.parametrize("how", ["SIGTERM", "handover", "kill -9", "SIGSTOP"])
def test_connections_outlive_their_holder(cluster, how, where):
    service, vips, holder = cluster.serve()
    pods = backends(cluster, where, holder)
    service.set_backends(pods)
    for vip in vips:
        cluster.reach_only(cluster.lab.client, vip, pods)
    with connected(cluster, vips):
        strike(cluster, how, holder)
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
    if how == "SIGSTOP":
        holder.thaw()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["handover", "kill -9"])
def test_connections_that_go_from_a_to_b_and_back_to_a(cluster, how):
    """What A remembers of them from the first time does not hurt."""
    _, vips, holder = cluster.serve()
    with connected(cluster, vips):
        strike(cluster, how, holder)
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        if how == "kill -9":
            holder.start().wait_ready()
        at = mono_ns()
        # Both sides have spoken by way of B.
        wait_for(lambda: mono_ns() - at > LEASE_MS * 10**6, what="a while on B")
        _, status, out = cluster.handover("--to", holder.name)
        assert status == 0, out
        cluster.settle_on_wire(vips, holder)


@pytest.mark.slow
def test_no_planned_move_to_a_node_whose_table_lags(cluster):
    """It would send connections to where they were never made."""
    service, vips, holder = cluster.serve()
    late, _ = cluster.others(holder)
    pods = backends(cluster, "on the holder", holder)
    gone = next(pod for pod in cluster.lab.pods if pod not in pods)
    with workers_held(late):
        service.set_backends(pods)
        for vip in vips:
            cluster.reach_only(cluster.lab.client, vip, pods)
        assert cluster.in_table(late.node, gone.ip4), "it does not lag"
        with connected(cluster, vips):
            _, status, out = cluster.handover("--to", late.name)
            assert status != 0 and "not ready in time" in out, out
            assert cluster.wait_holder() is holder
    wait_for(lambda: not cluster.in_table(late.node, gone.ip4), what="the table to be up to date")
    with connected(cluster, vips):
        _, status, out = cluster.handover("--to", late.name)
        assert status == 0, out
        cluster.settle_on_wire(vips, late)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["handover", "kill -9"])
def test_connections_of_a_client_on_a_node(cluster, how):
    """On the node that will hold, and on one that never does."""
    _, vips, holder = cluster.serve()
    one, two = cluster.others(holder)
    with connected(cluster, vips, one.node), connected(cluster, vips, two.node):
        strike(cluster, how, holder)
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "handover", "kill -9"])
def test_udp_flows_stay_with_their_backend(cluster, how):
    """The same source port meets the same pod before and after."""
    _, vips, holder = cluster.serve()
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(UdpProbe(cluster.lab.client, vip, 80, interval_ms=4, flows=1)) for vip in vips
                  for _ in range(6)]
        for probe in probes:
            probe.wait_answered(20)
        strike(cluster, how, holder)
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        back = mono_ns()
        for probe in probes:
            probe.wait_answer_after(back, 30)
            probe.wait_answered(50)
        traces = [probe.stop() for probe in probes]
    for trace in traces:
        assert len(trace.backends()) == 1, trace.backends()
        if how != "kill -9":
            assert len(trace.lost()) <= 10  # answers under way at the moment of the move
