"""Several Leases: VIPs are shared out to groups, each group has a holder, and nodes say who they are."""

import pytest

from netns.lab import wait_for

from e2e.agents import LEASE, LEASES, PATIENCE_S

RECORD = "leasehold.io/lease"
LABEL = "app.kubernetes.io/managed-by"
GROUPS = 4


def recorded(service):
    """The Lease that a Service names."""
    return service.get()["metadata"].get("annotations", {}).get(RECORD, "")


def leases(cluster):
    """Our Leases by name."""
    return {o["metadata"]["name"]: o for o in cluster.api().list(LEASES)
            if o["metadata"]["name"].startswith("leasehold-")}


def holder_of(cluster, lease):
    """The node that a Lease names."""
    return (leases(cluster)[lease]["spec"].get("holderIdentity") or "").split("_")[0]


def require_each_with_its_holder(cluster, services):
    """Every VIP is on the node, and only there, that holds the Lease its Service names."""
    for service in services:
        for vip in service.wait_vips(1):
            wait_for(lambda vip=vip, service=service: [n.name for n in cluster.nodes_with(vip)]
                     == [holder_of(cluster, recorded(service))], PATIENCE_S, 0.05,
                     lambda vip=vip, service=service: f"{vip} of {recorded(service)} with its holder "
                     f"{holder_of(cluster, recorded(service))}; it is on {cluster.nodes_with(vip)}")


@pytest.fixture
def grouped(cluster):
    """Three agents with four groups and eight Services that have their VIPs."""
    cluster.start_agents(groups=GROUPS)
    services = cluster.services(8, prefix="web")
    for service in services:
        service.wait_vips(1)
    return services


def record_of(cluster, node):
    return leases(cluster).get(f"leasehold-node-{node.name}")


def test_new_vips_are_shared_out_evenly(cluster, grouped):
    names = sorted(recorded(s) for s in grouped)
    assert names == sorted(f"leasehold-group-{g}" for g in range(GROUPS) for _ in range(2))
    require_each_with_its_holder(cluster, grouped)


def test_every_group_finds_a_new_holder(cluster, grouped):
    victim = cluster.wait_holder()
    before = {name: holder_of(cluster, name) for name in leases(cluster) if "-group-" in name}
    assert len(before) == GROUPS
    victim.kill9()
    for name in before:
        wait_for(lambda name=name: holder_of(cluster, name) not in ("", victim.name), PATIENCE_S, 0.05,
                 lambda name=name: f"another holder of {name}; it is {leases(cluster)[name]}")
    for service in grouped:
        node = cluster.lab.nodes[[n.name for n in cluster.lab.nodes].index(holder_of(cluster, recorded(service)))]
        vip = service.vips()[0]
        wait_for(lambda vip=vip, node=node: vip in node.addresses(), PATIENCE_S, 0.05, f"{vip} on {node}")


def test_a_smaller_setting_leaves_no_group_alone(cluster):
    """What is recorded counts, not --groups: a node with one group takes over all four."""
    first, second = cluster.lab.nodes[:2]
    wide = cluster.agent(first, groups=GROUPS).start().wait_ready()
    services = cluster.services(GROUPS, prefix="web")
    for service in services:
        service.wait_vips(1)
    narrow = cluster.agent(second, groups=1).start().wait_ready()
    assert wide.stop()[1] == 0
    for g in range(GROUPS):
        wait_for(lambda g=g: cluster.lease_holder(g) == narrow.name, PATIENCE_S, 0.05, f"group {g} on {narrow}")
    require_each_with_its_holder(cluster, services)
    extra = cluster.service("one-more")
    extra.wait_vips(1)
    assert recorded(extra) == "leasehold-group-0"


def test_who_shares_an_address_shares_its_group(cluster, grouped):
    vip, lease = grouped[3].vips()[0], recorded(grouped[3])
    key = {"leasehold.io/sharing-key": "k"}
    grouped[3].patch({"metadata": {"annotations": key}})
    sharer = cluster.service("sharer", port=8080, annotations={**key, "leasehold.io/addresses": vip})
    assert sharer.wait_vips(1) == [vip]
    assert recorded(sharer) == lease


def test_an_address_given_out_again_keeps_its_group(cluster, grouped):
    """The former group's holder may not have seen yet that it was let go; group 1 would be the emptiest."""
    by_group = {recorded(s): s for s in grouped}
    vip = by_group["leasehold-group-3"].vips()[0]
    for group in (1, 3):
        by_group[f"leasehold-group-{group}"].delete()
    cluster.wait_gone(vip)
    again = cluster.service("again", annotations={"leasehold.io/addresses": vip})
    assert again.wait_vips(1) == [vip]
    assert recorded(again) == "leasehold-group-3"


