"""The life of a Service: created, reached, scaled, changed, deleted; the kernel follows each step."""

import ipaddress
import re

import pytest

from netns.lab import ECHO_PORT, POOL4, POOL6, mono_ns, wait_for
from netns.probe import NeighProbe, UdpProbe

from e2e.agents import (ALLOCATED, CLASS, LEASE_MS, PATIENCE_S, SERVICES, SLICES, address_list, bulk,
                        service_body, slice_bodies)


def in_pool(address, pool=(POOL4, POOL6)):
    address = ipaddress.ip_address(address)
    ends = [[ipaddress.ip_address(e) for e in r.split("-")] for r in pool]
    return any(a.version == address.version and a <= address <= b for a, b in ends)


def test_a_service_gets_addresses_and_every_backend_answers(cluster):
    agents = cluster.start_agents()
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    assert [":" in vip for vip in vips] == [False, True] and all(in_pool(vip) for vip in vips)
    assert all(i.get("ipMode") == "VIP" for i in service.ingress())
    assert address_list(service.allocated()) == vips
    holders = {cluster.wait_on_one_node(vip) for vip in vips}
    assert [h.name for h in holders] == [cluster.lease_holder()]
    holder, = holders
    for vip in vips:
        shown = holder.addresses()[vip]
        assert shown["prefixlen"] == (128 if ":" in vip else 32)
        assert shown.get("noprefixroute") is True and not shown.get("tentative")
        assert 0 < shown["valid_life_time"] <= -(-LEASE_MS // 1000) + 2
    for vip in vips:
        for protocol in ("UDP", "TCP"):
            cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods, protocol)
    wait_for(lambda: service.events("Assigned"), what="an Assigned event")
    assert all(t == "Normal" and vips[0] in note for t, _, note in service.events("Assigned"))
    assert len(agents) == 3 and all(a.ready() for a in agents)


