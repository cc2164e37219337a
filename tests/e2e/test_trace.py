"""tests/golden/trace as real packets: the same lines that tests/unit/core/test_trace.c walks the wanted state for.

The node has the three interfaces of tests/golden/trace/README.md and nothing else but a way to the API server.  A packet is
put in at one of them (or a process of the node connects), and what comes out is compared with the line's verdict:

    backends    all of them are met (one, where the line gives the source port) and nobody else is, each by the interface
                that it is reached by, from the source that it says
    reject      a TCP reset or an ICMP error at once; somebody listens on that port: it is not the port that is shut
    drop WHY    nothing comes out, and the counter of that reason goes up
    accept      somebody on the node answers
    pass        likewise, or the packet comes out as it went in
"""

import contextlib
import ipaddress
import itertools
import re
import selectors
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Raw

from fakekube.cluster import FakeControlPlane
from kube.client import ApiError
from netns.lab import Lab, wait_for

from e2e.agents import BINARY, LEASE, Agent, CLASS, have_agent, install_rbac
from e2e.wires import Wires

SCRIPTS = sorted((Path(__file__).resolve().parents[1] / "golden/trace").glob("*.txt"))
POOL = ["192.0.2.8-192.0.2.15", "2001:db8:1::10-2001:db8:1::1f"]
NODE = ("192.0.2.1", "2001:db8:1::1")
# The node's own addresses, the ways by each interface, and which of them end on the link.
INTERFACES = {
    "lan": ("192.0.2.1/24", "2001:db8:1::1/64",
            [("203.0.113.0/24", "192.0.2.254"), ("2001:db8:2::/64", "2001:db8:1::fe"),
             ("198.51.100.128/26", "192.0.2.253"), ("2001:db8:4::/64", "2001:db8:1::fd")]),
    "pods": ("198.51.100.126/25", "2001:db8:3::fe/64", []),
    "overlay": ("198.51.100.254/26", "2001:db8:5::fe/64", []),
}
MANAGEMENT = ("198.18.250.1", "198.18.250.2")
COUNTERS = {"invalid": "drop-invalid", "source-range": "drop-source", "unmatched": "drop-unmatched", "router": "drop-router"}
TIMES = {"1": "second", "60": "minute", "3600": "hour", "86400": "day"}
SETTLE_S, ANSWER_S, SILENCE_S = 15, 1.0, 0.25
ATTEMPTS = 300     # packets until every slot's backend was met

pytestmark = pytest.mark.fake


def test_there_are_scripts():
    assert len(SCRIPTS) >= 9


# ---- the node ----------------------------------------------------------------------------------