def test_an_allocation_without_a_record_counts_as_group_0(cluster):
    service = cluster.service(annotations={"leasehold.io/allocated": "192.0.2.230"})
    cluster.start_agents(cluster.lab.nodes[:2], groups=GROUPS)
    assert service.wait_vips(1) == ["192.0.2.230"]
    assert recorded(service) == ""
    cluster.wait_on_one_node("192.0.2.230", cluster.wait_holder().node)


def test_a_record_goes_with_the_allocation(cluster, grouped):
    service = grouped[0]
    vip = service.vips()[0]
    service.patch({"spec": {"type": "ClusterIP", "loadBalancerClass": None,
                            "allocateLoadBalancerNodePorts": None}})
    wait_for(lambda: (recorded(service), service.allocated()) == ("", ""), PATIENCE_S, 0.05,
             lambda: f"no annotations of ours: {service.get()['metadata']}")
    cluster.wait_gone(vip)


# --- the view -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": "a-stranger", "leaseDurationSeconds": 1}],
                         ids=["free", "held"])
def test_a_lease_made_by_hand_is_claimed_and_labelled(cluster, spec):
    """It is not in the view of our Leases: the refused POST leads to it."""
    cluster.api().create(LEASES, {"metadata": {"name": "leasehold-group-0", "labels": {"team": "a"}}, "spec": spec})
    node = cluster.lab.nodes[0]
    cluster.start_agents([node])
    wait_for(lambda: cluster.lease_holder() == node.name, PATIENCE_S, 0.05, lambda: f"{node} to hold: {cluster.lease()}")
    labels = cluster.lease()["metadata"]["labels"]
    assert labels["team"] == "a"
    assert labels[LABEL] == "leasehold"


def test_a_lost_label_comes_back_and_nothing_moves(cluster):
    cluster.start_agents(cluster.lab.nodes[:2])
    service = cluster.service()
    vip = service.wait_vips(1)[0]
    holder = cluster.wait_holder()
    cluster.wait_on_one_node(vip, holder.node)
    cluster.api().patch(LEASE, {"metadata": {"labels": {LABEL: None}}})
    wait_for(lambda: cluster.lease()["metadata"].get("labels", {}).get(LABEL) == "leasehold", PATIENCE_S, 0.05,
             lambda: f"the label: {cluster.lease()}")
    assert cluster.wait_holder() is holder
    assert cluster.nodes_with(vip) == [holder.node]
    assert "following:" not in holder.log()


def test_what_others_keep_in_a_lease_stays(cluster):
    cluster.start_agents(cluster.lab.nodes[:1])
    cluster.wait_holder()
    cluster.api().patch(LEASE, {"metadata": {"annotations": {"example.com/note": "with \"quotes\" \u00e4"},
                                             "labels": {"team": "a"}}})
    version = cluster.lease()["spec"]["renewTime"]
    wait_for(lambda: cluster.lease()["spec"]["renewTime"] > version, PATIENCE_S, 0.05, "a renewal")
    meta = cluster.lease()["metadata"]
    assert meta["annotations"]["example.com/note"] == "with \"quotes\" \u00e4"
    assert meta["labels"]["team"] == "a"


# --- records of nodes -----------------------------------------------------------------------------


def test_each_node_says_who_it_is(cluster):
    cluster.start_agents(rank=3)
    for node in cluster.lab.nodes:
        record = wait_for(lambda node=node: record_of(cluster, node), PATIENCE_S, 0.05, f"the record of {node}")
        assert record["spec"]["holderIdentity"].startswith(f"{node.name}_")
        assert record["metadata"]["labels"] == {LABEL: "leasehold", "leasehold.io/kind": "node"}
        notes = record["metadata"]["annotations"]
        assert notes["leasehold.io/rank"] == "3"
        assert node.mac in notes["leasehold.io/macs"].split(",")
        assert "leasehold.io/leaving" not in notes


def test_a_record_is_written_once_and_comes_back_when_deleted(cluster):
    node = cluster.lab.nodes[0]
    cluster.start_agents([node])
    cluster.wait_holder()
    before = wait_for(lambda: record_of(cluster, node), PATIENCE_S, 0.05, "the record")
    start = cluster.lease()["spec"]["renewTime"]
    wait_for(lambda: cluster.lease()["spec"]["renewTime"] != start, PATIENCE_S, 0.05, "a renewal")
    assert record_of(cluster, node)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    path = f"{LEASES}/leasehold-node-{node.name}"
    cluster.api().delete(path)
    again = wait_for(lambda: record_of(cluster, node), PATIENCE_S, 0.05, "the record again")
    assert again["metadata"]["uid"] != before["metadata"]["uid"]
    assert again["metadata"]["annotations"] == before["metadata"]["annotations"]
    # Without our label it is out of everybody's view: the label comes back, too.
    cluster.api().patch(path, {"metadata": {"labels": {LABEL: None}, "annotations": {"example.com/note": "x"}}})
    wait_for(lambda: record_of(cluster, node)["metadata"].get("labels", {}).get(LABEL), PATIENCE_S, 0.05,
             lambda: f"the label: {record_of(cluster, node)}")
    assert record_of(cluster, node)["metadata"]["annotations"]["example.com/note"] == "x"


