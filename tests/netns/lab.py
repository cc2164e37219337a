"""The laboratory: a small LAN of network namespaces that tests, demo and bench share.

One `Lab` is one bridge with hosts on it, each host a network namespace of its own:

    lan       the bridge `br0`; its ports carry the names of the hosts
    node1..n  192.0.2.11.. and 2001:db8::11..; each routes to its pods and to the other nodes' pods
    podN-K    pods of node N: 198.51.100.(16N)/28 and 2001:db8:0:N::/64, with a TCP + UDP echo server
    client    192.0.2.50  2001:db8::50   what a user of a VIP is
    watch     192.0.2.51  2001:db8::51   asks by ARP and NDP who has a VIP, so that the client's own
              neighbour cache is never refreshed by the asking
    slow      192.0.2.52  2001:db8::52   a client that hears no gratuitous ARP and no unsolicited NA: it finds
              out where a VIP has gone by asking again, SLOW_ASKS_MS after its entry was confirmed at the latest
    api       192.0.2.100 2001:db8::100  for an API server

Names carry a random id, so labs run side by side.  Every process started here dies with the process
that made the lab; what a killed owner leaves behind (namespaces, stray processes in them, the work
folder) is removed by `janitor()`, which each new lab calls first.

It does not measure (probe.py does) and knows nothing of Kubernetes.  Needs root and iproute2.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REGISTRY = "/run/leasehold-lab"
NETNS_DIR = "/run/netns"
PYTHON = "/usr/bin/python3"

LAN4, LAN6 = "192.0.2", "2001:db8:"
POOL4 = "192.0.2.200-192.0.2.239"
POOL6 = "2001:db8::c8-2001:db8::ef"
# Documentation ranges outside the LAN's own subnets that every host of the LAN treats as on-link,
# for tests that want a VIP (or hundreds) outside the node subnet.
ONLINK = ("203.0.113.0/24", "198.18.0.0/16", "2001:db8:1::/64")
POOL4_BIG = "198.18.0.1-198.18.7.254"

# Addresses of `watch` that its ARP and NDP questions come from in turn (prober.py, NeighProbe).
SLOTS4 = [f"{LAN4}.{i}" for i in range(64, 80)]
SLOTS6 = [f"{LAN6}:{i}" for i in range(64, 80)]
# Where questions come from whose answers are another's to hear: an answer to one must not be taken for one to a slot's.
ASKER4, ASKER6 = f"{LAN4}.80", f"{LAN6}:80"

# Of host `slow`: a neighbour entry is reachable for 0.5 to 1.5 times the first, then in use for the second before it
# is asked for at the old MAC (once), then by broadcast (net/core/neighbour.c).
SLOW_REACHABLE_MS, SLOW_DELAY_MS, SLOW_RETRANS_MS = 2000, 1000, 250
SLOW_ASKS_MS = 3 * SLOW_REACHABLE_MS // 2 + SLOW_DELAY_MS + SLOW_RETRANS_MS

ECHO_PORT = 8080
ECHO_PORT_2 = 8081

COMMON_SYSCTLS = {
    "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0,
    "ipv6/conf/all/disable_ipv6": 0, "ipv6/conf/default/disable_ipv6": 0,
    "ipv6/conf/default/dad_transmits": 0, "ipv6/conf/default/router_solicitations": 0,
    "ipv6/conf/default/accept_ra": 0,
}
# Once its links are up a node behaves as the kernel's default has it: an address that is added without
# IFA_F_NODAD is tentative for a second.
NODE_SYSCTLS_LATER = {"ipv6/conf/eth0/dad_transmits": 1, "ipv6/conf/default/dad_transmits": 1}

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCETHTOOL = 0x8913, 0x8914, 0x8946
ETHTOOL_GLINK = 0x0A
IFF_UP = 1


class LabError(Exception):
    """The laboratory itself failed; never a verdict on the program under test."""


def mono_ns():
    """CLOCK_MONOTONIC in nanoseconds: the time base of the lab and of all probes."""
    return time.monotonic_ns()


def wait_for(fact, timeout_s=10.0, every_s=0.02, what="the fact"):
    """Call `fact` until it returns something true and return that; TimeoutError names `what`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what() if callable(what) else what}")
        time.sleep(every_s)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


