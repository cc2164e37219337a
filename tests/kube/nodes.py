# SPDX-License-Identifier: Apache-2.0
"""Real nodes for a ControlPlane: kubelet and containerd, each node in a network namespace.

The caller makes the network namespaces with one address each, on a network where they reach each
other and the API server.  A node adds to its namespace: a bridge for its pods, routes to ClusterIPs
and to the pods of the other nodes, IP forwarding, and kube-proxy's tables.  PID, mount and UTS
namespaces it makes for itself, so that /run differs from node to node and a killed test run leaves
no process and no mount (node-init.sh).

    nodes = Nodes(plane, [NodePlace("node1", "ns1", "192.0.2.11"), ...], tmp_path)
    nodes.start()                    # all are Ready
    nodes.import_image(archive)      # then pods with imagePullPolicy: Never can run it
    nodes.node("node1").kill()       # power off; start() powers it on again
    nodes.stop()
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from .cgroup import Group
from .cluster import HERE, SERVICE_RANGES
from .images import BUSYBOX_IMAGE, busybox_archive
from .process import Process, in_netns, run, wait_until

# Apart from the addresses below 198.18.192.0 that tests give to VIPs.
POD_RANGES = ("198.18.192.0/18", "2001:db8:18::/48")
READY_SECONDS = 120
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

# restrict_oom_score_adj and disable_apparmor: the machine may withhold the right to either.
CONTAINERD_CONFIG = """\
version = 2
root = "/run/node/containerd"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/run/node/cni"
"""


@dataclass(frozen=True)
class NodePlace:
    """Where a node is: its name in Kubernetes, its network namespace, its addresses there."""

    name: str
    netns: str
    address: str
    # With an IPv6 address the node's pods have one too.
    address6: str = ""

    @property
    def addresses(self):
        return [address for address in (self.address, self.address6) if address]


class Node:
    """One node; made by Nodes."""

    def __init__(self, plane, place, index, workdir, kube_proxy):
        self.place = place
        self.name = place.name
        # The nodes whose pods this one needs routes to.
        self.others = []
        self.pod_ranges = [f"198.18.{192 + index}.0/24"]
        if place.address6:
            self.pod_ranges.append(f"2001:db8:18:{index}::/64")
        self._plane = plane
        self._kube_proxy = kube_proxy
        # Resolved, because /run is another directory inside the node.
        self.workdir = Path(workdir).resolve()
        if self.workdir.is_relative_to("/run"):
            raise ValueError(f"{self.workdir}: the node hides what is under /run")
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.group = Group(place.netns)
        self.init = Process("init", in_netns(place.netns, [
            "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
            HERE / "node-init.sh", self.workdir, self.name]), self.workdir, forks=True)
        self.containerd = None
        self.kubelet = None
        self.proxy = None

    # --- inside the node ------------------------------------------------------------------------

    def enter(self, command):
        """The command that runs command in the namespaces of the node."""
        pid = self.init.pid
        if not pid:
            raise RuntimeError(f"{self.name} is not running")
        return ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--pid", "--", *command]

    def run(self, *command, timeout=60):
        """Runs a command on the node, as root and outside any pod; its output."""
        return run(self.enter(command), timeout=timeout)

    def _process(self, name, command):
        # The wrapper's death takes the program with it.  The variable marks the command as ours.
        return Process(name, self.enter(["env", f"LEASEHOLD_TEST={self.workdir}", "setpriv",
                                         "--pdeathsig", "KILL", *command]),
                       self.workdir, forks=True)

    # --- start ----------------------------------------------------------------------------------

    def wipe(self):
        """Empties the node's disk, which an earlier run in the same directory may have left."""
        self.init.end_leftover()
        shutil.rmtree(self.workdir)
        self.workdir.mkdir()

    def start(self):
        """Starts the node, or powers it on again after kill(): its disk is as it was."""
        self.launch()
        self.wait_ready()

    def launch(self):
        """Starts the node without waiting for it to be Ready."""
        self._configure_network()
        self._write_configuration()
        self.group.make()
        (self.workdir / "up").unlink(missing_ok=True)
        self.init.start()
        wait_until(lambda: (self.workdir / "up").exists() or not self.init.alive(), 20,
                   f"the namespaces of {self.name}")
        self.init.require_alive()
        self.start_containerd()
        self.import_image(busybox_archive())
        self.start_kubelet()
        if self._kube_proxy:
            self._start_proxy()

    def start_containerd(self):
        self.containerd = self._process("containerd", [
            "containerd", "--config", "/run/node/containerd.toml"])
        self.containerd.start()
        wait_until(lambda: not self.containerd.alive() or self._ctr("version"), 30,
                   f"containerd on {self.name}")
        self.containerd.require_alive()

    def start_kubelet(self):
        self.kubelet = self._process("kubelet", [
            self._plane.bin / "kubelet",
            "--config=/run/node/kubelet.yaml",
            f"--kubeconfig={self._kubeconfig}",
            "--root-dir=/run/node/kubelet",
            "--cert-dir=/run/node/kubelet-pki",
            f"--hostname-override={self.name}",
            f"--node-ip={','.join(self.place.addresses)}"])
        self.kubelet.start()

    def _start_proxy(self):
        kubeconfig = self._plane.kubeconfig_for_certificate("kube-proxy", "system:kube-proxy")
        self.proxy = self._process("kube-proxy", [
            self._plane.bin / "kube-proxy",
            "--proxy-mode=nftables",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}",
            "--detect-local-mode=ClusterCIDR",
            f"--cluster-cidr={','.join(POD_RANGES)}",
            # Not its to change: these sysctls belong to the whole machine.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0"])
        self.proxy.start()

    def _configure_network(self):
        place = self.place
        settings = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        if Path("/proc/sys/net/bridge").exists():
            # Else pods of one node do not reach each other by a ClusterIP.
            settings += ["net.bridge.bridge-nf-call-iptables=1",
                         "net.bridge.bridge-nf-call-ip6tables=1"]
        run(in_netns(place.netns, ["sysctl", "-q", "-w", *settings]))
        run(["ip", "-n", place.netns, "link", "set", "lo", "up"])
        for other in self.others:
            for pods, gateway in zip(other.pod_ranges, other.place.addresses):
                run(["ip", "-n", place.netns, "route", "replace", pods, "via", gateway])
        # A local process needs a route to a ClusterIP before kube-proxy can redirect it.
        device = self._device()
        for services, _ in zip(SERVICE_RANGES, place.addresses):
            run(["ip", "-n", place.netns, "route", "replace", services, "dev", device])

    def _device(self):
        links = json.loads(run(["ip", "-n", self.place.netns, "-json", "address", "show", "to",
                                self.place.address]))
        names = [link["ifname"] for link in links if link]
        if not names:
            raise RuntimeError(f"{self.place.netns}: no interface has {self.place.address}")
        return names[0]

    def _write_configuration(self):
        self._kubeconfig = self._plane.kubeconfig_for_certificate(
            f"node-{self.name}", f"system:node:{self.name}", "system:nodes")
        (self.workdir / "containerd.toml").write_text(CONTAINERD_CONFIG.format(
            socket=CONTAINERD_SOCKET, sandbox_image=BUSYBOX_IMAGE))
        (self.workdir / "resolv.conf").write_text("")
        for directory in ("cni", "manifests"):
            (self.workdir / directory).mkdir(exist_ok=True)
        (self.workdir / "cni" / "10-bridge.conflist").write_text(json.dumps(self._cni()))
        # JSON is YAML.
        (self.workdir / "kubelet.yaml").write_text(json.dumps(self._kubelet_configuration()))

    def _cni(self):
        return {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/node/cni-state",
                    "ranges": [[{"subnet": pods}] for pods in self.pod_ranges],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}][:len(self.pod_ranges)],
                },
            }],
        }

    def _kubelet_configuration(self):
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.place.address,
            "authentication": {"x509": {"clientCAFile": str(self._plane.ca_file)}},
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.group.name,
            "enforceNodeAllocatable": [],
            # cgroup v1 is refused otherwise.
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            # The disk is the machine's: how full it is must not evict pods of a test.
            "evictionHard": {name: "0%" for name in (
                "memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")},
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "podLogsDir": "/var/log/pods",
            "resolvConf": "/run/node/resolv.conf",
            "staticPodPath": "/run/node/manifests",
        }

    # --- use ------------------------------------------------------------------------------------

    def _ctr(self, *arguments):
        return self.run("ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", *arguments)

    def import_image(self, archive):
        """Gives the node the images of an OCI archive."""
        self._ctr("images", "import", "--snapshotter", "native", Path(archive).resolve())
        # kubelet sees an image when the CRI plugin has taken note of it.
        wait_until(lambda: all("io.cri-containerd.image=managed" in line
                               for line in self._ctr("images", "list").splitlines()[1:]),
                   20, f"the images of {archive} on {self.name}")

    def ready(self):
        """True if the API server says that the node is Ready."""
        node = self._plane.api.get(f"/api/v1/nodes/{self.name}")
        return any(condition["type"] == "Ready" and condition["status"] == "True"
                   for condition in node["status"].get("conditions", []))

    def wait_ready(self, seconds=READY_SECONDS):
        def ready():
            return not self.kubelet.alive() or not self.containerd.alive() or self.ready()

        wait_until(ready, seconds, f"{self.name} to be Ready")
        self.containerd.require_alive()
        self.kubelet.require_alive()

    # --- end ------------------------------------------------------------------------------------

    def kill(self):
        """Ends every process of the node at once, as a power failure would.

        What they left in the kernel's network namespace (addresses, tables) stays there.
        """
        self.init.kill()
        for process in (self.kubelet, self.proxy, self.containerd):
            if process:
                process.kill()
        # cAdvisor waits long for each container whose group outlives it.
        self.group.remove()

    def stop(self):
        """Ends the node and takes its bridge and kube-proxy's tables out of the namespace."""
        self.kill()
        if not Path(f"/run/netns/{self.place.netns}").exists():
            return
        for command in (["ip", "link", "delete", "cni0"],
                        ["nft", "delete", "table", "ip", "kube-proxy"],
                        ["nft", "delete", "table", "ip6", "kube-proxy"]):
            try:
                run(in_netns(self.place.netns, command))
            except RuntimeError:
                # Not there: no pod or no kube-proxy ran.
                pass


class Nodes:
    """Several nodes of one ControlPlane, which needs ALL_CONTROLLERS and a scheduler."""

    def __init__(self, plane, places, workdir, kube_proxy=True):
        self.plane = plane
        self.nodes = [Node(plane, place, index, Path(workdir) / place.name, kube_proxy)
                      for index, place in enumerate(places, start=1)]
        for node in self.nodes:
            node.others = [other for other in self.nodes if other is not node]

    def start(self):
        """Starts all nodes and returns when all are Ready."""
        try:
            for node in self.nodes:
                node.wipe()
                node.launch()
            for node in self.nodes:
                node.wait_ready()
        except BaseException:
            self.stop()
            raise

    def node(self, name):
        return next(node for node in self.nodes if node.name == name)

    def import_image(self, archive):
        """Gives all nodes the images of an OCI archive."""
        for node in self.nodes:
            node.import_image(archive)

    def stop(self):
        for node in self.nodes:
            node.stop()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
