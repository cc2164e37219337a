"""Announcements as neighbours see them: whoever learns from one form alone has the VIP's new place after a takeover, on time and
in the right frames; again whenever the wire has changed; and hundreds of VIPs no faster than the rate, the busiest first."""

import json
import subprocess
import time

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP

from netns.lab import POOL4_BIG, wait_for
from netns.probe import UdpProbe

from e2e.agents import LEASES, PATIENCE_S
from e2e.ears import BURST_S, Ears, burst_of

# A busy machine sends late, never early.
EARLY_S, LATE_S = 0.03, 0.6


def neighbour(host, vip):
    """(MAC, states) of a host's own entry for an address."""
    entry = (host.ip_json("neigh", "show", vip, "dev", "eth0") or [{}])[0]
    return entry.get("lladdr"), entry.get("state", [])


def way_of(lab, vip):
    """The port of the LAN's bridge that the client's frames for the VIP leave by, as its table has it."""
    mac, _ = neighbour(lab.client, vip)
    table = json.loads(subprocess.run(["bridge", "-n", lab.lan.netns, "-j", "fdb", "show", "br", "br0"], check=True,
                                      capture_output=True, text=True, timeout=10).stdout)
    return [e["ifname"] for e in table if e["mac"] == mac and e.get("state") != "permanent"]


def see_takeover(cluster, vips, old, new, ears):
    """Everybody's tables have the new node; nobody has asked."""
    lab = cluster.lab

    def state():
        return {"client": [neighbour(lab.client, vip)[0] for vip in vips], "arp_accept": neighbour(lab.api, vips[0])[0],
                "tables": ears.tables, "ways": [way_of(lab, vip) for vip in vips], "was": old.node.mac, "is": new.node.mac}
    wait_for(lambda: ears.learnt(vips, new.node.mac)
             and all(neighbour(lab.client, vip)[0] == new.node.mac for vip in vips)
             and neighbour(lab.api, vips[0])[0] == new.node.mac
             and all(way_of(lab, vip) == [new.node.name] for vip in vips),
             PATIENCE_S, 0.05, lambda: f"all to have learnt of the new holder: {state()}")


@pytest.mark.parametrize("how", ["handover", "kill"])
def test_takeover_is_seen_by_all_kinds_of_neighbours(cluster, how):
    lab = cluster.lab
    lab.api.sysctls({"ipv4/conf/eth0/arp_accept": 1})
    try:
        _, vips, holder = cluster.serve()
        vips.sort(key=lambda vip: ":" in vip)
        for vip in vips:  # reached a moment ago
            assert neighbour(lab.client, vip)[0] == holder.node.mac
            assert way_of(lab, vip) == [holder.node.name]
        lab.api.flush_neighbours()
        with Ears(lab.watch) as ears:
            if how == "handover":
                assert cluster.handover()[1] == 0
            else:
                holder.kill9()
            new = cluster.wait_holder(but=holder)
            see_takeover(cluster, vips, holder, new, ears)
    finally:
        lab.api.sysctls({"ipv4/conf/eth0/arp_accept": 0})


def require_fields(heard, node, router):
    frame = heard.frame
    assert (heard.mac, frame.src) == (node.mac, node.mac)
    if heard.form == "na":
        na, ip = frame[ICMPv6ND_NA], frame[IPv6]
        assert (frame.dst, ip.dst, ip.src, ip.hlim) == ("33:33:00:00:00:01", "ff02::1", heard.vip, 255)
        assert (na.R, na.S, na.O, na.tgt) == (router, 0, 1, heard.vip)
        assert frame[ICMPv6NDOptDstLLAddr].lladdr == node.mac
        return
    arp = frame[ARP]
    assert (frame.dst, arp.psrc, arp.pdst, arp.hwsrc) == ("ff:ff:ff:ff:ff:ff", heard.vip, heard.vip, node.mac)
    assert (arp.op, arp.hwdst) == ((1, "00:00:00:00:00:00") if heard.form == "request" else (2, node.mac))


def wait_burst(ears, vip, mac, since=0):
    """The times of a whole burst, each form; both forms go together."""
    forms = ("na",) if ":" in vip else ("request", "reply")
    wait_for(lambda: all(len(ears.of(vip, mac, form, since)) >= len(BURST_S) for form in forms), PATIENCE_S, 0.1,
             lambda: f"{len(BURST_S)} rounds for {vip} of {mac}; heard {[(h.at, h.form) for h in ears.of(vip, mac)]}")
    rounds = {form: [h.at for h in ears.of(vip, mac, form, since)][:len(BURST_S)] for form in forms}
    if len(forms) == 2:
        assert all(abs(a - b) < 0.1e9 for a, b in zip(rounds["request"], rounds["reply"]))
    return rounds[forms[0]]


def require_schedule(times):
    for after, wanted in zip(burst_of(times), BURST_S):
        assert wanted - EARLY_S <= after <= wanted + LATE_S, f"{burst_of(times)}, not {BURST_S}"


