"""The fault proxy's process: TLS on both sides, HTTP/1.1 between, faults by rule.

    proxy.py --listen [NETNS@]ADDRESS:PORT --upstream [NETNS@]ADDRESS:PORT --dir DIRECTORY
             --certificate NAME --control SOCKET

DIRECTORY holds ca.crt, NAME.crt and NAME.key (serving) and admin.crt and admin.key, which are shown
upstream for clients that came with a certificate of their own; tokens are passed on as they are.
Each client connection has at most one upstream connection.  Bodies are taken out of their framing
and put back chunk by chunk, so that a fault can act on events and bytes.  The rules, and the
commands that set them, are described with the handle, in fault_proxy.py.
"""

import argparse
import asyncio
import collections
import dataclasses
import itertools
import json
import random
import re
import signal
import ssl
import sys
import time
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from fakekube.proxy import main
    sys.exit(main())

from . import control, netns      # noqa: E402
from .errors import ApiError      # noqa: E402

_HEAD_LIMIT = 64 << 10
_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict",
            410: "Expired", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError",
            503: "ServiceUnavailable", 504: "Timeout"}
_ACTIONS = ("delay", "drop_request", "drop_reply", "answer", "tear", "drip")
_ENDS = ("close", "reset", "hang")
_MODES = ("pass", "black_hole", "refuse")


@dataclasses.dataclass
class Rule:
    """One fault.  Which requests: verb, path, skip, count, probability.  What: action and the
    rest."""

    action: str
    verb: str = None            # a method, or WATCH
    path: str = ""              # regular expression, searched in the path with its query
    count: int = None           # how often at most
    skip: int = 0               # how many matching requests to let through first
    probability: float = 1.0
    ms: float = 0.0             # delay: how long; drip: between pieces
    code: int = 503             # answer
    retry_after: int = None     # answer: Retry-After in s
    forward: bool = False       # answer: the request is carried out nevertheless
    then: str = "close"         # drop_*, tear: close, reset or hang
    events: int = 0             # tear: after so many whole events of a watch
    at: str = "middle"          # tear: cut the next event in its middle, in a character (utf8) or
                                # at its end (end)
    size: int = 1               # drip: bytes in a piece
    number: int = 0

    def __post_init__(self):
        re.compile(self.path)
        if self.action not in _ACTIONS or self.then not in _ENDS:
            raise ValueError(f"unknown action or end: {self.action}, {self.then}")
        if self.at not in ("middle", "utf8", "end") or self.size < 1:
            raise ValueError("at is middle, utf8 or end; size is at least 1")

    def applies(self, verb, path, rng):
        """Whether this request is hit; counts it if so."""
        method = "GET" if verb == "WATCH" else verb
        if self.verb not in (None, verb, method) or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count == 0 or rng.random() >= self.probability:
            return False
        if self.count is not None:
            self.count -= 1
        return True


class Gone(Exception):
    """This exchange is over; how the client's connection ends."""

    def __init__(self, how):
        super().__init__(how)
        self.how = how


class Message:
    """The head of a request or an answer, and how its body is framed."""

    def __init__(self, raw):
        lines = raw.decode("latin-1").split("\r\n")
        self.start = lines[0]
        self.fields = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name:
                self.fields.append((name, value.strip()))

    def get(self, name, default=""):
        """The value of a header field."""
        return next((v for n, v in self.fields if n.lower() == name), default)

    def head(self, **replace):
        """The bytes of the head, hop-by-hop fields replaced."""
        drop = {"transfer-encoding", "content-length", "connection", "expect"}
        fields = [(n, v) for n, v in self.fields if n.lower() not in drop]
        fields += [(n.replace("_", "-"), v) for n, v in replace.items()]
        text = "\r\n".join([self.start, *(f"{n}: {v}" for n, v in fields)]) + "\r\n\r\n"
        return text.encode("latin-1")


