# SPDX-License-Identifier: Apache-2.0
"""The driver program live_watch on a leash: commands in, everything the client called back out."""

import itertools
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

from kube.process import in_netns

REPOSITORY = Path(__file__).resolve().parents[3]
DRIVER = Path(os.environ.get("LEASEHOLD_LIVE_WATCH",
                             REPOSITORY / "build/release/unit/kube/live_watch"))
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
FOREVER_MS = 600000     # a silence that no test waits for
PORTS = (7443, 7444)    # of the proxies
numbers = itertools.count(1)


def write(api, path, name, holder):
    """Changes a Lease."""
    return api.patch(f"{path}/{name}", {"spec": {"holderIdentity": holder}})


def compact(plane):
    """Makes every version that a watch may have too old: something is written, and all is forgotten."""
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": f"compacted-{next(numbers)}"}})
    plane.control("compact")


def requests(proxy, verb=None, path=""):
    """What went through a proxy."""
    return [r for r in proxy.log() if verb in (None, r["verb"]) and re.search(path, r["path"])]


class Driver:
    """One client.  Events are dicts as live_watch.c prints them, plus "index"."""

    def __init__(self, netns, *arguments, prefix=()):
        command = ["setpriv", "--pdeathsig", "KILL",
                   *in_netns(netns, [*prefix, str(DRIVER), *map(str, arguments)])]
        self._events = []
        self._news = threading.Condition()
        self._ended = False
        # pylint: disable=consider-using-with
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True, start_new_session=True)
        self._errors = ""
        self._threads = [threading.Thread(target=target, daemon=True)
                         for target in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()
        self._ids = 1000

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self._events.append({**json.loads(line), "index": len(self._events)})
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _read_errors(self):
        self._errors = self._process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        status = self.close()
        assert failure or status == 0, f"live_watch: status {status}: {self._errors}"

    def close(self):
        """Ends it in order; its exit status, which a sanitizer makes other than 0."""
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for thread in self._threads:
            thread.join(10)
        self._process.stdout.close()
        self._process.stderr.close()
        return self._process.returncode

    def refused(self):
        """What it says when it cannot even start."""
        assert self.close() == 1
        return self._errors

    # --- events ---

    def mark(self):
        """The number of the next event."""
        with self._news:
            return len(self._events)

    def events(self, since=0, **like):
        """What was told since, of those that have these members."""
        with self._news:
            return [e for e in self._events[since:] if e.items() >= like.items()]

    def wait(self, fact, since=0, seconds=15, **like):
        """The first event since with these members for which fact(event) holds (None: any)."""
        deadline = time.monotonic() + seconds
        at = since
        with self._news:
            while True:
                while at < len(self._events):
                    event = self._events[at]
                    at += 1
                    if event.items() >= like.items() and (fact is None or fact(event)):
                        return event
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    tail = "\n".join(map(str, self._events[since:][-40:]))
                    raise AssertionError(f"not told within {seconds} s: {like}\nsince then:\n{tail}"
                                         f"\n{self._errors}")
                self._news.wait(left)

    # --- commands ---

    def do(self, *words):
        """Sends a command."""
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def watch(self, path, number=0, channel="general", silence_ms=FOREVER_MS, selector=None):
        """Starts a watch and waits until it is complete and alive."""
        since = self.mark()
        self.do("watch", number, channel, silence_ms, path, *([selector] if selector else []))
        self.wait(None, since, what="live", watch=number, live=True)
        self.wait(None, since, what="synced", watch=number)
        return View(self, number)

    def send(self, method, path, body=None, channel="general", timeout_ms=5000):
        """Starts a request; its id."""
        self._ids += 1
        words = ["request", self._ids, channel, method, timeout_ms, path]
        self.do(*words, *([json.dumps(body)] if body is not None else []))
        return self._ids

    def ask(self, method, path, body=None, channel="general", timeout_ms=5000):
        """A request and its reply."""
        number = self.send(method, path, body, channel, timeout_ms)
        return self.wait(None, seconds=timeout_ms / 1000 + 10, what="reply", id=number)

    def usage(self):
        """Memory, sockets and the longest dispatch since the last time."""
        since = self.mark()
        self.do("usage")
        return self.wait(None, since, what="usage")


    def cpu_ticks(self):
        """CPU time used so far, in clock ticks."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


class View:
    """What a user of the watch believes, by its call-backs alone."""

    def __init__(self, driver, number):
        self.driver = driver
        self.number = number

    def objects(self):
        """name -> resourceVersion."""
        found, marked = {}, set()
        for event in self.driver.events(watch=self.number):
            what = event["what"]
            if what == "begin":
                marked = set(found)
            elif what == "put":
                found[event["name"]] = event["version"]
                marked.discard(event["name"])
            elif what == "gone":
                found.pop(event["name"], None)
                marked.discard(event["name"])
            elif what == "synced":
                for name in marked:
                    found.pop(name)
                marked = set()
        return found

    def wait_equal(self, api, path, seconds=15):
        """Returns when the view is that of the server."""
        deadline = time.monotonic() + seconds
        while True:
            there = {o["metadata"]["name"]: o["metadata"]["resourceVersion"]
                     for o in api.list(path)}
            if self.objects() == there:
                return
            assert time.monotonic() < deadline, (
                f"the view is {self.objects()}, the server has {there}; last told:\n" +
                "\n".join(map(str, self.driver.events(self.driver.mark() - 20))))
            time.sleep(0.02)

    def lives(self, since):
        """The values of the live events since."""
        return [e["live"] for e in self.driver.events(since, what="live", watch=self.number)]

    def begun_anew(self, since):
        """How many complete views were announced since."""
        return len(self.driver.events(since, what="begin", watch=self.number))
