"""The gate: whatever becomes of the holder's process, never do two nodes answer for a VIP; and what is taken away by hand
comes back."""

import contextlib
import json
import re
from pathlib import Path

import pytest

from bench.contenders import RulesetLoad
from netns.lab import LabError, mono_ns, wait_for

from e2e.agents import LEASE_MS, PATIENCE_S


def silent_after(seen, vips, node, moment):
    """Neither ARP, ND nor IP for a VIP leaves a node after a moment; AssertionError tells what did."""
    port = node.name
    for vip in vips:
        late = [(c.kind, (c.at - moment) / 1e6) for c in seen.claims.of(vip, port=port, since=moment)]
        assert not late, f"{port} spoke for {vip} after its deadline: {late[:5]} of {len(late)}"


def one_answerer(seen):
    assert seen.two_macs_ms() == 0
    seen.require_one_claimant()


@pytest.mark.parametrize("how", ["kill9", "freeze"])
def test_a_dead_or_frozen_holder_is_silent_at_its_deadline(cluster, how):
    service, vips, holder = cluster.serve()
    with cluster.observed(vips, data=True) as seen:
        at = getattr(holder, how)()
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)
    silent_after(seen, vips, holder.node, at + LEASE_MS * 10**6)
    cluster.only_answers(vips, new)
    if how == "freeze":
        holder.thaw()
    else:
        holder.start()
    holder.wait_ready()
    cluster.settle_on(vips, new)
    cluster.only_answers(vips, new)
    assert service.vips() == vips and cluster.lease_holder() == new.name


def test_the_gate_of_an_earlier_run_stays_as_long_as_its_addresses(cluster, tmp_path):
    """A run whose VIPs are routed takes it away, but not while the VIPs that another one left can be asked for here."""
    _, vips, holder = cluster.serve()
    node, vip = holder.node, next(vip for vip in vips if ":" not in vip)
    with cluster.observed(vips) as seen:
        holder.kill9()
        # Thousands of addresses live longer than two; and without the API nothing takes them away.
        node.ip("address", "change", f"{vip}/32", "dev", "eth0", "metric", "19528", "noprefixroute", "valid_lft", "8",
                "preferred_lft", "8")
        away = tmp_path / "away"
        away.write_text(re.sub(r"(server: *\S+:)\d+", r"\g<1>1", Path(str(holder.flags["kubeconfig"])).read_text()))
        holder.start(announce="bgp", interface=None, kubeconfig=str(away))
        cluster.settle_on_wire(vips, cluster.wait_holder(but=holder))
        assert vip in node.addresses()
        wait_for(lambda: vip not in node.addresses(), PATIENCE_S, what="the address to expire")
        wait_for(lambda: "bpf" not in node.run(["tc", "filter", "show", "dev", "eth0", "ingress"]), PATIENCE_S,
                 what="the gate to be taken away")
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)


def test_a_frozen_holder_that_wakes_later_says_nothing(cluster):
    """SIGCONT when another holds: the first thing it does is to notice."""
    _, vips, holder = cluster.serve()
    with cluster.observed(vips) as seen:
        holder.freeze()
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        woken = holder.thaw()
        wait_for(lambda: not any(vip in holder.node.addresses() for vip in vips), PATIENCE_S,
                 what="the old addresses to be gone")
        wait_for(lambda: mono_ns() - woken > 10**9, what="a second awake")
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)
    silent_after(seen, vips, holder.node, woken)
    cluster.only_answers(vips, new)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_holder_frozen_while_others_hold_the_nft_mutex_is_silent_at_its_deadline(cluster, tmp_path):
    """What opened an nft gate late: a refresh that waited for somebody else's transaction."""
    _, vips, holder = cluster.serve()
    with RulesetLoad(holder.node, tmp_path):
        with cluster.observed(vips, data=True) as seen:
            at = holder.freeze()
            new = cluster.wait_holder(but=holder)
            cluster.settle_on_wire(vips, new)
            # Past the end of the transaction that was under way.
            wait_for(lambda: mono_ns() - at > 8 * 10**9, what="8 s frozen")
            seen.wait_answers()
            seen.stop()
        holder.thaw()
    one_answerer(seen)
    silent_after(seen, vips, holder.node, at + LEASE_MS * 10**6)