async def read_head(reader):
    """The next Message; None at the end of the connection."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    return Message(raw[:-4])


async def read_body(reader, message, to_end):
    """Yields the pieces of a body.  to_end: without framing it goes on until the connection
    ends."""
    if "chunked" in message.get("transfer-encoding").lower():
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            data = await reader.readexactly(size + 2)
            if size == 0:
                return
            yield data[:-2]
    elif message.get("content-length"):
        left = int(message.get("content-length"))
        while left:
            data = await reader.read(min(left, 1 << 16))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data
    elif to_end:
        while data := await reader.read(1 << 16):
            yield data


def cut_point(line, at):
    """How many bytes of an event to send before a tear."""
    if at == "end":
        return 0
    if at == "utf8":
        for i in range(len(line) - 1, 0, -1):
            if line[i] & 0xC0 == 0x80:
                return i
    return len(line) // 2


class Connection:
    """One client connection, and the upstream connection that belongs to it."""

    def __init__(self, proxy, reader, writer):
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._upstream = None

    async def _send(self, data):
        await self._proxy.flowing.wait()
        self._writer.write(data)
        await self._writer.drain()

    def reset(self):
        """Ends it on both sides at once."""
        if self._upstream:
            self._upstream[1].transport.abort()
        netns.reset(self._writer.transport)

    async def run(self):
        """Serves requests until an end."""
        try:
            while True:
                request = await read_head(self._reader)
                if request is None:
                    break
                await self._exchange(request)
        except Gone as gone:
            if gone.how == "hang":
                await self._reader.read()       # until the client gives up
            elif gone.how == "reset":
                netns.reset(self._writer.transport)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            netns.reset(self._writer.transport)
        finally:
            if self._upstream:
                self._upstream[1].close()
            self._writer.close()

    async def _exchange(self, request):
        method, path, _ = request.start.split(" ", 2)
        watch = method == "GET" and re.search(r"[?&]watch=(true|1)(&|$)", path)
        verb = "WATCH" if watch else method
        body = b"".join([piece async for piece in read_body(self._reader, request, False)])
        await self._proxy.flowing.wait()
        rules = self._proxy.choose(verb, path)
        fault = next((r for r in rules if r.action != "delay"), None)
        record = self._proxy.note(verb, path, fault)
        for rule in rules:
            if rule.action == "delay":
                await asyncio.sleep(rule.ms / 1000)
        if fault and fault.action == "drop_request":
            raise Gone(fault.then)
        if fault and fault.action == "answer":
            if fault.forward:
                await self._forward(request, body, fault, record)
            await self._answer(fault, record)
            return
        await self._forward(request, body, fault, record)

    async def _answer(self, rule, record):
        record["code"] = rule.code
        error = ApiError(rule.code, _REASONS.get(rule.code, ""), "answered by the fault proxy")
        status = error.status()
        extra = ""
        if rule.retry_after is not None:
            status["details"] = {"retryAfterSeconds": rule.retry_after}
            extra = f"Retry-After: {rule.retry_after}\r\n"
        data = json.dumps(status).encode()
        await self._send(f"HTTP/1.1 {rule.code} Fault\r\nContent-Type: application/json\r\n{extra}"
                         f"Content-Length: {len(data)}\r\n\r\n".encode() + data)

    async def _forward(self, request, body, fault, record):
        reader, writer = await self._reach_upstream()
        framing = {"Content_Length": str(len(body))} if body or (
            request.get("content-length") or request.get("transfer-encoding")) else {}
        try:
            writer.write(request.head(**framing) + body)
            await writer.drain()
            reply = await read_head(reader)
        except OSError:
            reply = None
        if reply is None:
            self._upstream = None
            raise Gone("close")
        code = int(reply.start.split(" ")[1])
        record["code"] = code
        bodiless = request.start.startswith("HEAD") or code in (204, 304) or code < 200
        pieces = read_body(reader, reply, not bodiless)
        if bodiless:
            pieces = _nothing()
        if fault and (fault.action == "drop_reply" or fault.action == "answer"):
            async for _ in pieces:
                pass
            if fault.action == "drop_reply":
                raise Gone(fault.then)
            return
        await self._pass_on(reply, pieces, fault, bodiless)

    async def _pass_on(self, reply, pieces, fault, bodiless):
        framing = {} if bodiless else {"Transfer_Encoding": "chunked"}
        await self._send(reply.head(**framing))
        if fault and fault.action == "tear":
            await self._torn(pieces, fault)
        client_left = asyncio.ensure_future(self._client_left())
        try:
            async for data in _until(pieces, client_left):
                if fault and fault.action == "drip":
                    await self._drip(data, fault)
                else:
                    await self._send(_chunk(data))
        finally:
            client_left.cancel()
        if not bodiless:
            await self._send(b"0\r\n\r\n")

    async def _client_left(self):
        """Ends when the client has closed its connection, which ends a watch upstream too."""
        while not self._reader.at_eof() and not self._writer.transport.is_closing():
            await asyncio.sleep(0.2)

    async def _drip(self, data, rule):
        framed = _chunk(data)
        for at in range(0, len(framed), rule.size):
            await self._send(framed[at:at + rule.size])
            await asyncio.sleep(rule.ms / 1000)

    async def _torn(self, pieces, rule):
        """Passes on some whole events, then a part of the next one, then ends."""
        left, pending = rule.events, b""
        async for data in pieces:
            pending += data
            while left and b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                await self._send(_chunk(line + b"\n"))
                left -= 1
            if left == 0 and (rule.at == "end" or b"\n" in pending):
                break
        part = pending[:cut_point(pending.partition(b"\n")[0], rule.at)]
        if part:
            await self._send(_chunk(part))
        if rule.then == "reset":
            # A reset discards what the client has not read: let it read the part first.
            await asyncio.sleep(0.05)
        raise Gone(rule.then)

    async def _reach_upstream(self):
        if self._upstream and not self._upstream[1].is_closing():
            if not self._upstream[0].at_eof():
                return self._upstream
            self._upstream[1].close()
        tls = self._writer.get_extra_info("ssl_object")
        try:
            self._upstream = await self._proxy.connect(bool(tls and tls.getpeercert()))
        except OSError:
            self._upstream = None
            raise Gone("reset") from None
        return self._upstream


def _chunk(data):
    return b"%x\r\n" % len(data) + data + b"\r\n"


async def _nothing():
    for item in ():
        yield item


async def _until(pieces, stop):
    """The pieces, until the stream ends or `stop` is done, which raises Gone."""
    iterator = pieces.__aiter__()
    while True:
        step = asyncio.ensure_future(iterator.__anext__())
        await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not step.done():
            step.cancel()
            raise Gone("reset")
        try:
            yield step.result()
        except StopAsyncIteration:
            return


class Proxy:
    """The listener, the rules and the record of requests."""

    def __init__(self, options):
        directory = Path(options.dir)
        self._place = netns.split_address(options.listen)
        self._upstream = netns.split_address(options.upstream)
        self._serve_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._serve_tls.load_cert_chain(directory / f"{options.certificate}.crt",
                                        directory / f"{options.certificate}.key")
        self._serve_tls.load_verify_locations(directory / "ca.crt")
        self._serve_tls.verify_mode = ssl.CERT_OPTIONAL
        self._plain = ssl.create_default_context(cafile=directory / "ca.crt")
        self._admin = ssl.create_default_context(cafile=directory / "ca.crt")
        self._admin.load_cert_chain(directory / "admin.crt", directory / "admin.key")
        self._rules = []
        self._numbers = itertools.count(1)
        self._rng = random.Random(options.seed)
        self._log = collections.deque(maxlen=20000)
        self._record = open(options.record, "a", encoding="utf-8") if options.record else None
        self._connections = set()
        self._tasks = set()
        self._socket = None
        self._accepting = None
        self.flowing = asyncio.Event()      # clear in a black hole
        self.flowing.set()

    def choose(self, verb, path):
        """The rules that hit a request: all delays, and the first other one."""
        chosen, other = [], False
        for rule in self._rules:
            if rule.action != "delay" and other:
                continue
            if rule.applies(verb, path, self._rng):
                chosen.append(rule)
                other = other or rule.action != "delay"
        return chosen

    def note(self, verb, path, fault):
        """Records a request; the answer's code is filled in later."""
        record = {"time": time.monotonic(), "verb": verb, "path": path, "code": None,
                  "fault": fault.action if fault else None}
        self._log.append(record)
        if self._record:
            print(json.dumps(record), file=self._record, flush=True)
        return record

    async def connect(self, as_admin):
        """A connection to the API server."""
        name, address, port = self._upstream
        sock = netns.unconnected(name, address)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
            return await asyncio.open_connection(
                sock=sock, ssl=self._admin if as_admin else self._plain,
                server_hostname=address, limit=_HEAD_LIMIT)
        except BaseException:
            sock.close()
            raise

    # --- the listening side ---

    async def open(self):
        """Starts to listen."""
        self._socket = netns.listen(*self._place)
        self._socket.listen(1024)
        self._accepting = asyncio.ensure_future(self._accept(self._socket))

    def _close(self):
        if self._socket:
            self._accepting.cancel()
            self._socket.close()
            self._socket = None

    async def _accept(self, listening):
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listening)
            task = asyncio.ensure_future(self._serve(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock):
        """One client connection.  In a black hole not even TLS begins."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_HEAD_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            await self.flowing.wait()
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock,
                                                              ssl=self._serve_tls)
        except (OSError, asyncio.CancelledError):
            sock.close()
            return
        connection = Connection(self, reader, asyncio.StreamWriter(transport, protocol, reader,
                                                                   loop))
        self._connections.add(connection)
        try:
            await connection.run()
        except asyncio.CancelledError:
            connection.reset()
        finally:
            self._connections.discard(connection)

    def cut(self):
        """Resets all present connections."""
        for connection in list(self._connections):
            connection.reset()
        for task in list(self._tasks):
            task.cancel()

    async def set_mode(self, mode):
        """pass, black_hole (silent, old connections too; what it swallowed arrives when it ends,
        as after a partition) or refuse (not listening, connections reset)."""
        if mode not in _MODES:
            raise ValueError(f"unknown mode: {mode}")
        if mode == "black_hole":
            self.flowing.clear()
        else:
            self.flowing.set()
        if mode == "refuse":
            self._close()
            self.cut()
        elif self._socket is None:
            await self.open()

    async def command(self, command):
        """One command of the control socket; what its answer holds."""
        what = command.pop("do")
        if what == "rule":
            rule = Rule(**command, number=next(self._numbers))
            self._rules.append(rule)
            return {"number": rule.number}
        if what == "clear":
            number = command.get("number")
            self._rules = [r for r in self._rules if number not in (None, r.number)]
        elif what == "mode":
            await self.set_mode(command["mode"])
        elif what == "cut":
            self.cut()
        elif what == "log":
            return {"requests": list(self._log), "now": time.monotonic()}
        else:
            raise ValueError(f"unknown command: {what}")
        return {}


async def run(options):
    """Serves until SIGTERM."""
    proxy = Proxy(options)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await proxy.open()
    Path(options.control).unlink(missing_ok=True)
    await asyncio.start_unix_server(control.handler(proxy.command), options.control)
    await stop.wait()
    proxy.cut()


def main(args=None):
    """The program."""
    parser = argparse.ArgumentParser(description="A fault proxy in front of an API server.")
    parser.add_argument("--listen", required=True, metavar="[NETNS@]ADDRESS:PORT")
    parser.add_argument("--upstream", required=True, metavar="[NETNS@]ADDRESS:PORT")
    parser.add_argument("--dir", required=True, help="directory of certificates and keys")
    parser.add_argument("--certificate", required=True, help="name of the serving certificate")
    parser.add_argument("--control", required=True, help="unix socket for commands")
    parser.add_argument("--record", help="file for one line of JSON per request")
    parser.add_argument("--seed", type=int, default=1, help="of the rules' probabilities (1)")
    asyncio.run(run(parser.parse_args(args)))
    return 0
