"""A cluster for end-to-end cases: a lab, an API server in it, Leasehold's agents on its nodes.

    Agent      one `leasehold agent` process on one node, started, stopped and killed by pid
    Service    one Service and its EndpointSlices in the API
    Cluster    the three together, and the questions a case asks: who holds, what is in the kernel

The API server may be the real one (tests/kube) or the in-memory one (tests/fakekube); nothing here
depends on which.  The agents run with the token of the chart's ServiceAccount and with the chart's
capabilities, so that a right or a capability that is missing there fails the case.
"""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import yaml

from kube.client import ApiError
from kube.cluster import NotBuilt
from netns.lab import ECHO_PORT, POOL4, POOL6, LabError, mono_ns, wait_for
from netns.probe import NEIGHBOUR_KINDS, NeighProbe, Sniffer, TcpProbe, UdpProbe

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LEASEHOLD_BIN", str(REPOSITORY / "build/release/leasehold"))
CHART = REPOSITORY / "helm/leasehold"
# What the chart's container has, and no more.
CAPABILITIES = ("net_admin", "net_raw", "bpf")

NAMESPACE = "kube-system"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LEASE = f"{LEASES}/leasehold-group-0"
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
CLASS = "leasehold.io/vip"
ALLOCATED = "leasehold.io/allocated"
HTTP_PORT = 9105
# Shorter than the defaults, so that cases are quick; far from the minimum, so that a busy machine
# does not lose a Lease that nobody took from it.
LEASE_MS, RENEW_MS = 2000, 400
PATIENCE_S = 30

SANITIZER = re.compile(r"ERROR: \w*Sanitizer|runtime error:|LeakSanitizer")
RBAC_PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{ns}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


def have_agent():
    return os.access(BINARY, os.X_OK)


class AgentError(Exception):
    """An agent did what it must not: ended by itself, or a sanitizer spoke."""


class Agent:
    """`leasehold agent` on one node."""

    def __init__(self, node, kubeconfig, workdir, flags):
        self.node, self.name = node, node.name
        self.workdir = Path(workdir) / node.name
        self.state_dir = self.workdir / "state"
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.log_file = self.workdir / "agent.log"
        self.flags = {"kubeconfig": kubeconfig, "node-name": node.name, "interface": "eth0",
                      "state-dir": self.state_dir, "http-address": f"127.0.0.1:{HTTP_PORT}",
                      "log-format": "text", "log-level": "debug", **flags}
        self.process = None

    def __repr__(self):
        return f"<agent on {self.name}>"

    def command(self, **changed):
        argv = ["setpriv", "--bounding-set",
                ",".join(["-all", *(f"+{c}" for c in CAPABILITIES)]), "--", BINARY, "agent"]
        for key, value in {**self.flags, **changed}.items():
            if value is None or value is False:
                continue
            values = value if isinstance(value, (list, tuple)) else [value]
            argv += [f"--{key}"] if value is True else \
                [word for v in values for word in (f"--{key}", str(v))]
        return argv

    def start(self, **changed):
        """Start it, without waiting; `changed` are flags that differ from now on."""
        if self.running():
            raise LabError(f"{self} runs already")
        self.flags.update(changed)
        self.process = self.node.spawn(self.command(), log=self.log_file)
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def require_running(self):
        if not self.running():
            status = None if self.process is None else self.process.returncode
            raise AgentError(f"{self} ended by itself, status {status}:\n{self.log_tail()}")

    def stop(self, timeout_s=15):
        """SIGTERM; returns (the moment before the signal in monotonic ns, the exit status)."""
        self.require_running()
        at = mono_ns()
        return at, self.process.stop(timeout_s)

    def kill9(self):
        """SIGKILL; returns the moment before it (monotonic ns)."""
        self.require_running()
        return self.process.kill9()

    def freeze(self):
        """SIGSTOP; returns the moment before it (monotonic ns)."""
        self.require_running()
        at = mono_ns()
        self.process.send_signal(signal.SIGSTOP)
        return at

    def thaw(self):
        """SIGCONT; returns the moment before it (monotonic ns)."""
        at = mono_ns()
        self.process.send_signal(signal.SIGCONT)
        return at

    def http(self, path):
        """(status, body) of a GET to the agent's own HTTP address; (0, "") when nobody answers."""
        import http.client
        import socket
        with self.node.entered():
            try:
                sock = socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=5)
            except OSError:
                return 0, ""
        connection = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=5)
        connection.sock = sock
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def ready(self):
        self.require_running()
        return self.http("/readyz")[0] == 200

    def wait_ready(self, timeout_s=PATIENCE_S):
        wait_for(self.ready, timeout_s, what=lambda: f"{self} ready:\n{self.log_tail()}")
        return self

    def metrics(self):
        """The agent's metrics, {name with labels: value}."""
        status, text = self.http("/metrics")
        if status != 200:
            raise AgentError(f"{self}: /metrics: {status}")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def status(self):
        """What `leasehold status --json` prints."""
        return json.loads(self.node.run([BINARY, "status", "--json", "--state-dir",
                                         str(self.state_dir)]))

    def cleanup(self):
        """`leasehold cleanup`: removes what an ended agent left in the kernel."""
        return self.node.run([BINARY, "cleanup", "--state-dir", str(self.state_dir)])

    def log(self):
        try:
            return self.log_file.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])