@pytest.mark.parametrize("what", ["ingress", "egress", "clsact"])
def test_a_gate_removed_by_hand_is_put_back(cluster, what):
    _, vips, holder = cluster.serve()
    node = holder.node
    before = node.filters()
    assert {side for side, _, _ in before} == {"ingress", "egress"}
    count = holder.metrics()["leasehold_gate_put_back_total"]
    with cluster.observed(vips) as seen:
        if what == "clsact":
            node.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])
        else:
            node.run(["tc", "filter", "del", "dev", "eth0", what])
        wait_for(lambda: holder.metrics()["leasehold_gate_put_back_total"] > count, PATIENCE_S, what="the count")
        wait_for(lambda: node.filters() == before, PATIENCE_S, what=lambda: f"{before}; now {node.filters()}")
        seen.wait_answers()
        at = holder.kill9()
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)
    # Adding or removing clsact stops the device for a moment (net/sched/sch_api.c, qdisc_graft()).
    if what != "clsact":
        for trace in seen.traces.values():
            assert trace.lost(until=at) == []


def test_a_flush_of_all_nftables_does_not_open_the_gate_and_is_repaired(cluster):
    _, vips, holder = cluster.serve()
    with cluster.observed(vips) as seen:
        holder.node.nft("flush", "ruleset")
        wait_for(lambda: all(cluster.in_table(holder.node, vip) for vip in vips), PATIENCE_S, what="the table to be back")
        for vip in vips:
            cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
        holder.node.nft("flush", "ruleset")
        holder.kill9()
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)


def test_an_interface_that_goes_down_and_up(cluster):
    _, vips, holder = cluster.serve()
    with cluster.observed(vips) as seen:
        holder.node.link_up("eth0", False)
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        holder.node.link_up("eth0", True)
        cluster.lab.rewire(holder.node)
        holder.wait_ready()
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)
    cluster.settle_on(vips, new)
    cluster.only_answers(vips, new)


def test_an_interface_that_is_renamed(cluster):
    """The gate hangs on the interface, not on its name; the VIP does not stay where it was not configured."""
    _, vips, holder = cluster.serve()
    node = holder.node
    with cluster.observed(vips) as seen:
        node.link_up("eth0", False)
        node.ip("link", "set", "eth0", "name", "lan0")
        try:
            node.link_up("lan0", True)
            new = cluster.wait_holder(but=holder)
            cluster.settle_on_wire(vips, new)
            holder.require_running()
        finally:
            node.link_up("lan0", False)
            node.ip("link", "set", "lan0", "name", "eth0")
            node.link_up("eth0", True)
            cluster.lab.rewire(node)
        holder.wait_ready()
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)
    cluster.only_answers(vips, new)


def test_an_interface_with_another_mac_is_announced(cluster):
    _, vips, holder = cluster.serve()
    node, mac = holder.node, "00:00:5e:00:53:99"
    with cluster.observed(vips) as seen:
        at = mono_ns()
        node.ip("link", "set", "eth0", "address", mac)
        try:
            seen.wait_heard(vips, mac)
            seen.wait_answers()
            seen.stop()
        finally:
            node.ip("link", "set", "eth0", "address", node.mac)
    assert seen.two_macs_ms() == 0
    for vip in vips:
        assert any(c.mac == mac and "announce" in c.kind for c in seen.claims.of(vip, since=at))
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert cluster.lease_holder() == holder.name


def test_an_interface_that_is_made_anew(cluster):
    """Another index under the same name: address and gate are put there, and the gate works."""
    _, vips, holder = cluster.serve()
    cluster.lab.new_nic(holder.node)
    holder.wait_ready()
    for vip in vips:
        cluster.wait_on_one_node(vip)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    if cluster.lease_holder() != holder.name:
        assert cluster.handover("--to", holder.name)[1] == 0
    cluster.settle_on(vips, holder)
    with cluster.observed(vips, data=True) as seen:
        at = holder.kill9()
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)
    silent_after(seen, vips, holder.node, at + LEASE_MS * 10**6)


def test_an_address_deleted_by_hand_comes_back_and_stays_fenced(cluster):
    _, vips, holder = cluster.serve()
    with cluster.observed(vips) as seen:
        holder.node.delete_addresses(vips)
        for vip in vips:
            wait_for(lambda v=vip: v in holder.node.addresses(), PATIENCE_S, what=f"{vip} to be back")
        seen.wait_answers()
        holder.kill9()
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)


def test_without_the_gate_status_metrics_and_log_say_so(cluster):
    node = cluster.lab.nodes[0]
    agent = cluster.agent(node, gate="off").start().wait_ready()
    assert agent.metrics()["leasehold_gate"] == 0
    assert "gate" in json.dumps(agent.status()) and agent.status()["gate"] == "off"
    assert "gate_off" in agent.log() and not node.filters()
    vip, = cluster.service().wait_vips()
    cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    assert not node.filters()
    other = cluster.agent(cluster.lab.nodes[1]).start().wait_ready()
    assert other.metrics()["leasehold_gate"] == 1 and other.status()["gate"] == "on"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["handover", "SIGTERM"])
