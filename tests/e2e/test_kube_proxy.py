"""Beside real kube-proxy, in nftables and in iptables mode: each does its own work, and neither loses a rule.

kube-proxy runs on all three nodes and takes the VIPs from the Services' status, as it does in every cluster.  Agents
run on node1 and node2 alone, so that node3 shows what kube-proxy does where there is none.
"""

import collections
import contextlib
import socket

import pytest

from netns.lab import mono_ns, wait_for
from netns.probe import StreamsProbe, UdpProbe

from e2e.agents import PATIENCE_S, Cluster
from e2e.kubeproxy import MODES, Answer, Proxies, ask, ask_all, ask_round, conntrack, plain_lines

pytestmark = [pytest.mark.kube,
              pytest.mark.parametrize("site", ["kube"], indirect=True, scope="session")]


class Beside:
    """Agents on node1 and node2, kube-proxy on all nodes; what a case makes of Services is removed after it."""

    def __init__(self, cluster, proxies):
        self.cluster, self.proxies, self.lab = cluster, proxies, cluster.lab
        self.made = []

    def service(self, name, n_vips=1, **kwargs):
        """A Service whose VIPs every kube-proxy serves: (service, *VIPs)."""
        service = self.cluster.service(name, **kwargs)
        self.made.append(service)
        vips = service.wait_vips(n_vips)
        for vip in vips:
            for port in service.get()["spec"]["ports"]:
                self.proxies.wait_serves(vip, port["port"], port["protocol"])
        return (service, *vips)

    def holder(self, vip):
        """The agent on whose node the VIP is."""
        return self.cluster.agents[self.cluster.wait_on_one_node(vip).name]

    def candidate(self, vip):
        """The agent that has not got the VIP."""
        return next(a for a in self.cluster.agents.values() if a is not self.holder(vip))

    def pods_of(self, node):
        return [pod for pod in self.lab.pods if pod.node is node]

    def ours(self, node):
        """Our table on a node, as lines without counters."""
        return plain_lines(self.cluster.table(node))

    def wait_answers(self, host, vip, names, port=80, protocol="TCP"):
        """Ask until rounds are answered by exactly these; the Counter of the last one's answers."""
        want, last = {getattr(n, "name", n) for n in names}, {}

        def exactly():
            last["round"] = ask_round(host, vip, port, protocol, 12 * len(want))
            return {a.name for a in last["round"]} == want
        wait_for(exactly, PATIENCE_S, 0.1, lambda: f"{host.name} to reach {sorted(want)} at {vip}; last {last}")
        return last["round"]

    def clear(self):
        gone = [vip for service in self.made for vip in service.vips()]
        for service in self.made:
            service.delete()
        self.made.clear()
        for vip in gone:
            self.cluster.wait_gone(vip)


@pytest.fixture(scope="module", params=MODES)
def running(request, site, tmp_path_factory):
    lab, plane, kubeconfig = site
    workdir = tmp_path_factory.mktemp(f"kube-proxy-{request.param}")
    cluster = Cluster(lab, plane, kubeconfig, workdir)
    try:
        with Proxies(lab, plane, request.param, workdir) as proxies:
            cluster.start_agents(lab.nodes[:2])
            yield Beside(cluster, proxies)
            cluster.stop_agents()
    finally:
        cluster.clear()


@pytest.fixture
def beside(running, request):
    yield running
    if getattr(request.node, "failed", False):
        for agent in running.cluster.agents.values():
            print(f"--- log of {agent}\n{agent.log_tail(60)}")
        for proxy in running.proxies:
            print(f"--- log of {proxy}\n{proxy.log_tail()}")
    running.clear()


def sources(answers):
    """The addresses that the backends saw."""
    return {a.source for a in answers}


# -- who translates what -----------------------------------------------------------------------

def test_traffic_from_outside_is_ours_and_cluster_ips_are_kube_proxys(beside):
    lab = beside.lab
    service, *vips = beside.service("order", n_vips=2, policy="RequireDualStack")
    for vip in vips:
        # Ours leaves with the VIP as its source, kube-proxy's with an address of the node.
        answers = beside.wait_answers(lab.client, vip, lab.pods)
        assert sources(answers) == {vip}, answers
        assert service.ingress()[0].get("ipMode", "VIP") == "VIP"
    for cluster_ip in service.get()["spec"]["clusterIPs"]:
        for pod in (lab.pods[0], lab.pods[-1]):
            answers = beside.wait_answers(pod, cluster_ip, lab.pods)
            own = pod.ip6 if ":" in cluster_ip else pod.ip4
            assert {a.source for a in answers if a.name != pod.name} == {own}, answers
    for node in lab.nodes[:2]:
        assert not any(ip in line for line in beside.ours(node) for ip in service.get()["spec"]["clusterIPs"])


