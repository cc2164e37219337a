"""No API server, a bad one, or one that a node cannot see: under `hold` the VIPs stay up and do not move; under `fence`
they go silent at the deadline."""

import contextlib

import pytest

from fakekube.fault_proxy import FaultProxy
from netns.lab import mono_ns, wait_for

from e2e.agents import LEASE_MS, NAMESPACE, PATIENCE_S

OUTAGE_S = 20
FAULT_S = 10
# Past the deadline two nodes may answer for the way of a frame and a turn of the holder's loop; a busy machine's.
BOUND_MS = 250
PROXY_PORT = 6700


@pytest.fixture
def plane(cluster):
    """The control plane, back in order after the case whatever the case did to it."""
    yield cluster.plane
    for server in cluster.plane.servers:
        if server.process.alive():
            server.process.thaw()
    if not all(server.serving() for server in cluster.plane.servers):
        cluster.plane.restart()


def last(seconds):
    at = mono_ns()
    wait_for(lambda: mono_ns() - at >= seconds * 10**9, seconds + 5, 0.05, "the time of the outage")


def in_order(cluster):
    for agent in cluster.agents.values():
        wait_for(agent.ready, 2 * PATIENCE_S, 0.1, lambda a=agent: f"{a} ready:\n{a.log_tail()}")


@contextlib.contextmanager
def untouched(cluster, vips, holder):
    """What happens in here loses nothing and moves nothing, not even in the time after it."""
    with cluster.observed(vips, interval_ms=4) as seen:
        yield
        in_order(cluster)
        last(2 * LEASE_MS / 1000)
        seen.wait_answers()
        seen.stop()
    assert cluster.lease_holder() == holder.name
    assert set(seen.neigh.macs()) == {holder.node.mac}
    seen.require_one_claimant()
    for vip, trace in seen.traces.items():
        lost = trace.lost()
        assert not lost, f"{len(lost)} lost at {vip}, over {(lost[-1] - lost[0]) / 1e6:.0f} ms"


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_hold_an_api_server_that_is_away_is_not_noticed(cluster, plane, how):
    service, vips, holder = cluster.serve(on_api_loss="hold")
    with untouched(cluster, vips, holder):
        getattr(plane, how)()
        last(OUTAGE_S)
        assert holder.metrics()["leasehold_overtime"] == 1
        assert all(agent.http("/healthz")[0] == 200 for agent in cluster.agents.values())
        getattr(plane, {"kill": "restart", "freeze": "thaw"}[how])()
    assert service.vips() == vips and holder.metrics()["leasehold_overtime"] == 0
    cluster.settle_on(vips, holder)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_fence_is_silent_at_the_deadline(cluster, plane, how):
    _, vips, holder = cluster.serve(on_api_loss="fence")
    with cluster.observed(vips, interval_ms=4, data=True) as seen:
        at = mono_ns()
        getattr(plane, how)()
        for vip in vips:
            wait_for(lambda v=vip: not cluster.nodes_with(v), PATIENCE_S, what=f"{vip} to be withdrawn")
        last(2 * LEASE_MS / 1000)
        back = mono_ns()
        getattr(plane, {"kill": "restart", "freeze": "thaw"}[how])()
        seen.wait_answers(back, 2 * PATIENCE_S)
        seen.stop()
    assert seen.two_macs_ms() == 0
    seen.require_one_claimant()
    for vip in vips:
        assert not seen.claims.of(vip, since=at + LEASE_MS * 10**6, until=back)
    in_order(cluster)
    assert holder.running()


FAULTS = {
    "black hole": lambda proxy: proxy.mode("black_hole"),
    "refused": lambda proxy: proxy.mode("refuse"),
    "answers after 10 s": lambda proxy: proxy.rule("delay", ms=10000),
    "429": lambda proxy: proxy.rule("answer", code=429, retry_after=1),
    "500": lambda proxy: proxy.rule("answer", code=500),
    "401, as with an expired token": lambda proxy: proxy.rule("answer", code=401),
    "writes carried out, answers lost": lambda proxy: proxy.rule("drop_reply", verb="PUT", then="hang"),
}


@pytest.fixture
def proxy(cluster, tmp_path):
    """A fault proxy on the API server's host that the agents of the case go through."""
    with FaultProxy(cluster.lab.api.netns, f"{cluster.lab.api.ip4}:{PROXY_PORT}", cluster.plane, tmp_path / "proxy") as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_hold_a_bad_api_server_is_not_noticed(cluster, proxy, fault):
    _, vips, holder = cluster.serve(kubeconfig=proxy.kubeconfig_for_serviceaccount(NAMESPACE, "leasehold"),
                                    on_api_loss="hold")
    with untouched(cluster, vips, holder):
        FAULTS[fault](proxy)
        last(FAULT_S)
        proxy.clear()
        proxy.mode("pass")


