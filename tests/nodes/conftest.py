# SPDX-License-Identifier: Apache-2.0
"""The one cluster on which the cases of this directory run, in the order of the files and of their lines: each case
expects what `vips` waits for and leaves it so, and the last one removes Leasehold.
"""

import contextlib
import os

import pytest

from e2e.agents import BINARY, have_agent
from kube.cluster import NotBuilt
from netns.lab import mono_ns
from netns.probe import StreamsProbe

from nodes.installed import REPLICAS, installed_cluster

# The pools of the lab as CIDRs.
RANGES = "192.0.2.192/26,2001:db8::c0/122"
CONNECTIONS, IDLE = 12, 6
# Of 500 a second: a write to etcd and its way through a watch lie between the old holder's last frame and the new one's
# first, for pods on either node.  Who is sent to the wrong node loses ten times as many.
LOST_A_MOVE = 50


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
        # With the policies: they must let through all that the agents write.
        made.install("--set", f"admissionPolicy.enabled=true,admissionPolicy.ranges={{{RANGES}}}")
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


@pytest.fixture
def note(record_property):
    """Prints a figure, and keeps it in the report."""
    def say(what, figure):
        print(f"{what}: {figure}")
        record_property(what, str(figure))
    return say


@pytest.fixture
def closely(cluster, vips, note):
    """closely(WHAT, moves=..., connections=...): while something is done to the holder two clients ask each VIP 500
    times a second, one of them deaf to announcements, and hold connections.  Nobody may see two nodes answer; the
    connections live on.  moves: of so many planned moves each may lose what is on its way, no more than LOST_A_MOVE
    questions; None: it is no planned move.  deaf: that goes for the deaf client, too.
    """
    @contextlib.contextmanager
    def watch(what, moves=1, connections=True, deaf=True):
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(StreamsProbe(cluster.lab.client, vip, 80, CONNECTIONS, 50, IDLE))
                       for vip in (vips if connections else ())]
            for probe in streams:
                probe.wait_up()
            with cluster.observed(vips, slow=True) as seen:
                yield seen
                seen.wait_answers()
                seen.stop()
            at = mono_ns()
            for probe in streams:
                probe.speak()
                probe.wait_echoes(at)
            held = dict(zip(vips, (probe.stop() for probe in streams)))
        most = 0
        for who, traces in (("client", seen.traces), ("slow client", seen.slow)):
            for vip, trace in traces.items():
                if deaf or traces is seen.traces:
                    most = max(most, len(trace.lost()))
                note(f"{what}, {vip}, {who}", f"dark {trace.dark()}; {len(trace.lost())} of {len(trace.sent)} lost")
        note(f"{what}, two nodes answered", f"{seen.two_macs_ms():.1f} ms")
        for vip, trace in held.items():
            alive = len(trace.alive(at))
            note(f"{what}, {vip}, connections alive", f"{alive} of {CONNECTIONS}")
            assert alive == CONNECTIONS, trace.cut()
        assert seen.two_macs_ms() == 0
        seen.require_one_claimant()
        assert moves is None or most <= moves * LOST_A_MOVE, f"{most} questions lost"
    return watch