def test_pods_reach_the_vip_from_every_node(beside):
    """From the holder's and the candidate's by our table, from a node without an agent by kube-proxy's."""
    lab = beside.lab
    _, *vips = beside.service("inside", n_vips=2, policy="RequireDualStack")
    for vip in vips:
        for node in lab.nodes:
            pod = beside.pods_of(node)[0]
            answers = beside.wait_answers(pod, vip, lab.pods)
            # By the node itself in every case: what the pod sent never came to another node as a question to the VIP.
            assert vip not in sources(answers), answers
            family, own = ("ipv6", pod.ip6) if ":" in vip else ("ipv4", pod.ip4)
            assert not [line for other in lab.nodes if other is not node
                        for line in conntrack(other, "-f", family, "-d", vip, "-s", own)]


def test_processes_of_every_node_reach_the_vip(beside):
    lab = beside.lab
    _, *vips = beside.service("hosts", n_vips=2, policy="RequireDualStack")
    for vip in vips:
        for node in lab.nodes:
            beside.wait_answers(node, vip, lab.pods)


def test_hairpin(beside):
    """A pod that is the only backend reaches itself by its VIP: on the holder, on a candidate, beside kube-proxy alone."""
    lab = beside.lab
    service, *vips = beside.service("alone", n_vips=2, policy="RequireDualStack", backends=lab.pods[:1])
    for node in lab.nodes:
        pod = beside.pods_of(node)[0]
        service.set_backends([pod])
        for vip in vips:
            beside.wait_answers(pod, vip, [pod])
            beside.wait_answers(pod, vip, [pod], protocol="UDP")


def test_backends_are_clients_of_other_vips(beside):
    lab = beside.lab
    _, one = beside.service("one", backends=lab.pods[:3])
    _, other = beside.service("other", backends=lab.pods[3:])
    for pod in lab.pods[:3]:
        beside.wait_answers(pod, other, lab.pods[3:])
    for pod in lab.pods[3:]:
        beside.wait_answers(pod, one, lab.pods[:3], protocol="UDP")


# -- restarts ----------------------------------------------------------------------------------

@pytest.mark.parametrize("first", ["agent", "kube-proxy"])
def test_restarts_cost_neither_rules_nor_connections(beside, first):
    lab = beside.lab
    service, vip = beside.service("stays")
    cluster_ip = service.get()["spec"]["clusterIP"]
    holder = beside.holder(vip)
    beside.wait_answers(lab.client, vip, lab.pods)
    proxy, pod = beside.proxies[holder.node], beside.pods_of(holder.node)[0]
    before = wait_for(lambda: steady(lambda: (beside.ours(holder.node), proxy.rules())), what="rules that stay as they are")
    assert all(any(vip in line for line in rules) for rules in before)

    def restart_agent():
        holder.kill9()
        holder.start().wait_ready()

    def restart_proxy():
        proxy.kill9()
        proxy.start().wait_healthy()

    steps = [restart_agent, restart_proxy]
    with StreamsProbe(lab.client, vip, 80, count=20) as outside, \
            StreamsProbe(pod, cluster_ip, 80, count=20) as inside, \
            StreamsProbe(pod, vip, 80, count=20) as both:
        probes = (outside, inside, both)
        for probe in probes:
            probe.wait_up()
        for step in steps if first == "agent" else reversed(steps):
            step()
            wait_for(lambda: (beside.ours(holder.node), proxy.rules()) == before, PATIENCE_S, 0.2,
                     lambda s=step: f"the rules after {s.__name__}: "
                     f"{difference(before, (beside.ours(holder.node), proxy.rules()))}")
        since = mono_ns()
        for probe in probes:
            assert probe.wait_echoes(since)
            assert len(probe.stop().alive(since)) == 20
    assert beside.holder(vip) is holder


def steady(look):
    """What `look` shows when it shows the same a second time, else None."""
    once = look()
    return once if look() == once else None


def difference(before, now):
    return [(sorted(set(b) - set(n)), sorted(set(n) - set(b))) for b, n in zip(before, now)]


def test_a_deleted_service_leaves_nothing_in_either(beside):
    lab = beside.lab
    service, vip = beside.service("goes")
    cluster_ip = service.get()["spec"]["clusterIP"]
    beside.clear()
    for proxy in beside.proxies:
        wait_for(lambda p=proxy: not any(a in line for line in p.rules() for a in (vip, cluster_ip)), PATIENCE_S, 0.1,
                 f"{proxy} to forget {vip}")
    assert ask(lab.client, vip).how in ("silent", "EHOSTUNREACH")


# -- UDP ---------------------------------------------------------------------------------------

