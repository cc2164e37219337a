"""The in-memory API server behaves as the real one in all that the agent, the tests and the demo
use: the same cases run against both, and whole conversations are compared answer by answer."""

import json
import time

import pytest
from kube.client import ApiError, Client

from . import support, transcript
from .cluster import FakeControlPlane
from .support import refused, unique

RBAC = transcript.RBAC


def leases(namespace):
    """The path of a namespace's Leases."""
    return transcript.LEASES.replace("{ns}", namespace)


def services(namespace):
    """The path of a namespace's Services."""
    return transcript.SERVICES.replace("{ns}", namespace)


# --- both servers say the same ---


@pytest.mark.kube
@pytest.mark.fake
@pytest.mark.parametrize("scene", transcript.SCENES)
def test_conversations_agree(planes, scene):
    """Code, reason, details and object of every answer of a long conversation are the same."""
    told = {}
    for kind in ("fake", "kube"):
        api, name = planes(kind).api, f"talk-{scene}"
        api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        conversation = transcript.Transcript(api, name)
        transcript.SCENES[scene](conversation)
        told[kind] = conversation.lines
    assert len(told["fake"]) == len(told["kube"]) > 10
    for fake, kube in zip(told["fake"], told["kube"]):
        assert fake == kube


@pytest.mark.kube
@pytest.mark.fake
@pytest.mark.parametrize("sample", transcript.samples("t"))
def test_odd_objects_are_judged_alike(planes, sample):
    """Objects with one odd value each: the same code and the same rejected fields."""
    said = {}
    for kind in ("fake", "kube"):
        api, name = planes(kind).api, f"odd-{sample}"
        api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        api.create(services(name), transcript.service("web"))
        with support.session(api) as session:
            said[kind] = transcript.judgements(session, name, sample)
    assert said["fake"]["itself"][0] < 300
    assert said["fake"] == said["kube"]


@pytest.mark.fake
@pytest.mark.parametrize("sample", transcript.samples("t"))
def test_odd_objects_are_no_trouble(fake, namespace, sample):
    """Whatever is sent is taken or refused, never an internal error."""
    fake.api.create(services(namespace), transcript.service("web"))
    with support.session(fake.api) as session:
        said = transcript.judgements(session, namespace, sample)
    assert all(code < 500 for code, _ in said.values())


# --- writing ---


def test_version_grows_with_every_write_and_with_no_other(plane, namespace):
    """One counter for all kinds; a write that changes nothing is none."""
    api, path = plane.api, leases(namespace)
    first = api.create(path, transcript.lease("a"))
    service = api.create(services(namespace), transcript.service("web"))
    changed = json.loads(json.dumps(first))
    changed["spec"]["holderIdentity"] = "b"
    second = api.replace(path + "/a", changed)
    third = api.replace(path + "/a", second)
    versions = [int(x["metadata"]["resourceVersion"]) for x in (first, service, second, third)]
    assert versions[0] < versions[1] < versions[2] == versions[3]
    assert second["metadata"]["uid"] == first["metadata"]["uid"]


def test_of_two_writers_with_one_version_one_wins(plane, namespace):
    """Optimistic locking: the loser gets 409 Conflict and the object is the winner's."""
    api, path = plane.api, leases(namespace)
    read = api.create(path, transcript.lease("a", holderIdentity=""))
    for holder in ("b", "c"):
        mine = json.loads(json.dumps(read))
        mine["spec"]["holderIdentity"] = holder
        if holder == "b":
            api.replace(path + "/a", mine)
        else:
            error = refused(api.replace, path + "/a", mine)
            assert (error.status, error.reason) == (409, "Conflict")
            assert error.body["details"] == {"name": "a", "group": "coordination.k8s.io",
                                             "kind": "leases"}
    assert api.get(path + "/a")["spec"]["holderIdentity"] == "b"


def test_recreated_lease_is_not_hit_by_an_old_put(plane, namespace):
    """A PUT with the uid and version of a deleted object does not bring it back."""
    api, path = plane.api, leases(namespace)
    old = api.create(path, transcript.lease("a"))
    api.delete(path + "/a")
    assert refused(api.replace, path + "/a", old).reason == "Conflict"
    api.create(path, transcript.lease("a"))
    assert refused(api.replace, path + "/a", old).reason == "Conflict"


