# SPDX-License-Identifier: Apache-2.0
"""That VIPs move on real nodes as they should: what is planned loses next to nothing, and never do two nodes answer.

What the cases share is in conftest.py.
"""

import json

import pytest

from netns.lab import wait_for

from nodes.installed import DAEMONSET, PATIENCE_S, REPLICAS

pytestmark = [pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(240)]

EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


def moved(cluster, vips, seen, old):
    """Wait for the Lease of another node, and until that node is heard for the VIPs; its host."""
    new = cluster.wait_holder_node(but=old)
    seen.wait_heard(vips, new.mac, PATIENCE_S)
    return new


def settle(cluster, vips, host):
    for vip in vips:
        cluster.wait_on_one_node(vip, host)
    cluster.wait_answered_by(vips, host)


def test_handover_by_an_administrator(cluster, vips, closely):
    """From the administrator's kubeconfig, on a machine that is no node."""
    old = cluster.wait_holder_node()
    to = next(host for host in cluster.lab.nodes if host is not old)
    with closely("handover") as seen:
        _, status, out = cluster.handover("--to", to.name)
        assert status == 0, out
        assert moved(cluster, vips, seen, old) is to
    assert old.name in out and to.name in out
    settle(cluster, vips, to)


def test_cordoned_node_hands_over(cluster, vips, closely):
    old = cluster.wait_holder_node()
    try:
        with closely("kubectl cordon") as seen:
            cluster.plane.kubectl("cordon", old.name)
            new = moved(cluster, vips, seen, old)
        settle(cluster, vips, new)
    finally:
        cluster.plane.kubectl("uncordon", old.name)


def test_excluded_node_hands_over(cluster, vips, closely):
    old = cluster.wait_holder_node()
    try:
        with closely("exclude label") as seen:
            cluster.plane.kubectl("label", "node", old.name, f"{EXCLUDED}=")
            new = moved(cluster, vips, seen, old)
        settle(cluster, vips, new)
    finally:
        cluster.plane.kubectl("label", "node", old.name, f"{EXCLUDED}-")


def test_drained_node_hands_over(cluster, vips, closely):
    """The backends of the node are evicted; the agent, of a DaemonSet, stays."""
    old = cluster.wait_holder_node()
    try:
        # Connections to the evicted end, and what is on its way to them is lost.
        with closely("kubectl drain", moves=None, connections=False) as seen:
            cluster.plane.kubectl("drain", old.name, "--ignore-daemonsets", "--timeout=60s")
            new = moved(cluster, vips, seen, old)
            backends = cluster.wait_backends("web", REPLICAS)
        settle(cluster, vips, new)
        assert not cluster.backends_on("web", old.name)
        for vip in vips:
            cluster.reach_only(cluster.lab.client, vip, backends)
    finally:
        cluster.plane.kubectl("uncordon", old.name)
    # So that every node has backends again.
    for replicas in (1, REPLICAS):
        cluster.scale("web", replicas)
        cluster.wait_backends("web", replicas)


def test_upgrade(cluster, vips, closely):
    """Every agent restarts, one after the other, so the VIPs move more than once."""
    before = cluster.api().get(DAEMONSET)["metadata"]["generation"]
    # An agent that starts forgets where the one before it sent frames on: who hears no announcement has to ask first.
    with closely("helm upgrade", moves=len(cluster.lab.nodes), deaf=False):
        cluster.upgrade("--set", "logLevel=debug")
        assert cluster.api().get(DAEMONSET)["metadata"]["generation"] == before + 1
        cluster.wait_rolled_out()
        holder = cluster.wait_holder_node()
    for host in cluster.lab.nodes:
        assert '"debug"' in cluster.logs(host.name)
    assert cluster.web.vips() == vips
    settle(cluster, vips, holder)


def test_killed_agent(cluster, vips, closely):
    """kubelet starts it again; whoever holds then, the VIP answers, from one node, and connections live."""
    host = cluster.wait_holder_node()
    pid = cluster.agent_pid(host)
    with closely("kill -9", moves=None):
        cluster.node(host.name).run("kill", "-KILL", pid)
        cluster.wait_agent_on(host)
        cluster.wait_rolled_out()
    assert cluster.agent_pid(host) != pid
    settle(cluster, vips, cluster.wait_holder_node())


def test_frozen_agent(cluster, vips, closely):
    """It cannot even notice that its time is up.  kubelet's liveness probe ends it, or the case wakes it."""
    host = cluster.wait_holder_node()
    pid = cluster.agent_pid(host)
    try:
        with closely("SIGSTOP", moves=None) as seen:
            cluster.node(host.name).run("kill", "-STOP", pid)
            new = moved(cluster, vips, seen, host)
    finally:
        cluster.node(host.name).run("sh", "-c", f"kill -CONT {pid} || :")
    cluster.wait_agent_on(host)
    settle(cluster, vips, new)


def test_node_loses_power(cluster, vips, closely):
    old = cluster.wait_holder_node()
    with closely("power off", moves=None, connections=False) as seen:
        cluster.power_off(old)
        new = moved(cluster, vips, seen, old)
    cluster.wait_answered_by(vips, new)

    cluster.power_on(old)
    cluster.wait_agent_on(old)
    # It joined without taking anything, and its pods are backends again.
    assert cluster.lease_holder() == new.name
    assert not set(vips) & set(old.addresses())
    cluster.wait_rolled_out()
    backends = cluster.wait_backends("web", REPLICAS)
    for vip in vips:
        cluster.reach_only(cluster.lab.client, vip, backends)


def test_server_refused_nothing(cluster, vips):
    """After all of that: rights and admission policies let the agents do all that they asked for."""
    assert vips
    for host in cluster.lab.nodes:
        assert cluster.refusals(host) == {}, cluster.logs(host.name)
    wait_for(lambda: all(cluster.lease_exists(f"leasehold-node-{host.name}") for host in cluster.lab.nodes),
             what="the nodes' records")
    for host in cluster.lab.nodes:
        for line in cluster.logs(host.name).splitlines():
            assert json.loads(line)["level"] != "error", line
