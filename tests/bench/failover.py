"""The failover table: one fault after the other to the holder, as the VIP's clients and the wire see it.

A run starts the probes, waits for a random moment, strikes, watches until the VIP answers again and longer (a frozen
process wakes, a cable is put back, a slow client asks anew), and brings three healthy nodes back.

    dark       longest time without an answer to UDP questions at 500/s; flow: the same of that one of their 16 flows
               which had the longest (its backend may be cut off when others answer); lost: how many in all
    slow       the same from a client that hears no gratuitous ARP (lab.py, host `slow`)
    two MACs   milliseconds in which two nodes answered or announced for the VIP (probe.py, two_macs)
    alive      of 50 TCP connections, 25 that speak every 20 ms and 25 that speak first after the event: those that
               get an echo within 15 s
"""

import contextlib
import random
import statistics

from netns.lab import SLOW_ASKS_MS, LabError, mono_ns, wait_for
from netns.probe import NeighProbe, Sniffer, StreamsProbe, UdpProbe

from contenders import RulesetLoad

CONNECTIONS, IDLE = 50, 25
ECHO_S = 15
FROZEN_S = 10
WATCH_S = 2
FLOWS = 16
HELD_UP_MS = 10     # between two questions of a prober that sends every 2 ms
# Seconds a run takes, about; only for the estimate.
SECONDS = {"SIGTERM": 9, "handover": 9, "kill -9": 9, "SIGSTOP": 17, "unplug": 12, "reboot": 12, "API black hole": 14,
           "API restart": 9}
LOAD_SECONDS = 12
PLANNED = ("SIGTERM", "handover")
MOVES_NOT = ("API restart",)


class Row:
    """One event of one contender: how often, under what aims, and the figures of its runs."""

    def __init__(self, event, runs, loaded=False, frozen_s=FROZEN_S, dark_aim=None):
        self.event, self.runs, self.loaded, self.frozen_s, self.dark_aim = event, runs, loaded, frozen_s, dark_aim
        self.figures, self.failures = [], []

    @property
    def title(self):
        return self.event + (", 8,000 Services loaded" if self.loaded else "")

    def seconds(self):
        return self.runs * (SECONDS[self.event] + (LOAD_SECONDS if self.loaded else 0)
                            + (self.frozen_s - FROZEN_S if self.event == "SIGSTOP" else 0))

    def values(self, key):
        return [f[key] for f in self.figures]

    def cells(self, aims):
        """The row's cells as text; with aims each that has one is marked."""
        if not self.figures:
            return [self.title, f"0/{self.runs}", *["-"] * 7]
        alive = min(self.values("alive"))
        slow = self.values("slow_dark_ms")
        return [self.title, f"{len(self.figures)}/{self.runs}",
                judged(spread(self.values("dark_ms")), self.dark_aim if aims else None, max(self.values("dark_ms"))),
                judged(spread(self.values("flow_ms")), self.dark_aim if aims else None, max(self.values("flow_ms"))),
                judged(spread(self.values("lost")), 0 if aims and self.event in PLANNED else None,
                       max(self.values("lost"))),
                spread(slow), spread(self.values("slow_lost")),
                judged(spread(self.values("two_macs_ms")), 0 if aims else None, max(self.values("two_macs_ms"))),
                f"{alive} of {CONNECTIONS}" + ("" if not aims or alive == CONNECTIONS else "  MISSED")]


def spread(values):
    """p50 / max as text."""
    return f"{statistics.median(values):.0f} / {max(values):.0f}" if values else "-"


def judged(text, aim, worst):
    return text if aim is None else f"{text} {'met' if worst <= aim else 'MISSED'}"


HEAD = ["event", "runs", "dark ms", "flow ms", "lost", "slow: dark ms", "lost", "two MACs ms", "alive"]


def table(rows, aims):
    """Lines of text."""
    cells = [HEAD, *[row.cells(aims) for row in rows]]
    if aims:
        dark = "; ".join(sorted({f"<= {row.dark_aim:.0f} {'planned' if row.event in PLANNED else 'crash'}"
                                 for row in rows if row.dark_aim is not None}))
        cells.insert(1, ["  aim", "", dark, "as dark", "0 planned", "", "", "0", f"{CONNECTIONS} of {CONNECTIONS}"])
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    return ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)).rstrip() for line in cells]


