# SPDX-License-Identifier: Apache-2.0
"""What goes through a VIP is counted by the kernel, and shown in the metrics and by `leasehold status`."""

import re

from netns.lab import ECHO_PORT, wait_for

from e2e.agents import BINARY, PATIENCE_S

CONNECTIONS = 40
COUNTED = "received_packets", "received_bytes", "sent_packets", "sent_bytes", "connections"


def connect(cluster, vip, port=80):
    """So many connections to the VIP, one after the other, each with a line each way."""
    with cluster.probe(cluster.lab.client, vip, "TCP", port) as probe:
        probe.wait(lambda s: s["answered"] >= CONNECTIONS, PATIENCE_S, f"{CONNECTIONS} answers from {vip}")
        probe.stop()


def of_service(metrics, vip, protocol="TCP", name="web"):
    """Its counters, {what: value}; nothing that was not counted."""
    labels = f'{{namespace="default",service="{name}",vip="{vip}",protocol="{protocol}",port="80"}}'
    return {what: metrics[f"leasehold_service_{what}_total{labels}"] for what in COUNTED
            if f"leasehold_service_{what}_total{labels}" in metrics}


def backends(agent):
    """Connections of backends, {(address, protocol): n}."""
    found = {re.search('backend="(.*?)",protocol="(.*?)"', key): value for key, value in agent.metrics().items()
             if key.startswith("leasehold_backend_connections_total{")}
    return {(match[1], match[2]): value for match, value in found.items()}


def of_backends(agent, protocol, vips):
    """Connections of all backends of each VIP's family."""
    return [sum(n for (address, p), n in backends(agent).items() if p == protocol and (":" in address) == (":" in vip))
            for vip in vips]


def of_vips(agent, protocol, vips):
    return [of_service(agent.metrics(), vip, protocol).get("connections") for vip in vips]


def drops(agent):
    """Packets dropped, by reason."""
    return {key.split('"')[1]: value for key, value in agent.metrics().items()
            if key.startswith("leasehold_drops_packets_total{")}


def wait_counted(agent, vip, what="connections", least=CONNECTIONS):
    """The next readings have it."""
    return wait_for(lambda: (c := of_service(agent.metrics(), vip)).get(what, 0) >= least and c, PATIENCE_S, 0.2,
                    lambda: f"{least} {what} of {vip} in {agent}'s metrics; they have {of_service(agent.metrics(), vip)}")


def text_of(agent):
    """What `leasehold status` prints."""
    return agent.node.run([BINARY, "status", "--state-dir", str(agent.state_dir)])


def test_traffic_is_counted(cluster):
    _, vips, holder = cluster.serve()
    before = {vip: of_service(holder.metrics(), vip).get("connections", 0) for vip in vips}
    for vip in vips:
        connect(cluster, vip)
    for vip in vips:
        counted = wait_counted(holder, vip, least=before[vip] + CONNECTIONS)
        # Each connection: SYN, the question and an end, and likewise back; more than bare headers.
        for way in ("received", "sent"):
            assert counted[f"{way}_packets"] >= 2 * CONNECTIONS
            assert counted[f"{way}_bytes"] > 40 * counted[f"{way}_packets"]
    # What VIPs got is what backends got; cluster.serve() has asked each of them by UDP.
    wait_for(lambda: of_backends(holder, "TCP", vips) == of_vips(holder, "TCP", vips), PATIENCE_S, 0.2,
             lambda: f"{of_vips(holder, 'TCP', vips)} connections of backends; there are {of_backends(holder, 'TCP', vips)}")
    asked = {address for (address, protocol), n in backends(holder).items() if protocol == "UDP" and n > 0}
    assert asked == {address for pod in cluster.lab.pods for address in (pod.ip4, pod.ip6)}
    metrics = holder.metrics()
    assert metrics["leasehold_connections_total"] >= 2 * CONNECTIONS
    assert metrics['leasehold_counters_left_out{what="frontends"}'] == 0
    # Those who have not had any traffic know of none.
    for other in cluster.others(holder):
        wait_for(lambda a=other: "leasehold_connections_total" in a.metrics(), PATIENCE_S, 0.2, f"{other}'s counters")
        assert other.metrics()["leasehold_connections_total"] == 0
    status_shows_it(cluster, vips, holder)


