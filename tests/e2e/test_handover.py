"""Planned moves: nothing is lost, to whomever; what cannot move says why, and nothing moves."""

import contextlib

import pytest

from kube.client import ApiError
from netns.lab import mono_ns, wait_for

from e2e.agents import NAMESPACE, PATIENCE_S

NODES = "/api/v1/nodes"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/" + NAMESPACE


# Answers under way at the moment of the move may be lost, and a busy machine has more of them; `make bench` tells how many
# there are of 500 a second (one or none).  A move that is not made before it breaks loses hundreds.
UNDER_WAY = 25


@contextlib.contextmanager
def nothing_lost(cluster, vips):
    """What happens in here loses no packet of a client that hears announcements, nor of one that does not, and never do
    two nodes answer."""
    with cluster.observed(vips, slow=True) as seen:
        yield seen
        seen.wait_answers()
        seen.stop()
    assert seen.two_macs_ms() == 0
    seen.require_one_claimant()
    for who, traces in (("client", seen.traces), ("slow", seen.slow)):
        for vip, trace in traces.items():
            lost = trace.lost()
            assert len(lost) <= UNDER_WAY, f"{who} lost {len(lost)} at {vip}, over {(lost[-1] - lost[0]) / 1e6:.0f} ms"


def moved(cluster, vips, old):
    new = cluster.wait_holder(but=old)
    cluster.settle_on_wire(vips, new)
    return new


def test_a_handover_to_any_node(cluster):
    service, vips, holder = cluster.serve()
    with nothing_lost(cluster, vips):
        _, status, out = cluster.handover()
        assert status == 0, out
        new = moved(cluster, vips, holder)
    assert holder.name in out and new.name in out
    cluster.settle_on(vips, new)
    cluster.only_answers(vips, new)
    assert service.vips() == vips and holder.ready()


def test_a_handover_to_a_named_node_and_back(cluster):
    _, vips, holder = cluster.serve()
    for to, frm in ((cluster.others(holder)[1], holder), (holder, cluster.others(holder)[1])):
        with nothing_lost(cluster, vips):
            _, status, out = cluster.handover("0", "--to", to.name)
            assert status == 0, out
            assert moved(cluster, vips, frm) is to
        cluster.settle_on(vips, to)


def refused(cluster, vips, holder, *arguments, status=1, **whence):
    """The command fails, nothing moves, nothing is lost; what it said."""
    with nothing_lost(cluster, vips):
        _, code, out = cluster.handover(*arguments, **whence)
    assert code == status, out
    assert cluster.lease_holder() == holder.name
    cluster.only_answers(vips, holder)
    return out


def test_a_handover_to_an_unknown_node_is_refused_by_name(cluster):
    _, vips, holder = cluster.serve()
    assert "node9" in refused(cluster, vips, holder, "--to", "node9")


@pytest.mark.slow
def test_a_handover_to_a_node_without_a_living_agent_fails_and_says_so(cluster):
    _, vips, holder = cluster.serve()
    dead, frozen = cluster.others(holder)
    dead.kill9()
    assert dead.name in refused(cluster, vips, holder, "--to", dead.name)
    frozen.freeze()
    assert frozen.name in refused(cluster, vips, holder, "--to", frozen.name)
    frozen.thaw()


@pytest.mark.slow
def test_a_handover_to_a_node_that_is_cut_off_fails_and_says_so(cluster):
    service, vips, holder = cluster.serve()
    away = cluster.others(holder)[0]
    # The cable takes the pods behind it away, too; here it is about the VIP.
    elsewhere = [pod for pod in cluster.lab.pods if pod.node is not away.node]
    service.set_backends(elsewhere)
    for vip in vips:
        cluster.reach_only(cluster.lab.client, vip, elsewhere)
    cluster.lab.unplug(away.node)
    assert away.name in refused(cluster, vips, holder, "--to", away.name)


def test_a_handover_to_the_holder_itself_is_no_move(cluster):
    _, vips, holder = cluster.serve()
    assert "already" in refused(cluster, vips, holder, "--to", holder.name, status=0)


