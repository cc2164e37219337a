"""The API server's process: HTTPS in front of api.py, and a control socket beside it.

    server.py --listen [NETNS@]ADDRESS:PORT [--listen ...] --dir DIRECTORY [--state FILE]

DIRECTORY holds ca.crt (signs client certificates), apiserver.crt, apiserver.key and token.key.
Several --listen addresses are several API servers over one store; each can be taken down and frozen
alone.  --control names a unix socket for commands, see control.py.
"""

import argparse
import asyncio
import functools
import gzip
import json
import re
import signal
import ssl
import sys
import time
import traceback
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run as a script: make the package importable, and keep its modules from being top-level.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from fakekube.server import main
    sys.exit(main())

from aiohttp import web     # noqa: E402

from . import auth, bootstrap, control, errors, netns, watch     # noqa: E402
from .api import Api        # noqa: E402
from .resources import (ACCOUNTS, GROUP_VERSIONS, RESOURCES, api_groups,   # noqa: E402
                        api_resources)
from .schema import TOKEN_REQUEST, Decoder     # noqa: E402
from .store import Store, dump      # noqa: E402

VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.4+fakekube", "platform": "linux/amd64"}
_MAX_BODY = 3 << 20
_GZIP_FROM = 128 << 10
_HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
_REVIEW_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATCHES = {"application/merge-patch+json": "merge", "application/json-patch+json": "json",
            "application/strategic-merge-patch+json": "merge"}


class Target:
    """What a path under /api or /apis names."""

    def __init__(self, res, namespace, name, part):
        self.res = res
        self.namespace = namespace
        self.name = name
        self.part = part

    def access(self, verb, query):
        """The right that a request on it needs."""
        name = self.name
        if verb in ("list", "watch") and not name:
            match = re.fullmatch(r"metadata\.name==?([^,=!]+)", query.get("fieldSelector", ""))
            name = match[1] if match else ""
        plural = f"{self.res.plural}/{self.part}" if self.part else self.res.plural
        namespace = self.name if self.res.key == "/namespaces" else self.namespace
        return auth.Access(verb, self.res.group, plural, namespace, name)


def parse_target(path):
    """The Target of a path; None if it is no resource path; 404 for an unknown kind."""
    parts = [p for p in path.split("/") if p]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if (group, version) not in GROUP_VERSIONS:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    res = RESOURCES.get((group, version, rest[0]))
    name = rest[1] if len(rest) > 1 else ""
    part = rest[2] if len(rest) > 2 else ""
    if res is None or len(rest) > 3 or (namespace and not res.namespaced):
        raise errors.unknown_resource()
    if part and not (part == "status" and res.status) and not (
            part == "token" and res == ACCOUNTS):
        raise errors.unknown_resource()
    if res.namespaced and name and not namespace:
        raise errors.unknown_resource()
    return Target(res, namespace, name, part)


class Listener:
    """One API server's address.  `running` is clear while it is frozen."""

    def __init__(self, netns, address, port):
        self.netns = netns
        self.address = address
        self.port = port
        self.running = asyncio.Event()
        self.running.set()
        self.runner = None


