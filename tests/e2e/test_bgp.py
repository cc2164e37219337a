"""announce bgp: real BIRD 2 and FRR export what Leasehold puts on `lo`, and a router spreads VIPs over the nodes."""

import contextlib
import json
import re
import sys

import pytest

from kube.client import ApiError
from netns.lab import mono_ns, wait_for
from netns.probe import StreamsProbe, UdpProbe

from e2e import bgp
from e2e.agents import BINARY, LEASE_MS, LEASES, PATIENCE_S, Agent
from e2e.refusal import Refusal, reason_not_to
from e2e.test_doctor import about, carry_out, default_route_elsewhere, findings, kernel_state, run, sysctls

NO_REFUSAL = reason_not_to(BINARY)
POOLS = ["203.0.113.10-203.0.113.99", "2001:db8:f::10-2001:db8:f::99"]
NODES = "/api/v1/nodes"
DRAIN_S = 5
DRAIN_TABLE = "leasehold-drain"
# Two ends of a TCP connection of BGP's port, as two nodes' daemons have it.
MESH = '''
import socket, time
family = socket.AF_INET6 if ":" in "{ip}" else socket.AF_INET
if "{do}" == "listen":
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a daemon may have been connected here
    s.bind(socket.getaddrinfo("{ip}", 179, family)[0][4])
    s.listen()
    kept = s.accept()
while "{do}" == "connect":
    try:
        kept = socket.create_connection(("{ip}", 179), 5)
        break
    except OSError:
        time.sleep(0.05)
time.sleep(600)
'''
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
            drained = wait_told(agent, vips, "draining", "stopping" if how == "SIGTERM" else "unschedulable, and another node")
            assert 0 < drained["drains_for_ms"] <= 30_000
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


@pytest.mark.slow
def test_connections_outlive_a_late_withdrawal(cluster):
    """A drained node serves on while nobody else can; when a replacement is ready at last, long after drain-time, it withdraws as
    if it had just been drained: the others get ready for its connections once more, and hand them back for all of drain-time.

    The connections are idle meanwhile: what a router moves to a node that joins, before the others are ready, is refused.
    """
    one, two, _ = cluster.lab.nodes
    pods = {node.name: [pod for pod in cluster.lab.pods if pod.node is node] for node in (one, two)}

    def has_table(node=two):
        return DRAIN_TABLE in node.nft("list", "tables")

    with fabric(cluster) as made, contextlib.ExitStack() as stack:
        web, vips = serve(cluster, made, pods[one.name], drain_time="10s", externalTrafficPolicy="Local")
        agent = cluster.agents[one.name]
        probes = {vip: stack.enter_context(StreamsProbe(made.user, vip, 80, 30, 20, 30)) for vip in vips}
        for probe in probes.values():
            probe.wait_up()
        cordon(cluster, one)
        wait_for(has_table, what="the first drain")
        wait_for(lambda: not has_table(), 30, what="its end")
        wait_told(agent, vips, "advertised")
        assert all(made.next_hops(vip) == {one.name} for vip in vips)
        web.set_backends(pods[one.name] + pods[two.name])
        for vip in vips:
            made.wait_next_hops(vip, [two])
        drained = wait_told(agent, vips, "draining", "unschedulable, and another node")
        assert 0 < drained["drains_for_ms"] <= 10_000 and has_table()
        for probe in probes.values():
            probe.speak()
        spoke = mono_ns()
        for probe in probes.values():
            probe.wait_echoes(spoke, 8)
        traces = {vip: probe.stop() for vip, probe in probes.items()}
        for vip in vips:
            alive = traces[vip].alive(spoke, 8)
            assert len(alive) == 30, f"{vip}: {len(alive)} of 30 alive, cut {({reason for _, reason in traces[vip].cut()})}"


