"""`make bench`: failover times beside keepalived (and kube-vip), memory, API load, creation time; the data plane beside
kube-proxy.

    RUNS=n            runs of each event and of the creation time (else 5; kill -9, SIGSTOP and handover 20; conflicts
                      15; loaded ones and the other programs 3)
    API=kube|fake     the API server (kube where tests/kube is built, else fake)
    LEASE=3s RENEW=750ms   Leasehold's times
    ADVERT=1          keepalived's advert_int in seconds
    KUBE_VIP=FILE     a kube-vip program to compare with
    SERVICES=500      how many Services the second half of the footprint has
    VIPS=1000         how many VIPs move together in the announce part
    ONLY=failover,announce,conflict,footprint,create,dataplane   parts to run; or outage: no API server for OUTAGE_S=600 seconds
    EVENTS="kill -9,handover"        of the failover part these events alone;  CONTENDER=leasehold: this one alone
    JSON=FILE         all figures, for other programs

Each figure is printed as p50 / max over the runs, beside its aim where there is one (failover.py tells what the
columns are, conflict.py what was tried; dataplane.py, with variables of its own, what the data plane's are).  Missing an
aim is shown, not an error: the exit status is 0 unless the bench itself failed.  Needs root.
"""

import json
import os
import signal
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
from announce import Announce  # noqa: E402
from conflict import Conflict  # noqa: E402
from dataplane import DataPlane, report as dataplane_report  # noqa: E402
from failover import Row, elapse, measure, spread, table  # noqa: E402

POOL4 = "192.0.2.200-192.0.2.239"
REST_S = 30
CREATION_POOL = "198.18.255.1-198.18.255.250"


def milliseconds(text):
    """A duration as the agent's flags have it, in ms."""
    return float(text[:-2]) if text.endswith("ms") else float(text.rstrip("s")) * 1000


