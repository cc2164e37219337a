# SPDX-License-Identifier: Apache-2.0
"""The VIP of the control plane: three real API servers over one etcd, each on the node of an agent.  Clients outside, on the
holder and on the other nodes reach all of them through the VIP, those that died get no more connections, and the
VIP outlives its holder."""

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading

import pytest

from kube.client import ApiError, connect_in_netns
from kube.cluster import PORT, ControlPlane, NotBuilt
from netns.lab import Lab, mono_ns, wait_for

from e2e.agents import BINARY, LEASES, PATIENCE_S, Cluster, have_agent, install_rbac

pytestmark = pytest.mark.kube

# Neither in a pool nor anybody's.
VIPS = {"v4": "192.0.2.240", "v6": "2001:db8::f0"}
# Another than the servers', so that whoever is reached by it came through the VIP's own rules.
VIP_PORT = 7443
OUT_WITHIN_S = 3
SERVICES_FIRST = {"v4": (), "v6": ("--service-cluster-ip-range=2001:db8:19::/112,198.19.0.0/16",)}


class Servers:
    """The three API servers with their nodes, and ways to ask through the VIP."""

    def __init__(self, lab, plane, family):
        self.lab, self.plane, self.vip = lab, plane, VIPS[family]
        self.addresses = [node.ip4 if family == "v4" else node.ip6 for node in lab.nodes]
        self.names = [f"[{a}]:{PORT}" if ":" in a else f"{a}:{PORT}" for a in self.addresses]

    def of(self, node):
        """The number of the server on a node."""
        return self.lab.nodes.index(node)

    def ask(self, host, timeout_s=5):
        """The server that a new connection from the host to the VIP reaches, as it names itself."""
        client = self.plane.admin_client_at(self.vip, host.netns, VIP_PORT, timeout_s)
        return client.get("/api")["serverAddressByClientCIDRs"][0]["serverAddress"]

    def try_ask(self, host, timeout_s=1):
        with contextlib.suppress(OSError, ApiError, ValueError, http.client.HTTPException):
            return self.ask(host, timeout_s)
        return None

    def wait_reached(self, host, numbers, rounds=40):
        """Wait until that many new connections in a row all succeed, and reach exactly those servers."""
        want = {self.names[i] for i in numbers}
        seen = {}

        def round_of_connections():
            seen["last"] = [self.try_ask(host) for _ in range(rounds)]
            return set(seen["last"]) == want
        wait_for(round_of_connections, PATIENCE_S, 0.1,
                 lambda: f"exactly {sorted(want)} from {host.name} at {self.vip}; last {seen}")


@pytest.fixture(scope="module", params=["v4", "v6"])
def servers(request, tmp_path_factory):
    """The laboratory with three API servers in it."""
    if not have_agent():
        pytest.skip(f"no agent at {BINARY}: run make, or set LEASEHOLD_BIN")
    with Lab() as lab:
        made = Servers(lab, None, request.param)
        try:
            made.plane = ControlPlane([node.netns for node in lab.nodes], made.addresses,
                                      tmp_path_factory.mktemp("plane"), servers=3, names=[made.vip],
                                      server_flags=SERVICES_FIRST[request.param])
        except NotBuilt as reason:
            pytest.skip(str(reason))
        with made.plane:
            made.kubeconfig = install_rbac(made.plane)
            yield made


@pytest.fixture
def cluster(servers, tmp_path, request):
    """Agents on all nodes, each of which asks the server of its own node first; the servers are well before and after."""
    cluster = Cluster(servers.lab, servers.plane, servers.kubeconfig, tmp_path)
    urls = servers.plane.urls
    try:
        for i, node in enumerate(servers.lab.nodes):
            cluster.agent(node, vip=servers.vip, vip_port=VIP_PORT, api_server=urls[i:] + urls[:i],
                          **getattr(request, "param", {})).start()
        for agent in cluster.agents.values():
            agent.wait_ready()
        yield cluster
        if not getattr(request.node, "failed", False):
            revive(servers, 0, 1, 2)
            cluster.stop_agents()
    finally:
        if getattr(request.node, "failed", False):
            for agent in cluster.agents.values():
                print(f"--- log of {agent}\n{agent.log_tail(80)}")
        revive(servers, 0, 1, 2)
        cluster.clear()


