# SPDX-License-Identifier: Apache-2.0
"""A second LAN for the nodes, and what cases ask about VIPs there; fixture `far` (conftest.py) opens it."""

import contextlib

from netns.lab import POOL4, Host, LabError, _ip_batches, wait_for

from e2e.agents import PATIENCE_S

FAR4 = "198.51.100.240-198.51.100.247"
NEAR_VIP, FAR_VIP, FAR_VIP6 = "192.0.2.200", "198.51.100.240", "2001:db8:2::f0"
ADDRESSES = "leasehold.io/addresses"


class FarLan:
    """A second LAN: bridge br1, eth1 of each node (198.51.100.193.., 2001:db8:2::11..), and host `far` as its client."""

    def __init__(self, lab):
        self.lab = lab
        self.host = Host(lab, "far", "198.51.100.250", "2001:db8:2::50", "00:00:5e:00:53:b0")

    def open(self):
        _ip_batches({None: [f"netns add {self.host.netns}"]})
        self.lab.hosts["far"] = self.host
        self.host.sysctls({"ipv6/conf/default/dad_transmits": 0, "ipv6/conf/default/accept_ra": 0})
        _ip_batches({self.lab.lan.netns: [
            "link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br1 up",
            f"link add far type veth peer name eth0 address {self.host.mac} netns {self.host.netns}", "link set far master br1",
            "link set far up"]})
        _ip_batches({self.host.netns: ["link set lo up", f"addr add {self.host.ip4}/26 dev eth0",
                                       f"addr add {self.host.ip6}/64 dev eth0 nodad", "link set eth0 up"]})
        for node in self.lab.nodes:
            self.cable(node)

    def number(self, node):
        return self.lab.nodes.index(node) + 1

    def mac(self, node):
        return f"00:00:5e:00:53:{20 + self.number(node)}"

    @staticmethod
    def port(node):
        return f"{node.name}b"

    def addresses(self, node):
        return f"198.51.100.{192 + self.number(node)}/26", f"2001:db8:2::1{self.number(node)}/64"

    def cable(self, node, address=True):
        """eth1 of a node, in place of one that may be there."""
        port = self.port(node)
        with contextlib.suppress(LabError):
            self.lab.lan.ip("link", "del", port)
        _ip_batches({self.lab.lan.netns: [f"link add {port} type veth peer name eth1 address {self.mac(node)} netns {node.netns}",
                                          f"link set {port} master br1", f"link set {port} up"]})
        node.ip("link", "set", "eth1", "up")
        if address:
            self.address(node, "eth1")
        wait_for(lambda: node.carrier("eth1"), what=f"carrier of eth1 on {node.name}")

    def address(self, node, dev):
        ip4, ip6 = self.addresses(node)
        node.ip("addr", "add", ip4, "dev", dev)
        node.ip("addr", "add", ip6, "dev", dev, "nodad")

    def unplug(self, node):
        return self.lab.lan.link_up(self.port(node), False)

    def close(self):
        for name in (*map(self.port, self.lab.nodes), "far", "br1"):
            with contextlib.suppress(LabError):
                self.lab.lan.ip("link", "del", name)
        with contextlib.suppress(LabError):
            _ip_batches({None: [f"netns del {self.host.netns}"]})
        del self.lab.hosts["far"]


def stop_all(cluster):
    for agent in cluster.agents.values():
        if agent.running():
            agent.stop()


def places(cluster, vip):
    """{(node, interface)} where the kernel has the address."""
    return {(node.name, link["ifname"]) for node in cluster.lab.nodes for link in node.ip_json("addr")
            for a in link.get("addr_info", ()) if a.get("local") == vip}


def wait_places(cluster, vip, *want):
    wait_for(lambda: places(cluster, vip) == set(want), PATIENCE_S, 0.05,
             lambda: f"{vip} at {set(want)}; it is at {places(cluster, vip)}\n"
             + "\n".join(agent.log_tail(20) for agent in cluster.agents.values()))


def alone(cluster, number=0, **flags):
    """One agent, with pools for both LANs."""
    node = cluster.lab.nodes[number]
    return cluster.start_agents([node], pool=[POOL4, FAR4, FAR_VIP6], **flags)[-1]


def want_vip(cluster, vip, name="web"):
    return cluster.service(name, annotations={ADDRESSES: vip}, families=["IPv6" if ":" in vip else "IPv4"])


def why_not(agent, vip):
    """What status says of a VIP that no interface of the node carries; "" also while the agent does not answer yet."""
    with contextlib.suppress(LabError):
        return next((v.get("why") or "" for v in agent.status()["vips"] if v["address"] == vip), "")
    return ""


def require_refused(cluster, agent, vip, words):
    """The reason is in the status and, once, in the log; the VIP is not there."""
    wait_for(lambda: words in why_not(agent, vip), PATIENCE_S, 0.05,
             lambda: f"status to say {words!r} of {vip}; it says {why_not(agent, vip)!r}\n{agent.log_tail(20)}")
    told = [line for line in agent.log().splitlines() if "vip_without_interface" in line and vip in line and words in line]
    assert len(told) == 1, agent.log_tail(40)
    assert agent.name not in {name for name, _ in places(cluster, vip)}


def require_reached(cluster, far, vip, pods=None):
    cluster.reach_all(far.host, vip, pods or cluster.lab.pods, "TCP")


def require_gated(node, dev):
    assert {side for side, _, _ in node.filters(dev)} == {"ingress", "egress"}
