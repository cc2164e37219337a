"""The faults of `make chaos`: each knows how to begin and how to end, and what it must not meet.

A fault occupies a lane of its target for its length; faults of one lane never overlap on one target, faults of different
lanes do.  What is done to the kernel by hand has the lane of the process: a gate that is taken away from a dead agent stays
away, and nobody promised otherwise.
"""

import contextlib
import dataclasses
import random
import signal
import socket
import subprocess

from kube.process import Timeout

PROCESS, LINK, API, LAN, GROUP = "process", "link", "api", "lan", "group"
# So long agents have to put right what was taken away by hand, before the next thing happens to them.
BY_HAND_S = 3.0


@dataclasses.dataclass
class Kind:
    """A kind of fault: how often (weight), how long (seconds), in which lane."""

    lane: str
    weight: int
    shortest: float
    longest: float


KINDS = {
    "SIGKILL": Kind(PROCESS, 6, 0.1, 8), "SIGTERM": Kind(PROCESS, 3, 4, 8), "SIGSTOP": Kind(PROCESS, 6, 0.2, 10),
    "address deleted": Kind(PROCESS, 2, BY_HAND_S, BY_HAND_S), "gate filter deleted": Kind(PROCESS, 2, BY_HAND_S, BY_HAND_S),
    "clsact deleted": Kind(PROCESS, 2, BY_HAND_S, BY_HAND_S), "ruleset flushed": Kind(PROCESS, 2, BY_HAND_S, BY_HAND_S),
    "unplugged": Kind(LINK, 4, 0.1, 8), "loss from": Kind(LINK, 3, 0.5, 8), "loss to": Kind(LINK, 3, 0.5, 8),
    "cut from the API": Kind(API, 4, 0.5, 10), "API black hole": Kind(API, 3, 0.5, 10), "API refused": Kind(API, 3, 0.5, 10),
    "API slow": Kind(API, 3, 1, 10), "API 429": Kind(API, 3, 1, 10),
    "API server killed": Kind(LAN, 3, 0.1, 8), "LAN split": Kind(LAN, 4, 0.5, 10),
    "handover": Kind(GROUP, 8, 1.5, 1.5), "conntrack flood": Kind(GROUP, 2, 1.5, 1.5),
}


@dataclasses.dataclass
class Fault:
    """One fault of a schedule.  Who is struck: the node that answers for VIP number `vip`, or node number `node`."""

    at: float
    kind: str
    length: float
    vip: int
    node: int
    side: int       # LAN split: a bit a node
    state: object = None

    @property
    def lane(self):
        return KINDS[self.kind].lane


def schedule(rng, seconds, count, nodes, vips):
    """`count` faults that all begin and end within so many seconds, in order of their beginning."""
    kinds = list(KINDS)
    faults = []
    for _ in range(count):
        kind = rng.choices(kinds, [KINDS[k].weight for k in kinds])[0]
        # Short ones are as likely as long ones: 0.1-0.2 s as 4-8 s.
        low, high = KINDS[kind].shortest, KINDS[kind].longest
        length = low * (high / low) ** rng.random()
        faults.append(Fault(rng.uniform(0, max(seconds - length, 0)), kind, length,
                            rng.randrange(vips) if rng.random() < 0.7 else -1, rng.randrange(nodes),
                            rng.randrange(1, 2 ** nodes - 1)))
    return sorted(faults, key=lambda f: f.at)