def test_status_patch_carries_annotations_and_no_spec(plane, namespace):
    """services/status passes metadata and status on, and the main resource passes no status."""
    api, path = plane.api, services(namespace) + "/web"
    api.create(services(namespace), transcript.service("web"))
    got = api.patch(path + "/status", {
        "metadata": {"annotations": {"leasehold.io/allocated": "203.0.113.10"}},
        "spec": {"loadBalancerIP": "203.0.113.99"},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10", "ipMode": "VIP"}]}}})
    assert got["metadata"]["annotations"] == {"leasehold.io/allocated": "203.0.113.10"}
    assert "loadBalancerIP" not in got["spec"]
    assert got["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.10", "ipMode": "VIP"}]
    got = api.patch(path, {"status": {"loadBalancer": None}})
    assert got["status"]["loadBalancer"]["ingress"]


def test_status_goes_when_the_type_does(plane, namespace):
    """A Service that is no LoadBalancer any more has no ingress, class or node ports."""
    api, path = plane.api, services(namespace) + "/web"
    api.create(services(namespace), transcript.service("web", loadBalancerClass="a.example/b"))
    api.patch(path + "/status", {"status": {"loadBalancer": {"ingress": [
        {"ip": "203.0.113.10"}]}}})
    got = api.patch(path, {"spec": {"type": "ClusterIP"}})
    assert got["status"] == {"loadBalancer": {}}
    assert "loadBalancerClass" not in got["spec"]
    assert "nodePort" not in got["spec"]["ports"][0]


def test_services_get_addresses_and_ports_of_their_own(plane, namespace):
    """clusterIPs and nodePorts are unique; both families where asked."""
    made = [plane.api.create(services(namespace), transcript.service(
        f"s{i}", ipFamilyPolicy="PreferDualStack")) for i in range(20)]
    addresses = [a for s in made for a in s["spec"]["clusterIPs"]]
    ports = [s["spec"]["ports"][0]["nodePort"] for s in made]
    assert len(set(addresses)) == 40 and len(set(ports)) == 20
    assert all(30000 <= p <= 32767 for p in ports)
    assert all(s["spec"]["ipFamilies"] == ["IPv4", "IPv6"] for s in made)


def test_finalizer_delays_deletion(plane, namespace):
    """DELETE marks an object with finalizers; taking the last one away removes it."""
    api, path = plane.api, services(namespace) + "/web"
    api.create(services(namespace), {**transcript.service("web"), "metadata": {
        "name": "web", "finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}})
    assert "deletionTimestamp" in api.delete(path)["metadata"]
    assert "deletionTimestamp" in api.get(path)["metadata"]
    api.patch(path, {"metadata": {"finalizers": None}})
    assert not api.exists(path)


def test_deleted_namespace_takes_its_objects_along(plane):
    """DELETE of a namespace ends with neither it nor what was in it."""
    name = unique("gone")
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    plane.api.create(leases(name), transcript.lease("a"))
    plane.api.delete(f"/api/v1/namespaces/{name}")
    support.wait_until(lambda: not plane.api.exists(f"/api/v1/namespaces/{name}"), 60,
                       "the end of the namespace")
    assert plane.api.list(leases(name)) == []


def test_dry_run_changes_nothing(plane, namespace):
    """dryRun=All answers as usual and stores nothing."""
    api, path = plane.api, leases(namespace)
    assert api.create(path, transcript.lease("a"), dryRun="All")["spec"]["holderIdentity"] == "a"
    assert not api.exists(path + "/a")


def test_strict_validation_names_the_unknown_field(plane, namespace):
    """fieldValidation=Strict refuses what is otherwise dropped."""
    error = refused(plane.api.create, leases(namespace), transcript.lease("a", colour="red"),
                    fieldValidation="Strict")
    assert error.status == 400 and 'unknown field "spec.colour"' in error.message


# --- lists ---


def test_pages_show_one_state(plane, namespace):
    """limit and continue: all objects once, as they were at the first page."""
    api, path = plane.api, leases(namespace)
    for i in range(7):
        api.create(path, transcript.lease(f"a{i}"))
    page = api.get(path, limit=3)
    version, names = page["metadata"]["resourceVersion"], []
    assert page["metadata"]["remainingItemCount"] == 4
    api.delete(path + "/a5")
    while True:
        names += [x["metadata"]["name"] for x in page["items"]]
        assert page["metadata"]["resourceVersion"] == version
        if not page["metadata"].get("continue"):
            break
        page = api.get(path, **{"limit": 3, "continue": page["metadata"]["continue"]})
    assert names == [f"a{i}" for i in range(7)]


def test_list_items_have_no_kind(plane, namespace):
    """The items of a list come without kind and apiVersion; the list has both."""
    plane.api.create(leases(namespace), transcript.lease("a"))
    got = plane.api.get(leases(namespace))
    assert (got["kind"], got["apiVersion"]) == ("LeaseList", "coordination.k8s.io/v1")
    assert "kind" not in got["items"][0] and "apiVersion" not in got["items"][0]


@pytest.mark.parametrize("query, wanted", [
    ({"labelSelector": "app=web"}, "ab"), ({"labelSelector": "app!=web"}, "cd"),
    ({"labelSelector": "app in (web, db)"}, "abc"), ({"labelSelector": "app notin (web)"}, "cd"),
    ({"labelSelector": "tier"}, "a"), ({"labelSelector": "!app"}, "d"),
    ({"labelSelector": "app==web,!tier"}, "b"), ({"fieldSelector": "metadata.name=c"}, "c"),
    ({"fieldSelector": "metadata.name!=c"}, "abd"), ({"resourceVersion": "0"}, "abcd"),
    ({"labelSelector": "app", "fieldSelector": "metadata.name=d"}, ""),
])
def test_selectors(plane, namespace, query, wanted):
    """Equality, inequality, existence and sets."""
    for name, labels in (("a", {"app": "web", "tier": "x"}), ("b", {"app": "web"}),
                         ("c", {"app": "db"}), ("d", {})):
        plane.api.create(leases(namespace), {**transcript.lease(name), "metadata": {
            "name": name, "labels": labels}})
    items = support.wait_until(
        # resourceVersion 0 may be answered from a cache that is a moment behind.
        lambda: [x for x in [plane.api.list(leases(namespace), **query)]
                 if "resourceVersion" not in query or len(x) == len(wanted)], 10, "the list")[0]
    assert "".join(x["metadata"]["name"] for x in items) == wanted


def test_version_from_the_future_times_out(plane, namespace):
    """A read that wants a version not there yet gets 504 with the cause that clients look for."""
    error = refused(plane.api.get, leases(namespace), resourceVersion=str(10 ** 12),
                    resourceVersionMatch="NotOlderThan")
    assert (error.status, error.reason) == (504, "Timeout")
    assert error.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert error.body["details"]["retryAfterSeconds"] == 1


# --- who may what ---


def _grant(plane, namespace, account, rules, cluster=False):
    role = "ClusterRole" if cluster else "Role"
    scope = "" if cluster else f"/namespaces/{namespace}"
    name = unique("role")
    plane.api.create(f"{RBAC}{scope}/{role.lower()}s", {
        "metadata": {"name": name}, "rules": rules})
    plane.api.create(f"{RBAC}{scope}/{role.lower()}bindings", {
        "metadata": {"name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name}})


def _allowed(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiError as error:
        assert error.status != 401
        return error.status != 403
    return True


def test_missing_rights_are_403(plane, namespace):
    """A service account may do what its roles say and nothing else; 403 says what was missing."""
    client = plane.client(plane.token_for_serviceaccount(namespace, "agent"))
    path = leases(namespace)
    error = refused(client.get, path)
    assert (error.status, error.reason) == (403, "Forbidden")
    assert f'User "system:serviceaccount:{namespace}:agent" cannot list resource "leases" in API ' \
        f'group "coordination.k8s.io" in the namespace "{namespace}"' in error.message
    _grant(plane, namespace, "agent", [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
         "verbs": ["get", "list", "watch", "create", "update"]}])
    _grant(plane, namespace, "agent", [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]}], cluster=True)
    support.wait_until(lambda: _allowed(client.get, path), 10, "the role's effect")
    support.wait_until(lambda: _allowed(client.get, "/api/v1/services"), 10, "the role's effect")
    client.replace(path + "/a", client.create(path, transcript.lease("a")))
    plane.api.create(services(namespace), transcript.service("web"))
    web = services(namespace) + "/web"
    client.patch(web + "/status", {"metadata": {"annotations": {"a": "b"}}})
    for call, args in ((client.patch, (web, {"metadata": {"annotations": {"a": "c"}}})),
                       (client.delete, (path + "/a",)), (client.patch, (path + "/a", {})),
                       (client.get, (leases("default"),)), (client.get, ("/api/v1/nodes",)),
                       (client.create, (services(namespace), transcript.service("other"))),
                       (client.get, ("/api/v1/secrets",)),
                       (client.replace, (web + "/status", {}))):
        assert not _allowed(call, *args), args


def test_resource_names_allow_list_and_watch_by_field(plane, namespace):
    """A right limited to one name covers lists and watches that select that name, and no others."""
    client = plane.client(plane.token_for_serviceaccount(namespace, "agent"))
    path = leases(namespace)
    _grant(plane, namespace, "agent", [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["a"],
         "verbs": ["get", "list", "watch"]}])
    plane.api.create(path, transcript.lease("a"))
    one = {"fieldSelector": "metadata.name=a"}
    support.wait_until(lambda: _allowed(client.get, path, **one), 10, "the role's effect")
    assert [e["type"] for e in client.watch(path, 1, **one)] == ["ADDED"]
    assert not _allowed(client.get, path)
    assert not _allowed(client.get, path, fieldSelector="metadata.name=b")
    assert not _allowed(client.get, path + "/b")


def test_bad_tokens_are_401(plane, namespace):
    """Nonsense, a changed token and the token of a deleted account: 401, not 403."""
    token = plane.token_for_serviceaccount(namespace, "agent")
    head, body, signature = token.split(".")
    changed = ("B" if signature[5] == "A" else "A").join((signature[:5], signature[6:]))
    for bad in ("nonsense", f"{head}.{body}.{changed}", f"{head}.{body}"):
        error = refused(plane.client(bad).get, "/version")
        assert (error.status, error.reason) == (401, "Unauthorized")
    client = plane.client(token)
    assert client.get("/version")["major"] == "1"
    plane.api.delete(f"/api/v1/namespaces/{namespace}/serviceaccounts/agent")
    # The real server remembers a good token for up to ten seconds.
    support.wait_until(lambda: refused(client.get, "/version").status == 401, 30, "401")


def test_without_credentials_only_health_and_version(plane, namespace):
    """Nobody in particular may ask for the health and the version."""
    client = plane.client()
    assert client.get("/livez") == client.get("/readyz") == client.get("/healthz") == "ok"
    assert client.get("/version")["gitVersion"].startswith("v1.35.")
    error = refused(client.get, leases(namespace))
    assert error.status == 403 and "system:anonymous" in error.message


def test_client_certificates_name_user_and_group(plane, namespace):
    """CN is the user and O the group, to which roles can be bound."""
    plane.kubeconfig_for_certificate("visitor", "visitor", "guests")
    pki = plane.workdir / "pki"
    client = Client(plane.url, plane.ca_file, pki / "visitor.crt", pki / "visitor.key",
                    netns=plane.servers[0].netns)
    assert 'User "visitor" cannot list' in refused(client.get, leases(namespace)).message
    name = unique("role")
    plane.api.create(f"{RBAC}/namespaces/{namespace}/rolebindings", {
        "metadata": {"name": name}, "subjects": [
            {"kind": "Group", "name": "guests", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "cluster-admin"}})
    support.wait_until(lambda: _allowed(client.get, leases(namespace)), 10, "the role's effect")


def test_kubernetes_endpointslice_names_the_servers(plane):
    """default/kubernetes lists the addresses where API servers answer."""
    got = plane.api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    assert [e["addresses"] for e in got["endpoints"]] == [[support.ADDRESS]]
    assert got["ports"][0]["port"] == 6443 and got["addressType"] == "IPv4"


# --- life ---


def _restart(plane):
    plane.kill()
    with pytest.raises(OSError):
        plane.api.get("/readyz")
    plane.restart()


@pytest.mark.parametrize("kind", [pytest.param("fake", marks=pytest.mark.fake),
                                  pytest.param("kube", marks=pytest.mark.kube)])
def test_objects_survive_kill(tmp_path, kind):
    """After kill -9 and a new start everything acknowledged is there, tokens are good, the counter
    goes on and a freeze is only a pause."""
    if kind == "kube" and not support.real_is_built():
        pytest.skip("the real Kubernetes is not built: run tests/kube/build.sh")
    with support.control_plane(kind, tmp_path) as plane:
        token = plane.token_for_serviceaccount("default", "agent")
        before = plane.api.create(leases("default"), transcript.lease("a"))
        plane.api.create(leases("default"), transcript.lease("b"))
        plane.api.delete(leases("default") + "/b")
        _restart(plane)
        after = plane.api.get(leases("default") + "/a")
        after["metadata"].pop("managedFields", None)
        before["metadata"].pop("managedFields", None)
        assert after == before
        assert not plane.api.exists(leases("default") + "/b")
        assert refused(plane.client(token).get, leases("default")).status == 403
        later = plane.api.create(leases("default"), transcript.lease("c"))
        assert int(later["metadata"]["resourceVersion"]) > int(
            before["metadata"]["resourceVersion"])
        plane.freeze()
        hasty = Client(plane.url, plane.ca_file, token=token, timeout=0.5,
                       netns=plane.servers[0].netns)
        with pytest.raises(OSError):
            hasty.get("/readyz")
        plane.thaw()
        assert plane.api.get("/readyz") == "ok"


@pytest.mark.fake
def test_half_written_journal_line_is_dropped(tmp_path):
    """A server killed within a write starts with all that came before."""
    with support.control_plane("fake", tmp_path) as plane:
        plane.api.create(leases("default"), transcript.lease("a"))
        plane.kill()
        with open(tmp_path / "state.journal", "ab") as file:
            file.write(b'{"rv":99999,"table":"coordination.k8s.io/leases","key":["default","b"],"o')
        plane.restart()
        assert [x["metadata"]["name"] for x in plane.api.list(leases("default"))] == ["a"]


@pytest.mark.fake
def test_servers_of_one_store_fail_alone(tmp_path):
    """Three servers, each in its namespace: one down or frozen leaves the others as they were."""
    with support.own_netns() as one, support.own_netns() as two, support.own_netns() as three:
        places = (one, two, three)
        with FakeControlPlane(places, [support.ADDRESS] * 3, tmp_path, servers=3) as plane:
            first, second, third = (s.client for s in plane.servers)
            first.create(leases("default"), transcript.lease("a"))
            assert second.get(leases("default") + "/a") == third.get(leases("default") + "/a")
            with support.LiveWatch(second, leases("default")) as watch:
                watch.next()
                plane.kill(1)
                with pytest.raises(OSError):
                    second.get("/readyz")
                watch.rest()
            assert plane.api.get("/readyz") == "ok"
            third.timeout = 0.5
            plane.freeze(2)
            with pytest.raises(OSError):
                third.get("/readyz")
            plane.kill(0)
            plane.thaw(2)
            assert plane.api is third and third.get("/readyz") == "ok"
            plane.restart()
            assert [s.client.get("/readyz") for s in plane.servers] == ["ok"] * 3
            assert first.exists(leases("default") + "/a")


@pytest.mark.fake
def test_dies_with_its_parent(tmp_path):
    """The server does not outlive a killed test run."""
    import os         # pylint: disable=import-outside-toplevel
    import signal     # pylint: disable=import-outside-toplevel
    with support.own_netns() as netns:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                plane = FakeControlPlane(netns, support.ADDRESS, tmp_path)
                plane.start()
                os.write(writer, str(plane.process.pid).encode())
                signal.pause()
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader) as file:
            pid = int(os.read(file.fileno(), 20))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        support.wait_until(lambda: not _is_running(pid), 10, "the server's end")


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- what only the in-memory server can be told ---


@pytest.mark.fake
@pytest.mark.parametrize("code, reason", [(429, "TooManyRequests"), (500, "InternalError"),
                                          (503, "ServiceUnavailable")])
def test_rejects_on_demand(fake, namespace, code, reason):
    """So many requests that match are answered with an error, the next one is served."""
    fake.api.create(leases(namespace), transcript.lease("a"))
    fake.control("reject", code=code, count=2, verb="GET", path=f"/{namespace}/leases/",
                 retryAfter=7)
    fake.api.list(leases(namespace))
    for _ in range(2):
        error = refused(fake.api.get, leases(namespace) + "/a")
        assert (error.status, error.reason) == (code, reason)
        if code == 429:
            assert error.body["details"]["retryAfterSeconds"] == 7
    assert fake.api.get(leases(namespace) + "/a")


@pytest.mark.fake
def test_five_hundred_services_at_once(fake, namespace):
    """500 Services created from 16 threads, seen by 50 watches; bounded so that a quadratic slip
    shows, with room for a busy machine."""
    from concurrent.futures import ThreadPoolExecutor   # pylint: disable=import-outside-toplevel
    watches = [support.LiveWatch(fake.api, services(namespace), 60, resourceVersion=fake.api.get(
        services(namespace))["metadata"]["resourceVersion"]) for _ in range(50)]
    start = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: fake.api.create(services(namespace),
                                                transcript.service(f"s{i}")), range(500)))
    for watch in watches:
        seen = set()
        while len(seen) < 500:
            seen.add(watch.next(30)["object"]["metadata"]["name"])
    assert time.monotonic() - start < 60
    assert len(fake.api.list(services(namespace))) == 500
