"""Real kube-proxy on the nodes of a lab, and questions that tell how a packet was treated.

    KubeProxy    one kube-proxy process on one node, in nftables or iptables mode; its rules
    Proxies      one on each node, with the Node objects and routes it needs
    ask          one connection or datagram: who answered, what source address it saw, or how it was refused
    ask_all      many of them at once
"""

import collections
import concurrent.futures
import contextlib
import errno
import re
import socket
import struct

from kube.client import ApiError
from netns.lab import LabError, wait_for

MODES = ("nftables", "iptables")
NODES = "/api/v1/nodes"
SERVICE_ROUTES = ("198.19.0.0/16", "2001:db8:19::/112")
HEALTH_PORT = 10256
ICMP_LIMITS = ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit")
TABLES = ("mangle", "filter", "nat", "raw")
# What a counter, a handle or an expiring element shows differs from one listing to the next.
VOLATILE = re.compile(r"packets \d+ bytes \d+|\[\d+:\d+\]|^#.*$", re.M)


class KubeProxy:
    """kube-proxy on one node."""

    def __init__(self, node, mode, binary, kubeconfig, workdir):
        self.node, self.mode, self.binary = node, mode, str(binary)
        self.kubeconfig, self.log_file = kubeconfig, workdir / f"kube-proxy-{node.name}.log"
        self.process = None

    def __repr__(self):
        return f"<kube-proxy on {self.node.name}>"

    def start(self):
        """Start it, without waiting."""
        self.process = self.node.spawn([
            self.binary, f"--proxy-mode={self.mode}", f"--kubeconfig={self.kubeconfig}",
            f"--hostname-override={self.node.name}",
            # One range per family would have to hold the pods of all nodes and not the LAN.
            "--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cni0",
            "--nodeport-addresses=primary", "--iptables-min-sync-period=50ms",
            # Not its to change: these sysctls belong to the whole machine.
            "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0"], log=self.log_file)
        return self

    def healthy(self):
        """Whether it says that its rules are in the kernel."""
        if self.process is None or self.process.poll() is not None:
            raise LabError(f"{self} ended by itself:\n{self.log_tail()}")
        with self.node.entered():
            try:
                sock = socket.create_connection(("127.0.0.1", HEALTH_PORT), timeout=2)
            except OSError:
                return False
        with sock:
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return b" 200 " in sock.recv(64)

    def wait_healthy(self, timeout_s=30):
        wait_for(self.healthy, timeout_s, 0.05, lambda: f"{self} healthy:\n{self.log_tail()}")
        return self

    def kill9(self):
        return self.process.kill9()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.stop()

    def cleanup(self):
        """Remove its rules."""
        self.stop()
        self.node.run([self.binary, "--cleanup"], check=False, timeout=60)

    def log_tail(self, lines=20):
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def rules(self):
        """Its rules as sorted lines, without what changes by itself."""
        if self.mode == "nftables":
            names = [(o["table"]["family"], o["table"]["name"]) for o in self.node.nft_json("list", "tables")]
            text = "".join(self.node.nft("list", "table", *name) for name in names if name[1] == "kube-proxy")
        else:
            text = "".join(self.node.run([program, "-t", table]) for table in TABLES
                           for program in ("iptables-save", "ip6tables-save"))
        return plain_lines(text)

    def serves(self, address, port, protocol="TCP"):
        """Whether it has rules for that destination."""
        if self.mode == "nftables":
            want = rf"{re.escape(address)} \. {protocol.lower()} \. {port} :"
        else:
            want = rf"-A KUBE-SERVICES -d {re.escape(address)}/\d+ -p {protocol.lower()} .*--dport {port} "
        return any(re.search(want, line) for line in self.rules())

    def wait_serves(self, address, port, protocol="TCP", timeout_s=20):
        wait_for(lambda: self.serves(address, port, protocol), timeout_s, 0.05,
                 lambda: f"{self} to serve {address} {protocol} {port}:\n{self.log_tail()}")


def plain_lines(text):
    """A listing of rules as sorted lines without counters: two are equal when the rules are."""
    text = re.sub(r",\s*\n\s*", ", ", VOLATILE.sub("", text))

    def line_of(line):
        head, brace, rest = line.strip().partition("elements = {")
        if brace:   # the kernel lists elements in an order of its own
            return head + brace + ", ".join(sorted(e.strip() for e in rest.rstrip("} ").split(",")))
        return line.strip()
    return sorted(filter(None, map(line_of, text.splitlines())))


