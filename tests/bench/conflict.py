"""How soon somebody else's use of a VIP is found and named: one try of each kind after the other, at a random moment of the
sweep; and how soon a host that has many VIPs configured is found while the budget of questions lasts for a part of them a
second only.

    silent host      a host of the LAN has the address configured, and says nothing
    announcing host  it announces once, by ARP or by a neighbour advertisement
    address by hand  an address that was added to another node of the cluster, told by that node
    another node     likewise, where no agent and no gate is any more: told by the holder
    another cluster  with the same pool: from the creation of its Service, what takes longest of it

A try begins before the command that makes it, and ends with the time of the holder's log line, name and all.
"""

import contextlib
import datetime
import random
import time

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from e2e.agents import Cluster, install_rbac
from e2e.strangers import ALL, ALL_NODES, configured, send, told
from fakekube.cluster import FakeControlPlane
from netns.lab import POOL4, POOL4_BIG, POOL6, LabError, mono_ns, wait_for

from failover import elapse, spread

AIM_MS = 1000
ROUND_MS = 500      # each VIP in the sweep, as long as the budget lasts
BUDGET = 100        # questions a second
SETTLED_S = 6       # nobody is accused just after a takeover, and bursts come to an end
PATIENCE_S = 60
LINES_MAX = 60      # a minute, of the agent's own limit


def written_ms(line):
    return datetime.datetime.fromisoformat(line["at"].replace("Z", "+00:00")).timestamp() * 1000


def wait_told(agent, vip, *kinds, mac=None):
    """The first line about the VIP of one of those kinds."""
    def found():
        return [line for line in told(agent) if line["vip"] == vip and line["kind"] in kinds and mac in (None, line["mac"])]
    return wait_for(lambda: (f := found()) and f[0], PATIENCE_S, 0.02,
                    lambda: f"{kinds} {vip} on {agent}; told {[line for line in told(agent) if line['vip'] == vip]}")


def announcement(vip, mac):
    if "." in vip:
        return Ether(src=mac, dst=ALL) / ARP(op=1, hwsrc=mac, psrc=vip, pdst=vip)
    return Ether(src=mac, dst=ALL_NODES) / IPv6(src=vip, dst="ff02::1", hlim=255) / \
        ICMPv6ND_NA(tgt=vip, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)


class Conflict:
    def __init__(self, bench, tries):
        self.bench, self.tries = bench, min(tries, LINES_MAX // 2)
        self.figures = {}

    @contextlib.contextmanager
    def served(self, cluster, count, nodes=None, families=("IPv4",), **flags):
        """Agents that serve `count` VIPs, and are at rest: (the holder, VIPs)."""
        cluster.start_agents(nodes, **{"lease_duration": self.bench.lease, "renew_interval": self.bench.renew,
                                       "log_level": "info", **flags})
        try:
            cluster.services(count, families=families)
            wait_for(lambda: sum(agent.metrics().get("leasehold_vips_held", 0) for agent in cluster.agents.values()) >= count,
                     300, 0.5, f"{count} VIPs held")
            elapse(mono_ns(), SETTLED_S)
            holder = cluster.wait_holder()
            own = (holder.node.ip4, holder.node.ip6)
            yield holder, [vip for vip, entry in holder.node.addresses().items() if entry["scope"] != "link" and vip not in own]
        finally:
            cluster.stop_agents()
            cluster.clear()

    def each(self, kind, cluster, prepare, one, **flags):
        """One try for each VIP: `one(holder, vip, number)` makes the conflict and returns the line of it."""
        values = []
        with self.served(cluster, self.tries, **flags) as (holder, vips):
            by = prepare(holder)
            for number, vip in enumerate(vips):
                elapse(mono_ns(), random.uniform(0, ROUND_MS / 1000))
                began = time.time() * 1000
                values.append(written_ms(one(by, vip, number)) - began)
        self.figures[kind] = values
        self.bench.note(f"conflict: {kind}: {[round(v) for v in values]}")

    def within_one_cluster(self, cluster, family):
        lab, flags = cluster.lab, {"pool": [POOL6 if family == 6 else POOL4], "families": [f"IPv{family}"]}

        def silent(holder, vip, _):
            with configured(lab.slow, vip):
                return wait_told(holder, vip, "host", mac=lab.slow.mac)

        def announces(holder, vip, number):
            mac = f"00:00:5e:00:53:{0x80 + number:02x}"  # none of the lab's
            send(lab.client, announcement(vip, mac))
            return wait_told(holder, vip, "host", mac=mac)

        def other_of(holder):
            return cluster.others(holder)[0]

        def by_hand(other, vip, _):
            with configured(other.node, vip):
                return wait_told(other, vip, "address")

        def without_lease(agents, vip, _):
            holder, other = agents
            with configured(other.node, vip):
                return wait_told(holder, vip, "node", mac=other.node.mac)

        def stop_one(holder):
            other = other_of(holder)
            other.stop()
            other.cleanup()
            return holder, other

        for kind, prepare, one in (("silent host", lambda holder: holder, silent),
                                   ("announcing host", lambda holder: holder, announces),
                                   ("address by hand", other_of, by_hand), ("another node", stop_one, without_lease)):
            self.each(f"{kind}, IPv{family}", cluster, prepare, one, **flags)

    def another_cluster(self, cluster, workdir):
        lab = cluster.lab
        plane = FakeControlPlane(lab.client.netns, lab.client.ip4, workdir / "api")
        plane.start()
        second = Cluster(lab, plane, install_rbac(plane), workdir)
        try:
            def prepare(holder):
                second.start_agents(lab.nodes[2:], lease_duration=self.bench.lease, renew_interval=self.bench.renew,
                                    log_level="info")
                return holder

            def rival(holder, vip, number):
                second.service(f"rival-{number}", annotations={"leasehold.io/addresses": vip})
                return wait_told(holder, vip, "host", "balancer", mac=lab.nodes[2].mac)
            self.each("another cluster", cluster, prepare, rival, nodes=lab.nodes[:2])
        finally:
            second.stop_agents()
            plane.stop()

    def among_many(self, cluster, count):
        """All at once, on VIPs from everywhere in the sweep."""
        pool = {"pool": [POOL4_BIG], "interface_subnet": "any"}
        host = cluster.lab.slow
        with self.served(cluster, count, **pool) as (holder, vips):
            chosen = random.sample(vips, min(self.tries, count))
            began = time.time() * 1000
            with configured(host, *chosen):
                self.figures[f"silent host, {count} VIPs"] = [written_ms(wait_told(holder, vip, "host", mac=host.mac)) - began
                                                              for vip in chosen]

    def run(self, cluster, workdir):
        for family in (4, 6):
            self.within_one_cluster(cluster("conflict"), family)
        try:
            self.another_cluster(cluster("conflict-first"), workdir / "conflict-second")
        except (LabError, TimeoutError) as error:
            self.bench.note(f"conflict: another cluster: {error}")
        for count in (20, 100, 1000):
            self.among_many(cluster(f"conflict-{count}"), count)
        return self

    def report(self):
        for kind, values in self.figures.items():
            count = int(kind.split()[-2]) if kind.endswith(" VIPs") else self.tries
            aim = AIM_MS if 2 * count <= BUDGET else None
            self.bench.row(f"leasehold: found and named: {kind}, {len(values)} tries", spread(values), "ms",
                           aim and f"<= {aim}", aim and max(values) <= aim)