class Service:
    """A Service of the API and its EndpointSlices."""

    def __init__(self, api, body):
        self.api, self.name, self.uid = api, body["metadata"]["name"], body["metadata"]["uid"]
        self.path = f"{SERVICES}/{self.name}"

    def __repr__(self):
        return f"<service {self.name}>"

    def get(self):
        return self.api().get(self.path)

    def ingress(self):
        return self.get()["status"].get("loadBalancer", {}).get("ingress") or []

    def vips(self):
        """The addresses its status shows."""
        return [i["ip"] for i in self.ingress()]

    def allocated(self):
        return self.get()["metadata"].get("annotations", {}).get(ALLOCATED, "")

    def wait_vips(self, n=1, timeout_s=PATIENCE_S):
        """Wait until the status shows `n` addresses, and return them."""
        return wait_for(lambda: (v := self.vips()) if len(self.vips()) == n else None, timeout_s,
                        0.05, lambda: f"{n} addresses in {self.name}'s status; it is "
                        f"{self.get()['status']}, its events {self.events()}")

    def wait_no_vips(self, timeout_s=PATIENCE_S):
        wait_for(lambda: not self.vips(), timeout_s, 0.05, f"no address in {self.name}'s status")

    def events(self, reason=None):
        """Its Events as (type, reason, note)."""
        return [(e.get("type"), e.get("reason"), e.get("note") or "")
                for e in self.api().list(EVENTS)
                if e.get("regarding", {}).get("uid") == self.uid
                and reason in (None, e.get("reason"))]

    def patch(self, body):
        return self.api().patch(self.path, body)

    def set_backends(self, pods, target=ECHO_PORT):
        """Make `pods` its ready endpoints: one slice per family, every port of the Service."""
        for body in slice_bodies(self.get(), pods, target):
            try:
                self.api().create(SLICES, body)
            except ApiError as error:
                if error.status != 409:
                    raise
                self.api().patch(f"{SLICES}/{body['metadata']['name']}",
                                 {"ports": body["ports"], "endpoints": body["endpoints"]})

    def delete(self):
        self.api().delete(self.path)
        for suffix in ("v4", "v6"):
            with contextlib.suppress(ApiError):
                self.api().delete(f"{SLICES}/{self.name}-{suffix}")


def service_body(name, port=80, protocols=("TCP", "UDP"), target=ECHO_PORT, families=None,
                 policy=None, klass=CLASS, annotations=None, **spec):
    """A Service of type LoadBalancer; further keywords go to its spec as they are."""
    ports = [{"name": f"{p.lower()}-{port}", "protocol": p, "port": port, "targetPort": target}
             for p in protocols]
    body = {"metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"type": "LoadBalancer", "ports": ports, "selector": {"app": name},
                     "allocateLoadBalancerNodePorts": False, **spec}}
    if klass is not None:
        body["spec"]["loadBalancerClass"] = klass
    if families:
        body["spec"]["ipFamilies"] = list(families)
    if policy:
        body["spec"]["ipFamilyPolicy"] = policy
    return body