class Hand:
    """Carries faults out on a World (chaos.py)."""

    def __init__(self, world):
        self.world = world
        self.busy = {}      # (lane, target) -> fault

    def target(self, fault):
        """(what the lane belongs to, node or None)"""
        if fault.lane == LAN:
            return fault.kind, None
        if fault.lane == GROUP:
            return fault.kind, None
        name = self.world.answerer(fault.vip) if fault.vip >= 0 else None
        node = self.world.node(name) or self.world.lab.nodes[fault.node]
        return node.name, node

    def begin(self, fault):
        """Do it; what was done as text, or None: it would have met another fault of its lane."""
        key, node = self.target(fault)
        if (fault.lane, key) in self.busy:
            return None
        method = getattr(self, "_" + fault.kind.lower().replace(" ", "_"))
        self.busy[fault.lane, key] = fault
        fault.state = (key, node, method(fault, node))
        return f"{fault.kind}{' ' + node.name if node else ''}"

    def end(self, fault):
        """Undo it; a text when something has gone wrong, else None."""
        key, node, state = fault.state
        del self.busy[fault.lane, key]
        undo = getattr(self, "_end_" + fault.kind.lower().replace(" ", "_"), None)
        return undo(node, state) if undo else None

    # -- the process -------------------------------------------------------------------------

    def _sigkill(self, _, node):
        self.world.agent(node).kill9()

    def _end_sigkill(self, node, _):
        self.world.agent(node).start()

    def _sigterm(self, _, node):
        self.world.agent(node).process.send_signal(signal.SIGTERM)

    def _end_sigterm(self, node, _):
        agent, problem = self.world.agent(node), None
        try:
            agent.process.wait(8)
        except subprocess.TimeoutExpired:
            problem = f"{node.name}: no end within 12 s of SIGTERM"
            agent.process.kill9()
        # A process that has just begun has no handler yet.
        if agent.process.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM):
            problem = f"{node.name}: exit status {agent.process.returncode} after SIGTERM"
        agent.start()
        return problem

    def _sigstop(self, _, node):
        self.world.agent(node).freeze()

    def _end_sigstop(self, node, _):
        self.world.agent(node).thaw()

    # -- the kernel, by hand -----------------------------------------------------------------

    def _address_deleted(self, fault, node):
        held = [vip for vip in self.world.vips if vip in node.addresses()]
        if held:
            node.delete_addresses([held[fault.side % len(held)]])

    @staticmethod
    def _gate_filter_deleted(fault, node):
        node.run(["tc", "filter", "del", "dev", "eth0", ("ingress", "egress")[fault.side % 2]], check=False)

    @staticmethod
    def _clsact_deleted(_, node):
        node.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"], check=False)

    @staticmethod
    def _ruleset_flushed(_, node):
        node.nft("flush", "ruleset")

    # -- cables ------------------------------------------------------------------------------

    def _unplugged(self, _, node):
        self.world.lab.unplug(node)

    def _end_unplugged(self, node, _):
        self.world.lab.plug(node)

    def _loss_from(self, _, node):
        return self.world.lab.lose(frm=node)

    def _loss_to(self, _, node):
        return self.world.lab.lose(to=node)

    def _cut_from_the_api(self, _, node):
        return self.world.lab.split([node], [self.world.lab.api])

    def _lan_split(self, fault, _):
        lab = self.world.lab
        one = [node for i, node in enumerate(lab.nodes) if fault.side >> i & 1]
        other = [node for node in lab.nodes if node not in one]
        # The API server and who asks are on one side; somebody asks on the other, too.
        return lab.split([*one, lab.api, lab.client, lab.watch], [*other, lab.slow])

    def _heal(self, _, number):
        self.world.lab.heal(number)

    _end_loss_from = _end_loss_to = _end_cut_from_the_api = _end_lan_split = _heal

    # -- the API server ----------------------------------------------------------------------

    def _api_black_hole(self, _, node):
        self.world.proxies[node.name].mode("black_hole")

    def _api_refused(self, _, node):
        self.world.proxies[node.name].mode("refuse")

    def _end_mode(self, node, _):
        self.world.proxies[node.name].mode("pass")

    _end_api_black_hole = _end_api_refused = _end_mode

    def _api_slow(self, fault, node):
        return self.world.proxies[node.name].rule("delay", ms=100 * 2 ** (fault.side % 7))

    def _api_429(self, _, node):
        return self.world.proxies[node.name].rule("answer", code=429, retry_after=1)

    def _end_rule(self, node, number):
        self.world.proxies[node.name].clear(number)

    _end_api_slow = _end_api_429 = _end_rule

    def _api_server_killed(self, _fault, _node):
        self.world.plane.kill()

    def _end_api_server_killed(self, _node, _state):
        try:
            self.world.plane.restart()
        except Timeout as error:
            return f"the API server does not come back: {error}"
        return None

    # -- commands and floods -----------------------------------------------------------------

    def _handover(self, fault, _):
        world = self.world
        to = ["--to", world.lab.nodes[fault.node].name] if fault.side % 2 else []
        return world.start_handover(fault.side % world.groups, to)

    @staticmethod
    def _end_handover(_, process):
        # Refused is an answer (a successor that is not ready, no API); hanging is not.
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill9()
            return "leasehold handover did not end within 20 s"
        return None

    def _conntrack_flood(self, fault, _):
        vip = self.world.vips[max(fault.vip, 0)]
        with self.world.lab.client.entered(), contextlib.ExitStack() as stack:
            for _ in range(500):
                sock = stack.enter_context(socket.socket(
                    socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM))
                sock.setblocking(False)
                with contextlib.suppress(OSError):
                    sock.sendto(b"flood", (vip, 80))


def rng_for(seed, number):
    """The generator of round `number`: a round does not depend on how those before it went."""
    return random.Random(f"{seed}/{number}")
