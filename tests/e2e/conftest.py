"""The control planes and the cluster that end-to-end cases run on.

Every case that takes `cluster` runs twice: on the in-memory API server (marker fake) and on the real
kube-apiserver (marker kube).  Lab and API server live for the session, agents and objects for a case.
"""

import pytest

from fakekube.cluster import FakeControlPlane
from kube.cluster import ControlPlane, NotBuilt
from netns.lab import Lab

from e2e.agents import BINARY, Cluster, have_agent, install_rbac
from e2e.farlan import FarLan, stop_all

# Room for the ClusterIPs of hundreds of Services, which tests/kube's own range has not.
WIDE_RANGE = "--service-cluster-ip-range=198.19.0.0/16,2001:db8:19::/112"


def make_plane(kind, lab, workdir):
    """A control plane in the lab's `api` host, not started; NotBuilt where its programs are missing."""
    if kind == "fake":
        return FakeControlPlane(lab.api.netns, lab.api.ip4, workdir)
    return ControlPlane(lab.api.netns, lab.api.ip4, workdir, server_flags=[WIDE_RANGE])


@pytest.fixture(scope="session", params=[pytest.param("fake", marks=pytest.mark.fake),
                                         pytest.param("kube", marks=pytest.mark.kube)])
def site(request, tmp_path_factory):
    """(lab, running control plane, kubeconfig of the agents' ServiceAccount)."""
    if not have_agent():
        pytest.skip(f"no agent at {BINARY}: run make, or set LEASEHOLD_BIN")
    with Lab() as lab:
        try:
            plane = make_plane(request.param, lab, tmp_path_factory.mktemp(request.param))
        except NotBuilt as reason:
            pytest.skip(str(reason))
        plane.start()
        try:
            yield lab, plane, install_rbac(plane)
        finally:
            plane.stop()


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep what became of the case, so that a fixture can show the agents' logs after a failure."""
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


@pytest.fixture
def cluster(site, tmp_path, request):
    """A cluster without agents and Services; what the case makes is removed after it."""
    lab, plane, kubeconfig = site
    made = Cluster(lab, plane, kubeconfig, tmp_path)
    try:
        yield made
        if getattr(request.node, "failed", False):
            for agent in made.agents.values():
                print(f"--- log of {agent}\n{agent.log_tail(80)}")
        else:
            made.stop_agents()
    finally:
        made.clear()


@pytest.fixture
def far(cluster):
    """The second LAN; it goes after the test, with whatever stands on its interfaces."""
    lan = FarLan(cluster.lab)
    try:
        lan.open()
        yield lan
    finally:
        stop_all(cluster)
        lan.close()
