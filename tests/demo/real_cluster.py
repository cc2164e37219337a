# SPDX-License-Identifier: Apache-2.0
"""The chapters of `demo.py --cluster real`: three real nodes (kubelet, containerd), the project's image
and `helm install`, as a user would do it.  The cases of tests/nodes ask the same with more rigour.
"""

from netns.lab import POOL4, POOL6, mono_ns, wait_for
from netns.probe import NeighProbe
from nodes.installed import NAMESPACE, REPLICAS, installed_cluster

LOST_A_MOVE = 50    # of 500 a second: what is on its way


def _shown(story, text):
    for line in text.rstrip().splitlines():
        story.say(f"  {line.rstrip()[:110]}")


def _dark(story, traces):
    for vip, trace in traces.items():
        gap = trace.dark()
        story.say(f"  {vip:<16} dark {gap.ms:7.1f} ms, {len(trace.lost())} of {len(trace.sent)} questions lost")


def _install(story, cluster, options):
    story.chapter("helm install")
    began = mono_ns()
    cluster.install("--set", f"leaseDuration={options.lease_duration},renewInterval={options.renew_interval}")
    cluster.wait_rolled_out()
    story.say(f"helm install leasehold helm/leasehold -n {NAMESPACE} --set 'pool={{{POOL4},{POOL6}}}' ...")
    story.say(f"an agent is ready on every node after {(mono_ns() - began) / 1e9:.1f} s")
    _shown(story, cluster.plane.kubectl("get", "pods", "-n", NAMESPACE, "-o", "wide",
                                        "-l", "app.kubernetes.io/name=leasehold"))


def _serve(story, cluster):
    story.chapter(f"A Deployment of {REPLICAS} pods and a Service of type LoadBalancer")
    cluster.deploy("web", REPLICAS)
    web = cluster.expose("web")
    backends = cluster.wait_backends("web", REPLICAS)
    vips = web.wait_vips(2)
    _shown(story, cluster.plane.kubectl("get", "service", "web"))
    holder = cluster.wait_holder_node()
    for vip in vips:
        cluster.wait_on_one_node(vip, holder)
        for protocol in ("UDP", "TCP"):
            trace = cluster.reach_all(cluster.lab.client, vip, backends, protocol)
            story.say(f"{protocol} {vip} port 80: {len(trace.backends())} pods answered "
                      f"{sum(trace.backends().values())} new flows")
    story.promise("the client reached every pod, over TCP and UDP, IPv4 and IPv6", True)
    return web, vips


def _closely(story, cluster, vips, act):
    """Do something to the holder while clients ask; (nobody saw two nodes answer, most questions that one of them lost)."""
    with cluster.observed(vips, slow=True) as seen:
        old = cluster.wait_holder_node()
        act(old)
        seen.wait_answers()
        seen.stop()
    lost = 0
    for who, traces in (("client", seen.traces), ("client deaf to announcements", seen.slow)):
        for vip, trace in traces.items():
            lost = max(lost, len(trace.lost()))
            story.say(f"  {vip:<14} {who}: dark {trace.dark().ms:.1f} ms, {len(trace.lost())} of {len(trace.sent)} "
                      "questions lost")
    story.say(f"two nodes answered for {seen.two_macs_ms():.1f} ms; "
              f"{len(seen.neigh.duplicates())} of {seen.neigh.requests()} ARP/ND requests were answered twice")
    return not seen.two_macs_ms() and not seen.neigh.duplicates(), lost


def _handover(story, cluster, vips):
    story.chapter("leasehold handover: a planned move")

    def act(old):
        _, status, out = cluster.handover()
        story.say(f"leasehold handover --kubeconfig admin.conf: {out.strip()}")
        story.promise("the VIPs moved", status == 0 and cluster.wait_holder_node(but=old) is not old)
    one, lost = _closely(story, cluster, vips, act)
    story.promise("never two nodes at once, and next to nothing lost", one and lost <= LOST_A_MOVE)


def _kill(story, cluster, vips):
    story.chapter("kill -9 of the holder's agent in its Pod, which the kubelet restarts")

    def act(old):
        pid = cluster.agent_pid(old)
        cluster.node(old.name).run("kill", "-KILL", pid)
        cluster.wait_agent_on(old)
        cluster.wait_rolled_out()
        story.say(f"pid {pid} is dead, {cluster.agent_pid(old)} runs; {cluster.lease_holder()} holds the Lease")
    one, _ = _closely(story, cluster, vips, act)
    story.promise("never two nodes at once", one)


def _power(story, cluster, vips):
    story.chapter("The holder's node loses its power")
    old = cluster.wait_holder_node()
    with cluster.watched(vips) as traces:
        cluster.power_off(old)
        new = cluster.wait_holder_node(but=old)
        for vip in vips:
            wait_for(lambda v=vip: v in new.addresses(), 20, 0.02, f"{vip} on {new.name}")
    story.say(f"{new.name} holds the Lease now; the VIP as the client saw it, asking every 5 ms:")
    _dark(story, traces)
    story.say("(questions to the pods of the dead node are lost until Kubernetes calls it NotReady)")
    cluster.wait_answered_by(vips, new)
    story.promise("one node alone answers for the VIPs, the one that holds the Lease", True)
    cluster.power_on(old)
    cluster.wait_agent_on(old)
    story.promise(f"{old.name} comes back and takes nothing away", cluster.lease_holder() == new.name)
    cluster.wait_rolled_out()
    cluster.wait_backends("web", REPLICAS)


def _upgrade(story, cluster, web, vips):
    story.chapter("helm upgrade --set logLevel=debug: the agents restart one after the other")
    with cluster.watched(vips) as traces:
        cluster.upgrade("--set", "logLevel=debug")
        cluster.wait_rolled_out()
    _dark(story, traces)
    cluster.wait_answered_by(vips, cluster.wait_holder_node())
    story.promise("the Service keeps its addresses, and one node answers for them", web.vips() == vips)


def _uninstall(story, cluster, vips):
    story.chapter("helm uninstall")
    cluster.uninstall()
    wait_for(lambda: not cluster.agent_pods(), 60, 0.2, "the end of the agents")
    with NeighProbe(cluster.lab, vips) as probe:
        probe.wait(lambda s: s["sent"] >= 40, what="40 questions")
        answered = probe.stop().answered()
    left = {node.name: cluster.left_in_kernel(node) for node in cluster.lab.nodes}
    story.promise("no address, no table and no filter stays on any node", not answered and not any(left.values()))


def run_real(story, options, workdir):
    """Tells the story on real nodes."""
    story.chapter("A control plane and three nodes with kubelet and containerd, in network namespaces")
    with installed_cluster(workdir) as cluster:
        _shown(story, cluster.plane.kubectl("get", "nodes", "-o", "wide"))
        try:
            _install(story, cluster, options)
            web, vips = _serve(story, cluster)
            _handover(story, cluster, vips)
            _kill(story, cluster, vips)
            _power(story, cluster, vips)
            _upgrade(story, cluster, web, vips)
            _uninstall(story, cluster, vips)
        except Exception:
            print(cluster.evidence())
            raise
