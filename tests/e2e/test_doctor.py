"""`leasehold doctor` as a user meets it: silent about a healthy node, and of a node with many things wrong it names each of
them with a remedy that works: the commands that it prints are carried out here, and make the node healthy."""

import contextlib
import json
import subprocess

import pytest

from netns.lab import mono_ns, wait_for

from e2e.agents import BINARY, NAMESPACE, PATIENCE_S

FREE = "192.0.2.230"
ROLE = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/leasehold"


def run(agent, *arguments, without=(), **flags):
    """(exit status, what it says) of the doctor with the agent's flags and, but for some, its capabilities."""
    argv = agent.command(**{key.replace("_", "-"): value for key, value in flags.items()})
    argv[2] = ",".join(word for word in argv[2].split(",") if word.lstrip("+") not in without)
    argv[argv.index("agent")] = "doctor"
    process = agent.node.spawn([*argv, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = mono_ns()
    out, err = process.communicate(timeout=60)
    assert err == "" and mono_ns() - began < 25e9
    return process.returncode, out


def findings(agent, *arguments, **how):
    """(exit status, findings that are no "ok")"""
    code, out = run(agent, "--json", *arguments, **how)
    return code, [f for f in json.loads(out)["findings"] if f["level"] != "ok"]


def errors(found):
    return [f for f in found if f["level"] == "error"]


def about(found, text):
    """The one finding whose first line has that text."""
    chosen = [f for f in found if text in f["what"]]
    assert len(chosen) == 1, f"{text}: {found}"
    return chosen[0]


def kernel_state(node):
    """What a look must not change."""
    return (node.nft("--stateless", "list", "ruleset"), node.qdiscs(), node.qdiscs("lo"), node.filters(),
            sorted(node.addresses()), sorted(node.addresses("lo")), node.run(["sysctl", "-a", "--pattern", r"conf\.(all|eth0|lo)\."]))


def carry_out(node, finding):
    for line in finding["command"].splitlines():
        node.run(line.split())


@contextlib.contextmanager
def sysctls(node, **values):
    """Sets sysctls of eth0, NAME=VALUE or v6_NAME=VALUE, and puts back what was there."""
    names = {("net.ipv6.conf.eth0." + k[3:] if k.startswith("v6_") else "net.ipv4.conf.eth0." + k): v for k, v in values.items()}
    old = {name: node.run(["sysctl", "-n", name]).strip() for name in names}
    for name, value in names.items():
        node.run(["sysctl", "-w", f"{name}={value}"])
    try:
        yield
    finally:
        for name, value in old.items():
            node.run(["sysctl", "-w", f"{name}={value}"])


@contextlib.contextmanager
def default_route_elsewhere(node):
    """Clients behind routers are reached by another interface."""
    node.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    for link in ("other0", "other1"):
        node.ip("link", "set", link, "up")
    node.ip("address", "add", "198.51.100.241/28", "dev", "other0")
    node.ip("route", "add", "default", "via", "198.51.100.242", "dev", "other0", "metric", "1")
    try:
        yield
    finally:
        node.ip("link", "del", "other0")


@contextlib.contextmanager
def address_on(host, address):
    host.ip("address", "add", f"{address}/32", "dev", "eth0")
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            host.ip("address", "del", f"{address}/32", "dev", "eth0")


@contextlib.contextmanager
def without_verb(api, verb):
    """The Role lacks a verb for Leases."""
    role = api.get(ROLE)
    rules = [{**r, "verbs": [v for v in r["verbs"] if v != verb]} if r["resources"] == ["leases"] else r for r in role["rules"]]
    api.patch(ROLE, {"rules": rules})
    try:
        yield
    finally:
        api.patch(ROLE, {"rules": role["rules"]})


def test_a_healthy_cluster(cluster):
    agents = cluster.start_agents()
    vips = cluster.service(policy="RequireDualStack").wait_vips(2)
    holder = cluster.wait_holder()
    for vip in vips:
        cluster.wait_on_one_node(vip, holder.node)
    wait_for(lambda: sum(v["live"] for v in holder.status()["vips"]) == 2, PATIENCE_S, what="two live VIPs")
    for agent in agents:
        before = kernel_state(agent.node)
        code, out = run(agent)
        assert code == 0 and "0 errors, 0 warnings" in out, out
        assert max(map(len, out.splitlines())) <= 100
        assert kernel_state(agent.node) == before
        for vip in vips:
            line, = [line for line in out.splitlines() if vip in line and " on eth0:" in line]
            assert "this node alone has it" in line if agent is holder else f"(node {holder.name})" in line
        assert f"is held by {holder.name}, and renewed" in out and "runs and is ready" in out
        assert "RBAC: all " in out
    # Whoever gives no flags means the agent that runs.
    out = holder.node.run([BINARY, "doctor", "--state-dir", str(holder.state_dir)])
    assert "that of the running agent (process " in out and "0 errors" in out and FREE.rsplit(".", 1)[0] in out


def test_a_node_before_its_first_agent(cluster):
    agent = cluster.agent(cluster.lab.nodes[0])
    before = kernel_state(agent.node)
    code, found = findings(agent, "--probe", FREE)
    assert code == 0 and not errors(found)
    assert about(found, "no agent runs here")["level"] == "skipped"
    assert kernel_state(agent.node) == before


def test_everything_wrong_is_named_and_its_remedy_works(cluster):
    node, api = cluster.lab.nodes[1], cluster.api()
    agent = cluster.agent(node)
    with contextlib.ExitStack() as wrong:
        wrong.enter_context(default_route_elsewhere(node))
        wrong.enter_context(sysctls(node, forwarding=0, rp_filter=1, arp_ignore=8, v6_disable_ipv6=0))
        wrong.enter_context(address_on(node, "192.0.2.222"))
        twice = [wrong.enter_context(contextlib.ExitStack()) for _ in range(2)]
        for stack, host in zip(twice, (cluster.lab.watch, cluster.lab.slow)):
            stack.enter_context(address_on(host, FREE))
        role = wrong.enter_context(contextlib.ExitStack())
        role.enter_context(without_verb(api, "update"))
        node.run(["sysctl", "-w", "net.ipv6.conf.all.forwarding=0"])
        wrong.callback(node.run, ["sysctl", "-w", "net.ipv6.conf.all.forwarding=1"])

        def all_named():
            """The API server takes a moment to know of the Role's change."""
            code, found = findings(agent, "--probe", FREE, without=("bpf",))
            assert code == 1
            return found if any("not allowed" in f["what"] for f in found) else None
        found = wait_for(all_named, PATIENCE_S, what="the Role's change")
        assert about(found, "CAP_BPF is missing")["mend"].startswith("run it as root; in a Pod")
        assert "CAP_BPF" in about(found, "the gate cannot work")["means"]
        assert about(found, "not allowed")["what"] == f"not allowed: update leases.coordination.k8s.io in {NAMESPACE}"
        duplicate = about(found, f"{FREE} on eth0: 2 hosts answer")
        assert cluster.lab.watch.mac in duplicate["what"] and cluster.lab.slow.mac in duplicate["what"]
        to_do = {"conf.eth0.forwarding is 0": "sysctl -w net.ipv4.conf.eth0.forwarding=1",
                 "conf.eth0.rp_filter is 1": "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
                 "conf.eth0.arp_ignore is 8": "sysctl -w net.ipv4.conf.eth0.arp_ignore=1",
                 "ipv6.conf.all.forwarding is 0": "sysctl -w net.ipv6.conf.all.forwarding=1",
                 "192.0.2.222/32 on eth0": "ip address del 192.0.2.222/32 dev eth0"}
        for what, command in to_do.items():
            assert about(found, what)["command"] == command and about(found, what)["level"] == "error"
        assert len(errors(found)) == len(to_do) + 4, errors(found)

        for what in to_do:
            carry_out(node, about(found, what))
        twice[0].close()
        role.close()
        wait_for(lambda: findings(agent, "--probe", FREE)[0] == 0, PATIENCE_S, 1,
                 lambda: f"a healthy node; it has {errors(findings(agent, '--probe', FREE)[1])}")


def test_an_interface_that_is_not_there(cluster):
    agent = cluster.agent(cluster.lab.nodes[0])
    code, found = findings(agent, interface="eth7")
    assert code == 1
    for pool in agent.flags["pool"]:
        wrong = about(found, f"pool {pool}: no interface")
        assert "eth7" in wrong["means"] and "--interface" in wrong["mend"]


def test_a_dead_api_server_costs_no_other_finding(cluster):
    agent = cluster.agent(cluster.lab.nodes[0])
    with sysctls(agent.node, forwarding=0):
        # Nobody answers there: TEST-NET-3 is on-link in the lab.
        code, found = findings(agent, "--timeout", "8s", api_server="https://203.0.113.250:6443")
    assert code == 1
    assert about(found, "https://203.0.113.250:6443 is not ready")["level"] == "error"
    assert about(found, "conf.eth0.forwarding")["level"] == "error"
    began = mono_ns()
    _, found = findings(agent, "--timeout", "1s", api_server=["https://203.0.113.250:6443", "https://203.0.113.251:6443"])
    assert mono_ns() - began < 8e9  # a busy machine; what it tells by then is the claim
    assert about(found, "203.0.113.251:6443 is not ready")["level"] == "error"


def test_nobody_renews_the_lease(cluster):
    agents = cluster.start_agents()
    cluster.service().wait_vips()
    holder = cluster.wait_holder()
    for agent in agents:
        agent.kill9()
    _, found = findings(holder)
    wrong = about(found, "Lease leasehold-group-0 names")
    assert holder.name in wrong["what"] and "has not renewed it" in wrong["what"]


def test_a_frozen_agent_costs_no_other_finding(cluster):
    agent, = cluster.start_agents([cluster.lab.nodes[0]])
    cluster.wait_holder()
    agent.freeze()
    try:
        code, found = findings(agent, "--timeout", "5s")
    finally:
        agent.thaw()
    assert code == 1
    assert about(found, "the agent does not answer: it may be frozen")["level"] == "error"
    assert not [f for f in found if "not done in time" in (f.get("means") or "")], found


@pytest.mark.parametrize("mode", ["report", "manage"])
def test_the_agent_tells_and_where_it_may_mends(cluster, mode):
    node = cluster.lab.nodes[0]
    with default_route_elsewhere(node), sysctls(node, rp_filter=1, forwarding=0, drop_gratuitous_arp=1):
        agent, = cluster.start_agents([node], sysctl=mode)
        cluster.service().wait_vips()
        wait_for(lambda: "net.ipv4.conf.eth0.drop_gratuitous_arp" in agent.log(), PATIENCE_S, what="a word on the sysctls")
        told = [line for line in agent.log().splitlines() if "sysctl_wrong" in line]
        values = {name: node.run(["sysctl", "-n", f"net.ipv4.conf.eth0.{name}"]).strip()
                  for name in ("rp_filter", "forwarding", "drop_gratuitous_arp")}
        agent.stop()
    mended = mode == "manage"
    assert values == {"rp_filter": "2" if mended else "1", "forwarding": "1" if mended else "0", "drop_gratuitous_arp": "1"}
    assert len(told) == (1 if mended else 3), told
    assert any("sysctl -w net.ipv4.conf.eth0.drop_gratuitous_arp=0" in line for line in told)
    assert agent.log().count("sysctl_set") == (2 if mended else 0)