def revive(servers, *numbers):
    """Bring servers back, whatever became of them, and wait until the slices name all three."""
    for number in numbers:
        server = servers.plane.servers[number]
        server.thaw()
        if not server.process.alive():
            server.launch()
    for number in numbers:
        servers.plane.servers[number].wait_ready()
    wait_for(lambda: listed(servers) == sorted(servers.addresses), 60, 0.2,
             lambda: f"three API servers in default/kubernetes; there are {listed(servers)}")


def listed(servers):
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    with contextlib.suppress(ApiError, OSError):
        return sorted(a for e in servers.plane.api.get(path)["endpoints"] or () for a in e["addresses"])
    return []


def holder(cluster, vip):
    """The agent on whose node alone the VIP is."""
    return cluster.agents[cluster.wait_on_one_node(vip).name]


def lease_name(vip):
    return "leasehold-vip-" + re.sub("[.:]", "-", vip)


def own_lease(cluster, vip):
    return cluster.api().get(f"{LEASES}/{lease_name(vip)}")


def states(agent):
    """{server: state} as the agent's status has it."""
    return {s["server"]: s["state"] for s in agent.status()["control_plane"]["servers"]}


def wait_states(agent, want):
    wait_for(lambda: states(agent) == want, PATIENCE_S, 0.1, lambda: f"{want} at {agent}; it is {states(agent)}")


class Asker:
    """Asks from a host without end, a new connection each, and notes what came of it."""

    def __init__(self, servers, host):
        self._servers, self._host = servers, host
        self.answers = []       # (began at, monotonic ns; the server or None)
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]

    def _run(self):
        while not self._end.wait(0.02):
            at = mono_ns()
            self.answers.append((at, self._servers.try_ask(self._host, OUT_WITHIN_S)))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def since(self, at):
        return [a for began, a in list(self.answers) if began >= at]


def test_kubectl_reaches_all_three(servers, cluster):
    """From outside by kubectl; from the holder's node and from the others, as a kubelet would."""
    lab, plane = servers.lab, servers.plane
    one = holder(cluster, servers.vip)
    kubeconfig = plane.admin_kubeconfig_at(servers.vip, VIP_PORT)
    reached = set()

    def all_reached():
        out = plane.kubectl("get", "--raw", "/api", netns=lab.client.netns, kubeconfig=kubeconfig)
        reached.add(json.loads(out)["serverAddressByClientCIDRs"][0]["serverAddress"])
        return reached == set(servers.names)
    wait_for(all_reached, 60, 0.01, lambda: f"all three by kubectl; reached {reached}")
    assert "kubernetes" in plane.kubectl("get", "services", netns=lab.client.netns, kubeconfig=kubeconfig)
    for host in (lab.client, one.node, *(a.node for a in cluster.others(one))):
        servers.wait_reached(host, range(3))
    assert states(one) == {name: "up" for name in servers.names}
    metrics = one.metrics()
    assert all(metrics[f'leasehold_control_plane_server_up{{server="{name}"}}'] == 1 for name in servers.names)
    # Nothing else of the node answers at the VIP, the API server's own port included.
    for port in (22, PORT):
        with pytest.raises(ConnectionRefusedError):
            connect_in_netns(lab.client.netns, (servers.vip, port), 5).close()


