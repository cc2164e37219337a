"""That a real API server takes the chart's objects, that the agents' ServiceAccount may do what the
agent does and nothing more, and that the admission policy holds."""

import os

import pytest
import yaml

from chart.chart import (CHART, NAMESPACE, POOL, VERSION, fill, objects)
from kube.client import ApiError
from kube.cluster import ControlPlane, NotBuilt
from netns.lab import Lab

pytestmark = [pytest.mark.chart, pytest.mark.kube]

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
SERVICES = "/api/v1/namespaces/default/services"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
CIDRS = ["203.0.113.0/24", "2001:db8:1::/120"]
LEASE = "leasehold-group-0"


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with Lab(nodes=1, pods_per_node=0, echo=False) as lab:
        try:
            made = ControlPlane(lab.api.netns, lab.api.ip4, tmp_path_factory.mktemp("kube"))
        except NotBuilt as reason:
            pytest.skip(str(reason))
        with made:
            yield made


@pytest.fixture(scope="module")
def installed(plane):
    """The control plane with the chart installed and its admission policy on."""
    plane.helm("install", "leasehold", str(CHART), "--namespace", NAMESPACE, "--set",
               f"pool={{{','.join(CIDRS)}}},admissionPolicy.enabled=true")
    try:
        yield plane
    finally:
        plane.helm("uninstall", "leasehold", "--namespace", NAMESPACE)


@pytest.fixture(scope="module")
def account(installed):
    """A client with the rights of the agents' ServiceAccount."""
    return installed.client(installed.token_for_serviceaccount(NAMESPACE, "leasehold"))


def apply(plane, text, path):
    path.write_text(text)
    return plane.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict",
                         "--output=name", "--filename", str(path)).split()


@pytest.mark.parametrize("settings", [
    "", "sysctlInit.enabled=true", "http.address=::,dataplane=announce",
    "admissionPolicy.enabled=true,admissionPolicy.ranges={203.0.113.0/24}"])
def test_server_side_apply(plane, tmp_path, settings):
    text = plane.helm("template", "leasehold", str(CHART), "--namespace", NAMESPACE, "--set",
                      f"pool={{{POOL}}}", "--set", settings)
    assert len(apply(plane, text, tmp_path / "chart.yaml")) == len(objects(text))


@pytest.mark.parametrize("template", ["daemonset.yaml", "static-pod.yaml"])
def test_server_side_apply_of_manifests(plane, tmp_path, template):
    text = fill(template, NAMESPACE=NAMESPACE, VERSION=VERSION, IMAGE="localhost/leasehold:1",
                POOLS=POOL, INTERFACES="eth0")
    assert len(apply(plane, text, tmp_path / "manifest.yaml")) == len(objects(text))


def can(client, verb, resource, name="", namespace=""):
    """What `kubectl auth can-i` asks; resource: [group/]resource[/subresource]."""
    group, _, rest = resource.rpartition("//")
    resource, _, subresource = rest.partition("/")
    answer = client.create(REVIEWS, {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "name": name, "namespace": namespace}}})
    return answer["status"]["allowed"]


LEASE_KIND = "coordination.k8s.io//leases"
ALLOWED = [
    *((verb, LEASE_KIND, "", NAMESPACE) for verb in ("get", "list", "watch", "create", "update")),
    ("get", "apps//daemonsets", "leasehold", NAMESPACE),
    *((verb, kind, "", "") for verb in ("get", "list", "watch")
      for kind in ("services", "discovery.k8s.io//endpointslices", "nodes")),
    ("patch", "services/status", "web", "default"),
    ("create", "events.k8s.io//events", "", "default"),
]
DENIED = [
    *((verb, LEASE_KIND, LEASE, NAMESPACE) for verb in ("patch", "delete", "deletecollection")),
    # A node's heartbeat.  Others' Leases in this namespace: see the admission policy.
    *((verb, LEASE_KIND, "node-a", "kube-node-lease") for verb in ("get", "list", "update")),
    ("create", LEASE_KIND, "", "default"),
    *((verb, "services", "web", "default") for verb in ("create", "update", "patch", "delete")),
    ("update", "services/status", "web", "default"),
    *((verb, "discovery.k8s.io//endpointslices", "web", "default")
      for verb in ("create", "update", "patch", "delete")),
    *((verb, "events.k8s.io//events", "", "default") for verb in ("list", "patch", "delete")),
    ("create", "events", "", "default"),
    *((verb, kind, "", NAMESPACE) for verb in ("get", "list", "create")
      for kind in ("secrets", "configmaps", "pods", "endpoints", "serviceaccounts",
                   "rbac.authorization.k8s.io//roles", "apps//daemonsets")),
    ("get", "apps//daemonsets", "kube-proxy", NAMESPACE),
    *((verb, "apps//daemonsets", "leasehold", NAMESPACE) for verb in ("list", "update", "patch", "delete")),
    ("create", "serviceaccounts/token", "leasehold", NAMESPACE),
    ("create", "pods/exec", "", NAMESPACE),
    *((verb, "nodes", "", "") for verb in ("update", "patch", "delete")),
    ("patch", "nodes/status", "", ""), ("get", "namespaces", "", ""),
    ("impersonate", "users", "admin", ""), ("*", "*", "", ""),
]


