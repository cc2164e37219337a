# SPDX-License-Identifier: Apache-2.0
"""The one cluster on which the cases of this directory run, in the order of the files and of their lines: each case
expects what `vips` waits for and leaves it so, and the last one removes Leasehold.
"""

import contextlib
import os

import pytest

from e2e.agents import BINARY, have_agent
from kube.cluster import NotBuilt

from nodes.installed import REPLICAS, installed_cluster


@pytest.fixture(scope="session", name="cluster")
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
        # The policies too: they must let through all that the agents write.
        made.install("--set", ""
)
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
