"""FakeControlPlane: the in-memory API server with the interface of kube.cluster.ControlPlane.

    plane = FakeControlPlane("api", "192.0.2.100", tmp_path)
    plane.start()
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": "demo"}})
    plane.kill(); plane.restart(); plane.freeze(); plane.thaw()
    plane.stop()

One process serves, whatever the number of API servers: each of those is a listening socket, made
inside its network namespace, over the same store.  With one server, kill() and freeze() are signals
to the process, as with the real one.  With several, kill(1) closes that server's sockets, and
freeze(1) leaves its connections open and unanswered (new ones still get through the TLS handshake,
unlike with a stopped process); kill() and freeze() without a number concern the process.  The
objects outlive kill() and restart(), not stop().
"""

import secrets
import shutil
import tempfile
from pathlib import Path

from kube.client import Client
from kube.cluster import PORT, ControlPlane, kube_directory
from kube.process import Process, wait_until

from .control import send

HERE = Path(__file__).resolve().parent
# RFC 2544 addresses, apart from those of pods; wide enough for thousands of Services.
SERVICE_RANGES = ("198.19.0.0/16", "2001:db8:19::/112")
READY_SECONDS = 30


class FakeServer:
    """One API server of a FakeControlPlane."""

    def __init__(self, plane, index, url, netns, client):
        self._plane = plane
        self._index = index
        self.url = url
        self.netns = netns
        self.client = client
        self.state = "up"

    @property
    def process(self):
        """The process, which all servers of the plane share."""
        return self._plane.process

    def _set(self, state):
        self.state = state
        self._plane.control("server", index=self._index, state=state)

    def launch(self):
        """Starts it without waiting."""
        if self._plane.process.alive():
            self._set("up")
        else:
            self.state = "up"
            self._plane.launch()

    def start(self):
        """Starts it and returns when it answers."""
        self.launch()
        self.wait_ready()

    def stop(self):
        """Ends it in order."""
        if self._plane.single:
            self._plane.process.stop()
        else:
            self._set("down")

    def kill(self):
        """Ends it at once."""
        if self._plane.single:
            self._plane.process.kill()
        else:
            self._set("down")

    def restart(self):
        """Ends and starts it."""
        if self.serving():
            self.stop()
        self.start()

    def freeze(self):
        """Connections stay open and nothing answers."""
        if self._plane.single:
            self._plane.process.freeze()
        else:
            self._set("frozen")

    def thaw(self):
        """Ends a freeze."""
        if self._plane.single:
            self._plane.process.thaw()
        else:
            self._set("up")

    def serving(self):
        """Whether it is up and not frozen."""
        process = self._plane.process
        return process.alive() and not process.frozen() and self.state == "up"

    def wait_ready(self, seconds=READY_SECONDS):
        """Returns when it answers; RuntimeError if the process has ended."""
        def ready():
            return not self.process.alive() or self.client.get("/readyz") == "ok"

        wait_until(ready, seconds, f"{self.url}/readyz")
        self.process.require_alive()


class FakeControlPlane(ControlPlane):
    """API servers over one in-memory store.

    netns and address: as for ControlPlane ("" or None: the namespace of the caller).  flags: more
    of the options of server.py.
    """

    def __init__(self, netns, address, workdir, servers=1, flags=()):
        # Not ControlPlane.__init__: nothing of the real programs is needed.
        # pylint: disable=super-init-not-called
        addresses = [address] if isinstance(address, str) else list(address)
        many = isinstance(netns, (list, tuple))
        namespaces = list(netns) if many else [netns] * len(addresses)
        if servers not in (1, len(addresses)) or len(namespaces) != len(addresses):
            raise ValueError("an address for each server, and one namespace for all or for each")
        self.workdir = Path(workdir).resolve()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._places = [(name or None, where) for name, where in zip(namespaces, addresses)]
        self._socket_dir = Path(tempfile.mkdtemp(prefix="leasehold-fakekube-"))
        self._make_pki(addresses, ())
        key = self.workdir / "pki" / "token.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(32))
        self._state_file = self.workdir / "state.journal"
        self._state_file.unlink(missing_ok=True)
        command = ["/usr/bin/python3", HERE / "server.py", "--dir", self.workdir / "pki",
                   "--state", self._state_file, "--control", self._socket_dir / "control"]
        for name, where in self._places:
            host = f"[{where}]" if ":" in where else where
            command += ["--listen", f"{name}@{host}:{PORT}" if name else f"{host}:{PORT}"]
        for cidr in SERVICE_RANGES:
            command += ["--service-cidr", cidr]
        self.process = Process("fakekube", [*command, *flags], self.workdir)
        self.servers = [self._server(index) for index in range(len(addresses))]

    def _server(self, index):
        netns, address = self._places[index]
        host = f"[{address}]" if ":" in address else address
        url = f"https://{host}:{PORT}"
        return FakeServer(self, index, url, netns,
                          Client(url, self.ca_file, *self._admin, netns=netns))

    @property
    def bin(self):
        """The directory of kubectl and helm; NotBuilt unless the real Kubernetes was built."""
        return kube_directory()

    @property
    def single(self):
        """Whether there is one server only."""
        return len(self.servers) == 1

    def launch(self):
        """Starts the process without waiting for its servers."""
        self.process.start()
        wait_until(lambda: not self.process.alive() or self.control("stats"), READY_SECONDS,
                   "the control socket")
        self.process.require_alive()
        for server in self.servers:
            if server.state != "up":
                server._set(server.state)   # pylint: disable=protected-access

    def start(self):
        """Starts the servers and returns when they answer."""
        try:
            self.launch()
            for server in self.servers:
                server.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends everything and throws the objects away."""
        self.process.kill()
        self._state_file.unlink(missing_ok=True)
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def kill(self, server=None):
        """SIGKILL: of the process, or the like of it for one server."""
        if server is None:
            self.process.kill()
        else:
            self.servers[server].kill()

    def restart(self, server=None):
        """Starts one server, or the process, anew with the same objects; returns when ready."""
        if server is not None:
            self.servers[server].restart()
            return
        if self.process.alive():
            self.process.stop()
        for one in self.servers:
            one.state = "up"
        self.launch()
        for one in self.servers:
            one.wait_ready()

    def freeze(self, server=None):
        """Connections stay open and nothing answers."""
        if server is None:
            self.process.freeze()
        else:
            self.servers[server].freeze()

    def thaw(self, server=None):
        """Ends a freeze."""
        if server is None:
            self.process.thaw()
        else:
            self.servers[server].thaw()

    def control(self, what, **arguments):
        """A command to the server, see control.py; the answer."""
        return send(self._socket_dir / "control", what, **arguments)