@contextlib.contextmanager
def entered(netns):
    """The calling thread works inside the named namespace; sockets made there stay there."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(os.path.join(NETNS_DIR, netns), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(back)
    finally:
        os.close(back)


def _process_start(pid):
    """Start time of a process in clock ticks, or None when it is gone: pid + start is unique."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _pids_in(namespaces):
    """Processes whose network namespace is one of the named ones."""
    inodes = set()
    for name in namespaces:
        with contextlib.suppress(OSError):
            inodes.add(os.stat(os.path.join(NETNS_DIR, name)).st_ino)
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                    found.append(int(entry))
    return found


def _remove(lab_id, workdir):
    """Remove everything a lab consists of: processes inside, namespaces, work folder, registry."""
    prefix = f"lh-{lab_id}-"
    namespaces = [n for n in os.listdir(NETNS_DIR) if n.startswith(prefix)] \
        if os.path.isdir(NETNS_DIR) else []
    if namespaces:
        deadline = time.monotonic() + 5
        while (pids := [p for p in _pids_in(namespaces) if p != os.getpid()]):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"lab {lab_id}: processes {pids} do not die")
            time.sleep(0.01)
        batch = "".join(f"netns del {n}\n" for n in namespaces)
        subprocess.run(["ip", "-force", "-batch", "-"], input=batch, text=True, check=False,
                       capture_output=True)
        left = [n for n in namespaces if os.path.exists(os.path.join(NETNS_DIR, n))]
        if left:
            raise LabError(f"lab {lab_id}: namespaces {left} cannot be removed")
    if workdir:
        shutil.rmtree(workdir, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(REGISTRY, f"{lab_id}.json"))


