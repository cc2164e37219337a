"""What is compared: Leasehold, keepalived (Debian's package) and kube-vip, on one lab's bridge.

Each keeps one IPv4 VIP on one of three nodes.  A contender starts, says who holds, has its holder
stopped, killed or unplugged, and comes back to three healthy nodes for the next run.  Behind
Leasehold's VIP stand the pods; behind the others' an echo server on each node itself, for neither
balances here: the path measured is the VIP's, not the balancer's.
"""

import contextlib
import os
import re
import shutil
import signal

from kube.client import ApiError
from netns.lab import ECHO_PORT, LabError, mono_ns, wait_for

from e2e.agents import SERVICES

KEEPALIVED_VIP, KUBE_VIP_VIP, LEASEHOLD_VIP = "192.0.2.241", "192.0.2.242", "192.0.2.239"
PATIENCE_S = 60


class Contender:
    """What the bench asks of each; `node_port` is where its VIP is probed."""

    name, vip, port = None, None, ECHO_PORT
    may_stay = False    # a holder that loses sight of the API server alone may keep the VIP
    events = ("SIGTERM", "kill -9", "SIGSTOP", "unplug", "reboot")

    quiet_s = 0     # after a failover, before the next
    back_at = None  # when the VIP answered again after the last

    def __init__(self, lab):
        self.lab = lab

    def nodes_with_vip(self):
        return [node for node in self.lab.nodes if self.vip in node.addresses()]

    def one_holder(self):
        """Wait until exactly one node has the VIP; that node."""
        return wait_for(lambda: (n := self.nodes_with_vip()) and len(n) == 1 and n[0], PATIENCE_S, 0.05,
                        lambda: f"{self.name}: one holder; it is on {self.nodes_with_vip()}")

    def stop_on(self, node):
        """SIGTERM what runs on the node; the moment before (monotonic ns)."""
        raise NotImplementedError

    def kill_on(self, node):
        """SIGKILL it; the moment before."""
        raise NotImplementedError

    def signal_on(self, node, number):
        """A signal to all its processes on the node; the moment before."""
        raise NotImplementedError

    def start_on(self, node):
        raise NotImplementedError

    def prepare(self, event, node):
        """What has to be done before a run that does `event` to `node`."""

    def strike(self, event, node):
        """Do it; the moment before (monotonic ns)."""
        strikes = {"SIGTERM": self.stop_on, "kill -9": self.kill_on, "unplug": self.lab.unplug,
                   "SIGSTOP": lambda n: self.signal_on(n, signal.SIGSTOP), "reboot": self.lab.crash}
        return strikes[event](node)

    def relent(self, event, node):
        """What ends while the VIP is still watched: the frozen wakes, the cable is put back."""
        if event == "SIGSTOP":
            self.signal_on(node, signal.SIGCONT)
        elif event == "unplug":
            self.lab.plug(node)
            wait_for(node.carrier, what=f"carrier of {node.name}")

    def recover(self, event, node):
        """Three healthy nodes again, one of them holding."""
        if event == "reboot":
            self.lab.boot(node)
        if event in ("SIGTERM", "kill -9", "reboot"):
            self.start_on(node)
        return self.one_holder()

    def anew(self):
        """All from the start, after a run that went wrong."""
        self.lab.heal()
        for node in self.lab.nodes:
            if not os.path.exists(f"/run/netns/{node.netns}"):
                self.lab.boot(node)
            self.lab.plug(node)
            wait_for(node.carrier, what=f"carrier of {node.name}")
        self.stop()
        self.start()


