"""Routers for cases of announce bgp: a router with a user behind it, and real BIRD 2 or FRR daemons.

    Fabric     router 192.0.2.60, 2001:db8::60 on the LAN, and behind it `user`, who reaches the VIPs by what the router learns
    Bird, Frr  one host's daemons, run by the test itself with files of their own: no service of the machine is touched

The nodes have private AS 64512, the router 64513.  They export as docs/bgp.md says.
"""

import contextlib
import ipaddress
import shutil
import tempfile
from pathlib import Path

from netns.lab import LabError, _ip_batches, wait_for

AS_NODES, AS_ROUTER = 64512, 64513
VIPS4, VIPS6 = "203.0.113.0/24", "2001:db8:f::/64"
USERS4, USERS6 = "198.18.50", "2001:db8:50:"
HOLD_S, KEEPALIVE_S = 9, 3
BFD_MS, BFD_TIMES = 200, 4
FRR = Path("/usr/lib/frr")
BIRD = shutil.which("bird", path="/usr/sbin:/usr/bin")
BIRDC = shutil.which("birdc", path="/usr/sbin:/usr/bin")

BIRD_COMMON = """\
log "{log}" all;
router id {ip4};
protocol device {{ }}
protocol bfd {{ interface "eth0" {{ interval {bfd} ms; multiplier {times}; }}; }}
template bgp peer {{
	hold time {hold};
	keepalive time {keepalive};
	connect retry time 1;
	connect delay time 1;
	error wait time 1, 2;
	bfd on;
}}
"""

# As docs/bgp.md has it.
BIRD_NODE = BIRD_COMMON + """\
filter is_vip {{
	if net.type = NET_IP4 && net ~ [ {vips4}{{32,32}} ] then accept;
	if net.type = NET_IP6 && net ~ [ {vips6}{{128,128}} ] then accept;
	reject;
}}
protocol direct vips {{
	interface "lo";
	ipv4 {{ import filter is_vip; }};
	ipv6 {{ import filter is_vip; }};
}}
protocol bgp up4 from peer {{
	local {ip4} as {as_nodes};
	neighbor {router4} as {as_router};
	ipv4 {{ import none; export where proto = "vips"; }};
}}
protocol bgp up6 from peer {{
	local {ip6} as {as_nodes};
	neighbor {router6} as {as_router};
	ipv6 {{ import none; export where proto = "vips"; }};
}}
"""

BIRD_ROUTER = BIRD_COMMON + """\
protocol kernel {{ merge paths on; ipv4 {{ import none; export all; }}; }}
protocol kernel {{ merge paths on; ipv6 {{ import none; export all; }}; }}
"""
BIRD_ROUTER_PEER = """\
protocol bgp n{n}v4 from peer {{
	local {router4} as {as_router};
	neighbor {ip4} as {as_nodes};
	ipv4 {{ import where net ~ [ {vips4}+ ]; export none; }};
}}
protocol bgp n{n}v6 from peer {{
	local {router6} as {as_router};
	neighbor {ip6} as {as_nodes};
	ipv6 {{ import where net ~ [ {vips6}+ ]; export none; }};
}}
"""

FRR_COMMON = """\
hostname {name}
log file {log}
router bgp {own_as}
 bgp router-id {ip4}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 timers bgp {keepalive} {hold}
"""
FRR_PEER = """\
 neighbor {peer} remote-as {peer_as}
 neighbor {peer} timers connect 1
 neighbor {peer} advertisement-interval 0
 neighbor {peer} bfd
"""
# As docs/bgp.md has it.
FRR_NODE_FAMILIES = """\
 address-family ipv4 unicast
  redistribute connected route-map vips4
  neighbor {router4} activate
  neighbor {router4} route-map none in
 exit-address-family
 address-family ipv6 unicast
  redistribute connected route-map vips6
  neighbor {router6} activate
  neighbor {router6} route-map none in
 exit-address-family
exit
ip prefix-list vips4 permit {vips4} ge 32
ipv6 prefix-list vips6 permit {vips6} ge 128
route-map vips4 permit 10
 match interface lo
 match ip address prefix-list vips4
exit
route-map vips6 permit 10
 match interface lo
 match ipv6 address prefix-list vips6
exit
route-map none deny 10
exit
"""


