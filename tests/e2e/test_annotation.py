# SPDX-License-Identifier: Apache-2.0
"""A mistake in an annotation: the setting stays as it was, an Event says what is wrong and where, and the rest goes on."""

import re

from netns.lab import wait_for

from e2e.agents import PATIENCE_S

RATE = "leasehold.io/rate-limit"
GOOD = "300 packets/minute burst 40 packets"
BAD = "300 packets/fortnight"
SAID = f'{RATE}: column 13: "fortnight" is not a unit of time (second, minute, hour, day)'


def limits(cluster):
    """The rates in the tables of all nodes."""
    found = set()
    for node in cluster.lab.nodes:
        found.update(re.findall(r"limit rate (?:over )?([0-9]+/[a-z]+ burst [0-9]+ packets)", cluster.table(node)) or ["none"])
    return found


def wait_limits(cluster, *want):
    wait_for(lambda: limits(cluster) == set(want), PATIENCE_S, 0.05, lambda: f"{want} on every node: {limits(cluster)}")


def set_rate(service, text, **more):
    service.patch({"metadata": {"annotations": {RATE: text}}, **more})


def test_a_bad_annotation_keeps_the_last_good_rules(cluster):
    cluster.start_agents()
    service = cluster.service(annotations={RATE: GOOD})
    vip, = service.wait_vips()
    cluster.wait_on_one_node(vip)
    wait_limits(cluster, "300/minute burst 40 packets")
    # A mistake, and with it a change that has none: another port.
    ports = [dict(p, port=8080) for p in service.get()["spec"]["ports"]]
    set_rate(service, BAD, spec={"ports": ports})
    service.set_backends(cluster.lab.pods)
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods, port=8080)
    assert limits(cluster) == {"300/minute burst 40 packets"}
    wait_for(lambda: service.events("BadAnnotation"), PATIENCE_S, what="an Event about it")
    # Another version with the same mistake, and one with another.
    service.patch({"metadata": {"labels": {"a": "b"}}})
    set_rate(service, "300")
    wait_for(lambda: len(service.events("BadAnnotation")) > 1, PATIENCE_S, what="an Event about the other mistake")
    assert sorted(service.events("BadAnnotation")) == sorted([
        ("Warning", "BadAnnotation", SAID),
        ("Warning", "BadAnnotation", f"{RATE}: column 4: a unit (packets, bytes, kbytes, mbytes, gbytes) is missing")])
    assert limits(cluster) == {"300/minute burst 40 packets"}
    # Mended; then taken away.
    set_rate(service, "200 packets/second")
    wait_limits(cluster, "200/second burst 200 packets")
    set_rate(service, None)
    wait_limits(cluster, "none")
    assert len(service.events("BadAnnotation")) == 2


def test_an_agent_that_starts_takes_a_bad_annotation_for_absent(cluster):
    cluster.start_agents()
    service = cluster.service(annotations={RATE: GOOD})
    vip, = service.wait_vips()
    wait_limits(cluster, "300/minute burst 40 packets")
    set_rate(service, BAD)
    wait_for(lambda: service.events("BadAnnotation"), PATIENCE_S, what="an Event about it")
    holder = cluster.wait_holder()
    holder.stop()
    cluster.wait_holder(but=holder)
    holder.start()
    holder.wait_ready()
    wait_for(lambda: "limit rate" not in cluster.table(holder.node) and cluster.in_table(holder.node, vip),
             PATIENCE_S, what="the VIP without a limit where the agent is new")
    assert "300/minute burst 40 packets" in limits(cluster), "the others remember"
