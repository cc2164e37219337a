"""A takeover of many VIPs as the wire shows it: when each is announced and answered, how many frames a second that takes, and
what a node that holds them costs at rest.

The claim is what the program itself says first: the Lease's acquireTime, or the first VRRP advertisement of another node.
Times are those of the kernel that saw the frame, at a host that takes no part.
"""

import contextlib
import datetime
import os
import socket
import struct
import threading
import time

from kube.client import ApiError
from netns.lab import POOL4_BIG, LabError, wait_for

from contenders import Keepalived, memory

ETH_ALL, ETH_ARP, ETH_IP, VRRP = 3, 0x0806, 0x0800, 112
REQUEST = 1
SO_RCVBUFFORCE, SO_TIMESTAMPNS, PACKET_OUTGOING = 33, 35, 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
ASK_EVERY_S = 0.2
TAIL_S = 8      # the bursts' end
PATIENCE_S = 120
REST_S = 60


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


class Tap:
    """Takes down ARP and VRRP at a host's eth0 (real-time ns), and asks who has some addresses until others than `old` answer."""

    def __init__(self, host):
        self.host, self.frames, self.lost = host, [], 0
        with host.entered():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.settimeout(0.1)
        self.sock.bind(("eth0", ETH_ALL))
        self.over = threading.Event()
        self.missing, self.old = {}, None
        self.threads = [threading.Thread(target=self._listen, daemon=True), threading.Thread(target=self._ask, daemon=True)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.lost = struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self.sock.close()

    def watch(self, vips, old):
        """From now on these are asked for until another MAC than `old` has answered."""
        source = socket.inet_aton(self.host.ip4)
        mac = mac_bytes(self.host.mac)
        self.old = mac_bytes(old)
        self.missing = {socket.inet_aton(vip): b"\xff" * 6 + mac + struct.pack(">HHHBBH", ETH_ARP, 1, ETH_IP, 6, 4, REQUEST)
                        + mac + source + bytes(6) + socket.inet_aton(vip) for vip in vips}

    def _ask(self):
        while not self.over.wait(ASK_EVERY_S):
            for frame in list(self.missing.values()):
                with contextlib.suppress(OSError):
                    self.sock.send(frame)

    def _listen(self):
        while not self.over.is_set():
            try:
                data, ancillary, _, address = self.sock.recvmsg(128, 64)
            except TimeoutError:
                continue
            kind = data[12:14]
            if address[2] == PACKET_OUTGOING or kind not in (b"\x08\x06", b"\x08\x00") or \
                    (kind == b"\x08\x00" and data[23] != VRRP):
                continue
            s, ns = struct.unpack("qq", ancillary[0][2][:16])
            self.frames.append((s * 10**9 + ns, data[:42]))
            if kind == b"\x08\x06" and data[6:12] != self.old and data[0] != 0xff:
                self.missing.pop(data[28:32], None)


def busiest_second(times):
    """The most of them within a second."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= 10**9:
            first += 1
        most = max(most, last - first + 1)
    return most


def reading(tap, vips, old, struck, claimed):
    """What the frames say of one takeover: times in ms since the claim, and since the strike."""
    wanted = {socket.inet_aton(vip) for vip in vips}
    announced, answered, announcements, adverts = {}, {}, [], []
    for at, data in tap.frames:
        if at < struck or data[6:12] == mac_bytes(old):
            continue
        if data[12:14] == b"\x08\x00":
            adverts.append(at)
            continue
        sender, target = data[28:32], data[38:42]
        if sender not in wanted:
            continue
        if sender == target:
            announcements.append(at)
            announced.setdefault(sender, at)
        elif data[0] != 0xff:
            answered.setdefault(sender, at)
    if len(announced) < len(wanted) or len(answered) < len(wanted) or tap.lost:
        raise LabError(f"{len(announced)} announced and {len(answered)} answered of {len(wanted)}; {tap.lost} frames not seen")
    claimed = claimed or adverts[0]
    in_order = sorted(announced.values())
    return {"claim_ms": (claimed - struck) / 1e6, "first_ms": (in_order[0] - claimed) / 1e6,
            "half_ms": (in_order[len(in_order) // 2] - claimed) / 1e6, "last_ms": (in_order[-1] - claimed) / 1e6,
            "spread_ms": (in_order[-1] - in_order[0]) / 1e6,
            "answered_ms": (max(answered.values()) - claimed) / 1e6, "peak": busiest_second(announcements)}


def cpu_s(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def at_rest(pids):
    """Share of a core in percent over REST_S, and memory in MB, of some processes together."""
    began, used = time.monotonic(), cpu_s(pids)
    wait_for(lambda: time.monotonic() - began >= REST_S, REST_S + 5, 0.5, "the time of rest")
    used = cpu_s(pids) - used
    return {"cpu": 100 * used / (time.monotonic() - began), "RssAnon": sum(memory(pid)["RssAnon"] for pid in pids) / 1024}


class ManyKeepalived(Keepalived):
    """One instance with many addresses: 20 in its advertisements, the others beside them."""

    def __init__(self, lab, workdir, vips, advert_s):
        super().__init__(lab, workdir, advert_s)
        self.vips, self.vip = vips, vips[0]

    def addresses(self):
        def block(name, vips):
            return f"    {name} {{\n" + "".join(f"        {vip}/32 dev eth0\n" for vip in vips) + "    }\n"
        return block("virtual_ipaddress", self.vips[:20]) + block("virtual_ipaddress_excluded", self.vips[20:])

    def stop(self):
        super().stop()
        for node in self.lab.nodes:
            node.delete_addresses(set(self.vips) & set(node.addresses()))


class Announce:
    def __init__(self, bench, count):
        self.bench, self.count = bench, count
        self.figures = {}

    def one(self, lab, vips, old, strike, claim, told):
        with Tap(lab.watch) as tap:
            tap.watch(vips, old.mac)
            struck = time.time_ns()
            strike()
            wait_for(lambda: not tap.missing, PATIENCE_S, 0.1, lambda: f"{len(tap.missing)} VIPs to be answered elsewhere")
            claimed = claim(struck)
            began = time.monotonic()
            wait_for(lambda: time.monotonic() - began >= TAIL_S, TAIL_S + 5, 0.5, "the bursts' end")
        found = reading(tap, vips, old.mac, struck, claimed)
        self.bench.note(f"announce: {told}: {found}")
        return found

    def leasehold(self, cluster):
        bench, lab = self.bench, cluster.lab
        cluster.start_agents(lease_duration=bench.lease, renew_interval=bench.renew, pool=[POOL4_BIG],
                             interface_subnet="any", log_level="info")
        try:
            services = cluster.services(self.count)
            listed = lambda: {vip for agent in cluster.agents.values() for vip in agent.node.addresses()  # noqa: E731
                              if vip.startswith("198.18.")}
            wait_for(lambda: len(listed()) >= self.count, 300, 1, f"{self.count} VIPs up")
            vips = sorted(listed())
            wait_for(lambda: all(s["status"].get("loadBalancer", {}).get("ingress") for s in cluster.api().list(
                services[0].path.rpartition("/")[0]) if s["metadata"]["name"] != "kubernetes"), 300, 2, "all published")
            time.sleep(10)
            holder = cluster.wait_holder()
            rest = {"holder": at_rest([holder.process.pid])}
            other = cluster.others(holder)[0]
            rest["candidate"] = at_rest([other.process.pid])
            found = {"rest": rest}

            def acquired(struck):
                text = wait_for(lambda: (cluster.lease() or {}).get("spec", {}).get("acquireTime"), 10)
                at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e9
                if at < struck:
                    raise LabError(f"the Lease was acquired {text}, before the takeover")
                return int(at)

            def handed():
                _, status, out = cluster.handover()
                if status != 0:
                    raise LabError(f"handover: {out}")

            for event, strike in (("kill -9", holder.kill9), ("handover", handed)):
                old = cluster.wait_holder()
                found[event] = self.one(lab, vips, old.node, strike, acquired, f"leasehold {event}")
                if event == "kill -9":
                    holder.start()
                    holder.wait_ready(60)
            return found
        finally:
            cluster.stop_agents()
            cluster.clear()

    def keepalived(self, lab, workdir):
        vips = [f"198.18.{1 + i // 250}.{1 + i % 250}" for i in range(self.count)]
        contender = ManyKeepalived(lab, workdir, vips, self.bench.advert_s)
        try:
            contender.start()
            wait_for(lambda: len(set(vips) & set(contender.one_holder().addresses())) == len(vips), 60, 0.5, "all addresses")
            time.sleep(10)
            holder = contender.one_holder()
            rest = at_rest(contender.children(holder))
            killed = self.one(lab, vips, holder, lambda: contender.kill_on(holder), lambda _: None, "keepalived kill -9")
            return {"rest": {"holder": rest}, "kill -9": killed}
        finally:
            with contextlib.suppress(LabError, ApiError):
                contender.stop()

    def run(self, cluster, lab, workdir):
        self.figures = {"vips": self.count, "leasehold": self.leasehold(cluster)}
        try:
            self.figures["keepalived"] = self.keepalived(lab, workdir)
        except (LabError, TimeoutError) as error:
            self.bench.note(f"announce: keepalived: {error}")
        return self

    def report(self):
        row = self.bench.row
        for name in ("leasehold", "keepalived"):
            ours, found = name == "leasehold", self.figures.get(name, {})
            for event in ("kill -9", "handover"):
                if event not in found:
                    continue
                f, what = found[event], f"{name}: {self.count} VIPs, {event}"
                row(f"{what}: claim to first, half, last announced", f"{f['first_ms']:.0f} {f['half_ms']:.0f} {f['last_ms']:.0f}",
                    "ms", "last <= 1500" if ours else None, f["last_ms"] <= 1500)
                row(f"{what}: claim to last answered", f"{f['answered_ms']:.0f}", "ms")
                row(f"{what}: most announcements in a second", f"{f['peak']}", "frames", "<= 2650" if ours else None,
                    f["peak"] <= 2650)
            for role, rest in found.get("rest", {}).items():
                row(f"{name} {role}, {self.count} VIPs: at rest", f"{rest['cpu']:.2f} {rest['RssAnon']:.1f}", "% of a core, MB",
                    "<= 0.5 %" if ours else None, rest["cpu"] <= 0.5)