@pytest.mark.parametrize("where", ["holder", "other"])
def test_a_killed_server_is_out_and_comes_back(servers, cluster, where):
    """kill -9: from 3 s on nobody is sent to it, from outside and from the holder's node; started again, it is back."""
    lab = servers.lab
    one = holder(cluster, servers.vip)
    node = one.node if where == "holder" else cluster.others(one)[0].node
    victim = servers.of(node)
    rest = [i for i in range(3) if i != victim]
    for host in (lab.client, one.node):
        servers.wait_reached(host, range(3))
    with Asker(servers, lab.client) as outside, Asker(servers, one.node) as inside:
        at = mono_ns()
        servers.plane.kill(victim)
        late = at + OUT_WITHIN_S * 10**9
        wait_for(lambda: min(len(outside.since(late)), len(inside.since(late))) >= 40, PATIENCE_S, what="answers after 3 s")
    for asker in (outside, inside):
        assert set(asker.since(late)) == {servers.names[i] for i in rest}
    assert states(one)[servers.names[victim]] == "down"
    assert states(one)[servers.names[rest[0]]] == "up"
    # All agents know, also the one whose own server it was, and it goes on without it.
    for agent in cluster.agents.values():
        wait_for(lambda a=agent: states(a).get(servers.names[victim], "gone") in ("down", "gone"), PATIENCE_S, 0.1,
                 f"{agent} to know")
        servers.wait_reached(agent.node, rest)
        assert agent.ready()
    assert holder(cluster, servers.vip) is one
    revive(servers, victim)
    for agent in cluster.agents.values():
        wait_states(agent, {name: "up" for name in servers.names})
        servers.wait_reached(agent.node, range(3))
    servers.wait_reached(lab.client, range(3))


class Watch:
    """A watch through the VIP that a client holds open, with keepalive as Go's clients have it, only quicker."""

    def __init__(self, servers, host):
        sock = connect_in_netns(host.netns, (servers.vip, VIP_PORT), 5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 60)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        client = servers.plane.admin_client_at(servers.vip, host.netns, VIP_PORT)
        self.sock = client._tls.wrap_socket(sock, server_hostname=servers.vip)    # pylint: disable=protected-access
        self.server = self._get("/api")["serverAddressByClientCIDRs"][0]["serverAddress"]
        self.sock.sendall(b"GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=300 HTTP/1.1\r\n"
                          b"Host: vip\r\n\r\n")
        assert b" 200 " in self.sock.recv(65536)

    def _get(self, path):
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: vip\r\nAccept: application/json\r\n\r\n".encode())
        response = http.client.HTTPResponse(self.sock)
        response.begin()
        return json.loads(response.read())

    def ended(self):
        """Whether the connection broke; what came by it meanwhile is read away."""
        self.sock.settimeout(0.05)
        try:
            return self.sock.recv(65536) == b""
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True

    def close(self):
        self.sock.close()


@contextlib.contextmanager
def watches(servers, host, names):
    """A watch on each of those servers, {server: watch}."""
    open_ones = {}
    try:
        while set(open_ones) != set(names):
            one = Watch(servers, host)
            if one.server in names and one.server not in open_ones:
                open_ones[one.server] = one
            else:
                one.close()
        yield open_ones
    finally:
        for one in open_ones.values():
            one.close()


def test_a_frozen_server_is_out_and_its_connections_are_cut(servers, cluster):
    """Its kernel goes on acknowledging: a watch on it would hang for good.  Those on the others live on."""
    lab = servers.lab
    one = holder(cluster, servers.vip)
    victim = servers.of(cluster.others(one)[0].node)
    rest = [i for i in range(3) if i != victim]
    servers.wait_reached(lab.client, range(3))
    with watches(servers, lab.client, servers.names) as held:
        servers.plane.freeze(victim)
        wait_for(lambda: states(one)[servers.names[victim]] == "silent", PATIENCE_S, 0.1,
                 lambda: f"it to be found; {states(one)}")
        wait_for(held[servers.names[victim]].ended, PATIENCE_S, what="the end of the watch on the frozen server")
        servers.wait_reached(lab.client, rest)
        assert not any(held[servers.names[i]].ended() for i in rest)
        servers.plane.thaw(victim)
        wait_states(one, {name: "up" for name in servers.names})
        servers.wait_reached(lab.client, range(3))
        assert not any(held[servers.names[i]].ended() for i in rest)