def test_a_node_tells_the_others_where_it_is(cluster):
    """Without its MACs and addresses they could not hand a leaving node its connections; neither VIPs are part of
    it, nor tunnels without a MAC, nor addresses that are in no subnet; the bridge of its Pods is, like any interface."""
    with contextlib.ExitStack() as undo:
        for node in cluster.lab.nodes:
            node.ip("tuntap", "add", "wg0", "mode", "tun")
            undo.callback(node.ip, "link", "del", "wg0")
            node.ip("address", "add", "198.51.100.1/24", "dev", "wg0")
            node.ip("address", "add", "198.51.100.200/32", "dev", "eth0")
            undo.callback(node.delete_addresses, ["198.51.100.200"])
            node.ip("link", "set", "wg0", "up")
        agents = cluster.start_agents(announce="bgp", pool=POOLS, interface=None)
        vips = cluster.service(policy="RequireDualStack").wait_vips(2)
        for agent in agents:
            wait_for(lambda a=agent: set(vips) <= set(a.node.addresses("lo")), what=f"VIPs on {agent.name}")
        for agent in agents:
            notes = cluster.api().get(f"{LEASES}/leasehold-node-{agent.name}")["metadata"]["annotations"]
            number = cluster.lab.nodes.index(agent.node) + 1
            bridge, = agent.node.ip_json("link", "show", "cni0")
            assert sorted(notes["leasehold.io/macs"].split(",")) == sorted([agent.node.mac, bridge["address"]])
            assert set(notes["leasehold.io/addresses"].split(",")) == {
                agent.node.ip4, agent.node.ip6, f"198.51.100.{16 * number + 1}", f"2001:db8:0:{number}::1"}


# ---- status ----

def told(agent, vip):
    """What `leasehold status --json` says of a VIP, or None."""
    return next((v for v in agent.status()["vips"] if v["address"] == vip), None)


def wait_told(agent, vips, state, why=""):
    """Wait until each VIP is in that state for that reason; what was told of the last."""
    def as_wanted(vip):
        v = told(agent, vip)
        return v if v and v["state"] == state and re.search(why, v["why"]) and bool(v["why"]) == bool(why) else None
    for vip in vips:
        found = wait_for(lambda v=vip: as_wanted(v), PATIENCE_S, 0.05, lambda v=vip: f"{state} ({why}); it is {told(agent, v)}")
    return found


def text_of(agent):
    return agent.node.run([BINARY, "status", "--state-dir", str(agent.state_dir)])


def test_status_says_what_is_advertised_and_why_not(cluster):
    one, two, three = cluster.start_agents(announce="bgp", pool=POOLS, interface=None, drain_time="8s")
    pods = [pod for pod in cluster.lab.pods if pod.node is not three.node]
    web = cluster.service(backends=pods, policy="RequireDualStack", externalTrafficPolicy="Local")
    vips = web.wait_vips(2)
    for agent in (one, two):
        wait_told(agent, vips, "advertised")
        assert all(told(agent, vip)["live"] and vip in agent.node.addresses("lo") for vip in vips)
        assert re.match(rf"{agent.name}: fine; holds .*, advertises 2 of 2 VIPs\n", text_of(agent))
    wait_told(three, vips, "withdrawn", "no ready endpoint on this node .*Local")
    assert re.match(rf"{three.name}: fine; holds .*, advertises 0 of 2 VIPs\n", text_of(three))

    cordon(cluster, one.node)
    drained = wait_told(one, vips, "draining", "unschedulable, and another node serves it")
    assert 0 < drained["drains_for_ms"] <= 8000 and not drained["live"]
    assert not set(vips) & set(one.node.addresses("lo"))
    assert re.search(r"^ +\d\.\d s left: the Node is unschedulable", text_of(one), re.MULTILINE)
    wait_told(one, vips, "withdrawn", "unschedulable, and another node serves it")
    assert "drains_for_ms" not in told(one, vips[0])
    # Whom nobody can replace serves on.
    cordon(cluster, two.node)
    wait_told(one, vips, "advertised")
    cordon(cluster, one.node, False)
    wait_told(two, vips, "draining", "unschedulable")
    cordon(cluster, two.node, False)
    wait_told(two, vips, "advertised")
    web.set_backends([])
    for agent in (one, two, three):
        wait_told(agent, vips, "withdrawn", "no ready endpoint on this node")
    web.patch({"spec": {"externalTrafficPolicy": "Cluster"}})
    wait_told(one, vips, "withdrawn", "^no ready endpoint$")


