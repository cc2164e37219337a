# SPDX-License-Identifier: Apache-2.0
"""That Leasehold works as it is shipped: the image, installed by helm on three real nodes.

The cases share one cluster and run in the order of this file: each expects what `settled` waits for,
and leaves it so; the last one removes Leasehold.
"""

import contextlib
import json
import os
import re

import pytest

from e2e.agents import BINARY, NAMESPACE, have_agent
from kube.cluster import NotBuilt
from netns.lab import mono_ns, wait_for
from netns.probe import NeighProbe

from nodes.installed import DAEMONSET, RELEASE, installed_cluster

pytestmark = [pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(180)]

REPLICAS = 6
NET_ADMIN_AND_RAW = (1 << 12) | (1 << 13)


@pytest.fixture(scope="module", name="cluster")
def _cluster(tmp_path_factory):
    """Leasehold installed by the chart, six backends behind a dual-stack Service."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if not have_agent():
        pytest.skip(f"no agent at {BINARY}: run make, or set LEASEHOLD_BIN")
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(installed_cluster(tmp_path_factory.mktemp("helm")))
        except NotBuilt as reason:
            pytest.skip(str(reason))
        made.deploy("web", REPLICAS)
        made.web = made.expose("web")
        made.install()
        yield made


@pytest.fixture(name="vips")
def _settled(cluster):
    """The VIPs of the Service, once all agents and backends are ready and one node has the VIPs."""
    cluster.wait_rolled_out()
    cluster.wait_backends("web", REPLICAS)
    vips = cluster.web.wait_vips(2)
    holder = cluster.wait_holder_node()
    for vip in vips:
        cluster.wait_on_one_node(vip, holder)
    return vips


def report(what, traces, record_property):
    for vip, trace in traces.items():
        gap = trace.dark()
        figures = f"dark {gap}; {len(trace.lost())} of {len(trace.sent)} questions lost"
        print(f"{what} {vip}: {figures}")
        record_property(f"{what} {vip}", figures)


def test_pods_run_as_the_chart_says(cluster, vips):
    """Ready on every node with two capabilities, a seccomp profile and a file system without writes."""
    assert set(cluster.agent_pods()) == {node.name for node in cluster.lab.nodes}
    for host in cluster.lab.nodes:
        node = cluster.node(host.name)
        pid = cluster.agent_pid(host)
        status = dict(line.split(":\t", 1) for line in
                      node.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status[name], 16) == NET_ADMIN_AND_RAW, (name, status[name])
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
        assert re.search(r"^\S+ / \S+ ro,", node.run("cat", f"/proc/{pid}/mounts"), re.M)
        told = cluster.agent_status(host)
        assert told["ready"] and told["node"] == host.name
        # What docs/troubleshooting.md tells people to run.
        name = cluster.agent_pods()[host.name]["metadata"]["name"]
        assert host.name in cluster.plane.kubectl("exec", "-n", NAMESPACE, name, "--",
                                                  "leasehold", "status")
    assert [c["restartCount"] for pod in cluster.agent_pods().values()
            for c in pod["status"]["containerStatuses"]] == [0, 0, 0]
    assert len(vips) == 2


def test_client_reaches_every_backend(cluster, vips):
    backends = cluster.wait_backends("web", REPLICAS)
    assert all(cluster.backends_on("web", node.name) for node in cluster.lab.nodes)
    for vip in vips:
        for protocol in ("UDP", "TCP"):
            cluster.reach_all(cluster.lab.client, vip, backends, protocol)


def test_scaling(cluster, vips, record_property):
    for replicas in (2, REPLICAS):
        with cluster.watched(vips) as traces:
            cluster.scale("web", replicas)
            backends = cluster.wait_backends("web", replicas)
        report(f"scale to {replicas}", traces, record_property)
        for vip in vips:
            cluster.reach_only(cluster.lab.client, vip, backends)


def test_logs_are_json(cluster, vips):
    for host in cluster.lab.nodes:
        lines = cluster.logs(host.name).splitlines()
        assert lines
        for line in lines:
            assert isinstance(json.loads(line), dict), line
    holder = cluster.wait_holder_node()
    assert vips and f'"{holder.name}' in cluster.logs(holder.name)


def test_holders_agent_crashes(cluster, vips, record_property):
    """kubelet starts it again; whoever holds then, the VIP answers, from one node."""
    host = cluster.wait_holder_node()
    pid = cluster.agent_pid(host)
    with cluster.watched(vips) as traces:
        cluster.node(host.name).run("kill", "-KILL", pid)
        cluster.wait_agent_on(host)
        cluster.wait_rolled_out()
    report("crash", traces, record_property)
    assert cluster.agent_pid(host) != pid
    holder = cluster.wait_holder_node()
    for vip in vips:
        cluster.wait_on_one_node(vip, holder)
    cluster.wait_answered_by(vips, holder)


def test_holders_node_loses_power(cluster, vips, record_property):
    old = cluster.wait_holder_node()
    with cluster.watched(vips) as traces:
        at = cluster.power_off(old)
        new = cluster.wait_holder_node(but=old)
        for vip in vips:
            wait_for(lambda v=vip: v in new.addresses(), 20, 0.02, f"{vip} on {new.name}")
        took = (mono_ns() - at) / 1e6
    record_property("takeover", f"{took:.0f} ms")
    report("power off", traces, record_property)
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


def test_upgrade_keeps_the_vip(cluster, vips, record_property):
    before = cluster.api().get(DAEMONSET)["metadata"]["generation"]
    with cluster.watched(vips) as traces:
        cluster.upgrade("--set", "logLevel=debug")
        assert cluster.api().get(DAEMONSET)["metadata"]["generation"] == before + 1
        cluster.wait_rolled_out()
        holder = cluster.wait_holder_node()
    report("helm upgrade", traces, record_property)
    for host in cluster.lab.nodes:
        assert '"debug"' in cluster.logs(host.name)
    assert cluster.web.vips() == vips
    for vip in vips:
        cluster.wait_on_one_node(vip, holder)
    cluster.wait_answered_by(vips, holder)


def test_uninstall_leaves_nothing(cluster, vips):
    cluster.uninstall()
    wait_for(lambda: not cluster.agent_pods(), 60, 0.2,
             lambda: f"the end of the agents\n{cluster.evidence()}")
    for host in cluster.lab.nodes:
        assert not set(vips) & set(host.addresses()), host
        assert cluster.table(host) == "", host
    assert RELEASE not in cluster.plane.helm("list", "--namespace", NAMESPACE, "--short")
    with NeighProbe(cluster.lab, vips) as probe:
        probe.wait(lambda s: s["sent"] >= 40, what="40 questions")
        assert probe.stop().answered() == 0
