"""The fault proxy does what a rule says, does nothing else, and tells the two apart in its log."""

import contextlib
import http.client
import json
import os
import queue
import socket
import time

import pytest
from kube.client import ApiError, Client
from kube.process import wait_until

from . import support, transcript
from .fault_proxy import FaultProxy
from .support import LiveWatch, refused, shown
from .test_fakekube import leases

pytestmark = pytest.mark.fake
PORT = 7443
HASTE = 0.7     # seconds until a client of these tests calls a silence a silence


@pytest.fixture(scope="module")
def shared(planes, tmp_path_factory):
    """A proxy in front of the in-memory server."""
    plane = planes("fake")
    with FaultProxy(plane.servers[0].netns, f"{support.ADDRESS}:{PORT}", plane,
                    tmp_path_factory.mktemp("proxy")) as made:
        yield made


@pytest.fixture
def proxy(shared):
    """The proxy, without rules before and after."""
    yield shared
    shared.clear()
    shared.mode("pass")


@pytest.fixture
def path(proxy, fake, namespace):
    """The path of the Leases of a new namespace."""
    del proxy, fake
    return leases(namespace)


def _hasty(proxy):
    client = proxy.api
    client.timeout = HASTE
    return client


@contextlib.contextmanager
def _second_look(connection):
    """A function that tells close from reset after the end of a connection.  Python's TLS hides
    the error, but a socket that was reset has no peer any more."""
    with socket.socket(fileno=os.dup(connection.sock.fileno())) as sock:
        def look():
            try:
                sock.getpeername()
                return "close"
            except OSError:
                return "reset"
        yield look


def _ask_in_vain(proxy, method, path, body):
    """How a request without an answer ended: close, reset or hang."""
    connection = proxy.api._connection(HASTE)       # pylint: disable=protected-access
    try:
        with _second_look(connection) as look:
            try:
                connection.request(method, path, json.dumps(body),
                                   {"Content-Type": "application/json"})
                answer = connection.getresponse()
                raise AssertionError(f"answered: {answer.status}")
            except TimeoutError:
                return "hang"
            except (http.client.HTTPException, OSError):
                return look()
    finally:
        connection.close()


def _watch_bytes(client, path, **query):
    """The raw bytes of a watch until it ends or falls silent, and how it ended."""
    connection = client._connection(HASTE)      # pylint: disable=protected-access
    with _second_look(connection) as look:
        data, end = _read_watch(connection, f"{path}?watch=true&timeoutSeconds=60", query)
        return data, end or look()


def _read_watch(connection, path, query):
    connection.request("GET", path + "".join(f"&{k}={v}" for k, v in query.items()))
    response = connection.getresponse()
    data = b""
    try:
        while True:
            piece = response.read1(65536)
            if not piece:
                return data, None
            data += piece
    except TimeoutError:
        return data, "hang"
    except (http.client.HTTPException, OSError):
        return data, None
    finally:
        connection.close()


def test_passes_everything_on(proxy, fake, path):
    """Without rules it is invisible: verbs, errors, lists, watches, keep-alive connections."""
    made = proxy.api.create(path, transcript.lease("a"))
    assert proxy.api.get(path + "/a") == fake.api.get(path + "/a") == made
    assert refused(proxy.api.create, path, transcript.lease("a")).reason == "AlreadyExists"
    assert proxy.api.get("/healthz") == "ok"
    big = {"metadata": {"annotations": {"a": "ü" * 100000}}}
    assert proxy.api.patch(path + "/a", big)["metadata"]["annotations"] == big["metadata"][
        "annotations"]
    with LiveWatch(proxy.api, path) as watch:
        assert shown([watch.next()]) == [("ADDED", "a")]
        fake.api.delete(path + "/a")
        assert shown([watch.next()]) == [("DELETED", "a")]
    wait_until(lambda: not any(r["code"] is None for r in proxy.log()), 10, "all answers")


def test_keeps_connections_alive(proxy):
    """Several requests go over one connection, and over one upstream."""
    client = proxy.api
    connection = client._connection(10)     # pylint: disable=protected-access
    try:
        for _ in range(5):
            connection.request("GET", "/version")
            assert json.loads(connection.getresponse().read())["major"] == "1"
    finally:
        connection.close()