def test_status_says_what_another_has_taken(cluster):
    """An address on lo that somebody else has put there is not taken over, and not told as advertised."""
    agent = cluster.agent(cluster.lab.nodes[0], announce="bgp", pool=["203.0.113.10"], interface=None)
    with contextlib.ExitStack() as undo:
        agent.node.ip("address", "add", "203.0.113.10/32", "dev", "lo")
        undo.callback(agent.node.delete_addresses, ["203.0.113.10"], "lo")
        agent.start().wait_ready()
        web = cluster.service(policy="SingleStack", families=["IPv4"])
        wait_told(agent, ["203.0.113.10"], "refused", "not from Leasehold")
        assert "address_refused" in {p["code"] for p in agent.status()["problems"]}
    wait_told(agent, ["203.0.113.10"], "advertised")
    assert web.wait_vips(1) == ["203.0.113.10"]


def test_status_says_that_lo_is_down(cluster):
    """Daemons export nothing of an interface that is down: no VIP is told as advertised then, and that is a problem."""
    with fabric(cluster) as made:
        _, vips = serve(cluster, made)
        one, *others = cluster.lab.nodes
        agent = cluster.agents[one.name]
        one.ip("link", "set", "lo", "down")
        try:
            wait_told(agent, vips, "refused", "^lo is down$")
            assert not any(told(agent, vip)["live"] for vip in vips)
            problem, = [p for p in agent.status()["problems"] if p["code"] == "address_refused"]
            assert "lo is down" in problem["what"]
            assert "advertises 0 of 2 VIPs" in text_of(agent) and not text_of(agent).startswith(f"{one.name}: fine")
            for vip in vips:
                made.wait_next_hops(vip, others)
        finally:
            one.ip("link", "set", "lo", "up")
        wait_told(agent, vips, "advertised")
        assert not agent.status()["problems"]
        for vip in vips:
            made.wait_next_hops(vip, cluster.lab.nodes)


def test_what_is_routed_by_others_is_logged(cluster):
    """announce none: nothing but the data plane says of a VIP that this node answers for it."""
    agent = cluster.agent(cluster.lab.nodes[0], announce="none", pool=POOLS, interface=None)
    agent.start().wait_ready()
    web = cluster.service(policy="RequireDualStack")
    vips = web.wait_vips(2)
    wait_told(agent, vips, "routed")
    for vip in vips:
        wait_for(lambda v=vip: re.search(rf" vip_up: .*{re.escape(v)}", agent.log()), what=f"vip_up of {vip}")
    web.delete()
    wait_for(lambda: not agent.status()["vips"], what="no VIPs")


# ---- doctor ----

def named(agent, text):
    """The finding about that, or None; not being connected may take a moment to show."""
    _, found = findings(agent)
    return about(found, text) if any(text in f["what"] for f in found) else None


@pytest.mark.parametrize("node_kind", ["bird", "frr"])
def test_doctor_tells_who_exports(cluster, node_kind):
    with fabric(cluster, node_kind) as made:
        _, vips = serve(cluster, made)
        node = cluster.lab.nodes[0]
        agent = cluster.agents[node.name]
        before = kernel_state(node)
        code, out = run(agent)
        assert code == 0 and "0 errors, 0 warnings" in out, out
        for line in (f"TCP port 179: connected with {made.router.ip4}, {made.router.ip6}", "2 VIPs are on lo, with a lifetime",
                     "eth0: forwarding and rp_filter as VIPs need them", "nf_tables for ARP: ", "by Leasehold\n"):
            assert line in out, f"{line}: {out}"
        assert max(map(len, out.splitlines())) <= 100 and kernel_state(node) == before

        with default_route_elsewhere(node), sysctls(node, rp_filter=1, forwarding=0, arp_ignore=8):
            code, found = findings(agent)
            assert code == 1 and about(found, "eth0.forwarding is 0")["level"] == "error"
            assert about(found, "eth0.rp_filter is 1")["level"] == "warning"
            assert not any("arp_ignore" in f["what"] for f in found), found
            for what in ("eth0.forwarding is 0", "eth0.rp_filter is 1"):
                carry_out(node, about(found, what))
            assert "0 errors, 0 warnings" in run(agent)[1]

        node.run(["sysctl", "-w", "net.ipv6.conf.lo.disable_ipv6=1"])
        wait_told(agent, vips[1:], "refused", "IPv6 is off")
        wrong = named(agent, "lo.disable_ipv6 is 1")
        assert wrong["level"] == "error"
        carry_out(node, wrong)
        wait_told(agent, vips, "advertised")

        made.daemon(made.router).kill9()
        waiting = wait_for(lambda: named(agent, "listens on TCP port 179, and no BGP"), PATIENCE_S, what="no session")
        assert waiting["level"] == "warning" and "birdc" in waiting["mend"]
        made.daemon(node).kill9()
        nobody = wait_for(lambda: named(agent, "nobody listens on TCP port 179"), PATIENCE_S, what="no daemon")
        assert nobody["level"] == "warning" and "docs/bgp.md" in nobody["mend"]


