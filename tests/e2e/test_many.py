"""500 Services created at once: each gets an address of its own and answers; then all are gone."""

import re

import pytest

from netns.lab import POOL4_BIG, wait_for

from e2e.agents import BINARY, SERVICES, bulk

MANY = 500


def statuses(cluster):
    """{name: first VIP or None} of all Services of the case, in one request."""
    shown = {}
    for service in cluster.api().list(SERVICES):
        ingress = service["status"].get("loadBalancer", {}).get("ingress") or [{}]
        shown[service["metadata"]["name"]] = ingress[0].get("ip")
    shown.pop("kubernetes", None)
    return shown


def private_kb(agent):
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as f:
        return int(re.search(r"RssAnon:\s+(\d+) kB", f.read())[1])


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_500_services_at_once(cluster):
    # A long lease: the case is about many Services, not about a machine too busy to renew.
    cluster.start_agents(pool=[POOL4_BIG], interface_subnet="any", lease_duration="10s", renew_interval="1s",
                         log_level="info")
    services = cluster.services(MANY)
    wait_for(lambda: len([v for v in statuses(cluster).values() if v]) == MANY, 120, 0.5,
             lambda: f"{MANY} addresses; there are "
             f"{len([v for v in statuses(cluster).values() if v])}")
    vips = statuses(cluster)
    assert len(set(vips.values())) == MANY
    # The status says that an address answers; so it is there, and there only.
    holder = cluster.wait_holder()
    assert set(vips.values()) <= set(holder.node.addresses())
    for other in cluster.lab.nodes:
        if other is not holder.node:
            assert not set(vips.values()) & set(other.addresses())
    for service in services[::50]:
        cluster.reach_all(cluster.lab.client, vips[service.name], cluster.lab.pods)
    assert holder.log().count(" allocated: ") == MANY, "an address was given to two, and one of them moved"
    if "asan" not in BINARY:
        # What a burst took is given back a moment after it.
        for agent in cluster.agents.values():
            wait_for(lambda a=agent: private_kb(a) < 10 * 1024, 20, 0.5, lambda a=agent: f"{a}: {private_kb(a)} kB < 10 MB")

    # One more Service, one more backend: quick, in spite of the others.
    one = cluster.service("one-more")
    cluster.reach_all(cluster.lab.client, one.wait_vips()[0], cluster.lab.pods)

    # They move together.
    assert holder.stop()[1] == 0
    new = cluster.wait_holder(but=holder)
    wait_for(lambda: set(vips.values()) <= set(new.node.addresses()), 60, 0.2, "all VIPs on the next")
    for service in services[25::100]:
        cluster.reach_all(cluster.lab.client, vips[service.name], cluster.lab.pods, "TCP")

    one_vip, = one.vips()
    bulk(cluster.api(), [("DELETE", service.path, None) for service in services])
    wait_for(lambda: not set(vips.values()) & set(new.node.addresses()), 60, 0.2, "all VIPs gone")
    wait_for(lambda: not cluster.in_table(new.node, vips[services[0].name]), 60, 0.2,
             "the maps to be empty of them")
    cluster.reach_all(cluster.lab.client, one_vip, cluster.lab.pods)