@pytest.mark.parametrize("arguments, status, word", [
    (["--to"], 2, "--to"), (["--frobnicate"], 2, "--frobnicate"), (["nonsense"], 2, "nonsense"),
    (["0", "1"], 2, "1"), (["63"], 1, "leasehold-group-63"), (["--timeout", "5"], 2, "unit")])
def test_a_wrong_command_is_told_apart(cluster, arguments, status, word):
    cluster.start_agents(cluster.lab.nodes[:1])
    holder = cluster.wait_holder()
    _, code, out = cluster.handover(*arguments)
    assert (code, word in out) == (status, True), out
    assert cluster.lease_holder() == holder.name


def test_a_handover_by_whoever_may_write_the_leases_and_by_nobody_else(cluster):
    _, vips, holder = cluster.serve()
    plane = cluster.plane
    allowed = plane.kubeconfig_for_serviceaccount(NAMESPACE, "operator")
    stranger = plane.kubeconfig_for_serviceaccount(NAMESPACE, "stranger")
    for path, body in (
            ("roles", {"rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                                  "verbs": ["get", "patch"]}]}),
            ("rolebindings", {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hand-over"},
                              "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": NAMESPACE}]})):
        try:
            cluster.api().create(f"{RBAC}/{path}", {"metadata": {"name": "hand-over"}, **body})
        except ApiError as error:
            assert error.status == 409
    out = refused(cluster, vips, holder, kubeconfig=stranger)
    assert "forbidden" in out and "stranger" in out
    out = refused(cluster, vips, holder, kubeconfig="/nonexistent/config")
    assert "/nonexistent/config" in out

    def may():
        return cluster.handover(kubeconfig=allowed, host=cluster.lab.client)[1] == 0
    with nothing_lost(cluster, vips):
        wait_for(may, PATIENCE_S, 0.2, "the rights to count")   # the API server learns of a binding by watching
        moved(cluster, vips, holder)


def test_sigterm_hands_over(cluster):
    service, vips, holder = cluster.serve()
    with nothing_lost(cluster, vips):
        _, status = holder.stop()
        assert status == 0
        new = moved(cluster, vips, holder)
    cluster.settle_on(vips, new)
    assert service.vips() == vips
    assert not any(vip in holder.node.addresses() for vip in vips)


@pytest.fixture
def node_objects(cluster):
    """The Node objects of the lab's nodes."""
    for node in cluster.lab.nodes:
        cluster.api().create(NODES, {"metadata": {"name": node.name}})
        cluster.api().patch(f"{NODES}/{node.name}", {"spec": {"taints": None}})
    yield
    for node in cluster.lab.nodes:
        with contextlib.suppress(ApiError):
            cluster.api().delete(f"{NODES}/{node.name}")


DRAINS = {
    "cordoned": ({"spec": {"unschedulable": True}}, {"spec": {"unschedulable": None}}),
    "excluded": ({"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}},
                 {"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": None}}}),
}


@pytest.mark.usefixtures("node_objects")
@pytest.mark.parametrize("how", DRAINS)
def test_a_drained_node_hands_over_and_is_handed_nothing_until_it_is_back(cluster, how):
    _, vips, holder = cluster.serve()
    drain, undo = DRAINS[how]
    path = f"{NODES}/{holder.name}"
    with nothing_lost(cluster, vips):
        cluster.api().patch(path, drain)
        new = moved(cluster, vips, holder)
    third, = cluster.others(holder, new)
    with nothing_lost(cluster, vips):
        assert cluster.handover()[1] == 0
        assert moved(cluster, vips, new) is third, f"{holder.name} is being drained"
    cluster.api().patch(path, undo)

    def back():
        return cluster.handover("--to", holder.name)[1] == 0
    with nothing_lost(cluster, vips):
        wait_for(back, PATIENCE_S, 0.2, f"{holder.name} to be a candidate again")
        assert moved(cluster, vips, third) is holder


