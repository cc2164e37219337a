# SPDX-License-Identifier: Apache-2.0
"""What `helm uninstall` leaves behind.  The last of these files: the cluster is without Leasehold after it."""

import pytest

from e2e.agents import LEASES
from netns.lab import wait_for
from netns.probe import NeighProbe

from nodes.installed import NAMESPACE, RELEASE

pytestmark = [pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(180)]


def test_uninstall_leaves_nothing_but_the_leases(cluster, vips, note):
    """Nothing in any node's kernel: no address, table, filter or clsact.  In the API the Leases stay (the agents have no
    right to delete any): the groups', and the nodes' own, which go with their Node objects."""
    nodes = {host.name: cluster.api().get(f"/api/v1/nodes/{host.name}")["metadata"]["uid"] for host in cluster.lab.nodes}
    kinds = {text.split()[0] for text in cluster.left_in_kernel(cluster.wait_holder_node())}
    assert kinds == {"address", "table", "clsact"}
    cluster.uninstall()
    wait_for(lambda: not cluster.agent_pods(), 60, 0.2,
             lambda: f"the end of the agents\n{cluster.evidence()}")
    for host in cluster.lab.nodes:
        assert cluster.left_in_kernel(host) == [], host
    assert RELEASE not in cluster.plane.helm("list", "--namespace", NAMESPACE, "--short")
    with NeighProbe(cluster.lab, vips) as probe:
        probe.wait(lambda s: s["sent"] >= 40, what="40 questions")
        assert probe.stop().answered() == 0
    left = {one["metadata"]["name"]: one for one in cluster.api().list(LEASES)
            if one["metadata"]["name"].startswith("leasehold-")}
    note("Leases left", sorted(left))
    assert set(left) == {"leasehold-group-0", *(f"leasehold-node-{name}" for name in nodes)}
    for name, uid in nodes.items():
        owners = left[f"leasehold-node-{name}"]["metadata"]["ownerReferences"]
        assert [owner["uid"] for owner in owners] == [uid]