class Place:
    """The node, its wires and its API server."""

    def __init__(self, lab, workdir):
        self.lab, self.node, self.workdir = lab, lab.nodes[0], workdir
        self.wires, self.agent, self.services, self.slices = Wires(self.node), None, {}, {}
        self.flags, self.holder, self.listeners, self.lent = {}, True, None, []
        self.nets = []

    def open(self):
        for host, address in zip((self.node, self.lab.api), MANAGEMENT):
            host.ip("addr", "flush", "dev", "eth0")
            host.ip("addr", "add", f"{address}/24", "dev", "eth0")
        for name, (ip4, ip6, routes) in INTERFACES.items():
            self.wires.add(name, tap=name == "lan")
            self.node.ip("addr", "add", ip4, "dev", name)
            self.node.ip("addr", "add", ip6, "dev", name, "nodad")
            self.nets += [(ipaddress.ip_interface(a).network, name) for a in (ip4, ip6)]
            for net, via in routes:
                self.node.ip("route", "add", net, "via", via, "dev", name)
                self.nets.append((ipaddress.ip_network(net), name))
        self.nets.sort(key=lambda pair: -pair[0].prefixlen)
        self.wires.start()
        # An error for each question, however many there are.
        self.node.sysctls({"ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0, "ipv4/conf/all/send_redirects": 0,
                           "ipv4/conf/lan/send_redirects": 0, "ipv4/icmp_msgs_per_sec": 100000})
        wait_for(lambda: "lan" in [link["ifname"] for link in self.node.ip_json("link", "show", "up")], what="the wires")
        self.plane = FakeControlPlane(self.lab.api.netns, MANAGEMENT[1], self.workdir / "api")
        self.plane.start()
        self.kubeconfig = install_rbac(self.plane)

    def close(self):
        self.plane.stop()
        self.wires.close()

    def interface_of(self, address):
        address = ipaddress.ip_address(address)
        return next(name for net, name in self.nets if address.version == net.version and address in net)

    # -- a script's life ---------------------------------------------------------------------

    def begin(self, workdir, script):
        self.services, self.slices, self.flags, self.holder = {}, {}, {}, True
        self.agent = Agent(self.node, self.kubeconfig, workdir, {
            "interface": "lan", "node-name": "here", "pool": POOL, "gate": "off", "log-level": "info"})
        self.listeners = Listeners(self.node, script)
        self.label({})

    def end(self):
        if self.agent.running():
            self.agent.kill9()
        self.listeners.close()
        api = self.plane.api
        for kind, names in (("endpointslices", self.slices), ("services", self.services)):
            for ns, name in names:
                with contextlib.suppress(ApiError):
                    api.delete(path_of(kind, ns, name))
        for lease in api.list(LEASE.rpartition("/")[0]):
            api.delete(f"{LEASE.rpartition('/')[0]}/{lease['metadata']['name']}")
        for family in ("inet", "arp"):
            self.node.nft(script=f"table {family} leasehold {{ }}\ndelete table {family} leasehold\n")
        self.node.delete_addresses((a for a, shown in self.node.addresses("lan").items()
                                    if a not in NODE and shown["scope"] != "link"), "lan")

    def settle(self):
        """The agent runs with these flags, is ready, and its table has stopped to change."""
        if not self.agent.running():
            if not self.holder:
                self.plane.api.create(LEASE.rpartition("/")[0], {
                    "metadata": {"name": LEASE.rpartition("/")[2]},
                    "spec": {"holderIdentity": "other_00000000_00000000", "leaseDurationSeconds": 3600,
                             "leaseTransitions": 0, "renewTime": "2020-01-01T00:00:00.000000Z",
                             "acquireTime": "2020-01-01T00:00:00.000000Z"}})
            self.agent.start(**self.flags)
        seen = []

        def still():
            seen.append(self.node.run(["nft", "-s", "list", "ruleset"]) if self.agent.ready() else None)
            return len(seen) > 5 and seen[-1] and all(text == seen[-1] for text in seen[-5:])
        wait_for(still, SETTLE_S, 0.05, lambda: f"rest:\n{self.agent.log_tail()}")
        self.lend_addresses()

    def lend_addresses(self):
        """`holder yes` where the agent gives up a VIP whose Service has better nodes (externalTrafficPolicy Local)."""
        local = {key: body for key, body in self.services.items() if "externalTrafficPolicy" in body["spec"]}
        self.lent = [v for v in vips_of(local) if v not in self.node.addresses("lan")] if self.holder else []
        for vip in self.lent:
            self.node.ip("addr", "add", *([f"{vip}/128", "nodad"] if ":" in vip else [f"{vip}/32"]), "dev", "lan")

    def take_back(self):
        self.node.delete_addresses(self.lent, "lan")
        self.lent = []

    def drops(self):
        return {o["counter"]["name"]: o["counter"]["packets"]
                for o in self.node.nft_json("list", "counters", "table", "inet", "leasehold") if "counter" in o}

    # -- statements --------------------------------------------------------------------------

    def statement(self, verb, words):
        self.take_back()
        getattr(self, f"do_{verb.replace('-', '_')}")(*words)

    def again(self, **flags):
        """The agent starts anew with other flags."""
        if self.agent.running():
            self.agent.stop()
        self.flags.update({k.replace("_", "-"): v for k, v in flags.items()})

    def do_holder(self, word):
        self.holder = word == "yes"

    def do_unmatched(self, word):
        self.again(unmatched_ports=word)

    def do_source_nat(self, word):
        self.again(source_nat={"vip": "auto"}.get(word, word))

    def do_routed(self, word):
        self.again(announce="none" if word == "yes" else "arp")

    def do_router(self, *words):
        allow = [w for w in words if "=" not in w and w != "off"]
        off = "off" in words
        self.again(router_interface=None if off else "lan", router_allow=None if off or not allow else ",".join(allow),
                   router_admin=[w.partition("=")[2] for w in words if "=" in w] or None)

    def label(self, body, node="here"):
        api, path = self.plane.api, "/api/v1/nodes"
        with contextlib.suppress(ApiError):
            api.create(path, {"metadata": {"name": node}})
        api.patch(f"{path}/{node}", {"metadata": {"labels": {"topology.kubernetes.io/zone": None},
                                                  "annotations": {"leasehold.io/weight": None}, **body}})

    def do_zone(self, name):
        self.label({"labels": {"topology.kubernetes.io/zone": name}})

    def do_node_weight(self, name, weight):
        self.label({"annotations": {"leasehold.io/weight": weight}}, name)

    def do_service(self, name, *words):
        ns, name = name.split("/")
        self.put("services", ns, name, self.services, service_of(ns, name, words))

    def do_slice(self, name, service, family, *words):
        ns, name = name.split("/")
        self.put("endpointslices", ns, name, self.slices, slice_of(ns, name, service, family, words))

    def do_delete(self, kind, name):
        ns, name = name.split("/")
        known = self.services if kind == "service" else self.slices
        self.plane.api.delete(path_of({"service": "services", "slice": "endpointslices"}[kind], ns, name))
        del known[ns, name]

    def put(self, kind, ns, name, known, body):
        api = self.plane.api
        if (ns, name) not in known:
            with contextlib.suppress(ApiError):
                api.create("/api/v1/namespaces", {"metadata": {"name": ns}})
            api.create(path_of(kind, ns), body)
        else:
            old = api.get(path_of(kind, ns, name))
            body["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            for key in ("clusterIP", "clusterIPs") if kind == "services" else ():
                if len(body["spec"]["ipFamilies"]) == len(old["spec"]["ipFamilies"]) or key == "clusterIP":
                    body["spec"][key] = old["spec"][key]
            api.replace(path_of(kind, ns, name), body)
        known[ns, name] = body


def vips_of(services):
    """The addresses that the Services of a script have."""
    return {vip for body in services.values()
            for vip in body["metadata"]["annotations"].get("leasehold.io/allocated", "").split(",") if vip}


def path_of(kind, ns, name=None):
    base = "/api/v1" if kind == "services" else "/apis/discovery.k8s.io/v1"
    return f"{base}/namespaces/{ns}/{kind}" + (f"/{name}" if name else "")


def options_of(words):
    return dict(w.split("=", 1) for w in words if "=" in w), [w.split("/") for w in words if "=" not in w]


def port_name(parts):
    return {"name": parts[2]} if len(parts) > 2 else {}


def service_of(ns, name, words):
    options, ports = options_of(words)
    families = {"4": "IPv4", "6": "IPv6"}
    notes = {"leasehold.io/allocated": options["allocated"], "leasehold.io/lease": "leasehold-group-0"} \
        if "allocated" in options else {}
    spec = {"type": "LoadBalancer", "loadBalancerClass": CLASS, "selector": {"app": name},
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"protocol": p[0].upper(), "port": int(p[1]), **port_name(p)} for p in ports],
            "ipFamilies": [families[f] for f in options.get("families", "4").split(",")],
            "ipFamilyPolicy": {"single": "SingleStack", "prefer": "PreferDualStack",
                               "require": "RequireDualStack"}[options.get("policy", "single")]}
    for key in ("balance", "slots"):
        if key in options:
            notes[f"leasehold.io/{key}"] = options[key]
    if "sticky" in options:
        spec.update(sessionAffinity="ClientIP",
                    sessionAffinityConfig={"clientIP": {"timeoutSeconds": int(options["sticky"])}})
    if "weights" in options:
        notes["leasehold.io/weights"] = ", ".join("=".join(w.rsplit(":", 1)) for w in options["weights"].split(","))
    rates = []
    for unit in ("packets", "bytes"):
        if unit in options:
            amount, seconds, burst = options[unit].split("/")
            rates.append(f"{amount} {unit}/{TIMES[seconds]} burst {burst} {unit}")
    if rates:
        notes["leasehold.io/rate-limit"] = ", ".join(rates)
    if "connections" in options:
        notes["leasehold.io/connection-limit"] = options["connections"]
    if "key" in options:
        notes["leasehold.io/sharing-key"] = options["key"]
    if "sources" in options:
        spec["loadBalancerSourceRanges"] = options["sources"].split(",")
    if options.get("traffic") == "local":
        spec["externalTrafficPolicy"] = "Local"
    return {"metadata": {"name": name, "namespace": ns, "annotations": notes}, "spec": spec}


