"""Commands to a running server, one JSON object per line over a unix socket; each is answered by
one line, {"ok": true, ...} or {"error": "..."}.

    {"do": "reject", "code": 429, "count": 3, "verb": "PUT", "path": "regex", "retryAfter": 1}
                                answer matching requests with an error (count null: for ever)
    {"do": "serve"}             forget all rejections
    {"do": "compact"}           forget the history: watches from an earlier version get 410
    {"do": "endWatches", "abort": false}
    {"do": "set", "bookmarkSeconds": 1.0, "watchList": true, "goneAsHttp": false}
    {"do": "server", "index": 0, "state": "up" | "down" | "frozen"}
    {"do": "stats"}             counts of answered requests: [[verb, resource, code, count], ...]
"""

import json
import re
import socket

from .errors import ApiError, throttled

METRIC_VERBS = {"CREATE": "POST", "UPDATE": "PUT"}
_REASONS = {500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout", 403: "Forbidden",
            401: "Unauthorized", 409: "Conflict", 410: "Expired", 404: "NotFound"}


def reject(rejections, request):
    """Raises the answer that a rejection demands for this request, if any."""
    for rule in rejections:
        if rule["verb"] not in (None, request.method):
            continue
        if not re.search(rule["path"], request.path_qs):
            continue
        if rule["count"] is not None:
            rule["count"] -= 1
            if rule["count"] <= 0:
                rejections.remove(rule)
        if rule["code"] == 429:
            raise throttled(rule["retryAfter"])
        raise ApiError(rule["code"], _REASONS.get(rule["code"], "Unknown"),
                       f"answered {rule['code']} as told", {})


async def execute(server, command):
    """Does one command; returns what its answer holds."""
    what = command["do"]
    result = {}
    if what == "reject":
        re.compile(command.get("path", ""))
        server.rejections.append({
            "code": int(command["code"]), "count": command.get("count"),
            "verb": command.get("verb"), "path": command.get("path", ""),
            "retryAfter": int(command.get("retryAfter", 1))})
    elif what == "serve":
        server.rejections.clear()
    elif what == "compact":
        server.store.compact()
        server.api.forget_pages()
    elif what == "endWatches":
        server.end_watches(bool(command.get("abort")))
    elif what == "set":
        server.bookmark_seconds = float(command.get("bookmarkSeconds", server.bookmark_seconds))
        server.watch_list = bool(command.get("watchList", server.watch_list))
        server.gone_as_http = bool(command.get("goneAsHttp", server.gone_as_http))
        for table in server.store.tables.values():
            table.wake()
    elif what == "server":
        await _set_state(server, server.listeners[command["index"]], command["state"])
    elif what == "stats":
        result["requests"] = [[*k, n] for k, n in sorted(server.requests.items())]
        result["resourceVersion"] = server.store.rv
    else:
        raise ValueError(f"unknown command: {what}")
    return result


async def _set_state(server, listener, state):
    if state == "up":
        await server.up(listener)
        listener.running.set()
    elif state == "down":
        listener.running.set()
        await server.down(listener)
    elif state == "frozen":
        listener.running.clear()
    else:
        raise ValueError(f"unknown state: {state}")


def handler(execute_one):
    """The connection handler of a control socket; execute_one does one command."""
    async def serve(reader, writer):
        try:
            while line := await reader.readline():
                try:
                    result = {"ok": True, **await execute_one(json.loads(line))}
                except (ValueError, KeyError, IndexError, TypeError, OSError, re.error) as error:
                    result = {"error": f"{type(error).__name__}: {error}"}
                writer.write(json.dumps(result).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
    return serve


def send(socket_path, what, /, **arguments):
    """The client's side: one command, its answer.  RuntimeError if it was refused."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(socket_path))
        sock.sendall(json.dumps({"do": what, **arguments}).encode() + b"\n")
        with sock.makefile("rb") as file:
            answer = json.loads(file.readline())
    if "error" in answer:
        raise RuntimeError(f"{what}: {answer['error']}")
    return answer