def test_a_restarted_agent_takes_its_record_over(cluster):
    node = cluster.lab.nodes[0]
    agent = cluster.start_agents([node])[0]
    before = wait_for(lambda: record_of(cluster, node), PATIENCE_S, 0.05, "the record")
    agent.kill9()
    agent.start(rank=1)
    wait_for(lambda: record_of(cluster, node)["metadata"]["annotations"]["leasehold.io/rank"] == "1", PATIENCE_S, 0.05,
             lambda: f"the new rank: {record_of(cluster, node)}")
    after = record_of(cluster, node)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["holderIdentity"] != before["spec"]["holderIdentity"]


# --- our own Node ---------------------------------------------------------------------------------

NODES = "/api/v1/nodes"


@pytest.fixture
def api_nodes(cluster):
    """Node objects for the lab's nodes; they go after the test."""
    made = {n.name: cluster.api().create(NODES, {"metadata": {"name": n.name}}) for n in cluster.lab.nodes}
    try:
        yield made
    finally:
        for name in made:
            if cluster.api().exists(f"{NODES}/{name}"):
                cluster.api().delete(f"{NODES}/{name}")


def test_a_record_belongs_to_its_node(cluster, api_nodes):
    node = cluster.lab.nodes[0]
    cluster.start_agents([node])
    owners = wait_for(lambda: (record_of(cluster, node) or {"metadata": {}})["metadata"].get("ownerReferences"),
                      PATIENCE_S, 0.05, "an owner of the record")
    assert [(o["kind"], o["name"], o["uid"]) for o in owners] == [("Node", node.name, api_nodes[node.name]["metadata"]["uid"])]


def test_the_label_of_the_node_ranks_it(cluster, api_nodes):
    node = cluster.lab.nodes[0]
    cluster.start_agents([node], rank=5)
    note = lambda: record_of(cluster, node)["metadata"]["annotations"]["leasehold.io/rank"]
    cluster.api().patch(f"{NODES}/{node.name}", {"metadata": {"labels": {"leasehold.io/rank": "2"}}})
    wait_for(lambda: note() == "2", PATIENCE_S, 0.05, "the label's rank")
    cluster.api().patch(f"{NODES}/{node.name}", {"metadata": {"labels": {"leasehold.io/rank": None}}})
    wait_for(lambda: note() == "5", PATIENCE_S, 0.05, "the flag's rank")


def test_vips_leave_a_drained_node(cluster, api_nodes):
    cluster.start_agents(groups=2)
    services = cluster.services(2, prefix="web")
    for service in services:
        service.wait_vips(1)
    victim = cluster.wait_holder()
    cluster.api().patch(f"{NODES}/{victim.name}", {"spec": {"unschedulable": True}})
    wait_for(lambda: record_of(cluster, victim.node)["metadata"]["annotations"].get("leasehold.io/leaving") == "true",
             PATIENCE_S, 0.05, "the record to say so")
    for g in range(2):
        wait_for(lambda g=g: cluster.lease_holder(g) not in ("", victim.name), PATIENCE_S, 0.05,
                 lambda g=g: f"group {g} to leave {victim}: {cluster.lease(g)}")
    require_each_with_its_holder(cluster, services)
    cluster.api().patch(f"{NODES}/{victim.name}", {"spec": {"unschedulable": None}})
    wait_for(lambda: "leasehold.io/leaving" not in record_of(cluster, victim.node)["metadata"]["annotations"],
             PATIENCE_S, 0.05, "the record to say no more")


def test_a_drained_node_is_the_last_resort(cluster, api_nodes):
    node = cluster.lab.nodes[0]
    cluster.api().patch(f"{NODES}/{node.name}", {"spec": {"unschedulable": True}})
    cluster.start_agents([node])
    service = cluster.service()
    cluster.wait_on_one_node(service.wait_vips(1)[0], node)


# --- traffic policy Local -------------------------------------------------------------------------


def own_lease(vip):
    return "leasehold-vip-" + vip.replace(".", "-").replace(":", "-")