def test_the_lease_is_as_documented(cluster):
    holder = cluster.start_agents()[0]
    holder = cluster.wait_holder()
    lease = wait_for(cluster.lease, what="the Lease")
    spec = lease["spec"]
    boot = open("/proc/sys/kernel/random/boot_id").read()[:8]
    assert re.fullmatch(rf"{holder.name}_{boot}_[0-9a-f]{{8}}", spec["holderIdentity"])
    assert spec["leaseDurationSeconds"] == -(-LEASE_MS // 1000)
    assert lease["metadata"]["annotations"]["leasehold.io/duration-ms"] == str(LEASE_MS)
    assert lease["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "leasehold"


@pytest.mark.slow
def test_nodes_and_pods_reach_it_too(cluster):
    """Hairpin and node-local clients: each node, and pods on the holder and elsewhere, backends all."""
    cluster.start_agents()
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    holder = cluster.wait_on_one_node(vips[0])
    lab = cluster.lab
    elsewhere = next(p for p in lab.pods if p.node is not holder)
    local = next(p for p in lab.pods if p.node is holder)
    for host in (*lab.nodes, local, elsewhere):
        for vip in vips:
            for protocol in ("UDP", "TCP"):
                cluster.reach_all(host, vip, lab.pods, protocol)


def test_scaling_up_loses_nothing_and_scaling_down_takes_effect(cluster):
    cluster.start_agents()
    pods = cluster.lab.pods
    service = cluster.service(backends=pods[:1])
    vip, = service.wait_vips()
    cluster.reach_only(cluster.lab.client, vip, pods[:1])
    with cluster.probe(cluster.lab.client, vip) as probe:
        probe.wait_answered(10)
        service.set_backends(pods[:4])
        cluster.reach_only(cluster.lab.client, vip, pods[:4])
        service.set_backends(pods)
        cluster.reach_only(cluster.lab.client, vip, pods, "TCP")
        service.set_backends(pods[2:4])
        cluster.reach_only(cluster.lab.client, vip, pods[2:4])
        cluster.reach_only(cluster.lab.client, vip, pods[2:4], "TCP")
        trace = probe.stop()
    assert trace.lost() == [], "all backends were alive all the time: no question may be lost"


def test_without_backends_clients_are_refused_and_served_again_later(cluster):
    cluster.start_agents()
    service = cluster.service(backends=cluster.lab.pods[:2])
    vip, = service.wait_vips()
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods[:2], "TCP")
    service.set_backends([])
    cluster.unreachable(cluster.lab.client, vip, "UDP")
    with cluster.probe(cluster.lab.client, vip, "TCP") as probe:
        probe.wait(lambda s: s["errors"].get("ECONNREFUSED", 0) >= 5, PATIENCE_S, "refusals")
    service.set_backends(cluster.lab.pods[4:])
    cluster.reach_only(cluster.lab.client, vip, cluster.lab.pods[4:], "TCP")
    assert service.vips() == [vip]


def test_an_endpoint_that_is_not_ready_gets_nothing(cluster):
    cluster.start_agents()
    pods = cluster.lab.pods[:3]
    service = cluster.service(backends=pods)
    vip, = service.wait_vips()
    cluster.reach_only(cluster.lab.client, vip, pods)
    path = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{service.name}-v4"
    endpoints = cluster.api().get(path)["endpoints"]
    endpoints[0]["conditions"] = {"ready": False, "serving": False, "terminating": False}
    cluster.api().patch(path, {"endpoints": endpoints})
    cluster.reach_only(cluster.lab.client, vip, pods[1:])


def test_the_port_changes(cluster):
    cluster.start_agents()
    service = cluster.service()
    vip, = service.wait_vips()
    client, pods = cluster.lab.client, cluster.lab.pods
    cluster.reach_all(client, vip, pods, "TCP", 80)
    ports = service.get()["spec"]["ports"]
    service.patch({"spec": {"ports": [{**p, "port": 8000} for p in ports]}})
    for protocol in ("TCP", "UDP"):
        cluster.reach_only(client, vip, pods, protocol, 8000)
        cluster.unreachable(client, vip, protocol, 80)
    assert service.vips() == [vip]


def test_the_target_port_changes(cluster):
    cluster.start_agents()
    pod = cluster.lab.pods[0]
    other = cluster.lab.start_echo(pod, name="other", ports=(9000,))
    try:
        service = cluster.service(backends=[pod])
        vip, = service.wait_vips()
        cluster.reach_only(cluster.lab.client, vip, [pod], "TCP")
        service.set_backends([pod], target=9000)
        cluster.reach_only(cluster.lab.client, vip, ["other"], "TCP")
        cluster.reach_only(cluster.lab.client, vip, ["other"], "UDP")
    finally:
        other.kill9()


def test_deleted_means_gone_everywhere_and_the_address_is_free_again(cluster):
    cluster.start_agents()
    service = cluster.service(annotations={"leasehold.io/addresses": "192.0.2.222"})
    keep = cluster.service("keep")
    assert service.wait_vips() == ["192.0.2.222"]
    kept, = keep.wait_vips()
    cluster.reach_all(cluster.lab.client, "192.0.2.222", cluster.lab.pods)
    service.delete()
    cluster.wait_gone("192.0.2.222")
    with NeighProbe(cluster.lab, ["192.0.2.222", kept]) as probe:
        probe.wait_answered(20)
        trace = probe.stop()
    assert trace.answered("192.0.2.222") == 0 and trace.answered(kept) >= 19
    cluster.unreachable(cluster.lab.client, "192.0.2.222")
    cluster.reach_all(cluster.lab.client, kept, cluster.lab.pods)
    again = cluster.service("again", annotations={"leasehold.io/addresses": "192.0.2.222"})
    assert again.wait_vips() == ["192.0.2.222"]
    cluster.reach_all(cluster.lab.client, "192.0.2.222", cluster.lab.pods)


@pytest.mark.parametrize("endpoints_first", [False, True])
def test_flows_that_asked_before_the_service_was_there_are_served(cluster, endpoints_first):
    """UDP clients that ask all the time: no flow may stay bound to the node itself by conntrack."""
    cluster.start_agents()
    vip, pods = "192.0.2.224", cluster.lab.pods
    with UdpProbe(cluster.lab.client, vip, 80, interval_ms=1) as probe:
        probe.wait(lambda s: s["sent"] >= 20, what="questions to nobody")
        body = service_body("late", annotations={"leasehold.io/addresses": vip})
        parts = slice_bodies(body, pods, ECHO_PORT)
        calls = [("POST", SERVICES, body)]
        calls[int(not endpoints_first):0] = [("POST", SLICES, part) for part in parts]
        bulk(cluster.api(), calls, connections=1)
        probe.wait(lambda s: s["answered"] >= 500, PATIENCE_S, "answers to flows older than the Service")
        since = mono_ns()
        probe.wait_answered(200)
        trace = probe.stop()
    assert trace.lost(since=since) == [], "all flows, not only some"


def test_type_changed_away_and_back(cluster):
    cluster.start_agents()
    service = cluster.service()
    vip, = service.wait_vips()
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    service.patch({"spec": {"type": "ClusterIP", "loadBalancerClass": None,
                            "allocateLoadBalancerNodePorts": None}})
    cluster.wait_gone(vip)
    service.wait_no_vips()
    wait_for(lambda: not service.allocated(), what="the allocation to be cleared")
    service.patch({"spec": {"type": "LoadBalancer", "loadBalancerClass": CLASS,
                            "allocateLoadBalancerNodePorts": False}})
    vip, = service.wait_vips()
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_class_changed_away_leaves_the_service_to_its_new_owner(cluster):
    cluster.start_agents()
    service = cluster.service()
    vip, = service.wait_vips()
    # The class is immutable while the type is LoadBalancer, so the way leads over ClusterIP.
    service.patch({"spec": {"type": "ClusterIP", "loadBalancerClass": None,
                            "allocateLoadBalancerNodePorts": None}})
    service.patch({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/other",
                            "allocateLoadBalancerNodePorts": False}})
    cluster.wait_gone(vip)
    wait_for(lambda: not service.allocated(), what="the allocation to be cleared")
    cluster.api().patch(f"{service.path}/status", {
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}})
    version = service.get()["metadata"]["resourceVersion"]
    cluster.service("sentinel").wait_vips()
    assert service.vips() == ["203.0.113.9"]
    assert service.get()["metadata"]["resourceVersion"] == version
    assert ALLOCATED not in service.get()["metadata"].get("annotations", {})


