# SPDX-License-Identifier: Apache-2.0
"""That Leasehold works as it is shipped: the image, installed by helm on three real nodes.

What the cases share is in conftest.py.
"""

import json
import re

import pytest

from e2e.agents import NAMESPACE

from nodes.installed import REPLICAS

pytestmark = [pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(180)]

NET_ADMIN_AND_RAW_AND_BPF = (1 << 12) | (1 << 13) | (1 << 39)
MEMORY_KB = 10 * 1000


def test_pods_run_as_the_chart_says(cluster, vips):
    """Ready on every node with three capabilities, a seccomp profile and a file system without writes."""
    assert set(cluster.agent_pods()) == {node.name for node in cluster.lab.nodes}
    for host in cluster.lab.nodes:
        node = cluster.node(host.name)
        pid = cluster.agent_pid(host)
        status = dict(line.split(":\t", 1) for line in
                      node.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status[name], 16) == NET_ADMIN_AND_RAW_AND_BPF, (name, status[name])
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


def test_gate_stands_on_the_holder_and_memory_is_small(cluster, vips, note):
    """With the chart's seccomp profile (the runtime's own), and in the memory of its cgroup."""
    holder = cluster.wait_holder_node()
    assert vips and {side for side, _, _ in holder.filters()} == {"ingress", "egress"}
    for host in cluster.lab.nodes:
        used = cluster.agent_memory_kb(host)
        note(f"RssAnon on {host.name}", f"{used} kB")
        assert used < MEMORY_KB


def test_client_reaches_every_backend(cluster, vips):
    backends = cluster.wait_backends("web", REPLICAS)
    assert all(cluster.backends_on("web", node.name) for node in cluster.lab.nodes)
    for vip in vips:
        for protocol in ("UDP", "TCP"):
            cluster.reach_all(cluster.lab.client, vip, backends, protocol)


def test_scaling(cluster, vips, note):
    for replicas in (2, REPLICAS):
        with cluster.watched(vips) as traces:
            cluster.scale("web", replicas)
            backends = cluster.wait_backends("web", replicas)
        for vip in vips:
            note(f"scale to {replicas}, {vip}", f"{len(traces[vip].lost())} of {len(traces[vip].sent)} questions lost")
            cluster.reach_only(cluster.lab.client, vip, backends)


def test_logs_are_json(cluster, vips):
    for host in cluster.lab.nodes:
        lines = cluster.logs(host.name).splitlines()
        assert lines
        for line in lines:
            assert isinstance(json.loads(line), dict), line
    holder = cluster.wait_holder_node()
    assert vips and f'"{holder.name}' in cluster.logs(holder.name)