class Probes:
    """All that watches one run."""

    def __init__(self, contender, stack):
        lab, vip, port = contender.lab, contender.vip, contender.port
        # The bridge may have forgotten nobody, and the slow client has an entry of its own.
        self.client = stack.enter_context(UdpProbe(lab.client, vip, port, interval_ms=2, flows=FLOWS))
        self.slow = stack.enter_context(UdpProbe(lab.slow, vip, port, interval_ms=2))
        self.streams = stack.enter_context(StreamsProbe(lab.client, vip, port, CONNECTIONS, 20, IDLE))
        self.neigh = stack.enter_context(NeighProbe(lab, [vip], interval_ms=4, record=False))
        self.wire = stack.enter_context(Sniffer(lab, [vip], merge_ms=100))
        self.vip = vip
        self.client.wait_answered(50)
        self.slow.wait_answered(50)
        self.streams.wait_up()
        self.streams.wait(lambda s: s["arrived"] >= 5 * (CONNECTIONS - IDLE), what="the connections to speak")
        self.wire.wait(lambda s: s["claims"] >= 20, what="answers on the wire")

    def claimed_by(self):
        """MAC and time of the latest claim."""
        at, mac = self.wire.stats()["latest"][self.vip]
        return mac, at

    def figures(self, at, back, holder):
        client, slow = self.client.stop(), self.slow.stop()
        streams, claims = self.streams.stop(), self.wire.stop()
        self.neigh.close()
        if claims.dropped:
            raise LabError(f"the sniffer lost {claims.dropped} frames")
        gaps, slow_gaps = client.gaps(0, since=at), slow.gaps(0, since=at)
        first = next((c.at for c in claims.of(self.vip, since=at) if c.mac != holder.mac), None)
        return {"dark_ms": dark_ms(gaps), "flow_ms": flow_ms(client, at - 10**8), "lost": len(client.lost(since=at)),
                "slow_dark_ms": dark_ms(slow_gaps), "slow_lost": len(slow.lost(since=at)), "stall_ms": max(gap.stall_ms for gap in gaps + slow_gaps),
                "two_macs_ms": sum(o.ms for o in claims.two_macs(self.vip)),
                "taken_over_ms": first and (first - at) / 1e6, "alive": len(streams.alive(back, ECHO_S)),
                "cut": [reason for _, reason in streams.cut()]}


def dark_ms(gaps):
    """The longest of the gaps, less the time in which the prober itself was held up."""
    return max((gap.ms - max(gap.stall_ms - HELD_UP_MS, 0) for gap in gaps), default=0)


def flow_ms(trace, since):
    """The longest time without an answer of a single flow that sent in it, less the pace of its own questions."""
    worst = 0
    for flow in range(FLOWS):
        edges = [at for at in trace.arrived[flow::FLOWS] if at >= since] + [trace.sent[-1]]
        worst = max([worst, *((b - a) / 1e6 for a, b in zip(edges, edges[1:]))])
    return max(worst - 2 * FLOWS, 0)


def elapse(since, seconds):
    """Wait until so much time has passed since a moment: the thing measured is what happens in it."""
    wait_for(lambda: mono_ns() - since >= seconds * 1e9, seconds + 5, 0.01, "time to pass")


def one_run(contender, row):
    """Strike the holder once, and give the figures of what followed."""
    event, holder = row.event, contender.one_holder()
    contender.prepare(event, holder)
    # Connections to backends on a dead holder's node that begin while that node has the VIPs are not meant to outlive a
    # second crash (docs/architecture.md): let its addresses go first.
    if contender.back_at is not None:
        elapse(contender.back_at, contender.quiet_s)
    for host in (contender.lab.client, contender.lab.slow):
        host.flush_neighbours()
    with contextlib.ExitStack() as stack:
        if row.loaded:
            stack.enter_context(RulesetLoad(holder, contender.workdir))
        probes = Probes(contender, stack)
        # Adverts and renewals come in time with what set this run up: strike out of time.
        elapse(mono_ns(), random.random())
        at = contender.strike(event, holder)
        if event not in MOVES_NOT and not (event == "API black hole" and contender.may_stay):
            wait_for(lambda: probes.claimed_by()[0] != holder.mac, 60, 0.01,
                     f"{contender.name}: another node to claim the VIP after {event}")
        probes.client.wait_answer_after(mono_ns(), 60)
        back = mono_ns()
        probes.streams.speak()
        if event == "SIGSTOP":
            elapse(at, row.frozen_s)
        elif event == "API black hole":
            elapse(at, FROZEN_S)
        contender.relent(event, holder)
        probes.streams.wait_echoes(back, max(ECHO_S - (mono_ns() - back) / 1e9, 0.1))
        # Long enough to see a dead holder answer on, a woken one speak, and the slow client ask anew.
        elapse(mono_ns(), WATCH_S)
        if event in PLANNED:
            elapse(back, SLOW_ASKS_MS / 1000 + 0.5)
        probes.slow.wait_answer_after(mono_ns(), 60)
        found = probes.figures(at, back, holder)
    contender.recover(event, holder)
    contender.back_at = back
    return found


def measure(contender, rows, note):
    """All runs of all rows.  A run that fails is counted and named, and the contender started anew."""
    contender.start()
    try:
        for row in rows:
            for run in range(row.runs):
                try:
                    found = one_run(contender, row)
                except (LabError, TimeoutError, RuntimeError) as error:
                    row.failures.append(str(error).splitlines()[0][:200])
                    note(f"{contender.name} {row.title} {run + 1}/{row.runs}: FAILED: {row.failures[-1][:200]}")
                    contender.anew()
                    if len(row.failures) >= 2 and not row.figures:
                        break   # it cannot
                    continue
                row.figures.append(found)
                note(f"{contender.name} {row.title} {run + 1}/{row.runs}: dark {found['dark_ms']:.0f} ms, "
                     f"{found['lost']} lost, slow {found['slow_dark_ms']:.0f} ms, two MACs "
                     f"{found['two_macs_ms']:.0f} ms, {found['alive']} alive")
    finally:
        contender.stop()
    return rows