@pytest.mark.parametrize("question", ALLOWED, ids=" ".join)
def test_allowed(account, question):
    assert can(account, *question)


@pytest.mark.parametrize("question", DENIED, ids=" ".join)
def test_denied(account, question):
    assert not can(account, *question)


def test_lease_life(account):
    """The requests of the agent itself, for an access review is only an opinion."""
    ours = {"app.kubernetes.io/managed-by": "leasehold"}
    selector = {"labelSelector": "app.kubernetes.io/managed-by=leasehold"}
    assert account.list(LEASES, **selector) == []
    lease = account.create(LEASES, {"metadata": {"name": LEASE, "labels": ours},
                                    "spec": {"holderIdentity": "a", "leaseDurationSeconds": 3}})
    lease["spec"]["holderIdentity"] = "b"
    account.replace(f"{LEASES}/{LEASE}", lease)
    assert account.get(f"{LEASES}/{LEASE}")["spec"]["holderIdentity"] == "b"
    seen = next(account.watch(LEASES, 5, sendInitialEvents="true", allowWatchBookmarks="true",
                              resourceVersionMatch="NotOlderThan", **selector))
    assert seen["object"]["metadata"]["name"] == LEASE


# --- the admission policy ---------------------------------------------------------------------------


@pytest.fixture
def service(installed):
    """Makes Services of a class; they go after the test."""
    made = []

    def make(name, klass="leasehold.io/vip", **metadata):
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
        if klass:
            spec["loadBalancerClass"] = klass
        installed.api.create(SERVICES, {"metadata": {"name": name, **metadata}, "spec": spec})
        made.append(name)
        return f"{SERVICES}/{name}/status"

    yield make
    for name in made:
        # Some tests try to set finalizers; should that succeed, they must not keep the Service.
        installed.api.patch(f"{SERVICES}/{name}", {"metadata": {"finalizers": None}})
        installed.api.delete(f"{SERVICES}/{name}")


def ingress(*addresses):
    return {"status": {"loadBalancer": {"ingress": [{"ip": a, "ipMode": "VIP"}
                                                    for a in addresses]}}}


def refused(client, path, body, words):
    with pytest.raises(ApiError) as error:
        client.patch(path, body)
    assert error.value.status == 403
    assert words in error.value.message


def wait_for_policy(account, path):
    """A new policy takes a moment until the server compiles and enforces it."""
    from netns.lab import wait_for

    def enforced():
        try:
            account.patch(path, ingress("192.0.2.99"))
        except ApiError as error:
            return error.status == 403
        account.patch(path, {"status": {"loadBalancer": {"ingress": None}}})
        return False

    wait_for(enforced, 30, 0.2, "the policy refuses a foreign address")


def test_policy_lets_the_agent_work(account, service):
    path = service("policy-good")
    wait_for_policy(account, path)
    account.patch(path, {"metadata": {"annotations": {
        "leasehold.io/allocated": "203.0.113.10,2001:db8:1::10",
        "leasehold.io/lease": "leasehold-group-1"}}})
    account.patch(path, ingress("203.0.113.10", "2001:db8:1::10"))
    # Again, as after a move, and then cleared in one request.
    account.patch(path, ingress("203.0.113.10", "2001:db8:1::10"))
    cleared = account.patch(path, {
        "metadata": {"annotations": {"leasehold.io/allocated": None, "leasehold.io/lease": None}},
        "status": {"loadBalancer": {"ingress": None}}})
    assert "leasehold.io/allocated" not in cleared["metadata"].get("annotations", {})


