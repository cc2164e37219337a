"""The same Services and EndpointSlices, once behind real kube-proxy and once behind Leasehold's data plane, and the same
questions from the same clients: what is answered by whom, from which source address, and how the rest is refused.

kube-proxy (nftables mode) serves the VIPs as a cluster without Leasehold would have them: the addresses are put on node1
by hand and stand in the status.  Then the agents take the same Services beside it, node1 every VIP that it may hold; at
last kube-proxy's rules are removed.  Where the two alone differ, DIFFERENCES says so and why; docs/kube-proxy.md shows the
same table.
"""

import collections
import concurrent.futures
import contextlib
import os
import re
import socket
import struct
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from netns.lab import ECHO_PORT, ECHO_PORT_2, wait_for

from e2e.agents import PATIENCE_S, SERVICES, SLICES, Cluster, bulk, service_body
from e2e.kubeproxy import Answer, Proxies, ask

pytestmark = [pytest.mark.kube, pytest.mark.slow]
on_the_real_server = pytest.mark.parametrize("site", ["kube"], indirect=True, scope="session")

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/kube-proxy.md"

# services: shell pattern of "SERVICE QUESTION"; clients: patterns; aspect: "backends", "refusal" or "source" (as the backend
# sees it); then what each of the two was seen to do, patterns, too.
Difference = collections.namedtuple("Difference", "services clients aspect kube_proxy leasehold why")

INSIDE = "pod*, holder, other node"
DIFFERENCES = [
    Difference("*", "outside, stranger", "source", "node", "VIP",
               "a connection whose source is the VIP lives on when another node takes the VIP over"),
    Difference("*TCP*", "*", "refusal", "icmp *", "reset",
               "nothing takes the port: a TCP reset passes firewalls that drop ICMP, and every client understands it"),
    Difference("local*", INSIDE, "backends", "pod* pod*", "pod?-?",
               "one table serves a node's own pods and clients outside, and has the endpoints of that node where there "
               "are any; pods and processes get those, too, which are the nearest"),
    Difference("local*", "pod*", "source", "client node", "node",
               "follows from the row above: the pod reaches itself alone, for which both masquerade"),
    Difference("local-elsewhere*", "outside, stranger", "backends", "none", "pod*",
               "the VIP is never on a node without an endpoint of the Service: it moves to one that has"),
    Difference("local-elsewhere*", "outside, stranger", "refusal", "silent", "none", "follows from the row above"),
    Difference("local-elsewhere*", "outside, stranger", "source", "none", "client", "follows from the row above"),
    Difference("ranges*", "holder, other node", "backends", "none", "pod*",
               "loadBalancerSourceRanges is for what comes in from the network; a process of a node may reach the pods as "
               "it is"),
    Difference("ranges*", "holder, other node", "refusal", "*", "none", "follows from the row above"),
    Difference("ranges*", "holder, other node", "source", "none", "node", "follows from the row above"),
]

# -- the Services ------------------------------------------------------------------------------

TCP, UDP = ("TCP",), ("UDP",)


def endpoint(pod, ready=True, serving=None, terminating=False, zones=None, nodes=None):
    """An endpoint of a slice; `pod` is anything with addresses and a node."""
    hints = {key: [{"name": n} for n in names] for key, names in (("forZones", zones), ("forNodes", nodes)) if names}
    return {"pod": pod, "nodeName": pod.node.name, **({"hints": hints} if hints else {}),
            "conditions": {"ready": ready, "serving": ready if serving is None else serving, "terminating": terminating}}