class Bench:
    def __init__(self):
        env = os.environ.get
        self.runs = int(env("RUNS", "0"))   # 0: each row's own
        self.outage_s = int(env("OUTAGE_S", "600"))
        self.events = [e for e in env("EVENTS", "").split(",") if e]
        self.only_contender = env("CONTENDER")
        self.lease, self.renew = env("LEASE", "3s"), env("RENEW", "750ms")
        self.advert_s = float(env("ADVERT", "1"))
        self.many = int(env("SERVICES", "500"))
        self.n_vips = int(env("VIPS", "1000"))
        self.kube_vip = env("KUBE_VIP")
        self.parts = env("ONLY", "failover,announce,conflict,footprint,create,dataplane").split(",")
        self.json = env("JSON")
        self.api = env("API") or self._built()
        self.figures = {"runs": self.runs, "api": self.api}
        self.rows, self.tables = [], []

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

    def runs_of(self, many=False):
        return self.runs or (20 if many else 5)

    def leasehold_rows(self):
        crash = milliseconds(self.lease) + 200
        few, many, loaded = self.runs_of(), self.runs_of(True), self.runs or 3
        return [Row("SIGTERM", few, dark_aim=50), Row("handover", many, dark_aim=50),
                Row("kill -9", many, dark_aim=crash), Row("SIGSTOP", many, dark_aim=crash),
                Row("unplug", few), Row("reboot", few, dark_aim=crash), Row("API black hole", few),
                Row("API restart", few), Row("handover", loaded, True, dark_aim=50),
                Row("kill -9", loaded, True, dark_aim=crash), Row("SIGSTOP", loaded, True, dark_aim=crash)]

    def quick_rows(self):
        return [Row("kill -9", self.runs_of(), dark_aim=600),
                Row("SIGSTOP", self.runs_of(), frozen_s=3, dark_aim=600)]

    def blocks(self, cluster, neighbours):
        """[(title, contender, rows)]"""
        def leasehold(lease, renew):
            return Leasehold(cluster(f"failover-{lease}"), lease_duration=lease, renew_interval=renew, pool=[POOL4],
                             log_level="info")

        found = [(f"leasehold, Lease {self.lease}, renewed every {self.renew}", leasehold(self.lease, self.renew),
                  self.leasehold_rows()),
                 ("leasehold, Lease 400ms, renewed every 100ms", leasehold("400ms", "100ms"), self.quick_rows())]
        for contender in neighbours:
            found.append((f"{contender.name}, {contender.configuration()}", contender,
                          [Row(event, self.runs or 3) for event in contender.events]))
        chosen = self.events
        return [(title, contender, [row for row in rows if not chosen or row.event in chosen])
                for title, contender, rows in found if not self.only_contender or contender.name == self.only_contender]

    def failover(self, cluster, neighbours):
        blocks = [block for block in self.blocks(cluster, neighbours) if block[2]]
        seconds = sum(row.seconds() for _, _, rows in blocks for row in rows)
        self.note(f"failover: about {seconds / 60:.0f} minutes")
        for title, contender, rows in blocks:
            measure(contender, rows, self.note)
            self.tables.append((title, table(rows, contender.name == "leasehold"),
                                [f"{row.title}: {reason}" for row in rows for reason in sorted(set(row.failures))]))
            self.figures.setdefault("failover", {})[title] = {row.title: row.figures for row in rows}

    # -- outage ------------------------------------------------------------------------------

    def outage(self, cluster):
        """No API server at all for OUTAGE_S: under `hold` nothing is lost and nothing moves, then or afterwards."""
        cluster.start_agents(lease_duration=self.lease, renew_interval=self.renew, pool=[POOL4], log_level="info",
                             on_api_loss="hold")
        try:
            vip, = cluster.service("outage").wait_vips()
            node = cluster.wait_on_one_node(vip)
            cluster.reach_all(cluster.lab.client, vip, cluster.lab.pods)
            with UdpProbe(cluster.lab.client, vip, 80, interval_ms=2) as probe, \
                    NeighProbe(cluster.lab, [vip], interval_ms=4, record=False), Sniffer(cluster.lab, [vip]) as wire:
                probe.wait_answered(50)
                at = mono_ns()
                cluster.plane.kill()
                try:
                    self.note(f"outage: {self.outage_s} s without an API server")
                    elapse(at, self.outage_s)
                finally:
                    cluster.plane.restart()
                back = mono_ns()
                for agent in cluster.agents.values():
                    wait_for(agent.ready, 60, 0.1, f"{agent} to be ready")
                elapse(back, 10)
                trace, claims = probe.stop(), wire.stop()
        finally:
            cluster.stop_agents()
            cluster.clear()
        found = {"seconds": self.outage_s, "lost": len(trace.lost(since=at)), "sent": len(trace.sent),
                 "dark_ms": trace.dark(since=at).ms, "macs": sorted({c.mac for c in claims.of(vip)}),
                 "two_macs_ms": sum(o.ms for o in claims.two_macs(vip))}
        self.figures["outage"] = found
        what = f"leasehold: {self.outage_s} s without an API server, and 10 s after"
        self.row(f"{what}: lost", f"{found['lost']} of {found['sent']}", "questions", "0", found["lost"] == 0)
        self.row(f"{what}: longest gap", f"{found['dark_ms']:.0f}", "ms")
        self.row(f"{what}: nodes that answered", str(len(found["macs"])), "", "1", found["macs"] == [node.mac])

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
                             pool=[POOL4_BIG, CREATION_POOL], interface_subnet="any", log_level="info")
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
        values = [self.one_creation(cluster, number) for number in range(self.runs_of())]
        self.figures.setdefault("create_to_answer_ms", {})[str(others)] = values
        self.row(f"leasehold: Service created to first answer, beside {others} others", spread(values),
                 "ms", "<= 300", max(values) <= 300)

    # -- all ---------------------------------------------------------------------------------

    def run(self):
        if set(self.parts) - {"dataplane"}:
            self.run_lab()
        if "dataplane" in self.parts:
            self.run_dataplane()

    def run_dataplane(self):
        """In a lab of its own; kube-proxy does not speak to the in-memory API server."""
        try:
            kube_directory()
        except NotBuilt as reason:
            self.tables.append((f"data plane: left out: {reason}", [], []))
            return
        self.figures["dataplane"] = DataPlane(self.note).run().figures
        self.tables.append(("data plane", dataplane_report(self.figures["dataplane"]), []))

    def run_lab(self):
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
                    self.failover(cluster, neighbours)
                if "announce" in self.parts:
                    part = Announce(self, self.n_vips).run(cluster("announce"), lab, workdir / "keepalived-many")
                    self.figures["announce"] = part.figures
                    part.report()
                if "conflict" in self.parts:
                    part = Conflict(self, self.runs or 15).run(cluster, workdir)
                    self.figures["conflict"] = part.figures
                    part.report()
                if "outage" in self.parts:
                    self.outage(cluster("outage"))
                if "create" in self.parts:
                    alone = cluster("create")
                    alone.start_agents(lease_duration=self.lease, renew_interval=self.renew,
                                       pool=[POOL4_BIG, CREATION_POOL], interface_subnet="any", log_level="info")
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
        print(f"\nAPI server: {'kube-apiserver and etcd' if self.api == 'kube' else 'in memory'}.  "
              "Figures: p50 / max over the runs."
              + ("" if self.kube_vip else "  kube-vip: not measured (KUBE_VIP= names its program)."))
        for title, lines, failures in self.tables:
            print(f"\n{title}")
            print("\n".join(lines))
            for failure in failures:
                print(f"  failed: {failure}")
        if "failover" in self.figures:
            print("\nA dead holder whose kernel answers on shows no dark, but two MACs, for as long as a run lasts.\n"
                  "Behind keepalived's and kube-vip's VIP stands an echo server on each node: connections end with a move.")
        if self.rows:
            print()
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
        if bench.rows or bench.tables:
            bench.report()
        sys.exit(f"bench: {error}")
    bench.report()


if __name__ == "__main__":
    main()
