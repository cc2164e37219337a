"""announce bgp: real BIRD 2 and FRR export what Leasehold puts on `lo`, and a router spreads VIPs over the nodes."""

import contextlib

import pytest

from kube.client import ApiError
from netns.lab import mono_ns, wait_for
from netns.probe import StreamsProbe, UdpProbe

from e2e import bgp
from e2e.agents import LEASE_MS

POOLS = ["203.0.113.10-203.0.113.99", "2001:db8:f::10-2001:db8:f::99"]
NODES = "/api/v1/nodes"
DRAIN_S = 5
DRAIN_TABLE = "leasehold-drain"
# A Lease's whole seconds and two: how long an address outlives its agent.
LIFETIME_S = LEASE_MS // 1000 + 2


@contextlib.contextmanager
def fabric(cluster, node_kind="bird", router_kind="bird"):
    for kind in {node_kind, router_kind}:
        if bgp.missing(kind):
            pytest.skip(f"{bgp.missing(kind)} is not installed")
    with bgp.Fabric(cluster.lab, node_kind, router_kind) as made:
        yield made


def serve(cluster, made, backends=None, drain_time="5s", **service):
    """Agents on all nodes, a Service, and its VIPs known to the router by way of every node that should offer it."""
    cluster.start_agents(announce="bgp", pool=POOLS, interface=None, drain_time=drain_time)
    web = cluster.service(backends=backends, policy="RequireDualStack", **service)
    vips = web.wait_vips(2)
    nodes = cluster.lab.nodes if service.get("externalTrafficPolicy") != "Local" else \
        {pod.node for pod in backends or cluster.lab.pods}
    for vip in vips:
        made.wait_next_hops(vip, nodes)
    return web, vips


@pytest.mark.parametrize("node_kind, router_kind", [("bird", "frr"), ("frr", "bird")])
def test_a_router_learns_a_vip_from_every_node(cluster, node_kind, router_kind):
    """Service appears: three next hops; it goes: none.  Every backend is reached, by either family."""
    with fabric(cluster, node_kind, router_kind) as made:
        web, vips = serve(cluster, made)
        for vip in vips:
            for protocol in ("UDP", "TCP"):
                cluster.reach_all(made.user, vip, cluster.lab.pods, protocol)
        web.delete()
        for vip in vips:
            made.wait_next_hops(vip, [])
        assert not any(cluster.nodes_with(vip) for vip in vips)


def test_only_nodes_with_endpoints_offer_a_local_service(cluster):
    """externalTrafficPolicy Local: next hops follow the endpoints, and the pods see the user's own address."""
    pods = {node.name: [pod for pod in cluster.lab.pods if pod.node is node] for node in cluster.lab.nodes}
    one, two, three = cluster.lab.nodes
    with fabric(cluster) as made:
        web, vips = serve(cluster, made, pods[one.name] + pods[two.name], externalTrafficPolicy="Local")
        for vip in vips:
            trace = cluster.reach_all(made.user, vip, pods[one.name] + pods[two.name], "TCP")
            assert trace.backends()
        web.set_backends(pods[three.name])
        for vip in vips:
            made.wait_next_hops(vip, [three])
            cluster.reach_only(made.user, vip, pods[three.name])
        web.set_backends([])
        for vip in vips:
            made.wait_next_hops(vip, [])
        assert not any(cluster.nodes_with(vip) for vip in vips)


@pytest.fixture(autouse=True)
def node_objects(cluster):
    """A Node for each node, as a kubelet would have made it."""
    for node in cluster.lab.nodes:
        with contextlib.suppress(ApiError):
            cluster.api().create(NODES, {"metadata": {"name": node.name}})
    yield
    for node in cluster.lab.nodes:
        with contextlib.suppress(ApiError):
            cluster.api().delete(f"{NODES}/{node.name}")


def cordon(cluster, node, on=True):
    cluster.api().patch(f"{NODES}/{node.name}", {"spec": {"unschedulable": True if on else None}})