def test_identities_go_through(proxy, fake, path, namespace):
    """A token is the token's owner upstream; a certificate is the admin; nothing is nobody."""
    token = fake.token_for_serviceaccount(namespace, "agent")
    error = refused(proxy.client(token).get, path)
    assert error.status == 403 and f"{namespace}:agent" in error.message
    assert refused(proxy.client("nonsense").get, path).status == 401
    assert "system:anonymous" in refused(proxy.client().get, path).message
    assert proxy.api.list(path) == []
    assert proxy.url in proxy.admin_kubeconfig.read_text()
    assert proxy.url in proxy.kubeconfig_for_serviceaccount(namespace, "agent").read_text()


@pytest.mark.parametrize("then", ["close", "reset", "hang"])
def test_lost_request_is_never_carried_out(proxy, fake, path, then):
    """drop_request: the client hears nothing, and nothing was written."""
    proxy.rule("drop_request", verb="POST", path="/leases", then=then, count=1)
    assert _ask_in_vain(proxy, "POST", path, transcript.lease("a")) == then
    assert not fake.api.exists(path + "/a")
    proxy.api.create(path, transcript.lease("a"))
    assert fake.api.exists(path + "/a")


@pytest.mark.parametrize("then", ["close", "reset", "hang"])
def test_lost_reply_is_carried_out(proxy, fake, path, then):
    """drop_reply: the client hears nothing, and yet it was written."""
    proxy.rule("drop_reply", verb="POST", then=then, count=1)
    assert _ask_in_vain(proxy, "POST", path, transcript.lease("a")) == then
    wait_until(lambda: fake.api.exists(path + "/a"), 10, "the write")
    assert proxy.log()[-1]["fault"] == "drop_reply" and proxy.log()[-1]["code"] == 201


@pytest.mark.parametrize("code", [409, 410, 429, 500, 503])
def test_answers_an_error(proxy, fake, path, code):
    """answer: a Status with that code, Retry-After where asked; the request is not carried out."""
    proxy.rule("answer", verb="POST", code=code, retry_after=4, count=1)
    error = refused(proxy.api.create, path, transcript.lease("a"))
    assert error.status == error.body["code"] == code and error.reason
    assert error.body["details"] == {"retryAfterSeconds": 4}
    assert not fake.api.exists(path + "/a")


def test_error_after_the_write(proxy, fake, path):
    """answer with forward: an error although it was carried out."""
    proxy.rule("answer", verb="POST", code=500, forward=True)
    assert refused(proxy.api.create, path, transcript.lease("a")).status == 500
    assert fake.api.exists(path + "/a")


def test_rules_match_what_they_say(proxy, path):
    """verb, path, skip and count choose the requests; clear ends a rule."""
    proxy.rule("answer", verb="GET", path="/leases/a$", skip=1, count=2, code=503)
    codes = []
    for _ in range(5):
        codes.append(refused(proxy.api.get, path + "/a").status)
        proxy.api.get(path)     # another path
    assert codes == [404, 503, 503, 404, 404]
    number = proxy.rule("answer", code=500)
    assert refused(proxy.api.get, path).status == 500
    proxy.clear(number)
    assert proxy.api.list(path) == []
    with pytest.raises(RuntimeError):
        proxy.rule("explode")
    with pytest.raises(RuntimeError):
        proxy.rule("answer", path="(")


def test_probability(proxy, path):
    """Half of the requests, roughly."""
    proxy.rule("answer", verb="GET", code=503, probability=0.5)
    hit = 0
    for _ in range(60):
        try:
            proxy.api.get(path)
        except ApiError:
            hit += 1
    assert 10 < hit < 50


def test_delay(proxy, path):
    """The answer comes, later; delays add up with each other and with another fault."""
    proxy.rule("delay", verb="GET", ms=300)
    proxy.rule("answer", verb="GET", code=503)
    proxy.rule("delay", verb="GET", ms=200)
    start = time.monotonic()
    assert refused(proxy.api.get, path).status == 503
    assert time.monotonic() - start >= 0.5


@pytest.mark.parametrize("then", ["close", "reset", "hang"])
@pytest.mark.parametrize("at", ["middle", "utf8", "end"])
def test_torn_watch(proxy, fake, path, at, then):
    """So many whole events, a part of the next one, and then the chosen end."""
    for i in range(4):
        fake.api.create(path, {**transcript.lease(f"a{i}"), "metadata": {
            "name": f"a{i}", "annotations": {"text": "übergröße"}}})
    proxy.rule("tear", verb="WATCH", path="/leases", events=2, at=at, then=then, count=1)
    data, end = _watch_bytes(proxy.api, path)
    assert end == then
    first, second, part = data.split(b"\n")
    assert [json.loads(x)["object"]["metadata"]["name"] for x in (first, second)] == ["a0", "a1"]
    if at == "end":
        assert part == b""
    else:
        assert part
        with pytest.raises(ValueError):
            json.loads(part)
    if at == "utf8":
        with pytest.raises(UnicodeDecodeError):
            part.decode()
    data, _ = _watch_bytes(proxy.api, path)
    assert len(data.splitlines()) == 4


