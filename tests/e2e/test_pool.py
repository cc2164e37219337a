"""Addresses: asked for, shared, refused, kept, freed; one and two families."""

import pytest

from netns.lab import wait_for

from e2e.agents import ALLOCATED, PATIENCE_S, address_list

SMALL4 = "192.0.2.200-192.0.2.201"


def warnings(service):
    return [note for kind, _, note in service.events() if kind == "Warning"]


def wait_warning(service, *words):
    """Wait for a Warning whose note has all the words; returns the note."""
    return wait_for(lambda: next((n for n in warnings(service) if all(w in n for w in words)), None),
                    PATIENCE_S, 0.05, lambda: f"a Warning with {words}; there are {service.events()}")


@pytest.mark.parametrize("asks", [
    {"annotations": {"leasehold.io/addresses": "192.0.2.233"}},
    {"loadBalancerIP": "192.0.2.233"},
    {"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.233"}},
    {"annotations": {"kube-vip.io/loadbalancerIPs": "192.0.2.233"}},
], ids=["annotation", "spec", "metallb-alias", "kube-vip-alias"])
def test_a_requested_address_is_given(cluster, asks):
    cluster.start_agents()
    service = cluster.service(**asks)
    assert service.wait_vips() == ["192.0.2.233"]
    cluster.reach_all(cluster.lab.client, "192.0.2.233", cluster.lab.pods)


def test_two_requested_addresses_one_of_each_family(cluster):
    cluster.start_agents()
    want = ["192.0.2.230", "2001:db8::e6"]
    service = cluster.service(policy="RequireDualStack",
                              annotations={"leasehold.io/addresses": ",".join(want)})
    assert service.wait_vips(2) == want
    for vip in want:
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_two_services_asking_one_address(cluster):
    """The earlier keeps it; the other gets an Event and another address."""
    cluster.start_agents()
    ask = {"leasehold.io/addresses": "192.0.2.231"}
    first = cluster.service("first", annotations=ask)
    assert first.wait_vips() == ["192.0.2.231"]
    second = cluster.service("another", annotations=ask)  # sorts before "first": order is not merit
    other, = second.wait_vips()
    assert other != "192.0.2.231"
    wait_warning(second, "192.0.2.231")
    assert warnings(first) == [] and first.vips() == ["192.0.2.231"]
    for vip in ("192.0.2.231", other):
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_an_address_outside_the_pool_is_refused_with_an_event(cluster):
    cluster.start_agents()
    service = cluster.service(annotations={"leasehold.io/addresses": "192.0.2.99"})
    wait_warning(service, "192.0.2.99")
    assert "192.0.2.99" not in service.vips()
    assert cluster.nodes_with("192.0.2.99") == []


def test_exhausted_pool_says_so_and_serves_when_an_address_is_freed(cluster):
    agents = cluster.start_agents(pool=[SMALL4])
    taken = [cluster.service(f"taken-{i}") for i in range(2)]
    vips = {service.wait_vips()[0] for service in taken}
    assert vips == {"192.0.2.200", "192.0.2.201"}
    late = cluster.service("late")
    wait_warning(late)
    assert late.vips() == [] and late.allocated() == ""
    holder = cluster.wait_holder()
    assert any("late" in line and "WARN" in line.upper() for line in holder.log().splitlines())
    freed, = taken[0].vips()
    taken[0].delete()
    assert late.wait_vips() == [freed]
    cluster.reach_all(cluster.lab.client, freed, cluster.lab.pods)
    assert len(agents) == 3


def test_sharing_key_shares_an_address_between_disjoint_ports(cluster):
    cluster.start_agents()
    shared = {"leasehold.io/addresses": "192.0.2.232", "leasehold.io/sharing-key": "web"}
    pods = cluster.lab.pods
    one = cluster.service("one", backends=pods[:2], port=80, annotations=shared)
    two = cluster.service("two", backends=pods[2:4], port=81, annotations=shared)
    assert one.wait_vips() == two.wait_vips() == ["192.0.2.232"]
    cluster.reach_only(cluster.lab.client, "192.0.2.232", pods[:2], port=80)
    cluster.reach_only(cluster.lab.client, "192.0.2.232", pods[2:4], port=81)
    clash = cluster.service("clash", backends=pods[4:], port=81, annotations=shared)
    wait_warning(clash, "192.0.2.232")
    assert "192.0.2.232" not in clash.vips()
    stranger = cluster.service("stranger", backends=pods[4:], port=82, annotations={
        **shared, "leasehold.io/sharing-key": "another"})
    wait_warning(stranger, "192.0.2.232")
    one.delete()
    cluster.unreachable(cluster.lab.client, "192.0.2.232", port=80)
    cluster.reach_only(cluster.lab.client, "192.0.2.232", pods[2:4], port=81)
    assert two.vips() == ["192.0.2.232"]


@pytest.mark.parametrize("families, policy, shape", [
    (["IPv4"], "SingleStack", "4"),
    (["IPv6"], "SingleStack", "6"),
    (None, "PreferDualStack", "46"),
    (["IPv6", "IPv4"], "PreferDualStack", "64"),
    (["IPv4", "IPv6"], "RequireDualStack", "46"),
])
def test_address_families_follow_the_policy(cluster, families, policy, shape):
    cluster.start_agents()
    service = cluster.service(families=families, policy=policy)
    vips = service.wait_vips(len(shape))
    assert "".join("6" if ":" in vip else "4" for vip in vips) == shape
    for vip in vips:
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_dual_stack_policies_with_a_pool_of_one_family(cluster):
    """Prefer takes what there is; Require gets nothing but an Event."""
    cluster.start_agents(pool=[SMALL4])
    prefer = cluster.service("prefer", policy="PreferDualStack")
    require = cluster.service("require", policy="RequireDualStack")
    vip, = prefer.wait_vips()
    assert "." in vip
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    wait_warning(require)
    assert require.vips() == []


def test_second_family_added_later(cluster):
    cluster.start_agents()
    service = cluster.service()
    first, = service.wait_vips()
    service.patch({"spec": {"ipFamilyPolicy": "RequireDualStack"}})
    vips = service.wait_vips(2)
    assert vips[0] == first and ":" in vips[1]
    for vip in vips:
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_allocations_outlive_all_agents(cluster):
    agents = cluster.start_agents()
    services = [cluster.service(f"s{i}", policy="RequireDualStack") for i in range(4)]
    vips = {s.name: s.wait_vips(2) for s in services}
    services[1].delete()
    cluster.wait_gone(vips.pop("s1")[0])
    kept = [s for s in services if s.name in vips]
    for agent in agents:
        agent.kill9()
    versions = {s.name: s.get()["metadata"]["resourceVersion"] for s in kept}
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.wait_ready()
    for service in kept:
        for vip in vips[service.name]:
            cluster.wait_on_one_node(vip)
            cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
        assert service.vips() == vips[service.name]
        assert address_list(service.get()["metadata"]["annotations"][ALLOCATED]) == vips[service.name]
        assert service.get()["metadata"]["resourceVersion"] == versions[service.name]


def test_no_two_services_ever_get_one_address(cluster):
    """More Services than a small pool has addresses, created at once while no agent runs."""
    services = cluster.services(6)
    cluster.start_agents(pool=["192.0.2.200-192.0.2.203"])
    wait_for(lambda: sum(bool(s.vips()) for s in services) == 4, PATIENCE_S, 0.1, "four to be served")
    given = [vip for s in services for vip in s.vips()]
    assert len(set(given)) == 4
    for service in services:
        if not service.vips():
            wait_warning(service)
