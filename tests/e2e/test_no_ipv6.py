# SPDX-License-Identifier: Apache-2.0
"""A kernel without IPv6, as noip6.c and an empty /proc/sys/net/ipv6 show it to the agents: IPv4 works.

    ipv6.disable=1           neither sockets nor sysctls; nftables is whole
    CONFIG_IPV6 is not set   nor has nftables the family ip6, nor inet, which comes with it
"""

import contextlib
import os
from pathlib import Path

import pytest

from kube.client import ApiError
from netns.lab import POOL4, wait_for

from e2e import agents
from e2e.agents import BINARY, HTTP_PORT, PATIENCE_S, Agent
from e2e.test_health_port import wait_answer

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("LEASEHOLD_NOIP6_SO", REPOSITORY / "build/release/e2e/noip6.so"))
NODES = "/api/v1/nodes"
ROUTED4 = "203.0.113.10-203.0.113.99"
DRAIN_TABLE = "leasehold-drain"


def reason_not_to(program):
    for file in (Path(program), LIBRARY):
        if not file.exists():
            return f"no {file}: run make unit-programs all"
    return f"{program} has a sanitizer, which wants to be loaded first" if b"__asan_init" in Path(program).read_bytes() else ""


pytestmark = pytest.mark.skipif(bool(reason_not_to(BINARY)), reason=reason_not_to(BINARY))


class Agent4(Agent):
    """An agent that finds no IPv6."""

    missing = ""  # families of nftables

    def command(self, **changed):
        return ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /proc/sys/net/ipv6; exec "$@"', "sh",
                "env", f"LD_PRELOAD={LIBRARY}", f"LEASEHOLD_NO_FAMILIES={self.missing}", *super().command(**changed)]


@pytest.fixture(autouse=True)
def lacks(monkeypatch):
    """Agents from now on find no IPv6; says which families nftables lacks, too."""
    monkeypatch.setattr(agents, "Agent", Agent4)
    return lambda missing: monkeypatch.setattr(Agent4, "missing", missing)


@pytest.fixture
def api_nodes(cluster):
    for node in cluster.lab.nodes:
        with contextlib.suppress(ApiError):
            cluster.api().create(NODES, {"metadata": {"name": node.name}})
    yield
    for node in cluster.lab.nodes:
        with contextlib.suppress(ApiError):
            cluster.api().delete(f"{NODES}/{node.name}")


def cordon(cluster, node, on):
    cluster.api().patch(f"{NODES}/{node.name}", {"spec": {"unschedulable": True if on else None}})


def drain_tables(node):
    """{family: text} of what hands on the strays of a node that leaves."""
    return {o["table"]["family"]: node.nft("list", "table", o["table"]["family"], DRAIN_TABLE)
            for o in node.nft_json("list", "tables") if o.get("table", {}).get("name") == DRAIN_TABLE}


@pytest.mark.parametrize("missing, dataplane", [("", "nft"), ("ip6,inet", "announce")],
                         ids=["ipv6.disable=1", "CONFIG_IPV6 is not set"])
def test_a_vip_is_served_and_moves(cluster, lacks, missing, dataplane):
    lacks(missing)
    cluster.start_agents(dataplane=dataplane, pool=[POOL4], http_address=f":{HTTP_PORT}")
    vip, = cluster.service(families=["IPv4"]).wait_vips()

    def require_served_by(agent):
        cluster.settle_on_wire([vip], agent)
        cluster.only_answers([vip], agent)
        if dataplane == "nft":
            for protocol in ("TCP", "UDP"):
                cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods, protocol)

    holder = cluster.wait_holder()
    require_served_by(holder)
    _, status, out = cluster.handover()
    assert status == 0, out
    require_served_by(cluster.wait_holder(but=holder))
    for agent in cluster.agents.values():
        assert [line for line in agent.log().splitlines() if " WARN " in line or " ERROR " in line] == []


def test_health_checks_are_answered(cluster):
    node = cluster.lab.nodes[0]
    pods = [pod for pod in cluster.lab.pods if pod.node is node]
    cluster.agent(node, pool=[POOL4], health_check_node_ports="on").start().wait_ready()
    service = cluster.service(backends=pods, families=["IPv4"], externalTrafficPolicy="Local")
    wait_answer(node, service.get()["spec"]["healthCheckNodePort"], len(pods))


def test_balancing_without_family_inet_is_missed_by_its_name(cluster, lacks):
    lacks("ip6,inet")
    agent = cluster.agent(cluster.lab.nodes[0], pool=[POOL4]).start()
    wait_for(lambda: "CONFIG_NF_TABLES_INET" in agent.log(), PATIENCE_S, 0.05, lambda: f"the reason in the log:\n{agent.log_tail(10)}")
    assert cluster.lease_holder() == ""


def test_connections_to_routed_vips_are_handed_on_without_family_ip6(cluster, lacks, api_nodes):
    """The table of the family that there is stands while a node leaves, and goes with the end of that."""
    del api_nodes
    lacks("ip6")
    started = cluster.start_agents(announce="bgp", interface=None, pool=[ROUTED4], drain_time="120s")
    vip, = cluster.service(families=["IPv4"]).wait_vips()
    for agent in started:
        wait_for(lambda a=agent: vip in a.node.addresses("lo"), PATIENCE_S, 0.05, f"{vip} on {agent.name}")
    leaving, *staying = started
    cordon(cluster, leaving.node, True)
    for agent in staying:
        wait_for(lambda a=agent: f"dup to {leaving.node.ip4} device" in drain_tables(a.node).get("ip", ""), PATIENCE_S, 0.05,
                 lambda a=agent: f"the table on {a.name}: {drain_tables(a.node)}\n{a.log_tail(10)}")
    cordon(cluster, leaving.node, False)
    for agent in started:
        wait_for(lambda a=agent: drain_tables(a.node) == {}, PATIENCE_S, 0.05,
                 lambda a=agent: f"no table on {a.name}: {drain_tables(a.node)}\n{a.log_tail(10)}")
        assert "rendezvous_refused" not in agent.log()
