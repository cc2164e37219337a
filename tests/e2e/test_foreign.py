"""What is not ours stays as it is: addresses, nft tables, Services; and what is ours does not stay
behind when an agent was killed."""

import pytest

from netns.lab import wait_for

from e2e.agents import PATIENCE_S, SERVICES, service_body

FOREIGN_TABLES = """
table inet somebody {
    set friends { type ipv4_addr; elements = { 192.0.2.77, 192.0.2.78 }; }
    chain input { type filter hook input priority 0; policy accept; ip saddr @friends counter accept; }
}
table ip kube-proxy {
    map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
    chain nat-prerouting { type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @service-ips; }
}
"""
FOREIGN_ADDRESSES = ("192.0.2.199/32", "192.0.2.239/32", "2001:db8::ef/128")


@pytest.fixture
def strangers(cluster):
    """Foreign tables and addresses on every node, one of each family even inside the pool."""
    for node in cluster.lab.nodes:
        node.nft(script=FOREIGN_TABLES)
    first = cluster.lab.nodes[0]
    for prefix in FOREIGN_ADDRESSES:
        first.ip("addr", "add", prefix, "dev", "eth0", *(("nodad",) if ":" in prefix else ()))
    yield first
    for node in cluster.lab.nodes:
        node.nft(script="delete table inet somebody\ndelete table ip kube-proxy\n")


def foreign_state(cluster):
    state = {}
    for node in cluster.lab.nodes:
        tables = [node.nft("--stateless", "list", "table", *name) for name in
                  (("inet", "somebody"), ("ip", "kube-proxy"))]
        plain = {a: e["prefixlen"] for a, e in node.addresses().items()
                 if e["valid_life_time"] == 2**32 - 1}
        state[node.name] = (tables, plain, node.ip_json("route"), node.ip_json("rule"))
    return state


def test_foreign_addresses_and_tables_are_untouched_from_start_to_cleanup(cluster, strangers):
    before = foreign_state(cluster)
    assert len(before[strangers.name][1]) >= 5
    agents = cluster.start_agents()
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    for vip in vips:
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert foreign_state(cluster) == before
    old = cluster.wait_holder()
    old.kill9()
    cluster.wait_on_one_node(vips[0], cluster.wait_holder(but=old).node)
    assert foreign_state(cluster) == before
    old.start().wait_ready()
    service.delete()
    for vip in vips:
        cluster.wait_gone(vip)
    for agent in agents:
        assert agent.stop()[1] == 0
        agent.cleanup()
    assert foreign_state(cluster) == before
    assert [cluster.table(node) for node in cluster.lab.nodes] == ["", "", ""]