def test_hash_balancing_keeps_a_flow_and_random_spreads(cluster):
    """One source port always meets one backend by hash; by random choice it meets them all."""
    cluster.start_agents()
    lab = cluster.lab
    fixed = cluster.service("fixed", annotations={"leasehold.io/balance": "hash"})
    spread = cluster.service("spread", annotations={"leasehold.io/balance": "random"})
    vips = [fixed.wait_vips()[0], spread.wait_vips()[0]]
    for vip in vips:
        cluster.reach_all(lab.client, vip, lab.pods)

    def answers(vip, times):
        import socket
        names = set()
        for _ in range(times):
            # A new flow each time: forget the last one on every node, and before the first whatever used this
            # port while some of the backends were still unknown.
            for node in lab.nodes:
                node.run(["conntrack", "-F"])
            with lab.client.entered():
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sock:
                sock.settimeout(5)
                sock.bind((lab.client.ip4, 45678))
                sock.connect((vip, 80))
                sock.send(b"q")
                names.add(sock.recv(200).split(b"|")[1])
        return names

    assert len(answers(vips[0], 15)) == 1
    assert len(answers(vips[1], 25)) > 1


@pytest.mark.parametrize("form", ["hash", "random"])
def test_balancing_is_even_enough(cluster, form):
    cluster.start_agents()
    pods = cluster.lab.pods
    service = cluster.service(annotations={"leasehold.io/balance": form})
    vip, = service.wait_vips()
    cluster.reach_all(cluster.lab.client, vip, pods)
    with cluster.probe(cluster.lab.client, vip) as probe:
        probe.wait_answered(1200)
        counts = probe.stop().backends()
    assert set(counts) == {p.name for p in pods}
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_bad_annotation_hurts_only_its_own_service(cluster):
    cluster.start_agents()
    bad = cluster.service("bad", annotations={"leasehold.io/addresses": "not-an-address"})
    good = cluster.service("good")
    vip, = good.wait_vips()
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    notes = wait_for(lambda: [n for t, _, n in bad.events() if t == "Warning"],
                     PATIENCE_S, what="a Warning about the bad annotation")
    assert any("not-an-address" in note for note in notes)


def test_target_ports_of_the_lab_are_what_the_cases_assume(site):
    """The echo servers answer on their own addresses: a failing case above is not the lab's fault."""
    lab = site[0]
    for pod in lab.pods:
        with UdpProbe(pod.node, pod.ip4, ECHO_PORT, interval_ms=5, linger_ms=5) as probe:
            probe.wait_answered()