def slice_bodies(service, pods, target):
    """The EndpointSlices of a Service with `pods` as ready endpoints: one per family."""
    name = service["metadata"]["name"]
    ports = [{"name": p["name"], "protocol": p["protocol"], "port": target}
             for p in service["spec"]["ports"]]
    return [{
        "metadata": {"name": f"{name}-{suffix}", "labels": {"kubernetes.io/service-name": name}},
        "addressType": kind, "ports": ports,
        "endpoints": [{"addresses": [getattr(pod, attribute)], "nodeName": pod.node.name,
                       "conditions": {"ready": True, "serving": True, "terminating": False}}
                      for pod in pods]}
        for suffix, kind, attribute in (("v4", "IPv4", "ip4"), ("v6", "IPv6", "ip6"))]


def bulk(client, calls, connections=4):
    """Many requests [(method, path, body)] over a few connections that stay open; the answers.

    A TLS handshake for each of thousands would cost more than what is tested.
    """
    def share(mine):
        answers, connection = [], client._connection(client.timeout)  # pylint: disable=protected-access
        with contextlib.closing(connection):
            for method, path, body in mine:
                connection.request(method, path, None if body is None else json.dumps(body),
                                   {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status // 100 != 2 and (method, response.status) != ("DELETE", 404):
                    raise ApiError(method, path, response.status, answer)
                answers.append(answer)
        return answers

    shares = [calls[i::connections] for i in range(connections)]
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        done = list(pool.map(share, shares))
    return [done[i % connections][i // connections] for i in range(len(calls))]


def chart_objects(plane):
    """The chart's objects: from `helm template` where helm is built, else `leasehold manifest`."""
    try:
        text = plane.helm("template", "leasehold", str(CHART), "--namespace", NAMESPACE,
                          "--set", f"pool={{{POOL4}}}")
    except NotBuilt:
        done = subprocess.run([BINARY, "manifest", "--namespace", NAMESPACE, "--pool", POOL4], text=True,
                              capture_output=True, timeout=30, check=False)
        if done.returncode != 0:
            raise AgentError(f"leasehold manifest: {done.stderr.strip()}") from None
        text = done.stdout
    return [o for o in yaml.safe_load_all(text) if o]


def install_rbac(plane):
    """Create the chart's ServiceAccount and rights; the path of a kubeconfig with its token."""
    accounts = []
    for body in chart_objects(plane):
        path = RBAC_PATHS.get(body["kind"])
        if path is None:
            continue
        if body["kind"] == "ServiceAccount":
            accounts.append(body["metadata"]["name"])
        with contextlib.suppress(ApiError):
            plane.api.create(path.format(ns=body["metadata"].get("namespace", NAMESPACE)), body)
    if accounts != ["leasehold"]:
        raise AgentError(f"the chart's ServiceAccounts are {accounts}, not one named leasehold")
    return plane.kubeconfig_for_serviceaccount(NAMESPACE, "leasehold")


class Observation:
    """What probes saw of some VIPs: `traces` by VIP (`slow`: the slow client's), `neigh` and `claims` once stopped."""

    def __init__(self, cluster, probes, neigh, wire):
        self._cluster, self._probes, self._neigh, self._wire = cluster, probes, neigh, wire
        self._vips = sorted({vip for _, vip in probes})
        self.traces = self.slow = self.neigh = self.claims = None

    def wait_answers(self, after=None, timeout_s=PATIENCE_S):
        """Wait until every VIP answered a client and an ARP/NDP request after a moment (now)."""
        after = mono_ns() if after is None else after
        for probe in self._probes.values():
            probe.wait_answer_after(after, timeout_s)
            probe.wait_answered(20, timeout_s)
        self._neigh.wait_answered(2 * len(self._vips), timeout_s)

    def wait_heard(self, vips, mac, timeout_s=PATIENCE_S):
        """Wait until that MAC was the last to answer or announce for each VIP."""
        self._wire.wait(lambda s: all(s["latest"].get(vip, (0, ""))[1] == mac for vip in vips), timeout_s,
                        f"{mac} to be heard for {vips}")

    def stop(self):
        found = {key: probe.stop() for key, probe in self._probes.items()}
        self.traces = {vip: trace for (host, vip), trace in found.items() if host is self._cluster.lab.client}
        self.slow = {vip: trace for (host, vip), trace in found.items() if host is self._cluster.lab.slow}
        self.neigh, self.claims = self._neigh.stop(), self._wire.stop()
        return self

    def require_one_claimant(self):
        """Nobody saw two nodes stand for a VIP: neither one who asked, nor the wire."""
        macs = self._cluster.lab.mac_owner
        both = self.neigh.two_macs() + self.claims.overlaps(kinds=NEIGHBOUR_KINDS)
        if both:
            raise AgentError("two nodes stood for " + "; ".join(
                f"{o.vip} for {o.ms:.1f} ms: {[macs(m) for m in o.macs]}" for o in both))

    def two_macs_ms(self):
        """Milliseconds in which two MACs answered for a VIP, of that VIP which had most."""
        times = [[o.ms for o in self.claims.two_macs(vip)] for vip in self._vips]
        return max(map(sum, times), default=0)


class Cluster:
    """A lab with an API server and agents, for one case."""

    def __init__(self, lab, plane, kubeconfig, workdir):
        self.lab, self.plane, self.kubeconfig = lab, plane, kubeconfig
        self.workdir = Path(workdir)
        self.agents = {}

    def api(self):
        """The client of a running API server."""
        return self.plane.api

    # -- agents ------------------------------------------------------------------------------

    def agent(self, node, **flags):
        """Make (not start) the agent of a node."""
        flags = {"pool": [POOL4, POOL6], "lease-duration": f"{LEASE_MS}ms",
                 "renew-interval": f"{RENEW_MS}ms", **{k.replace("_", "-"): v for k, v in flags.items()}}
        agent = Agent(node, self.kubeconfig, self.workdir, flags)
        self.agents[node.name] = agent
        return agent

    def start_agents(self, nodes=None, **flags):
        """Start agents on all nodes (or those given) and wait until each is ready."""
        for node in nodes or self.lab.nodes:
            self.agent(node, **flags).start()
        for agent in self.agents.values():
            agent.wait_ready()
        return list(self.agents.values())

    def serve(self, backends=None, **flags):
        """Agents on all nodes and a dual-stack Service that answers: (Service, VIPs, the holder's agent)."""
        self.start_agents(**flags)
        service = self.service(backends=backends, policy="RequireDualStack")
        vips = service.wait_vips(2)
        for vip in vips:
            self.wait_on_one_node(vip)
            self.reach_all(self.lab.client, vip, self.lab.pods if backends is None else backends)
        return service, vips, self.wait_holder()

    def others(self, *agents):
        """The agents but for these."""
        return [agent for agent in self.agents.values() if agent not in agents]

    def only_answers(self, vips, agent, asks=50):
        """From now on this agent's node alone answers who-has for each VIP."""
        with NeighProbe(self.lab, vips) as probe:
            probe.wait_answered(asks * len(vips), PATIENCE_S)
            trace = probe.stop()
        if set(trace.macs()) != {agent.node.mac} or trace.duplicates():
            raise AgentError(f"who answers: {({self.lab.mac_owner(m): n for m, n in trace.macs().items()})}, "
                             f"not {agent} alone")

    def settle_on(self, vips, agent, pods=None):
        """Wait until each VIP is on that agent's node, and reaches all the pods."""
        for vip in vips:
            self.wait_on_one_node(vip, agent.node)
            self.reach_all(self.lab.client, vip, pods or self.lab.pods, "TCP")

    def settle_on_wire(self, vips, agent, timeout_s=PATIENCE_S):
        """Wait until that agent's node answers who-has for each VIP; what an old holder keeps in its kernel is its own."""
        with Sniffer(self.lab, vips) as wire, NeighProbe(self.lab, vips, record=False):
            wire.wait(lambda s: all(s["latest"].get(vip, (0, ""))[1] == agent.node.mac for vip in vips), timeout_s,
                      f"{agent} to answer for {vips}")

    def stop_agents(self):
        """End all agents in order.  An exit status but 0, or a sanitizer's word, is an error."""
        problems = []
        for agent in self.agents.values():
            if agent.running():
                try:
                    _, status = agent.stop()
                    if status != 0:
                        problems.append(f"{agent}: exit status {status}\n{agent.log_tail(10)}")
                except LabError as error:
                    problems.append(str(error))
            if SANITIZER.search(agent.log()):
                problems.append(f"{agent}: a sanitizer spoke\n{agent.log_tail(60)}")
        if problems:
            raise AgentError("\n".join(problems))

    # -- Services ----------------------------------------------------------------------------

    def service(self, name="web", backends=None, target=ECHO_PORT, **kwargs):
        """Create a Service and its EndpointSlices (all pods unless told); returns it at once."""
        body = self.api().create(SERVICES, service_body(name, target=target, **kwargs))
        for part in slice_bodies(body, self.lab.pods if backends is None else backends, target):
            self.api().create(SLICES, part)
        return Service(self.api, body)

    def services(self, n, prefix="many", **kwargs):
        """Create `n` Services at once, as fast as the API server takes them."""
        bodies = [service_body(f"{prefix}-{i:03d}", **kwargs) for i in range(n)]
        parts = [part for body in bodies for part in slice_bodies(body, self.lab.pods, ECHO_PORT)]
        made = bulk(self.api(), [("POST", SERVICES, b) for b in bodies]
                    + [("POST", SLICES, p) for p in parts])
        return [Service(self.api, body) for body in made[:n]]

    def delete_all(self):
        """Delete every Service, EndpointSlice and Event of the case."""
        api = self.api()
        bulk(api, [("DELETE", f"{path}/{o['metadata']['name']}", None)
                   for path in (SERVICES, SLICES, EVENTS) for o in api.list(path)
                   if o["metadata"]["name"] != "kubernetes"])

    def start_handover(self, *arguments, kubeconfig=None, host=None):
        """Start `leasehold handover ARGUMENTS`, as an administrator elsewhere unless told; the process."""
        return (host or self.lab.api).spawn(
            [BINARY, "handover", "--kubeconfig", str(kubeconfig or self.plane.admin_kubeconfig), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def handover(self, *arguments, timeout_s=30, **whence):
        """The same to its end: (the moment before in monotonic ns, the exit status, what it printed)."""
        at = mono_ns()
        process = self.start_handover(*arguments, **whence)
        out, _ = process.communicate(timeout=timeout_s)
        return at, process.returncode, out

    # -- who and what ------------------------------------------------------------------------

    def lease(self, group=0):
        """The Lease of a group, or None."""
        try:
            return self.api().get(f"{LEASES}/leasehold-group-{group}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def lease_holder(self, group=0):
        """The name of the node that the Lease names, or ""."""
        lease = self.lease(group)
        identity = (lease or {}).get("spec", {}).get("holderIdentity") or ""
        return identity.split("_")[0]

    def wait_holder(self, but=None, timeout_s=PATIENCE_S):
        """Wait until the Lease names a node (other than `but`), and return that agent."""
        name = wait_for(lambda: (h := self.lease_holder()) and h != (but and but.name) and h,
                        timeout_s, 0.05, lambda: f"a holder; the Lease is {self.lease()}")
        return self.agents[name]

    def nodes_with(self, vip):
        """The nodes whose kernel has the address."""
        return [node for node in self.lab.nodes if vip in node.addresses()]

    def wait_on_one_node(self, vip, node=None, timeout_s=PATIENCE_S):
        """Wait until exactly one node (`node`, if given) has the address; returns that node."""
        def one():
            nodes = self.nodes_with(vip)
            return nodes[0] if len(nodes) == 1 and node in (None, nodes[0]) else None
        return wait_for(one, timeout_s, 0.05, lambda: f"{vip} on one node ({node or 'any'}); it is on "
                        f"{self.nodes_with(vip)}")

    def wait_gone(self, vip, timeout_s=PATIENCE_S):
        """Wait until no node has the address and no table of ours names it."""
        wait_for(lambda: not self.nodes_with(vip), timeout_s, 0.05, f"{vip} to be on no node")
        wait_for(lambda: not any(self.in_table(node, vip) for node in self.lab.nodes), timeout_s,
                 0.05, f"{vip} to be in no table")

    @staticmethod
    def table(node):
        """The text of our table on a node, "" where there is none."""
        names = [o["table"]["name"] for o in node.nft_json("list", "tables") if "table" in o]
        return node.nft("list", "table", "inet", "leasehold") if "leasehold" in names else ""

    def in_table(self, node, address):
        """Whether our table on a node names an address."""
        return re.search(rf"(?<![0-9a-f:.]){re.escape(address)}(?![0-9a-f:.])",
                         self.table(node)) is not None

    # -- reaching ----------------------------------------------------------------------------

    @staticmethod
    def probe(host, vip, protocol="UDP", port=80):
        """A probe with a new flow for every question."""
        if protocol == "UDP":
            return UdpProbe(host, vip, port, interval_ms=4, fresh=True, linger_ms=20)
        return TcpProbe(host, vip, port, interval_ms=10, linger_ms=20)

    def reach_all(self, host, vip, backends, protocol="UDP", port=80, timeout_s=PATIENCE_S):
        """Ask from a host until every one of `backends` has answered; LabError names who did not."""
        want = names_of(backends)
        with self.probe(host, vip, protocol, port) as probe:
            probe.wait(lambda s: set(s["names"]) >= want, timeout_s,
                       f"{host.name} to reach all of {sorted(want)} at {vip} {protocol} {port}")
            trace = probe.stop()
        strangers = set(trace.backends()) - want
        if strangers:
            raise AgentError(f"{vip} {protocol}: answers from {strangers}")
        return trace

    def reach_only(self, host, vip, backends, protocol="UDP", port=80, timeout_s=PATIENCE_S):
        """Ask until a whole round of new flows is answered by exactly `backends`."""
        want = names_of(backends)
        seen = {}

        def round_of_flows():
            with self.probe(host, vip, protocol, port) as probe:
                with contextlib.suppress(TimeoutError):
                    probe.wait(lambda s: s["answered"] >= 25 * max(len(want), 1), 5)
                seen["last"] = set(probe.stop().backends())
            return seen["last"] == want
        wait_for(round_of_flows, timeout_s, 0.05,
                 lambda: f"only {sorted(want)} at {vip} {protocol} {port}; last {seen}")

    def unreachable(self, host, vip, protocol="UDP", port=80, timeout_s=PATIENCE_S):
        """Ask until a round of questions gets no answer at all."""
        def silent():
            with self.probe(host, vip, protocol, port) as probe:
                probe.wait(lambda s: s["sent"] >= 20, 10, "20 questions")
                return not probe.stop().answered()
        wait_for(silent, timeout_s, 0.05, f"no answer from {vip} {protocol} {port}")

    @contextlib.contextmanager
    def observed(self, vips, interval_ms=2, data=False, slow=False):
        """Probes on every VIP while the case makes something happen; yields an Observation.

        data: the wire's claims have IP from the VIPs, too.  slow: host `slow` asks, too.
        """
        with contextlib.ExitStack() as stack:
            probes = {(host, vip): stack.enter_context(UdpProbe(host, vip, 80, interval_ms)) for vip in vips
                      for host in ((self.lab.client, self.lab.slow) if slow else (self.lab.client,))}
            neigh = stack.enter_context(NeighProbe(self.lab, vips, interval_ms=10))
            wire = stack.enter_context(Sniffer(self.lab, vips, data=data))
            for probe in probes.values():
                probe.wait_answered(10)
            yield Observation(self, probes, neigh, wire)

    # -- end ---------------------------------------------------------------------------------

    def clear(self):
        """Bring API, lab and nodes back to where the next case expects them."""
        for agent in self.agents.values():
            if agent.running():
                agent.kill9()
        self.lab.heal()
        for node in self.lab.nodes:
            self.lab.plug(node)
        for node in self.lab.nodes:
            wait_for(node.carrier, what=f"carrier of {node.name}")
            for family in ("inet", "arp"):
                node.nft(script=f"table {family} leasehold {{ }}\ndelete table {family} leasehold\n")
            if any(q["kind"] == "clsact" for q in node.qdiscs()):
                node.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])
            node.delete_addresses(a for a, entry in node.addresses().items()
                                  if a not in (node.ip4, node.ip6) and entry["scope"] != "link")
        for host in (self.lab.client, self.lab.watch, self.lab.slow, *self.lab.nodes):
            host.flush_neighbours()
        self.delete_all()
        api = self.api()
        for lease in api.list(LEASES):
            if lease["metadata"]["name"].startswith("leasehold-"):
                with contextlib.suppress(ApiError):
                    api.delete(f"{LEASES}/{lease['metadata']['name']}")


def names_of(backends):
    """What hosts, or names themselves, answer with."""
    return {b if isinstance(b, str) else b.name for b in backends}


def address_list(text):
    """The addresses of an annotation, in order."""
    return [a.strip() for a in text.split(",") if a.strip()]


