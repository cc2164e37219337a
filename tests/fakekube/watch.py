"""One watch: a chunked stream of JSON lines over a table's log.

A watch holds nothing but its position in the log.  It wakes when something was written to its
table, writes all lines it has not sent yet in one piece, and sends a bookmark with the store's
counter every so often if the client asked for bookmarks.
"""

import asyncio
import random
import time

from aiohttp import web

from . import errors, netns
from .store import dump, event_line

_FRESH_SECONDS = 3      # how long a request waits for a version that is still to come
_INITIAL_END = "k8s.io/initial-events-end"


async def wait_fresh(table, store, rv):
    """Waits a while until the store has reached a version; 504."""
    deadline = time.monotonic() + _FRESH_SECONDS
    while store.rv < rv:
        left = deadline - time.monotonic()
        if left <= 0:
            raise errors.too_new(rv, store.rv)
        await table.wait(min(left, 0.1))


def parse_version(query):
    """The resourceVersion of a request: None if absent, else a number; 400."""
    text = query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isdigit():
        raise errors.ApiError(400, "BadRequest", f"Invalid value: {text!r}: strconv.ParseUint: "
                              f"parsing {text!r}: invalid syntax")
    return int(text)


def check_options(query, is_watch, watch_list):
    """The rules for resourceVersionMatch and sendInitialEvents; 422."""
    found = []
    match, initial = query.get("resourceVersionMatch", ""), query.get("sendInitialEvents")
    if initial is not None and not is_watch:
        found.append(errors.not_allowed("sendInitialEvents",
                                        "sendInitialEvents is forbidden for list"))
    if is_watch and initial is not None:
        if match != "NotOlderThan":
            found.append(errors.not_allowed(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
        if not watch_list:
            found.append(errors.not_allowed(
                "sendInitialEvents", "sendInitialEvents is forbidden for watch unless the "
                "WatchList feature gate is enabled"))
    if is_watch and match and initial is None:
        found.append(errors.not_allowed(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
    if not is_watch and match:
        if not query.get("resourceVersion"):
            found.append(errors.not_allowed(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if match not in ("Exact", "NotOlderThan"):
            found.append(errors.not_supported("resourceVersionMatch", match,
                                              ("Exact", "NotOlderThan")))
        if query.get("continue"):
            found.append(errors.not_allowed(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided"))
    if found:
        raise errors.invalid("ListOptions", "meta.k8s.io", "", found)


def is_true(query, name):
    """A boolean query parameter: absent, false and 0 are false."""
    return query.get(name, "false").lower() not in ("", "false", "0")


class Watch:
    """The state of one watch request."""

    def __init__(self, server, listener, table, selection, query):
        self._server = server
        self._listener = listener
        self._store = server.store
        self._table = table
        self._selection = selection
        self._query = query
        self._bookmarks = is_true(query, "allowWatchBookmarks")
        seconds = query.get("timeoutSeconds", "0")
        if not seconds.isdigit():
            raise errors.bad_request(f"invalid timeoutSeconds: {seconds!r}")
        self._seconds = int(seconds) or random.uniform(1800, 3600)
        self._round = server.watch_round
        self._position = 0

    async def prepare(self):
        """Checks the request and decides where the stream begins; returns its first bytes."""
        query = self._query
        check_options(query, True, self._server.watch_list)
        rv = parse_version(query)
        watch_list = "sendInitialEvents" in query
        initial = is_true(query, "sendInitialEvents") if watch_list else not rv
        if watch_list and rv:
            await wait_fresh(self._table, self._store, rv)
        self._position = self._table.end
        if initial:
            lines = [event_line("ADDED", e) for e in self._table.in_order()
                     if self._selection.matches(e)]
            if watch_list and self._bookmarks:
                lines.append(self._bookmark({_INITIAL_END: "true"}))
            return b"".join(lines)
        if rv:
            if rv < self._table.floor:
                raise errors.expired(f"too old resource version: {rv} ({self._table.floor})")
            self._position = self._table.position_after(rv)
        return b""

    async def stream(self, request, response, first):
        """Sends lines until the time is over, the client is gone or the server ends watches."""
        loop_time = asyncio.get_running_loop().time
        deadline = loop_time() + self._seconds
        bookmark_at = loop_time() + self._server.bookmark_seconds
        data = first
        while True:
            await self._listener.running.wait()
            data += self._collect()
            now = loop_time()
            if self._bookmarks and now >= bookmark_at:
                # Everything up to the counter has been collected just above.
                data += self._bookmark(None)
            if now >= bookmark_at:
                bookmark_at = now + self._server.bookmark_seconds
            if data:
                await response.write(data)
                data = b""
            if (now >= deadline or self._round != self._server.watch_round
                    or self._position < self._table.base):
                return
            transport = request.transport
            if transport is None or transport.is_closing():
                return
            if self._position == self._table.end:
                await self._table.wait(max(0.0, min(deadline, bookmark_at) - loop_time()))

    def _collect(self):
        """The lines for everything after the position."""
        table = self._table
        if self._position < table.base:
            return b""      # too slow: the log has been cut; the stream ends
        lines = []
        for event in table.log[self._position - table.base:]:
            line = event.line(self._selection)
            if line is not None:
                lines.append(line)
        self._position = table.end
        return b"".join(lines)

    def _bookmark(self, annotations):
        res = self._table.resource
        meta = {"resourceVersion": str(self._store.rv), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        obj = {"kind": res.kind, "apiVersion": res.api_version, "metadata": meta}
        return dump({"type": "BOOKMARK", "object": obj}) + b"\n"


async def serve(server, listener, request, table, selection):
    """Answers a watch request.  A version that is too old is an ERROR event, as the real server
    sends it, unless the server is told to answer 410."""
    watch = Watch(server, listener, table, selection, request.query)
    try:
        first = await watch.prepare()
    except errors.ApiError as error:
        if error.code != 410 or server.gone_as_http:
            raise
        line = dump({"type": "ERROR", "object": error.status()}) + b"\n"
        return web.Response(body=line, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "application/json",
                                           "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        await watch.stream(request, response, first)
        if server.abort_watches and request.transport is not None:
            netns.reset(request.transport)
        else:
            await response.write_eof()
    except (ConnectionError, RuntimeError):
        pass        # the client has gone
    return response