def entry_ids(node, vip):
    """{client port: id} of the conntrack entries of UDP clients of a VIP."""
    found = {}
    for line in conntrack(node, "-p", "udp", "-d", vip, "-o", "id"):
        words = dict(word.split("=", 1) for word in reversed(line.split()) if "=" in word)
        found[words["sport"]] = words["id"]
    return found


def plant_entry(node, vip):
    """A UDP connection to a VIP that was translated to what is no backend, as kube-proxy is to delete it; how to find it."""
    key = ["-p", "udp", "-s", "192.0.2.60", "-d", vip, "--sport", "5555", "--dport", "80"]
    node.run(["conntrack", "-I", *key, "--dst-nat", "192.0.2.99:8080", "-t", "300"])
    return key


def test_kube_proxy_does_not_end_our_udp_flows(beside):
    """Its reconciler deletes UDP entries to a VIP whose backend it does not know; ours it must know."""
    lab = beside.lab
    _, vip = beside.service("udp")
    holder = beside.holder(vip)
    proxy = beside.proxies[holder.node]
    beside.wait_answers(lab.client, vip, lab.pods, protocol="UDP")
    with UdpProbe(lab.client, vip, 80, interval_ms=2, flows=16) as probe:
        probe.wait_answered(64)
        ids = entry_ids(holder.node, vip)
        planted = plant_entry(holder.node, vip)
        since = mono_ns()
        # A restart begins with a whole sync and its cleanup; a new Service makes one that is not whole.
        proxy.kill9()
        proxy.start().wait_healthy()
        beside.service("bystander")
        wait_for(lambda: not conntrack(holder.node, *planted), PATIENCE_S, 0.1, "kube-proxy to have reconciled")
        probe.wait_answer_after(mono_ns())
        trace = probe.stop()
        kept = entry_ids(holder.node, vip)
    assert trace.lost(since=since) == []
    flows = collections.defaultdict(set)
    for i, who in enumerate(trace.who):
        flows[i % 16].add(trace.names[who])
    assert all(len(names) == 1 for names in flows.values()), flows
    assert len(ids) >= 16 and {p: kept.get(p) for p in ids} == ids


def test_udp_flows_leave_a_backend_that_is_gone(beside):
    lab = beside.lab
    service, vip = beside.service("moves", backends=lab.pods)
    beside.wait_answers(lab.client, vip, lab.pods, protocol="UDP")
    gone = lab.pods[0]
    with UdpProbe(lab.client, vip, 80, interval_ms=2, flows=64) as probe:
        probe.wait(lambda s: gone.name in s["names"], what=f"flows to {gone.name}")
        probe.wait_answered(300)
        service.set_backends(lab.pods[1:])

        def away():
            since = mono_ns()
            probe.wait_answered(200)
            trace = probe.snapshot()
            return gone.name not in trace.backends(since) and not trace.lost(since, trace.now - 100_000_000)
        wait_for(away, PATIENCE_S, 0.05, f"no flow of 64 to stay with {gone.name}")


# -- what a Service asks for -------------------------------------------------------------------

def test_source_ranges_are_enforced(beside):
    """Both enforce them: who is allowed passes both, who is not gets no answer, whichever drops."""
    lab = beside.lab
    service, vip = beside.service("ranges", loadBalancerSourceRanges=[f"{lab.client.ip4}/32"])
    beside.wait_answers(lab.client, vip, lab.pods)
    beside.wait_answers(lab.client, vip, lab.pods, protocol="UDP")
    strangers = [lab.slow, *(beside.pods_of(node)[0] for node in lab.nodes)]
    assert set(ask_all([(host, vip, 80, p) for p in ("TCP", "UDP") for host in strangers] * 2)) == {Answer("silent")}
    service.patch({"spec": {"loadBalancerSourceRanges": [f"{lab.slow.ip4}/32"]}})
    beside.wait_answers(lab.slow, vip, lab.pods)
    assert ask(lab.client, vip).how == "silent"
    service.patch({"spec": {"loadBalancerSourceRanges": None}})
    beside.wait_answers(lab.client, vip, lab.pods)


