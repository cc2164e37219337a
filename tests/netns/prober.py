"""The hot loops of the probes; each runs as a process of its own inside a namespace of the lab.

    prober.py udp|tcp|streams|neigh|sniff  JSON-CONFIGURATION

probe.py starts these and works out what their records mean; here is only sending, receiving and
writing down.  Standard library only, plain sockets, so that a start takes milliseconds and a probe
every 2 ms a few per cent of one CPU.

A process prints {"ready": true} when its sockets stand and then obeys lines on its stdin: "stats" prints
counters, "dump" prints all records, "take" prints and forgets them (sniff), "speak" lets idle connections
talk (streams), "stop" stops sending, waits `linger_ms` for late answers, prints all records and ends.  End
of stdin ends it too.  All times are CLOCK_MONOTONIC nanoseconds; the time of an arrival is the kernel's
receive timestamp carried over to that clock.
"""

import array
import ctypes
import errno
import gc
import json
import os
import select
import socket
import struct
import sys
import time

RECORDS_MAX = 2_000_000

SO_TIMESTAMPNS = 35  # the same number is SCM_TIMESTAMPNS
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
ETH_P_ALL, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD
PACKET_OUTGOING = 4
CLOCK_MONOTONIC, TFD_CLOEXEC_NONBLOCK, TFD_TIMER_ABSTIME = 1, 0o2004000, 1
NS, NA = 135, 136

_libc = ctypes.CDLL(None, use_errno=True)


# -- time ------------------------------------------------------------------------------------

