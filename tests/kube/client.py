# SPDX-License-Identifier: Apache-2.0
"""A small client of the Kubernetes API for tests: JSON in, JSON out, one request per connection.

It talks to the real API servers of cluster.py as well as to an in-memory one, and can reach a
server inside another network namespace without a process of its own there.  It retries nothing:
what the server said is what the test sees.
"""

import ctypes
import http.client
import json
import os
import socket
import ssl
from urllib.parse import quote, urlencode, urlsplit

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(Exception):
    """An answer of the server that is not a success."""

    def __init__(self, method, path, status, body):
        self.status = status
        self.body = body if isinstance(body, dict) else {}
        self.reason = self.body.get("reason", "")
        self.message = self.body.get("message", body if isinstance(body, str) else "")
        super().__init__(f"{method} {path}: {status} {self.reason}: {self.message}")


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def connect_in_netns(netns, address, timeout):
    """A TCP connection to (host, port) made inside a named namespace (None: this one).

    A socket belongs for life to the namespace its thread was in when it was made, so only the
    calling thread moves, and only for the length of the connect.
    """
    if netns is None:
        return socket.create_connection(address, timeout)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            return socket.create_connection(address, timeout)
        finally:
            _setns(home)
    finally:
        os.close(home)


class Client:
    """Requests to one API server.

    Paths are those of the API, e.g. "/api/v1/namespaces/default/services/web/status".  Methods
    return the decoded object and raise ApiError for any status but 2xx, OSError (TimeoutError
    among them) when there is no answer.
    """

    def __init__(self, url, ca_file=None, cert_file=None, key_file=None, token=None, netns=None,
                 timeout=10):
        self.url = url
        self.netns = netns
        self.timeout = timeout
        self._token = token
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        self._tls = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=ca_file)
            if cert_file:
                self._tls.load_cert_chain(cert_file, key_file)

    def _connection(self, timeout):
        connection = http.client.HTTPConnection(*self._address, timeout=timeout)
        sock = connect_in_netns(self.netns, self._address, timeout)
        # Head and body go out in two pieces: the second must not wait for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            try:
                sock = self._tls.wrap_socket(sock, server_hostname=self._address[0])
            except BaseException:
                sock.close()
                raise
        connection.sock = sock
        return connection

    def _send(self, method, path, body, content_type, query, timeout):
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = body if isinstance(body, (bytes, str)) else json.dumps(body)
            headers["Content-Type"] = content_type
        target = quote(path, safe="/:?=&%,") + (f"?{urlencode(query)}" if query else "")
        connection = self._connection(timeout)
        try:
            connection.request(method, target, data, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    @staticmethod
    def _decode(response):
        text = response.read().decode()
        try:
            return json.loads(text)
        except ValueError:
            return text

    def request(self, method, path, body=None, content_type="application/json", query=None):
        """Any request; the answer's body, decoded if it is JSON."""
        try:
            connection, response = self._send(method, path, body, content_type, query,
                                              self.timeout)
            try:
                answer = self._decode(response)
            finally:
                connection.close()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: broken answer: {error!r}") from error
        if response.status // 100 != 2:
            raise ApiError(method, path, response.status, answer)
        return answer

    def get(self, path, **query):
        return self.request("GET", path, query=query)

    def list(self, path, **query):
        """The items of a list."""
        return self.request("GET", path, query=query)["items"]

    def create(self, path, body, **query):
        return self.request("POST", path, body, query=query)

    def replace(self, path, body, **query):
        return self.request("PUT", path, body, query=query)

    def patch(self, path, body, kind="merge", **query):
        return self.request("PATCH", path, body, PATCH_TYPES[kind], query)

    def delete(self, path, body=None, **query):
        return self.request("DELETE", path, body, query=query)

    def exists(self, path):
        """False if the server says 404."""
        try:
            self.get(path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def watch(self, path, seconds, **query):
        """Yields the events of a watch until the server or the time ends it.

        With sendInitialEvents="true", resourceVersionMatch="NotOlderThan" and
        allowWatchBookmarks="true" this is a watch-list.
        """
        query = {"watch": "true", "timeoutSeconds": str(int(seconds)), **query}
        connection, response = self._send("GET", path, None, None, query, seconds + 5)
        try:
            if response.status != 200:
                raise ApiError("WATCH", path, response.status, self._decode(response))
            # The end of the body is the end of the watch; the server ends it after timeoutSeconds.
            while line := response.readline():
                yield json.loads(line)
        except http.client.HTTPException as error:
            raise OSError(f"WATCH {path}: broken answer: {error!r}") from error
        finally:
            connection.close()
