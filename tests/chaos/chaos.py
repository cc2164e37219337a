#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make chaos`: random faults, many at a time, and a sniffer that proves who answers for each VIP at every moment.

    make chaos SECONDS=600 SEED=n API=fake|kube POLICY=fence|hold GROUPS=4

    chaos.py --seconds 600 --seed N --api fake|kube --policy fence|hold --groups 4 --nodes 5 --vips 20
             --lease-duration 2s --renew-interval 400ms --back 12

--seed makes the schedule of faults (printed; the same seed makes the same one); the API server stands behind a fault
proxy for each node; half of the VIPs are IPv6; every VIP has to be back --back seconds after the last fault.

Rounds of faults (faults.py) with a rest after each, in which every VIP has to be back within its bound.  A violation is:
two MACs that answered or announced for a VIP by turns (probe.py, two_macs); a VIP that is not back in time, or is
answered for by two nodes then; an agent that ended by itself; a command that hung.  Policy hold lets two nodes answer
while the LAN between them is broken, and HEAL_MS longer.  Prints every fault with its time, the verdict and the seed; exit
status 1 after a violation, 2 when the run itself failed.  Needs root.
"""

import argparse
import contextlib
import heapq
import itertools
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from chaos.faults import LAN, LINK, PROCESS, Hand, rng_for, schedule  # noqa: E402
from e2e.agents import BINARY, Cluster, bulk, have_agent, install_rbac, service_body, slice_bodies  # noqa: E402
from e2e.agents import ECHO_PORT, SERVICES, SLICES  # noqa: E402
from e2e.conftest import make_plane  # noqa: E402
from fakekube.fault_proxy import FaultProxy  # noqa: E402
from kube.cluster import NotBuilt  # noqa: E402
from netns.lab import Lab, LabError, mono_ns, wait_for  # noqa: E402
from netns.probe import NEIGHBOUR_KINDS, NeighProbe, Sniffer, two_macs, united  # noqa: E402

ROUND_S = 24.0          # of faults; then a rest
FAULTS_A_SECOND = 1.2
ASK_MS = 20             # each VIP is asked for so often, from two places in turn
MERGE_MS = 200
# After a LAN that was split is whole again: the way of a frame, and a turn of the holder's loop.
HEAL_MS = 250
PROXY_PORT = 6500


class Judge:
    """Reads what the sniffer heard, piece by piece, and keeps the times in which two MACs answered."""

    def __init__(self, mac_owner):
        self.mac_owner, self.tail, self.found, self.frames = mac_owner, [], [], 0
        self.judged_to = 0

    def hear(self, claims):
        points = [(c.at, c.vip, c.mac) for c in claims if c.kind in NEIGHBOUR_KINDS]
        self.frames += len(points)
        points = sorted(self.tail + points)
        self.found += [o for o in two_macs(points, MERGE_MS) if o.end > self.judged_to]
        if points:
            self.judged_to = points[-1][0]
            # A frame may be read after a younger one of another port.
            self.tail = [p for p in points if p[0] > self.judged_to - 2 * MERGE_MS * 10**6]

    def violations(self, allowed):
        """[Overlap] but for what lies in the allowed times [(start, end)]."""
        return [o for o in united(self.found) if not any(start <= o.start and o.end <= end for start, end in allowed)]


class World:
    """Lab, API server, proxies, agents and VIPs."""

    def __init__(self, options, stack):
        self.groups, self.policy = options.groups, options.policy
        self.lab = stack.enter_context(Lab(nodes=options.nodes, pods_per_node=1))
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-chaos-")))
        self.plane = make_plane(options.api, self.lab, workdir / "api")
        stack.callback(self.plane.stop)
        self.plane.start()
        self.cluster = Cluster(self.lab, self.plane, install_rbac(self.plane), workdir / "agents")
        self.proxies, self.vips, self.commands = {}, [], []
        for i, node in enumerate(self.lab.nodes):
            proxy = FaultProxy(self.lab.api.netns, f"{self.lab.api.ip4}:{PROXY_PORT + i}", self.plane, workdir / "proxies",
                               seed=options.seed)
            self.proxies[node.name] = stack.enter_context(proxy)
        self.options, self.wire = options, None

    def start(self):
        for node in self.lab.nodes:
            kubeconfig = self.proxies[node.name].kubeconfig_for_serviceaccount("kube-system", "leasehold")
            self.cluster.agent(node, kubeconfig=kubeconfig, lease_duration=self.options.lease_duration,
                               renew_interval=self.options.renew_interval, groups=self.groups, on_api_loss=self.policy,
                               log_level="info").start()
        for agent in self.cluster.agents.values():
            agent.wait_ready()
        bodies = [service_body(f"chaos-{i:02d}", policy="RequireDualStack") for i in range(self.options.vips // 2)]
        parts = [part for body in bodies for part in slice_bodies(body, self.lab.pods, ECHO_PORT)]
        bulk(self.plane.api, [("POST", SERVICES, b) for b in bodies] + [("POST", SLICES, p) for p in parts])

        def given():
            found = [i["ip"] for s in self.plane.api.list(SERVICES)
                     for i in s["status"].get("loadBalancer", {}).get("ingress") or ()]
            return found if len(found) == self.options.vips else None
        self.vips = sorted(wait_for(given, 60, 0.2, f"{self.options.vips} VIPs"))

    def agent(self, node):
        return self.cluster.agents[node.name]

    def node(self, name):
        return next((node for node in self.lab.nodes if node.name == name), None)

    def answerer(self, number):
        """The name of the node that spoke last for a VIP."""
        latest = self.wire.stats()["latest"].get(self.vips[number])
        return latest and self.lab.mac_owner(latest[1])

    def start_handover(self, group, words):
        """`leasehold handover` from the API server's host, with an administrator's kubeconfig; the process."""
        for old in [c for c in self.commands if c.poll() is not None]:
            self.commands.remove(old)
        process = self.lab.api.spawn([BINARY, "handover", str(group), *words, "--kubeconfig",
                                      str(self.plane.admin_kubeconfig)], log=os.path.join(self.lab.workdir, "handover.log"))
        self.commands.append(process)
        return process

    def unanswered(self, timeout_s):
        """UDP questions to every VIP from the client until all were answered; those that were not."""
        waiting = set(self.vips)
        deadline = time.monotonic() + timeout_s
        with self.lab.client.entered(), contextlib.ExitStack() as stack:
            socks = {}
            for vip in self.vips:
                family = socket.AF_INET6 if ":" in vip else socket.AF_INET
                socks[vip] = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                socks[vip].setblocking(False)
            while waiting and time.monotonic() < deadline:
                for vip in waiting:
                    with contextlib.suppress(OSError):
                        socks[vip].sendto(b"chaos", (vip, 80))
                time.sleep(0.02)
                for vip in list(waiting):
                    with contextlib.suppress(OSError):
                        if socks[vip].recv(2048):
                            waiting.discard(vip)
        return sorted(waiting)


class Run:
    """The rounds, the log and the verdict."""

    def __init__(self, options, world, wire):
        self.options, self.world, self.judge = options, world, Judge(world.lab.mac_owner)
        self.wire = world.wire = wire
        self.hand = Hand(world)
        self.began, self.problems, self.lan_faults, self.done = mono_ns(), [], [], 0
        self.worst_back = 0.0

    def say(self, text):
        print(f"  {(mono_ns() - self.began) / 1e9:7.2f}  {text}", flush=True)

    def problem(self, text):
        self.say(f"VIOLATION {text}")
        self.problems.append(f"at {(mono_ns() - self.began) / 1e9:.2f} s: {text}")

    def hear(self):
        before = len(self.judge.found)
        trace = self.wire.take()
        if trace.dropped:
            raise LabError(f"the sniffer lost {trace.dropped} frames: nothing is proven")
        self.judge.hear(trace.claims)
        for text in self.told(self.judge.found[before:]):
            self.say(text)

    def told(self, doubles):
        """Times in which two answered, as text; VIPs that did so together in one line."""
        groups = {}
        for o in united(doubles):
            groups.setdefault((o.macs, (o.start - self.began) // (ASK_MS * 5 * 10**6)), []).append(o)
        for (macs, _), found in groups.items():
            start, end = min(o.start for o in found), max(o.end for o in found)
            yield (f"{found[0].vip}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: "
                   f"{' and '.join(map(self.world.lab.mac_owner, macs))} answered by turns for {(end - start) / 1e6:.1f} ms "
                   f"from {(start - self.began) / 1e9:.3f} s")

    def check_agents(self):
        busy = {key for (lane, key) in self.hand.busy if lane == PROCESS}
        for name, agent in self.world.cluster.agents.items():
            if name not in busy and not agent.running():
                self.problem(f"the agent of {name} ended by itself, status {agent.process.returncode}\n{agent.log_tail(15)}")
                agent.start()

    def round(self, number, seconds):
        """Faults for so many seconds, then a rest until every VIP is back."""
        count = max(int(seconds * FAULTS_A_SECOND), 1)
        faults = schedule(rng_for(self.options.seed, number), seconds, count, len(self.world.lab.nodes),
                          len(self.world.vips))
        self.say(f"round {number}: {count} faults in {seconds:.0f} s")
        ties, queue = itertools.count(), []
        for fault in faults:
            heapq.heappush(queue, (fault.at, next(ties), "begin", fault))
        began = time.monotonic()
        while queue:
            at, _, what, fault = queue[0]
            left = began + at - time.monotonic()
            if left > 0:
                time.sleep(min(left, 1.0))
                if left > 0.3:
                    self.hear()
                    self.check_agents()
                continue
            heapq.heappop(queue)
            if what == "begin":
                self.begin(fault, queue, ties)
            else:
                self.end(fault)
        self.rest()

    def begin(self, fault, queue, ties):
        done = self.hand.begin(fault)
        if done is None:
            return
        self.done += 1
        self.say(f"{done}, {fault.length:.2f} s")
        if fault.lane in (LAN, LINK):
            fault.began = mono_ns()
        heapq.heappush(queue, (fault.at + fault.length, next(ties), "end", fault))

    def end(self, fault):
        problem = self.hand.end(fault)
        if fault.lane in (LAN, LINK) and fault.kind != "API server killed":
            self.lan_faults.append((fault.began, mono_ns() + HEAL_MS * 10**6))
        self.say(f"{'':12}end of {fault.kind}{' ' + fault.state[0] if fault.state[1] else ''}")
        if problem:
            self.problem(problem)

    def rest(self):
        """All faults are over: every VIP answers again within the bound, from one node."""
        began = mono_ns()
        missing = self.world.unanswered(self.options.back)
        took = (mono_ns() - began) / 1e9
        self.worst_back = max(self.worst_back, took)
        if missing:
            self.problem(f"not back {self.options.back:.0f} s after the last fault: {', '.join(missing)}")
            for agent in self.world.cluster.agents.values():
                self.say(f"last lines of {agent}\n{agent.log_tail(6)}")
        else:
            self.say(f"rest: every VIP answers after {took:.2f} s")
        self.hear()
        self.check_agents()
        since = mono_ns()
        wait_for(lambda: mono_ns() - since > 5 * ASK_MS * 10**6, what="five questions")
        claims = self.wire.take().claims
        self.judge.hear(claims)
        for vip in self.world.vips:
            macs = {c.mac for c in claims if c.vip == vip and c.at > since}
            if len(macs) > 1:
                self.problem(f"{vip}: {len(macs)} nodes answer in the rest")

    def run(self):
        number, left = 0, self.options.seconds
        while left > 0:
            number += 1
            began = time.monotonic()
            self.round(number, min(ROUND_S, left))
            left -= time.monotonic() - began
        self.hear()
        hold = self.options.policy == "hold"
        doubles = self.judge.violations(self.lan_faults if hold else [])
        # An API server that one node cannot see: the old holder yields when it hears the new one.
        self.problems += self.told(o for o in doubles if not hold or o.ms > HEAL_MS)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--api", choices=("fake", "kube"), default="fake")
    parser.add_argument("--policy", choices=("fence", "hold"), default="fence")
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--nodes", type=int, choices=range(2, 10), default=5)
    parser.add_argument("--vips", type=int, default=20)
    parser.add_argument("--lease-duration", default="2s")
    parser.add_argument("--renew-interval", default="400ms")
    parser.add_argument("--back", type=float, default=12, metavar="SECONDS")
    return parser.parse_args(arguments)


def again(options):
    """The command that repeats the run."""
    return "tests/chaos/chaos.py " + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in vars(options).items())


def main(arguments=None):
    if not have_agent():
        sys.exit(f"chaos: no agent at {BINARY}: run make first")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse(arguments)
    print(f"chaos: {again(options)}", flush=True)
    run = None
    try:
        with contextlib.ExitStack() as stack:
            world = World(options, stack)
            world.start()
            wire = stack.enter_context(Sniffer(world.lab, world.vips, merge_ms=MERGE_MS))
            for host in (world.lab.watch, world.lab.slow):
                stack.enter_context(NeighProbe(world.lab, world.vips, 2 * ASK_MS, host=host, record=False))
            run = Run(options, world, wire)
            run.rest()
            run.run()
            for agent in world.cluster.agents.values():
                _, status = agent.stop()
                if status != 0:
                    run.problem(f"{agent}: exit status {status}")
    except (LabError, NotBuilt, TimeoutError, RuntimeError) as error:
        print(f"chaos: the run itself failed: {error}\nagain: {again(options)}", file=sys.stderr)
        return 2
    for problem in run.problems:
        print(f"VIOLATION {problem}")
    print(f"{run.done} faults, {run.judge.frames} answers and announcements heard, every VIP back after "
          f"{run.worst_back:.1f} s at the latest; {len(run.problems)} violations\nagain: {again(options)}")
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
