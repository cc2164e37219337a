"""FaultProxy: a TLS-terminating proxy in front of an API server, real or in-memory, that does to
its traffic what a bad network or a bad server would.

    proxy = FaultProxy("node1", "192.0.2.101:6444", plane, tmp_path)
    proxy.start()
    proxy.rule("drop_reply", verb="PUT", path="/leases/", count=1)
    kubeconfig = proxy.kubeconfig_for_serviceaccount("kube-system", "leasehold")
    proxy.clear()
    proxy.stop()

A rule hits requests by verb (a method, or WATCH), path (a regular expression, searched in path and
query), skip (let so many through first), count (hit so many at most) and probability.  All delays
that match add up; of the other rules the first that matches acts.  Actions:

    delay         wait ms before passing the request on
    drop_request  never pass it on; then= close, reset or hang
    drop_reply    carry it out, and keep the answer; then= close, reset or hang
    answer        answer code= (with retry_after= s) instead; forward=True: carry it out first
    tear          cut the answer of a watch after events= whole events, inside the next one:
                  at= middle, utf8 (inside a character, where the event has one) or end (between
                  events); then= close, reset or hang (hang: a watch that falls silent)
    drip          pass the answer on in pieces of size= bytes, ms= apart

Modes of the whole proxy: pass; black_hole (connections are accepted, nothing is said, old ones fall
silent; when it ends, what was on its way arrives late); refuse (connections refused, old ones
reset).

Tokens are passed on.  A client with a certificate of its own is shown upstream as the admin of the
cluster: the proxy has no other key.
"""

import base64
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from kube.client import Client
from kube.process import Process, wait_until

from .control import send
from .netns import split_address

HERE = Path(__file__).resolve().parent
READY_SECONDS = 30


class FaultProxy:
    """One proxy, listening in a namespace ("" or None: that of the caller).

    listen: ADDRESS:PORT.  upstream: a ControlPlane or FakeControlPlane, of which server= is meant.
    """

    def __init__(self, netns, listen, upstream, workdir, server=0, seed=1):
        _, address, port = split_address(listen)
        host = f"[{address}]" if ":" in address else address
        self.netns = netns or None
        self.url = f"https://{host}:{port}"
        self.workdir = Path(workdir).resolve()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._plane = upstream
        self.ca_file = upstream.ca_file
        self._name = f"proxy-{address.replace(':', '-')}-{port}"
        # pylint: disable=protected-access
        self._admin = upstream._admin
        upstream._authority.issue(self._name, "fault-proxy", names=[address, "kubernetes"])
        self._socket_dir = Path(tempfile.mkdtemp(prefix="leasehold-proxy-"))
        target = upstream.servers[server]
        place = urlsplit(target.url).netloc
        self.process = Process(self._name, [
            "/usr/bin/python3", HERE / "proxy.py",
            "--listen", f"{netns}@{host}:{port}" if netns else f"{host}:{port}",
            "--upstream", f"{target.netns}@{place}" if target.netns else place,
            "--dir", Path(self.ca_file).parent, "--certificate", self._name,
            "--control", self._socket_dir / "control", "--seed", seed,
            "--record", self.workdir / f"{self._name}.requests"], self.workdir)

    def start(self):
        """Starts it and returns when it can be told something."""
        self.process.start()
        try:
            wait_until(lambda: not self.process.alive() or self.log() is not None, READY_SECONDS,
                       f"the control socket of {self._name}")
            self.process.require_alive()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends it at once."""
        self.process.kill()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def _command(self, what, **arguments):
        return send(self._socket_dir / "control", what, **arguments)

    def rule(self, action, **matching):
        """Adds a rule; returns its number."""
        return self._command("rule", action=action, **matching)["number"]

    def clear(self, number=None):
        """Takes away one rule, or all."""
        self._command("clear", number=number)

    def mode(self, mode):
        """Sets the mode of the whole proxy."""
        self._command("mode", mode=mode)

    def cut(self):
        """Resets all present connections."""
        self._command("cut")

    def log(self):
        """The requests so far: dicts of time (CLOCK_MONOTONIC, s), verb, path, code, fault."""
        return self._command("log")["requests"]

    # --- for clients ---

    @property
    def api(self):
        """A client with all rights, through the proxy."""
        return Client(self.url, self.ca_file, *self._admin, netns=self.netns)

    def client(self, token=None, **options):
        """A client with a token's rights, through the proxy."""
        return Client(self.url, self.ca_file, token=token, netns=self.netns, **options)

    def kubeconfig_for_serviceaccount(self, namespace, name):
        """A kubeconfig with a token of that ServiceAccount and the proxy's URL; its path."""
        token = self._plane.token_for_serviceaccount(namespace, name)
        return self._plane.write_kubeconfig(f"{self._name}-{namespace}-{name}", self.url,
                                            {"token": token})

    @property
    def admin_kubeconfig(self):
        """A kubeconfig with the admin's certificate and the proxy's URL; its path."""
        return self._plane.write_kubeconfig(f"{self._name}-admin", self.url, {
            field: base64.b64encode(Path(file).read_bytes()).decode() for field, file in zip(
                ("client-certificate-data", "client-key-data"), self._admin)})
