# SPDX-License-Identifier: Apache-2.0
"""The holder gets no memory any more: it does not crash, falls silent in time, and is a candidate again afterwards."""

import itertools
import re

import pytest

from netns.lab import wait_for

from e2e import agents
from e2e.agents import BINARY, PATIENCE_S, Agent
from e2e.starvation import ALL, OWN, SOME, Starvation, reason_not_to

pytestmark = pytest.mark.skipif(bool(reason_not_to(BINARY)), reason=reason_not_to(BINARY))


class HungryAgent(Agent):
    """An agent whose allocations can be made to fail."""

    def __init__(self, node, kubeconfig, workdir, flags):
        super().__init__(node, kubeconfig, workdir, flags)
        self.hunger = Starvation(self.workdir / "starve")

    def command(self, **changed):
        return [*self.hunger.prefix, *super().command(**changed)]


@pytest.fixture
def served(cluster, monkeypatch):
    """Three agents that can be starved and a dual-stack Service that answers: (Service, VIPs, holder)."""
    monkeypatch.setattr(agents, "Agent", HungryAgent)
    cluster.start_agents()
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    for vip in vips:
        cluster.wait_on_one_node(vip)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    return service, vips, cluster.wait_holder()


def writes(cluster):
    """The version of the Lease, which each write changes."""
    return cluster.lease()["metadata"]["resourceVersion"]


def test_a_holder_without_any_memory_gives_way_and_comes_back(cluster, served):
    _, vips, holder = served
    holder.hunger.begin(ALL)
    new = cluster.wait_holder(but=holder)
    for vip in vips:
        cluster.wait_on_one_node(vip, new.node)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    holder.require_running()
    assert holder.hunger.refused() > 0
    holder.hunger.end()
    holder.wait_ready()
    # A candidate again: with the others gone it takes the Lease.
    for agent in cluster.agents.values():
        if agent is not holder:
            assert agent.stop()[1] == 0
    assert cluster.wait_holder(but=new) is holder
    for vip in vips:
        cluster.wait_on_one_node(vip, holder.node)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def renewed_often(cluster, holder, times=8):
    """The holder writes the Lease so often, and nobody else does."""
    for _ in range(times):
        before = writes(cluster)
        wait_for(lambda b=before: writes(cluster) != b, PATIENCE_S, 0.05, "a renewal")
        assert cluster.lease_holder() == holder.name, \
            f"refused {holder.hunger.refused()}, last at {holder.hunger.last_caller()}\n{holder.log_tail()}"
    # A busy machine may let a request come to its time limit; none must fail for want of memory.
    assert not re.search(r"lease_request_failed|lease_unreadable", holder.log()), holder.log_tail()


def test_renewing_takes_no_memory_of_ours(cluster, served):
    """Libraries get theirs, the agent's own text gets none: it keeps the Lease."""
    _, vips, holder = served
    with holder.hunger.during(OWN):
        renewed_often(cluster, holder)
        cluster.wait_on_one_node(vips[0], holder.node)
    holder.wait_ready()


def test_nor_does_the_first_renewal(cluster, monkeypatch):
    """What a renewal needs was there before the Lease was won."""
    monkeypatch.setattr(agents, "Agent", HungryAgent)
    times = {"lease-duration": "4s", "renew-interval": "1s"}
    holder, *others = [cluster.agent(node, **times) for node in cluster.lab.nodes]
    holder.start()
    wait_for(lambda: cluster.lease_holder() == holder.name, PATIENCE_S, 0.01, f"{holder} to hold")
    with holder.hunger.during(OWN):
        spec = cluster.lease()["spec"]
        assert spec["acquireTime"] == spec["renewTime"], "renewed already: the case came too late to show anything"
        for agent in others:
            agent.start()
        renewed_often(cluster, holder, 5)  # longer than the Lease lasts
    holder.wait_ready()


def test_what_is_missed_is_told(cluster, served):
    """News that there is no memory for is logged without any, and costs nothing but itself."""
    service, vips, holder = served
    with holder.hunger.during(OWN):
        service.patch({"metadata": {"annotations": {"example.org/news": "1"}}})
        wait_for(lambda: "object_unreadable" in holder.log(), PATIENCE_S, 0.05, "a word of the Service that was not read")
        renewed_often(cluster, holder, 3)
        cluster.wait_on_one_node(vips[0], holder.node)
    holder.wait_ready()


def test_what_fails_now_and_then_ends_no_agent(cluster, served):
    """One allocation in eight of their own, in all agents: many things begin well and end badly.  Then all is as it was."""
    service, vips, _ = served
    everyone = list(cluster.agents.values())
    changes = itertools.count()
    for agent in everyone:
        agent.hunger.begin(SOME)

    def much_is_missed():
        """Agents at rest need next to no memory; news of the Service gives them some to ask for."""
        service.patch({"metadata": {"annotations": {"example.org/news": str(next(changes))}}})
        return sum(a.hunger.refused() for a in everyone) >= 30

    wait_for(much_is_missed, PATIENCE_S, 0.05,
             what=lambda: f"much to be missed; so far {[a.hunger.refused() for a in everyone]}")
    for agent in everyone:
        agent.require_running()
        agent.hunger.end()
    for agent in everyone:
        agent.wait_ready()
    for vip in vips:
        cluster.wait_on_one_node(vip)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_candidates_without_memory_wait(cluster, served):
    """Two of three starve: the holder goes on, and afterwards they take over from it."""
    _, vips, holder = served
    others = [agent for agent in cluster.agents.values() if agent is not holder]
    for agent in others:
        agent.hunger.begin(ALL)
    for agent in others:
        wait_for(lambda a=agent: a.hunger.refused() > 0, PATIENCE_S, what=f"{agent} to miss something")
    before = writes(cluster)
    wait_for(lambda: writes(cluster) != before, PATIENCE_S, 0.05, "a renewal")
    assert cluster.lease_holder() == holder.name
    for agent in others:
        agent.hunger.end()
        agent.wait_ready()
    holder.kill9()
    new = cluster.wait_holder(but=holder)
    for vip in vips:
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert new in others
