"""The API server restarts, goes away for half a minute, or stops answering: VIPs come back, and
there are never two holders."""

import pytest

from netns.lab import mono_ns, wait_for

from e2e.agents import PATIENCE_S


@pytest.fixture
def plane(cluster):
    """The control plane, back in order after the case whatever the case did to it."""
    yield cluster.plane
    for server in cluster.plane.servers:
        if server.process.alive():
            server.process.thaw()
    if not all(server.serving() for server in cluster.plane.servers):
        cluster.plane.restart()


def serve(cluster, **flags):
    cluster.start_agents(**flags)
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    for vip in vips:
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    return service, vips


def settled(cluster, service, vips):
    for vip in vips:
        cluster.wait_on_one_node(vip, timeout_s=2 * PATIENCE_S)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods, "TCP")
    assert service.vips() == vips


@pytest.mark.slow
def test_api_server_restart(cluster, plane):
    service, vips = serve(cluster)
    version = service.get()["metadata"]["resourceVersion"]
    with cluster.observed(vips) as seen:
        plane.kill()
        plane.restart()
        back = mono_ns()
        for agent in cluster.agents.values():
            wait_for(agent.ready, 2 * PATIENCE_S, 0.1, lambda a=agent: f"{a} ready:\n{a.log_tail()}")
        seen.wait_answers(back, 2 * PATIENCE_S)
        seen.stop()
    seen.require_one_claimant()
    settled(cluster, service, vips)
    assert service.get()["metadata"]["resourceVersion"] == version, "nothing to write: nothing written"
    other = cluster.service("after")
    cluster.reach_all(cluster.lab.client, other.wait_vips()[0], cluster.lab.pods)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how, seconds", [("kill", 30), ("freeze", 12)])
def test_outage_with_fence(cluster, plane, how, seconds):
    """Policy fence: the holder withdraws at its deadline, and the VIP is back after the outage."""
    service, vips = serve(cluster, on_api_loss="fence")
    with cluster.observed(vips, interval_ms=5) as seen:
        began = mono_ns()
        getattr(plane, how)()
        for vip in vips:
            wait_for(lambda v=vip: not cluster.nodes_with(v), PATIENCE_S,
                     what=f"{vip} to be withdrawn at the deadline")
        wait_for(lambda: mono_ns() - began > seconds * 10**9, seconds + 5, 0.2, "the outage to last")
        assert not any(cluster.nodes_with(vip) for vip in vips)
        if how == "kill":
            plane.restart()
        else:
            plane.thaw()
        back = mono_ns()
        seen.wait_answers(back, 2 * PATIENCE_S)
        seen.stop()
    seen.require_one_claimant()
    settled(cluster, service, vips)
    for agent in cluster.agents.values():
        agent.require_running()
        wait_for(agent.ready, 2 * PATIENCE_S, 0.1, lambda a=agent: f"{a} ready:\n{a.log_tail()}")


@pytest.mark.slow
def test_agents_started_during_an_outage_serve_once_it_is_over(cluster, plane):
    service = cluster.service()
    plane.kill()
    for node in cluster.lab.nodes:
        cluster.agent(node).start()
    wait_for(lambda: all(a.http("/healthz")[0] == 200 for a in cluster.agents.values()), PATIENCE_S,
             what="living agents")
    assert not any(a.ready() for a in cluster.agents.values())
    plane.restart()
    vip, = service.wait_vips(timeout_s=2 * PATIENCE_S)
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


@pytest.mark.slow
def test_a_change_made_while_agents_could_not_watch_is_caught_up(cluster, plane):
    """Objects that change between the end of one watch and the next list are not missed."""
    service, vips = serve(cluster)
    gone = cluster.service("gone")
    gone_vip, = gone.wait_vips()
    lab = cluster.lab
    for node in lab.nodes:
        lab.lose(frm=node, to=lab.api)
    gone.delete()
    service.set_backends(lab.pods[:2])
    lab.heal()
    cluster.wait_gone(gone_vip, 2 * PATIENCE_S)
    for vip in vips:
        cluster.wait_on_one_node(vip)
        cluster.reach_only(lab.client, vip, lab.pods[:2])
    assert plane.servers