class Server:
    """Everything behind the listeners."""

    def __init__(self, options):
        self.directory = Path(options.dir)
        self.store = Store(options.state, options.history)
        self.api = Api(self.store, options.service_cidr or ["10.96.0.0/12"])
        self.tokens = auth.Tokens((self.directory / "token.key").read_bytes(), self.store)
        self.rbac = auth.Rbac(self.store)
        self.bookmark_seconds = options.bookmark_seconds
        self.watch_list = not options.no_watch_list
        self.gone_as_http = options.gone_as_http
        self.watch_round = 0        # a watch ends when this changes
        self.abort_watches = False  # ... by a reset instead of a proper end
        self.rejections = []        # answers to give instead of serving, see control.py
        self.requests = {}          # counts for /metrics
        self.listeners = [Listener(*netns.split_address(a)) for a in options.listen]
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.directory / "apiserver.crt",
                                  self.directory / "apiserver.key")
        self._tls.load_verify_locations(self.directory / "ca.crt")
        self._tls.verify_mode = ssl.CERT_OPTIONAL
        bootstrap.fill(self.store, self.api, [(x.address, x.port) for x in self.listeners])

    async def up(self, listener):
        """Opens one listener."""
        if listener.runner:
            return

        async def handler(request):
            return await self.handle(listener, request)

        runner = web.ServerRunner(web.Server(handler, access_log=None, keepalive_timeout=90))
        await runner.setup()
        await web.SockSite(runner, netns.listen(listener.netns, listener.address, listener.port),
                           ssl_context=self._tls, backlog=1024, shutdown_timeout=0.2).start()
        listener.runner = runner

    async def down(self, listener):
        """Closes one listener and all its connections at once."""
        runner, listener.runner = listener.runner, None
        if runner:
            for connection in runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    def end_watches(self, abort=False):
        """Ends all watches: properly, or by a reset."""
        self.abort_watches = abort
        self.watch_round += 1
        for table in self.store.tables.values():
            table.wake()

    # --- one request ---

    async def handle(self, listener, request):
        """Answers any request."""
        await listener.running.wait()
        verb = request.method
        resource = ""
        try:
            control.reject(self.rejections, request)
            tls = request.transport.get_extra_info("ssl_object") if request.transport else None
            user = auth.authenticate(request.headers.get("Authorization"),
                                     tls.getpeercert() if tls else None, self.tokens)
            target = parse_target(request.path)
            if request.path == _REVIEW_PATH and verb == "POST":
                response = await self._review(request, user)
            elif target is None:
                response = self._other(request, user)
            else:
                resource = target.res.plural
                verb = self._verb(request, target)
                response = await self._serve(listener, request, user, target, verb)
        except errors.ApiError as error:
            response = web.Response(status=error.code, body=dump(error.status()) + b"\n",
                                    content_type="application/json", headers=error.headers)
        except Exception:   # pylint: disable=broad-except
            # A bug of this server: told to the client as one, and to the log.
            traceback.print_exc()
            error = errors.ApiError(500, "InternalError", "Internal error occurred, see the log")
            response = answer(dump(error.status()), 500)
        await listener.running.wait()
        key = (verb.upper(), resource, response.status)
        self.requests[key] = self.requests.get(key, 0) + 1
        return response

    @staticmethod
    def _verb(request, target):
        method = request.method
        if method in ("GET", "HEAD"):
            if target.name:
                return "get"
            return "watch" if watch.is_true(request.query, "watch") else "list"
        if method not in _VERBS or (
                bool(target.name) == (method == "POST" and target.part != "token")):
            raise errors.wrong_method()
        if target.part == "token" and method != "POST":
            raise errors.wrong_method()
        if target.part == "status" and method == "DELETE":
            raise errors.wrong_method()
        return _VERBS[method]

    async def _serve(self, listener, request, user, target, verb):
        access = target.access(verb, request.query)
        if not self.rbac.allows(user, access):
            scope = (f'in the namespace "{target.namespace}"' if target.namespace else
                     "at the cluster scope")
            raise errors.forbidden(target.res, access.name, f'User "{user.name}" cannot {verb} '
                                   f'resource "{access.resource}" in API group '
                                   f'"{target.res.group}" {scope}')
        check_accept(request.headers.get("Accept", "*/*"))
        if verb == "watch":
            selection = self.api.select(target.res, target.namespace, request.query)
            return await watch.serve(self, listener, request, self.store.table(target.res),
                                     selection)
        if verb == "list":
            return await self._list(request, target)
        if verb == "get":
            await self._fresh(request, target.res)
            entry = self.api.get(target.res, target.namespace, target.name)
            return answer(entry.whole, 200)
        return await self._write(request, target, verb)

    async def _fresh(self, request, res):
        rv = watch.parse_version(request.query)
        if rv:
            await watch.wait_fresh(self.store.table(res), self.store, rv)

    async def _list(self, request, target):
        query, res = request.query, target.res
        watch.check_options(query, False, self.watch_list)
        await self._fresh(request, res)
        entries, meta = self.api.list(res, self.api.select(res, target.namespace, query), query)
        body = b'{"kind":"%sList","apiVersion":"%s","metadata":%s,"items":[%s]}\n' % (
            res.kind.encode(), res.api_version.encode(), dump(meta),
            b",".join(e.item for e in entries))
        headers = {}
        if len(body) > _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        return answer(body, 200, headers)

    async def _write(self, request, target, verb):
        res, query = target.res, request.query
        raw = await read_body(request)
        dry = query.get("dryRun") == "All"
        headers = {}
        if verb == "delete":
            return self._delete(target, raw, query, dry)
        if verb == "patch":
            kind = _PATCHES.get(request.content_type)
            if kind is None:
                raise errors.unsupported_media(list(_PATCHES))
            entry, unknown = self.api.patch(res, target.namespace, target.name, kind,
                                            decode_json(raw), target.part, dry)
            check_unknown(unknown, query, headers)
            return answer(entry.whole, 200, headers)
        if request.content_type not in ("application/json", "application/octet-stream"):
            raise errors.unsupported_media(["application/json"])
        body = decode_json(raw)
        if target.part == "token":
            return self._token(target, body)
        obj, unknown = self.api.decode(res, body)
        check_unknown(unknown, query, headers)
        if verb == "create":
            entry = self.api.create(res, target.namespace, obj, dry)
            return answer(entry.whole, 201, headers)
        entry, made = self.api.replace(res, target.namespace, target.name, obj, target.part, dry)
        return answer(entry.whole, 201 if made else 200, headers)

    def _delete(self, target, raw, query, dry):
        options = decode_json(raw) if raw.strip() else {}
        if not isinstance(options, dict):
            raise errors.bad_request("DeleteOptions is an object")
        dry = dry or "All" in (options.get("dryRun") or ())
        entry, gone = self.api.delete(target.res, target.namespace, target.name, options, dry)
        if target.res.returns_object or not gone:
            return answer(entry.whole, 200)
        details = {"name": target.name, "group": target.res.group, "kind": target.res.plural,
                   "uid": entry.obj["metadata"]["uid"]}
        return answer(dump({"kind": "Status", "apiVersion": "v1", "metadata": {},
                            "status": "Success",
                            "details": {k: v for k, v in details.items() if v}}), 200)

    def _token(self, target, body):
        """serviceaccounts/NAME/token: a TokenRequest."""
        if not isinstance(body, dict):
            raise errors.bad_request("the body of the request is no object")
        account = self.api.get(ACCOUNTS, target.namespace, target.name)
        obj = Decoder("TokenRequest", "v1").object(
            {k: v for k, v in body.items() if k not in ("kind", "apiVersion")}, TOKEN_REQUEST)
        seconds = obj["spec"].get("expirationSeconds", 3600)
        if not 600 <= seconds < 1 << 32:
            raise errors.invalid("TokenRequest", "authentication.k8s.io", "", [errors.bad_value(
                "spec.expirationSeconds", seconds,
                "may not specify a duration less than 10 minutes")])
        token, expiry = self.tokens.issue(account, seconds, obj["spec"]["audiences"] or ())
        obj["spec"]["expirationSeconds"] = seconds
        obj["spec"]["audiences"] = obj["spec"]["audiences"] or [auth.AUDIENCE]
        obj["metadata"].update(name=target.name, namespace=target.namespace)
        obj["status"] = {"token": token, "expirationTimestamp": time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(expiry))}
        return answer(dump({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
                            **obj}), 201)

    async def _review(self, request, user):
        """SelfSubjectAccessReview: everybody with a name may ask (system:basic-user)."""
        if user == auth.ANONYMOUS:
            raise errors.forbidden_path(user.name, "post", request.path)
        body = decode_json(await read_body(request))
        asked = body["spec"]["resourceAttributes"]
        part = asked.get("subresource", "")
        access = auth.Access(asked["verb"], asked.get("group", ""), asked["resource"] + (f"/{part}" if part else ""),
                             asked.get("namespace", ""), asked.get("name", ""))
        return answer(dump({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
                            "metadata": {}, "spec": body["spec"],
                            "status": {"allowed": self.rbac.allows(user, access)}}), 201)

    def _other(self, request, user):
        """Paths that are no resources: health, version, discovery, metrics."""
        path = request.path.rstrip("/") or "/"
        access = auth.Access(request.method.lower(), path=request.path)
        if not self.rbac.allows(user, access):
            raise errors.forbidden_path(user.name, access.verb, request.path)
        if path in _HEALTH_PATHS or path.startswith(tuple(p + "/" for p in _HEALTH_PATHS)):
            return web.Response(text="ok")
        if path == "/version":
            return answer(dump(VERSION), 200)
        if path == "/metrics":
            return web.Response(text=self._metrics())
        if path == "/api":
            found = {"kind": "APIVersions", "versions": ["v1"]}
        elif path == "/apis":
            found = api_groups()
        else:
            parts = path.split("/")[1:]
            known = [g for g in api_groups()["groups"] if g["name"] == parts[-1]]
            if parts[0] == "api" and len(parts) == 2:
                found = api_resources("", parts[1])
            elif parts[0] == "apis" and len(parts) == 2 and known:
                found = {"kind": "APIGroup", "apiVersion": "v1", **known[0]}
            else:
                found = None
                if parts[0] == "apis" and len(parts) == 3:
                    found = api_resources(*parts[1:])
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        return answer(dump(found), 200)

    def _metrics(self):
        lines = ["# TYPE apiserver_request_total counter"]
        for (verb, resource, code), count in sorted(self.requests.items()):
            lines.append(f'apiserver_request_total{{code="{code}",resource="{resource}",'
                         f'verb="{control.METRIC_VERBS.get(verb, verb)}"}} {count}')
        return "\n".join(lines) + "\n"


