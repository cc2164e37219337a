"""Which interface carries a VIP: nodes on two LANs, chosen by subnet, by name, by node and by label; interfaces of every kind;
interfaces that are renamed, go, come back and lose their carrier."""

import contextlib

import pytest

from fakekube.fault_proxy import FaultProxy
from netns.lab import POOL4, LabError, wait_for
from netns.probe import Sniffer, UdpProbe

from e2e.agents import NAMESPACE, PATIENCE_S
from e2e.farlan import (FAR4, FAR_VIP, FAR_VIP6, NEAR_VIP, alone, places, require_gated, require_reached, require_refused, stop_all,
                        wait_places, want_vip)

NODES = "/api/v1/nodes"
VLAN = 7
PROXY_PORT = 6701


@pytest.fixture
def api_nodes(cluster):
    """Node objects for the lab's nodes; they go after the test."""
    for node in cluster.lab.nodes:
        cluster.api().create(NODES, {"metadata": {"name": node.name}})
    try:
        yield
    finally:
        for node in cluster.lab.nodes:
            if cluster.api().exists(f"{NODES}/{node.name}"):
                cluster.api().delete(f"{NODES}/{node.name}")


def label(cluster, node, **labels):
    cluster.api().patch(f"{NODES}/{node.name}", {"metadata": {"labels": labels}})


# --- which one ------------------------------------------------------------------------------------


def test_each_vip_goes_to_the_lan_with_its_subnet(cluster, far):
    cluster.start_agents(interface=None, pool=[POOL4, FAR4, FAR_VIP6])
    vips = {NEAR_VIP: "eth0", FAR_VIP: "eth1", FAR_VIP6: "eth1"}
    for i, vip in enumerate(vips):
        want_vip(cluster, vip, f"web-{i}").wait_vips()
    holder = cluster.wait_holder()
    for vip, dev in vips.items():
        wait_places(cluster, vip, (holder.name, dev))
    cluster.reach_all(cluster.lab.client, NEAR_VIP, cluster.lab.pods)
    require_reached(cluster, far, FAR_VIP)
    require_reached(cluster, far, FAR_VIP6)
    require_gated(holder.node, "eth1")


def test_a_pattern_does_not_take_what_is_excluded(cluster, far):
    agent = alone(cluster, interface="eth*", interface_exclude="eth1")
    want_vip(cluster, NEAR_VIP).wait_vips()
    wait_places(cluster, NEAR_VIP, (agent.name, "eth0"))
    want_vip(cluster, FAR_VIP, "far")
    require_refused(cluster, agent, FAR_VIP, f"{FAR_VIP} is in no subnet of eth0 (192.0.2.0/24)")


def test_auto_does_not_take_what_is_excluded(cluster, far):
    agent = alone(cluster, interface=None, interface_exclude="eth1,wg*")
    want_vip(cluster, FAR_VIP)
    require_refused(cluster, agent, FAR_VIP, "eth1 is excluded")


def test_an_interface_of_another_network_is_refused_with_the_reason(cluster, far):
    agent = alone(cluster, interface="eth0")
    service = want_vip(cluster, FAR_VIP)
    require_refused(cluster, agent, FAR_VIP, f"{FAR_VIP} is in no subnet of eth0 (192.0.2.0/24)")
    assert service.vips() == []
    note = wait_for(lambda: service.events("AddressRefused"), PATIENCE_S, 0.05, "an Event about it")[0][2]
    assert f"{FAR_VIP} on node {agent.name}" in note and "is in no subnet of eth0" in note
    agent.stop()
    agent.start(**{"interface-subnet": "any"})
    service.wait_vips()
    wait_places(cluster, FAR_VIP, (agent.name, "eth0"))


