"""The data plane's part of `make bench` (ONLY=dataplane): Leasehold beside real kube-proxy in nftables mode.

    SIZES=1000,5000,10000   Services, each with one TCP port and 10 endpoints that no other has
    PER_VIP=50              Services that share a VIP; at most 4,000 VIPs
    CHANGES=11              Services added, and endpoints changed, at each size
    ROUNDS=25               of the paths that are compared, 0: none

One control plane (kube-apiserver and etcd) and three nodes of one shape, a pod behind each that stands for every
endpoint: node1 has Leasehold, node2 kube-proxy, node3 one DNAT rule written by hand.  Who is measured runs alone, but for
the comparison of paths, where all stand idle beside the one that carries traffic.

    start    from the exec of the process, with nothing in the kernel, until the last frontend is in the kernel's map
             (NFTA_SET_COUNT) and the process says that all is done; then every Service is asked and must answer from an
             endpoint of its own.  kube-proxy serves a ClusterIP and the VIP of each Service: twice the frontends.
    change   from the moment before the request to the API server to the first connection that reaches the new endpoint; the
             prober begins one every PROBE_US.  Leasehold's new Services get a port of a VIP; kube-proxy's, which
             allocates nothing, a ClusterIP.  A changed endpoint is one of ten, so that one question in ten finds it.
    nft      the longest single send of a transaction to nf_tables (tracefs), which returns when it is committed
    kernel   memory that went when the table was deleted: unreclaimable slab, per-CPU and vmalloc, of the whole machine
"""

import contextlib
import ipaddress
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from e2e.agents import SERVICES, SLICES, Agent, bulk, install_rbac, service_body  # noqa: E402
from kube.client import ApiError  # noqa: E402
from kube.cluster import ControlPlane  # noqa: E402
from kube.process import Process  # noqa: E402
from netns.lab import Lab, LabError, mono_ns, wait_for  # noqa: E402
from meters import CHANGE_S, LOAD, Load, SendTrace, TooSlow, memory, set_counts, settled_kernel_memory  # noqa: E402

PORT, SINK = 8080, 9000
START_S = 900
ENOUGH_S = 120          # of changes, once there is one of each: kube-proxy may take minutes for one
CONNECTIONS = 32        # at a time, where the rate is measured
ROUND_MS = 400          # short, so that what else the machine does hits all paths alike
MIN_SYNC = "10ms"       # kube-proxy's; its default is 1 s
AIM_ELEMENTS, AIM_MB, AIM_CHANGE_MS, AIM_THROUGHPUT = 100000, 60, 20, 0.95

# Endpoints are numbered from 198.18.0.0 on: 10,000 Services with 10 each end before 198.19.135.0.
FIRST_ENDPOINT = int(ipaddress.ip_address("198.18.0.0"))
NEW_ENDPOINTS = int(ipaddress.ip_address("198.19.136.0")) - FIRST_ENDPOINT
PATH_ENDPOINTS = int(ipaddress.ip_address("198.19.143.0")) - FIRST_ENDPOINT
ENDPOINT_NETS = ("198.18.0.0/16", "198.19.0.0/17", "198.19.128.0/20")
CLUSTER_IPS = "198.19.192.0/18"
FIRST_CLUSTER_IP = int(ipaddress.ip_address("198.19.192.16"))
VIPS = "203.0.113.0/24"
PATH_VIPS = {"leasehold": "203.0.113.249", "kube-proxy": "203.0.113.250", "hand": "203.0.113.251"}
MANY_VIPS = "198.19.144.0/20"
NODES_OF_ENDPOINTS = 100    # node1 has every hundredth endpoint


def endpoint(number):
    return str(ipaddress.ip_address(FIRST_ENDPOINT + number))


# ---- objects -----------------------------------------------------------------------------------