@pytest.mark.parametrize("body, words", [
    (ingress("192.0.2.1"), "only addresses of its pool"),
    (ingress("203.0.113.10", "2001:db8:2::1"), "only addresses of its pool"),
    ({"status": {"loadBalancer": {"ingress": [{"hostname": "example.com"}]}}},
     "only addresses of its pool"),
    ({"metadata": {"annotations": {"example.com/a": "b"}}}, "no annotation but"),
    ({"metadata": {"annotations": {"kept": None}}}, "no annotation but"),
    ({"metadata": {"annotations": {"kept": "changed"}}}, "no annotation but"),
    ({"metadata": {"labels": {"a": "b"}}}, "no labels, finalizers or owners"),
    ({"metadata": {"finalizers": ["example.com/stuck"]}}, "no labels, finalizers or owners"),
], ids=str)
def test_policy_refuses(account, service, body, words):
    path = service("policy-bad", annotations={"kept": "yes"})
    wait_for_policy(account, path)
    refused(account, path, body, words)


def test_policy_leaves_others_leases_alone(installed, account):
    """RBAC lets the agents write any Lease of the namespace, the policy only their own."""
    from netns.lab import wait_for

    spec = {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 3}}
    foreign = installed.api.create(LEASES, {"metadata": {"name": "kube-scheduler"}, **spec})

    def tried(call, *arguments):
        try:
            call(*arguments)
        except ApiError as error:
            return error.status, error.message
        return 0, ""

    def enforced():
        return tried(account.replace, f"{LEASES}/kube-scheduler",
                     installed.api.get(f"{LEASES}/kube-scheduler"))[0] == 403

    try:
        wait_for(enforced, 30, 0.2, "the policy refuses a foreign Lease")
        status, words = tried(account.create, LEASES, {"metadata": {"name": "other"}, **spec})
        assert status == 403
        assert "only Leases of its own" in words
        account.create(LEASES, {"metadata": {"name": "leasehold-node-a"}, **spec})
        installed.api.replace(f"{LEASES}/kube-scheduler", installed.api.get(f"{LEASES}/kube-scheduler"))
        assert foreign["metadata"]["uid"]
    finally:
        for name in ("kube-scheduler", "leasehold-node-a"):
            if installed.api.exists(f"{LEASES}/{name}"):
                installed.api.delete(f"{LEASES}/{name}")


@pytest.mark.parametrize("klass", ["example.com/other", None])
def test_policy_keeps_to_our_class(account, service, klass):
    path = service("policy-class", klass=klass)
    wait_for_policy(account, path)
    refused(account, path, ingress("203.0.113.10"), "only for Services of its class")


def test_policy_is_about_us_alone(installed, account, service):
    path = service("policy-others")
    wait_for_policy(account, path)
    installed.api.patch(path, ingress("192.0.2.1"))
    # What another put there may stay, as when the pool has shrunk.
    account.patch(path, ingress("192.0.2.1", "203.0.113.10"))


# --- life of a release -------------------------------------------------------------------------------


def test_upgrade_and_uninstall(installed):
    """Upgrades keep what the agents made, and uninstalling removes every object of the chart."""
    def annotation():
        pods = installed.api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/leasehold")
        return pods["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    before = annotation()
    installed.helm("upgrade", "leasehold", str(CHART), "--namespace", NAMESPACE, "--reuse-values",
                   "--set", "leaseDuration=5s")
    assert annotation() != before
    config = installed.api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/leasehold")
    assert yaml.safe_load(config["data"]["leasehold.yaml"])["lease-duration"] == "5s"
    # The Lease is the agents', not the release's.
    assert installed.api.exists(f"{LEASES}/{LEASE}")
    listed = objects(installed.helm("get", "manifest", "leasehold", "--namespace", NAMESPACE))
    installed.helm("uninstall", "leasehold", "--namespace", NAMESPACE)
    for one in listed:
        kind = {"ValidatingAdmissionPolicy": "validatingadmissionpolicies"}.get(
            one["kind"], one["kind"].lower() + "s")
        group = one["apiVersion"]
        where = f"/namespaces/{NAMESPACE}" if "namespace" in one["metadata"] else ""
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        assert not installed.api.exists(f"{root}{where}/{kind}/leasehold"), one["kind"]
    # For the fixture, which uninstalls too.
    installed.helm("install", "leasehold", str(CHART), "--namespace", NAMESPACE, "--set",
                   f"pool={{{','.join(CIDRS)}}}")
