"""Probes that see a VIP as its clients do, and what their records mean.

    with UdpProbe(lab.client, vip, port) as probe:     # runs as its own process (prober.py)
        probe.wait_answered()
        at = holder.kill9()
        ...
        trace = probe.stop()
    gap = trace.dark(since=at)                          # gap.ms, gap.lost, gap.stall_ms

UdpProbe, TcpProbe   -> Trace         gaps, losses, which backend answered
StreamsProbe         -> StreamsTrace  connections that live: longest silence of each, who was cut off
NeighProbe           -> NeighTrace    who answers ARP/NDP; requests answered by two MACs
Sniffer              -> ClaimsTrace   frames on the wire that claim a VIP; times when two nodes do

"Milliseconds in which two MACs answered" (two_macs, in NeighTrace and ClaimsTrace): the time between a frame by
MAC X and its next one, if that comes soon and a frame by another MAC lies between; all such times together.
A move from A to B has none, however quick, unless A speaks again after B has.

All times are CLOCK_MONOTONIC nanoseconds, as Lab.unplug(), Process.kill9() and lab.mono_ns() give.
"""

import bisect
import collections
import contextlib
import dataclasses
import json
import os
import select
import subprocess
import time

from netns import lab as lab_module
from netns.lab import LabError, PYTHON, mono_ns

LATE_MS = 10
HERE = os.path.dirname(os.path.abspath(__file__))


# -- what records mean -------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Gap:
    """An interval without answers, from the last answer's arrival to the next one's.

    lost    probes sent in it that were never answered
    late    probes sent in it that were answered, but only after more than LATE_MS: a neighbour cache
            on the way kept them until it knew where to send them.  Neither lost nor late probes say
            that the network was not shown to be dark: the prober itself was held up.
    stall   the longest time in it between two sends of the prober (ns); much above the interval says
            that the prober was held up, so the gap is an upper bound.
    open    no answer followed until the end of the record.
    """

    start: int
    end: int
    lost: int
    late: int
    stall: int
    open: bool = False

    @property
    def ms(self):
        return (self.end - self.start) / 1e6

    @property
    def stall_ms(self):
        return self.stall / 1e6

    def __str__(self):
        return (f"{self.ms:.1f} ms{' (not over)' if self.open else ''}, {self.lost} lost, "
                f"{self.late} late, prober's longest pause {self.stall_ms:.1f} ms")