class Objects:
    """What is in the API: Service i has the endpoints 10 i .. 10 i + 9, and a port of VIP i / PER_VIP."""

    def __init__(self, plane, endpoints, per_vip, most):
        self.plane, self.endpoints, self.per_vip = plane, endpoints, per_vip
        net = VIPS if most <= 240 * per_vip else MANY_VIPS
        self.first_vip = ipaddress.ip_network(net).network_address + 1
        self.count = 0
        self.cluster_ips = {}   # by name
        self.vips = {}          # (address, port) by name
        self.backends = {}      # list of addresses by name

    def api(self):
        return self.plane.api

    def vip(self, i):
        return str(self.first_vip + i // self.per_vip)

    def bodies(self, name, vip, port, key, addresses, target=PORT):
        service = service_body(name, port=port, protocols=["TCP"], target=target,
                               annotations={"leasehold.io/addresses": vip, "leasehold.io/sharing-key": key})
        self.vips[name], self.backends[name] = (vip, port), addresses
        return service, self.slice_body(name, port, addresses, target)

    @staticmethod
    def slice_body(name, port, addresses, target=PORT):
        return {"metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
                "ports": [{"name": f"tcp-{port}", "protocol": "TCP", "port": target}],
                "endpoints": [{"addresses": [a], "conditions": {"ready": True},
                               "nodeName": f"node{int(ipaddress.ip_address(a)) % NODES_OF_ENDPOINTS + 1}"}
                              for a in addresses]}

    def grow(self, count):
        """Create what is missing up to `count` Services; seconds."""
        made = [self.bodies(f"svc-{i:05d}", self.vip(i), 1000 + i % self.per_vip, f"key-{i // self.per_vip}",
                            [endpoint(i * self.endpoints + k) for k in range(self.endpoints)])
                for i in range(self.count, count)]
        began = time.monotonic()
        bulk(self.api(), [("POST", SLICES, part) for _, part in made], 8)
        for i, (body, _) in enumerate(made, self.count):    # the API server's search for a free one takes long
            body["spec"]["clusterIP"] = str(ipaddress.ip_address(FIRST_CLUSTER_IP + i))
        for answer in bulk(self.api(), [("POST", SERVICES, body) for body, _ in made], 8):
            self.cluster_ips[answer["metadata"]["name"]] = answer["spec"]["clusterIP"]
        self.count = count
        return time.monotonic() - began

    def paths(self):
        """The Services that connections and streams go through."""
        for n, (who, vip) in enumerate(PATH_VIPS.items()):
            if who == "hand":
                continue
            addresses = [endpoint(PATH_ENDPOINTS + 50 * n + k) for k in range(self.endpoints)]
            for k, (port, target) in enumerate(((80, PORT), (81, SINK))):
                service, part = self.bodies(f"path-{who}-{port}", vip, port, f"path-{who}", addresses, target)
                service["spec"]["clusterIP"] = str(ipaddress.ip_address(FIRST_CLUSTER_IP - 2 * n - k - 1))
                self.api().create(SLICES, part)
                answer = self.api().create(SERVICES, service)
                self.cluster_ips[answer["metadata"]["name"]] = answer["spec"]["clusterIP"]

    def names(self):
        return list(self.cluster_ips)


# ---- who is compared ---------------------------------------------------------------------------

class Proxy:
    """Leasehold or kube-proxy on a node of its own."""

    name, family, table, frontends = None, None, None, None

    def __init__(self, bench, node):
        self.bench, self.node = bench, node

    def pid(self):
        raise NotImplementedError

    def counts(self):
        return set_counts(self.node, self.family, self.table)

    def expected(self):
        raise NotImplementedError

    def timed_start(self):
        """Seconds until all is there, and those of them since the first element was."""
        began, first = time.monotonic(), []
        self.start()

        def complete():
            self.require_running()
            counts = self.counts()
            if not first and counts.get(self.frontends):
                first.append(time.monotonic())
            return counts.get(self.frontends, 0) >= self.expected() and self.done()     # the cheap one first
        wait_for(complete, START_S, 0.01, lambda: f"{self.name} to be complete; {self.counts()}")
        return time.monotonic() - began, time.monotonic() - first[0]

    def check(self):
        """Every Service answers from an endpoint of its own."""
        names = [n for n in self.bench.objects.names() if not n.endswith("-81")]
        answers = Load.talk(self.bench.client, [self.target(n) for n in names])
        bad = [(n, a) for n, a in zip(names, answers) if a.split()[0] not in self.bench.objects.backends[n]]
        if bad:
            raise LabError(f"{self.name}: {len(bad)} of {len(names)} Services do not answer as they should: {bad[:3]}")

    def delete_table(self):
        """KiB of kernel memory that went with it."""
        before = settled_kernel_memory()
        self.node.run(["nft", "delete", "table", self.family, self.table], timeout=300)
        return before - settled_kernel_memory()


class Leasehold(Proxy):
    name, family, table, frontends = "leasehold", "inet", "leasehold", "dispatch4"

    def __init__(self, bench, node, kubeconfig):
        super().__init__(bench, node)
        self.agent = Agent(node, kubeconfig, bench.workdir / "leasehold", {
            "pool": [VIPS, MANY_VIPS], "lease-duration": "10s", "renew-interval": "1s", "log-level": "info"})

    def pid(self):
        return self.agent.process.pid

    def start(self):
        self.agent.start()

    def stop(self):
        self.agent.stop(60)

    def require_running(self):
        self.agent.require_running()

    def done(self):
        # Not /metrics: with counters of every Service and backend that is megabytes.
        return self.agent.ready() and {vip for vip, _ in self.bench.objects.vips.values()} <= set(self.node.addresses())

    def expected(self):
        return len(self.bench.objects.names())

    def target(self, name):
        return self.bench.objects.vips[name]

    def is_transaction(self, _, tid):
        return tid != self.pid()    # the workers send it

    def new_service(self, number):
        """(name, body, slice, where to ask)."""
        objects = self.bench.objects
        name, port = f"new-{number}", 20000 + number
        service, part = objects.bodies(name, objects.vip(0), port, "key-0", self.bench.new_endpoints())
        return name, service, part, (objects.vip(0), port)


class KubeProxy(Proxy):
    name, family, table, frontends = "kube-proxy", "ip", "kube-proxy", "service-ips"

    def __init__(self, bench, node):
        super().__init__(bench, node)
        plane = bench.plane
        kubeconfig = plane.kubeconfig_for_certificate("kube-proxy", "system:kube-proxy")
        configuration = bench.workdir / "kube-proxy.json"
        configuration.write_text(json.dumps({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
            "clientConnection": {"kubeconfig": str(kubeconfig)}, "hostnameOverride": node.name,
            "detectLocalMode": "ClusterCIDR", "clusterCIDR": ENDPOINT_NETS[0], "nftables": {"minSyncPeriod": MIN_SYNC},
            # Not its to change: these sysctls belong to the whole machine.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}}),
            encoding="ascii")
        self.process = Process("kube-proxy", [plane.bin / "kube-proxy", f"--config={configuration}"], bench.workdir,
                               node.netns)

    def pid(self):
        return self.process.pid

    def start(self):
        self.process.start()

    def stop(self):
        self.process.stop()

    def require_running(self):
        self.process.require_alive()

    def done(self):
        return True     # one transaction: all of it or nothing

    def expected(self):
        return 2 * len(self.bench.objects.names()) + 1   # and default/kubernetes

    def target(self, name):
        return self.bench.objects.cluster_ips[name], self.bench.objects.vips[name][1]

    def is_transaction(self, comm, _):
        return comm == "nft"

    def new_service(self, number):
        name, port = f"new-{number}", 20000 + number
        taken = set(self.bench.objects.cluster_ips.values())
        address = next(a for a in (f"198.19.255.{i}" for i in range(1, 250)) if a not in taken)
        part = self.bench.objects.slice_body(name, port, self.bench.new_endpoints())
        body = service_body(name, port=port, protocols=["TCP"], target=PORT, klass=None)
        body["spec"].update(type="ClusterIP", clusterIP=address)
        del body["spec"]["allocateLoadBalancerNodePorts"]
        return name, body, part, (address, port)


# ---- the bench ---------------------------------------------------------------------------------

class DataPlane:
    def __init__(self, note):
        env = os.environ.get
        self.sizes = [int(n) for n in env("SIZES", "1000,5000,10000").split(",")]
        self.changes, self.rounds = int(env("CHANGES", "11")), int(env("ROUNDS", "25"))
        self.with_proxy = env("KUBE_PROXY", "yes") == "yes"
        self.note, self.figures = note, {"sizes": {}}
        self.rows = []      # (what, leasehold, kube-proxy, unit, aim, met)
        self.new = 0
        self.random = random.Random(1)

    def new_endpoints(self):
        self.new += 10
        return [endpoint(NEW_ENDPOINTS + self.new % 1700 + k) for k in range(10)]

    # -- the lab ---------------------------------------------------------------------------

    def prepare_lab(self):
        """Behind each node a pod that has all endpoints' addresses; the client knows the ways."""
        for node, pod in zip(self.lab.nodes, self.lab.pods):
            for net in ENDPOINT_NETS:
                pod.ip("route", "add", "local", net, "dev", "lo")
                node.ip("route", "replace", net, "via", pod.ip4, "dev", pod.name)
            node.sysctls({"netfilter/nf_conntrack_tcp_timeout_close": 1})
            self.lab.await_ready(pod.spawn(["taskset", "-c", str(self.cpus[-1]), LOAD, "serve", str(PORT), str(SINK)],
                                           stdout=subprocess.PIPE))
        node1, node2, node3 = self.lab.nodes
        for net, via in [*((net, node3) for net in ENDPOINT_NETS), (CLUSTER_IPS, node2),
                         (PATH_VIPS["kube-proxy"], node2), (PATH_VIPS["hand"], node3)]:
            self.client.ip("route", "replace", net, "via", via.ip4)
        self.client.ip("route", "replace", MANY_VIPS, "dev", "eth0", "scope", "link")
        self.client.sysctls({"ipv4/ip_local_port_range": "1024 65535"})
        del node1
        self.hand = endpoint(PATH_ENDPOINTS + 200)
        node3.nft(script=f"""
            table ip hand {{
                chain before {{
                    type nat hook prerouting priority -100;
                    ip daddr {PATH_VIPS["hand"]} tcp dport 80 dnat to {self.hand}:{PORT}
                    ip daddr {PATH_VIPS["hand"]} tcp dport 81 dnat to {self.hand}:{SINK}
                }}
                chain after {{
                    type nat hook postrouting priority 100;
                    ct status dnat masquerade
                }}
            }}""")

    def make_nodes(self):
        for node in self.lab.nodes[:2]:
            self.plane.api.create("/api/v1/nodes", {"metadata": {"name": node.name}})
            self.plane.api.patch(f"/api/v1/nodes/{node.name}/status", {"status": {"addresses": [
                {"type": "InternalIP", "address": node.ip4}, {"type": "Hostname", "address": node.name}]}})

    # -- one size --------------------------------------------------------------------------

    def start_of(self, proxy, found):
        """A start with nothing in the kernel, checked; memory, elements."""
        found["start_s"], found["load_s"] = proxy.timed_start()
        counts = proxy.counts()
        found["elements"], found["sets"] = sum(counts.values()), counts
        proxy.check()
        self.rest(proxy)
        found["memory_mib"] = memory(proxy.pid())
        self.note(f"{proxy.name}: complete in {found['start_s']:.1f} s, {found['elements']} elements, "
                  f"RssAnon {found['memory_mib']['RssAnon']:.1f} MB")

    @staticmethod
    def rest(proxy, seconds=2):
        """Wait until the process uses hardly any CPU for so long."""
        def cpu():
            with open(f"/proc/{proxy.pid()}/stat", "rb") as f:
                fields = f.read().rpartition(b")")[2].split()
            return int(fields[11]) + int(fields[12])

        def idle():
            before = cpu()
            time.sleep(seconds)
            return cpu() - before <= 5 * seconds    # hundredths of a second: 5 %
        with contextlib.suppress(TimeoutError):
            wait_for(idle, 120, 0, "rest")

    def changes_of(self, proxy, found):
        found["add_ms"], found["change_ms"], found["nft_ms"], found["api_ms"] = [], [], [], []
        self.trace.on(proxy.pid())
        began = time.monotonic()
        try:
            for done in range(self.changes):
                if done and time.monotonic() - began > ENOUGH_S:
                    break
                self.add_one(proxy, found)
                self.change_one(proxy, found)
        except TooSlow as error:
            self.note(f"{proxy.name}: {error}")
        finally:
            self.trace.off()
        self.note(f"{proxy.name}: add {spread(found['add_ms'])} ms, change {spread(found['change_ms'])} ms, "
                  f"API {spread(found['api_ms'])} ms, nft {spread(found['nft_ms'])} ms")

    def timed(self, proxy, target, backend, write, found):
        """ms from the call of write() until the first connection that reaches the backend was begun."""
        with Load.first(self.client, *target, backend) as moment:
            time.sleep(0.05 + self.random.random() / 20)
            at = mono_ns()
            write()
            replied = mono_ns()
            reached = moment()
        nft = self.trace.longest_ms(at, mono_ns(), proxy.is_transaction)
        if nft is not None:
            found["nft_ms"].append(nft)
        found["api_ms"].append((replied - at) / 1e6)
        self.rest(proxy, 0.5)
        return (reached - at) / 1e6

    def add_one(self, proxy, found):
        name, body, part, target = proxy.new_service(self.new)
        with Session(self.plane.api) as api:
            api("POST", SLICES, part)
            time.sleep(0.2)
            found["add_ms"].append(self.timed(proxy, target, "-", lambda: api("POST", SERVICES, body), found))
        with Session(self.plane.api) as api:    # the server closes a connection that was idle for 90 s
            api("DELETE", f"{SERVICES}/{name}")
            api("DELETE", f"{SLICES}/{name}")
        self.rest(proxy, 0.5)

    def change_one(self, proxy, found):
        objects = self.objects
        name = f"svc-{self.random.randrange(objects.count):05d}"
        new = self.new_endpoints()[0]
        objects.backends[name] = [*objects.backends[name][1:], new]
        body = objects.slice_body(name, objects.vips[name][1], objects.backends[name])
        with Session(self.plane.api) as api:
            found["change_ms"].append(self.timed(
                proxy, proxy.target(name), new, lambda: api("PUT", f"{SLICES}/{name}", body), found))

    def one_size(self, size):
        found = self.figures["sizes"].setdefault(str(size), {"leasehold": {}, "kube-proxy": {}})
        found["create_s"] = self.objects.grow(size)
        self.note(f"{size} Services created in {found['create_s']:.1f} s")
        ours, theirs = found["leasehold"], found["kube-proxy"]
        # All that is new gets its address, which is written down, and its status.
        ours["allocate_s"], _ = self.leasehold.timed_start()
        wait_for(self.all_have_status, 300, 0.5, "status of all Services")
        self.note(f"leasehold: all have addresses and status after {ours['allocate_s']:.1f} s")
        self.rest(self.leasehold)
        self.leasehold.stop()
        self.leasehold.agent.cleanup()

        self.start_of(self.leasehold, ours)
        self.changes_of(self.leasehold, ours)
        self.leasehold.stop()
        ours["kernel_mib"] = self.leasehold.delete_table() / 1024
        self.leasehold.agent.cleanup()
        if self.with_proxy:
            self.start_of(self.kube_proxy, theirs)
            self.changes_of(self.kube_proxy, theirs)
            if size != self.sizes[-1] or not self.rounds:
                self.kube_proxy.stop()
                theirs["kernel_mib"] = self.kube_proxy.delete_table() / 1024

    def all_have_status(self):
        return all(o["status"].get("loadBalancer", {}).get("ingress") for o in self.plane.api.list(SERVICES)
                   if o["spec"]["type"] == "LoadBalancer")

    # -- paths -----------------------------------------------------------------------------

    def compare_paths(self):
        """Rounds in which each path has its turn, beginning with another one each time."""
        self.leasehold.timed_start()
        self.leasehold.check()
        self.rest(self.leasehold)
        ways = {"direct": (self.hand, PORT, SINK), "hand": (PATH_VIPS["hand"], 80, 81),
                "leasehold": (PATH_VIPS["leasehold"], 80, 81)}
        if self.with_proxy:
            ways["kube-proxy"] = (PATH_VIPS["kube-proxy"], 80, 81)

        def rate(address, port, _):
            answered, failed, ms = map(float, Load.run(self.client, "rate", ROUND_MS, CONNECTIONS, address, port,
                                                       cpu=self.cpus[0]))
            if failed > answered / 1000:
                raise LabError(f"{address}: {failed:.0f} connections failed")
            return answered / ms * 1000

        def streams(n):
            def mbits(address, _, port):
                sent, ms = map(float, Load.run(self.client, "send", ROUND_MS, n, address, port, cpu=self.cpus[0]))
                return sent * 8 / ms / 1000
            return mbits

        def everywhere(address, port, _):
            """Connections to a thousand Services in turn."""
            names = self.random.sample([f"svc-{i:05d}" for i in range(self.objects.count)], min(1000, self.objects.count))
            targets = [(self.leasehold if address == "leasehold" else self.kube_proxy).target(n) for n in names]
            answered, _, ms = map(float, Load.run(self.client, "rate", ROUND_MS, CONNECTIONS,
                                                  *(w for t in targets for w in t), cpu=self.cpus[0]))
            return answered / ms * 1000

        both = {name: (name, 0, 0) for name in ("leasehold", "kube-proxy") if name in ways}
        self.figures["paths"] = {
            "connections": self.turns(ways, rate), "connections to 1,000 Services": self.turns(both, everywhere),
            "1 stream": self.turns(ways, streams(1)), "4 streams": self.turns(ways, streams(4))}
        # Each packet for itself: no segments of 64 KB that pass the rules as one.
        self.client.ip("link", "set", "eth0", "gso_max_segs", "1")
        self.figures["paths"]["1 stream, packets of 1,500 bytes"] = self.turns(ways, streams(1))
        self.leasehold.stop()
        if self.with_proxy:
            self.kube_proxy.stop()
            self.figures["sizes"][str(self.sizes[-1])]["kube-proxy"]["kernel_mib"] = self.kube_proxy.delete_table() / 1024

    def turns(self, ways, measure):
        """{way: [figure of each round]}"""
        found = {way: [] for way in ways}
        order = list(ways)
        for _ in range(self.rounds):
            for way in order:
                found[way].append(measure(*ways[way]))
            order.append(order.pop(0))
        return found

    # -- all -------------------------------------------------------------------------------

    def run(self):
        if not os.access(LOAD, os.X_OK):
            raise LabError(f"{LOAD} is missing: make bench builds it")
        self.cpus = sorted(os.sched_getaffinity(0))
        with contextlib.ExitStack() as stack:
            self.lab = stack.enter_context(Lab(pods_per_node=1, pod_network="direct", echo=False))
            self.workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-dataplane-")))
            self.client = self.lab.client
            self.prepare_lab()
            self.plane = stack.enter_context(ControlPlane(
                self.lab.api.netns, self.lab.api.ip4, self.workdir / "api",
                server_flags=[f"--service-cluster-ip-range={CLUSTER_IPS},2001:db8:19::/112"]))
            self.trace = stack.enter_context(SendTrace(self.workdir))
            self.make_nodes()
            self.objects = Objects(self.plane, 10, int(os.environ.get("PER_VIP", "50")), self.sizes[-1])
            self.leasehold = Leasehold(self, self.lab.nodes[0], install_rbac(self.plane))
            self.kube_proxy = KubeProxy(self, self.lab.nodes[1]) if self.with_proxy else None
            if self.with_proxy:
                stack.callback(self.kube_proxy.process.kill)
            self.objects.paths()
            for size in self.sizes:
                self.one_size(size)
            if self.rounds:
                self.compare_paths()
        return self


class Session:
    """One connection to the API server that stays open: a handshake is not what is measured."""

    def __init__(self, client):
        self.client = client

    def __enter__(self):
        connection = self.client._connection(30)  # pylint: disable=protected-access
        self.connection = connection

        def request(method, path, body=None):
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status // 100 != 2:
                raise ApiError(method, path, response.status, answer)
            return answer
        request("GET", f"{SERVICES}/kubernetes")
        return request

    def __exit__(self, *_):
        self.connection.close()


# ---- the tables --------------------------------------------------------------------------------

def spread(values):
    """p50 / max; with few values how many."""
    if not values:
        return f"> {CHANGE_S * 1000}"
    few = f" ({len(values)})" if len(values) < 5 else ""
    return f"{statistics.median(values):.1f} / {max(values):.1f}{few}"


def ratios(of, to):
    """(median, low, high) of the rounds' ratios; between the two the true median lies with 95 % (order statistics)."""
    each = sorted(a / b for a, b in zip(of, to))
    n = len(each)
    tails = itertools.accumulate(math.comb(n, k) / 2 ** n for k in range(n))
    cut = max(sum(1 for tail in tails if tail <= 0.025) - 1, 0)
    return statistics.median(each), each[cut], each[-1 - cut]


def verdict(aim, met):
    return f"{aim}  {'met' if met else 'MISSED'}"


def size_rows(size, found, largest):
    """Rows (what, leasehold, kube-proxy, unit, verdict) of one size."""
    ours, theirs = found["leasehold"], found["kube-proxy"]

    def row(what, key, unit, text="{:.1f}".format, aim=""):
        """key(who) of both, "-" where there is none."""
        return what, *(text(key(who)) if who else "-" for who in (ours, theirs)), unit, aim

    speed = ours["elements"] / ours["start_s"]
    anon = ours["memory_mib"]["RssAnon"]
    change = [statistics.median(ours[key]) for key in ("add_ms", "change_ms")]
    return [
        (f"{size} Services", "leasehold", "kube-proxy", "", ""),
        row("start until complete", lambda w: w["start_s"], "s"),
        row("  since the first element", lambda w: w["load_s"], "s"),
        row("  elements in sets and maps", lambda w: w["elements"], "", "{:.0f}".format),
        row("  elements a second, whole start", lambda w: w["elements"] / w["start_s"], "1/s", "{:.0f}".format,
            verdict(f">= {AIM_ELEMENTS}", speed >= AIM_ELEMENTS) if largest else ""),
        row("private memory (RssAnon) at rest", lambda w: w["memory_mib"]["RssAnon"], "MB",
            aim=verdict(f"<= {AIM_MB}", anon <= AIM_MB) if largest else ""),
        row("VmRSS at rest", lambda w: w["memory_mib"]["VmRSS"], "MB"),
        row("highest VmRSS", lambda w: w["memory_mib"]["VmHWM"], "MB"),
        row("kernel memory", lambda w: w["kernel_mib"], "MB"),
        row("a Service added: to the first connection", lambda w: w["add_ms"], "ms", spread,
            verdict(f"p50 <= {AIM_CHANGE_MS}", change[0] <= AIM_CHANGE_MS)),
        row("an endpoint changed: to the first connection", lambda w: w["change_ms"], "ms", spread,
            verdict(f"p50 <= {AIM_CHANGE_MS}", change[1] <= AIM_CHANGE_MS)),
        row("  of it until the API server's reply", lambda w: w["api_ms"], "ms", spread),
        row("  longest send of the nft transaction", lambda w: w["nft_ms"], "ms", lambda v: spread(v) if v else "-"),
    ]


def path_rows(paths):
    """Rows (what, direct, by hand, leasehold, kube-proxy, unit, ratio and verdict)."""
    found = [("path (median of the rounds)", "direct", "DNAT by hand", "leasehold", "kube-proxy", "", "")]
    for what, ways in paths.items():
        cells = [f"{statistics.median(ways[way]):.0f}" if way in ways else "-"
                 for way in ("direct", "hand", "leasehold", "kube-proxy")]
        connections = what.startswith("connections")
        other, aim = ("kube-proxy", 1) if connections else ("hand", AIM_THROUGHPUT)
        text = ""
        if other in ways:
            middle, low, high = ratios(ways["leasehold"], ways[other])
            text = f"to {other}: {middle:.2f} ({low:.2f}-{high:.2f})  {verdict(f'>= {aim}', middle >= aim)}"
        found.append((what, *cells, "1/s" if connections else "Mbit/s", text))
    return found


def lines_of(rows):
    """Lines of text in columns; figures to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(f"{cell:<{width}}" if i in (0, len(row) - 1, len(row) - 2) else f"{cell:>{width}}"
                             for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def report(figures):
    """Lines for people."""
    found = ["Leasehold beside kube-proxy in nftables mode, kube-apiserver and etcd; Services of one port and 10 endpoints.",
             "Changes: p50 / max; kube-proxy has nftables.minSyncPeriod 10ms; its default of 1s would come on top."]
    sizes = list(figures["sizes"])
    rows = [row for size in sizes for row in size_rows(size, figures["sizes"][size], size == sizes[-1])]
    found += lines_of(rows)
    if len(sizes) > 1:
        first, last = (figures["sizes"][s]["leasehold"]["change_ms"] for s in (sizes[0], sizes[-1]))
        times = statistics.median(last) / statistics.median(first)
        found.append(f"  flat: an endpoint's change takes {times:.2f} times as long at {sizes[-1]} Services as at "
                     f"{sizes[0]}")
    if figures.get("paths"):
        found += ["", *lines_of(path_rows(figures["paths"])),
                  f"  {CONNECTIONS} connections at a time, each ended when it was answered; ratios: median of "
                  f"{len(figures['paths']['connections']['hand'])} rounds' own (its 95 % interval)"]
    return found


def main():
    bench = DataPlane(lambda text: print(f"  {text}", file=sys.stderr, flush=True)).run()
    print("\n".join(report(bench.figures)))
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(bench.figures, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