@contextlib.contextmanager
def asked(made, vips):
    """A user asks with a new flow each 4 ms; yields {vip: trace}, filled in at the end."""
    traces = {}
    with contextlib.ExitStack() as stack:
        probes = {vip: stack.enter_context(UdpProbe(made.user, vip, 80, interval_ms=4, fresh=True)) for vip in vips}
        for probe in probes.values():
            probe.wait_answered(50)
        yield traces
        for probe in probes.values():
            probe.wait_answered(100)
        traces.update({vip: probe.stop() for vip, probe in probes.items()})


def strike(cluster, made, how, agent):
    """The moment before it (monotonic ns)."""
    at = mono_ns()
    if how == "kill -9":
        agent.kill9()
    elif how == "SIGSTOP":
        agent.freeze()
    elif how == "SIGTERM":
        assert agent.stop(timeout_s=DRAIN_S + 15)[1] == 0
    elif how == "unschedulable":
        cordon(cluster, agent.node)
    else:
        cluster.lab.unplug(agent.node)
        agent.kill9()
        made.daemon(agent.node).kill9()
    return at


def report(what, vips, traces, since, gone):
    for vip in vips:
        lost, answered = len(traces[vip].lost(since)), traces[vip].answered(since)
        print(f"MEASURED {what}: {vip}: {lost} of {lost + answered} questions lost, dark {traces[vip].dark(since)}, "
              f"withdrawn after {(gone[vip] - since) / 1e6:.0f} ms")


@pytest.mark.slow
@pytest.mark.parametrize("how, node_kind, within_s, lossless", [
    ("SIGTERM", "bird", 2, True), ("unschedulable", "bird", 2, True), ("kill -9", "bird", LIFETIME_S + 1, True),
    ("kill -9", "frr", LIFETIME_S + 1, True), ("SIGSTOP", "bird", LIFETIME_S + 1, True), ("dead", "bird", 3, False)])
def test_a_node_that_fails_is_withdrawn(cluster, how, node_kind, within_s, lossless):
    """By its agent, by the kernel once the agent has stopped refreshing, or by BFD when there is no node any more."""
    with fabric(cluster, node_kind) as made:
        agent_node = cluster.lab.nodes[0]
        stay = [node for node in cluster.lab.nodes if node is not agent_node]
        backends = [pod for pod in cluster.lab.pods if pod.node in stay]
        _, vips = serve(cluster, made, backends)
        agent, gone = cluster.agents[agent_node.name], {}
        with asked(made, vips) as traces:
            at = strike(cluster, made, how, agent)
            for vip in vips:
                made.wait_next_hops(vip, stay, within_s + 10)
                gone[vip] = mono_ns()
        report(f"{how}, {node_kind}", vips, traces, at, gone)
        for vip in vips:
            if how != "SIGTERM":
                assert gone[vip] - at < (within_s + 2) * 10**9
            assert not lossless or not traces[vip].lost(at)
        if how == "SIGSTOP":
            agent.thaw()
        elif how == "unschedulable":
            cordon(cluster, agent_node, False)
        if how in ("SIGSTOP", "unschedulable"):
            for vip in vips:
                made.wait_next_hops(vip, cluster.lab.nodes)


def test_a_drained_node_serves_on_while_no_other_agent_lives(cluster):
    """What the others' records say outlives them; once one is back, the drained node withdraws."""
    with fabric(cluster) as made:
        _, vips = serve(cluster, made)
        one, *others = cluster.lab.nodes
        for node in others:
            cluster.agents[node.name].kill9()
        for vip in vips:
            made.wait_next_hops(vip, [one])
        cordon(cluster, one)
        at = mono_ns()
        wait_for(lambda: mono_ns() - at > 3 * 10**9, what="six head starts")
        assert all(made.next_hops(vip) == {one.name} for vip in vips)
        cluster.agents[others[0].name].start().wait_ready()
        for vip in vips:
            made.wait_next_hops(vip, [others[0]])


def test_a_restart_withdraws_nothing(cluster):
    """A new agent takes the addresses over before they expire: the router hears nothing of it."""
    with fabric(cluster) as made:
        _, vips = serve(cluster, made)
        agent = cluster.agents[cluster.lab.nodes[0].name]
        log = cluster.workdir / "routes.log"
        monitor = made.router.spawn(["ip", "monitor", "route"], log=log)
        with asked(made, vips) as traces:
            at = strike(cluster, made, "kill -9", agent)
            agent.start().wait_ready()
            # Past the end of what the first one had refreshed.
            wait_for(lambda: mono_ns() - at > (LIFETIME_S + 1) * 10**9, LIFETIME_S + 5, what="a lifetime")
        monitor.kill9()
        assert not [line for line in log.read_text().splitlines() if any(vip in line for vip in vips)]
        for vip in vips:
            assert not traces[vip].lost(at)
            made.wait_next_hops(vip, cluster.lab.nodes, 1)