def janitor():
    """Remove labs whose owner is gone; returns their ids.  Labs with a living owner stay."""
    removed = []
    os.makedirs(REGISTRY, mode=0o700, exist_ok=True)
    with open(os.path.join(REGISTRY, "janitor.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for entry in sorted(os.listdir(REGISTRY)):
            lab_id, dot, suffix = entry.partition(".")
            if suffix != "json":
                continue
            try:
                with open(os.path.join(REGISTRY, entry)) as f:
                    owner = json.load(f)
            except FileNotFoundError:
                continue  # closed by its owner meanwhile
            except ValueError:
                owner = {"pid": 0, "start": None, "workdir": None}
            start = _process_start(owner["pid"])
            if start is None or start != owner["start"]:
                _remove(lab_id, owner["workdir"])
                removed.append(lab_id)
    return removed


class Process(subprocess.Popen):
    """A process inside a host, killed by the kernel when the owner of the lab dies."""

    def kill9(self, timeout_s=60):
        """SIGKILL and reap; returns the moment just before the signal (monotonic ns)."""
        at = mono_ns()
        self.kill()
        self.wait(timeout_s)
        return at

    def stop(self, timeout_s=10):
        """SIGTERM, then wait; SIGKILL and LabError when it does not end in time.  Exit status."""
        if self.poll() is None:
            self.terminate()
            try:
                self.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise LabError(f"{self.args} did not end within {timeout_s} s of SIGTERM") from None
        return self.returncode


class Host:
    """One namespace of a lab: runs programs in it and says what its kernel shows."""

    def __init__(self, lab, name, ip4=None, ip6=None, mac=None):
        self.lab, self.name, self.ip4, self.ip6, self.mac = lab, name, ip4, ip6, mac
        self.netns = f"lh-{lab.id}-{name}"
        self.processes = []

    def __repr__(self):
        return f"<{self.netns}>"

    def entered(self):
        return entered(self.netns)

    def spawn(self, argv, log=None, **popen):
        """Start a program in this host.  `log` names a file that takes stdout and stderr."""
        there = os.open(os.path.join(NETNS_DIR, self.netns), os.O_RDONLY | os.O_CLOEXEC)
        owner = os.getpid()

        def in_child():
            _setns(there)
            # The signal follows the death of the *thread* that forks: spawn from the main thread.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != owner:
                os._exit(127)

        popen.setdefault("stdin", subprocess.DEVNULL)
        out = None
        if log is not None:
            out = open(log, "ab")
            popen.update(stdout=out, stderr=subprocess.STDOUT)
        try:
            process = Process(argv, preexec_fn=in_child, **popen)
        finally:
            os.close(there)
            if out is not None:
                out.close()
        self.processes.append(process)
        return process

    def run(self, argv, check=True, timeout=30, **kwargs):
        """Run a program in this host to its end and return its output as text."""
        process = self.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, **kwargs)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill9()
            raise
        finally:
            self.processes.remove(process)
        if check and process.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(argv)}: exit {process.returncode}: {err.strip()}")
        return out

    def ip(self, *args):
        """`ip ARGS` in this host."""
        return _ip(["-n", self.netns, *args])

    def ip_json(self, *args):
        out = _ip(["-n", self.netns, "-j", *args]).strip()
        return json.loads(out) if out else []

    def qdiscs(self, dev="eth0"):
        """`tc -j qdisc` of a device."""
        return json.loads(self.run(["tc", "-j", "qdisc", "show", "dev", dev]) or "[]")

    def filters(self, dev="eth0"):
        """The BPF filters at clsact of a device: [(direction, pref, name)]."""
        if not any(q["kind"] == "clsact" for q in self.qdiscs(dev)):
            return []
        return [(side, f["pref"], f["options"].get("bpf_name", "")) for side in ("ingress", "egress")
                for f in json.loads(self.run(["tc", "-j", "filter", "show", "dev", dev, side]) or "[]")
                if f.get("kind") == "bpf" and "options" in f]

    def addresses(self, dev="eth0"):
        """The addresses of a device, as {address: attributes of `ip -j addr`}."""
        links = self.ip_json("addr", "show", "dev", dev)
        return {a["local"]: a for link in links for a in link.get("addr_info", ()) if "local" in a}

    def delete_addresses(self, addresses, dev="eth0"):
        """Delete many addresses at once; those that went meanwhile are no error."""
        script = "".join(f"addr del {a}/{128 if ':' in a else 32} dev {dev}\n" for a in addresses)
        if script:
            subprocess.run(["ip", "-n", self.netns, "-force", "-batch", "-"], input=script, text=True,
                           capture_output=True, timeout=30, check=False)

    def nft(self, *args, script=None):
        """nft in this host: words, or a script for `nft -f -`."""
        argv = ["nft", *(("-f", "-") if script is not None else args)]
        if script is None:
            return self.run(argv)
        process = self.spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        self.processes.remove(process)
        out, err = process.communicate(script, timeout=30)
        if process.returncode != 0:
            raise LabError(f"{self.name}: nft -f: {err.strip()}")
        return out

    def nft_json(self, *args):
        """`nft -j ARGS` as its list of objects, without the header."""
        objects = json.loads(self.run(["nft", "-j", *args]))["nftables"]
        return [o for o in objects if "metainfo" not in o]

    def sysctl(self, **values):
        """Set sysctls of this host: dots in names are written as double underscores."""
        self.sysctls({k.replace("__", "/"): v for k, v in values.items()})

    def sysctls(self, values):
        """Set sysctls of this host, {path below /proc/sys/net: value}."""
        with self.entered():
            for path, value in values.items():
                with open(os.path.join("/proc/sys/net", path), "w") as f:
                    f.write(str(value))

    def sysctl_read(self, path):
        with self.entered(), open(os.path.join("/proc/sys/net", path)) as f:
            return f.read().strip()

    def link_up(self, dev, up):
        """Set a device up or down by ioctl; returns the moment just before (monotonic ns)."""
        with self.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            request = struct.pack("16sH14x", dev.encode(), 0)
            flags = struct.unpack("16sH14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
            flags = flags | IFF_UP if up else flags & ~IFF_UP
            at = mono_ns()
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", dev.encode(), flags))
        return at

    def carrier(self, dev="eth0"):
        """Whether the device is up and has carrier, as ethtool sees it."""
        with self.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_GLINK, 0))
            fcntl.ioctl(sock, SIOCETHTOOL,
                        struct.pack("16sP8x", dev.encode(), ctypes.addressof(value)))
            return struct.unpack("II", value.raw[:8])[1] == 1

    def links_ready(self):
        """Every device passes frames and no IPv6 address of it is tentative or still to come."""
        for link in self.ip_json("addr"):
            if link["ifname"] == "lo":
                continue
            inet6 = [a for a in link["addr_info"] if a["family"] == "inet6"]
            if link["operstate"] != "UP" or any("tentative" in a for a in inet6):
                return False
            if self.name != "lan" and "master" not in link \
                    and not any(a["scope"] == "link" for a in inet6):
                return False
        return True

    def flush_neighbours(self, dev="eth0"):
        self.ip("neigh", "flush", "dev", dev)


