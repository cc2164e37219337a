# SPDX-License-Identifier: Apache-2.0
"""That the Kubernetes which other tests stand on is a real one, and comes and goes cleanly."""

import datetime
import json
import os
import subprocess
from pathlib import Path

import pytest

from kube.client import ApiError, Client
from kube.cluster import ALL_CONTROLLERS, API_CONTROLLERS, ControlPlane, NotBuilt, kube_directory
from kube.images import BUSYBOX_IMAGE
from kube.nodes import NodePlace, Nodes
from kube.process import in_netns, run, wait_until

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SERVICES = "/api/v1/namespaces/default/services"
VIP = "203.0.113.10"
# A busy machine takes several times the 25 s that the nodes' control plane and they need here.
pytestmark = pytest.mark.timeout(400)
TESTS = str(Path(__file__).resolve().parent.parent)


class Lan:
    """Network namespaces on one bridge; host NAME has 192.0.2.NUMBER and 2001:db8:2::NUMBER."""

    def __init__(self, hosts):
        self._prefix = f"leasehold-kube-{os.getpid()}"
        self._hosts = hosts

    def netns(self, name):
        return f"{self._prefix}-{name}"

    def start(self):
        self._remove_orphans()
        bridge = self.netns("lan")
        run(["ip", "netns", "add", bridge])
        run(["ip", "-n", bridge, "link", "add", "lan", "type", "bridge"])
        run(["ip", "-n", bridge, "link", "set", "lan", "up"])
        for name, number in self._hosts.items():
            netns = self.netns(name)
            run(["ip", "netns", "add", netns])
            run(["ip", "-n", bridge, "link", "add", name, "type", "veth", "peer", "name", "eth0",
                 "netns", netns])
            run(["ip", "-n", bridge, "link", "set", name, "master", "lan", "up"])
            run(["ip", "-n", netns, "link", "set", "lo", "up"])
            run(["ip", "-n", netns, "link", "set", "eth0", "up"])
            run(["ip", "-n", netns, "address", "add", f"192.0.2.{number}/24", "dev", "eth0"])
            run(["ip", "-n", netns, "address", "add", f"2001:db8:2::{number}/64", "dev", "eth0",
                 "nodad"])

    @staticmethod
    def _remove_orphans():
        """Removes what killed runs left; their pid is in the name."""
        for path in Path("/run/netns").glob("leasehold-kube-*-*"):
            if not Path(f"/proc/{path.name.split('-')[2]}").exists():
                run(["ip", "netns", "delete", path.name])

    def stop(self):
        for name in ("lan", *self._hosts):
            if Path(f"/run/netns/{self.netns(name)}").exists():
                run(["ip", "netns", "delete", self.netns(name)])


@pytest.fixture(scope="module", name="built")
def _built():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        return kube_directory()
    except NotBuilt as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module", name="lan")
def _lan(built):  # pylint: disable=unused-argument
    lan = Lan({"node1": 11, "node2": 12, "node3": 13, "spare": 14, "api3": 98, "api2": 99,
               "api": 100})
    try:
        lan.start()
        yield lan
    finally:
        lan.stop()


@pytest.fixture(scope="module", name="plane")
def _plane(lan, tmp_path_factory):
    with ControlPlane([lan.netns("api"), lan.netns("api2")], ["192.0.2.100", "192.0.2.99"],
                      tmp_path_factory.mktemp("plane"), servers=2,
                      controllers=API_CONTROLLERS) as plane:
        yield plane


def _lease(name):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"metadata": {"name": name},
            "spec": {"holderIdentity": "one", "leaseDurationSeconds": 3, "renewTime": now}}