class Leasehold(Contender):
    name, vip, port = "leasehold", LEASEHOLD_VIP, 80
    may_stay = True

    events = (*Contender.events, "handover", "API black hole", "API restart")

    quiet_s = 6

    def __init__(self, cluster, **flags):
        super().__init__(cluster.lab)
        self.cluster, self.flags, self.backends, self.workdir = cluster, flags, None, cluster.workdir

    def start(self):
        self.backends = None
        self.cluster.start_agents(**self.flags)
        self.service = self.cluster.service(
            "bench", annotations={"leasehold.io/addresses": self.vip})
        if self.service.wait_vips() != [self.vip]:
            raise LabError(f"the Service got {self.service.vips()}")
        return self.one_holder()

    def stop(self):
        for agent in self.cluster.agents.values():
            if agent.running():
                agent.thaw()
        try:
            self.cluster.stop_agents()
        finally:
            self.cluster.clear()
            self.cluster.agents.clear()

    def stop_on(self, node):
        return self.cluster.agents[node.name].stop()[0]

    def kill_on(self, node):
        return self.cluster.agents[node.name].kill9()

    def start_on(self, node):
        self.cluster.agents[node.name].start()

    def signal_on(self, node, number):
        at = mono_ns()
        self.cluster.agents[node.name].process.send_signal(number)
        return at

    def hand_over(self, _node):
        at, status, out = self.cluster.handover()
        if status != 0:
            raise LabError(f"leasehold handover: exit {status}: {out.strip().splitlines()[:1]}")
        return at

    def restart_api(self, _node):
        at = mono_ns()
        self.cluster.plane.kill()
        self.cluster.plane.restart()
        return at

    def black_hole(self, node):
        """Nothing of the node reaches the API server any more, nor the other way round."""
        at = mono_ns()
        self.lab.split([node], [self.lab.api])
        return at

    def strike(self, event, node):
        strikes = {"handover": self.hand_over, "API restart": self.restart_api, "API black hole": self.black_hole}
        return strikes[event](node) if event in strikes else super().strike(event, node)

    def prepare(self, event, node):
        # A cable that is pulled takes the pods behind it away, too; the bench is about the VIP.
        cut_off = node if event in ("unplug", "reboot") else None
        pods = [pod for pod in self.lab.pods if pod.node is not cut_off]
        if pods != self.backends:
            self.service.set_backends(pods)
            self.cluster.reach_only(self.lab.client, self.vip, pods)
            self.backends = pods

    def relent(self, event, node):
        super().relent(event, node)
        if event == "API black hole":
            self.lab.heal()

    def recover(self, event, node):
        super().recover(event, node)
        for agent in self.cluster.agents.values():
            wait_for(agent.ready, PATIENCE_S, 0.05, f"{agent} to be ready")
        return self.one_holder()

    def configuration(self):
        return f"lease {self.flags['lease_duration']}, renewed every {self.flags['renew_interval']}"


class OnNodes(Contender):
    """A program on each node whose VIP is answered by an echo server there."""

    def __init__(self, lab, workdir):
        super().__init__(lab)
        self.workdir, self.processes, self.echoes = workdir, {}, {}
        workdir.mkdir(parents=True, exist_ok=True)

    def start(self):
        self.echoes = {node.name: self.lab.start_echo(node) for node in self.lab.nodes}
        for node in self.lab.nodes:
            self.start_on(node)
        return self.one_holder()

    def recover(self, event, node):
        if event == "reboot":
            self.lab.boot(node)
            self.echoes[node.name] = self.lab.start_echo(node)
            self.start_on(node)
            return self.one_holder()
        return super().recover(event, node)

    def signal_on(self, node, number):
        pids = self.children(node)
        at = mono_ns()
        for pid in pids:
            os.kill(pid, number)
        return at

    def stop(self):
        for node in list(self.lab.nodes):
            with contextlib.suppress(LabError, ProcessLookupError):
                self.signal_on(node, signal.SIGCONT)
                self.stop_on(node)
            if self.vip in node.addresses():
                node.ip("addr", "del", f"{self.vip}/32", "dev", "eth0")
        for echo in self.echoes.values():
            echo.kill9()
        for host in (self.lab.client, self.lab.watch):
            host.flush_neighbours()

    def children(self, node):
        """Pids of the program and its children, parents first."""
        pids = [self.processes[node.name].pid]
        for pid in pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as f:
                pids += [int(word) for word in f.read().split()]
        return pids

    def stop_on(self, node):
        at = mono_ns()
        self.processes[node.name].stop(30)
        return at

    def kill_on(self, node):
        # All at once, as the OOM killer's group or a container's end does it: a child that outlives
        # its parent would clean up.
        pids = self.children(node)
        at = mono_ns()
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.processes[node.name].wait(10)
        return at