def slice_of(ns, name, service, family, words):
    ports = [w.split("/") for w in words if re.match(r"(tcp|udp|sctp)/", w)]
    return {"metadata": {"name": name, "namespace": ns, "labels": {"kubernetes.io/service-name": service}},
            "addressType": f"IPv{family}",
            "ports": [{"protocol": p[0].upper(), "port": int(p[1]), **port_name(p)} for p in ports],
            "endpoints": [endpoint_of(w) for w in words if not re.match(r"(tcp|udp|sctp)/", w)]}


def endpoint_of(word):
    head, *keys = word.split(";")
    address, _, flags = head.partition("!")
    keys = dict(k.split("=") for k in keys)
    made = {"addresses": [address], "nodeName": "here" if "h" in flags else keys.get("node", "elsewhere"),
            "conditions": {"ready": "n" not in flags, "serving": "s" not in flags, "terminating": "t" in flags}}
    if "zone" in keys:
        made["zone"] = keys["zone"]
    if "pod" in keys:
        made["targetRef"] = {"kind": "Pod", "name": keys["pod"]}
    hints = {f"for{kind.title()}": [{"name": n} for n in keys[f"for-{kind}"].split("|")]
             for kind in ("nodes", "zones") if f"for-{kind}" in keys}
    return {**made, **({"hints": hints} if hints else {})}


