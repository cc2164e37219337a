# SPDX-License-Identifier: Apache-2.0
"""Leasehold as users have it: a cluster of three real nodes, the project's image, `helm install`.

    with installed_cluster(workdir) as cluster:      # nodes and images; nothing is installed yet
        cluster.install()
        web = cluster.deploy("web", 6)
        vips = cluster.expose("web").wait_vips(2)

The lab (tests/netns) is the LAN, tests/kube makes control plane and nodes in it.  What the cases of
tests/e2e ask of nodes and VIPs is asked here by the same class; what differs is that agents and
backends are Pods, and that EndpointSlices come from the real controller.
"""

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from e2e.agents import BINARY, CHART, LEASES, NAMESPACE, SERVICES, SLICES, Cluster, Service, service_body
from kube.cluster import ALL_CONTROLLERS, ControlPlane
from kube.images import build_image, cache_directory
from kube.nodes import NodePlace, Nodes
from netns.lab import ECHO_PORT, POOL4, POOL6, Lab, LabError, mono_ns, wait_for
from netns.probe import NeighProbe, UdpProbe

HERE = Path(__file__).resolve().parent
ROOTFS = CHART.parent / "image/build-rootfs.sh"
RELEASE = "leasehold"
IMAGE = "localhost/leasehold-test/agent"
ECHO_IMAGE = "localhost/leasehold-test/echo"
DAEMONSET = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/leasehold"
AGENT_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
PATIENCE_S = 90
REPLICAS = 6
AGENT_PORT = 7480


def _digest(*paths):
    return hashlib.sha256(b"".join(Path(p).read_bytes() for p in paths)).hexdigest()[:12]


def _image(name, tag, fill):
    """(image name, archive): built once per tag; `fill` makes the build context in a directory."""
    image = f"{name}:{tag}"
    archive = cache_directory() / f"{name.rpartition('/')[2]}-{tag}.tar"
    if not archive.exists():
        with tempfile.TemporaryDirectory() as context:
            fill(Path(context))
            build_image(context, archive, image)
    return image, archive


def agent_image():
    """The image of the agent, from the program that make built."""
    return _image(IMAGE, _digest(BINARY, ROOTFS), lambda context: subprocess.run(
        [ROOTFS, BINARY, context], check=True, timeout=120))


def echo_image():
    """The image of the backends."""
    def fill(context):
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-static", "-o", context / "echo",
                        HERE / "echo.c"], check=True, timeout=120)
        (context / "Dockerfile").write_text('FROM scratch\nCOPY echo /\nENTRYPOINT ["/echo"]\n')
    return _image(ECHO_IMAGE, _digest(HERE / "echo.c"), fill)


def _deployment(name, replicas, image):
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 5,
                "enableServiceLinks": False,
                # So that the deletion of a pod, too, leaves every node some.
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": labels}}],
                "containers": [{
                    "name": "echo", "image": image, "imagePullPolicy": "Never",
                    "args": [str(ECHO_PORT)],
                    "readinessProbe": {"tcpSocket": {"port": ECHO_PORT}, "periodSeconds": 1}}],
            }},
        },
    }


