"""`make bench`: failover times beside keepalived (and kube-vip), memory, API load, creation time.

    RUNS=5            runs of each failover event and of the creation time
    API=kube|fake     the API server (kube where tests/kube is built, else fake)
    LEASE=3s RENEW=750ms   Leasehold's times
    ADVERT=1          keepalived's advert_int in seconds
    KUBE_VIP=FILE     a kube-vip program to compare with
    SERVICES=500      how many Services the second half of the footprint has
    ONLY=failover,footprint,create   parts to run
    JSON=FILE         all figures, for other programs

Each figure is printed as p50 / max over the runs, beside the first aim where there is one.  Missing an
aim is shown, not an error: the exit status is 0 unless the bench itself failed.  Needs root.
"""

import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from contenders import Keepalived, KubeVip, Leasehold, memory  # noqa: E402
from e2e.agents import BINARY, LEASE, SERVICES, Cluster, have_agent, install_rbac  # noqa: E402
from e2e.conftest import make_plane  # noqa: E402
from kube.cluster import NotBuilt, kube_directory  # noqa: E402
from netns.lab import POOL4_BIG, Lab, LabError, mono_ns, wait_for  # noqa: E402
from netns.probe import NeighProbe, Sniffer, UdpProbe  # noqa: E402

EVENTS = ("SIGTERM", "kill -9", "unplug")
POOL4 = "192.0.2.200-192.0.2.239"
REST_S = 30
CREATION_POOL = "198.18.255.1-198.18.255.250"


def milliseconds(text):
    """A duration as the agent's flags have it, in ms."""
    return float(text[:-2]) if text.endswith("ms") else float(text.rstrip("s")) * 1000


def spread(values):
    """p50 / max as text."""
    if not values:
        return "-"
    return f"{statistics.median(values):.0f} / {max(values):.0f}"


