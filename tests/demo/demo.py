"""`make demo`: Leasehold's main job on this machine, in network namespaces, in under a minute.

    demo.py [--api fake|kube | --cluster real] [--lease-duration 3s] [--renew-interval 750ms]
            [--keep-logs DIR]

Builds a LAN of three nodes with pods and a client, starts an API server (the in-memory one unless
`--api kube`) and three agents, and shows what a user would look at: a Service gets its address, the
client reaches all pods through it, the holder is killed, restarted, told to hand over, stopped; the Service scales, is
deleted.  With
`--cluster real` the nodes have kubelet and containerd and Leasehold is installed by helm
(real_cluster.py); that takes a minute, and the programs of tests/kube/build.sh.  Each step says what it
promises; the exit status is 1 if one of the promises broke, 2 if the demo itself failed.

Installs nothing and needs root; everything it makes is gone at the end.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from e2e.agents import BINARY, EVENTS, Cluster, have_agent, install_rbac  # noqa: E402
from fakekube.cluster import FakeControlPlane  # noqa: E402
from kube.cluster import ControlPlane, NotBuilt  # noqa: E402
from netns.lab import POOL4, POOL6, Lab, LabError, mono_ns, wait_for  # noqa: E402
from netns.probe import NeighProbe, StreamsProbe  # noqa: E402

UNDER_WAY = 10
CONNECTIONS, ALIVE_S = 50, 15

BOLD, GREEN, RED, DIM, PLAIN = ("\033[1m", "\033[32m", "\033[31m", "\033[2m", "\033[0m") \
    if sys.stdout.isatty() else ("",) * 5


class Story:
    """The narration, and the promises made on the way."""

    def __init__(self):
        self.began, self.chapters, self.broken = time.monotonic(), 0, []

    def chapter(self, title):
        self.chapters += 1
        print(f"\n{BOLD}{self.chapters}. {title}{PLAIN}"
              f"{DIM}   (+{time.monotonic() - self.began:.1f} s){PLAIN}", flush=True)

    @staticmethod
    def say(text=""):
        print(f"   {text}", flush=True)

    def promise(self, text, kept):
        mark = f"{GREEN}kept  {PLAIN}" if kept else f"{RED}BROKEN{PLAIN}"
        print(f"   [{mark}] {text}", flush=True)
        if not kept:
            self.broken.append(text)

    def end(self):
        seconds = time.monotonic() - self.began
        if self.broken:
            print(f"\n{RED}{len(self.broken)} promise(s) broke{PLAIN} in {seconds:.0f} s:")
            for text in self.broken:
                print(f"   - {text}")
            return 1
        print(f"\n{GREEN}All promises of this demo were kept{PLAIN}, in {seconds:.0f} s.")
        return 0


def bars(story, counts):
    most = max(counts.values(), default=1)
    for name, count in sorted(counts.items()):
        story.say(f"  {name:<8} {'#' * round(30 * count / most):<30} {count}")


def make_cluster(story, options, plane, lab, workdir):
    kind = "in memory" if options.api == "fake" else "the real kube-apiserver and etcd"
    story.chapter(f"An API server ({kind})")
    began = time.monotonic()
    plane.start()
    story.say(f"{plane.urls[0]} answers after {time.monotonic() - began:.1f} s; the agents get the "
              "rights of the chart's ServiceAccount, no more")
    return Cluster(lab, plane, install_rbac(plane), workdir / "agents")


def start_agents(story, options, cluster):
    story.chapter("Three agents, one a node")
    began = time.monotonic()
    cluster.start_agents(lease_duration=options.lease_duration, renew_interval=options.renew_interval,
                         log_level="info")
    holder = cluster.wait_holder()
    story.say(f"leasehold agent --interface eth0 --pool {POOL4} --pool {POOL6}")
    story.say(f"    --lease-duration {options.lease_duration} --renew-interval {options.renew_interval}")
    story.say(f"all ready after {time.monotonic() - began:.1f} s; {holder.name} holds the Lease "
              "leasehold-group-0")


def create_service(story, cluster):
    story.chapter("A Service of type LoadBalancer")
    began = mono_ns()
    service = cluster.service("web", policy="RequireDualStack")
    vips = service.wait_vips(2)
    story.say(f"its status shows {' and '.join(vips)} {(mono_ns() - began) / 1e6:.0f} ms after the "
              "request to create it")
    node = cluster.wait_on_one_node(vips[0])
    for vip in vips:
        shown = node.addresses()[vip]
        story.say(f"{node.name} eth0: {vip}/{shown['prefixlen']}  valid for "
                  f"{shown['valid_life_time']} s unless renewed")
    story.promise("each address is on one node only, and that node holds the Lease",
                  all(cluster.nodes_with(vip) == [node] for vip in vips)
                  and node.name == cluster.lease_holder())
    return service, vips


def balance(story, cluster, vips):
    story.chapter("The client reaches every pod through the VIP")
    pods = cluster.lab.pods
    for vip in vips:
        for protocol, answers in (("UDP", 600), ("TCP", 120)):
            with cluster.probe(cluster.lab.client, vip, protocol) as probe:
                probe.wait_answered(answers, 20)
                trace = probe.stop()
            counts = trace.backends()
            story.say(f"{protocol} {vip} port 80: {sum(counts.values())} answers of "
                      f"{len(trace.sent)} new flows")
            if protocol == "UDP":
                bars(story, counts)
            story.promise(f"all {len(pods)} pods answered over {protocol} at {vip}, none asked in vain",
                          set(counts) == {p.name for p in pods} and not trace.lost())


def strike(story, cluster, vips, strike_holder, planned):
    """Do something to the holder under observation; (the old holder's agent, the new one's).

    Watched by a UDP client at 500/s, by 50 TCP connections (half of them idle until it is over), by who asks all the
    time who has the VIPs, and on the wire.
    """
    old = cluster.wait_holder()
    with cluster.observed(vips) as seen, \
            StreamsProbe(cluster.lab.client, vips[0], 80, CONNECTIONS, 20, CONNECTIONS // 2) as streams:
        streams.wait_up()
        at = strike_holder(old)
        new = cluster.wait_holder(but=old, timeout_s=20)
        cluster.settle_on_wire(vips, new, 20)
        seen.wait_answers()
        back = mono_ns()
        streams.speak()
        streams.wait_echoes(back, ALIVE_S)
        alive = len(streams.stop().alive(back, ALIVE_S))
        seen.stop()
    story.say(f"{new.name} holds the Lease now; the VIP as the client saw it, asking every 2 ms:")
    for vip, trace in seen.traces.items():
        gap = trace.dark(since=at)
        story.say(f"  {vip:<16} dark {gap.ms:7.1f} ms, {len(trace.lost(since=at))} of {len(trace.sent)} questions lost")
    story.say(f"two nodes answered for a VIP: {seen.two_macs_ms():.0f} ms; connections alive: {alive} of {CONNECTIONS}")
    story.promise("the VIP answers again, from the node that holds the Lease",
                  all(not trace.dark(since=at).open for trace in seen.traces.values())
                  and cluster.lease_holder() == new.name)
    if planned:
        # A question that the old holder has passed on, whose answer finds the VIP at the new one, may be lost.
        story.promise(f"a planned move loses nothing but what is under way: at most {UNDER_WAY} of 500 a second",
                      all(len(trace.lost()) <= UNDER_WAY for trace in seen.traces.values()))
    story.promise("never two nodes at once: 0 ms, neither who was asked nor on the wire",
                  seen.two_macs_ms() == 0 and not seen.neigh.two_macs())
    story.promise("established TCP connections live on, busy ones and idle ones", alive == CONNECTIONS)
    return old, new


def kill_holder(story, cluster, vips):
    story.chapter("kill -9 of the holder: its kernel stops answering at the Lease's deadline, another node takes over")
    old, new = strike(story, cluster, vips, lambda agent: agent.kill9(), planned=False)
    with NeighProbe(cluster.lab, vips) as probe:
        probe.wait_answered(40)
        after = probe.stop()
    story.promise("when that is over one node alone answers ARP and ND",
                  set(after.macs()) == {new.node.mac} and not after.duplicates())
    old.start().wait_ready()
    story.say(f"{old.name}'s agent is started again: a candidate now, {cluster.lease_holder()} holds on")
    story.promise("coming back takes nothing away", cluster.lease_holder() == new.name)


def restart_holder(story, cluster, vips):
    story.chapter("kill -9 of the holder, and a supervisor restarts it at once")
    holder = cluster.wait_holder()
    before = cluster.lease()["spec"]["holderIdentity"]
    with cluster.observed(vips) as seen:
        holder.kill9()
        holder.start().wait_ready()
        wait_for(lambda: cluster.lease()["spec"]["holderIdentity"] != before, 20, what="the new identity")
        seen.wait_answers()
        seen.stop()
    lost = {vip: len(trace.lost()) for vip, trace in seen.traces.items()}
    story.say(f"{holder.name} renews under a new identity; questions lost: {lost}")
    story.promise("an agent's restart is not noticed", not any(lost.values())
                  and cluster.lease_holder() == holder.name)


def hand_over(story, cluster, vips):
    story.chapter("leasehold handover: a planned move")

    def command(_):
        at, status, out = cluster.handover()
        story.say(f"$ leasehold handover\n   {out.strip()}")
        story.promise("the command says that it is done", status == 0)
        return at
    strike(story, cluster, vips, command, planned=True)


def stop_holder(story, cluster, vips):
    story.chapter("SIGTERM to the holder: it hands over, and ends")
    old, _ = strike(story, cluster, vips, lambda agent: agent.stop()[0], planned=True)
    old.start().wait_ready()


def scale(story, cluster, service, vips):
    story.chapter("The Service scales")
    pods, client = cluster.lab.pods, cluster.lab.client
    for count in (2, len(pods)):
        began = mono_ns()
        service.set_backends(pods[:count])
        cluster.reach_only(client, vips[0], pods[:count])
        story.say(f"to {count} pods: seen by new flows within {(mono_ns() - began) / 1e6:.0f} ms "
                  "(asking included)")
    story.promise("new flows meet the ready pods, all of them and no others", True)


def delete(story, cluster, service, vips):
    story.chapter("The Service is deleted")
    began = mono_ns()
    service.delete()
    for vip in vips:
        cluster.wait_gone(vip, 20)
    story.say(f"gone from every node after {(mono_ns() - began) / 1e6:.0f} ms")
    with NeighProbe(cluster.lab, vips) as probe:
        probe.wait(lambda s: s["sent"] >= 40, what="40 questions")
        trace = probe.stop()
    story.promise("nobody answers ARP or ND for it, and no table names it", trace.answered() == 0)
    for event in sorted(cluster.api().list(EVENTS), key=lambda e: e["eventTime"]):
        story.say(f"{DIM}Event {event['reason']}: {event.get('note', '')}{PLAIN}")
    statuses = [agent.stop()[1] for agent in cluster.agents.values()]
    story.promise("the agents end in order and leave no address",
                  statuses == [0, 0, 0] and not any(cluster.nodes_with(vip) for vip in vips))


def run(story, options, workdir):
    story.chapter("A LAN in network namespaces")
    with Lab() as lab:
        for node in lab.nodes:
            names = ", ".join(f"{p.name} {p.ip4}" for p in lab.pods if p.node is node)
            story.say(f"{node.name} {node.ip4} {node.ip6}   {names}")
        story.say(f"client {lab.client.ip4} {lab.client.ip6}")
        plane = (FakeControlPlane if options.api == "fake" else ControlPlane)(
            lab.api.netns, lab.api.ip4, workdir / "api")
        cluster = None
        try:
            cluster = make_cluster(story, options, plane, lab, workdir)
            start_agents(story, options, cluster)
            service, vips = create_service(story, cluster)
            balance(story, cluster, vips)
            kill_holder(story, cluster, vips)
            restart_holder(story, cluster, vips)
            hand_over(story, cluster, vips)
            stop_holder(story, cluster, vips)
            scale(story, cluster, service, vips)
            delete(story, cluster, service, vips)
        except Exception as error:
            story.say(f"{RED}{type(error).__name__}: {error}{PLAIN}")
            for agent in cluster.agents.values() if cluster else ():
                story.say(f"--- last lines of {agent}")
                print(agent.log_tail(25))
            raise
        finally:
            plane.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--api", choices=("fake", "kube"), default="fake")
    parser.add_argument("--cluster", choices=("real",), help="three real nodes and helm install")
    parser.add_argument("--lease-duration", default="3s")
    parser.add_argument("--renew-interval", default="750ms")
    parser.add_argument("--keep-logs", metavar="DIR", help="keep the agents' logs there")
    options = parser.parse_args()
    if not have_agent():
        sys.exit(f"demo: no agent at {BINARY}: run make first")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    workdir = Path(tempfile.mkdtemp(prefix="leasehold-demo-"))
    story = Story()
    try:
        if options.cluster:
            # Only here: it needs more programs.
            from real_cluster import run_real   # pylint: disable=import-outside-toplevel
            run_real(story, options, workdir)
        else:
            run(story, options, workdir)
        return story.end()
    except (LabError, NotBuilt) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except TimeoutError as error:
        story.promise(str(error), False)
        return story.end()
    finally:
        if options.keep_logs and (workdir / "agents").is_dir():
            shutil.copytree(workdir / "agents", options.keep_logs, dirs_exist_ok=True)
        shutil.rmtree(workdir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
