"""The agent as a program: health, metrics, status, exit codes, rights, and rest."""

import json
import subprocess

from netns.lab import wait_for

from e2e.agents import BINARY, PATIENCE_S


def test_health_readiness_and_metrics(cluster):
    agents = cluster.start_agents()
    service = cluster.service(policy="RequireDualStack")
    vips = service.wait_vips(2)
    holder = cluster.wait_holder()
    for agent in agents:
        assert agent.http("/healthz")[0] == 200 and agent.http("/readyz")[0] == 200
        assert agent.http("/nothing-here")[0] == 404
    wait_for(lambda: held(holder) == len(vips), PATIENCE_S, what="two VIPs in the metrics")
    metrics = {agent.name: agent.metrics() for agent in agents}
    assert sum(held(agent) for agent in agents) == len(vips)
    for name in metrics:
        assert any(key.startswith("leasehold_build_info{") for key in metrics[name])
    assert any(key.startswith("leasehold_api_requests_total{") for key in metrics[holder.name])


def held(agent):
    return next(value for key, value in agent.metrics().items() if key.startswith("leasehold_vips_held"))


def test_status_tells_who_holds(cluster):
    agents = cluster.start_agents()
    vip, = cluster.service().wait_vips()
    holder = cluster.wait_holder()
    wait_for(lambda: vip in json.dumps(holder.status()), PATIENCE_S, what="the VIP in status")
    for agent in agents:
        text = agent.node.run([BINARY, "status", "--state-dir", str(agent.state_dir)])
        assert holder.name in text and vip in text
        assert holder.name in json.dumps(agent.status())


def test_status_without_an_agent_says_so(cluster):
    agent = cluster.agent(cluster.lab.nodes[0])
    done = subprocess.run([BINARY, "status", "--state-dir", str(agent.state_dir)],
                          capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 4 and str(agent.state_dir) in done.stderr


def test_one_agent_per_state_directory(cluster):
    agent, = cluster.start_agents([cluster.lab.nodes[0]])
    second = agent.node.spawn(agent.command(), log=cluster.workdir / "second.log")
    assert second.wait(PATIENCE_S) == 3
    assert agent.ready()


def test_no_request_was_forbidden(cluster):
    """The chart's rights suffice for everything an agent does, and every request is used to the full."""
    agents = cluster.start_agents()
    service = cluster.service()
    service.wait_vips()
    wait_for(lambda: service.events("Assigned"), PATIENCE_S, what="an Assigned event")
    holder = cluster.wait_holder()
    holder.stop()
    cluster.wait_holder(but=holder)
    wait_for(lambda: service.events("Moved"), PATIENCE_S, what="a Moved event")
    for agent in agents:
        if agent.running():
            refused = [key for key in agent.metrics() if 'code="403"' in key or 'code="401"' in key]
            assert refused == []
        assert "forbidden" not in agent.log().lower()


def test_at_rest_only_the_lease_is_written(cluster):
    agents = cluster.start_agents()
    service = cluster.service()
    service.wait_vips()
    wait_for(lambda: service.events("Assigned"), PATIENCE_S, what="an Assigned event")
    holder = cluster.wait_holder()
    version = service.get()["metadata"]["resourceVersion"]
    events = len(service.events())

    def writes(agent):
        return {key: value for key, value in agent.metrics().items()
                if key.startswith("leasehold_api_requests_total")
                and not any(f'verb="{verb}"' in key for verb in ("GET", "LIST", "WATCH"))}

    def renewals():
        seen.add(cluster.lease()["metadata"]["resourceVersion"])
        return len(seen)

    before, seen = {a: writes(a) for a in agents}, set()
    wait_for(lambda: renewals() >= 6, PATIENCE_S, what="five renewals")
    assert service.get()["metadata"]["resourceVersion"] == version and len(service.events()) == events
    for agent in agents:
        changed = {key for key, value in writes(agent).items() if before[agent].get(key) != value}
        if agent is holder:
            assert changed and all('verb="PUT"' in key and 'code="200"' in key for key in changed)
        else:
            assert changed == set()


def test_at_rest_little_is_done(cluster):
    """However often the loop wakes up, VIPs and Services are gone through when something has changed."""
    agents = cluster.start_agents()
    for i in range(3):
        cluster.service(f"rest-{i}").wait_vips()

    def counts(agent):
        found = agent.metrics()
        return {name: found[f"leasehold_{name}_total"] for name in ("builds", "vip_looks", "loop_turns")}

    def grown(agent, before):
        return {name: value - before[name] for name, value in counts(agent).items()}

    for agent in agents:
        def at_rest(agent=agent):
            before = counts(agent)
            wait_for(lambda: grown(agent, before)["loop_turns"] >= 20, PATIENCE_S, what="20 turns")
            found = grown(agent, before)
            return found["builds"] == 0 and found["vip_looks"] * 2 <= found["loop_turns"]

        wait_for(at_rest, PATIENCE_S * 3, what=lambda agent=agent: f"{agent} to rest: {counts(agent)}")


def test_an_agent_without_interface_carrier_is_no_candidate(cluster):
    """A node whose cable is out never claims; it does once the cable is back."""
    node = cluster.lab.nodes[0]
    agent = cluster.agent(node).start()
    agent.wait_ready()
    cluster.wait_holder()
    assert agent.stop()[1] == 0
    cluster.lab.unplug(node)
    agent.start()
    wait_for(lambda: agent.http("/healthz")[0] == 200, PATIENCE_S, what="a living agent")
    assert cluster.lease_holder() == ""
    cluster.lab.plug(node)
    assert cluster.wait_holder() is agent