def test_drip(proxy, fake, path):
    """A slow server: the same bytes, a few at a time."""
    fake.api.create(path, transcript.lease("a"))
    whole = fake.api.get(path + "/a")
    proxy.rule("drip", verb="GET", path="/leases/a$", size=20, ms=5)
    start = time.monotonic()
    assert proxy.api.get(path + "/a") == whole
    assert time.monotonic() - start > 0.05


def test_refused(proxy, path):
    """Nobody listens, and connections from before are reset."""
    with LiveWatch(proxy.api, path, 60, allowWatchBookmarks="true",
                   sendInitialEvents="true", resourceVersionMatch="NotOlderThan") as watch:
        watch.next()
        proxy.mode("refuse")
        watch.rest()
    with pytest.raises(ConnectionRefusedError):
        proxy.api.get(path)
    proxy.mode("pass")
    assert proxy.api.list(path) == []


def test_black_hole(proxy, fake, path):
    """New connections get silence, old ones too; what was under way arrives when it is over."""
    with LiveWatch(proxy.api, path, 60) as watch:
        fake.api.create(path, transcript.lease("a"))
        watch.next()
        proxy.mode("black_hole")
        with pytest.raises(TimeoutError):
            _hasty(proxy).get(path)
        fake.api.create(path, transcript.lease("b"))
        with pytest.raises(queue.Empty):
            watch.next(HASTE)
        proxy.mode("pass")
        assert shown([watch.next()]) == [("ADDED", "b")]
    assert len(proxy.api.list(path)) == 2


def test_black_hole_delivers_late(proxy, fake, path):
    """A write swallowed on an open connection is carried out after the hole has ended."""
    connection = proxy.api._connection(20)      # pylint: disable=protected-access
    try:
        connection.request("GET", "/version")
        connection.getresponse().read()
        proxy.mode("black_hole")
        connection.request("POST", path, json.dumps(transcript.lease("late")),
                           {"Content-Type": "application/json"})
        with pytest.raises(TimeoutError):
            _hasty(proxy).get("/version")
        assert not fake.api.exists(path + "/late")
        proxy.mode("pass")
        assert connection.getresponse().status == 201
        assert fake.api.exists(path + "/late")
    finally:
        connection.close()


def test_cut_resets_what_is_open(proxy, path):
    """cut() ends present connections; new ones work."""
    with LiveWatch(proxy.api, path, 60, allowWatchBookmarks="true", sendInitialEvents="true",
                   resourceVersionMatch="NotOlderThan") as watch:
        watch.next()
        proxy.cut()
        assert watch.rest() == []
    assert proxy.api.list(path) == []


def test_server_gone_is_a_lost_connection(tmp_path):
    """A dead server behind the proxy looks like one, and the proxy serves on when it is back."""
    with support.control_plane("fake", tmp_path / "plane") as plane:
        with FaultProxy(plane.servers[0].netns, f"{support.ADDRESS}:{PORT}", plane,
                        tmp_path / "proxy") as proxy:
            assert proxy.api.get("/readyz") == "ok"
            with LiveWatch(proxy.api, "/api/v1/namespaces", 60) as watch:
                watch.next()
                plane.kill()
                watch.rest()
            with pytest.raises(OSError):
                proxy.api.get("/readyz")
            plane.restart()
            assert proxy.api.get("/readyz") == "ok"


@pytest.mark.kube
def test_in_front_of_the_real_server(planes, tmp_path):
    """The same proxy before the real API server."""
    plane = planes("kube")
    with FaultProxy(plane.servers[0].netns, f"{support.ADDRESS}:{PORT}", plane,
                    tmp_path) as proxy:
        path = leases("default")
        client = Client(proxy.url, proxy.ca_file, timeout=10, netns=proxy.netns,
                        token=plane.token_for_serviceaccount("default", "agent"))
        assert "default:agent" in refused(client.get, path).message
        proxy.rule("drop_reply", verb="POST", path="/leases", count=1)
        with pytest.raises(OSError):
            proxy.api.create(path, transcript.lease("through"))
        assert plane.api.exists(path + "/through")
        with LiveWatch(proxy.api, path, fieldSelector="metadata.name=through") as watch:
            assert shown([watch.next()]) == [("ADDED", "through")]
            plane.api.delete(path + "/through")
            assert shown([watch.next()]) == [("DELETED", "through")]