def test_nothing_of_that_name(cluster, far):
    agent = cluster.agent(cluster.lab.nodes[0], interface="bond7", pool=[FAR4]).start()
    want_vip(cluster, FAR_VIP)
    wait_for(lambda: agent.http("/readyz")[0], PATIENCE_S, what="the agent to answer")
    wait_for(lambda: "not_a_candidate" in {p["code"] for p in agent.status()["problems"]}, PATIENCE_S, 0.05,
             lambda: f"the status to say so; it says {agent.status()}")
    assert cluster.lease_holder() == ""
    far.lab.nodes[0].ip("link", "set", "eth1", "name", "bond7")
    cluster.wait_holder()
    wait_places(cluster, FAR_VIP, (agent.name, "bond7"))


def test_a_vip_on_two_lans_has_one_holder(cluster, far):
    cluster.start_agents(interface="eth0,eth1", interface_mode="all", interface_subnet="any")
    far.host.ip("route", "add", NEAR_VIP, "dev", "eth0")
    want_vip(cluster, NEAR_VIP).wait_vips()
    holder = cluster.wait_holder()

    def require_on(agent):
        wait_places(cluster, NEAR_VIP, (agent.name, "eth0"), (agent.name, "eth1"))
        cluster.reach_all(cluster.lab.client, NEAR_VIP, cluster.lab.pods)
        require_reached(cluster, far, NEAR_VIP)
        require_gated(agent.node, "eth0")
        require_gated(agent.node, "eth1")

    require_on(holder)
    _, status, out = cluster.handover()
    assert status == 0, out
    new = cluster.wait_holder(but=holder)
    require_on(new)


# --- nodes that differ ------------------------------------------------------------------------------


def test_another_interface_for_one_node(cluster, far):
    first, second = cluster.lab.nodes[:2]
    agents = {node: cluster.agent(node, interface="eth0", interface_for=[f"node/{second.name}: eth1"], pool=[FAR4])
              for node in (first, second)}
    agents[second].start().wait_ready()
    want_vip(cluster, FAR_VIP).wait_vips()
    wait_places(cluster, FAR_VIP, (second.name, "eth1"))
    agents[first].start().wait_ready()
    require_refused(cluster, agents[first], FAR_VIP, "is in no subnet of eth0")
    agents[second].stop()
    wait_places(cluster, FAR_VIP)
    agents[second].start().wait_ready()
    wait_places(cluster, FAR_VIP, (second.name, "eth1"))
    require_reached(cluster, far, FAR_VIP)


def test_a_vip_that_the_holder_cannot_carry_comes_up_where_the_group_is_moved_to(cluster, far):
    first, second = cluster.lab.nodes[:2]
    agents = {node: cluster.agent(node, interface="eth0", interface_for=[f"node/{second.name}: eth0 eth1"], pool=[FAR4])
              for node in (first, second)}
    agents[first].start().wait_ready()
    cluster.wait_holder()
    agents[second].start().wait_ready()
    service = want_vip(cluster, FAR_VIP)
    require_refused(cluster, agents[first], FAR_VIP, "is in no subnet of eth0")
    _, status, out = cluster.handover("--to", second.name)
    assert status == 0, out
    assert service.wait_vips() == [FAR_VIP]
    wait_places(cluster, FAR_VIP, (second.name, "eth1"))
    _, status, out = cluster.handover("--to", first.name)
    assert status != 0 and "refused" in out, out
    assert "no interface of the node suits a VIP" in agents[second].log()
    wait_places(cluster, FAR_VIP, (second.name, "eth1"))