class Trace:
    """Records of a prober that numbers its probes: when sent, when answered, by whom."""

    def __init__(self, records, linger_ms=200):
        self.sent, self.arrived, self.who = records["sent"], records["arrived"], records["who"]
        self.names, self.clients = records["names"], records["clients"]
        self.errors, self.duplicates = records["errors"], records["duplicates"]
        self.missed_ticks = records["missed_ticks"]
        if records["full"]:
            raise LabError("the prober ran until its memory bound: use it for a shorter time")
        self.now = records["now"]
        # Probes younger than this may still be answered: no verdict on them.
        self._judged = self.now - int(linger_ms * 1e6)
        self._arrivals = sorted(a for a in self.arrived if a)

    def _span(self, since, until):
        first = 0 if since is None else bisect.bisect_left(self.sent, since)
        last = len(self.sent) if until is None else bisect.bisect_right(self.sent, until)
        return range(first, last)

    def lost(self, since=None, until=None):
        """Times of probes sent in the window that were never answered."""
        return [self.sent[i] for i in self._span(since, until)
                if not self.arrived[i] and self.sent[i] <= self._judged]

    def answered(self, since=None, until=None):
        """How many probes sent in the window were answered."""
        return sum(1 for i in self._span(since, until) if self.arrived[i])

    def backends(self, since=None, until=None):
        """Counter of who answered the probes sent in the window."""
        return collections.Counter(self.names[self.who[i]] for i in self._span(since, until)
                                   if self.arrived[i])

    def first_answer(self, since):
        """Arrival of the first answer after a moment, or None."""
        i = bisect.bisect_right(self._arrivals, since)
        return self._arrivals[i] if i < len(self._arrivals) else None

    def _gap(self, start, end, is_open=False):
        sends = [self.sent[i] for i in self._span(start, end)]
        edges = [start, *sends, end]
        stall = max(b - a for a, b in zip(edges, edges[1:]))
        late = sum(1 for i in self._span(start, end)
                   if self.arrived[i] - self.sent[i] > LATE_MS * 1e6)
        return Gap(start, end, len(self.lost(start, end)), late, stall, is_open)

    def gaps(self, longer_ms, since=None, until=None):
        """All gaps longer than `longer_ms` that touch the window, in order."""
        if not self.sent:
            return []
        since = self.sent[0] if since is None else since
        until = self.now if until is None else until
        before = bisect.bisect_right(self._arrivals, since)
        after = bisect.bisect_left(self._arrivals, until)
        edges = [self._arrivals[before - 1] if before else min(since, self.sent[0])]
        edges += self._arrivals[before:after + 1]
        found = [self._gap(a, b) for a, b in zip(edges, edges[1:]) if b - a > longer_ms * 1e6]
        if after >= len(self._arrivals):
            # The tail counts as far as probes were sent and judged.
            tail = min(until, self.sent[-1], self._judged)
            if tail - edges[-1] > longer_ms * 1e6:
                found.append(self._gap(edges[-1], tail, True))
        return found

    def dark(self, since=None, until=None):
        """The longest gap that touches the window: the dark time of an event at `since`."""
        return max(self.gaps(0, since, until), key=lambda gap: gap.end - gap.start, default=None)


class StreamsTrace:
    """Records of connections that live."""

    def __init__(self, records):
        self.streams, self.now = records["streams"], records["now"]

    def survivors(self):
        """Connections that were set up and are not closed."""
        return [s for s in self.streams if s["backend"] and s["closed"] is None]

    def cut(self):
        """(time, reason) of each connection that was set up and ended without our doing."""
        return [(s["closed"], s["error"]) for s in self.streams
                if s["backend"] and s["closed"] is not None]

    def alive(self, since, within_s=15):
        """Connections that are not closed and got a line back that they sent after a moment, in time."""
        def echoed(stream):
            first = bisect.bisect_left(stream["sent"], since)
            return first < len(stream["arrived"]) and stream["arrived"][first] - since <= within_s * 1e9
        return [s for s in self.survivors() if echoed(s)]

    def silences_ms(self, since):
        """For each surviving connection that spoke its longest silence that ends after `since`."""
        result = []
        for stream in self.survivors():
            if not stream["sent"]:
                continue
            edges = stream["arrived"][max(bisect.bisect_right(stream["arrived"], since) - 1, 0):]
            if stream["sent"] and len(stream["sent"]) > len(stream["arrived"]):
                edges.append(max(stream["sent"][-1], edges[-1] if edges else since))
            result.append(max((b - a for a, b in zip(edges, edges[1:])), default=0) / 1e6)
        return result


@dataclasses.dataclass(frozen=True)
class Tenure:
    """A time in which one MAC stood for a VIP: claims no further apart than the merge time."""

    vip: str
    mac: str
    start: int
    end: int
    claims: int


@dataclasses.dataclass(frozen=True)
class Overlap:
    """A time in which two MACs both stood for a VIP; 0 ms when they met in one moment."""

    vip: str
    macs: tuple
    start: int
    end: int

    @property
    def ms(self):
        return (self.end - self.start) / 1e6


def tenures(points, merge_ms):
    """Fold claims [(time, vip, mac)] into tenures, in order of their start."""
    running, done = {}, []
    for at, vip, mac in sorted(points):
        start, end, n = running.get((vip, mac), (at, at, 0))
        if at - end > merge_ms * 1e6:
            done.append(Tenure(vip, mac, start, end, n))
            start, n = at, 0
        running[vip, mac] = (start, at, n + 1)
    done += [Tenure(vip, mac, *rest) for (vip, mac), rest in running.items()]
    return sorted(done, key=lambda t: (t.start, t.end))