@pytest.mark.parametrize("kind", ["other-class", "no-class", "cluster-ip", "node-port"])
def test_foreign_services_are_untouched(cluster, kind):
    body = service_body("foreign", klass="example.com/other" if kind == "other-class" else None)
    if kind in ("cluster-ip", "node-port"):
        body["spec"]["type"] = "ClusterIP" if kind == "cluster-ip" else "NodePort"
        del body["spec"]["allocateLoadBalancerNodePorts"]
    api = cluster.api()
    api.create(SERVICES, body)
    path = f"{SERVICES}/foreign"
    if kind in ("other-class", "no-class"):
        api.patch(f"{path}/status", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.205"}]}}})
    before = api.get(path)
    cluster.start_agents()
    ours = cluster.service("ours")
    vip, = ours.wait_vips()
    ours.delete()
    cluster.wait_gone(vip)
    cluster.service("ours-again").wait_vips()
    assert api.get(path) == before
    assert cluster.nodes_with("192.0.2.205") == []


def test_default_class_serves_services_without_a_class(cluster):
    cluster.start_agents(default_class=True)
    service = cluster.service(klass=None)
    other = cluster.service("other", klass="example.com/other")
    vip, = service.wait_vips()
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert other.vips() == []


def test_another_class_name_is_served_and_the_usual_one_not(cluster):
    cluster.start_agents(load_balancer_class="example.com/mine")
    mine = cluster.service("mine", klass="example.com/mine")
    usual = cluster.service("usual")
    cluster.reach_all(cluster.lab.client, mine.wait_vips()[0], cluster.lab.pods)
    assert usual.vips() == []


def test_leftovers_of_a_killed_agent_are_removed_at_its_next_start(cluster):
    """The Service goes while no agent runs; the next start finds address and map entries too many."""
    node = cluster.lab.nodes[0]
    agent, = cluster.start_agents([node], lease_duration="20s", renew_interval="2s")
    service, keep = cluster.service("gone"), cluster.service("keep")
    vip, kept = service.wait_vips()[0], keep.wait_vips()[0]
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    agent.kill9()
    service.delete()
    assert vip in node.addresses() and cluster.in_table(node, vip), "the kernel keeps both for now"
    left_s = node.addresses()[vip]["valid_life_time"]
    assert left_s > 5
    agent.start().wait_ready()
    cluster.wait_gone(vip, left_s - 2)
    cluster.reach_all(cluster.lab.client, kept, cluster.lab.pods)


def test_leftovers_of_a_killed_holder_are_removed_though_another_holds_now(cluster):
    cluster.start_agents()
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    cluster.reach_all(cluster.lab.client, vips[0], cluster.lab.pods)
    old = cluster.wait_holder()
    old.kill9()
    new = cluster.wait_holder(but=old)
    old.start().wait_ready()
    for vip in vips:
        cluster.wait_on_one_node(vip, new.node)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert cluster.lease_holder() == new.name


def test_cleanup_removes_what_is_ours(cluster):
    agents = cluster.start_agents(lease_duration="20s", renew_interval="2s")
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    cluster.reach_all(cluster.lab.client, vips[0], cluster.lab.pods)
    for agent in agents:
        agent.kill9()
    holder = cluster.nodes_with(vips[0])[0]
    for agent in agents:
        agent.cleanup()
    for vip in vips:
        assert vip not in holder.addresses()
    assert [cluster.table(node) for node in cluster.lab.nodes] == ["", "", ""]


def test_an_address_that_is_somebody_elses_is_told_and_holds_nothing_up(cluster):
    """The Service's address is on the holder's interface already: an Event says so, others are served meanwhile, and once
    the address is free the Service is."""
    node = cluster.lab.nodes[0]
    node.ip("addr", "add", "192.0.2.205/32", "dev", "eth0")
    agent, = cluster.start_agents([node])
    taken = cluster.service("taken", annotations={"leasehold.io/addresses": "192.0.2.205"})
    wait_for(lambda: taken.events("AddressRefused"), what="an Event about it")
    assert "not from Leasehold" in taken.events("AddressRefused")[0][2]
    other = cluster.service("other")
    vip, = other.wait_vips()
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert taken.vips() == [] and node.addresses()["192.0.2.205"]["valid_life_time"] == 2**32 - 1
    told = next(s for s in agent.status()["services"] if s["name"] == "taken")
    assert told["reason"] == "AddressRefused"
    node.ip("addr", "del", "192.0.2.205/32", "dev", "eth0")
    assert taken.wait_vips() == ["192.0.2.205"]
    assert len(taken.events("AddressRefused")) == 1, "told once, however often it was tried"


def test_an_element_in_the_place_of_ours_is_replaced(cluster):
    """Somebody's element stands where one of ours belongs: the holder stays, and puts it right on every node."""
    cluster.start_agents()
    first = cluster.service("first")
    vip, = first.wait_vips()
    holder, transitions = cluster.wait_holder(), cluster.lease()["spec"]["leaseTransitions"]
    for node in cluster.lab.nodes:
        node.nft("add", "element", "inet", "leasehold", "slots4", "{ 192.0.2.206 . tcp . 80 . 7 : 192.0.2.77 . 99 }")
    second = cluster.service("second", annotations={"leasehold.io/addresses": "192.0.2.206"})
    assert second.wait_vips() == ["192.0.2.206"]
    cluster.reach_all(cluster.lab.client, "192.0.2.206", cluster.lab.pods, "TCP")
    for node in cluster.lab.nodes:
        wait_for(lambda n=node: "192.0.2.77" not in n.nft("list", "map", "inet", "leasehold", "slots4"), PATIENCE_S, 0.05,
                 f"the strange element to go from {node}")
    assert cluster.lease_holder() == holder.name
    assert cluster.lease()["spec"]["leaseTransitions"] == transitions
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_an_element_that_the_kernel_refuses_does_not_make_the_vips_wander(cluster):
    """Where one of our chains belongs somebody has put a hooked one, which no element may go to: the rest is served."""
    cluster.start_agents()
    first = cluster.service("first")
    vip, = first.wait_vips()
    holder, transitions = cluster.wait_holder(), cluster.lease()["spec"]["leaseTransitions"]
    chain = f"turn-{len(cluster.lab.pods)}-192.0.2.206-tcp-80"
    for node in cluster.lab.nodes:
        node.nft("add", "chain", "inet", "leasehold", chain, "{ type filter hook input priority 0; }")
    cluster.service("second", protocols=("TCP",), annotations={"leasehold.io/addresses": "192.0.2.206",
                                                               "leasehold.io/balance": "round-robin"})
    wait_for(lambda: "kernel_refused" in holder.log(), PATIENCE_S, 0.05, "a refusal: without one the case shows nothing")
    third = cluster.service("third")
    another, = third.wait_vips()
    assert cluster.lease_holder() == holder.name
    assert cluster.lease()["spec"]["leaseTransitions"] == transitions
    for address in (vip, another):
        cluster.reach_all(cluster.lab.client, address, cluster.lab.pods)
