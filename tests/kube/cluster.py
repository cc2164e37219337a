# SPDX-License-Identifier: Apache-2.0
"""A real control plane for tests: etcd, one to three API servers and, if wanted, the controllers.

Each API server runs in a network namespace and on an address that the caller made; etcd listens on
unix sockets, so that no partition of the test's network touches it.  Nodes are nodes.py; an
in-memory API server with the same interface as ControlPlane is tests/fakekube.

    plane = ControlPlane("api", "192.0.2.100", tmp_path)
    plane.start()
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": "demo"}})
    kubeconfig = plane.kubeconfig_for_serviceaccount("kube-system", "leasehold")
    plane.freeze(); plane.thaw(); plane.kill(); plane.restart()
    plane.stop()

The programs are built by build.sh; `python3 tests/kube` starts a control plane from the shell.
"""

import base64
import shutil
import subprocess
from pathlib import Path

from .client import ApiError, Client
from .pki import Authority
from .process import Process, in_netns, run, wait_until

HERE = Path(__file__).resolve().parent
PORT = 6443
# Relative to the working directory of the processes: a whole path may exceed a socket's 107 bytes.
ETCD_SOCKET = "etcd.sock"
# RFC 2544 addresses for IPv4; those of pods are in nodes.py.
SERVICE_RANGES = ("198.19.0.0/20", "2001:db8:19::/112")
# What a cluster without nodes needs for namespaces, ServiceAccounts and EndpointSlices to live.
API_CONTROLLERS = (
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
)
ALL_CONTROLLERS = ("*",)
# A ready API server takes 3 s; a busy machine several times that.
READY_SECONDS = 90


class NotBuilt(Exception):
    """build.sh has not run for this version."""


def server_url(address, port=PORT):
    """Where an API server at that address answers."""
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"


def certificate_user(pair):
    """A kubeconfig's user with a client certificate: (certificate, key)."""
    return {"client-certificate-data": base64.b64encode(pair[0].read_bytes()).decode(),
            "client-key-data": base64.b64encode(pair[1].read_bytes()).decode()}


def kube_directory():
    """The directory with the programs; NotBuilt if build.sh has not made it."""
    done = subprocess.run([HERE / "build.sh", "--path"], stdout=subprocess.PIPE, text=True,
                          check=False, timeout=30)
    path = done.stdout.strip()
    if done.returncode != 0 or not path:
        raise NotBuilt(f"{path or 'Kubernetes'} is not built: run tests/kube/build.sh")
    return Path(path)


class ApiServer:
    """One API server: the process, and where it answers."""

    def __init__(self, process, url, netns, client):
        self.process = process
        self.url = url
        self.netns = netns
        self.client = client

    def launch(self):
        """Starts it without waiting."""
        self.process.start()

    def start(self):
        self.launch()
        self.wait_ready()

    def stop(self, seconds=5):
        """Ends it the way an upgrade does: it leaves the endpoints of default/kubernetes first.

        It closes its port, then waits for open watches, up to a minute; SIGKILL after seconds.
        """
        self.process.stop(seconds)

    def kill(self):
        self.process.kill()

    def restart(self):
        if self.process.alive():
            self.stop()
        self.start()

    def freeze(self):
        self.process.freeze()

    def thaw(self):
        self.process.thaw()

    def serving(self):
        return self.process.alive() and not self.process.frozen()

    def wait_ready(self, seconds=READY_SECONDS):
        def ready():
            if not self.process.alive():
                return True
            return self.client.get("/readyz") == "ok"

        wait_until(ready, seconds, f"{self.url}/readyz")
        self.process.require_alive()