def test_a_server_that_stops_in_order_ends_its_own_connections(servers, cluster):
    """It closes its port and leaves the slices while watches go on: new connections go elsewhere, old ones are its own
    affair."""
    lab = servers.lab
    one = holder(cluster, servers.vip)
    victim = servers.of(cluster.others(one)[0].node)
    servers.wait_reached(lab.client, range(3))
    with watches(servers, lab.client, [servers.names[victim]]) as held:
        stopping = threading.Thread(target=servers.plane.servers[victim].stop, args=(8,))
        stopping.start()
        try:
            wait_for(lambda: states(one).get(servers.names[victim]) in (None, "down"), PATIENCE_S, 0.05, "it to be out")
            broken = held[servers.names[victim]].ended()
            assert not broken or not servers.plane.servers[victim].process.alive()
        finally:
            stopping.join(30)
    servers.wait_reached(lab.client, [i for i in range(3) if i != victim])


@pytest.mark.parametrize("how", ["killed", "asked"])
def test_another_node_takes_over(servers, cluster, how):
    """kill -9 of the holder's agent, or a handover: another has the VIP, and all three servers are reached by it, also that
    on the former holder's node."""
    one = holder(cluster, servers.vip)
    servers.wait_reached(servers.lab.client, range(3))
    if how == "killed":
        one.kill9()
    else:
        _, status, out = cluster.handover(lease_name(servers.vip))
        assert status == 0, out
    name = wait_for(lambda: (h := own_lease(cluster, servers.vip)["spec"]["holderIdentity"].split("_")[0]) != one.name and h,
                    PATIENCE_S, 0.1, "another holder")
    servers.wait_reached(servers.lab.client, range(3))
    cluster.settle_on_wire([servers.vip], cluster.agents[name])
    for agent in cluster.others(*([one] if how == "killed" else [])):
        servers.wait_reached(agent.node, range(3))


def test_all_servers_down_is_a_guess_and_no_reason_to_leave(servers, cluster):
    """With nobody to ask, the VIP stays where it is and keeps its backends; with the first that is back it works."""
    one = holder(cluster, servers.vip)
    servers.wait_reached(servers.lab.client, range(3))
    for i in range(3):
        servers.plane.kill(i)
    wait_for(lambda: one.status()["control_plane"]["guessing"], PATIENCE_S, 0.1, "the guess")
    status = one.status()["control_plane"]
    assert len(status["servers"]) == 3
    assert all(s["serves"] and s["state"] == "down" and s["problem"] for s in status["servers"])
    assert cluster.nodes_with(servers.vip) == [one.node]
    servers.plane.servers[0].start()
    servers.wait_reached(servers.lab.client, [0])
    assert not one.status()["control_plane"]["guessing"]


@pytest.mark.parametrize("cluster", [{"lease_duration": None, "renew_interval": None}], indirect=True)
def test_its_lease_is_longer_unless_said_otherwise(servers, cluster):
    """10 s against 3 s: a change of etcd's leader must not cost the VIP its holder."""
    holder(cluster, servers.vip)
    assert own_lease(cluster, servers.vip)["spec"]["leaseDurationSeconds"] == 10
    assert cluster.lease()["spec"]["leaseDurationSeconds"] == 3


def test_nothing_is_published_for_it(servers, cluster):
    """No Service has the address, and the rules are those of one Service more."""
    one = holder(cluster, servers.vip)
    service = cluster.service(backends=servers.lab.pods)
    vip, = service.wait_vips()
    cluster.reach_all(servers.lab.client, vip, servers.lab.pods)
    for item in cluster.api().list("/api/v1/services"):
        assert servers.vip not in json.dumps(item)
    assert re.search(re.escape(servers.vip), cluster.table(one.node))
    servers.wait_reached(servers.lab.client, range(3))