def pods_of(cluster, node):
    return [pod for pod in cluster.lab.pods if pod.node is node]


def test_a_local_vip_goes_where_an_endpoint_is(cluster):
    first, second, third = cluster.lab.nodes
    cluster.start_agents()
    service = cluster.service(backends=pods_of(cluster, second), externalTrafficPolicy="Local")
    vip = service.wait_vips(1)[0]
    assert recorded(service) == own_lease(vip)
    cluster.wait_on_one_node(vip, second)
    cluster.reach_all(cluster.lab.client, vip, pods_of(cluster, second))
    assert holder_of(cluster, own_lease(vip)) == second.name
    service.set_backends(pods_of(cluster, third))
    cluster.wait_on_one_node(vip, third)
    service.set_backends([])
    wait_for(lambda: not cluster.nodes_with(vip), PATIENCE_S, 0.05, lambda: f"{vip} on no node")
    service.set_backends(pods_of(cluster, first) + pods_of(cluster, third))
    node = cluster.wait_on_one_node(vip)
    assert node in (first, third)
    cluster.reach_only(cluster.lab.client, vip, pods_of(cluster, node))


def test_a_vip_that_becomes_local_moves_without_a_moment_of_two_holders(cluster):
    cluster.start_agents()
    other = cluster.service("other")
    service = cluster.service()
    vip, stays = service.wait_vips(1)[0], other.wait_vips(1)[0]
    holder = cluster.wait_holder()
    cluster.wait_on_one_node(vip, holder.node)
    target = next(n for n in cluster.lab.nodes if n is not holder.node)
    with cluster.observed([vip]) as seen:
        service.set_backends(pods_of(cluster, target))
        service.patch({"spec": {"externalTrafficPolicy": "Local"}})
        cluster.wait_on_one_node(vip, target)
        assert recorded(service) == own_lease(vip)
        # Silent first, and then the record: whoever sees it may answer at once.
        log = holder.log()
        assert -1 < log.rindex(f"vip_down: this node no longer answers for the VIP vip={vip}") < log.rindex("group_changed:")
        seen.wait_answers()
        service.patch({"spec": {"externalTrafficPolicy": "Cluster"}})
        cluster.wait_on_one_node(vip, cluster.wait_holder().node)
        seen.wait_answers()
        seen.stop()
    seen.require_one_claimant()
    assert recorded(service) == "leasehold-group-0"
    assert cluster.nodes_with(stays) == [cluster.wait_holder().node]


def test_a_vip_without_candidates_finds_its_way_back(cluster):
    """Nobody may hold the own Lease for lack of endpoints; the record moves all the same."""
    cluster.start_agents(cluster.lab.nodes[:2])
    service = cluster.service(backends=[], externalTrafficPolicy="Local")
    wait_for(lambda: recorded(service).startswith("leasehold-vip-"), PATIENCE_S, 0.05,
             lambda: f"a record: {service.get()['metadata']}")
    vip = service.allocated()
    service.patch({"spec": {"externalTrafficPolicy": "Cluster"}})
    assert service.wait_vips(1) == [vip]
    assert recorded(service) == "leasehold-group-0"
    cluster.wait_on_one_node(vip, cluster.wait_holder().node)
    wait_for(lambda: holder_of(cluster, own_lease(vip)) == "", PATIENCE_S, 0.05, "the own Lease to be free")


def test_the_record_of_an_own_lease_goes_with_the_allocation(cluster):
    node = cluster.lab.nodes[0]
    cluster.start_agents([node])
    service = cluster.service(backends=pods_of(cluster, node), externalTrafficPolicy="Local")
    vip = service.wait_vips(1)[0]
    service.patch({"spec": {"type": "ClusterIP", "loadBalancerClass": None, "externalTrafficPolicy": None,
                            "allocateLoadBalancerNodePorts": None, "healthCheckNodePort": None}})
    wait_for(lambda: (recorded(service), service.allocated(), service.vips()) == ("", "", []), PATIENCE_S, 0.05,
             lambda: f"nothing of ours: {service.get()}")
    cluster.wait_gone(vip)


def test_an_own_lease_is_released_with_its_service(cluster):
    node = cluster.lab.nodes[0]
    cluster.start_agents([node])
    service = cluster.service(backends=pods_of(cluster, node), externalTrafficPolicy="Local")
    vip = service.wait_vips(1)[0]
    service.delete()
    wait_for(lambda: holder_of(cluster, own_lease(vip)) == "", PATIENCE_S, 0.05, "the own Lease to be free")
    again = cluster.service("again", backends=pods_of(cluster, node), externalTrafficPolicy="Local",
                            annotations={"leasehold.io/addresses": vip})
    assert again.wait_vips(1) == [vip]