def test_what_a_former_process_allowed_is_over_before_its_successor_gives_anything_away(cluster, how):
    """After a restart the old gate stands, with the old deadlines, until the new one is filled; another group that is still
    to be adopted (its endpoint has left the node) must not keep it there while this one moves."""
    _, vips, holder = cluster.serve(lease_duration="10s", renew_interval="2s", on_api_loss="fence")
    mine = [pod for pod in cluster.lab.pods if pod.node is holder.node]
    local = cluster.service("local", backends=mine, externalTrafficPolicy="Local")
    cluster.wait_on_one_node(local.wait_vips(1)[0], holder.node)
    with cluster.observed(vips) as seen:
        holder.kill9()
        local.set_backends([pod for pod in cluster.lab.pods if pod.node is not holder.node][:1])
        before = cluster.lease()["spec"]["holderIdentity"]
        holder.start()
        wait_for(lambda: cluster.lease()["spec"]["holderIdentity"] != before, PATIENCE_S, 0.01, "the Lease to be adopted")
        if how == "SIGTERM":
            holder.stop()
        else:
            cluster.handover()
        new = cluster.wait_holder(but=holder)
        cluster.settle_on_wire(vips, new)
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)


def test_the_gate_of_an_earlier_run_does_not_outlive_gate_off(cluster):
    """Its deadlines are over: left where it is, it would stop everything."""
    _, vips, _ = cluster.serve()
    agents = list(cluster.agents.values())
    for agent in agents:
        agent.stop()
    for agent in agents:
        agent.start(gate="off")
    for agent in agents:
        agent.wait_ready()
    for vip in vips:
        cluster.wait_on_one_node(vip)
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)


def test_an_interface_made_anew_under_its_index_while_the_agent_stands_still(cluster):
    """The old gate went with it: no VIP is there before the new one."""
    nodes = cluster.lab.nodes

    def make(node):
        host = node.ip4.rsplit(".", 1)[1]
        node.ip("link", "add", "mv0", "index", "77", "link", "eth0", "address", f"02:00:5e:00:53:{host}", "type", "macvlan",
                "mode", "bridge")
        node.ip("link", "set", "mv0", "up")
        node.ip("addr", "add", f"192.0.2.1{host}/24", "dev", "mv0")

    try:
        for node in nodes:
            make(node)
        cluster.start_agents(interface="mv0")
        vip, = cluster.service().wait_vips()
        holder = cluster.wait_holder()
        node = holder.node
        wait_for(lambda: vip in node.addresses("mv0"), PATIENCE_S, what="the VIP")
        holder.freeze()
        node.ip("link", "del", "mv0")
        make(node)
        holder.thaw()
        began = mono_ns()

        def fenced():
            there = vip in node.addresses("mv0")
            assert not there or node.filters("mv0"), "the VIP is up without a gate"
            return there or mono_ns() - began > 3 * LEASE_MS * 10**6

        wait_for(fenced, PATIENCE_S, 0.02, "the VIP to be back, or elsewhere")
    finally:
        for agent in cluster.agents.values():
            if agent.running():
                agent.thaw()
        for node in nodes:
            with contextlib.suppress(LabError):
                node.ip("link", "del", "mv0")


def test_a_holder_restarted_in_time_takes_up_where_it_was_without_a_gap(cluster):
    """SIGKILL and a start at once, twice: the old gate stands until the new one takes its place in one step."""
    _, vips, holder = cluster.serve()
    with cluster.observed(vips) as seen:
        for _ in range(2):
            before = cluster.lease()["spec"]["holderIdentity"]
            holder.kill9()
            assert {side for side, _, _ in holder.node.filters()} == {"ingress", "egress"}, "it outlives the process"
            holder.start().wait_ready()
            wait_for(lambda b=before: cluster.lease()["spec"]["holderIdentity"] != b, PATIENCE_S,
                     what="the Lease under the new identity")
        at = mono_ns()
        # Past the deadline that the dead process left in its gate.
        wait_for(lambda: mono_ns() - at > (LEASE_MS + 1000) * 10**6, 60, what="the old deadline to pass")
        seen.wait_answers()
        seen.stop()
    one_answerer(seen)
    assert cluster.lease_holder() == holder.name
    for trace in seen.traces.values():
        assert trace.lost() == []
    assert len(holder.node.filters()) == 2, "the old program is gone"