def test_schedule_and_frames(cluster):
    _, vips, holder = cluster.serve()
    with Ears(cluster.lab.watch) as ears:
        assert holder.stop()[1] == 0
        new = cluster.wait_holder(but=holder)
        for vip in vips:
            require_schedule(wait_burst(ears, vip, new.node.mac))
            for heard in ears.of(vip, new.node.mac):
                require_fields(heard, new.node, router=1)
        # The node ceases to be a router, for all it says.
        since = time.time_ns()
        vip6 = next(vip for vip in vips if ":" in vip)
        new.node.sysctls({"ipv6/conf/eth0/forwarding": 0})
        try:
            wait_for(lambda: any(h.frame[ICMPv6ND_NA].R == 0 for h in ears.of(vip6, new.node.mac)), PATIENCE_S, 0.1, "R=0")
            told = [h for h in ears.of(vip6, new.node.mac, since=since) if h.frame[ICMPv6ND_NA].R == 0]
            require_fields(told[0], new.node, router=0)
            require_schedule(wait_burst(ears, vip6, new.node.mac, told[0].at))
        finally:
            new.node.sysctls({"ipv6/conf/eth0/forwarding": 1})


def test_again_when_the_wire_has_changed(cluster):
    lab, node = cluster.lab, cluster.lab.nodes[0]
    cluster.start_agents([node])
    vips = cluster.service(policy="RequireDualStack").wait_vips(2)
    other = "00:00:5e:00:53:1f"
    with Ears(lab.watch) as ears:
        wait_for(lambda: ears.learnt(vips, node.mac), PATIENCE_S, 0.1, "the first announcements")
        for change in ("carrier", "new MAC", "old MAC", "new interface"):
            since, mac = time.time_ns(), other if change == "new MAC" else node.mac
            if change == "carrier":
                lab.unplug(node)
                lab.plug(node)
            elif change == "new interface":
                lab.new_nic(node)
            else:
                node.ip("link", "set", "eth0", "address", mac)
            for vip in vips:
                wait_for(lambda v=vip, m=mac, s=since: len(ears.of(v, m, since=s)) >= 4, PATIENCE_S, 0.1,
                         f"{change}: {vip} announced again with {mac}")


def test_a_kernel_that_does_not_answer_is_reported(cluster):
    _, _, holder = cluster.serve()
    holder.node.sysctls({"ipv4/conf/eth0/arp_ignore": 8})
    try:
        wait_for(lambda: "vips_not_answered" in holder.log(), PATIENCE_S, 0.1, "a warning")
        assert "interface=eth0" in [line for line in holder.log().splitlines() if "vips_not_answered" in line][0]
    finally:
        holder.node.sysctls({"ipv4/conf/eth0/arp_ignore": 0})
    wait_for(lambda: "vips_answered" in holder.log(), PATIENCE_S, 0.1, "its end")


MANY, RATE, BUCKET = 300, 200, 10


def busiest(cluster, agent):
    lease = cluster.api().get(f"{LEASES}/leasehold-node-{agent.name}")
    return lease["metadata"].get("annotations", {}).get("leasehold.io/busiest", "").split(",")


@pytest.mark.timeout(240)
def test_many_no_faster_than_the_rate_and_the_busiest_first(cluster):
    cluster.start_agents(pool=[POOL4_BIG], interface_subnet="any", lease_duration="6s", renew_interval="1500ms",
                         announce_rate=RATE, log_level="info")
    cluster.services(MANY)
    holder = cluster.wait_holder()

    def mine():
        return sorted((vip for vip in holder.node.addresses() if vip.startswith("198.18.")),
                      key=lambda vip: [int(part) for part in vip.split(".")])
    wait_for(lambda: len(mine()) == MANY, 120, 0.5, lambda: f"{MANY} VIPs up; there are {len(mine())}")
    vips = mine()
    with UdpProbe(cluster.lab.client, vips[-1], 80, interval_ms=5) as probe:
        probe.wait_answered(20)
        wait_for(lambda: busiest(cluster, holder) == [vips[-1]], 60, 0.5, lambda: f"traffic in the record: {busiest(cluster, holder)}")
    with Ears(cluster.lab.watch) as ears:
        holder.kill9()
        new = cluster.wait_holder(but=holder)
        wait_for(lambda: all(len(ears.of(vip, new.node.mac, "reply")) >= 2 for vip in (*vips[::50], vips[-1])), 60, 0.5,
                 "second rounds")
    assert ears.lost == 0
    rounds = [h for h in ears.heard if h.mac == new.node.mac and h.form == "request" and h.vip in set(vips)]
    first = list(dict.fromkeys(h.vip for h in rounds))
    assert first[0] == vips[-1], "the busiest goes first"
    assert first[1:] == vips[:-1], "then by address"
    # Nobody is repeated before all have been told of; a little late by the kernel's clock is no storm.
    assert len({h.vip for h in rounds[:MANY]}) == MANY
    for i, begin in enumerate(rounds):
        for k in range(i + 20, len(rounds), 20):
            assert k - i <= BUCKET + RATE * (rounds[k].at - begin.at) / 1e9 * 1.1 + 10, "faster than the rate"
