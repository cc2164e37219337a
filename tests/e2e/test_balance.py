"""How connections are spread: shares, turns, weights, affinity; what scaling moves and what it must not.

Thousands of connections each: tests/bench/load.c makes and answers them.  One pod of node1 has a whole network as
local addresses, each of which is a backend that says who it is; node1 alone runs an agent.
"""

import collections
import contextlib
import math
import os
import subprocess
from types import SimpleNamespace

import pytest

from netns.lab import LabError, wait_for

from e2e.agents import REPOSITORY, SLICES, slice_bodies

LOAD = os.environ.get("LEASEHOLD_LOAD", str(REPOSITORY / "build/release/bench/load"))
PORT, SINK = 9080, 9081
FARM4, FARM6 = "198.51.100.128/25", "2001:db8:0:f::/64"
# Addresses of further clients on the host `client`.
CLIENTS = [f"192.0.2.{n}" for n in range(128, 192)]
MANY = 10000

# The in-memory API server: what is measured is the kernel's.
pytestmark = [pytest.mark.parametrize("site", [pytest.param("fake", marks=pytest.mark.fake)], indirect=True),
              pytest.mark.skipif(not os.access(LOAD, os.X_OK), reason=f"{LOAD} is not built: make unit-programs")]


class Farm:
    """Backends, clients, and what the kernel's table says of them."""

    def __init__(self, cluster):
        self.cluster, self.client = cluster, cluster.lab.client
        self.node, self.pod = cluster.lab.nodes[0], cluster.lab.pods[0]
        self.services, self.server = 0, None

    def open(self):
        lab = self.cluster.lab
        self.pod.sysctls({"ipv6/ip_nonlocal_bind": 1})
        for net in (FARM4, FARM6):
            self.pod.ip("route", "add", "local", net, "dev", "lo")
            self.node.ip("route", "add", net, "via", self.pod.ip6 if ":" in net else self.pod.ip4)
        for address in CLIENTS:
            self.client.ip("addr", "add", f"{address}/32", "dev", "eth0")
        self.server = self.pod.spawn([LOAD, "serve", str(PORT), str(SINK)], stdout=subprocess.PIPE)
        lab.await_ready(self.server)
        self.node.run(["conntrack", "-F"])
        self.cluster.start_agents(nodes=[self.node], log_level="info")

    def close(self):
        if self.server:
            self.server.kill9()
            self.server.stdout.close()
            self.pod.processes.remove(self.server)
        for net in (FARM4, FARM6):
            with contextlib.suppress(LabError):
                self.pod.ip("route", "del", "local", net, "dev", "lo")
                self.node.ip("route", "del", net)
        self.client.delete_addresses(CLIENTS)

    def backends(self, n, first=0):
        return [SimpleNamespace(name=f"farm-{i}", node=self.node, ip4=f"198.51.100.{129 + i}",
                                ip6=f"2001:db8:0:f::{1 + i:x}")
                for i in range(first, first + n)]

    def service(self, backends, balance=None, annotations=None, **spec):
        """A Service over these backends that has come to the kernel; (Service, VIP)."""
        self.services += 1
        annotations = dict(annotations or {}, **({"leasehold.io/balance": balance} if balance else {}))
        service = self.cluster.service(f"farm-{self.services}", backends=backends, target=PORT, annotations=annotations,
                                       **spec)
        vip, = service.wait_vips()
        self.wait_table(vip, backends)
        return service, vip

    # -- the kernel's table ------------------------------------------------------------------

    def slots(self, vip, port=80, protocol="tcp"):
        """{slot or turn: backend's address} of a frontend."""
        found, family = {}, 6 if ":" in vip else 4
        for kind in ("slots", "turns"):
            for entry in self.node.nft_json("list", "map", "inet", "leasehold", f"{kind}{family}"):
                for key, value in entry.get("map", {}).get("elem", []):
                    address, proto, dport, slot = key["concat"]
                    if (address, proto, dport) == (vip, protocol, port):
                        found[slot] = value["concat"][0]
        return found

    def shares(self, vip, **which):
        """{backend's address: its part of the slots}"""
        slots = self.slots(vip, **which)
        return {address: n / len(slots) for address, n in collections.Counter(slots.values()).items()}

    def wait_table(self, vip, backends, **which):
        want = addresses(vip, backends)
        wait_for(lambda: set(self.shares(vip, **which)) == want, 20, 0.05,
                 lambda: f"{vip}: slots of {sorted(want)}; they are of {sorted(self.shares(vip, **which))}")

    # -- connections -------------------------------------------------------------------------

    @contextlib.contextmanager
    def talk(self, targets, protocol="tcp", patience_ms=2000):
        """Opens connections [(source or "-", port or 0, VIP, port)] and keeps them; yields a function that gives what each
        was told: the backend's address or an error's name.  Its first call gives the answers to the opening."""
        process = self.client.spawn([LOAD, "talk", protocol, str(patience_ms)], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
        process.stdin.write("".join("%s %d %s %d\n" % target for target in targets) + "\n")
        process.stdin.flush()
        rounds = [0]

        def ask():
            if rounds[0]:
                process.stdin.write("\n")
                process.stdin.flush()
            rounds[0] += 1
            answers = [process.stdout.readline().split() for _ in targets]
            assert process.stdout.readline() == "\n", answers[-1:]
            return [words[0] for words in answers]
        try:
            yield ask
        finally:
            process.kill9()
            self.client.processes.remove(process)
            process.stdin.close()
            process.stdout.close()

    def ask(self, targets, protocol="tcp"):
        with self.talk(targets, protocol) as ask:
            return ask()


def addresses(vip, backends):
    return {b.ip6 if ":" in vip else b.ip4 for b in backends}


@pytest.fixture
def farm(cluster):
    made = Farm(cluster)
    try:
        made.open()
        yield made
    finally:
        made.close()


def outside(counts, shares, total):
    """Backends whose count is more than three standard deviations from their share."""
    return {a: (counts[a], total * p) for a, p in shares.items()
            if abs(counts[a] - total * p) > 3 * math.sqrt(total * p * (1 - p))}


def flows(vip, n, first=20000, port=80):
    return [("-", first + i, vip, port) for i in range(n)]


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_connections_by_hash_follow_the_table(farm, family):
    """10,000 source ports, the same each time: so the outcome is the same each time (one in 53 such sets would have a
    backend outside, as chance has it)."""
    _, vip = farm.service(backends := farm.backends(7), families=[family])
    shares = farm.shares(vip)
    assert max(shares.values()) <= 1.25 / 7
    found = collections.Counter(farm.ask(flows(vip, MANY, 10000)))
    assert set(found) == addresses(vip, backends)
    assert not outside(found, shares, MANY)


def test_connections_at_random_follow_the_table(farm):
    _, vip = farm.service(backends := farm.backends(7), "random")
    shares = farm.shares(vip)
    assert max(shares.values()) <= 1.25 / 7
    for attempt in range(3):    # an honest draw of seven has one outside in one of 53
        found = collections.Counter(farm.ask(flows(vip, MANY, 10000 * (attempt + 1))))
        assert set(found) == addresses(vip, backends)
        if not (far := outside(found, shares, MANY)):
            return
    pytest.fail(f"thrice beyond three standard deviations, {far} at last")


def test_round_robin_is_exact_for_two_services_hit_in_turn(farm):
    ours = farm.backends(7)
    _, one = farm.service(ours, "round-robin")
    _, two = farm.service(ours, "round-robin")
    answers = farm.ask([("-", 0, vip, 80) for _ in range(700) for vip in (one, two)])
    for vip, share in ((one, answers[::2]), (two, answers[1::2])):
        assert collections.Counter(share) == {a: 100 for a in addresses(vip, ours)}


@pytest.mark.parametrize("balance", ["hash", "random", "round-robin"])
def test_weights(farm, balance):
    """The table's shares are as the weights, and connections follow the table."""
    ours = farm.backends(4)
    weights = {b.ip4: w for b, w in zip(ours, (1, 2, 5, 0))}
    annotation = {"leasehold.io/weights": ", ".join(f"{a}={w}" for a, w in weights.items())}
    _, vip = farm.service(ours[:3], balance, annotation)
    shares, total = farm.shares(vip), sum(weights.values())
    found = collections.Counter(farm.ask(flows(vip, 1600)))
    if balance == "round-robin":
        assert found == {a: 1600 * w / total for a, w in weights.items() if w}
        return
    for address, share in shares.items():
        assert abs(share * total / weights[address] - 1) <= 0.25, (shares, weights)
    for _ in range(2 if balance == "random" else 0):
        if outside(found, shares, 1600):
            found = collections.Counter(farm.ask(flows(vip, 1600, 30000)))
    assert set(found) == set(shares) and not outside(found, shares, 1600)


def test_a_backend_of_weight_0_serves_when_no_other_is_left(farm):
    one, two = farm.backends(2)
    service, vip = farm.service([one], annotations={"leasehold.io/weights": f"{two.ip4}=0"})
    service.set_backends([one, two], PORT)
    wait_for(lambda: known(farm, two), 20, 0.05, "the second backend to be known")
    assert set(farm.ask(flows(vip, 100))) == {one.ip4}
    service.set_backends([two], PORT)
    farm.wait_table(vip, [two])
    assert set(farm.ask(flows(vip, 100))) == {two.ip4}


def known(farm, backend):
    """Whether the kernel knows it as a backend on this node, whatever its weight."""
    return backend.ip4 in farm.node.nft("list", "set", "inet", "leasehold", "locals4")


# ---- affinity ----------------------------------------------------------------------------------

def sticky(seconds):
    return {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}


def clients(vip):
    """Two connections of each client, which go to the same backend."""
    return [(c, 0, vip, 80) for c in CLIENTS for _ in range(2)]


def by_client(answers):
    found = {}
    for (client, _), both in zip(((c, 0) for c in CLIENTS), zip(answers[::2], answers[1::2])):
        assert both[0] == both[1], f"{client} met {both}"
        found[client] = both[0]
    return found


def test_affinity_outlives_scaling_and_is_forgotten_after_its_time(farm):
    few, many = farm.backends(3), farm.backends(12)
    service, vip = farm.service(few, **sticky(60))
    before = by_client(farm.ask(clients(vip)))
    assert set(before.values()) == addresses(vip, few)
    service.set_backends(many, PORT)
    farm.wait_table(vip, many)
    assert by_client(farm.ask(clients(vip))) == before, "who had a backend keeps it"
    # The next connection of each begins a time that is short.
    service.patch({"spec": sticky(2)})
    wait_for(lambda: "2s" in farm.node.nft("list", "map", "inet", "leasehold", "dispatch4"), 20, 0.05, "the new time")
    kept = by_client(farm.ask(clients(vip)))
    assert kept == before
    wait_for(lambda: not returning(farm, vip), 90, 0.2, "the clients to be forgotten")
    after = by_client(farm.ask(clients(vip)))
    # Three of four slots have another backend now; that half of 64 clients or fewer do is unheard of.
    assert sum(1 for c in CLIENTS if after[c] != before[c]) > len(CLIENTS) / 2


def returning(farm, vip):
    """Clients that the kernel would send back to their backend."""
    found = []
    for entry in farm.node.nft_json("list", "map", "inet", "leasehold", "clients4"):
        for key, _ in entry.get("map", {}).get("elem", []):
            key = key.get("elem", {}).get("val", key) if isinstance(key, dict) else key
            found += [key] if vip in key["concat"] else []
    return found


def test_affinity_to_a_backend_that_goes_is_forgotten(farm):
    three = farm.backends(3)
    service, vip = farm.service(three, **sticky(600))
    before = by_client(farm.ask(clients(vip)))
    service.set_backends(three[:2], PORT)
    farm.wait_table(vip, three[:2])
    wait_for(lambda: not any(three[2].ip4 in str(e) for e in clients_of_map(farm)), 20, 0.05,
             "the clients of the third to be free")
    after = by_client(farm.ask(clients(vip)))
    assert set(after.values()) == addresses(vip, three[:2])
    assert all(after[c] == before[c] for c in CLIENTS if before[c] != three[2].ip4), "the others stay"


def clients_of_map(farm):
    objects = farm.node.nft_json("list", "map", "inet", "leasehold", "clients4")
    return [o["map"].get("elem", []) for o in objects if "map" in o]


# ---- scaling -----------------------------------------------------------------------------------

@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_scaling_from_10_to_11_moves_few_and_none_that_is_established(farm, protocol):
    ten, eleven = farm.backends(10), farm.backends(11)
    service, vip = farm.service(ten)
    n = 2000
    before = farm.ask(flows(vip, n), protocol)
    with farm.talk(flows(vip, n, 30000), protocol) as ask:
        established = ask()
        service.set_backends(eleven, PORT)
        farm.wait_table(vip, eleven, protocol=protocol)
        assert ask() == established, "an established connection moved"
        if protocol == "udp":   # datagrams of a new flow: what conntrack knows of the old ones goes first
            farm.node.run(["conntrack", "-D", "-p", "udp", "--orig-port-dst", "80"], check=False)
        after = farm.ask(flows(vip, n), protocol)
    assert set(after) == addresses(vip, eleven)
    moved = sum(1 for a, b in zip(before, after) if a != b)
    assert 0 < moved <= n / 4, f"{moved} of {n} moved"


def test_udp_flows_of_a_removed_backend_find_another_at_once(farm):
    three = farm.backends(3)
    service, vip = farm.service(three)
    with farm.talk(flows(vip, 300), "udp") as ask:
        before = ask()
        assert set(before) == addresses(vip, three)
        service.set_backends(three[:2], PORT)
        # The backend answers still: only who asks anew by the same flow finds out.  What was under way may be lost.
        seen = {}

        def all_at_the_others():
            seen["now"] = ask()
            return set(seen["now"]) == addresses(vip, three[:2])
        wait_for(all_at_the_others, 20, 0.05, lambda: f"flows to leave; {collections.Counter(seen['now'])}")
    assert all(now == then for now, then in zip(seen["now"], before) if then != three[2].ip4), "another backend's flow moved"


def test_a_terminating_backend_keeps_its_tcp_connections(farm):
    three = farm.backends(3)
    service, vip = farm.service(three, protocols=["TCP"])
    body, _ = slice_bodies(service.get(), three, PORT)
    with farm.talk(flows(vip, 300)) as ask:
        before = ask()
        assert set(before) == addresses(vip, three)
        body["endpoints"][2]["conditions"] = {"ready": False, "serving": True, "terminating": True}
        farm.cluster.api().patch(f"{SLICES}/{body['metadata']['name']}", {"endpoints": body["endpoints"]})
        farm.wait_table(vip, three[:2])
        assert ask() == before, "a connection did not outlive the change"
        assert set(farm.ask(flows(vip, 300, 40000))) == addresses(vip, three[:2])
        # Even when the endpoint is gone whole: it says itself when it ends.
        service.set_backends(three[:2], PORT)
        wait_for(lambda: not known(farm, three[2]), 20, 0.05, "the backend to be gone")
        assert ask() == before