class Bird:
    """BIRD 2 in one host."""

    name = "bird"

    def __init__(self, host, folder, config):
        self.host, self.folder = host, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "bird.log"
        (self.folder / "bird.conf").write_text(config.replace("{log}", str(self.log)))
        self.process = None

    def start(self):
        control = str(self.folder / "bird.ctl")
        # On a node what the chart's container has, and no more; a router sets routes.
        few = ["setpriv", "--bounding-set", "-all,+net_bind_service,+net_raw", "--"] if self.host in self.host.lab.nodes else []
        self.process = self.host.spawn([*few, BIRD, "-f", "-c", str(self.folder / "bird.conf"), "-s", control,
                                        "-P", str(self.folder / "bird.pid")], log=self.folder / "out.log")
        wait_for(lambda: "up and running" in self.ask("show", "status"),
                 what=lambda: f"BIRD on {self.host.name}: {(self.folder / 'out.log').read_text()}")
        return self

    def ask(self, *words):
        return self.host.run([BIRDC, "-r", "-s", str(self.folder / "bird.ctl"), *words], check=False)

    def kill9(self):
        self.process.kill9()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.stop()


class Frr:
    """FRR's zebra, bgpd and bfdd in one host, as the test's own processes."""

    name = "frr"

    def __init__(self, host, folder, config):
        self.host, self.folder = host, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(self.folder, "frr", "frr")
        self.config, self.processes = config, []

    def start(self):
        for name in ("zebra", "bfdd", "bgpd"):
            conf = self.folder / f"{name}.conf"
            log = self.folder / f"{name}.log"
            conf.write_text(self.config.replace("{log}", str(log)) if name == "bgpd" else
                            f"hostname {self.host.name}\nlog file {log}\n")
            socket = self.folder / f"{name}.vty"
            self.processes.append(self.host.spawn(
                [str(FRR / name), "-f", str(conf), "-i", str(self.folder / f"{name}.pid"),
                 "-z", str(self.folder / "zserv.api"), "--vty_socket", str(self.folder), "-P", "0"]
                + (["--bfdctl", str(self.folder / "bfdd.sock")] if name == "bfdd" else [])
                + (["-p", "179"] if name == "bgpd" else []),
                log=self.folder / "out.log"))
            wait_for(socket.exists, what=lambda n=name: f"{n} on {self.host.name}: {self.folder}")
        return self

    def ask(self, *words):
        return self.host.run(["vtysh", "--vty_socket", str(self.folder), "-c", " ".join(words)], check=False)

    def kill9(self):
        for process in self.processes:
            process.kill9()

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.stop()


DAEMONS = {"bird": Bird, "frr": Frr}


def missing(kind):
    """What is not installed of a daemon, or None."""
    if kind == "bird":
        return None if BIRD and BIRDC else "bird2"
    return None if (FRR / "bgpd").exists() and shutil.which("vtysh") else "frr"


def _link_local(mac):
    """The address that the kernel makes of a MAC (RFC 4291, appendix A)."""
    parts = [int(b, 16) for b in mac.split(":")]
    parts[0] ^= 2
    return ipaddress.ip_address(bytes([0xfe, 0x80, *([0] * 6), *parts[:3], 0xff, 0xfe, *parts[3:]])).compressed