def test_doctor_before_the_first_agent(cluster):
    """No daemon, no VIPs: nothing that would keep an agent from starting; but an address of the pool on lo is named."""
    agent = cluster.agent(cluster.lab.nodes[0], announce="bgp", pool=POOLS, interface=None)
    code, found = findings(agent)
    assert code == 0 and about(found, "VIPs on lo")["level"] == "skipped"
    assert about(found, "nobody listens on TCP port 179")["level"] == "warning"
    with contextlib.ExitStack() as undo:
        agent.node.ip("address", "add", "203.0.113.10/32", "dev", "lo")
        undo.callback(agent.node.delete_addresses, ["203.0.113.10"], "lo")
        code, found = findings(agent)
        wrong = about(found, "203.0.113.10/32 on lo is in a pool, and not marked as Leasehold's")
        assert code == 1 and wrong["level"] == "error"
        carry_out(agent.node, wrong)
        assert findings(agent)[0] == 0


def test_an_address_that_lost_its_mark_is_put_back(cluster):
    """`ip address change` takes the mark away: the doctor's remedy lets the agent put its own there again."""
    agent, = cluster.start_agents([cluster.lab.nodes[0]], announce="bgp", pool=POOLS, interface=None)
    vips = cluster.service(policy="RequireDualStack").wait_vips(2)
    wait_told(agent, vips, "advertised")
    agent.node.ip("address", "change", f"{vips[0]}/32", "dev", "lo", "valid_lft", "forever", "preferred_lft", "forever")
    wrong = wait_for(lambda: named(agent, f"{vips[0]}/32 on lo is a VIP, and not marked"), PATIENCE_S, what="a lost mark")
    assert wrong["level"] == "error" and "the agent puts it back" in wrong["mend"] and "end the program" not in wrong["mend"]
    carry_out(agent.node, wrong)
    wait_told(agent, vips, "advertised")
    assert findings(agent)[0] == 0


def test_doctor_knows_connections_of_nodes_alone(cluster):
    """A network plugin's own mesh of nodes exports no VIPs, and does not make the doctor content."""
    agents = cluster.start_agents(announce="bgp", pool=POOLS, interface=None)
    one, two = agents[0].node, agents[1].node
    listen = two.spawn([sys.executable, "-c", MESH.format(ip=two.ip4, do="listen")])
    mesh = one.spawn([sys.executable, "-c", MESH.format(ip=two.ip4, do="connect")])
    try:
        for agent, peer in ((agents[0], two), (agents[1], one)):
            wrong = wait_for(lambda a=agent, p=peer: named(a, f"TCP port 179: connected with {p.ip4}, a node of this cluster"),
                             PATIENCE_S, what="a connection of nodes")
            assert wrong["level"] == "warning" and "docs/bgp.md" in wrong["mend"]
    finally:
        mesh.kill9()
        listen.kill9()


def test_doctor_tells_routers_of_one_link_local_address_apart(cluster):
    """Two routers, each fe80::1 on a link of its own, are two."""
    agent = cluster.agent(cluster.lab.nodes[0], announce="bgp", pool=POOLS, interface=None)
    node, links = agent.node, ("up0", "up1")
    with contextlib.ExitStack() as undo:
        for link in links:
            node.ip("link", "add", link, "type", "veth", "peer", "name", f"{link}tor")
            undo.callback(node.ip, "link", "del", link)
            for end, address in ((link, "fe80::2"), (f"{link}tor", "fe80::1")):
                node.ip("link", "set", end, "up")
                node.ip("address", "add", f"{address}/64", "dev", end, "nodad")
            for end, do in ((f"{link}tor", "listen"), (link, "connect")):
                undo.callback(node.spawn([sys.executable, "-c", MESH.format(ip=f"fe80::1%{end}", do=do)]).kill9)
        both = wait_for(lambda: [f for f in json.loads(run(agent, "--json")[1])["findings"]
                                 if all(f"fe80::1%{link}" in f["what"].replace(",", "").split() for link in links)],
                        PATIENCE_S, what="two routers")
        assert both[0]["level"] == "ok" and "birdc show route export" in both[0]["means"]