class Bench:
    def __init__(self):
        env = os.environ.get
        self.runs = int(env("RUNS", "5"))
        self.lease, self.renew = env("LEASE", "3s"), env("RENEW", "750ms")
        self.advert_s = float(env("ADVERT", "1"))
        self.many = int(env("SERVICES", "500"))
        self.kube_vip = env("KUBE_VIP")
        self.parts = env("ONLY", "failover,footprint,create").split(",")
        self.json = env("JSON")
        self.api = env("API") or self._built()
        self.figures = {"runs": self.runs, "api": self.api}
        self.rows = []

    @staticmethod
    def _built():
        try:
            return "kube" if kube_directory() else "fake"
        except NotBuilt:
            return "fake"

    def note(self, text):
        print(f"  {text}", file=sys.stderr, flush=True)

    def row(self, what, value, unit, aim=None, met=None):
        verdict = "" if aim is None else f"{aim}  {'met' if met else 'MISSED'}"
        self.rows.append((what, value, unit, verdict))

    # -- failover ----------------------------------------------------------------------------

    def one_failover(self, contender, event):
        """Strike the holder once, and give the figures of what followed.

        dark_ms        the longest time without answers, as the client sees it
        taken_over_ms  until another node first claims the VIP on the wire
        doubles        ARP requests answered by two nodes; double_ms: how long two nodes claimed it
        """
        lab = contender.lab
        holder = contender.one_holder()
        contender.prepare(event, holder)
        with UdpProbe(lab.client, contender.vip, contender.port, interval_ms=2) as probe, \
                NeighProbe(lab, [contender.vip], interval_ms=10) as neigh, \
                Sniffer(lab, [contender.vip]) as wire:
            probe.wait_answered(50)
            # Adverts and renewals come in time with what set this run up: strike out of time.
            phase = mono_ns() + random.randrange(10**9)
            wait_for(lambda: mono_ns() >= phase, what="a random moment of the next second")
            at = contender.strike(event, holder)
            wait_for(lambda: any(n is not holder for n in contender.nodes_with_vip()), 60, 0.02,
                     f"{contender.name}: another holder after {event}")
            probe.wait_answer_after(mono_ns(), 60)
            # Long enough to see a dead holder answer on, or fall silent.
            probe.wait_answered(1500, 60)
            trace, who, claims = probe.stop(), neigh.stop(), wire.stop()
        contender.recover(event, holder)
        gap = trace.dark(since=at)
        first = next(c.at for c in claims.of(contender.vip, since=at) if c.mac != holder.mac)
        return {"dark_ms": gap.ms, "taken_over_ms": (first - at) / 1e6, "lost": gap.lost, "late": gap.late, "stall_ms": gap.stall_ms,
                "doubles": len(who.duplicates(since=at)),
                "double_ms": sum(o.ms for o in claims.overlaps())}

    def failover(self, contender):
        self.note(f"{contender.name}: {contender.configuration()}")
        results = self.figures.setdefault("failover", {}).setdefault(contender.name, {})
        contender.start()
        try:
            for event in EVENTS:
                results[event] = []
                for run in range(self.runs):
                    figures = self.one_failover(contender, event)
                    results[event].append(figures)
                    self.note(f"{contender.name} {event} {run + 1}/{self.runs}: dark "
                              f"{figures['dark_ms']:.0f} ms, {figures['doubles']} double answers")
        finally:
            contender.stop()
        aims = {"SIGTERM": 150, "kill -9": milliseconds(self.lease) + 300} \
            if contender.name == "leasehold" else {}
        for event in EVENTS:
            dark = [f["dark_ms"] for f in results[event]]
            aim = aims.get(event)
            self.row(f"{contender.name}: dark after {event}", spread(dark), "ms",
                     aim and f"<= {aim:.0f}", aim and max(dark) <= aim)
            self.row(f"{contender.name}: another node claims the VIP after {event}",
                     spread([f["taken_over_ms"] for f in results[event]]), "ms")
            self.row(f"{contender.name}: ARP requests answered by two nodes, {event}",
                     spread([f["doubles"] for f in results[event]]),
                     f"(two nodes claimed for {spread([f['double_ms'] for f in results[event]])} ms)")

    # -- footprint ---------------------------------------------------------------------------

    @staticmethod
    def requests(agent):
        return sum(value for key, value in agent.metrics().items()
                   if key.startswith("leasehold_api_requests_total"))

    def at_rest(self, cluster, services):
        """Wait until nothing moves any more, then measure memory and requests of each agent."""
        holder = cluster.wait_holder()
        wait_for(lambda: held(holder) >= services, 180, 0.5, f"{services} VIPs held")
        quiet(cluster)
        before = {name: self.requests(agent) for name, agent in cluster.agents.items()}
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began >= REST_S, REST_S + 5, 0.5, "the time of rest")
        minutes = (time.monotonic() - began) / 60
        found = {}
        for name, agent in cluster.agents.items():
            role = "holder" if agent is holder else "candidate"
            found.setdefault(role, []).append({
                **memory(agent.process.pid),
                "requests_per_minute": (self.requests(agent) - before[name]) / minutes})
        return found

    def footprint(self, cluster):
        results = self.figures.setdefault("footprint", {})
        cluster.start_agents(lease_duration=self.lease, renew_interval=self.renew,
                             pool=[POOL4_BIG, CREATION_POOL], log_level="info")
        try:
            cluster.services(1, "first")
            results["1"] = self.at_rest(cluster, 1)
            self.note(f"creating {self.many - 1} Services more")
            began = time.monotonic()
            cluster.services(self.many - 1)
            wait_for(lambda: held(cluster.wait_holder()) >= self.many, 300, 0.2,
                     f"{self.many} VIPs held")
            results["create_all_s"] = time.monotonic() - began
            results[str(self.many)] = self.at_rest(cluster, self.many)
            if "create" in self.parts:
                self.creation(cluster, self.many)
        finally:
            cluster.stop_agents()
            cluster.clear()
        for count in ("1", str(self.many)):
            for role, agents in results[count].items():
                what = f"leasehold {role}, {count} Service{'s' if count != '1' else ''}"
                aim = count != "1"
                anon = max(a["RssAnon"] for a in agents) / 1024
                self.row(f"{what}: RssAnon", f"{anon:.1f}", "MB", "<= 10" if aim else None, anon <= 10)
                self.row(f"{what}: VmRSS, PSS", " ".join(
                    f"{max(a[k] for a in agents) / 1024:.1f}" for k in ("VmRSS", "Pss")), "MB")
                self.row(f"{what}: API requests at rest",
                         f"{max(a['requests_per_minute'] for a in agents):.0f}", "a minute")
        self.row(f"leasehold: {self.many} Services created and up",
                 f"{results['create_all_s']:.1f}", "s, the API server's own time included")

    def neighbours_memory(self, contender):
        """The memory of a comparison program's holder, all its processes together."""
        holder = contender.start()
        try:
            parts = [memory(pid) for pid in contender.children(holder)]
        finally:
            contender.stop()
        total = {key: sum(p[key] for p in parts) for key in parts[0]}
        self.figures.setdefault("footprint", {})[contender.name] = total
        self.row(f"{contender.name} ({len(parts)} processes): RssAnon", f"{total['RssAnon'] / 1024:.1f}",
                 "MB")
        self.row(f"{contender.name}: VmRSS, PSS",
                 f"{total['VmRSS'] / 1024:.1f} {total['Pss'] / 1024:.1f}", "MB")

    # -- creation ----------------------------------------------------------------------------

    def one_creation(self, cluster, number):
        """From the moment before the POST to the first answer at the VIP, in ms."""
        vip = f"198.18.255.{number + 1}"
        name = f"timed-{number}"
        with UdpProbe(cluster.lab.client, vip, 80, interval_ms=2) as probe:
            probe.wait(lambda s: s["sent"] >= 5, what="the prober to ask")
            at = mono_ns()
            service = cluster.service(name, annotations={"leasehold.io/addresses": vip})
            probe.wait_answer_after(at, 30)
            trace = probe.stop()
        service.delete()
        cluster.wait_gone(vip)
        return (trace.first_answer(at) - at) / 1e6

    def creation(self, cluster, others):
        """Time from a Service's creation to its first answer, beside `others` Services."""
        values = [self.one_creation(cluster, number) for number in range(self.runs)]
        self.figures.setdefault("create_to_answer_ms", {})[str(others)] = values
        self.row(f"leasehold: Service created to first answer, beside {others} others", spread(values),
                 "ms", "<= 300", max(values) <= 300)

    # -- all ---------------------------------------------------------------------------------

    def run(self):
        with Lab() as lab, tempfile.TemporaryDirectory(prefix="leasehold-bench-") as workdir:
            workdir = Path(workdir)
            plane = make_plane(self.api, lab, workdir / "api")
            plane.start()
            try:
                kubeconfig = install_rbac(plane)

                def cluster(part):
                    return Cluster(lab, plane, kubeconfig, workdir / part)

                neighbours = [Keepalived(lab, workdir / "keepalived", self.advert_s)]
                if self.kube_vip:
                    neighbours.append(KubeVip(lab, workdir / "kube-vip", plane, self.kube_vip))
                if "failover" in self.parts:
                    self.failover(Leasehold(cluster("failover"), lease_duration=self.lease,
                                            renew_interval=self.renew, pool=[POOL4], log_level="info"))
                    for contender in neighbours:
                        self.failover(contender)
                if "create" in self.parts:
                    alone = cluster("create")
                    alone.start_agents(lease_duration=self.lease, renew_interval=self.renew,
                                       pool=[POOL4_BIG, CREATION_POOL], log_level="info")
                    try:
                        self.creation(alone, 0)
                    finally:
                        alone.stop_agents()
                        alone.clear()
                if "footprint" in self.parts:
                    self.footprint(cluster("footprint"))
                    for contender in neighbours:
                        self.neighbours_memory(contender)
            finally:
                plane.stop()

    def report(self):
        print(f"\nRuns: {self.runs}.  API server: "
              f"{'kube-apiserver and etcd' if self.api == 'kube' else 'in memory'}.  Figures: p50 / max.")
        print(f"Leasehold: lease {self.lease}, renewed every {self.renew}.  "
              f"keepalived: advert_int {self.advert_s:g} s."
              + ("" if self.kube_vip else "  kube-vip: not measured (KUBE_VIP= names its program)."))
        print("After kill -9 the dead node's kernel answers on, which hides the dark and shows as double answers.")
        widths = [max(len(row[i]) for row in self.rows) for i in range(3)]
        for what, value, unit, verdict in self.rows:
            print(f"  {what:<{widths[0]}}  {value:>{widths[1]}}  {unit:<{widths[2]}}  {verdict}".rstrip())
        if self.json:
            Path(self.json).write_text(json.dumps(self.figures, indent=1) + "\n")


def held(agent):
    return next((value for key, value in agent.metrics().items()
                 if key.startswith("leasehold_vips_held")), 0)


def quiet(cluster):
    """Wait until a whole lease of 3 s passes in which no Service and no Event was written."""
    def versions():
        return {o["metadata"]["name"]: o["metadata"]["resourceVersion"]
                for o in cluster.api().list(SERVICES)}

    state = {"seen": versions(), "since": time.monotonic()}

    def unchanged():
        now = versions()
        if now != state["seen"]:
            state.update(seen=now, since=time.monotonic())
        return time.monotonic() - state["since"] >= 3
    wait_for(unchanged, 120, 0.5, "rest")
    return cluster.api().get(LEASE)


def main():
    if not have_agent():
        sys.exit(f"bench: no agent at {BINARY}: run make first")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench()
    try:
        bench.run()
    except (LabError, NotBuilt, TimeoutError) as error:
        if bench.rows:
            bench.report()
        sys.exit(f"bench: {error}")
    bench.report()


if __name__ == "__main__":
    main()
