"""What the tests of this directory share: control planes in a namespace of their own, and watches
that run beside the test."""

import contextlib
import http.client
import itertools
import json
import os
import queue
import socket
import subprocess
import threading

from kube.client import PATCH_TYPES, ApiError
from kube.cluster import ControlPlane, NotBuilt, kube_directory
from kube.process import wait_until     # noqa: F401  (for the tests)

from .cluster import FakeControlPlane

ADDRESS = "192.0.2.100"
_numbers = itertools.count(1)


def unique(prefix):
    """A name that no other test of this run has."""
    return f"{prefix}-{next(_numbers)}"


@contextlib.contextmanager
def own_netns():
    """A network namespace with ADDRESS on its loopback; its name."""
    name = f"fakekube-{os.getpid()}-{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        for command in (["link", "set", "lo", "up"],
                        ["address", "add", f"{ADDRESS}/32", "dev", "lo"]):
            subprocess.run(["ip", "-n", name, *command], check=True, timeout=10)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=10)


def real_is_built():
    """Whether tests/kube can be used."""
    try:
        return bool(kube_directory())
    except NotBuilt:
        return False


@contextlib.contextmanager
def control_plane(kind, workdir, **options):
    """A started control plane, `fake` or `kube`, in its own namespace."""
    with own_netns() as netns:
        if kind == "fake":
            plane = FakeControlPlane(netns, ADDRESS, workdir, **options)
        else:
            plane = ControlPlane(netns, ADDRESS, workdir, controllers=(
                "namespace-controller", "serviceaccount-controller"))
        with plane:
            yield plane


def refused(call, *args, **kwargs):
    """The ApiError that a call must raise."""
    try:
        call(*args, **kwargs)
    except ApiError as error:
        return error
    raise AssertionError("the server accepted what it must refuse")


@contextlib.contextmanager
def session(client):
    """Many requests over one connection: a function of (method, path, body, patch kind) that
    returns (code, answer)."""
    connection = client._connection(30)     # pylint: disable=protected-access
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(method, path, body=None, kind=None):
        content = PATCH_TYPES.get(kind, "application/json")
        connection.request(method, path, None if body is None else json.dumps(body),
                           {"Content-Type": content})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    try:
        yield ask
    finally:
        connection.close()


class LiveWatch:
    """A watch in a thread of its own; events() waits for what comes."""

    def __init__(self, client, path, seconds=30, **query):
        self._queue = queue.Queue()
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        args=(client, path, seconds, query))
        self._thread.start()

    def _run(self, client, path, seconds, query):
        try:
            for event in client.watch(path, seconds, **query):
                if self._stop:
                    return
                self._queue.put(event)
            self._queue.put(None)
        except Exception as error:      # pylint: disable=broad-except
            self._queue.put(error)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop = True

    def next(self, seconds=10):
        """The next event, None at the end of the stream; raises what broke the watch."""
        event = self._queue.get(timeout=seconds)
        if isinstance(event, Exception):
            raise event
        return event

    def rest(self, seconds=10):
        """All events until the stream ends, in order or not."""
        events = []
        try:
            while (event := self.next(seconds)) is not None:
                events.append(event)
        except (OSError, http.client.HTTPException, ValueError):
            pass        # reset, cut within a chunk, or within an event
        return events

    def until(self, wanted, seconds=10):
        """The events up to the first one for which wanted(event) holds."""
        events = []
        while True:
            event = self.next(seconds)
            if event is None:
                raise AssertionError(f"the stream ended after {events}")
            events.append(event)
            if wanted(event):
                return events


def shown(events):
    """Events as (type, name) pairs, bookmarks left out."""
    return [(e["type"], e["object"]["metadata"]["name"]) for e in events
            if e["type"] != "BOOKMARK"]