class Case:
    """A Service, its slices, and which of its ports are asked."""

    def __init__(self, name, slices, ask_ports=None, ports=None, families=("IPv4",), sticky=False, **spec):
        self.name, self.slices, self.families, self.sticky, self.spec = name, slices, families, sticky, spec
        self.ports = ports or [("main", "TCP", 80, ECHO_PORT)]
        self.ask = ask_ports or [(protocol, port) for _, protocol, port, _ in self.ports]
        self.vips = []

    def body(self, index):
        self.vips = [f"192.0.2.{200 + index}" if f == "IPv4" else f"2001:db8::{0xc8 + index:x}" for f in self.families]
        body = service_body(self.name, families=self.families, annotations={"leasehold.io/addresses": ",".join(self.vips)},
                            policy="RequireDualStack" if len(self.families) == 2 else "SingleStack", **self.spec)
        body["spec"]["ports"] = [{"name": n, "protocol": p, "port": port, "targetPort": target}
                                 for n, p, port, target in self.ports]
        return body

    def slice_bodies(self):
        for family in self.families:
            for number, (ports, endpoints) in enumerate(self.slices):
                yield {"metadata": {"name": f"{self.name}-{family.lower()}-{number}",
                                    "labels": {"kubernetes.io/service-name": self.name}},
                       "addressType": family,
                       "ports": [{"name": n, "protocol": p, "port": port} for n, p, port in ports],
                       "endpoints": [{**{k: v for k, v in e.items() if k != "pod"},
                                      "addresses": [e["pod"].ip4 if family == "IPv4" else e["pod"].ip6]} for e in endpoints]}


