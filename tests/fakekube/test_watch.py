"""Watches of the in-memory API server are those of the real one: the same cases run against
both."""

import json

import pytest

from . import support, transcript
from .support import LiveWatch, refused, shown
from .test_fakekube import leases, services

WATCH_LIST = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan",
              "allowWatchBookmarks": "true"}


def _is_initial_end(event):
    return event["type"] == "BOOKMARK" and event["object"]["metadata"].get(
        "annotations", {}).get("k8s.io/initial-events-end") == "true"


def _lease(api, namespace, name, **labels):
    return api.create(leases(namespace), {**transcript.lease(name), "metadata": {
        "name": name, "labels": labels}})


def _version(obj):
    return obj["metadata"]["resourceVersion"]


def test_tells_of_every_write_in_order(plane, namespace):
    """ADDED, MODIFIED, DELETED, each with its version, growing, with kind and apiVersion."""
    api, path = plane.api, leases(namespace)
    start = _version(api.get(path))
    with LiveWatch(api, path, resourceVersion=start) as watch:
        made = _lease(api, namespace, "a")
        api.patch(path + "/a", {"spec": {"holderIdentity": "b"}})
        api.patch(path + "/a", {"spec": {"holderIdentity": "b"}})      # changes nothing
        api.delete(path + "/a")
        events = watch.until(lambda e: e["type"] == "DELETED")
    assert shown(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(_version(e["object"])) for e in events]
    assert versions == sorted(set(versions)) and versions[0] == int(_version(made))
    assert all(e["object"]["kind"] == "Lease" and
               e["object"]["apiVersion"] == "coordination.k8s.io/v1" for e in events)
    assert events[2]["object"]["spec"]["holderIdentity"] == "b"


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}])
def test_without_a_version_begins_with_what_is_there(plane, namespace, query):
    """Existing objects come as ADDED in order of their names, then what happens."""
    for name in ("b", "c", "a"):
        _lease(plane.api, namespace, name)
    with LiveWatch(plane.api, leases(namespace), **query) as watch:
        first = [watch.next() for _ in range(3)]
        plane.api.delete(leases(namespace) + "/c")
        assert shown([*first, watch.next()]) == [
            ("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("DELETED", "c")]


def test_resumes_where_it_was(plane, namespace):
    """From a version on: everything later, nothing twice."""
    api, path = plane.api, leases(namespace)
    _lease(api, namespace, "a")
    middle = _version(_lease(api, namespace, "b"))
    _lease(api, namespace, "c")
    api.delete(path + "/a")
    events = list(api.watch(path, 1, resourceVersion=middle))
    assert shown(events) == [("ADDED", "c"), ("DELETED", "a")]


def test_ends_after_timeout_seconds(plane, namespace):
    """The stream ends in order; a client without news just watches again."""
    assert not list(plane.api.watch(leases(namespace), 1, resourceVersion=_version(
        plane.api.get(leases(namespace)))))


def test_selection_by_name_and_label(plane, namespace):
    """An object that starts to match is ADDED, one that stops is DELETED in its last matching
    state's place."""
    api, path = plane.api, leases(namespace)
    start = _version(api.get(path))
    with LiveWatch(api, path, resourceVersion=start, labelSelector="app=web") as by_label, \
            LiveWatch(api, path, resourceVersion=start, fieldSelector="metadata.name=b") as by_name:
        _lease(api, namespace, "a")
        _lease(api, namespace, "b", app="web")
        api.patch(path + "/a", {"metadata": {"labels": {"app": "web"}}})
        left = api.patch(path + "/a", {"metadata": {"labels": {"app": "db"}}})
        api.delete(path + "/b")
        events = by_label.until(lambda e: shown([e]) == [("DELETED", "b")])
        assert shown(events) == [("ADDED", "b"), ("ADDED", "a"), ("DELETED", "a"),
                                 ("DELETED", "b")]
        assert _version(events[2]["object"]) == _version(left)
        assert events[2]["object"]["metadata"]["labels"] == {"app": "web"}
        assert shown(by_name.until(lambda e: e["type"] == "DELETED")) == [
            ("ADDED", "b"), ("DELETED", "b")]


def test_watch_list(plane, namespace):
    """sendInitialEvents: what is there, the bookmark that says so, then what happens."""
    for name in ("a", "b"):
        last = _lease(plane.api, namespace, name)
    with LiveWatch(plane.api, leases(namespace), **WATCH_LIST) as watch:
        events = watch.until(_is_initial_end)
        assert shown(events) == [("ADDED", "a"), ("ADDED", "b")]
        mark = events[-1]["object"]
        assert mark["kind"] == "Lease" and int(_version(mark)) >= int(_version(last))
        _lease(plane.api, namespace, "c")
        assert shown(watch.until(lambda e: e["type"] == "ADDED")) == [("ADDED", "c")]
    resumed = list(plane.api.watch(leases(namespace), 1, resourceVersion=_version(mark)))
    assert shown(resumed) == [("ADDED", "c")]


def test_watch_list_of_nothing(plane, namespace):
    """An empty collection has its bookmark at once."""
    with LiveWatch(plane.api, leases(namespace), **WATCH_LIST) as watch:
        assert _is_initial_end(watch.next())


def test_watch_list_with_its_version(plane, namespace):
    """A version asked for is reached or passed; one from the future times out."""
    made = _lease(plane.api, namespace, "a")
    with LiveWatch(plane.api, leases(namespace), resourceVersion=_version(made),
                   **WATCH_LIST) as watch:
        events = watch.until(_is_initial_end)
        assert shown(events) == [("ADDED", "a")]


def test_no_initial_events_if_not_wanted(plane, namespace):
    """sendInitialEvents=false begins with the next write."""
    _lease(plane.api, namespace, "a")
    query = {**WATCH_LIST, "sendInitialEvents": "false"}
    assert shown(plane.api.watch(leases(namespace), 1, **query)) == []


@pytest.mark.parametrize("query", [
    {"sendInitialEvents": "true"}, {"resourceVersionMatch": "NotOlderThan"},
    {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"}])
def test_impossible_watch_lists_are_refused(plane, namespace, query):
    """422, so that a client can tell it from an outage."""
    error = refused(lambda: list(plane.api.watch(leases(namespace), 1, **query)))
    assert (error.status, error.reason) == (422, "Invalid")


def test_resuming_across_a_restart(plane_of_its_own):
    """A restarted server has forgotten its events: resuming from before is 410 Expired in an ERROR
    event, resuming from its present is not."""
    plane = plane_of_its_own
    old = _version(_lease(plane.api, "default", "a"))
    for i in range(5):
        plane.api.patch(leases("default") + "/a", {"spec": {"leaseTransitions": i}})
    plane.kill()
    plane.restart()
    events = list(plane.api.watch(leases("default"), 2, resourceVersion=old))
    assert [e["type"] for e in events] == ["ERROR"]
    status = events[0]["object"]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    present = _version(plane.api.get(leases("default")))
    plane.api.delete(leases("default") + "/a")
    events = list(plane.api.watch(leases("default"), 1, resourceVersion=present))
    assert shown(events) == [("DELETED", "a")]


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.fake),
                        pytest.param("kube", marks=pytest.mark.kube)])
def plane_of_its_own(request, tmp_path):
    """A control plane that a test may break."""
    if request.param == "kube" and not support.real_is_built():
        pytest.skip("the real Kubernetes is not built: run tests/kube/build.sh")
    with support.control_plane(request.param, tmp_path) as plane:
        yield plane


def test_kill_breaks_the_watch(plane_of_its_own):
    """The death of the server is the end of the stream, seen at once."""
    plane = plane_of_its_own
    _lease(plane.api, "default", "a")
    with LiveWatch(plane.api, leases("default"), 60) as watch:
        assert shown([watch.next()]) == [("ADDED", "a")]
        plane.kill()
        assert watch.rest() == []


# --- what only the in-memory server can be told ---


@pytest.mark.fake
def test_bookmarks_come_and_carry_the_version(fake, namespace):
    """With allowWatchBookmarks the version moves on although nothing here is written; without,
    no bookmark comes."""
    fake.control("set", bookmarkSeconds=0.2)
    try:
        start = _version(fake.api.get(leases(namespace)))
        other = fake.api.create(services(namespace), transcript.service("web"))
        with LiveWatch(fake.api, leases(namespace), resourceVersion=start,
                       allowWatchBookmarks="true") as watch:
            mark = watch.next()
        assert mark["type"] == "BOOKMARK" and mark["object"]["kind"] == "Lease"
        assert int(_version(mark["object"])) >= int(_version(other))
        assert not list(fake.api.watch(leases(namespace), 1, resourceVersion=start))
    finally:
        fake.control("set", bookmarkSeconds=5)


@pytest.mark.fake
def test_too_old_after_compaction(fake, namespace):
    """The history ends where it is told to: as an ERROR event, or as HTTP 410."""
    old = _version(_lease(fake.api, namespace, "a"))
    page = fake.api.get("/api/v1/namespaces", limit=1)["metadata"]["continue"]
    _lease(fake.api, namespace, "b")
    fake.control("compact")
    events = list(fake.api.watch(leases(namespace), 2, resourceVersion=old))
    assert [(e["type"], e["object"]["code"]) for e in events] == [("ERROR", 410)]
    fake.control("set", goneAsHttp=True)
    try:
        error = refused(lambda: list(fake.api.watch(leases(namespace), 1, resourceVersion=old)))
        assert (error.status, error.reason) == (410, "Expired")
    finally:
        fake.control("set", goneAsHttp=False)
    error = refused(fake.api.get, "/api/v1/namespaces", **{"limit": 1, "continue": page})
    assert (error.status, error.reason) == (410, "Expired")


@pytest.mark.fake
def test_history_is_bounded(tmp_path):
    """With room for few events, the old ones go and watches from there are too old."""
    with support.control_plane("fake", tmp_path, flags=["--history", "10"]) as plane:
        first = _version(_lease(plane.api, "default", "a"))
        for i in range(60):
            last = _version(plane.api.patch(leases("default") + "/a", {
                "spec": {"leaseTransitions": i}}))
        assert [e["type"] for e in plane.api.watch(leases("default"), 1,
                                                   resourceVersion=first)] == ["ERROR"]
        recent = str(int(last) - 5)
        assert len(list(plane.api.watch(leases("default"), 1, resourceVersion=recent))) == 5


@pytest.mark.fake
def test_watch_list_can_be_switched_off(fake, namespace):
    """Then the server refuses it with 422, as servers without it do."""
    fake.control("set", watchList=False)
    try:
        error = refused(lambda: list(fake.api.watch(leases(namespace), 1, **WATCH_LIST)))
        assert (error.status, error.reason) == (422, "Invalid")
    finally:
        fake.control("set", watchList=True)
    assert _is_initial_end(next(fake.api.watch(leases(namespace), 1, **WATCH_LIST)))


@pytest.mark.fake
@pytest.mark.parametrize("abort", [False, True])
def test_ends_watches_on_demand(fake, namespace, abort):
    """All streams end, in order or by a reset; a resumed one has missed nothing."""
    start = _version(_lease(fake.api, namespace, "a"))
    with LiveWatch(fake.api, leases(namespace), 60, resourceVersion=start) as watch:
        _lease(fake.api, namespace, "b")
        last = watch.next()
        fake.control("endWatches", abort=abort)
        assert watch.rest() == []
    _lease(fake.api, namespace, "c")
    assert shown(fake.api.watch(leases(namespace), 1,
                                resourceVersion=_version(last["object"]))) == [("ADDED", "c")]


@pytest.mark.fake
def test_watch_that_nobody_reads_hinders_nobody(fake, namespace):
    """A client that stops reading does not hold up writes or other watches."""
    connection, _ = fake.api._send(     # pylint: disable=protected-access
        "GET", leases(namespace), None, None, {"watch": "true"}, 60)
    try:
        big = {"metadata": {"annotations": {"a": "x" * 100000}}}
        with LiveWatch(fake.api, leases(namespace), 60) as watch:
            _lease(fake.api, namespace, "a")
            watch.next()
            for i in range(100):        # 10 MB: more than any socket buffers hold
                big["metadata"]["annotations"]["n"] = str(i)
                fake.api.patch(leases(namespace) + "/a", json.loads(json.dumps(big)))
            for i in range(100):
                event = watch.next()
            assert event["object"]["metadata"]["annotations"]["n"] == "99"
    finally:
        connection.close()