def test_a_label_decides_and_moves_the_vip_when_it_changes(cluster, far, api_nodes, tmp_path):
    del api_nodes
    node = cluster.lab.nodes[0]
    label(cluster, node, uplink="far")
    changes = tmp_path / "address.log"
    monitor = node.spawn(["ip", "-o", "monitor", "address"], log=changes)
    try:
        agent = alone(cluster, interface="eth0", interface_subnet="any",
                      interface_for=["label/absent: eth0", "label/uplink=f*&node/node?: eth1"])
        far.host.ip("route", "add", NEAR_VIP, "dev", "eth0")
        want_vip(cluster, NEAR_VIP).wait_vips()
        wait_places(cluster, NEAR_VIP, (node.name, "eth1"))
        seen = [line for line in changes.read_text().splitlines() if NEAR_VIP in line]
        assert seen and all("eth1" in line for line in seen), "never on the other interface"
    finally:
        monitor.stop()
    require_reached(cluster, far, NEAR_VIP)
    label(cluster, node, uplink="near")
    wait_places(cluster, NEAR_VIP, (node.name, "eth0"))
    cluster.reach_all(cluster.lab.client, NEAR_VIP, cluster.lab.pods)
    require_gated(node, "eth0")
    label(cluster, node, uplink="fast")
    wait_places(cluster, NEAR_VIP, (node.name, "eth1"))
    require_reached(cluster, far, NEAR_VIP)
    cluster.api().delete(f"{NODES}/{node.name}")
    wait_for(lambda: "node_leaving" in agent.log(), PATIENCE_S, what="the agent to see that its Node is gone")
    assert places(cluster, NEAR_VIP) == {(node.name, "eth1")}, "the last labels stay in force"


def test_a_vip_waits_for_the_labels(cluster, far, api_nodes, tmp_path):
    """Until the Node has been read nothing is put anywhere; an agent that starts again keeps what it held where it is."""
    del api_nodes
    node = cluster.lab.nodes[0]
    label(cluster, node, uplink="far")
    listen = f"{cluster.lab.api.ip4}:{PROXY_PORT}"
    with FaultProxy(cluster.lab.api.netns, listen, cluster.plane, tmp_path / "proxy") as proxy:
        proxy.rule("answer", code=403, path="^/api/v1/nodes")
        agent = cluster.agent(node, interface_subnet="any", interface_for=["label/uplink=far: eth1"],
                              kubeconfig=proxy.kubeconfig_for_serviceaccount(NAMESPACE, "leasehold")).start()
        want_vip(cluster, NEAR_VIP)
        wait_for(lambda: agent.http("/readyz")[1].startswith("interface-for asks for labels"), PATIENCE_S, 0.05,
                 lambda: f"the reason in /readyz: {agent.http('/readyz')}")
        wait_for(lambda: "not_a_candidate" in {p["code"] for p in agent.status()["problems"]}, PATIENCE_S, 0.05, "the status")
        assert cluster.lease_holder() == "" and places(cluster, NEAR_VIP) == set()
        proxy.clear()
        wait_places(cluster, NEAR_VIP, (node.name, "eth1"))
        changes = tmp_path / "address.log"
        monitor = node.spawn(["ip", "-o", "monitor", "address"], log=changes)
        try:
            before = cluster.lease()["spec"]["holderIdentity"]
            proxy.rule("delay", ms=500, path="^/api/v1/nodes")
            agent.kill9()
            agent.start().wait_ready()
            wait_for(lambda: cluster.lease()["spec"]["holderIdentity"] != before, PATIENCE_S, 0.05, "the Lease to be adopted")
        finally:
            monitor.stop()
        moved = [line for line in changes.read_text().splitlines() if NEAR_VIP in line and ("Deleted" in line or "eth0" in line)]
        assert moved == [] and places(cluster, NEAR_VIP) == {(node.name, "eth1")}
        agent.stop()


def test_a_machine_without_a_node_has_no_labels(cluster, far):
    agent = alone(cluster, interface_for=["label/uplink: eth1"])
    want_vip(cluster, NEAR_VIP).wait_vips()
    wait_places(cluster, NEAR_VIP, (agent.name, "eth0"))


# --- every kind of interface ------------------------------------------------------------------------