class RealCluster(Cluster):
    """A lab whose nodes are Nodes of a control plane; `images` are on all of them."""

    def __init__(self, lab, nodes, workdir, images):
        super().__init__(lab, nodes.plane, None, workdir)
        self._nodes = nodes
        self._agent_image, self._echo_image = images

    # -- the chart ---------------------------------------------------------------------------

    def install(self, *flags):
        repository, _, tag = self._agent_image.rpartition(":")
        return self.plane.helm(
            "install", RELEASE, CHART, "--namespace", NAMESPACE,
            "--set", f"pool={{{POOL4},{POOL6}}},image.repository={repository},image.pullPolicy=Never",
            "--set-string", f"image.tag={tag}", *flags)

    def upgrade(self, *flags):
        return self.plane.helm("upgrade", RELEASE, CHART, "--namespace", NAMESPACE,
                               "--reuse-values", *flags)

    def uninstall(self):
        return self.plane.helm("uninstall", RELEASE, "--namespace", NAMESPACE)

    def agent_pods(self):
        """The agents' Pods, by node name."""
        pods = self.api().list(AGENT_PODS, labelSelector="app.kubernetes.io/name=leasehold")
        return {pod["spec"].get("nodeName", ""): pod for pod in pods}

    def rolled_out(self):
        """Whether every node has a ready agent of the newest template."""
        daemonset = self.api().get(DAEMONSET)
        status, wanted = daemonset["status"], len(self.lab.nodes)
        return status.get("observedGeneration") == daemonset["metadata"]["generation"] and \
            all(status.get(key) == wanted for key in
                ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady"))

    def wait_rolled_out(self, timeout_s=PATIENCE_S):
        wait_for(self.rolled_out, timeout_s, 0.2, lambda: f"ready agents on all nodes\n{self.evidence()}")

    def logs(self, node_name, *flags):
        """The log of the agent on a node."""
        name = self.agent_pods()[node_name]["metadata"]["name"]
        return self.plane.kubectl("logs", "-n", NAMESPACE, name, *flags)

    def evidence(self):
        """What the agents' Pods say, for a failure's message."""
        told = []
        for node_name, pod in self.agent_pods().items():
            told.append(f"--- {pod['metadata']['name']} on {node_name}: "
                        f"{json.dumps(pod['status'].get('containerStatuses'))}")
            for flag in ("--previous=true", "--previous=false"):
                with contextlib.suppress(RuntimeError):
                    told.append(self.logs(node_name, flag, "--tail=40"))
        return "\n".join(told)

    # -- backends ----------------------------------------------------------------------------

    def deploy(self, name, replicas):
        self.api().create(DEPLOYMENTS, _deployment(name, replicas, self._echo_image))

    def expose(self, name, **kwargs):
        """A Service of our class before a Deployment."""
        body = service_body(name, policy="RequireDualStack", **kwargs)
        return Service(self.api, self.api().create(SERVICES, body))

    def scale(self, name, replicas):
        self.api().patch(f"{DEPLOYMENTS}/{name}", {"spec": {"replicas": replicas}})

    def endpoints(self, name):
        """{address type: names of the ready pods} of the controller's EndpointSlices."""
        found = {}
        for one in self.api().list(SLICES, labelSelector=f"kubernetes.io/service-name={name}"):
            found.setdefault(one["addressType"], set()).update(
                e["targetRef"]["name"] for e in one.get("endpoints") or () if e["conditions"]["ready"])
        return found

    def wait_backends(self, name, count, timeout_s=PATIENCE_S):
        """Wait until `count` pods, and no others, are ready endpoints of both families; their names."""
        def ready():
            found = self.endpoints(name)
            v4, v6 = found.get("IPv4", set()), found.get("IPv6", set())
            return v4 if len(v4) == count and v4 == v6 else None
        return wait_for(ready, timeout_s, 0.1,
                        lambda: f"{count} endpoints of {name}; they are {self.endpoints(name)}")

    def backends_on(self, name, node_name):
        """The names of a Deployment's pods on a node."""
        return {pod["metadata"]["name"] for pod in self.api().list(
            PODS, labelSelector=f"app={name}", fieldSelector=f"spec.nodeName={node_name}")}

    # -- what a client sees ------------------------------------------------------------------

    @contextlib.contextmanager
    def watched(self, vips):
        """UDP questions to every VIP meanwhile; {VIP: Trace} at the end, after each answered again."""
        traces = {}
        with contextlib.ExitStack() as stack:
            probes = {vip: stack.enter_context(UdpProbe(self.lab.client, vip, 80, 5, fresh=True))
                      for vip in vips}
            for probe in probes.values():
                probe.wait_answered(10)
            yield traces
            after = mono_ns()
            for vip, probe in probes.items():
                probe.wait_answer_after(after, 30)
                probe.wait_answered(20, 30)
                traces[vip] = probe.stop()

    def wait_answered_by(self, vips, host, timeout_s=20):
        """Wait until one node alone answers ARP and ND for the VIPs, and that is `host`."""
        def alone():
            with NeighProbe(self.lab, vips) as probe:
                probe.wait_answered(40)
                seen = probe.stop()
            return set(seen.macs()) == {host.mac} and not seen.duplicates()
        wait_for(alone, timeout_s, 0.1, f"{host.name} alone to answer for {vips}")

    # -- nodes -------------------------------------------------------------------------------

    def host(self, node_name):
        return self.lab.hosts[node_name]

    def node(self, node_name):
        return self._nodes.node(node_name)

    def wait_holder_node(self, but=None, timeout_s=PATIENCE_S):
        """Wait until the Lease names a node other than `but`, and return its host."""
        name = wait_for(lambda: (h := self.lease_holder()) and (not but or h != but.name) and h,
                        timeout_s, 0.02, lambda: f"a holder; the Lease is {self.lease()}\n{self.evidence()}")
        return self.host(name)

    def power_off(self, host):
        """Cable and processes at once; the moment (monotonic ns)."""
        at = self.lab.unplug(host)
        self.node(host.name).kill()
        return at

    def foreign_addresses(self, host):
        """The addresses of a node's eth0 that neither the lab nor the kernel gave it."""
        return {address: entry for address, entry in host.addresses().items()
                if address not in (host.ip4, host.ip6) and entry["scope"] != "link"}

    def left_in_kernel(self, host):
        """What of Leasehold is in a node's kernel, as texts."""
        ruleset = [o["table"] for o in host.nft_json("list", "tables") if "table" in o]
        return [f"address {address}" for address in self.foreign_addresses(host)] + \
            [f"table {t['family']} {t['name']}" for t in ruleset if t["name"].startswith("leasehold")] + \
            [f"{q['kind']} on {q['dev']}" for q in json.loads(host.run(["tc", "-j", "qdisc", "show"]))
             if q["kind"] == "clsact"]

    def power_on(self, host):
        """A node whose kernel has forgotten, as it would over a boot, what the agent gave it."""
        for family in ("inet", "arp"):
            host.nft(script=f"table {family} leasehold {{ }}\ndelete table {family} leasehold\n")
        if any(q["kind"] == "clsact" for q in host.qdiscs()):
            host.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])
        for address, entry in self.foreign_addresses(host).items():
            with contextlib.suppress(LabError):     # its lifetime may end meanwhile
                host.ip("addr", "del", f"{address}/{entry['prefixlen']}", "dev", "eth0")
        self.lab.plug(host)
        wait_for(host.carrier, what=f"carrier of {host.name}")
        self.node(host.name).start()

    def agent_pid(self, host):
        """The agent's pid as the node sees it."""
        return self.node(host.name).run("pgrep", "-x", "leasehold").strip()

    def lease_exists(self, name):
        return self.api().exists(f"{LEASES}/{name}")

    def agent_memory_kb(self, host):
        """RssAnon of the agent on a node."""
        status = self.node(host.name).run("cat", f"/proc/{self.agent_pid(host)}/status")
        return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.M).group(1))

    def refusals(self, host):
        """{(verb, code): count} of the requests of a node's agent that the API server forbade."""
        with host.entered():
            connection = http.client.HTTPConnection("127.0.0.1", AGENT_PORT, timeout=5)
            connection.connect()
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        counts = re.findall(r'^leasehold_api_requests_total\{verb="(\w+)",code="(\d+)"\} (\d+)$', text, re.M)
        assert counts, text
        return {(verb, code): int(n) for verb, code, n in counts if code in ("401", "403")}

    def agent_status(self, host):
        """What `leasehold status --json` prints on a node."""
        return json.loads(self.node(host.name).run(BINARY, "status", "--json"))

    def wait_agent_on(self, host, timeout_s=PATIENCE_S):
        """Wait until an agent of this boot answers on a node and is ready."""
        def ready():
            with contextlib.suppress(RuntimeError):
                return self.agent_status(host)["ready"]
            return False
        wait_for(ready, timeout_s, 0.2, lambda: f"the agent on {host.name}\n{self.evidence()}")


@contextlib.contextmanager
def installed_cluster(workdir):
    """Lab, control plane and three nodes with both images; all of it is gone at the end."""
    workdir = Path(workdir)
    images = [agent_image(), echo_image()]
    with Lab(nodes=3, pods_per_node=0, echo=False) as lab:
        plane = ControlPlane(lab.api.netns, lab.api.ip4, workdir / "plane",
                             controllers=ALL_CONTROLLERS, scheduler=True)
        places = [NodePlace(n.name, n.netns, n.ip4, n.ip6) for n in lab.nodes]
        try:
            with plane, Nodes(plane, places, workdir / "nodes") as nodes:
                for _, archive in images:
                    nodes.import_image(archive)
                yield RealCluster(lab, nodes, workdir, [name for name, _ in images])
        finally:
            shutil.rmtree(workdir / "nodes", ignore_errors=True)