def test_an_address_that_somebody_removes_comes_back(cluster):
    with fabric(cluster) as made:
        _, vips = serve(cluster, made)
        node = cluster.lab.nodes[0]
        node.delete_addresses(vips, "lo")
        for vip in vips:
            wait_for(lambda v=vip: v in node.addresses("lo"), what=f"{vip} on {node.name} again")
            made.wait_next_hops(vip, cluster.lab.nodes)


def test_from_announcing_to_routing(cluster):
    """What agents that announced left behind (killed: addresses, gate) does not stop those that route."""
    with fabric(cluster) as made:
        agents = cluster.start_agents(pool=POOLS, interface_subnet="any")
        vips = cluster.service(policy="RequireDualStack").wait_vips(2)
        for vip in vips:
            cluster.wait_on_one_node(vip)
        for agent in agents:
            agent.kill9()
        assert all(agent.node.filters() for agent in agents)
        for agent in agents:
            agent.start(announce="bgp", interface=None)
        for vip in vips:
            made.wait_next_hops(vip, cluster.lab.nodes)
            wait_for(lambda v=vip: not cluster.nodes_with(v), what=f"{vip} on lo alone")
            wait_for(lambda: not any(agent.node.filters() for agent in agents), what="no filters")
            cluster.reach_all(made.user, vip, cluster.lab.pods, "TCP")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "unschedulable"])
def test_connections_outlive_a_planned_drain(cluster, how):
    """Those of the node that leaves, and those of the others that the router moves when it hashes anew; idle ones, too.

    A busy machine takes its time: the drain lasts longer than by default.
    """
    with fabric(cluster) as made:
        _, vips = serve(cluster, made, drain_time="30s")
        agent = cluster.agents[cluster.lab.nodes[0].name]
        stay = [node for node in cluster.lab.nodes if node is not agent.node]
        with contextlib.ExitStack() as stack:
            probes = {vip: stack.enter_context(StreamsProbe(made.user, vip, 80, 60, 20, 20)) for vip in vips}
            for probe in probes.values():
                probe.wait_up()
                probe.wait(lambda s: s["arrived"] >= 400, what="the connections to speak")
            at = mono_ns()
            if how == "SIGTERM":
                agent.process.terminate()
            else:
                cordon(cluster, agent.node)
            for vip in vips:
                made.wait_next_hops(vip, stay)
            for node in stay:
                tables = node.nft("list", "table", "ip", DRAIN_TABLE) + node.nft("list", "table", "ip6", DRAIN_TABLE)
                assert f"dup to {agent.node.ip4} device" in tables and f"dup to {agent.node.ip6} device" in tables
                assert "ether saddr @nodes counter" in tables and "tcp flags ! syn ct state invalid,new goto strays" in tables
                assert all((other.mac in tables) == (other is not node) for other in cluster.lab.nodes)
                assert "ip ttl <= 1 counter" in tables and "ip6 hoplimit <= 1 counter" in tables
            for probe in probes.values():
                probe.speak()
            spoke = mono_ns()
            for probe in probes.values():
                probe.wait_echoes(spoke, 10)
            traces = {vip: probe.stop() for vip, probe in probes.items()}
        for vip in vips:
            alive = traces[vip].alive(spoke, 10)
            assert len(alive) == 60, f"{vip}: {len(alive)} of 60 alive, cut {({reason for _, reason in traces[vip].cut()})}"
        if how == "SIGTERM":
            # It ends as soon as the connections have.
            assert agent.process.wait(30) == 0
            assert mono_ns() - at < 30 * 10**9
        else:
            cordon(cluster, agent.node, False)
            for node in cluster.lab.nodes:
                wait_for(lambda n=node: DRAIN_TABLE not in n.nft("list", "tables"), what=f"no {DRAIN_TABLE} on {node.name}")