@pytest.mark.parametrize("mode", ["report", "manage"])
def test_the_agent_looks_at_the_ways_in(cluster, mode):
    """Forwarding off where routers send packets in: told by log and status, and set where it may be."""
    node = cluster.lab.nodes[0]
    with contextlib.ExitStack() as undo:
        node.ip("route", "add", "default", "dev", "eth0", "metric", "7")
        undo.callback(node.ip, "route", "del", "default", "dev", "eth0", "metric", "7")
        undo.enter_context(sysctls(node, forwarding=0, arp_ignore=8))
        agent, = cluster.start_agents([node], announce="bgp", pool=POOLS, interface=None, sysctl=mode)
        wait_told(agent, cluster.service().wait_vips(), "advertised")
        if mode == "manage":
            wait_for(lambda: node.run(["sysctl", "-n", "net.ipv4.conf.eth0.forwarding"]).strip() == "1", PATIENCE_S, what="forwarding")
            wait_for(lambda: "sysctl_set" in agent.log(), PATIENCE_S, what="a word on it")
            assert "sysctl_wrong" not in agent.log() and findings(agent)[0] == 0
            assert not [p for p in agent.status()["problems"] if p["code"] == "sysctl"]
            return
        wait_for(lambda: "sysctl_wrong" in agent.log(), PATIENCE_S, what="a word on forwarding")
        told_of, = [p for p in agent.status()["problems"] if p["code"] == "sysctl"]
        assert told_of["level"] == "error" and "net.ipv4.conf.eth0.forwarding is 0" in told_of["what"], told_of
        told_lines = [line for line in agent.log().splitlines() if "sysctl_wrong" in line]
        assert len(told_lines) == 1 and "sysctl -w net.ipv4.conf.eth0.forwarding=1" in told_lines[0]
        assert "sysctl_set" not in agent.log()


# ---- a stop that the kernel refuses ----

class RefusedAgent(Agent):
    """An agent that can be kept from removing addresses."""

    def __init__(self, node, kubeconfig, workdir, flags):
        super().__init__(node, kubeconfig, workdir, flags)
        self.refusal = Refusal(self.workdir / "refuse")

    def command(self, **changed):
        return [*self.refusal.prefix, *super().command(**changed)]


@pytest.mark.slow
@pytest.mark.skipif(bool(NO_REFUSAL), reason=NO_REFUSAL)
def test_a_stop_ends_although_addresses_stay(cluster, monkeypatch):
    """It waits for connections, which come in as ever, for drain-time and no longer, releases the Lease, and says of no VIP that
    it is withdrawn; the addresses expire by themselves."""
    monkeypatch.setattr("e2e.agents.Agent", RefusedAgent)
    lease_s = 12  # the addresses outlive the stop
    with fabric(cluster) as made, contextlib.ExitStack() as probes:
        agent, = cluster.start_agents([cluster.lab.nodes[0]], announce="bgp", pool=POOLS, interface=None,
                                      lease_duration=f"{lease_s}s", drain_time=f"{DRAIN_S}s", gate="off")
        vips = cluster.service(policy="RequireDualStack").wait_vips(2)
        for vip in vips:
            made.wait_next_hops(vip, [agent.node])
            probes.enter_context(StreamsProbe(made.user, vip, 80, 2)).wait_up()
        agent.refusal.begin()
        at = mono_ns()
        agent.process.terminate()
        wait_told(agent, vips, "advertised", "being withdrawn: this agent is stopping")
        # Withdrawing takes 1 s, the release at most 3 s; nobody is there to hand over to.
        assert agent.process.wait(DRAIN_S + 4 + 15) == 0
        assert (mono_ns() - at) / 1e9 >= DRAIN_S
        assert all(vip in agent.node.addresses("lo") for vip in vips), "the kernel has kept them"
        assert agent.refusal.refused() > 0 and not cluster.lease_holder()
        log = agent.log()
        assert re.search(r"withdrawal_failed.*addresses=2", log) and not re.search(r" (route|vip)_down: ", log)
        for vip in vips:
            wait_for(lambda v=vip: v not in agent.node.addresses("lo"), lease_s + 10, what=f"{vip} to expire")
            made.wait_next_hops(vip, [])
