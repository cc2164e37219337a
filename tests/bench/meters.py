"""What the data plane's bench measures with: traffic (load.c), nf_tables' own counts, sends timed by the kernel, memory."""

import contextlib
import os
import re
import select
import socket
import struct
import subprocess
import time
from pathlib import Path

from e2e.agents import REPOSITORY
from netns.lab import LabError, wait_for

LOAD = os.environ.get("LEASEHOLD_LOAD", str(REPOSITORY / "build/release/bench/load"))
PROBE_US = 200
CHANGE_S = 120


class TooSlow(Exception):
    """A change that had not come to the kernel after CHANGE_S."""


class Load:
    """Runs load.c in the lab's hosts."""

    @staticmethod
    def run(host, *words, cpu=None, timeout=120):
        pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
        return host.run([*pin, LOAD, *map(str, words)], timeout=timeout).split()

    @staticmethod
    def talk(host, targets, protocol="tcp", patience_ms=2000):
        """Asks [(address, port)], all from ports of the kernel's choice; the answers, lines of text."""
        process = host.spawn([LOAD, "talk", protocol, str(patience_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
        host.processes.remove(process)
        out, _ = process.communicate("".join(f"- 0 {a} {p}\n" for a, p in targets) + "\n", timeout=300)
        return out.splitlines()[:len(targets)]

    @staticmethod
    @contextlib.contextmanager
    def first(host, address, port, backend):
        """Begins to ask; yields a function that waits for the moment of the first connection that got through."""
        process = host.spawn([LOAD, "first", str(PROBE_US), address, str(port), backend], stdout=subprocess.PIPE,
                             text=True)
        host.processes.remove(process)

        def moment():
            line = wait_line(process, CHANGE_S)
            if not line:
                raise TooSlow(f"{address} {port}: {backend} did not answer within {CHANGE_S} s")
            return int(line)
        try:
            if wait_line(process, 10) != "ready":
                raise LabError("load first did not start")
            yield moment
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def wait_line(process, seconds):
    """A line of its output, "" when there is none in time."""
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline().strip() if ready else ""


# ---- the kernel --------------------------------------------------------------------------------

NETLINK_NETFILTER, NFT_GETSET, NLM_DUMP = 12, 10 << 8 | 10, 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_COUNT = 1, 2, 20
FAMILIES = {"inet": 1, "ip": 2}


def set_counts(host, family, table):
    """{set: elements} of a table, without a walk through them (Linux 6.16); {} when there is no such table."""
    name = table.encode() + b"\0"
    pad = bytes(-len(name) % 4)
    body = struct.pack("BBH", FAMILIES[family], 0, 0) + struct.pack("HH", 4 + len(name), NFTA_SET_TABLE) + name + pad
    with host.entered():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    found = {}
    with sock:
        sock.send(struct.pack("IHHII", 16 + len(body), NFT_GETSET, NLM_DUMP, 1, 0) + body)
        while True:
            data = sock.recv(1 << 18)
            while data:
                length, kind = struct.unpack_from("IH", data)
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                attributes = dict(walk(data[20:length]))
                if NFTA_SET_COUNT in attributes:
                    found[attributes[NFTA_SET_NAME].rstrip(b"\0").decode()] = \
                        struct.unpack(">I", attributes[NFTA_SET_COUNT])[0]
                data = data[length + 3 & ~3:]


def walk(data):
    """Netlink attributes, one level."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        yield kind & 0x3fff, data[4:length]
        data = data[length + 3 & ~3:]


class SendTrace:
    """Times the sends of some processes and their children, by the kernel's own trace of system calls."""

    EVENTS = [f"syscalls/sys_{edge}_{call}" for edge in ("enter", "exit") for call in ("sendmsg", "sendto")]
    LINE = re.compile(r"^\s*(.+)-(\d+)\s+\[\d+\]\s+\S+\s+([\d.]+): sys_(?:sendmsg|sendto)(\(| -> )", re.M)

    def __init__(self, workdir):
        self.root = Path(workdir) / "tracefs"
        self.place = self.root / f"instances/leasehold-{os.getpid()}"
        self.works = False

    def __enter__(self):
        self.root.mkdir()
        self.works = subprocess.run(["mount", "-t", "tracefs", "nodev", str(self.root)], check=False,
                                    capture_output=True).returncode == 0
        if self.works:
            self.place.mkdir()
            (self.place / "trace_clock").write_text("mono")
            (self.place / "options/event-fork").write_text("1")
            (self.place / "buffer_size_kb").write_text("4096")
        return self

    def __exit__(self, *_):
        if self.works:
            self.off()
            self.place.rmdir()
            subprocess.run(["umount", str(self.root)], check=False)

    def on(self, pid):
        """Follows the process, all its threads, and what it starts."""
        if not self.works:
            return
        (self.place / "set_event_pid").write_text("\n".join(os.listdir(f"/proc/{pid}/task")))
        for event in self.EVENTS:
            (self.place / f"events/{event}/enable").write_text("1")

    def off(self):
        if self.works:
            (self.place / "events/enable").write_text("0")
            (self.place / "trace").write_text("")

    def longest_ms(self, since, until, wanted):
        """The longest send that began in a time (monotonic ns) of a task for which wanted(comm, tid); None: not measured."""
        begun, worst = {}, None
        if not self.works:
            return None
        for comm, tid, at, edge in self.LINE.findall((self.place / "trace").read_text()):
            at = float(at) * 1e9
            if edge == "(":
                begun[tid] = at
            elif tid in begun and since <= begun[tid] <= until and wanted(comm, int(tid)):
                worst = max(worst or 0, (at - begun[tid]) / 1e6)
        return worst


def kernel_memory_kib():
    """Unreclaimable slab, per-CPU and vmalloc memory of the machine."""
    with open("/proc/meminfo", encoding="ascii") as f:
        found = dict(re.findall(r"^(SUnreclaim|Percpu|VmallocUsed):\s+(\d+) kB", f.read(), re.M))
    return sum(map(int, found.values()))


def settled_kernel_memory():
    """The same once it has stopped to move: freeing waits for RCU and a worker."""
    last = [kernel_memory_kib()]

    def still():
        time.sleep(0.5)
        last.append(kernel_memory_kib())
        return abs(last[-1] - last[-2]) < 512
    with contextlib.suppress(TimeoutError):
        wait_for(still, 20, 0, "kernel memory at rest")
    return last[-1]


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {key: int(value) / 1024 for key, value in re.findall(r"^(RssAnon|VmRSS|VmHWM):\s+(\d+) kB", f.read(), re.M)}