class ControlPlane:
    """etcd, API servers, optionally kube-controller-manager and kube-scheduler.

    netns and address: where the API server answers; with several servers a list of addresses, and
    one namespace for all or a list of them.  controllers: the names of the controllers to run
    (API_CONTROLLERS, ALL_CONTROLLERS; none: no kube-controller-manager).  Without controllers no
    ServiceAccount comes into being by itself, and Pods can be created as plain objects.
    server_flags, manager_flags: further flags of kube-apiserver and kube-controller-manager.
    names: what the servers' certificate names besides their addresses, e.g. a VIP.
    """

    def __init__(self, netns, address, workdir, servers=1, controllers=(), scheduler=False,
                 server_flags=(), manager_flags=(), names=()):
        addresses = [address] if isinstance(address, str) else list(address)
        namespaces = [netns] * len(addresses) if isinstance(netns, str) else list(netns)
        if servers not in (1, len(addresses)):
            raise ValueError(f"{servers} API servers need {servers} addresses")
        if len(namespaces) != len(addresses):
            raise ValueError("one network namespace for all, or one for each address")
        self.workdir = Path(workdir).resolve()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.bin = kube_directory()
        self._places = list(zip(namespaces, addresses))
        self._controllers = tuple(controllers)
        self._server_flags = tuple(server_flags)
        self._make_pki(addresses, names)
        self.etcd = self._etcd()
        self.servers = [self._api_server(index) for index in range(len(addresses))]
        self.managers = []
        if controllers:
            self.managers.append(self._controller_manager())
            self.managers[0].command += manager_flags
        if scheduler:
            self.managers.append(self._scheduler())

    # --- what is where --------------------------------------------------------------------------

    @property
    def urls(self):
        return [server.url for server in self.servers]

    @property
    def url(self):
        return self.urls[0]

    @property
    def api(self):
        """A client with all rights, to the first server that is running."""
        for server in self.servers:
            if server.serving():
                return server.client
        return self.servers[0].client

    # --- life -----------------------------------------------------------------------------------

    def start(self):
        """Starts everything and returns when the API can be used."""
        try:
            (self.workdir / ETCD_SOCKET).unlink(missing_ok=True)
            self.etcd.start()
            wait_until(lambda: (self.workdir / ETCD_SOCKET).exists() or not self.etcd.alive(), 30,
                       "etcd's socket")
            self.etcd.require_alive()
            for server in self.servers:
                server.launch()
            for server in self.servers:
                server.wait_ready()
            # /readyz does not wait for the namespaces, which the servers make themselves.
            for name in ("default", "kube-system"):
                wait_until(lambda n=name: self.api.exists(f"/api/v1/namespaces/{n}"), 30,
                           f"namespace {name}")
            for manager in self.managers:
                manager.start()
            if self._controllers:
                wait_until(lambda: self.api.exists(
                    "/api/v1/namespaces/default/serviceaccounts/default"), 60,
                    "the controllers' first ServiceAccount")
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends everything.  The data is thrown away, so nothing is asked to end gently."""
        for process in [*self.managers, *(server.process for server in self.servers), self.etcd]:
            process.kill()
        shutil.rmtree(self.workdir / "etcd-data", ignore_errors=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def _chosen(self, server):
        return self.servers if server is None else [self.servers[server]]

    def kill(self, server=None):
        """SIGKILL to one API server, or to all; etcd goes on."""
        for chosen in self._chosen(server):
            chosen.kill()

    def restart(self, server=None):
        """Starts one API server, or all, anew with the same data, and waits until it is ready."""
        chosen = self._chosen(server)
        for one in chosen:
            if one.process.alive():
                one.stop()
            one.launch()
        for one in chosen:
            one.wait_ready()

    def freeze(self, server=None):
        """SIGSTOP: connections stay open and nothing answers."""
        for chosen in self._chosen(server):
            chosen.freeze()

    def thaw(self, server=None):
        for chosen in self._chosen(server):
            chosen.thaw()

    # --- credentials ----------------------------------------------------------------------------

    def _make_pki(self, addresses, names):
        self._authority = Authority(self.workdir / "pki")
        self.ca_file = self._authority.ca_file
        first_cluster_ips = ["198.19.0.1", "2001:db8:19::1"]
        self._serving = self._authority.issue("apiserver", "kube-apiserver", names=[
            *addresses, *names, *first_cluster_ips, "localhost", "kubernetes", "kubernetes.default",
            "kubernetes.default.svc"])
        self._kubelet_client = self._authority.issue("kubelet-client", "kubelet-client",
                                                     "system:masters")
        self._admin = self._authority.issue("admin", "admin", "system:masters")
        self._token_key = self._authority.signing_key("tokens")
        self.admin_kubeconfig = self._kubeconfig("admin", addresses[0], self._admin)

    def _kubeconfig(self, name, address, pair):
        return self.write_kubeconfig(name, server_url(address), certificate_user(pair))

    def write_kubeconfig(self, name, url, user):
        """A kubeconfig file with the given fields of a user; returns its path."""
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        path = self.workdir / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        lines = ["apiVersion: v1", "kind: Config", "clusters:", "- name: test", "  cluster:",
                 f"    server: {url}", f"    certificate-authority-data: {authority}",
                 "users:", f"- name: {name}", "  user:",
                 *(f"    {key}: {value}" for key, value in user.items()),
                 "contexts:", "- name: test", "  context:", "    cluster: test",
                 f"    user: {name}", "current-context: test"]
        path.write_text("\n".join(lines) + "\n")
        return path

    def kubeconfig_for_certificate(self, name, common_name, organization=None, server=0):
        """A kubeconfig with a client certificate for that user and group; returns its path."""
        pair = self._authority.issue(name, common_name, organization)
        return self._kubeconfig(name, self._places[server][1], pair)

    def token_for_serviceaccount(self, namespace, name, seconds=24 * 3600):
        """A token by TokenRequest; the ServiceAccount is created if there is none."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        try:
            self.api.create(path, {"metadata": {"name": name}})
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        answer = self.api.create(f"{path}/{name}/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds}})
        return answer["status"]["token"]

    def admin_kubeconfig_at(self, address, port=PORT):
        """A kubeconfig with all rights that goes to another address, e.g. a VIP; returns its path."""
        return self.write_kubeconfig(f"admin-{address.replace(':', '-')}", server_url(address, port),
                                     certificate_user(self._admin))

    def kubeconfig_for_serviceaccount(self, namespace, name, server=0, token_file=False):
        """A kubeconfig with a token of that ServiceAccount; returns its path.

        token_file: the token goes to a file of its own, FILE.token, which the kubeconfig names.
        """
        token = self.token_for_serviceaccount(namespace, name)
        full_name = f"{namespace}-{name}-{server}"
        user = {"token": token}
        if token_file:
            path = self.workdir / f"{full_name}.token"
            path.touch(mode=0o600)
            path.write_text(token)
            user = {"tokenFile": path}
        return self.write_kubeconfig(full_name, self.urls[server], user)

    def client(self, token=None, server=0):
        """A client with a token's rights (none: with no credentials at all)."""
        return Client(self.urls[server], self.ca_file, token=token,
                      netns=self.servers[server].netns)

    def admin_client_at(self, address, netns, port=PORT, timeout=10):
        """A client with all rights, in a namespace, that goes to another address, e.g. a VIP."""
        return Client(server_url(address, port), self.ca_file, *self._admin, netns=netns,
                      timeout=timeout)

    # --- tools ----------------------------------------------------------------------------------

    def kubectl(self, *arguments, timeout=60, netns=None, kubeconfig=None):
        """Runs kubectl with all rights in the first server's namespace; its output."""
        return run(in_netns(netns or self._places[0][0], [
            self.bin / "kubectl", f"--kubeconfig={kubeconfig or self.admin_kubeconfig}",
            f"--cache-dir={self.workdir}/kubectl-cache", *arguments]), timeout=timeout)

    def helm(self, *arguments, timeout=180):
        """Runs helm with all rights in the first server's namespace; its output."""
        home = self.workdir / "helm"
        return run(["env", f"HELM_CACHE_HOME={home}", f"HELM_CONFIG_HOME={home}",
                    f"HELM_DATA_HOME={home}", *in_netns(self._places[0][0], [
                        self.bin / "helm", f"--kubeconfig={self.admin_kubeconfig}",
                        *arguments])], timeout=timeout)

    # --- processes ------------------------------------------------------------------------------

    def _program(self, name, instance, flags, netns=None):
        command = [self.bin / name, *(f"--{key}={value}" for key, value in flags.items())]
        return Process(instance, command, self.workdir, netns)

    def _etcd(self):
        # What is advertised may not be a path; nobody dials it, for there is no other member.
        peer = "http://localhost:2380"
        return self._program("etcd", "etcd", {
            "name": "test",
            "data-dir": self.workdir / "etcd-data",
            "listen-client-urls": f"unix://{ETCD_SOCKET}",
            "advertise-client-urls": "http://localhost:2379",
            "listen-peer-urls": "unix://etcd-peer.sock",
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"test={peer}",
            # The data need not outlive the machine, and other tests use the disk.
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        })

    def _api_server(self, index):
        netns, address = self._places[index]
        flags = {
            "etcd-servers": f"unix://{ETCD_SOCKET}",
            "bind-address": address,
            # Without a default route it cannot guess which address to publish.
            "advertise-address": address,
            "secure-port": PORT,
            "tls-cert-file": self._serving[0],
            "tls-private-key-file": self._serving[1],
            "client-ca-file": self.ca_file,
            "kubelet-client-certificate": self._kubelet_client[0],
            "kubelet-client-key": self._kubelet_client[1],
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._token_key[1],
            "service-account-signing-key-file": self._token_key[0],
            "service-cluster-ip-range": ",".join(SERVICE_RANGES),
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "profiling": "false",
        }
        if not self._controllers:
            # It refuses Pods of ServiceAccounts that only a controller would create.
            flags["disable-admission-plugins"] = "ServiceAccount"
        process = self._program("kube-apiserver", f"apiserver-{index}", flags, netns)
        process.command += self._server_flags
        url = server_url(address)
        return ApiServer(process, url, netns,
                         Client(url, self.ca_file, *self._admin, netns=netns))

    def _controller_manager(self):
        netns, address = self._places[0]
        return self._program("kube-controller-manager", "controller-manager", {
            "kubeconfig": self.kubeconfig_for_certificate(
                "controller-manager", "system:kube-controller-manager"),
            "controllers": ",".join(self._controllers),
            "service-account-private-key-file": self._token_key[0],
            "root-ca-file": self.ca_file,
            "use-service-account-credentials": "true",
            "leader-elect": "false",
            "bind-address": address,
            "cert-dir": self.workdir / "controller-manager",
            "profiling": "false",
        }, netns)

    def _scheduler(self):
        netns, address = self._places[0]
        return self._program("kube-scheduler", "scheduler", {
            "kubeconfig": self.kubeconfig_for_certificate("scheduler", "system:kube-scheduler"),
            "leader-elect": "false",
            "bind-address": address,
            "cert-dir": self.workdir / "scheduler",
            "authentication-skip-lookup": "true",
            "profiling": "false",
        }, netns)