class Ticker:
    """A periodic timer as a file descriptor."""

    def __init__(self, interval_ns):
        self.fd = _libc.timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self.set(interval_ns)

    def set(self, interval_ns):
        """First tick one interval from now; 0 disarms."""
        first = time.monotonic_ns() + interval_ns if interval_ns else 0
        spec = struct.pack("qqqq", *divmod(interval_ns, 10**9), *divmod(first, 10**9))
        if _libc.timerfd_settime(self.fd, TFD_TIMER_ABSTIME, spec, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def ticks(self):
        """Ticks since the last call: more than one means that this process was held up."""
        try:
            return struct.unpack("Q", os.read(self.fd, 8))[0]
        except BlockingIOError:
            return 0


class WallOffset:
    """CLOCK_REALTIME less CLOCK_MONOTONIC, read so that a pause between the two readings does not count."""

    def __init__(self):
        self.value, self.taken = 0, -10**10

    def read(self):
        tries = []
        for _ in range(5):
            before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            tries.append((after - before, wall - (before + after) // 2))
        self.taken, self.value = time.monotonic_ns(), min(tries)[1]
        return self.value

    def now(self):
        """Fresh within a second: the wall clock may be stepped or slewed."""
        return self.value if time.monotonic_ns() - self.taken < 10**9 else self.read()


_wall = WallOffset()


def arrival_ns(ancillary):
    """The kernel's receive time from recvmsg's ancillary data, on CLOCK_MONOTONIC."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= 16:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            stamp, now = seconds * 10**9 + nanoseconds, time.monotonic_ns()
            for offset in (_wall.now, _wall.read):
                at = stamp - offset()
                if -10**6 <= now - at < 10**10:
                    return min(at, now)
    return time.monotonic_ns()  # none, or the wall clock was stepped meanwhile


def with_timestamps(sock):
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock


class Names:
    """Small numbers for names, so that records fit arrays."""

    def __init__(self):
        self.number, self.names = {}, []

    def __getitem__(self, name):
        if name not in self.number:
            self.number[name] = len(self.names)
            self.names.append(name)
        return self.number[name]


# -- the loop all probes share -----------------------------------------------------------------

class Probe:
    """Owns epoll, ticker and control channel; a subclass has on_tick, on_event, stats, records."""

    def __init__(self, config):
        self.config = config
        self.interval_ns = int(config.get("interval_ms", 2) * 1e6)
        self.epoll = select.epoll()
        self.ticker = Ticker(self.interval_ns) if self.interval_ns else None
        self.missed_ticks = 0
        self.full = False
        self._command = b""
        self._until = None

    def watch(self, fd, events=select.EPOLLIN):
        self.epoll.register(fd, events)

    def say(self, what):
        data = (json.dumps(what, separators=(",", ":")) + "\n").encode()
        while data:
            data = data[os.write(1, data):]

    def dump(self):
        records = self.records()
        records.update(missed_ticks=self.missed_ticks, full=self.full, now=time.monotonic_ns())
        self.say(records)

    def on_control(self):
        data = os.read(0, 4096)
        if not data:
            sys.exit(0)
        *lines, self._command = (self._command + data).split(b"\n")
        for line in lines:
            if line == b"stats":
                self.say(self.stats())
            elif line == b"dump":
                self.dump()
            elif line == b"take":
                self.dump()
                self.forget()
            elif line == b"speak":
                self.speak()
                self.say(self.stats())
            elif line == b"stop":
                if self.ticker:
                    self.ticker.set(0)
                self._until = time.monotonic() + self.config.get("linger_ms", 200) / 1e3
            else:
                sys.exit(f"unknown command {line!r}")

    def run(self):
        self.watch(0)
        if self.ticker:
            self.watch(self.ticker.fd)
        self.say({"ready": True})
        while True:
            timeout = -1
            if self._until is not None:
                timeout = self._until - time.monotonic()
                if timeout <= 0:
                    self.dump()
                    return
            for fd, events in self.epoll.poll(timeout):
                if self.ticker and fd == self.ticker.fd:
                    ticks = self.ticker.ticks()
                    if ticks and not self.full and self._until is None:
                        # Held up: one probe now, no burst for those that were missed.
                        self.missed_ticks += ticks - 1
                        self.on_tick()
                elif fd == 0:
                    self.on_control()
                else:
                    self.on_event(fd, events)


def open_socket(target, port, kind):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock, (target, port)


# -- UDP ---------------------------------------------------------------------------------------

class UdpProbe(Probe):
    """One echo request per tick, over `flows` source ports in turn, or a new port each (`fresh`)."""

    HEAD = struct.Struct("!8sQ")

    def __init__(self, config):
        super().__init__(config)
        self.magic = os.urandom(8)
        self.sent, self.arrived, self.who = array.array("q"), array.array("q"), array.array("h")
        self.names, self.clients, self.errors = Names(), {}, {}
        self.duplicates = 0
        self.answered = 0
        self.fresh = bool(config.get("fresh"))
        self.sockets, self.open_at = {}, {}
        self.flows = [] if self.fresh else [self.open() for _ in range(config.get("flows", 16))]

    def open(self):
        sock, target = open_socket(self.config["target"], self.config["port"], socket.SOCK_DGRAM)
        with_timestamps(sock)
        try:
            sock.connect(target)
        except OSError as e:
            self.error(e)
        self.sockets[sock.fileno()] = sock
        self.watch(sock)
        return sock

    def error(self, e):
        name = errno.errorcode.get(e.errno, str(e.errno))
        self.errors.setdefault(name, []).append(time.monotonic_ns())

    def on_tick(self):
        seq = len(self.sent)
        if seq >= RECORDS_MAX:
            self.full = True
            return
        if self.fresh:
            sock = self.open()
            self.open_at[seq] = sock
            self.close_old(seq)
        else:
            sock = self.flows[seq % len(self.flows)]
        self.sent.append(time.monotonic_ns())
        self.arrived.append(0)
        self.who.append(-1)
        try:
            sock.send(self.HEAD.pack(self.magic, seq))
        except BlockingIOError:
            self.error(OSError(errno.EAGAIN, ""))
        except OSError as e:
            self.error(e)

    def close_old(self, seq):
        """A fresh port is given up after a second without an answer."""
        oldest = next(iter(self.open_at))
        if (seq - oldest) * self.interval_ns > 10**9:
            self.close(self.open_at.pop(oldest))

    def close(self, sock):
        del self.sockets[sock.fileno()]
        sock.close()

    def on_event(self, fd, _events):
        for _ in range(64):
            sock = self.sockets.get(fd)
            if sock is None:
                return
            try:
                data, ancillary, _, _ = sock.recvmsg(2048, 128)
            except BlockingIOError:
                return
            except OSError as e:
                self.error(e)
                continue
            at = arrival_ns(ancillary)
            fields = data[self.HEAD.size:].split(b"|")
            if len(data) < self.HEAD.size or len(fields) != 4:
                continue
            magic, seq = self.HEAD.unpack_from(data)
            if magic != self.magic or seq >= len(self.sent):
                continue
            if self.arrived[seq]:
                self.duplicates += 1
                continue
            self.arrived[seq] = at
            self.who[seq] = self.names[fields[1].decode()]
            self.answered += 1
            client = fields[2].decode()
            self.clients[client] = self.clients.get(client, 0) + 1
            if self.fresh and seq in self.open_at:
                self.close(self.open_at.pop(seq))

    def stats(self):
        return {"sent": len(self.sent), "answered": self.answered, "names": self.names.names,
                "last": max(self.arrived[-2000:], default=0),
                "errors": {k: len(v) for k, v in self.errors.items()}}

    def records(self):
        return {"sent": self.sent.tolist(), "arrived": self.arrived.tolist(),
                "who": self.who.tolist(), "names": self.names.names, "clients": self.clients,
                "errors": self.errors, "duplicates": self.duplicates}


# -- TCP connections, one after the other ---------------------------------------------------------

class TcpProbe(Probe):
    """A new connection per tick; answered when the server's first line has come."""

    def __init__(self, config):
        super().__init__(config)
        self.timeout_ns = int(config.get("timeout_ms", 1000) * 1e6)
        self.sent, self.arrived, self.who = array.array("q"), array.array("q"), array.array("h")
        self.names, self.clients, self.errors = Names(), {}, {}
        self.answered = 0
        self.waiting = {}  # fd -> [socket, seq, bytes so far]; in order of seq

    def error(self, code):
        name = errno.errorcode.get(code, str(code))
        self.errors.setdefault(name, []).append(time.monotonic_ns())

    def on_tick(self):
        seq, now = len(self.sent), time.monotonic_ns()
        if seq >= RECORDS_MAX:
            self.full = True
            return
        while self.waiting:
            fd = next(iter(self.waiting))
            if now - self.sent[self.waiting[fd][1]] < self.timeout_ns:
                break
            self.error(errno.ETIMEDOUT)
            self.finish(fd)
        sock, target = open_socket(self.config["target"], self.config["port"], socket.SOCK_STREAM)
        self.sent.append(time.monotonic_ns())
        self.arrived.append(0)
        self.who.append(-1)
        code = sock.connect_ex(target)
        if code not in (0, errno.EINPROGRESS):
            self.error(code)
            sock.close()
            return
        self.waiting[sock.fileno()] = [sock, seq, b""]
        self.watch(sock, select.EPOLLIN)

    def finish(self, fd):
        self.waiting.pop(fd)[0].close()

    def on_event(self, fd, _events):
        if fd not in self.waiting:
            return
        sock, seq, before = self.waiting[fd]
        try:
            data = sock.recv(256)
        except BlockingIOError:
            return
        except OSError as e:
            self.error(e.errno)
            self.finish(fd)
            return
        at = time.monotonic_ns()
        line = before + data
        self.waiting[fd][2] = line
        if b"\n" in line:
            fields = line.split()
            self.arrived[seq] = at
            self.who[seq] = self.names[fields[0].decode()]
            self.answered += 1
            client = fields[1].decode()
            self.clients[client] = self.clients.get(client, 0) + 1
            self.finish(fd)
        elif not data:
            self.error(errno.ECONNABORTED)  # closed before its first line
            self.finish(fd)

    def stats(self):
        return {"sent": len(self.sent), "answered": self.answered, "names": self.names.names,
                "last": max(self.arrived[-2000:], default=0),
                "errors": {k: len(v) for k, v in self.errors.items()}}

    def records(self):
        return {"sent": self.sent.tolist(), "arrived": self.arrived.tolist(),
                "who": self.who.tolist(), "names": self.names.names, "clients": self.clients,
                "errors": self.errors, "duplicates": 0}


# -- TCP connections that live -----------------------------------------------------------------

class Stream:
    def __init__(self, sock, idle):
        self.sock, self.unread, self.backend, self.client, self.idle = sock, b"", None, None, idle
        self.sent, self.arrived = array.array("q"), array.array("q")
        self.closed = self.error = None

    def record(self):
        return {"backend": self.backend, "client": self.client, "idle": self.idle, "sent": self.sent.tolist(),
                "arrived": self.arrived.tolist(), "closed": self.closed, "error": self.error}


class StreamsProbe(Probe):
    """`count` connections held open; every tick each sends a line and expects it back.

    The last `idle` of them say nothing until they are told to.
    """

    def __init__(self, config):
        super().__init__(config)
        self.streams = {}
        count, self.silent = config.get("count", 20), True
        for i in range(count):
            sock, target = open_socket(config["target"], config["port"], socket.SOCK_STREAM)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect_ex(target)
            self.streams[sock.fileno()] = Stream(sock, i >= count - config.get("idle", 0))
            self.watch(sock)

    def speak(self):
        self.silent = False

    def end(self, fd, stream, error):
        self.epoll.unregister(fd)
        stream.closed, stream.error = time.monotonic_ns(), error

    def on_tick(self):
        for fd, stream in self.streams.items():
            if stream.backend is None or stream.closed is not None or (stream.idle and self.silent):
                continue
            if len(stream.sent) - len(stream.arrived) >= 1000:
                continue  # unanswered lines in flight: enough
            try:
                now = time.monotonic_ns()
                if stream.sock.send(b"%d\n" % len(stream.sent)) > 0:
                    stream.sent.append(now)
            except BlockingIOError:
                pass
            except OSError as e:
                self.end(fd, stream, errno.errorcode.get(e.errno, str(e.errno)))

    def on_event(self, fd, _events):
        stream = self.streams[fd]
        if stream.closed is not None:
            return
        try:
            data = stream.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as e:
            self.end(fd, stream, errno.errorcode.get(e.errno, str(e.errno)))
            return
        now = time.monotonic_ns()
        if not data:
            self.end(fd, stream, "EOF")
            return
        *lines, stream.unread = (stream.unread + data).split(b"\n")
        for line in lines:
            fields = line.decode().split()
            if stream.backend is None:
                stream.backend, stream.client = fields[0], fields[1]
            elif fields != [stream.backend, str(len(stream.arrived))]:
                self.end(fd, stream, f"unexpected answer {line!r}")
                return
            else:
                stream.arrived.append(now)

    def stats(self):
        streams = self.streams.values()
        return {"count": len(streams), "up": sum(s.backend is not None for s in streams),
                "closed": sum(s.closed is not None for s in streams),
                "arrived": sum(len(s.arrived) for s in streams),
                "last": min((s.arrived[-1] if s.arrived else 0 for s in streams), default=0),
                # Of each that is open: when the newest line that was answered had been sent.
                "echoed": sorted(s.sent[len(s.arrived) - 1] if s.arrived else 0 for s in streams
                                 if s.closed is None and s.backend is not None)}

    def records(self):
        return {"streams": [s.record() for s in self.streams.values()]}


# -- frames ------------------------------------------------------------------------------------

def mac_text(raw):
    return ":".join(f"{b:02x}" for b in raw)


def mac_bytes(text):
    return bytes(int(b, 16) for b in text.split(":"))


def own_mac(dev):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((dev, 0))
        return sock.getsockname()[4]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp_request(mac, sender4, target4):
    """A broadcast who-has frame; addresses as 4 bytes."""
    return (b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP)
            + struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + mac + sender4 + bytes(6) + target4)


def neighbour_solicitation(mac, sender6, target6):
    """A multicast NS frame with source link-layer option; addresses as 16 bytes."""
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + target6[13:]
    body = struct.pack("!BBHI", NS, 0, 0, 0) + target6 + b"\x01\x01" + mac
    pseudo = sender6 + group + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return (b"\x33\x33" + group[12:] + mac + struct.pack("!H", ETH_P_IPV6)
            + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + sender6 + group + body)


def parse_arp(frame):
    """(operation, sender MAC, sender address, target MAC, target address) or None."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x06" or frame[14:20] != b"\x00\x01\x08\x00\x06\x04":
        return None
    return (struct.unpack_from("!H", frame, 20)[0], frame[22:28], frame[28:32], frame[32:38],
            frame[38:42])


def parse_na(frame):
    """(target address, its MAC, IPv6 destination, flags byte) of a neighbour advertisement, or None.

    The MAC is the target link-layer option's, or the Ethernet source without one.
    """
    if len(frame) < 78 or frame[12:14] != b"\x86\xdd" or frame[20] != 58 or frame[54] != NA:
        return None
    mac, options = frame[6:12], frame[78:54 + struct.unpack_from("!H", frame, 18)[0]]
    while len(options) >= 8 and options[1]:
        if options[0] == 2:
            mac = options[2:8]
        options = options[options[1] * 8:]
    return frame[62:78], mac, frame[38:54], frame[58]


def address_bytes(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


# -- packet sockets ----------------------------------------------------------------------------

def claim_filter(vips):
    """A classic BPF program: ARP and neighbour advertisements that arrive, plus IP from `vips`."""
    accept, ld_w, ld_h, ld_b, jeq = (0x06, 0, 0, 262144), 0x20, 0x28, 0x30, 0x15
    code = [(ld_b, 0, 0, 0xFFFFF000 + 4), (jeq, "reject", 0, PACKET_OUTGOING),
            (ld_h, 0, 0, 12), (jeq, "accept", 0, ETH_P_ARP)]
    v4 = [address_bytes(v) for v in vips if ":" not in v]
    v6 = [address_bytes(v) for v in vips if ":" in v]
    code += [(jeq, "v6", 0, ETH_P_IPV6), (jeq, 0, "reject", ETH_P_IP), (ld_w, 0, 0, 26)]
    code += [(jeq, "accept", 0, struct.unpack("!I", v)[0]) for v in v4]
    code += [(0x05, 0, 0, "reject"), "v6",
             (ld_b, 0, 0, 20), (jeq, 0, "data6", 58), (ld_b, 0, 0, 54), (jeq, "accept", 0, NA),
             "data6"]
    for i, v in enumerate(v6):
        for k, word in enumerate(struct.unpack("!4I", v)):
            code += [(ld_w, 0, 0, 22 + 4 * k), (jeq, 0, f"next{i}", word)]
        code += [(0x05, 0, 0, "accept"), f"next{i}"]
    code += ["reject", (0x06, 0, 0, 0), "accept", accept]
    labels, program = {}, []
    for instruction in code:
        if isinstance(instruction, str):
            labels[instruction] = len(program)
        else:
            program.append(instruction)

    def distance(to, at):
        return labels[to] - at - 1 if isinstance(to, str) else to

    return [(op, distance(jt, at), distance(jf, at), distance(k, at))
            for at, (op, jt, jf, k) in enumerate(program)]


def attach_filter(sock, program):
    raw = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(raw)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HP", len(program), ctypes.addressof(buffer)))


def packet_socket(program, dev):
    """A packet socket that sees whatever `program` accepts on a device, before a bridge takes it."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    attach_filter(sock, program)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    with_timestamps(sock)
    sock.bind((dev, ETH_P_ALL))
    return sock


# -- who answers ARP and NDP -------------------------------------------------------------------

class NeighProbe(Probe):
    """Per tick one who-has for each VIP, and every MAC that answers each one.

    The sender addresses rotate over `slots` addresses, which come back in the answer: so an answer
    belongs to exactly one request, however late it is (up to slots * interval).  With record=False
    it only asks, for as long as wanted: somebody else listens.
    """

    def __init__(self, config):
        super().__init__(config)
        self.vips = [(v, address_bytes(v)) for v in config["vips"]]
        self.index = {raw: i for i, (_, raw) in enumerate(self.vips)}
        self.slots4 = [address_bytes(a) for a in config["slots4"]]
        self.slots6 = [address_bytes(a) for a in config["slots6"]]
        self.mac = own_mac(config["dev"])
        self.recording = config.get("record", True)
        self.sock = packet_socket(claim_filter([]) if self.recording else [(0x06, 0, 0, 0)], config["dev"])
        self.sent = array.array("q")  # one time per request; request = tick * number of VIPs + VIP
        self.answers = []             # [request, arrival, MAC number]
        self.names = Names()
        self.latest = [{} for _ in self.vips]  # slot address -> request
        self.stray = 0
        self.asked = 0
        self.watch(self.sock)

    def on_tick(self):
        if len(self.sent) + len(self.vips) > RECORDS_MAX or len(self.answers) >= RECORDS_MAX:
            self.full = True
            return
        for i, (_, raw) in enumerate(self.vips):
            request, self.asked = self.asked, self.asked + 1
            slots, build = (self.slots4, arp_request) if len(raw) == 4 \
                else (self.slots6, neighbour_solicitation)
            slot = slots[(request // len(self.vips)) % len(slots)]
            if self.recording:
                self.latest[i][slot] = request
                self.sent.append(time.monotonic_ns())
            try:
                self.sock.send(build(self.mac, slot, raw))
            except OSError:
                pass  # the device is down: an unanswered request

    def on_event(self, fd, _events):
        for _ in range(64):
            try:
                frame, ancillary, _, _ = self.sock.recvmsg(256, 128)
            except OSError:
                return  # nothing more, or the device went down
            arp, na = parse_arp(frame), parse_na(frame)
            if arp and arp[0] == 2:
                target, mac, slot = arp[2], arp[1], arp[4]
            elif na:
                target, mac, slot = na[0], na[1], na[2]
            else:
                continue
            i = self.index.get(target)
            if i is None:
                continue
            request = self.latest[i].get(slot)
            if request is None:
                self.stray += 1  # an announcement, not an answer to us
                continue
            self.answers.append((request, arrival_ns(ancillary), self.names[mac_text(mac)]))

    def stats(self):
        return {"sent": self.asked, "answered": len(self.answers), "names": self.names.names,
                "last": self.answers[-1][1] if self.answers else 0}

    def records(self):
        return {"vips": [v for v, _ in self.vips], "sent": self.sent.tolist(),
                "answers": self.answers, "names": self.names.names, "stray": self.stray}


# -- the wire ----------------------------------------------------------------------------------

class Sniffer(Probe):
    """Every frame that claims a VIP, with the bridge port it came in by.  Sends nothing."""

    def __init__(self, config):
        super().__init__({**config, "interval_ms": 0})
        self.vips = {address_bytes(v): v for v in config["vips"]}
        program = claim_filter(config["vips"] if config.get("data") else [])
        self.ports = {}  # fd -> [socket, port name]
        for port in config["ports"]:
            sock = packet_socket(program, port)
            self.ports[sock.fileno()] = (sock, port)
            self.watch(sock)
        self.claims = []  # [time, VIP number, port number, MAC number, kind number]
        self.latest = {}  # VIP -> (time, MAC)
        self.names = Names()
        self.dropped = 0

    def claim_of(self, frame):
        """(VIP, MAC, kind) or None."""
        arp = parse_arp(frame)
        if arp:
            operation, mac, sender, _, target = arp
            if sender in self.vips:
                kind = "announce" if sender == target else "request" if operation == 1 else "reply"
                return sender, mac, f"arp-{kind}"
            return None
        na = parse_na(frame)
        if na and na[0] in self.vips:
            return na[0], na[1], "na-reply" if na[3] & 0x40 else "na-announce"
        if frame[12:14] == b"\x08\x00" and frame[26:30] in self.vips:
            return frame[26:30], frame[6:12], "ip"
        if frame[12:14] == b"\x86\xdd" and frame[22:38] in self.vips:
            return frame[22:38], frame[6:12], "ip"
        return None

    def on_event(self, fd, _events):
        sock, port = self.ports[fd]
        for _ in range(256):
            try:
                frame, ancillary, _, _ = sock.recvmsg(128, 128)
            except OSError:
                return  # nothing more, or the port went down; it reports again when it is up
            claim = self.claim_of(frame)
            if claim is None:
                continue
            if len(self.claims) >= RECORDS_MAX:
                self.full = True
                return
            vip, mac, kind = claim
            at = arrival_ns(ancillary)
            self.latest[self.vips[vip]] = (at, mac_text(mac))
            self.claims.append((at, self.names[self.vips[vip]],
                                self.names[port], self.names[mac_text(mac)], self.names[kind]))

    def forget(self):
        self.claims.clear()

    def stats(self):
        return {"claims": len(self.claims), "latest": self.latest}

    def records(self):
        for sock, _ in self.ports.values():
            # Reading clears the counter.
            self.dropped += struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return {"claims": self.claims, "names": self.names.names, "dropped": self.dropped}


KINDS = {"udp": UdpProbe, "tcp": TcpProbe, "streams": StreamsProbe, "neigh": NeighProbe,
         "sniff": Sniffer}


def main(argv):
    if len(argv) != 3 or argv[1] not in KINDS:
        sys.exit(f"usage: prober.py {'|'.join(KINDS)} JSON")
    try:
        # A little ahead of ordinary processes: a probe that waits for the CPU measures the CPU.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        pass
    probe = KINDS[argv[1]](json.loads(argv[2]))
    gc.collect()
    gc.disable()  # no cycles are made here, and a collection would show as a gap
    probe.run()


if __name__ == "__main__":
    main(sys.argv)