def _ip(args, script=None):
    done = subprocess.run(["ip", *args], input=script, text=True, capture_output=True, timeout=30)
    if done.returncode != 0:
        raise LabError(f"ip {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def _ip_batches(batches):
    """Run one `ip -batch` per namespace side by side: {namespace or None: [line]}."""
    running = []
    for netns, lines in batches.items():
        args = ["ip"] + (["-n", netns] if netns else []) + ["-batch", "-"]
        process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.close()
        running.append((netns, process))
    errors = []
    for netns, process in running:
        err = process.stderr.read().strip()
        process.stderr.close()
        if process.wait() != 0:
            errors.append(f"{netns}: {err}")
    if errors:
        raise LabError("; ".join(errors))


class Lab:
    """A context manager that builds the LAN and removes it again.

    nodes, pods_per_node   how many
    pod_network            "bridge": pods behind a bridge `cni0` of their node; "direct": each pod on
                           a routed veth pair of its own
    forwarding             ip_forward and IPv6 forwarding on the nodes
    echo                   start the echo server in every pod (ECHO_PORT and ECHO_PORT_2)
    """

    def __init__(self, nodes=3, pods_per_node=2, pod_network="bridge", forwarding=True, echo=True):
        if not 1 <= nodes <= 9 or not 0 <= pods_per_node <= 12:
            raise ValueError("nodes must be 1-9, pods_per_node 0-12")
        if pod_network not in ("bridge", "direct"):
            raise ValueError(f"pod_network: {pod_network!r}")
        self.pod_network, self.forwarding, self.echo = pod_network, forwarding, echo
        self._n_nodes, self._n_pods = nodes, pods_per_node
        self.id = self.workdir = None
        self.hosts, self.nodes, self.pods = {}, [], []
        self._losses, self._next_loss = {}, 1

    # -- life --------------------------------------------------------------------------------

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *exc):
        self.close()

    def open(self):
        janitor()
        self._register()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self):
        """Stop what runs inside and remove everything; safe to call twice."""
        if self.id is None:
            return
        processes = [p for host in self.hosts.values() for p in host.processes]
        for process in processes:
            if process.poll() is None:
                process.kill()
        for process in processes:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        lab_id, self.id = self.id, None
        _remove(lab_id, self.workdir)

    def _register(self):
        if os.geteuid() != 0:
            raise LabError("a lab needs root")
        os.makedirs(REGISTRY, mode=0o700, exist_ok=True)
        workdir = tempfile.mkdtemp(prefix="leasehold-lab-")
        owner = {"pid": os.getpid(), "start": _process_start(os.getpid()), "workdir": workdir}
        while True:
            lab_id = secrets.token_hex(3)
            path = os.path.join(REGISTRY, lab_id)
            # Written aside and linked: the janitor never reads half a record.
            with open(path + ".new", "w") as f:
                json.dump(owner, f)
            try:
                os.link(path + ".new", path + ".json")
            except FileExistsError:
                continue
            finally:
                os.unlink(path + ".new")
            self.id, self.workdir = lab_id, workdir
            return

    # -- building ----------------------------------------------------------------------------

    def _host(self, name, *args):
        host = Host(self, name, *args)
        self.hosts[name] = host
        return host

    def _on_lan(self, name, last, mac):
        # 00:00:5e:00:53:xx are the MAC addresses for documentation (RFC 7042 section 2.1.2).
        return self._host(name, f"{LAN4}.{last}", f"{LAN6}:{last}", f"00:00:5e:00:53:{mac}")

    def _build(self):
        self.lan = self._host("lan")
        for n in range(1, self._n_nodes + 1):
            self.nodes.append(self._on_lan(f"node{n}", 10 + n, f"{10 + n}"))
        self.client = self._on_lan("client", 50, "50")
        self.watch = self._on_lan("watch", 51, "51")
        self.slow = self._on_lan("slow", 52, "52")
        self.api = self._on_lan("api", 100, "a0")
        lan_hosts = [*self.nodes, self.client, self.watch, self.slow, self.api]
        for n in range(1, self._n_nodes + 1):
            for k in range(1, self._n_pods + 1):
                pod = self._host(f"pod{n}-{k}", f"198.51.100.{16 * n + 1 + k}",
                                 f"2001:db8:0:{n}::{1 + k:x}")
                pod.node = self.nodes[n - 1]
                self.pods.append(pod)

        _ip_batches({None: [f"netns add {h.netns}" for h in self.hosts.values()]})
        self._sysctls(lan_hosts)
        lines = ["link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                 "link set br0 up"]
        for host in lan_hosts:
            lines += self._cable_lines(host)
        _ip_batches({self.lan.netns: lines})
        batches = {host.netns: self._lan_host_lines(host) for host in lan_hosts}
        for n, node in enumerate(self.nodes, 1):
            batches[node.netns] += self._pod_link_lines(n)
        _ip_batches(batches)
        _ip_batches({pod.netns: self._pod_lines(pod) for pod in self.pods})
        if self.echo:
            self._start_echo()
        # A veth drops frames until the kernel's link watch has run, which is not at once.
        for host in self.hosts.values():
            wait_for(host.links_ready, what=f"the links of {host.name}")
        for node in self.nodes:
            node.sysctls(NODE_SYSCTLS_LATER)
        self._make_slow()

    def _make_slow(self):
        values = {"ipv4/conf/eth0/drop_gratuitous_arp": 1, "ipv6/conf/eth0/drop_unsolicited_na": 1}
        for family in ("ipv4", "ipv6"):
            place = f"{family}/neigh/eth0"
            values.update({f"{place}/base_reachable_time_ms": SLOW_REACHABLE_MS,
                           f"{place}/delay_first_probe_time": SLOW_DELAY_MS // 1000,
                           f"{place}/retrans_time_ms": SLOW_RETRANS_MS, f"{place}/ucast_solicit": 1})
        self.slow.sysctls(values)

    def _sysctls(self, lan_hosts):
        for host in (*lan_hosts, *self.pods):
            host.sysctls(COMMON_SYSCTLS)
        # Frames on the LAN's bridge are none of netfilter's business: it stands for a switch.
        self.lan.sysctls({"bridge/bridge-nf-call-iptables": 0, "bridge/bridge-nf-call-ip6tables": 0,
                          "bridge/bridge-nf-call-arptables": 0,
                          "ipv6/conf/default/disable_ipv6": 1})
        for node in self.nodes:
            self._node_sysctls(node)

    def _node_sysctls(self, node):
        # On a node they are: kube-proxy's requirement, so the usual setting.
        node.sysctls({"bridge/bridge-nf-call-iptables": 1, "bridge/bridge-nf-call-ip6tables": 1,
                      "ipv4/ip_forward": int(self.forwarding), "ipv6/conf/all/forwarding": int(self.forwarding)})

    @staticmethod
    def _cable_lines(host):
        return [f"link add {host.name} type veth peer name eth0 address {host.mac} netns {host.netns}",
                f"link set {host.name} master br0", f"link set {host.name} up"]

    def _lan_host_lines(self, host):
        lines = ["link set lo up", f"addr add {host.ip4}/24 dev eth0",
                 f"addr add {host.ip6}/64 dev eth0 nodad", "link set eth0 up"]
        for net in ONLINK:
            lines.append(f"route add {net} dev eth0" + ("" if ":" in net else " scope link"))
        if host is self.watch:
            lines += [f"addr add {a}/32 dev eth0" for a in (*SLOTS4, ASKER4)]
            lines += [f"addr add {a}/128 dev eth0 nodad preferred_lft 0" for a in (*SLOTS6, ASKER6)]
        return lines

    def _pod_link_lines(self, n):
        gw4, gw6 = f"198.51.100.{16 * n + 1}", f"2001:db8:0:{n}::1"
        lines = []
        if self.pod_network == "bridge" and self._n_pods:
            lines += ["link add cni0 type bridge stp_state 0 forward_delay 0", "link set cni0 up",
                      f"addr add {gw4}/28 dev cni0", f"addr add {gw6}/64 dev cni0 nodad"]
        for pod in self.pods:
            if pod.node is not self.nodes[n - 1]:
                continue
            lines.append(f"link add {pod.name} type veth peer name eth0 netns {pod.netns}")
            lines.append(f"link set {pod.name} up")
            if self.pod_network == "bridge":
                # Hairpin, as CNI bridge plugins set it: a pod may reach itself through a Service.
                lines += [f"link set {pod.name} master cni0",
                          f"link set {pod.name} type bridge_slave hairpin on"]
            else:
                lines += [f"addr add {gw4}/32 dev {pod.name}",
                          f"addr add {gw6}/128 dev {pod.name} nodad",
                          f"route add {pod.ip4}/32 dev {pod.name}",
                          f"route add {pod.ip6}/128 dev {pod.name}"]
        for m, other in enumerate(self.nodes, 1):
            if m != n:
                lines += [f"route add 198.51.100.{16 * m}/28 via {other.ip4}",
                          f"route add 2001:db8:0:{m}::/64 via {other.ip6}"]
        return lines

    def _pod_lines(self, pod):
        n = self.nodes.index(pod.node) + 1
        gw4, gw6 = f"198.51.100.{16 * n + 1}", f"2001:db8:0:{n}::1"
        bridge = self.pod_network == "bridge"
        lines = ["link set lo up", f"addr add {pod.ip4}/{28 if bridge else 32} dev eth0",
                 f"addr add {pod.ip6}/{64 if bridge else 128} dev eth0 nodad", "link set eth0 up"]
        if not bridge:
            lines += [f"route add {gw4}/32 dev eth0 scope link", f"route add {gw6}/128 dev eth0"]
        return [*lines, f"route add default via {gw4}", f"route add default via {gw6}"]

    def _start_echo(self):
        for pod in self.pods:
            pod.echo = self.start_echo(pod, wait=False)
        for pod in self.pods:
            self.await_ready(pod.echo)

    def start_echo(self, host, name=None, ports=(ECHO_PORT, ECHO_PORT_2), wait=True):
        """Start an echo server in a host; `name` is what it answers with (the host's name)."""
        process = host.spawn([PYTHON, "-I", "-S", "-B", os.path.join(HERE, "backend.py"),
                              "--name", name or host.name, *(str(p) for p in ports)],
                             stdout=subprocess.PIPE)
        if wait:
            self.await_ready(process)
        return process

    @staticmethod
    def await_ready(process):
        line = process.stdout.readline()
        if line.strip() != b"ready":
            raise LabError(f"{process.args} did not start: {line!r}, exit {process.poll()}")

    # -- faults ------------------------------------------------------------------------------

    def unplug(self, host):
        """Pull the cable: bridge port down, carrier lost at the host.  Moment (monotonic ns)."""
        return self.lan.link_up(host.name, False)

    def plug(self, host):
        """Put the cable back; returns the moment (monotonic ns)."""
        return self.lan.link_up(host.name, True)

    def lose(self, frm=None, to=None, permille=1000):
        """Drop frames on the bridge from and/or to a host (or several), in that direction only; its number."""
        if frm is None and to is None:
            raise ValueError("lose: name a direction")
        match = "".join(f"{word} {{ {', '.join(h.name for h in (side if isinstance(side, (list, tuple)) else [side]))} }} "
                        for word, side in (("iifname", frm), ("oifname", to)) if side)
        if permille < 1000:
            match += f"numgen random mod 1000 < {permille} "
        number, self._next_loss = self._next_loss, self._next_loss + 1
        self._losses[number] = [match]
        self._set_losses()
        return number

    def split(self, one, other):
        """Two lists of hosts no longer hear each other; the loss's number."""
        number = self.lose(frm=one, to=other)
        names = [", ".join(h.name for h in side) for side in (one, other)]
        self._losses[number].append(f"iifname {{ {names[1]} }} oifname {{ {names[0]} }} ")
        self._set_losses()
        return number

    def heal(self, number=None):
        """End one loss, or all."""
        if number is None:
            self._losses.clear()
        else:
            del self._losses[number]
        self._set_losses()

    def _set_losses(self):
        """One transaction: no frame meets half of it."""
        rules = [f"add rule bridge lab loss {match}counter drop\n"
                 for matches in self._losses.values() for match in matches]
        table = "table bridge lab { chain loss { type filter hook forward priority 0; }; }\n"
        self.lan.nft(script="table bridge lab { }\ndelete table bridge lab\n" + (table if rules else "") + "".join(rules))

    def crash(self, node):
        """The node loses its power: silent at once, processes and namespace gone.  Its pods live on, cut off.

        Moment (monotonic ns).  boot() brings the node back as it was built, with nothing running.
        """
        at = self.unplug(node)
        wait_for(lambda: not self._kill_inside(node), 5, what=f"the processes of {node.name} to end")
        for process in node.processes:
            process.wait(5)
        node.processes.clear()
        # The kernel takes a namespace down in its own time: its cables are taken away before.
        self.lan.ip("link", "del", node.name)
        for pod in self.pods:
            if pod.node is node:
                pod.ip("link", "del", "eth0")
        _ip(["netns", "del", node.netns])
        return at

    def rewire(self, node):
        """Addresses and routes of eth0 again, after it was down."""
        lines = self._lan_host_lines(node) + [line for line in self._pod_link_lines(self.nodes.index(node) + 1)
                                              if line.startswith("route") and " via " in line]
        _ip_batches({node.netns: [line.replace("addr add", "addr replace").replace("route add", "route replace")
                                  for line in lines]})
        wait_for(node.links_ready, what=f"the links of {node.name}")

    def new_nic(self, node):
        """Another network interface in place of eth0: the name and the MAC stay, the index does not."""
        self.lan.ip("link", "del", node.name)
        _ip_batches({self.lan.netns: self._cable_lines(node)})
        self.rewire(node)

    @staticmethod
    def _kill_inside(host):
        """SIGKILL to what runs in a host; how many there were."""
        pids = [pid for pid in _pids_in([host.netns]) if pid != os.getpid()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def boot(self, node):
        """Bring a crashed node back."""
        pods = [pod for pod in self.pods if pod.node is node]
        _ip(["netns", "add", node.netns])
        node.sysctls(COMMON_SYSCTLS)
        self._node_sysctls(node)
        _ip_batches({self.lan.netns: self._cable_lines(node)})
        _ip_batches({node.netns: self._lan_host_lines(node) + self._pod_link_lines(self.nodes.index(node) + 1)})
        _ip_batches({pod.netns: self._pod_lines(pod) for pod in pods})
        for host in (node, *pods):
            wait_for(host.links_ready, what=f"the links of {host.name}")
        node.sysctls(NODE_SYSCTLS_LATER)

    def mac_owner(self, mac):
        """The name of the host on the LAN that has this MAC, else the MAC itself."""
        for host in self.hosts.values():
            if host.mac == mac:
                return host.name
        return mac


def main():
    """Keep a lab standing for a look by hand: prints its namespaces, ends on SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Lab() as lab:
        for host in lab.hosts.values():
            print(host.netns, host.ip4 or "", host.ip6 or "", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