def status_shows_it(cluster, vips, holder):
    """The same figures, for programs and for people."""
    status = holder.status()
    assert status["traffic"]["counters"] == "on" and status["traffic"]["total"]["connections"] >= 2 * CONNECTIONS
    frontends = {(f["address"], f["protocol"]): f for s in status["services"] for f in s["frontends"]}
    assert set(frontends) == {(vip, protocol) for vip in vips for protocol in ("TCP", "UDP")}
    for vip in vips:
        shown = frontends[vip, "TCP"]
        assert (shown["balance"], shown["backends"], shown["port"]) == ("hash", len(cluster.lab.pods), 80)
        assert shown["connections"] >= CONNECTIONS and shown["received"]["bytes"] > 0 and shown["sent"]["bytes"] > 0
    assert {(b["address"], b["port"], b["protocol"]) for b in status["traffic"]["backends"]} == \
        {(a, ECHO_PORT, p) for pod in cluster.lab.pods for a in (pod.ip4, pod.ip6) for p in ("TCP", "UDP")}
    text = text_of(holder)
    assert max(map(len, text.splitlines())) <= 100
    assert "\ndefault/web\n" in text
    for vip in vips:
        place = re.escape(f"[{vip}]" if ":" in vip else vip)
        row = re.search(rf"^  {place}:80/TCP +(\d+) +hash +(\d+) +[\d.]+ k?B +[\d.]+ k?B$", text, re.MULTILINE)
        assert row and (int(row[1]), int(row[2])) >= (len(cluster.lab.pods), CONNECTIONS), text


def test_the_table_has_a_bound(cluster):
    services = cluster.services(30)
    cluster.start_agents()
    for service in services:
        service.wait_vips(1)
    holder = cluster.wait_holder()
    text = text_of(holder)
    shown = len(re.findall(r":80/(?:TCP|UDP) ", text)) // 2
    assert 5 < shown < 20 and f"\n... {30 - shown} more Services: leasehold status services [NAMESPACE/NAME], or --json\n" in text
    every = holder.node.run([BINARY, "status", "services", "--state-dir", str(holder.state_dir)])
    assert len(re.findall(r":80/(?:TCP|UDP) ", every)) == 60 and " more " not in every
    assert len(holder.status()["services"]) == 30


def test_drops_by_reason(cluster):
    """A port that no Service has; a client that a Service does not serve."""
    _, vips, holder = cluster.serve()
    vip = vips[0]
    before = wait_for(lambda: drops(holder), PATIENCE_S, 0.2, "the first reading")
    assert set(before) == {"invalid", "source-range", "rate", "connections", "unmatched", "router"}
    cluster.unreachable(cluster.lab.client, vip, "UDP", port=81)
    wait_for(lambda: drops(holder)["unmatched"] >= before["unmatched"] + 20, PATIENCE_S, 0.2,
             lambda: f"20 packets to a wrong port; there are {drops(holder)}")
    closed = cluster.service("closed", policy="SingleStack", families=["IPv4"], loadBalancerSourceRanges=["198.51.100.77/32"])
    shut, = closed.wait_vips(1)
    cluster.unreachable(cluster.lab.client, shut)
    wait_for(lambda: drops(holder)["source-range"] >= before["source-range"] + 20, PATIENCE_S, 0.2,
             lambda: f"20 packets of a stranger; there are {drops(holder)}")
    assert re.search(r"^DROPPED +PACKETS +BYTES\n(?:.*\n)*?source-range +\d+", text_of(holder), re.MULTILINE)
    assert holder.status()["traffic"]["drops"]["unmatched"]["packets"] >= 20


def test_counters_off(cluster):
    _, vips, holder = cluster.serve(counters="off")
    connect(cluster, vips[0])
    cluster.unreachable(cluster.lab.client, vips[0], "UDP", port=81)
    wait_for(lambda: drops(holder).get("unmatched", 0) >= 20, PATIENCE_S, 0.2, "drops, which are counted all the same")
    metrics = holder.metrics()
    assert not [key for key in metrics if re.match("leasehold_(service|backend|received|sent|connections)_", key)]
    status = holder.status()
    assert status["traffic"]["counters"] == "off" and "total" not in status["traffic"]
    assert all("connections" not in f for s in status["services"] for f in s["frontends"])
    assert re.search(r":80/TCP +\d+ +hash +- +- +-$", text_of(holder), re.MULTILINE)
    # Nor does the kernel look for counters.
    counted = re.findall(r"set (?:received|sent|backends|opened)[46] \{[^}]*elements", cluster.table(holder.node))
    assert not counted


def test_a_restart_forgets_nothing(cluster):
    """The kernel counts, whoever reads."""
    _, vips, holder = cluster.serve()
    connect(cluster, vips[0])
    counted = wait_counted(holder, vips[0])
    holder.kill9()
    holder.start()
    holder.wait_ready()
    assert wait_counted(holder, vips[0])["received_packets"] >= counted["received_packets"]
