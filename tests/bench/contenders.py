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

    def start_on(self, node):
        raise NotImplementedError

    def prepare(self, event, node):
        """What has to be done before a run that does `event` to `node`."""

    def strike(self, event, node):
        """Do it; the moment before (monotonic ns)."""
        if event == "SIGTERM":
            return self.stop_on(node)
        if event == "kill -9":
            return self.kill_on(node)
        return self.lab.unplug(node)

    def recover(self, event, node):
        """Three healthy nodes again, one of them holding."""
        if event == "unplug":
            self.lab.plug(node)
            wait_for(node.carrier, what=f"carrier of {node.name}")
        else:
            self.start_on(node)
        return self.one_holder()


class Leasehold(Contender):
    name, vip, port = "leasehold", LEASEHOLD_VIP, 80

    def __init__(self, cluster, **flags):
        super().__init__(cluster.lab)
        self.cluster, self.flags = cluster, flags

    def start(self):
        self.cluster.start_agents(**self.flags)
        self.service = self.cluster.service(
            "bench", annotations={"leasehold.io/addresses": self.vip})
        if self.service.wait_vips() != [self.vip]:
            raise LabError(f"the Service got {self.service.vips()}")
        return self.one_holder()

    def stop(self):
        self.cluster.stop_agents()
        self.cluster.clear()

    def stop_on(self, node):
        return self.cluster.agents[node.name].stop()[0]

    def kill_on(self, node):
        return self.cluster.agents[node.name].kill9()

    def start_on(self, node):
        self.cluster.agents[node.name].start()

    def prepare(self, event, node):
        # The cable takes the pods behind it away, too; the bench is about the VIP.
        cut_off = node if event == "unplug" else None
        pods = [pod for pod in self.lab.pods if pod.node is not cut_off]
        self.service.set_backends(pods)
        self.cluster.reach_only(self.lab.client, self.vip, pods)

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
        self.workdir, self.processes, self.echoes = workdir, {}, []
        workdir.mkdir(parents=True, exist_ok=True)

    def start(self):
        self.echoes = [self.lab.start_echo(node) for node in self.lab.nodes]
        for node in self.lab.nodes:
            self.start_on(node)
        return self.one_holder()

    def stop(self):
        for node in list(self.lab.nodes):
            with contextlib.suppress(LabError):
                self.stop_on(node)
            if self.vip in node.addresses():
                node.ip("addr", "del", f"{self.vip}/32", "dev", "eth0")
        for echo in self.echoes:
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
            f"    advert_int {self.advert_s:g}\n    virtual_ipaddress {{\n        {self.vip}/32 dev eth0\n"
            "    }\n}\n")
        config.chmod(0o600)
        self.processes[node.name] = node.spawn(
            [self.binary, "--dont-fork", "--log-console", "--vrrp", f"--use-file={config}",
             f"--pid={place}/pid", f"--vrrp_pid={place}/vrrp.pid"], log=place / "log")

    def configuration(self):
        return f"VRRP v3, advert_int {self.advert_s:g} s, nopreempt"


class KubeVip(OnNodes):
    name, vip = "kube-vip", KUBE_VIP_VIP

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

    def configuration(self):
        return "Lease {} s, renew deadline {} s, retry {} s".format(*self.times)


def memory(pid):
    """{RssAnon, VmRSS, Pss} of a process in KiB."""
    with open(f"/proc/{pid}/status") as f:
        found = dict(re.findall(r"^(RssAnon|VmRSS):\s+(\d+) kB", f.read(), re.M))
    with open(f"/proc/{pid}/smaps_rollup") as f:
        found["Pss"] = re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M).group(1)
    return {key: int(value) for key, value in found.items()}