def overlaps(all_tenures):
    """Where tenures of different MACs for one VIP intersect."""
    found, live = [], []
    for t in sorted(all_tenures, key=lambda t: t.start):
        live = [o for o in live if o.end >= t.start]
        found += [Overlap(t.vip, (o.mac, t.mac), t.start, min(o.end, t.end))
                  for o in live if o.vip == t.vip and o.mac != t.mac]
        live.append(t)
    return found


def two_macs(points, merge_ms):
    """Times [Overlap] in which frames [(time, vip, mac)] of two MACs for one VIP alternate.

    merge_ms: frames of one MAC further apart do not belong together, so that a VIP may come back to a node.
    """
    found, last = [], collections.defaultdict(dict)   # VIP -> {MAC: time of its last frame}
    for at, vip, mac in sorted(points):
        before = last[vip].get(mac)
        last[vip][mac] = at
        if before is None or at - before > merge_ms * 1e6:
            continue
        others = [m for m, t in last[vip].items() if m != mac and before < t < at]
        if others:
            found.append(Overlap(vip, tuple(sorted([mac, *others])), before, at))
    return united(found)


def united(times):
    """The same times, those of one VIP that touch or intersect as one."""
    done = {}
    result = []
    for o in sorted(times, key=lambda o: o.start):
        i = done.get(o.vip)
        if i is not None and o.start <= result[i].end:
            result[i] = Overlap(o.vip, tuple(sorted({*result[i].macs, *o.macs})), result[i].start,
                                max(result[i].end, o.end))
        else:
            done[o.vip] = len(result)
            result.append(o)
    return result


class NeighTrace:
    """Who answered each ARP request or neighbour solicitation."""

    def __init__(self, records, merge_ms):
        if records["full"]:
            raise LabError("the prober ran until its memory bound: use it for a shorter time")
        self.vips, self.sent, self.now = records["vips"], records["sent"], records["now"]
        self.merge_ms = merge_ms
        self.answers = [(request, at, records["names"][mac])
                        for request, at, mac in records["answers"]]
        self._macs = collections.defaultdict(dict)  # request -> {MAC: first arrival}
        for request, at, mac in self.answers:
            self._macs[request].setdefault(mac, at)

    def _vip(self, request):
        return self.vips[request % len(self.vips)]

    def requests(self, vip=None):
        return sum(1 for r in range(len(self.sent)) if vip in (None, self._vip(r)))

    def answered(self, vip=None):
        return sum(1 for r in self._macs if vip in (None, self._vip(r)))

    def duplicates(self, vip=None, since=None):
        """[(time sent, VIP, sorted MACs)] of requests that more than one MAC answered."""
        return [(self.sent[r], self._vip(r), sorted(macs)) for r, macs in sorted(self._macs.items())
                if len(macs) > 1 and vip in (None, self._vip(r))
                and (since is None or self.sent[r] >= since)]

    def macs(self, vip=None, since=None):
        """Counter of answers by MAC."""
        return collections.Counter(mac for r, macs in self._macs.items() for mac in macs
                                   if vip in (None, self._vip(r))
                                   and (since is None or self.sent[r] >= since))

    def tenures(self, vip=None):
        return tenures([(at, self._vip(r), mac) for r, at, mac in self.answers
                        if vip in (None, self._vip(r))], self.merge_ms)

    def overlaps(self, vip=None):
        return overlaps(self.tenures(vip))

    def two_macs(self, vip=None):
        """Times in which the answers of two MACs alternate."""
        return two_macs([(at, self._vip(r), mac) for r, at, mac in self.answers
                         if vip in (None, self._vip(r))], self.merge_ms)