class Proxies:
    """kube-proxy on every node of a lab: a context manager that removes all it brought."""

    def __init__(self, lab, plane, mode, workdir):
        self.lab, self.plane, self.mode = lab, plane, mode
        kubeconfig = plane.kubeconfig_for_certificate("kube-proxy", "system:kube-proxy")
        self.by_node = {node.name: KubeProxy(node, mode, plane.bin / "kube-proxy", kubeconfig, workdir)
                        for node in lab.nodes}

    def __iter__(self):
        return iter(self.by_node.values())

    def __getitem__(self, node):
        return self.by_node[node.name]

    def __enter__(self):
        try:
            for node in self.lab.nodes:
                self._add_node(node)
            for proxy in self:
                proxy.start()
            for proxy in self:
                proxy.wait_healthy()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _add_node(self, node):
        zone = f"zone-{(self.lab.nodes.index(node) % 2) + 1}"
        self.plane.api.create(NODES, {
            "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name,
                                                       "topology.kubernetes.io/zone": zone}},
            "status": {"addresses": [{"type": "InternalIP", "address": a} for a in (node.ip4, node.ip6)],
                       "conditions": [{"type": "Ready", "status": "True"}]}})
        # Refusals are answers that are compared: none is to be left out for coming too fast.
        node.sysctls(dict.fromkeys(ICMP_LIMITS, 0))
        # A process of the node needs a route to a ClusterIP before kube-proxy can redirect it.
        for routes in SERVICE_ROUTES:
            node.ip("route", "replace", routes, "dev", "eth0")

    def close(self):
        with concurrent.futures.ThreadPoolExecutor(len(self.by_node)) as pool:
            # Stopped in this thread: what is started in another dies with it.
            for proxy in self:
                proxy.stop()
            list(pool.map(KubeProxy.cleanup, self))
        for node in self.lab.nodes:
            with contextlib.suppress(ApiError):
                self.plane.api.delete(f"{NODES}/{node.name}")
            node.sysctls(dict.fromkeys(ICMP_LIMITS, 1000))
            for routes in SERVICE_ROUTES:
                with contextlib.suppress(LabError):
                    node.ip("route", "del", routes, "dev", "eth0")

    def wait_serves(self, address, port=80, protocol="TCP"):
        for proxy in self:
            proxy.wait_serves(address, port, protocol)


# -- questions ---------------------------------------------------------------------------------

# how: "answered", "reset" (a TCP RST), "icmp TYPE/CODE", "silent" or the name of another error.
# name: the backend; source: the address that it saw the question come from.
Answer = collections.namedtuple("Answer", "how name source", defaults=("", ""))

IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE = 11, 25, 0x2000
SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 = 2, 3


def refused(sock, code):
    """What the error queue of a socket says about a refusal, else the error itself."""
    with contextlib.suppress(OSError):
        _, ancillary, _, _ = sock.recvmsg(512, 512, MSG_ERRQUEUE)
        for _, kind, data in ancillary:
            if kind in (IP_RECVERR, IPV6_RECVERR):
                _, origin, icmp_type, icmp_code = struct.unpack_from("=IBBB", data)
                if origin in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6):
                    return Answer(f"icmp {icmp_type}/{icmp_code}")
    if code in (errno.ECONNREFUSED, errno.ECONNRESET) and sock.type == socket.SOCK_STREAM:
        return Answer("reset")
    return Answer(errno.errorcode.get(code, str(code)))


def ask(host, target, port=80, protocol="TCP", timeout_s=1.0, source_port=0):
    """One question to an echo server (tests/netns/backend.py) behind an address; an Answer."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with host.entered():
        sock = socket.socket(family, kind)
    with sock:
        sock.settimeout(timeout_s)
        sock.setsockopt(*((socket.IPPROTO_IPV6, IPV6_RECVERR) if ":" in target else (socket.IPPROTO_IP, IP_RECVERR)), 1)
        try:
            if source_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("", source_port))
            sock.connect((target, port))
            if protocol == "TCP":
                name, source = sock.recv(400).decode().split()[:2]
            else:
                sock.send(b"q")
                _, name, source, _ = sock.recv(400).decode().split("|")
        except (TimeoutError, socket.timeout):
            return Answer("silent")
        except OSError as error:
            return refused(sock, error.errno)
        except ValueError:
            return Answer("closed")
        return Answer("answered", name, source)


def ask_all(questions, at_once=64):
    """Answers to many questions [(host, target, port, protocol)] asked side by side, in their order."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda q: ask(*q), questions))


def ask_round(host, target, port=80, protocol="TCP", times=16):
    """The Counter of answers to some questions with a source port each."""
    return collections.Counter(ask_all([(host, target, port, protocol)] * times))


def conntrack(node, *match):
    """Entries of a node's conntrack table, as lines."""
    return node.run(["conntrack", "-L", *map(str, match)], check=False).splitlines()
