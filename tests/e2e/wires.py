"""The wires of one node: what a test puts in at one interface, and what comes out at any.

    lan       an Ethernet interface (TAP); whoever is asked for there answers by ARP and NDP
    others    interfaces without a link layer (TUN)

Packets are scapy's; nothing is behind the interfaces but this process.
"""

import contextlib
import fcntl
import os
import queue
import select
import struct
import threading

from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NO_PI = 1, 2, 0x1000
# MAC addresses for documentation (RFC 7042 section 2.1.2).
NODE_MAC, OUTSIDE_MAC = "00:00:5e:00:53:01", "00:00:5e:00:53:fe"


class Wires:
    def __init__(self, node):
        self.node, self.fds, self.seen = node, {}, queue.Queue()
        self._stop, self._wake = os.pipe()
        self._thread = None

    def add(self, name, tap=False):
        with self.node.entered():
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), (IFF_TAP if tap else IFF_TUN) | IFF_NO_PI))
        self.fds[fd] = (name, tap)
        if tap:
            self.node.ip("link", "set", name, "address", NODE_MAC)
        self.node.ip("link", "set", name, "up")

    def start(self):
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        if self._thread:
            os.close(self._wake)
            self._thread.join()
        for fd in self.fds:
            os.close(fd)

    def put(self, interface, packet):
        """Lets a packet come in at an interface."""
        fd, tap = next((fd, tap) for fd, (name, tap) in self.fds.items() if name == interface)
        os.write(fd, bytes(Ether(src=OUTSIDE_MAC, dst=NODE_MAC) / packet if tap else packet))

    def drain(self):
        with contextlib.suppress(queue.Empty):
            while True:
                self.seen.get_nowait()

    def get(self, timeout_s):
        """(interface, packet) of the next that came out, or None."""
        with contextlib.suppress(queue.Empty):
            return self.seen.get(timeout=timeout_s)
        return None

    def _run(self):
        poll = select.poll()
        for fd in (*self.fds, self._stop):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._stop:
                    return
                self._read(fd)

    def _read(self, fd):
        name, tap = self.fds[fd]
        data = os.read(fd, 65536)
        packet = Ether(data) if tap else (IP if data[0] >> 4 == 4 else IPv6)(data)
        if tap:
            answer = self._neighbour(packet)
            if answer:
                os.write(fd, bytes(answer))
            packet = packet.payload
        if isinstance(packet, (IP, IPv6)) and not any(packet.haslayer(kind) for kind in (
                ICMPv6ND_NS, ICMPv6ND_NA, ICMPv6ND_RS, ICMPv6MLReport2)):
            self.seen.put((name, packet))

    @staticmethod
    def _neighbour(frame):
        """The answer of whoever was asked for; the node's own announcements and probes get none."""
        if frame.haslayer(ARP):
            asked = frame[ARP]
            if asked.op == 1 and asked.psrc not in ("0.0.0.0", asked.pdst):
                return Ether(src=OUTSIDE_MAC, dst=frame.src) / ARP(op=2, hwsrc=OUTSIDE_MAC, psrc=asked.pdst,
                                                                   hwdst=asked.hwsrc, pdst=asked.psrc)
        elif frame.haslayer(ICMPv6ND_NS) and frame[IPv6].src != "::":
            target = frame[ICMPv6ND_NS].tgt
            return Ether(src=OUTSIDE_MAC, dst=frame.src) / IPv6(src=target, dst=frame[IPv6].src, hlim=255) \
                / ICMPv6ND_NA(tgt=target, R=1, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=OUTSIDE_MAC)
        return None