class Fabric:
    """A router that speaks BGP with the nodes' daemons, and a user behind it."""

    def __init__(self, lab, node_kind="bird", router_kind="bird"):
        self.lab, self.folder = lab, None
        self.node_kind, self.router_kind = node_kind, router_kind
        self.router = self.user = None
        self.daemons = {}

    def __enter__(self):
        # Not below pytest's own folder, which is root's alone: FRR's daemons run as its user, or not at all.
        self.folder = Path(tempfile.mkdtemp(prefix="leasehold-bgp-"))
        self.folder.chmod(0o755)
        try:
            self._build()
            for host in (self.router, *self.lab.nodes):
                self.start(host)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    def _build(self):
        lab = self.lab
        self.router = lab._on_lan("router", 60, "60")  # pylint: disable=protected-access
        self.user = lab._host("user", f"{USERS4}.2", f"{USERS6}:2")  # pylint: disable=protected-access
        _ip_batches({None: [f"netns add {h.netns}" for h in (self.router, self.user)]})
        lab._sysctls((self.router, self.user))  # pylint: disable=protected-access
        self.router.sysctls({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1,
                             "ipv4/fib_multipath_hash_policy": 1, "ipv6/fib_multipath_hash_policy": 1})
        router, user = self.router, self.user
        _ip_batches({lab.lan.netns: lab._cable_lines(router)})  # pylint: disable=protected-access
        _ip_batches({router.netns: ["link set lo up", f"addr add {router.ip4}/24 dev eth0",
                                    f"addr add {router.ip6}/64 dev eth0 nodad", "link set eth0 up",
                                    f"link add users type veth peer name eth0 netns {user.netns}",
                                    f"addr add {USERS4}.1/24 dev users", f"addr add {USERS6}:1/64 dev users nodad",
                                    "link set users up"]})
        _ip_batches({user.netns: ["link set lo up", f"addr add {user.ip4}/24 dev eth0",
                                  f"addr add {user.ip6}/64 dev eth0 nodad", "link set eth0 up",
                                  f"route add default via {USERS4}.1", f"route add default via {USERS6}:1"]})
        for node in lab.nodes:
            # More specific than the lab's on-link routes; a VIP that this node has not goes where the others are.
            node.ip("route", "replace", f"{USERS4}.0/24", "via", router.ip4)
            node.ip("route", "replace", f"{USERS6}:/64", "via", router.ip6)
        for host in (router, user):
            wait_for(host.links_ready, what=f"the links of {host.name}")

    def _words(self, host):
        return {"ip4": host.ip4, "ip6": host.ip6, "name": host.name, "router4": self.router.ip4,
                "router6": self.router.ip6, "as_nodes": AS_NODES, "as_router": AS_ROUTER, "vips4": VIPS4, "vips6": VIPS6,
                "hold": HOLD_S, "keepalive": KEEPALIVE_S, "bfd": BFD_MS, "times": BFD_TIMES, "log": "{log}"}

    def _config(self, host, kind):
        words = self._words(host)
        if kind == "bird":
            if host is not self.router:
                return BIRD_NODE.format(**words)
            return BIRD_ROUTER.format(**words) + "".join(
                BIRD_ROUTER_PEER.format(**{**words, "n": i, "ip4": node.ip4, "ip6": node.ip6})
                for i, node in enumerate(self.lab.nodes, 1))
        peers = self.lab.nodes if host is self.router else [self.router]
        own, peer_as = (AS_ROUTER, AS_NODES) if host is self.router else (AS_NODES, AS_ROUTER)
        text = FRR_COMMON.format(own_as=own, **words) + "".join(
            FRR_PEER.format(peer=address, peer_as=peer_as) for peer in peers for address in (peer.ip4, peer.ip6))
        if host is not self.router:
            return text + FRR_NODE_FAMILIES.format(**words)
        for family, attribute in (("ipv4", "ip4"), ("ipv6", "ip6")):
            text += f" address-family {family} unicast\n  maximum-paths 8\n" + "".join(
                f"  neighbor {getattr(peer, attribute)} activate\n" for peer in peers) + " exit-address-family\n"
        return text + "exit\n"

    def kind_of(self, host):
        return self.router_kind if host is self.router else self.node_kind

    def start(self, host):
        """The daemons of a host, from their beginning."""
        kind = self.kind_of(host)
        daemon = DAEMONS[kind](host, self.folder / host.name, self._config(host, kind))
        self.daemons[host.name] = daemon.start()
        return daemon

    def daemon(self, host):
        return self.daemons[host.name]

    def next_hops(self, vip):
        """The nodes that the router's kernel sends a VIP to."""
        family = "-6" if ":" in vip else "-4"
        routes = self.router.ip_json(family, "route", "show", f"{vip}/{128 if ':' in vip else 32}")
        hops = {hop.get("gateway") for route in routes for hop in [route, *route.get("nexthops", ())]} - {None}
        # FRR names IPv6 next hops by their link-local addresses.
        owner = {a: n.name for n in self.lab.nodes for a in (n.ip4, n.ip6, _link_local(n.mac))}
        return {owner.get(hop, hop) for hop in hops}

    def wait_next_hops(self, vip, nodes, timeout_s=30):
        want = {node.name for node in nodes}
        wait_for(lambda: self.next_hops(vip) == want, timeout_s, 0.02,
                 lambda: f"{vip} by way of {sorted(want)}; it goes to {sorted(self.next_hops(vip))}")

    def close(self):
        for daemon in self.daemons.values():
            with contextlib.suppress(LabError):
                daemon.stop()
        self.daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        lab = self.lab
        if self.router is None:
            return
        for node in lab.nodes:
            for prefix in (f"{USERS4}.0/24", f"{USERS6}:/64"):
                with contextlib.suppress(LabError):
                    node.ip("route", "del", prefix)
        for host in (self.router, self.user):
            lab.hosts.pop(host.name, None)
            for process in list(host.processes):
                if process.poll() is None:
                    process.kill9()
        with contextlib.suppress(LabError):
            lab.lan.ip("link", "del", "router")
        for host in (self.router, self.user):
            with contextlib.suppress(LabError):
                _ip_batches({None: [f"netns del {host.netns}"]})
        self.router = self.user = None