def make_bridge(far, node):
    far.cable(node, address=False)
    node.ip("link", "add", "brv", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    node.ip("link", "set", "eth1", "master", "brv")
    return "brv"


def make_macvlan(far, node):
    far.cable(node, address=False)
    node.ip("link", "add", "mv1", "link", "eth1", "type", "macvlan", "mode", "bridge")
    return "mv1"


def make_vlan(far, node):
    far.cable(node, address=False)
    node.ip("link", "add", "link", "eth1", "name", f"eth1.{VLAN}", "type", "vlan", "id", str(VLAN))
    return f"eth1.{VLAN}"


def make_bond(far, node):
    far.cable(node, address=False)
    node.ip("link", "add", "bond0", "type", "bond", "mode", "active-backup", "miimon", "100")
    node.ip("link", "set", "eth1", "down")
    node.ip("link", "set", "eth1", "master", "bond0")
    return "bond0"


KINDS = {"bridge": make_bridge, "macvlan": make_macvlan, "vlan": make_vlan, "bond": make_bond}


def require_kernel_has(host, *what):
    """Skip, by name, where the kernel cannot make such a device."""
    try:
        host.ip("link", "add", *what)
    except LabError as error:
        if "Unknown device type" in str(error) or "not supported" in str(error):
            pytest.skip(f"this kernel has no {what[what.index('type') + 1]} interfaces")
        raise
    host.ip("link", "del", "probe0")


PROBES = {"bridge": ("probe0", "type", "bridge"), "macvlan": ("link", "eth0", "name", "probe0", "type", "macvlan"),
          "vlan": ("link", "eth0", "name", "probe0", "type", "vlan", "id", "9"), "bond": ("probe0", "type", "bond"),
          "vrf": ("probe0", "type", "vrf", "table", "77")}


@pytest.fixture
def on_top(cluster, far):
    """Makes an interface of a kind over each node's eth1; removed after the test."""
    made = []

    def make(kind):
        require_kernel_has(far.host, *PROBES[kind])
        for node in cluster.lab.nodes[:2]:
            name = KINDS[kind](far, node)
            made.append((node, name))
            node.ip("link", "set", name, "up")
            far.address(node, name)
            wait_for(lambda node=node, name=name: node.carrier(name), what=f"carrier of {name}")
        return name

    yield make
    stop_all(cluster)
    for node, name in made:
        with contextlib.suppress(LabError):
            node.ip("link", "del", name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_interface_carries_vips(cluster, far, on_top, kind):
    name = on_top(kind)
    if kind == "vlan":
        far.host.ip("link", "add", "link", "eth0", "name", name, "type", "vlan", "id", str(VLAN))
        far.host.ip("link", "set", name, "up")
        far.host.ip("addr", "del", "198.51.100.250/26", "dev", "eth0")
        far.host.ip("addr", "add", "198.51.100.250/26", "dev", name)
    cluster.start_agents(cluster.lab.nodes[:2], interface=name, pool=[FAR4])
    want_vip(cluster, FAR_VIP).wait_vips()
    holder = cluster.wait_holder()
    wait_places(cluster, FAR_VIP, (holder.name, name))
    require_reached(cluster, far, FAR_VIP)
    require_gated(holder.node, name)
    _, status, out = cluster.handover()
    assert status == 0, out
    new = cluster.wait_holder(but=holder)
    wait_places(cluster, FAR_VIP, (new.name, name))
    require_reached(cluster, far, FAR_VIP)


def test_a_port_of_a_bridge_is_refused_with_the_bridge_s_name(cluster, far, on_top):
    on_top("bridge")
    agent = alone(cluster, interface="eth1,eth0")
    want_vip(cluster, FAR_VIP)
    require_refused(cluster, agent, FAR_VIP, "is in no subnet of eth0")
    agent.stop()
    agent.start(interface="eth1")
    require_refused(cluster, agent, FAR_VIP, "eth1 is a port of brv: name brv instead")


def test_the_slave_of_a_vrf_carries_vips_and_the_vrf_itself_none(cluster, far):
    node = cluster.lab.nodes[0]
    require_kernel_has(far.host, *PROBES["vrf"])
    node.ip("link", "add", "red", "type", "vrf", "table", "10")
    try:
        node.ip("link", "set", "red", "up")
        node.ip("link", "set", "eth1", "master", "red")
        agent = alone(cluster, interface="red")
        want_vip(cluster, FAR_VIP)
        require_refused(cluster, agent, FAR_VIP, "red is a tunnel or has no ARP")
        agent.stop()
        agent.start(interface="eth1")
        wait_places(cluster, FAR_VIP, (node.name, "eth1"))
        require_gated(node, "eth1")
    finally:
        stop_all(cluster)
        node.ip("link", "del", "red")


# --- interfaces that change -------------------------------------------------------------------------


@pytest.fixture
def served(cluster, far):
    """Agents on two nodes whose VIP is on the second LAN: (the holder, the other)."""
    agents = cluster.start_agents(cluster.lab.nodes[:2], interface="eth1", pool=[FAR4])
    want_vip(cluster, FAR_VIP).wait_vips()
    holder = cluster.wait_holder()
    wait_places(cluster, FAR_VIP, (holder.name, "eth1"))
    require_reached(cluster, far, FAR_VIP)
    return holder, next(a for a in agents if a is not holder)


def test_a_renamed_interface_keeps_its_vips_under_a_pattern(cluster, far, tmp_path):
    agent = alone(cluster, interface="eth*")
    node = agent.node
    want_vip(cluster, FAR_VIP).wait_vips()
    wait_places(cluster, FAR_VIP, (node.name, "eth1"))
    changes = tmp_path / "address.log"
    monitor = node.spawn(["ip", "-o", "monitor", "address"], log=changes)
    try:
        node.ip("link", "set", "eth1", "name", "eth7")
        wait_for(lambda: "eth7" in str(agent.status()["vips"]), PATIENCE_S, 0.05,
                 lambda: f"the new name in the status: {agent.status()['vips']}")
        require_reached(cluster, far, FAR_VIP)
        assert not any("Deleted" in line and FAR_VIP in line for line in changes.read_text().splitlines())
    finally:
        monitor.stop()
        node.ip("link", "set", "eth7", "name", "eth1")
    wait_places(cluster, FAR_VIP, (node.name, "eth1"))
    require_gated(node, "eth1")


def test_an_interface_that_is_renamed_away_gives_up_its_vips(cluster, far, served):
    holder, other = served
    holder.node.ip("link", "set", "eth1", "name", "spare")
    try:
        wait_places(cluster, FAR_VIP, (other.name, "eth1"))
        require_reached(cluster, far, FAR_VIP)
    finally:
        holder.node.ip("link", "set", "spare", "name", "eth1")
    other.stop()
    wait_places(cluster, FAR_VIP, (holder.name, "eth1"))
    require_reached(cluster, far, FAR_VIP)


def test_an_interface_that_goes_and_comes_back_carries_its_vip_again(cluster, far):
    agent = alone(cluster, interface="eth1")
    node = agent.node
    want_vip(cluster, FAR_VIP).wait_vips()
    wait_places(cluster, FAR_VIP, (node.name, "eth1"))
    far.lab.lan.ip("link", "del", far.port(node))
    wait_for(lambda: cluster.lease_holder() == "", PATIENCE_S, 0.05, "the Lease to be given up")
    far.cable(node)
    # Listening begins once the new port is there; the burst goes on for seconds.
    with Sniffer(cluster.lab, [FAR_VIP], ports=[far.port(node)]) as wire:
        wait_places(cluster, FAR_VIP, (node.name, "eth1"))
        wire.wait(lambda s: s["latest"].get(FAR_VIP, (0, ""))[1] == far.mac(node), PATIENCE_S, "an announcement")
    require_gated(node, "eth1")
    require_reached(cluster, far, FAR_VIP)


def test_without_its_interface_a_node_gives_up_the_vip(cluster, far, served):
    holder, other = served
    far.lab.lan.ip("link", "del", far.port(holder.node))
    wait_places(cluster, FAR_VIP, (other.name, "eth1"))
    require_reached(cluster, far, FAR_VIP)
    far.cable(holder.node)
    other.stop()
    wait_places(cluster, FAR_VIP, (holder.name, "eth1"))
    require_reached(cluster, far, FAR_VIP)


@pytest.mark.parametrize("mixed", [False, True], ids=["its LAN alone", "beside a VIP of the other LAN"])
def test_without_carrier_on_its_lan_a_node_gives_up_the_vip(cluster, far, mixed):
    """The other interface has carrier all the time: it is not the node that is dead."""
    cluster.start_agents(cluster.lab.nodes[:2], interface="eth0,eth1", pool=[POOL4, FAR4])
    vips = {FAR_VIP: "eth1", **({NEAR_VIP: "eth0"} if mixed else {})}
    for i, vip in enumerate(vips):
        want_vip(cluster, vip, f"web-{i}").wait_vips()
    holder = cluster.wait_holder()
    other, = cluster.others(holder)
    with UdpProbe(far.host, FAR_VIP, 80, 10) as probe:
        probe.wait_answered(10, PATIENCE_S)
        at = far.unplug(holder.node)
        for vip, dev in vips.items():
            wait_places(cluster, vip, (other.name, dev))
        probe.wait_answer_after(at, PATIENCE_S)
        trace = probe.stop()
    print(f"dark on the LAN that was cut: {trace.dark(since=at)}")
    require_reached(cluster, far, FAR_VIP)
    assert holder.node.carrier("eth0")
    if mixed:
        cluster.reach_all(cluster.lab.client, NEAR_VIP, cluster.lab.pods)


@pytest.mark.slow
def test_allocation_goes_on_while_the_lan_of_all_vips_is_dead(cluster, far):
    """Nobody can carry the only VIP; whoever allocates is there all the same, and the VIP goes where it can be again."""
    cluster.start_agents(interface="eth0,eth1", pool=[POOL4, FAR4])
    want_vip(cluster, FAR_VIP).wait_vips()
    first = cluster.wait_holder()
    wait_places(cluster, FAR_VIP, (first.name, "eth1"))
    for node in cluster.lab.nodes:
        node.ip("link", "set", "eth1", "down")
    want_vip(cluster, NEAR_VIP, "near").wait_vips()
    cluster.reach_all(cluster.lab.client, NEAR_VIP, cluster.lab.pods)
    better = cluster.others(cluster.wait_holder())[0]
    better.node.ip("link", "set", "eth1", "up")
    for vip, dev in ((FAR_VIP, "eth1"), (NEAR_VIP, "eth0")):
        wait_places(cluster, vip, (better.name, dev))
    require_reached(cluster, far, FAR_VIP)
    cluster.reach_all(cluster.lab.client, NEAR_VIP, cluster.lab.pods)


@pytest.mark.parametrize("beside", [False, True], ids=["the first of all", "beside one that is up"])
def test_a_new_vip_goes_to_a_node_whose_interface_for_it_lives(cluster, far, beside):
    cluster.start_agents(cluster.lab.nodes[:2], interface="eth0,eth1", pool=[POOL4, FAR4])
    holder = cluster.wait_holder()
    other, = cluster.others(holder)
    if beside:
        want_vip(cluster, NEAR_VIP, "near").wait_vips()
        wait_places(cluster, NEAR_VIP, (holder.name, "eth0"))
    far.unplug(holder.node)
    wait_for(lambda: not holder.node.carrier("eth1"), what="the carrier to be lost")
    want_vip(cluster, FAR_VIP).wait_vips()
    wait_places(cluster, FAR_VIP, (other.name, "eth1"))
    require_reached(cluster, far, FAR_VIP)
    if beside:
        wait_places(cluster, NEAR_VIP, (other.name, "eth0"))