class Listeners:
    """Somebody on the node for every port that a script has packets to."""

    def __init__(self, node, script):
        self.selector, self.sockets = selectors.DefaultSelector(), []
        self.stop, self.wake = socket.socketpair()
        self.selector.register(self.stop, selectors.EVENT_READ)
        wanted = {(q.proto, q.to[1]) for q in map(Question.of, script) if q and q.proto in ("tcp", "udp")}
        with node.entered():
            for proto, port in sorted(wanted):
                sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.bind(("::", port))
                if proto == "tcp":
                    sock.listen(64)     # the kernel answers; nobody accepts
                else:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                    self.selector.register(sock, selectors.EVENT_READ)
                self.sockets.append(sock)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.stop:
                    return
                data, ancillary, _, peer = key.fileobj.recvmsg(2048, 64)
                source = [(level, kind, value[:16] + bytes(4)) for level, kind, value in ancillary]
                with contextlib.suppress(OSError):
                    key.fileobj.sendmsg([data], source, 0, peer)

    def close(self):
        self.wake.close()
        self.thread.join()
        for sock in self.sockets:
            sock.close()


# ---- packets -----------------------------------------------------------------------------------

def address_of(word):
    """("192.0.2.1", 80) of "192.0.2.1:80", "[2001:db8::1]:80"; port None where there is none."""
    match = re.fullmatch(r"\[(.+)\]:(\d+)|([\d.]+):(\d+)|(\S+)", word)
    address, port = match[1] or match[3] or match[5], match[2] or match[4]
    return str(ipaddress.ip_address(address)), port and int(port)


class Question:
    """A line `from SOURCE PROTO DESTINATION [slot N] -> VERDICT`."""

    def __init__(self, source, proto, to, slot, verdict):
        self.here = source == "here"
        self.to = address_of(to)
        self.version = 6 if ":" in self.to[0] else 4
        self.source = (NODE[self.version == 6], None) if self.here else address_of(source)
        self.proto, self.slot, self.verdict = proto, slot, verdict

    @classmethod
    def of(cls, line):
        match = re.match(r"from (\S+) (\S+) (\S+)(?: slot (\d+))? -> (.+)", line)
        return match and cls(*match.groups())

    def backends(self):
        """[(address, port, what source it sees)] of a verdict with backends, else None."""
        if self.verdict.split()[0] in ("reject", "drop", "accept", "pass"):
            return None
        return [(*address_of(part.split()[0]), part.split()[1]) for part in self.verdict.split(", ")]


NUMBERS = itertools.count(1)