def answer(body, status, headers=None):
    """A JSON answer."""
    return web.Response(body=body, status=status, content_type="application/json",
                        headers={"Cache-Control": "no-cache, private", **(headers or {})})


def check_accept(accept):
    """406 unless plain JSON will do."""
    for choice in accept.split(","):
        kind, *params = [p.strip() for p in choice.split(";")]
        if kind in ("application/json", "application/*", "*/*") and not any(
                p.startswith("as=") for p in params):
            return
    raise errors.ApiError(406, "NotAcceptable", "only the following media types are accepted: "
                          "application/json", {})


async def read_body(request):
    """The body of a request; 413 over 3 MiB."""
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > _MAX_BODY:
            raise errors.ApiError(413, "RequestEntityTooLarge",
                                  f"limit is {_MAX_BODY}: Request entity too large", {})
    return bytes(data)


def decode_json(raw):
    """JSON; 400."""
    try:
        return json.loads(raw)
    except ValueError as error:
        raise errors.bad_request(f"the object provided is unrecognized (must be of type JSON): "
                                 f"{error}") from None


def check_unknown(unknown, query, headers):
    """Unknown fields: an error, a warning header, or nothing, as the client asked."""
    if not unknown:
        return
    mode = query.get("fieldValidation", "Warn")
    texts = [f'unknown field "{name}"' for name in unknown]
    if mode == "Strict":
        raise errors.bad_request("strict decoding error: " + ", ".join(texts))
    if mode == "Warn":
        headers["Warning"] = ", ".join(
            '299 - "' + t.replace('"', '\\"') + '"' for t in texts)