class Keepalived(OnNodes):
    name, vip = "keepalived", KEEPALIVED_VIP

    def __init__(self, lab, workdir, advert_s=1.0):
        super().__init__(lab, workdir)
        self.advert_s = advert_s
        self.binary = shutil.which("keepalived") or "/usr/sbin/keepalived"
        if not os.access(self.binary, os.X_OK):
            raise LabError("keepalived is not installed")

    def start_on(self, node):
        place = self.workdir / node.name
        place.mkdir(exist_ok=True)
        priority = 100 - self.lab.nodes.index(node)
        config = place / "keepalived.conf"
        # nopreempt needs state BACKUP; no delays, no scripts: what its manual calls a plain set-up.
        config.write_text(
            "vrrp_instance bench {\n    state BACKUP\n    nopreempt\n    interface eth0\n"
            f"    virtual_router_id 51\n    version 3\n    priority {priority}\n"
            f"    advert_int {self.advert_s:g}\n{self.addresses()}}}\n")
        config.chmod(0o600)
        self.processes[node.name] = node.spawn(
            [self.binary, "--dont-fork", "--log-console", "--vrrp", f"--use-file={config}",
             f"--pid={place}/pid", f"--vrrp_pid={place}/vrrp.pid"], log=place / "log")

    def addresses(self):
        return f"    virtual_ipaddress {{\n        {self.vip}/32 dev eth0\n    }}\n"

    def configuration(self):
        return f"VRRP v3, advert_int {self.advert_s:g} s, nopreempt"


class KubeVip(OnNodes):
    name, vip = "kube-vip", KUBE_VIP_VIP
    events = (*Contender.events, "API black hole", "API restart")

    def __init__(self, lab, workdir, plane, binary, times=(5, 3, 1)):
        super().__init__(lab, workdir)
        self.plane, self.binary, self.times = plane, binary, times
        if not os.access(binary, os.X_OK):
            raise LabError(f"KUBE_VIP: {binary} is no program")

    def start(self):
        self.plane.api.create(SERVICES, {
            "metadata": {"name": "bench-kube-vip",
                         "annotations": {"kube-vip.io/loadbalancerIPs": self.vip}},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "kube-vip.io/kube-vip-class",
                     "allocateLoadBalancerNodePorts": False,
                     "ports": [{"name": "echo", "protocol": "UDP", "port": ECHO_PORT}]}})
        return super().start()

    def stop(self):
        super().stop()
        with contextlib.suppress(ApiError):
            self.plane.api.delete(f"{SERVICES}/bench-kube-vip")

    def start_on(self, node):
        duration, deadline, period = (str(t) for t in self.times)
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "vip_arp": "true", "vip_interface": "eth0",
            "vip_subnet": "32", "cp_enable": "false", "svc_enable": "true", "svc_election": "false",
            "svc_leasename": "bench-svcs-lock", "vip_leaderelection": "true",
            "vip_leasename": "bench-lock", "cp_namespace": "kube-system",
            "vip_leaseduration": duration, "vip_renewdeadline": deadline, "vip_retryperiod": period,
            "vip_nodename": node.name, "prometheus_server": "127.0.0.1:2112"}
        self.processes[node.name] = node.spawn(
            [self.binary, "manager", "--k8sConfigPath", str(self.plane.admin_kubeconfig)],
            log=self.workdir / f"{node.name}.log", env=environment)

    def strike(self, event, node):
        at = mono_ns()
        if event == "API black hole":
            self.lab.split([node], [self.lab.api])
        elif event == "API restart":
            self.plane.kill()
            self.plane.restart()
        else:
            return super().strike(event, node)
        return at

    def relent(self, event, node):
        super().relent(event, node)
        if event == "API black hole":
            self.lab.heal()

    def configuration(self):
        return "Lease {} s, renew deadline {} s, retry {} s".format(*self.times)