# What tells neighbours where a VIP is.  ("arp-request": an ordinary one sent from the VIP; RFC 826 merges it.)
NEIGHBOUR_KINDS = ("arp-reply", "arp-announce", "arp-request", "na-reply", "na-announce")


class ClaimsTrace:
    """Frames that claimed a VIP, in order: Claim(at, vip, port, mac, kind)."""

    Claim = collections.namedtuple("Claim", "at vip port mac kind")

    def __init__(self, records, merge_ms):
        if records["full"]:
            raise LabError("the sniffer ran until its memory bound: use it for a shorter time")
        names = records["names"]
        self.merge_ms, self.dropped = merge_ms, records["dropped"]
        self.claims = sorted(self.Claim(at, *(names[i] for i in rest))
                             for at, *rest in records["claims"])

    def of(self, vip=None, port=None, kind=None, since=None, until=None):
        return [c for c in self.claims if vip in (None, c.vip) and port in (None, c.port)
                and kind in (None, c.kind) and (since is None or c.at >= since)
                and (until is None or c.at <= until)]

    def tenures(self, vip=None, kinds=None):
        return tenures([(c.at, c.vip, c.mac) for c in self.of(vip) if kinds is None or c.kind in kinds],
                       self.merge_ms)

    def overlaps(self, vip=None, kinds=None):
        """Times in which two MACs claimed a VIP."""
        return overlaps(self.tenures(vip, kinds))

    def two_macs(self, vip=None, kinds=NEIGHBOUR_KINDS, merge_ms=None):
        """Times in which the frames of two MACs alternate."""
        return two_macs([(c.at, c.vip, c.mac) for c in self.of(vip) if c.kind in kinds],
                        merge_ms or self.merge_ms)


# -- the processes -----------------------------------------------------------------------------