def cases(lab):
    """Some thirty Services: pods 0 and 1 are on node1, 2 and 3 on node2, 4 and 5 on node3."""
    pods, main = lab.pods, [("main", "TCP", ECHO_PORT)]
    every = [endpoint(p) for p in pods]
    going = {"ready": False, "serving": True, "terminating": True}
    ranges = [f"{lab.client.ip4}/32", f"{lab.client.ip6}/128"]
    node = lab.nodes[1]
    on_node = collections.namedtuple("OnNode", "name ip4 ip6 node")(node.name, node.ip4, node.ip6, node)
    return [
        Case("plain", [(main, every)]),
        Case("two-ports", [([*main, ("other", "TCP", ECHO_PORT_2)], every[:2])],
             ports=[("main", "TCP", 80, ECHO_PORT), ("other", "TCP", 443, ECHO_PORT_2)]),
        Case("named-ports", [(main, every[:2]), ([("other", "TCP", ECHO_PORT_2)], every[2:4])],
             ports=[("main", "TCP", 80, "http"), ("other", "TCP", 443, "https")]),
        Case("no-such-name", [([("else", "TCP", ECHO_PORT)], every)]),
        Case("udp", [([("main", "UDP", ECHO_PORT)], every)], ports=[("main", "UDP", 53, ECHO_PORT)]),
        Case("both-protocols", [([("t", "TCP", ECHO_PORT), ("u", "UDP", ECHO_PORT)], every[1:3])],
             ports=[("t", "TCP", 80, ECHO_PORT), ("u", "UDP", 80, ECHO_PORT)]),
        Case("no-slices", [], ports=[("t", "TCP", 80, ECHO_PORT), ("u", "UDP", 80, ECHO_PORT)]),
        Case("no-endpoints", [(main, [])]),
        Case("not-ready", [(main, [endpoint(pods[0], ready=False), *every[2:4]])]),
        Case("none-ready", [(main, [endpoint(p, ready=False) for p in pods[:3]])]),
        Case("only-terminating", [(main, [endpoint(p, **going) for p in pods[1:3]])]),
        Case("some-terminating", [(main, [endpoint(pods[0], **going), *every[2:4]])]),
        Case("terminating-not-serving", [(main, [endpoint(p, ready=False, serving=False, terminating=True)
                                                for p in pods[:2]])]),
        Case("duplicates", [(main, every[:3]), (main, every[1:4])]),
        Case("publish-not-ready", [(main, every[:2])], publishNotReadyAddresses=True),
        Case("ranges", [(main, every)], loadBalancerSourceRanges=ranges[:1]),
        Case("ranges-udp", [([("main", "UDP", ECHO_PORT)], every)], ports=[("main", "UDP", 53, ECHO_PORT)],
             loadBalancerSourceRanges=[" 192.0.2.48/29 "]),
        Case("ranges-dual", [(main, every)], families=("IPv4", "IPv6"), loadBalancerSourceRanges=ranges),
        Case("affinity", [(main, every)], sticky=True, sessionAffinity="ClientIP",
             sessionAffinityConfig={"clientIP": {"timeoutSeconds": 300}}),
        Case("local", [(main, [every[0], every[2], every[4]])], externalTrafficPolicy="Local"),
        Case("local-udp", [([("main", "UDP", ECHO_PORT)], every[1:3])], ports=[("main", "UDP", 53, ECHO_PORT)],
             externalTrafficPolicy="Local"),
        Case("local-elsewhere", [(main, every[2:4])], externalTrafficPolicy="Local"),
        Case("local-terminating", [(main, [endpoint(pods[0], **going), endpoint(pods[2], **going)])],
             externalTrafficPolicy="Local"),
        Case("internal-local", [(main, every[2:4])], internalTrafficPolicy="Local"),
        Case("zones", [(main, [endpoint(p, zones=["zone-1" if i // 2 != 1 else "zone-2"]) for i, p in enumerate(pods)])]),
        Case("nodes", [(main, [endpoint(p, nodes=[p.node.name]) for p in pods])]),
        Case("a-hint-missing", [(main, [endpoint(p, zones=["zone-1"]) for p in pods[:3]] + every[3:4])]),
        Case("dual", [(main, every)], families=("IPv4", "IPv6")),
        Case("six", [([("t", "TCP", ECHO_PORT), ("u", "UDP", ECHO_PORT)], every)], families=("IPv6",),
             ports=[("t", "TCP", 80, ECHO_PORT), ("u", "UDP", 80, ECHO_PORT)]),
        Case("six-empty", [(main, [])], families=("IPv6",)),
        Case("unmatched", [(main, every)], families=("IPv4", "IPv6"), ask_ports=[("TCP", 81), ("UDP", 80)]),
        Case("ping", [(main, every)], families=("IPv4", "IPv6"), ask_ports=[("ICMP", 0)]),
        Case("on-the-host", [(main, [endpoint(on_node)])]),
    ]


# -- the clients -------------------------------------------------------------------------------

def clients(lab):
    return {"outside": lab.client, "stranger": lab.slow, "pod on holder": lab.pods[1], "pod elsewhere": lab.pods[3],
            "holder": lab.nodes[0], "other node": lab.nodes[2]}


def ping(host, target, timeout_s=1.0):
    """One ICMP echo request."""
    six = ":" in target
    with host.entered():
        sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW,
                             socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    with sock:
        sock.settimeout(timeout_s)
        mark = os.urandom(4)
        head = struct.pack("!BBH", 128 if six else 8, 0, 0) + mark
        if not six:
            total = sum(struct.unpack("!4H", head))
            total = (total >> 16) + (total & 0xffff)
            head = struct.pack("!BBH", 8, 0, ~(total + (total >> 16)) & 0xffff) + mark
        try:
            sock.connect((target, 0))
            sock.send(head)
            while True:
                data = sock.recv(200)
                data = data if six else data[(data[0] & 15) * 4:]
                if data[0] == (129 if six else 0) and data[4:8] == mark:
                    return Answer("answered", "the address itself", "")
        except (TimeoutError, socket.timeout):
            return Answer("silent")
        except OSError as error:
            return Answer(error.strerror)


def ask_one(host, vip, protocol, port):
    return ping(host, vip) if protocol == "ICMP" else ask(host, vip, port, protocol)


Cell = collections.namedtuple("Cell", "backends refusal source")


class Matrix:
    """The questions, and what became of them: {(service, question, client): Cell}."""

    def __init__(self, lab, all_cases):
        self.lab, self.cases = lab, all_cases
        self.names = {}
        for host in lab.hosts.values():
            for address in (host.ip4, host.ip6):
                self.names[address] = "node" if host in lab.nodes else host.name
        for n in range(1, len(lab.nodes) + 1):  # the gateways of the pods
            self.names[f"198.51.100.{16 * n + 1}"] = self.names[f"2001:db8:0:{n}::1"] = "node"

    def questions(self):
        for case in self.cases:
            for vip in case.vips:
                for protocol, port in case.ask:
                    question = f"{'v6 ' if ':' in vip else ''}{protocol} {port}"
                    for client, host in clients(self.lab).items():
                        yield (case.name, question, client), case, host, vip, protocol, port

    def cell(self, question):
        key, case, host, vip, protocol, port = question
        answers = collections.Counter(ask_one(host, vip, protocol, port) for _ in range(2))
        most = {e["pod"].name for _, endpoints in case.slices for e in endpoints}
        names, quiet = set(), 0
        # Until all have answered that ever could, or nobody new for so long that there is none.
        while any(a.how == "answered" for a in answers) and names != most and quiet < 18 * max(len(names), 1):
            answer = ask_one(host, vip, protocol, port)
            answers[answer] += 1
            quiet = 0 if answer.name not in names else quiet + 1
            names.add(answer.name)
        return key, self.summary(case, host, vip, answers)

    def summary(self, case, host, vip, answers):
        good = [a for a in answers if a.how == "answered"]
        names = sorted({a.name for a in good})
        if case.sticky and len(names) == 1:
            names = ["one of them"]
        # Of a node's own addresses the kernel chooses by the way that a packet goes: no difference is made.
        mine = () if host in self.lab.nodes else (host.ip4, host.ip6)
        sources = {"VIP" if a.source == vip else "client" if a.source in mine
                   else self.names.get(a.source, a.source) for a in good if a.source}
        return Cell(" ".join(names) or "none", " ".join(sorted({a.how for a in answers if a.how != "answered"})) or "none",
                    " ".join(sorted(sources)) or "none")

    def ask(self):
        with concurrent.futures.ThreadPoolExecutor(48) as pool:
            return dict(pool.map(self.cell, self.questions()))


# -- the two runs ------------------------------------------------------------------------------

def by_hand(cluster, all_cases, proxies):
    """VIPs as kube-proxy alone would have them: addresses on node1, and in the status."""
    api, node = cluster.api(), cluster.lab.nodes[0]
    for case in all_cases:
        for vip in case.vips:
            node.ip("addr", "add", f"{vip}/{128 if ':' in vip else 32}", "dev", "eth0", 
                    # Not to be a source address of the node's own: as Leasehold adds it.
                    *(["nodad", "preferred_lft", "0"] if ":" in vip else []))
        ingress = [{"ip": v} for v in case.vips]
        api.patch(f"{SERVICES}/{case.name}/status", {"status": {"loadBalancer": {"ingress": ingress}}})
    wait_served(all_cases, proxies)


def wait_served(all_cases, proxies):
    def served():
        rules = {p: "\n".join(p.rules()) for p in proxies}
        return all(re.search(rf"(?<![0-9a-f:.]){re.escape(v)} \. ", text)
                   for case in all_cases for v in case.vips for text in rules.values())
    wait_for(served, PATIENCE_S, 0.2, "kube-proxy to serve all VIPs")


def undo_by_hand(cluster, all_cases):
    cluster.lab.nodes[0].delete_addresses(v for case in all_cases for v in case.vips)
    for case in all_cases:
        cluster.api().patch(f"{SERVICES}/{case.name}/status", {"status": {"loadBalancer": {"ingress": []}}})


def forget(lab):
    """Nothing of the run before is remembered: neighbours, connections."""
    for host in (lab.client, lab.slow, *lab.nodes):
        host.flush_neighbours()
    for node in lab.nodes:
        node.run(["conntrack", "-F"], check=False)


@pytest.fixture(scope="module")
def runs(site, tmp_path_factory):
    """What became of the questions with kube-proxy alone, with Leasehold alone, with both."""
    lab, plane, kubeconfig = site
    workdir = tmp_path_factory.mktemp("differential")
    cluster = Cluster(lab, plane, kubeconfig, workdir)
    all_cases = cases(lab)
    echo = lab.start_echo(lab.nodes[1], name="node2")
    try:
        with Proxies(lab, plane, "nftables", workdir) as proxies:
            bodies = [case.body(i) for i, case in enumerate(all_cases)]
            bulk(cluster.api(), [("POST", SERVICES, b) for b in bodies]
                 + [("POST", SLICES, s) for case in all_cases for s in case.slice_bodies()])
            matrix = Matrix(lab, all_cases)
            by_hand(cluster, all_cases, proxies)
            theirs = matrix.ask()
            undo_by_hand(cluster, all_cases)
            forget(lab)
            # The first holds all that it may hold; the others find it so.
            cluster.start_agents(lab.nodes[:1])
            first = [c for c in all_cases if c.name != "local-elsewhere"]
            for case in first:
                wait_published(cluster, case)
            cluster.start_agents(lab.nodes[1:])
            for case in all_cases:
                wait_published(cluster, case)
            for case in first:
                for vip in case.vips:
                    cluster.wait_on_one_node(vip, lab.nodes[0])
            wait_served(all_cases, proxies)
            forget(lab)
            beside = matrix.ask()
            for proxy in proxies:
                proxy.cleanup()
            forget(lab)
            ours = matrix.ask()
            cluster.stop_agents()
            yield theirs, ours, beside
    finally:
        echo.kill9()
        with contextlib.suppress(Exception):
            lab.nodes[0].delete_addresses(v for case in all_cases for v in case.vips)
        cluster.clear()


def wait_published(cluster, case):
    def there():
        status = cluster.api().get(f"{SERVICES}/{case.name}")["status"].get("loadBalancer", {})
        return sorted(i["ip"] for i in status.get("ingress") or []) == sorted(case.vips)
    wait_for(there, PATIENCE_S, 0.1, lambda: f"{case.name} to have {case.vips}: "
             f"{cluster.api().get(f'{SERVICES}/{case.name}')['status']}; " +
             "; ".join(a.log_tail(5) for a in cluster.agents.values()))


def observed(runs):
    """{(service, question, client, aspect): (kube-proxy, Leasehold)} where they differ."""
    theirs, ours, _ = runs
    return {(*key, aspect): (getattr(theirs[key], aspect), getattr(ours[key], aspect))
            for key in theirs for aspect in Cell._fields if getattr(theirs[key], aspect) != getattr(ours[key], aspect)}


def explains(d, key, values):
    service, question, client, aspect = key
    return (fnmatchcase(f"{service} {question}", d.services) and aspect == d.aspect
            and any(fnmatchcase(client, pattern) for pattern in d.clients.split(", "))
            and all(fnmatchcase(value, want) for value, want in zip(values, (d.kube_proxy, d.leasehold))))


@on_the_real_server
def test_every_difference_is_known(runs):
    found = observed(runs)
    unknown = {key: values for key, values in found.items() if not any(explains(d, key, values) for d in DIFFERENCES)}
    assert not unknown, "\n" + "\n".join(f"{key}: kube-proxy {values[0]!r}, Leasehold {values[1]!r}"
                                         for key, values in sorted(unknown.items()))


@on_the_real_server
def test_every_known_difference_is_seen(runs):
    found = observed(runs)
    unseen = [d for d in DIFFERENCES if not any(explains(d, key, values) for key, values in found.items())]
    assert not unseen


@on_the_real_server
def test_the_run_asked_what_it_should(runs):
    """Neither run is empty: most cells are answered, and some are refused."""
    for run in runs:
        backends = collections.Counter(cell.backends == "none" for cell in run.values())
        assert len(run) > 200 and backends[False] > 120 and backends[True] > 20


@on_the_real_server
def test_beside_each_other_one_of_them_answers(runs):
    """With both at work each question fares as with one of them alone; what is answered outside, as with Leasehold."""
    theirs, ours, beside = runs
    other = {key: (theirs[key], ours[key], cell) for key, cell in beside.items()
             if cell not in ((ours[key],) if key[2] in ("outside", "stranger") and cell.backends != "none"
                             else (ours[key], theirs[key]))}
    assert not other, "\n" + "\n".join(f"{key}: kube-proxy {a}, Leasehold {b}, both {c}"
                                       for key, (a, b, c) in sorted(other.items()))


def test_the_document_has_the_same_table():
    table = DOCUMENT.read_text().partition("## Differences")[2]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")]
            for line in table.splitlines() if line.startswith("| `")]
    assert rows == [list(d) for d in DIFFERENCES]