def _service(name):
    return {"metadata": {"name": name},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "leasehold.io/vip",
                     "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}}


# --- the API servers ----------------------------------------------------------------------------


@pytest.mark.kube
def test_version_is_the_one_of_go_mod(plane):
    assert plane.api.get("/version")["gitVersion"] in str(plane.bin)
    assert plane.api.get("/version")["gitVersion"].startswith("v1.")


@pytest.mark.kube
def test_both_servers_are_endpoints_of_the_kubernetes_service(plane):
    def addresses():
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
        found = plane.api.get(path)["endpoints"]
        return sorted(one["addresses"][0] for one in found) == ["192.0.2.100", "192.0.2.99"]

    wait_until(addresses, 30, "both servers in the EndpointSlice default/kubernetes")


@pytest.mark.kube
def test_lease_put_with_an_old_version_is_a_conflict(plane):
    first = plane.api.create(LEASES, _lease("conflict"))
    path = f"{LEASES}/conflict"
    first["spec"]["holderIdentity"] = "two"
    second = plane.api.replace(path, first)
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    first["spec"]["holderIdentity"] = "three"
    with pytest.raises(ApiError) as caught:
        # By the other server: the truth is etcd's, not one server's cache.
        plane.servers[1].client.replace(path, first)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert plane.api.get(path)["spec"]["holderIdentity"] == "two"


@pytest.mark.kube
def test_watch_list_sends_the_state_then_a_bookmark_then_changes(plane):
    plane.api.create(LEASES, _lease("watched"))
    events = plane.api.watch(LEASES, 20, sendInitialEvents="true", allowWatchBookmarks="true",
                             resourceVersionMatch="NotOlderThan",
                             fieldSelector="metadata.name=watched")
    first = next(events)
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "watched")
    bookmark = next(events)
    assert bookmark["type"] == "BOOKMARK"
    annotations = bookmark["object"]["metadata"]["annotations"]
    assert annotations["k8s.io/initial-events-end"] == "true"
    plane.api.patch(f"{LEASES}/watched", {"spec": {"holderIdentity": "two"}})
    change = next(events)
    assert (change["type"], change["object"]["spec"]["holderIdentity"]) == ("MODIFIED", "two")
    events.close()


@pytest.mark.kube
def test_service_status_patch_writes_annotations_and_ingress(plane):
    plane.api.create(SERVICES, _service("web"))
    token = plane.token_for_serviceaccount("kube-system", "status-writer")
    _grant(plane, "status-writer", [
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]}])
    client = plane.client(token)
    client.patch(f"{SERVICES}/web/status", {
        "metadata": {"annotations": {"leasehold.io/allocated": VIP}},
        "status": {"loadBalancer": {"ingress": [{"ip": VIP, "ipMode": "VIP"}]}}})
    service = plane.api.get(f"{SERVICES}/web")
    assert service["metadata"]["annotations"]["leasehold.io/allocated"] == VIP
    assert service["status"]["loadBalancer"]["ingress"] == [{"ip": VIP, "ipMode": "VIP"}]
    with pytest.raises(ApiError) as caught:
        client.patch(f"{SERVICES}/web", {"metadata": {"annotations": {"other": "1"}}})
    assert caught.value.status == 403


def _grant(plane, account, rules):
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    plane.api.create(f"{rbac}/clusterroles", {"metadata": {"name": account}, "rules": rules})
    plane.api.create(f"{rbac}/clusterrolebindings", {
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}]})
    resource, _, subresource = rules[0]["resources"][0].partition("/")
    review = {"spec": {"user": f"system:serviceaccount:kube-system:{account}",
                       "resourceAttributes": {"group": rules[0]["apiGroups"][0],
                                              "verb": rules[0]["verbs"][0], "namespace": "default",
                                              "resource": resource, "subresource": subresource}}}
    # The authorizer of each server works from a cache of its own.
    for server in plane.servers:
        wait_until(lambda s=server: s.client.create(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"],
            20, f"the rights of {account} at {server.url}")


@pytest.mark.kube
def test_serviceaccount_kubeconfig_has_the_rights_of_its_role_only(plane, lan):
    kubeconfig = plane.kubeconfig_for_serviceaccount("kube-system", "reader", token_file=True)
    _grant(plane, "reader", [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]}])

    def kubectl(*arguments):
        return subprocess.run(in_netns(lan.netns("api2"), [
            str(plane.bin / "kubectl"), f"--kubeconfig={kubeconfig}", *arguments]),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)

    assert "system:serviceaccount:kube-system:reader" in kubectl("auth", "whoami").stdout
    assert kubectl("get", "leases").returncode == 0
    for refused in (["get", "services"], ["delete", "lease", "--all"], ["get", "secrets"]):
        answer = kubectl(*refused)
        assert answer.returncode != 0 and "Forbidden" in answer.stdout, answer.stdout
    with pytest.raises(ApiError) as caught:
        Client(plane.url, plane.ca_file, token="none", netns=lan.netns("api")).get(LEASES)
    assert caught.value.status == 401


@pytest.mark.kube
def test_a_server_can_be_killed_frozen_and_restarted_alone(plane):
    plane.api.create(LEASES, _lease("kept"))
    plane.kill(0)
    with pytest.raises(OSError):
        plane.servers[0].client.get("/readyz")
    assert plane.api is plane.servers[1].client
    assert plane.api.get(f"{LEASES}/kept")["spec"]["holderIdentity"] == "one"
    plane.freeze(1)
    impatient = Client(plane.urls[1], plane.ca_file, netns=plane.servers[1].netns, timeout=1)
    with pytest.raises(TimeoutError):
        impatient.get("/readyz")
    plane.thaw(1)
    assert plane.servers[1].client.get("/readyz") == "ok"
    plane.restart(0)
    assert plane.servers[0].client.get(f"{LEASES}/kept")["spec"]["holderIdentity"] == "one"