@pytest.mark.usefixtures("node_objects")
def test_a_node_whose_object_is_deleted_hands_over(cluster):
    _, vips, holder = cluster.serve()
    with nothing_lost(cluster, vips):
        cluster.api().delete(f"{NODES}/{holder.name}")
        moved(cluster, vips, holder)


def test_a_holder_that_loses_its_carrier_is_replaced(cluster):
    _, vips, holder = cluster.serve()
    with cluster.observed(vips) as seen:
        cluster.lab.unplug(holder.node)
        new = moved(cluster, vips, holder)
        cluster.lab.plug(holder.node)
        holder.wait_ready()
        seen.wait_answers()
        seen.stop()
    assert seen.two_macs_ms() == 0
    seen.require_one_claimant()
    cluster.settle_on(vips, new)


def test_two_handovers_at_once_make_one_move_after_the_other_or_one_refusal(cluster):
    _, vips, holder = cluster.serve()
    one, two = cluster.others(holder)
    with nothing_lost(cluster, vips):
        commands = [cluster.start_handover("--to", agent.name) for agent in (one, two)]
        said = [(command.communicate(timeout=40)[0], command.returncode) for command in commands]
        assert any(status == 0 for _, status in said), said
        assert all(status in (0, 1) for _, status in said), said
        last = cluster.wait_holder(but=holder)
        assert last in (one, two)
        cluster.settle_on_wire(vips, last)
    cluster.only_answers(vips, cluster.wait_holder())


@pytest.mark.parametrize("pause_ms", [0, 20, 60, 150])
def test_a_successor_that_dies_in_the_middle(cluster, pause_ms):
    """Before it has claimed the holder goes on; after that, the third takes over.  Never do two answer."""
    _, vips, holder = cluster.serve()
    successor, third = cluster.others(holder)
    with cluster.observed(vips) as seen:
        command = cluster.start_handover("--to", successor.name)
        at = mono_ns()
        wait_for(lambda: mono_ns() - at >= pause_ms * 10**6, what="the middle of it")
        successor.kill9()
        out, _ = command.communicate(timeout=40)
        last = wait_for(lambda: (h := cluster.lease_holder()) in (holder.name, third.name) and h, PATIENCE_S, 0.1,
                        lambda: f"a living holder; the command said {out!r}")
        cluster.settle_on_wire(vips, cluster.agents[last])
        seen.wait_answers()
        seen.stop()
    assert seen.two_macs_ms() == 0
    seen.require_one_claimant()
    cluster.only_answers(vips, cluster.agents[last])


def test_one_group_of_several_moves_alone(cluster):
    cluster.start_agents(groups=3)
    services = cluster.services(6, policy="RequireDualStack")
    vips = {service.name: service.wait_vips(2) for service in services}
    holders = {g: wait_for(lambda g=g: cluster.lease_holder(g), PATIENCE_S, what=f"a holder of group {g}") for g in range(3)}
    every = [vip for pair in vips.values() for vip in pair]
    for vip in every:
        cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
    places = {vip: cluster.wait_on_one_node(vip).name for vip in every}
    to = next(name for name in cluster.agents if name != holders[1])
    with cluster.observed(every[:4], 4) as seen:
        assert cluster.handover("1", "--to", to)[1] == 0
        wait_for(lambda: cluster.lease_holder(1) == to, PATIENCE_S, what="group 1 to move")
        seen.wait_answers()
        seen.stop()
    seen.require_one_claimant()
    assert {g: cluster.lease_holder(g) for g in (0, 2)} == {g: holders[g] for g in (0, 2)}
    for vip in every:
        now = cluster.wait_on_one_node(vip).name
        assert now == places[vip] or (places[vip], now) == (holders[1], to)


def test_the_lease_of_a_group_can_be_named_in_full(cluster):
    _, vips, holder = cluster.serve()
    assert cluster.handover("leasehold-group-0")[1] == 0
    moved(cluster, vips, holder)