class Packet:
    """One packet of a question, which can be told from all others, and what became of it."""

    def __init__(self, place, question):
        self.place, self.q = place, question
        number = next(NUMBERS)
        self.mark = 0x10000000 + number
        self.port = question.source[1] or 10000 + number % 40000
        self.socket = None

    def layers(self):
        q = self.q
        if q.proto == "tcp":
            upper = TCP(sport=self.port, dport=q.to[1], flags="S", seq=self.mark)
        elif q.proto == "udp":
            upper = UDP(sport=self.port, dport=q.to[1]) / Raw(self.mark.to_bytes(4, "big"))
        elif q.proto == "sctp":
            upper = SCTP(sport=self.port, dport=q.to[1]) / SCTPChunkInit(init_tag=self.mark, a_rwnd=65536, n_out_streams=1,
                                                                        n_in_streams=1, init_tsn=1)
        elif q.proto == "icmp":
            echo = ICMPv6EchoRequest if q.version == 6 else ICMP
            upper = echo(id=self.mark & 0xffff) / Raw(self.mark.to_bytes(4, "big"))
        else:
            upper = Raw(b"\x31\x01\x64\x00\x00\x01" + self.mark.to_bytes(4, "big"))   # not a whole advertisement
        if q.version == 6:
            return IPv6(src=q.source[0], dst=q.to[0], **({"nh": 112} if q.proto == "vrrp" else {})) / upper
        return IP(src=q.source[0], dst=q.to[0], **({"proto": 112} if q.proto == "vrrp" else {})) / upper

    def send(self):
        self.place.wires.drain()
        if not self.q.here:
            self.place.wires.put(self.place.interface_of(self.q.source[0]), self.layers())
            return
        family = socket.AF_INET6 if self.q.version == 6 else socket.AF_INET
        with self.place.node.entered():
            self.socket = socket.socket(family, socket.SOCK_STREAM if self.q.proto == "tcp" else socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect_ex(self.q.to)
        if self.q.proto == "udp":
            self.socket.send(self.mark.to_bytes(4, "big"))

    def outcome(self):
        """("out", interface, packet), ("reject",), ("answered",) or None: nothing came."""
        self.send()
        deadline = time.monotonic() + (SILENCE_S if self.q.verdict.startswith("drop") else ANSWER_S)
        try:
            while (left := deadline - time.monotonic()) > 0:
                seen = self.place.wires.get(min(left, 0.01) if self.socket else left)
                found = self.judge(*seen) if seen else self.judge_socket() if self.socket else None
                if found:
                    return found
            return None
        finally:
            if self.socket:
                self.socket.close()

    def judge_socket(self):
        """What a process of the node is told."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return ("reject",)
        with contextlib.suppress(OSError):
            if self.q.proto == "tcp":
                self.socket.getpeername()
                return ("answered",)
            if self.socket.recv(4):
                return ("answered",)
        return None

    def judge(self, interface, packet):
        q, mark = self.q, self.mark
        ours = mark.to_bytes(4, "big")
        upper = packet.payload
        if q.proto == "tcp" and isinstance(upper, TCP):
            flags = str(upper.flags)
            if flags == "S" and (upper.seq == mark or q.here):
                return ("out", interface, packet)
            if upper.ack == mark + 1:
                return ("reject",) if "R" in flags else ("answered",)
            return None
        if self.in_error(packet):
            if ours in bytes(packet) or self.port.to_bytes(2, "big") in bytes(packet):
                delivered = q.proto == "vrrp" and packet.haslayer(ICMP) and packet[ICMP].code == 2    # protocol unreachable
                return ("answered",) if delivered else ("reject",)
            return None
        if ours not in bytes(packet):
            return None
        if q.proto == "icmp" and (packet.haslayer(ICMPv6EchoReply) or (packet.haslayer(ICMP) and packet[ICMP].type == 0)):
            return ("answered",)
        if q.proto == "udp" and (packet.src, upper.sport) == q.to:
            return ("answered",)
        if q.proto != "icmp" and (isinstance(upper, ICMP) or (q.version == 6 and packet.nh == socket.IPPROTO_ICMPV6)):
            return None     # a redirect
        return ("out", interface, packet)

    @staticmethod
    def in_error(packet):
        return packet.haslayer(ICMPv6DestUnreach) or (packet.haslayer(ICMP) and packet[ICMP].type == 3)


# ---- verdicts ----------------------------------------------------------------------------------

class Wrong(Exception):
    """What became of a packet is not the line's verdict."""


def source_word(place, question, address):
    if address == question.source[0] and not question.here:
        return "client"
    if address == question.to[0]:
        return "vip"
    own = {a["local"] for link in place.node.ip_json("addr") for a in link["addr_info"] if "local" in a}
    return "node" if address in own else address


def reached(place, question):
    """(backend's address, port, what source it sees) that one packet met."""
    found = Packet(place, question).outcome()
    if not found or found[0] != "out":
        raise Wrong(f"{found and found[0]}")
    _, interface, packet = found
    if interface != place.interface_of(packet.dst):
        raise Wrong(f"{packet.dst} by {interface}")
    return packet.dst, packet.payload.dport, source_word(place, question, packet.src)


def check_backends(place, questions):
    """All lines of one packet: with `slot N` one turn after the other has the backends of these lines."""
    want = [b for q in questions for b in q.backends()]
    if questions[0].slot is not None:
        met = Counter(reached(place, questions[0]) for _ in questions)
        if met != Counter(want):
            raise Wrong(f"{dict(met)}")
        return
    if questions[0].source[1]:  # always the same connection for conntrack, and the same slot
        if (one := reached(place, questions[0])) not in want:
            raise Wrong(f"{one}")
        return
    met = set()
    for _ in range(ATTEMPTS):
        met.add(reached(place, questions[0]))
        if not met <= set(want):
            raise Wrong(f"{met - set(want)}")
        if met == set(want):
            break
    if met != set(want):
        raise Wrong(f"only {met}")
    for _ in range(20):     # and nobody else
        if (one := reached(place, questions[0])) not in want:
            raise Wrong(f"{one}")


def check(place, questions):
    question = questions[0]
    if question.backends() is not None:
        check_backends(place, questions)
        return
    before = place.drops()
    found = Packet(place, question).outcome()
    kind, _, why = question.verdict.partition(" ")
    if kind == "drop":
        after = place.drops()
        risen = {name for name in after if after[name] != before.get(name, 0)}
        if found or risen != {COUNTERS[why]}:
            raise Wrong(f"{found and found[0]}, counters {sorted(risen)}")
    elif kind == "pass" and found and found[0] == "out":
        same = (found[2].dst, found[2].src) == (question.to[0], question.source[0]) or question.here
        if not same or found[1] != place.interface_of(question.to[0]) or found[2].dst != question.to[0]:
            raise Wrong(f"{found[2].src} -> {found[2].dst} by {found[1]}")
    elif not found or found[0] != {"reject": "reject", "accept": "answered", "pass": "answered"}[kind]:
        raise Wrong(f"{found and found[0]}")


def groups_of(lines):
    """[(number of the first line, verb, words or questions)]: lines with `slot` on one packet stand together."""
    found = []
    for number, line in enumerate(lines, 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        question = Question.of(line)
        if not question:
            verb, *words = line.split()
            found.append((number, verb, words))
        elif question.slot is not None and found and found[-1][1] == "from" and found[-1][2][-1].slot is not None \
                and found[-1][2][-1].to == question.to:
            found[-1][2].append(question)
        else:
            found.append((number, "from", [question]))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    if not have_agent():
        pytest.skip(f"no agent at {BINARY}: run make, or set LEASEHOLD_BIN")
    with Lab(nodes=1, pods_per_node=0, echo=False) as lab:
        made = Place(lab, tmp_path_factory.mktemp("trace"))
        made.open()
        try:
            yield made
        finally:
            made.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_packets_go_where_the_trace_says(place, script, tmp_path):
    lines = script.read_text().splitlines()
    place.begin(tmp_path, lines)
    wrong, changed = [], True
    try:
        for number, verb, words in groups_of(lines):
            if verb != "from":
                place.statement(verb, words)
                changed = True
                continue
            if changed:
                place.settle()
            changed = False
            deadline = time.monotonic() + 3     # a change may be on its way yet
            while True:
                try:
                    check(place, words)
                    break
                except Wrong as error:
                    if time.monotonic() > deadline:
                        wrong.append(f"{script.name}:{number}: {lines[number - 1]}\n    but: {error}")
                        break
        assert not wrong, "\n".join(wrong) + f"\n{place.agent.log_tail(20)}"
    finally:
        place.end()