def _run_and_kill(script, lines):
    """Runs Python code, kills it after it has printed that many lines, and returns the lines."""
    with subprocess.Popen(["/usr/bin/python3", "-c", f"import sys\nsys.path.insert(0, {TESTS!r})\n"
                           + script + "\nimport signal\nsignal.pause()\n"],
                          stdout=subprocess.PIPE, text=True) as runner:
        try:
            return [runner.stdout.readline().strip() for _ in range(lines)]
        finally:
            runner.kill()


@pytest.mark.kube
def test_no_control_plane_outlives_a_killed_test_run(lan, tmp_path):
    pids = _run_and_kill(
        "from kube.cluster import ControlPlane\n"
        f"plane = ControlPlane({lan.netns('node1')!r}, '192.0.2.11', {str(tmp_path)!r})\n"
        "plane.start()\n"
        "print(plane.etcd.pid, plane.servers[0].process.pid, flush=True)\n", 1)[0].split()
    assert len(pids) == 2
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids), 10,
               "the end of etcd and the API server")


# --- the nodes ----------------------------------------------------------------------------------


def _agent_pod():
    """A pod as the project's own chart makes it: host network, two capabilities and no more."""
    return {
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "image": BUSYBOX_IMAGE, "imagePullPolicy": "Never",
            "command": ["/bin/sh", "-c",
                        "grep CapEff /proc/self/status; "
                        "ip addr add 203.0.113.77/32 dev lo && touch /run/leasehold/up && "
                        "trap 'exit 0' TERM; sleep 100000 & wait"],
            "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}},
            "volumeMounts": [{"name": "state", "mountPath": "/run/leasehold"}],
        }],
        "volumes": [{"name": "state", "hostPath": {"path": "/run/leasehold",
                                                   "type": "DirectoryOrCreate"}}],
    }


def _web_pod():
    return {
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "image": BUSYBOX_IMAGE, "imagePullPolicy": "Never",
            "command": ["/bin/sh", "-c", "mkdir /www; hostname >/www/index.html; "
                        "trap 'exit 0' TERM; httpd -f -h /www -p 8080 & wait"],
        }],
    }


def _workload(kind, name, pod, **spec):
    return {"metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": pod}, **spec},
            "apiVersion": "apps/v1", "kind": kind}


@pytest.fixture(scope="module", name="nodes")
def _nodes(lan, tmp_path_factory):
    with ControlPlane(lan.netns("api3"), "192.0.2.98", tmp_path_factory.mktemp("nodes-plane"),
                      controllers=ALL_CONTROLLERS, scheduler=True) as plane:
        places = [NodePlace(f"node{i}", lan.netns(f"node{i}"), f"192.0.2.1{i}", f"2001:db8:2::1{i}")
                  for i in (1, 2, 3)]
        with Nodes(plane, places, tmp_path_factory.mktemp("nodes")) as nodes:
            yield nodes


@pytest.mark.nodes
def test_daemonset_with_two_capabilities_runs_on_every_node(nodes):
    plane = nodes.plane
    plane.api.create("/apis/apps/v1/namespaces/kube-system/daemonsets",
                     _workload("DaemonSet", "agent", _agent_pod()))
    path = "/apis/apps/v1/namespaces/kube-system/daemonsets/agent"
    wait_until(lambda: plane.api.get(path)["status"].get("numberReady") == 3, 90,
               "three ready pods of the DaemonSet")
    pods = plane.api.list("/api/v1/namespaces/kube-system/pods", labelSelector="app=agent")
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node1", "node2", "node3"}
    for pod in pods:
        name = pod["metadata"]["name"]
        node = nodes.node(pod["spec"]["nodeName"])
        assert pod["status"]["podIP"] == node.place.address
        # Bits 12 and 13: NET_ADMIN and NET_RAW.
        log = plane.kubectl("logs", "-n", "kube-system", name)
        assert log.split() == ["CapEff:", "0000000000003000"]
        # The address is in the node's own network namespace, the file in the node's own /run.
        assert "203.0.113.77/32" in run(["ip", "-n", node.place.netns, "address", "show", "lo"])
        wait_until(lambda n=node: "up" in n.run("ls", "/run/leasehold"), 10, "the state directory")
        inside = plane.kubectl("exec", "-n", "kube-system", name, "--", "hostname")
        assert inside.strip() == node.name
    assert not Path("/run/leasehold/up").exists()