class RulesetLoad:
    """kube-proxy's like on a node: `nft -f` with 8,000 Services, half a table each for IPv4 and IPv6, over and over.

    Every transaction of the namespace waits while one is carried out (nf_tables' commit mutex), seconds each.  The load
    has a CPU of its own where there are two: a kernel without preemption serves nobody else on it, and the other nodes
    and the probes are not to suffer by what happens on this one.
    """

    def __init__(self, node, workdir):
        self.node, self.process, self.files = node, None, []
        workdir.mkdir(parents=True, exist_ok=True)
        for family in ("ip", "ip6"):
            self.files.append(workdir / f"kube-proxy-{family}.nft")
            if not self.files[-1].exists():
                self.files[-1].write_text(proxy_ruleset(family, 4000))

    def __enter__(self):
        cpus = sorted(os.sched_getaffinity(0))
        pin(everybody(), cpus[1:] or cpus)
        self.process = self.node.spawn(["taskset", "-c", str(cpus[0]), "sh", "-c",
                                        'while nft -f "$0" && nft -f "$1"; do :; done', *map(str, self.files)])
        wait_for(lambda: "kube-proxy" in self.node.run(["nft", "list", "tables"], timeout=120), 120, 0.2,
                 "the first load of the ruleset")
        return self

    def __exit__(self, *_):
        children = self._children()
        self.process.kill9(30)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.node.processes.remove(self.process)
        # A transaction under way is carried out to its end.
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), 120, 0.1, "the last transaction")
        for family in ("ip", "ip6"):
            self.node.run(["nft", "delete", "table", family, "kube-proxy"], check=False, timeout=120)
        pin(everybody(), range(os.cpu_count()))

    def _children(self):
        with contextlib.suppress(OSError), open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return [int(word) for word in f.read().split()]
        return []


def everybody():
    """This process and all that descend from it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as f:
                parents[int(entry)] = int(f.read().rpartition(b")")[2].split()[1])
    found, last = {os.getpid()}, set()
    while found != last:
        last = set(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def pin(pids, cpus):
    """Let all threads of these processes run on these CPUs alone."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cpus)


def proxy_ruleset(family, services):
    """A table of the shape that kube-proxy's nftables mode has: a verdict map, chains for Services and endpoints."""
    kind = "ipv4_addr" if family == "ip" else "ipv6_addr"
    chains, elements = [], []

    def address(net, i):
        return f"198.{18 + net // 2}.{128 * (net % 2) + i // 250}.{i % 250 + 1}" if family == "ip" \
            else f"2001:db8:{0x20 + net:x}::{i + 1:x}"

    for i in range(services):
        ends = []
        for k in range(2):
            name, end = f"endpoint-{i:05d}-{k}", address(k, i)
            ends.append(f"{k} : goto {name}")
            to = f"{end}:8080" if family == "ip" else f"[{end}]:8080"
            chains.append(f"chain {name} {{ {family} saddr {end} jump mark-for-masquerade; "
                          f"meta l4proto tcp dnat to {to}; }}")
        chains.append(f"chain service-{i:05d} {{ {family} daddr {address(2, i)} tcp dport 80 jump mark-for-masquerade; "
                      f"numgen random mod 2 vmap {{ {', '.join(ends)} }}; }}")
        elements.append(f"{address(2, i)} . tcp . 80 : goto service-{i:05d}")
    return "\n".join([
        f"table {family} kube-proxy {{ }}", f"delete table {family} kube-proxy", f"table {family} kube-proxy {{",
        "chain mark-for-masquerade { meta mark set meta mark or 0x4000; }", *chains,
        f"map service-ips {{ type {kind} . inet_proto . inet_service : verdict;",
        f"elements = {{ {','.join(elements)} }}; }}",
        f"chain services {{ {family} daddr . meta l4proto . th dport vmap @service-ips; }}",
        "chain nat-prerouting { type nat hook prerouting priority -100; jump services; }", "}", ""])


def memory(pid):
    """{RssAnon, VmRSS, Pss} of a process in KiB."""
    with open(f"/proc/{pid}/status") as f:
        found = dict(re.findall(r"^(RssAnon|VmRSS):\s+(\d+) kB", f.read(), re.M))
    with open(f"/proc/{pid}/smaps_rollup") as f:
        found["Pss"] = re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M).group(1)
    return {key: int(value) for key, value in found.items()}
