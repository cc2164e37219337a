# SPDX-License-Identifier: Apache-2.0
"""The API client against the real kube-apiserver and etcd: what the in-memory server is believed to do, it does."""

import pytest
from fakekube import support, transcript
from fakekube.fault_proxy import FaultProxy
from kube.process import wait_until

from unit.kube.live import DRIVER, LEASES, PORTS, Driver, numbers, requests, write

pytestmark = [pytest.mark.kube, pytest.mark.netns,
              pytest.mark.skipif(not DRIVER.exists(), reason=f"no {DRIVER}: run make unit-programs"),
              pytest.mark.skipif(not support.real_is_built(), reason="Kubernetes is not built: tests/kube/build.sh")]


@pytest.fixture(name="plane", scope="module")
def real_plane(tmp_path_factory):
    """etcd and an API server in a namespace of their own."""
    with support.control_plane("kube", tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture(name="proxy", scope="module")
def real_proxy(plane, tmp_path_factory):
    """A fault proxy before it."""
    with FaultProxy(plane.servers[0].netns, f"{support.ADDRESS}:{PORTS[0]}", plane,
                    tmp_path_factory.mktemp("proxy")) as made:
        yield made


@pytest.fixture(name="clean")
def without_faults(proxy):
    """The proxy, without faults before and after."""
    proxy.clear()
    yield proxy
    proxy.clear()
    proxy.mode("pass")


@pytest.fixture(name="leases")
def some_leases(plane):
    """The path of the Leases of a new namespace with the Leases a, b and c."""
    namespace = f"real-{next(numbers)}"
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    path = LEASES.format(namespace)
    for name in ("a", "b", "c"):
        plane.api.create(path, transcript.lease(name))
    return path


@pytest.fixture(name="driver")
def real_driver(plane, clean):
    """A client that goes through the proxy."""
    with Driver(plane.servers[0].netns, "--kubeconfig", clean.admin_kubeconfig) as made:
        yield made


@pytest.mark.parametrize("watch_list", [True, False], ids=["watch-list", "list"])
def test_view(plane, clean, driver, leases, watch_list):
    """A complete view by either way, then what happens; pages; a field selector."""
    if not watch_list:
        clean.rule("answer", verb="WATCH", path="sendInitialEvents", code=422)
        with support.session(plane.api) as ask:
            for number in range(600):
                assert ask("POST", leases, transcript.lease(f"n{number}"))[0] == 201
    view = driver.watch(leases)
    one = driver.watch(leases, number=1, channel="lease", selector="metadata.name=b")
    assert list(one.objects()) == ["b"] and view.begun_anew(0) == 1
    view.wait_equal(plane.api, leases)
    assert len(requests(clean, "GET", f"{leases}.*limit=500")) == (0 if watch_list else 3)
    write(plane.api, leases, "a", "x")
    plane.api.delete(f"{leases}/b")
    driver.wait(None, what="gone", name="b", watch=0)
    driver.wait(None, what="gone", name="b", watch=1)
    view.wait_equal(plane.api, leases)
    assert one.objects() == {}


@pytest.mark.parametrize("at", ["middle", "end"])
def test_torn_stream(plane, clean, driver, leases, at):
    """Resumed where it was, nothing lost and nothing twice."""
    clean.rule("tear", verb="WATCH", path=f"{leases}.*resourceVersion=\\d", count=1, events=2, at=at)
    clean.rule("tear", verb="WATCH", path=f"{leases}.*sendInitialEvents", count=1, events=5, at=at)
    view = driver.watch(leases)
    for number, name in enumerate("abcabcabc"):
        plane.api.patch(f"{leases}/{name}", {"metadata": {"annotations": {"x": str(number)}}})
    view.wait_equal(plane.api, leases)
    assert view.begun_anew(0) == 1
    versions = [int(e["version"]) for e in driver.events(what="put")][3:]
    assert versions == sorted(set(versions)) and len(versions) == 9


def test_version_that_is_too_old(plane, clean, leases):
    """The server has forgotten our version (it is from before its own start): a complete view again."""
    with Driver(plane.servers[0].netns, "--kubeconfig", clean.admin_kubeconfig) as driver:
        view = driver.watch(leases)
        clean.mode("refuse")
        driver.wait(None, what="live", live=False)
        for number in range(200):       # more than the new server's watch cache holds from the start
            write(plane.api, leases, "a", f"x{number}")
        plane.api.delete(f"{leases}/b")
        plane.restart()
        since = driver.mark()
        clean.mode("pass")
        driver.wait(None, since, what="synced", seconds=60)
        assert view.begun_anew(since) == 1
        view.wait_equal(plane.api, leases, seconds=30)
        wait_until(lambda: driver.events(what="live")[-1]["live"], 20, "an end of the doubt")


def test_restart(plane, driver, leases):
    """The server dies and comes back: doubt, then the view."""
    view = driver.watch(leases, channel="lease")
    since = driver.mark()
    plane.kill()
    try:
        driver.wait(None, since, what="live", live=False)
    finally:
        plane.restart()
    driver.wait(None, since, what="live", live=True, seconds=60)
    write(plane.api, leases, "a", "after")
    view.wait_equal(plane.api, leases, seconds=30)


def test_replies_and_refusals(plane, driver, leases):
    """Status, reason and message as the server gives them."""
    path = f"{leases}/a"
    lease = plane.api.get(path)
    write(plane.api, leases, "a", "someone")
    reply = driver.ask("PUT", path, lease, channel="lease")
    assert (reply["status"], reply["reason"]) == (409, "Conflict")
    reply = driver.ask("POST", leases, transcript.lease("a"))
    assert (reply["status"], reply["reason"]) == (409, "AlreadyExists")
    reply = driver.ask("GET", f"{leases}/missing")
    assert (reply["status"], reply["reason"]) == (404, "NotFound") and "missing" in reply["error"]
    reply = driver.ask("PUT", path, plane.api.get(path), channel="lease")
    assert reply["status"] == 200