class _Prober:
    """A prober.py process in a host; a context manager that ends it in any case."""

    kind = None

    def __init__(self, host, config):
        self.host, self.config = host, config
        self._buffer = b""
        self.trace = None
        self.process = host.spawn(
            [PYTHON, "-I", "-S", "-B", os.path.join(HERE, "prober.py"), self.kind,
             json.dumps(config)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if self._read(30) != {"ready": True}:
                raise LabError(f"{self.kind} prober: no ready line")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill9()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(ValueError):
            self.host.processes.remove(self.process)

    def _read(self, timeout_s):
        """The next line of the prober, as an object."""
        deadline = time.monotonic() + timeout_s
        pieces = [self._buffer]
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise LabError(f"{self.kind} prober: silent for {timeout_s} s")
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                raise LabError(f"{self.kind} prober ended: exit {self.process.wait(5)}")
            pieces.append(data)
        line, _, self._buffer = b"".join(pieces).partition(b"\n")
        return json.loads(line)

    def _ask(self, command, timeout_s=30):
        try:
            self.process.stdin.write(command + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise LabError(f"{self.kind} prober ended: exit {self.process.wait(5)}") from None
        return self._read(timeout_s)

    def stats(self):
        """Counters so far."""
        return self._ask(b"stats")

    def snapshot(self):
        """The trace so far; the prober goes on."""
        return self._trace(self._ask(b"dump"))

    def stop(self):
        """End the prober; the trace of all it saw."""
        if self.trace is None:
            self.trace = self._trace(self._ask(b"stop"))
            self.process.wait(10)
            self.close()
        return self.trace

    def wait(self, fact, timeout_s=10, what="the prober's fact"):
        """Wait until `fact(stats)` is true; returns those stats."""
        last = {}

        def check():
            last.update(self.stats())
            return dict(last) if fact(last) else None
        return lab_module.wait_for(check, timeout_s, 0.02, lambda: f"{what}; last: {last}")

    def wait_answered(self, n=1, timeout_s=10):
        """Wait until `n` more probes are answered than now."""
        have = self.stats()["answered"]
        return self.wait(lambda s: s["answered"] >= have + n, timeout_s, f"{n} answers to {self.config}")

    def wait_answer_after(self, at, timeout_s=10):
        """Wait for an answer that arrived after a moment (monotonic ns)."""
        return self.wait(lambda s: s["last"] > at, timeout_s, f"an answer to {self.config}")

    def _trace(self, records):
        return Trace(records, self.config.get("linger_ms", 200))


class UdpProbe(_Prober):
    """A UDP echo request every `interval_ms` (down to 1), over `flows` source ports in turn.

    fresh=True takes a new source port for each probe, so no probe rides on an established flow.
    """

    kind = "udp"

    def __init__(self, host, target, port, interval_ms=2, flows=16, fresh=False, linger_ms=200):
        super().__init__(host, {"target": target, "port": port, "interval_ms": interval_ms,
                                "flows": flows, "fresh": fresh, "linger_ms": linger_ms})


class TcpProbe(_Prober):
    """A new TCP connection every `interval_ms`, answered when the backend's first line has come."""

    kind = "tcp"

    def __init__(self, host, target, port, interval_ms=20, timeout_ms=1000, linger_ms=200):
        super().__init__(host, {"target": target, "port": port, "interval_ms": interval_ms,
                                "timeout_ms": timeout_ms, "linger_ms": linger_ms})


class StreamsProbe(_Prober):
    """`count` TCP connections held open, one line each way on each every `interval_ms`.

    The last `idle` of them say nothing before speak().
    """

    kind = "streams"

    def __init__(self, host, target, port, count=20, interval_ms=20, idle=0):
        super().__init__(host, {"target": target, "port": port, "count": count, "idle": idle,
                                "interval_ms": interval_ms})

    def speak(self):
        """The idle ones speak from now on."""
        return self._ask(b"speak")

    def wait_echoes(self, since, timeout_s=15):
        """Wait until every open connection got a line back that it sent after a moment; False: not in time."""
        try:
            self.wait(lambda s: all(at > since for at in s["echoed"]), timeout_s, "echoes")
        except TimeoutError:
            return False
        return True

    def wait_up(self, timeout_s=10):
        return self.wait(lambda s: s["up"] == s["count"], timeout_s, "all connections up")

    def _trace(self, records):
        return StreamsTrace(records)


class NeighProbe(_Prober):
    """A broadcast ARP request (or multicast NS) per VIP every `interval_ms`, from host `watch`.

    record=False: it only asks, from an address of its own; a Sniffer hears the answers.  Any number of these may run beside
    one that records; two that record on one host would take each other's answers for their own.
    """

    kind = "neigh"

    def __init__(self, lab, vips, interval_ms=10, merge_ms=None, host=None, record=True):
        self._merge_ms = merge_ms or max(5 * interval_ms, 100)
        super().__init__(host or lab.watch,
                         {"record": record, "vips": list(vips), "interval_ms": interval_ms, "dev": "eth0",
                          "slots4": lab_module.SLOTS4 if record else [lab_module.ASKER4],
                          "slots6": lab_module.SLOTS6 if record else [lab_module.ASKER6]})

    def _trace(self, records):
        return NeighTrace(records, self._merge_ms)


class Sniffer(_Prober):
    """Listens on bridge ports for frames that claim a VIP: ARP, NA and with data=True any IP.

    `merge_ms` is how far apart two claims of one MAC may lie and still count as one tenure: choose
    it above the interval of whatever makes the holder speak (a NeighProbe at 10 ms, say).
    """

    kind = "sniff"

    def __init__(self, lab, vips, ports=None, data=False, merge_ms=100):
        self._merge_ms = merge_ms
        ports = ports or [node.name for node in lab.nodes]
        super().__init__(lab.lan, {"vips": list(vips), "ports": list(ports), "data": data,
                                   "linger_ms": 50})

    def take(self):
        """The trace since the last take(); the sniffer goes on and forgets it."""
        return self._trace(self._ask(b"take"))

    def _trace(self, records):
        return ClaimsTrace(records, self._merge_ms)