@pytest.mark.slow
def test_hold_a_holder_that_alone_cannot_see_the_api(cluster):
    """The VIP goes to a node that sees it, or stays; never do two answer for longer than it takes to hear each other."""
    _, vips, holder = cluster.serve(on_api_loss="hold")
    with cluster.observed(vips, interval_ms=4) as seen:
        cluster.lab.split([holder.node], [cluster.lab.api])
        last(FAULT_S)
        seen.wait_answers()
        cluster.lab.heal()
        in_order(cluster)
        last(2 * LEASE_MS / 1000)
        seen.wait_answers()
        seen.stop()
    assert seen.two_macs_ms() <= BOUND_MS
    for vip, trace in seen.traces.items():
        gap = trace.dark()
        assert gap.ms < LEASE_MS, f"{vip}: {gap}"
    cluster.only_answers(vips, cluster.wait_holder())


@pytest.mark.slow
def test_hold_all_nodes_cut_from_the_api_but_not_from_each_other(cluster):
    _, vips, holder = cluster.serve(on_api_loss="hold")
    with untouched(cluster, vips, holder):
        cluster.lab.split(cluster.lab.nodes, [cluster.lab.api])
        last(FAULT_S)
        cluster.lab.heal()


@pytest.mark.slow
def test_hold_a_split_lan_ends_with_one_answerer_when_it_is_whole(cluster):
    """The holder is on the side without the API server: both sides have one who answers, until they hear each other."""
    _, vips, holder = cluster.serve(on_api_loss="hold")
    lab, rest = cluster.lab, [agent.node for agent in cluster.others(holder)]
    with cluster.observed(vips, interval_ms=4) as seen:
        lab.split([holder.node, lab.slow], [*rest, lab.api, lab.client, lab.watch])
        new = cluster.wait_holder(but=holder)
        seen.wait_heard(vips, new.node.mac)
        seen.wait_answers()
        last(LEASE_MS / 1000)
        healed = mono_ns()
        lab.heal()
        in_order(cluster)
        last(2 * LEASE_MS / 1000)
        seen.wait_answers()
        seen.stop()
    late = [o for vip in vips for o in seen.claims.two_macs(vip) if o.end > healed + BOUND_MS * 10**6]
    assert not late, [(o.vip, (o.start - healed) / 1e6, (o.end - healed) / 1e6) for o in late]
    cluster.only_answers(vips, cluster.wait_holder())


@pytest.mark.slow
def test_hold_an_agent_restarted_during_an_outage_is_dark_until_it_is_over(cluster, plane):
    """Documented: nothing proves to a new process that nobody else holds."""
    _, vips, holder = cluster.serve(on_api_loss="hold")
    with cluster.observed(vips, interval_ms=4, data=True) as seen:
        plane.kill()
        last(2 * LEASE_MS / 1000)
        at = holder.kill9()
        holder.start()
        last(2 * LEASE_MS / 1000)
        back = mono_ns()
        plane.restart()
        seen.wait_answers(back, 2 * PATIENCE_S)
        seen.stop()
    assert seen.two_macs_ms() == 0
    for vip in vips:
        assert not seen.claims.of(vip, since=at + LEASE_MS * 10**6, until=back)
    in_order(cluster)
    cluster.only_answers(vips, cluster.wait_holder())


@pytest.mark.parametrize("claim", ["answered", "answer lost"])
def test_a_candidate_that_the_cut_off_holder_does_not_know_waits(cluster, proxy, claim):
    """It came after the holder lost the API, which takes it for a stranger and will not yield: it opens when that is silent.

    It may see its own claim before it has the answer to it: that tells nothing of the holder that was.
    """
    lab = cluster.lab
    cluster.start_agents(lab.nodes[:1], on_api_loss="hold")
    vips = cluster.service(policy="RequireDualStack").wait_vips(2)
    for vip in vips:
        cluster.wait_on_one_node(vip)
    holder = cluster.wait_holder()
    with cluster.observed(vips, interval_ms=10) as seen:
        holder.node.nft(script=f"table inet cut {{ chain o {{ type filter hook output priority -300; ip daddr {lab.api.ip4} "
                               "tcp dport 6443 drop; }; chain i { type filter hook input priority -300; "
                               f"ip saddr {lab.api.ip4} tcp sport 6443 drop; }}; }}")
        try:
            if claim == "answer lost":
                proxy.rule("drop_reply", verb="PUT", path="/leases/leasehold-group-0", count=1, then="hang")
            other = cluster.agent(lab.nodes[2], on_api_loss="hold",
                                  kubeconfig=proxy.kubeconfig_for_serviceaccount(NAMESPACE, "leasehold")).start()
            wait_for(lambda: cluster.lease_holder() == other.name, PATIENCE_S, what="the other to hold the Lease")
            last(3 * LEASE_MS / 1000)
        finally:
            holder.node.nft("delete", "table", "inet", "cut")
        wait_for(lambda: all(vip in other.node.addresses() for vip in vips), PATIENCE_S, what="the other's addresses")
        cluster.settle_on_wire(vips, other)
        seen.wait_answers()
        seen.stop()
    # For the first moment the other announces, so that a holder that knows it would yield; it answers nobody.
    assert not seen.neigh.duplicates()
    assert [t.mac for t in seen.neigh.tenures(vips[0])][-1] == other.node.mac