def test_external_traffic_policy_local_keeps_the_client_address(beside):
    lab = beside.lab
    service, *vips = beside.service("local", n_vips=2, policy="RequireDualStack", externalTrafficPolicy="Local",
                                    backends=[lab.pods[2], lab.pods[4]])
    for vip, own in zip(vips, (lab.client.ip4, lab.client.ip6)):
        assert beside.holder(vip).node is lab.pods[2].node, "the only agent's node with an endpoint"
        for protocol in ("TCP", "UDP"):
            answers = beside.wait_answers(lab.client, vip, [lab.pods[2]], protocol=protocol)
            assert sources(answers) == {own}, answers
    # Pods are inside: kube-proxy lets them reach every endpoint, our table those of their node where there are any.
    for vip in vips:
        for node in lab.nodes:
            pod = next(p for p in beside.pods_of(node) if p not in (lab.pods[2], lab.pods[4]))
            wait_for(lambda p=pod, v=vip: {a.name for a in ask_round(p, v)} in (
                {"pod2-1", "pod3-1"}, {"pod2-1"}), PATIENCE_S, 0.1, f"{pod.name} to reach {vip}")
    assert service.vips() == vips
    # kube-proxy's health check says the same: load balancers outside find the nodes with an endpoint.
    port = service.get()["spec"]["healthCheckNodePort"]
    for node in lab.nodes:
        want = 200 if any(pod.node is node for pod in (lab.pods[2], lab.pods[4])) else 503
        wait_for(lambda n=node, w=want: http_status(lab.client, n.ip4, port) == w, PATIENCE_S, 0.1,
                 f"{node.name}:{port}: {want}")


def http_status(host, address, port):
    """The status of a GET, 0 when there is no answer."""
    with host.entered(), contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return int(sock.recv(100).split()[1])
    return 0


def test_no_endpoints_is_refused_at_once(beside):
    lab = beside.lab
    service, vip = beside.service("empty")
    beside.wait_answers(lab.client, vip, lab.pods)
    service.set_backends([])
    # Ours is a reset, kube-proxy's is ICMP; which of two chains at the same priority is asked first is left to chance.
    wait_for(lambda: ask(lab.client, vip).how in ("reset", "icmp 3/3"), PATIENCE_S, 0.1, "a TCP connection to be refused")
    wait_for(lambda: ask(lab.client, vip, protocol="UDP").how == "icmp 3/3", PATIENCE_S, 0.1, "a datagram to be refused")
    service.set_backends(lab.pods)
    beside.wait_answers(lab.client, vip, lab.pods)


# -- FORWARD policy DROP -----------------------------------------------------------------------

IPTABLES = ("iptables", "ip6tables")
ACCEPT_TRANSLATED = "-m conntrack --ctstate DNAT -j ACCEPT"
# What a CNI has where it expects such a policy: its pods' traffic passes.
CNI_ACCEPTS = ("-i cni0 -j ACCEPT", "-o cni0 -j ACCEPT")


@pytest.fixture
def dropping(beside):
    """A function that sets FORWARD's policy to DROP on a node until the case ends."""
    nodes = []

    def drop(node, *accepts):
        nodes.append((node, accepts))
        for program in IPTABLES:
            for rule in accepts:
                node.run([program, "-A", "FORWARD", *rule.split()])
            node.run([program, "-P", "FORWARD", "DROP"])
    yield drop
    for node, accepts in nodes:
        for program in IPTABLES:
            node.run([program, "-P", "FORWARD", "ACCEPT"])
            for rule in (*accepts, ACCEPT_TRANSLATED):
                node.run([program, "-D", "FORWARD", *rule.split()], check=False)


def test_forward_policy_drop(beside, dropping):
    """iptables mode: our connections pass by kube-proxy's own mark, and keep the source they had.  nftables mode has no
    rule that would let them pass: the agent says so with the command, and the command mends it."""
    lab = beside.lab
    _, *vips = beside.service("dropped", n_vips=2, policy="RequireDualStack")
    holder = beside.holder(vips[0])
    pods = beside.pods_of(holder.node)
    _, local_vip = beside.service("dropped-local", externalTrafficPolicy="Local", backends=pods)
    expected = {**{vip: (lab.pods, vip) for vip in vips}, local_vip: (pods, lab.client.ip4)}
    for vip, (backends, _) in expected.items():
        assert beside.holder(vip) is holder
        beside.wait_answers(lab.client, vip, backends)
    for node in lab.nodes:
        dropping(node, *(() if node is holder.node else CNI_ACCEPTS))
    if beside.proxies.mode == "nftables":
        mend(holder)
    for vip, (backends, source) in expected.items():
        for protocol in ("TCP", "UDP"):
            answers = beside.wait_answers(lab.client, vip, backends, protocol=protocol)
            assert sources(answers) == {source}, answers
    wait_for(holder.ready, PATIENCE_S, 0.2, lambda: f"{holder} to be ready: {holder.http('/readyz')}")


def mend(agent):
    """The agent says that connections are dropped, with a command that helps; the command is run."""
    commands = [f"{program} -I FORWARD {ACCEPT_TRANSLATED}" for program in IPTABLES]
    for command in commands:
        wait_for(lambda c=command: [line for line in agent.log().splitlines()
                                    if "ERROR" in line and "forward_closed" in line and c in line],
                 PATIENCE_S, 0.2, f"{agent} to name the command {command}")
    status, text = agent.http("/readyz")
    assert status == 503 and "FORWARD" in text, (status, text)
    for command in commands:
        agent.node.run(command.split())