async def run(options):
    """Serves until SIGTERM."""
    server = Server(options)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for listener in server.listeners:
        await server.up(listener)
    controller = None
    if options.control:
        Path(options.control).unlink(missing_ok=True)
        execute = functools.partial(control.execute, server)
        controller = await asyncio.start_unix_server(control.handler(execute), options.control)
    await stop.wait()
    if controller:
        controller.close()
    server.end_watches()
    await asyncio.sleep(0)
    for listener in server.listeners:
        if listener.runner:
            await listener.runner.cleanup()


def parse_options(args):
    """The command line."""
    parser = argparse.ArgumentParser(description="An in-memory Kubernetes API server for tests.")
    parser.add_argument("--listen", action="append", required=True, metavar="[NETNS@]ADDRESS:PORT",
                        help="address of an API server (repeatable)")
    parser.add_argument("--dir", required=True, help="directory of certificates and keys")
    parser.add_argument("--control", help="unix socket for commands")
    parser.add_argument("--state", help="journal that keeps the objects across restarts")
    parser.add_argument("--history", type=int, default=10000,
                        help="events kept per kind for watches (10000)")
    parser.add_argument("--bookmark-seconds", type=float, default=5.0,
                        help="time between bookmarks in s (5)")
    parser.add_argument("--no-watch-list", action="store_true",
                        help="refuse sendInitialEvents, as servers without the feature do")
    parser.add_argument("--gone-as-http", action="store_true",
                        help="answer 410 to a watch that is too old, not an ERROR event")
    parser.add_argument("--service-cidr", action="append",
                        help="range of cluster addresses (10.96.0.0/12); twice for dual stack")
    return parser.parse_args(args)


def main(args=None):
    """The program."""
    options = parse_options(args)
    asyncio.run(run(options))
    return 0
