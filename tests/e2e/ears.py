"""What hosts of a LAN learn from announcements: a host's own reading of ARP and neighbour advertisements, frame by frame.

Three readers who each know one form alone keep tables as network gear does: `request` (ARP requests), `reply` (ARP replies),
`na` (advertisements).  Frames are scapy's, times the kernel's (real-time ns).
"""

import contextlib
import dataclasses
import socket
import struct
import threading

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

ETH_ALL = 3
SO_RCVBUFFORCE, SO_TIMESTAMPNS, PACKET_OUTGOING = 33, 35, 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
BURST_S = (0, 0.1, 0.3, 1.1, 2.2, 5)


@dataclasses.dataclass(frozen=True)
class Heard:
    """One announcement."""
    at: int
    vip: str
    mac: str    # that it tells
    form: str   # "request", "reply" or "na"
    frame: Ether


class Ears:
    def __init__(self, host):
        self.heard, self.tables, self.lost = [], {"request": {}, "reply": {}, "na": {}}, 0
        with host.entered():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._sock.settimeout(0.1)
        self._sock.bind(("eth0", ETH_ALL))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self.lost += struct.unpack("II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self._sock.close()

    def _listen(self):
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                data, ancillary, _, address = self._sock.recvmsg(256, 64)
                if address[2] != PACKET_OUTGOING and data[12:14] in (b"\x08\x06", b"\x86\xdd"):
                    s, ns = struct.unpack("qq", ancillary[0][2][:16])
                    self._take(s * 10**9 + ns, data)

    def _take(self, at, data):
        if data[12:14] == b"\x86\xdd" and (len(data) < 55 or data[20] != 58 or data[54] != 136):
            return
        frame = Ether(data)
        if frame.haslayer(ARP):
            arp = frame[ARP]
            form, vip, mac = "request" if arp.op == 1 else "reply", arp.psrc, arp.hwsrc
            announces = arp.psrc == arp.pdst
        else:
            form, vip, mac = "na", frame[ICMPv6ND_NA].tgt, \
                frame[ICMPv6NDOptDstLLAddr].lladdr if frame.haslayer(ICMPv6NDOptDstLLAddr) else frame.src
            announces = frame[IPv6].dst == "ff02::1"
        if frame.dst == "ff:ff:ff:ff:ff:ff" or frame.dst == "33:33:00:00:00:01":  # what a third host reads
            self.tables[form][vip] = mac
        if announces:
            self.heard.append(Heard(at, vip, mac, form, frame))

    def learnt(self, vips, mac):
        """Whether each reader has that MAC for each VIP of its family."""
        return all(self.tables[form].get(vip) == mac for vip in vips
                   for form in (("na",) if ":" in vip else ("request", "reply")))

    def of(self, vip, mac, form=None, since=0):
        return [h for h in list(self.heard) if h.vip == vip and h.mac == mac and form in (None, h.form) and h.at >= since]


def burst_of(times):
    """The seconds between the first of some times and each."""
    return [(at - times[0]) / 1e9 for at in times]