@pytest.mark.nodes
def test_pods_on_the_pod_network_serve_through_a_cluster_ip(nodes):
    plane = nodes.plane
    plane.api.create("/apis/apps/v1/namespaces/default/deployments",
                     _workload("Deployment", "web", _web_pod(), replicas=3))
    service = plane.api.create(SERVICES, {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ipFamilyPolicy": "PreferDualStack",
                 "ports": [{"port": 80, "targetPort": 8080}]}})
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

    def ready_endpoints():
        slices = plane.api.list(path, labelSelector="kubernetes.io/service-name=web")
        return {one["addressType"]: len([endpoint for endpoint in one["endpoints"]
                                         if endpoint["conditions"]["ready"]]) for one in slices}

    wait_until(lambda: ready_endpoints() == {"IPv4": 3, "IPv6": 3}, 90,
               "three ready endpoints of each family")
    pods = {pod["metadata"]["name"] for pod in
            plane.api.list("/api/v1/namespaces/default/pods", labelSelector="app=web")}
    first, second = service["spec"]["clusterIPs"]
    for node in nodes.nodes:
        for url in (f"http://{first}", f"http://[{second}]"):
            browser = Client(url, netns=node.place.netns, timeout=2)
            answer = wait_until(lambda b=browser: b.get("/"), 30, f"{url} from {node.name}")
            assert answer.strip() in pods


def _processes_of(namespace):
    """The pids in a PID namespace, named as /proc/PID/ns/pid names it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns" / "pid") == namespace:
                found.append(int(entry.name))
        except OSError:
            # It ended meanwhile, or is a zombie.
            pass
    return found


@pytest.mark.nodes
def test_no_node_outlives_a_killed_test_run(lan, tmp_path):
    # A static pod, for which kubelet needs no API server, brings a shim and a container as well.
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "static"},
           "spec": _agent_pod()}
    (tmp_path / "pod.json").write_text(json.dumps(pod))
    namespace, before = _run_and_kill(
        "import json, os, shutil\n"
        "from kube.cluster import ControlPlane\n"
        "from kube.nodes import NodePlace, Nodes\n"
        "from kube.process import wait_until\n"
        f"plane = ControlPlane({lan.netns('api2')!r}, '192.0.2.99', '{tmp_path}/plane')\n"
        f"place = NodePlace('spare', {lan.netns('spare')!r}, '192.0.2.14')\n"
        f"node = Nodes(plane, [place], '{tmp_path}/nodes', kube_proxy=False).nodes[0]\n"
        "node.launch()\n"
        f"shutil.copy('{tmp_path}/pod.json', node.workdir / 'manifests')\n"
        "wait_until(lambda: node.run('ls', '/run/leasehold/up'), 60, 'the pod')\n"
        "print(os.readlink(f'/proc/{node.init.pid}/ns/pid'), flush=True)\n"
        "print(*node.run('ps', '-A', '-o', 'comm').split(), flush=True)\n", 2)
    assert {"containerd", "containerd-shim", "kubelet"} <= set(before.split()), before
    wait_until(lambda: not _processes_of(namespace), 10, "the end of the node's processes")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.nodes
def test_helm_talks_to_the_cluster(nodes, tmp_path):
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(
        "apiVersion: v2\nname: probe\nversion: 0.1.0\nkubeVersion: '>= 1.30.0-0'\n")
    (chart / "templates" / "map.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: probe\n"
        "data:\n  version: {{ .Capabilities.KubeVersion.Version }}\n")
    helm = nodes.plane.helm
    # Without a cluster, helm goes by the version it was built for.
    version = nodes.plane.api.get("/version")["gitVersion"]
    assert version.rsplit(".", 1)[0] in helm("template", chart)
    helm("install", "probe", chart, "--wait")
    made = nodes.plane.api.get("/api/v1/namespaces/default/configmaps/probe")
    assert made["data"]["version"] == version
    helm("uninstall", "probe", "--wait")


@pytest.mark.nodes
def test_a_killed_node_comes_back(nodes):
    node = nodes.node("node3")
    pid = node.kubelet.pid
    assert pid
    node.kill()
    assert not Path(f"/proc/{pid}/exe").exists()
    node.start()
    pods = "/api/v1/namespaces/kube-system/pods"

    def agent_runs():
        found = nodes.plane.api.list(pods, labelSelector="app=agent",
                                     fieldSelector="spec.nodeName=node3")
        containers = [pod["status"].get("containerStatuses", [{}])[0] for pod in found]
        # Started by the new containerd: the old one's containers are gone.
        return any(one.get("ready") and one["restartCount"] > 0 for one in containers)

    wait_until(agent_runs, 120, "the DaemonSet's pod on node3")
