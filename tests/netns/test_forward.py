"""What forward_if makes of the packet filters that stand at the forward hook, on the real kernel.

Each case is a ruleset and the verdict on new connections to backends; the verdict is proven by packets where it is
certain: open passes, closed does not, and by mark passes with the mark alone.
"""

import collections
import os
from pathlib import Path

import pytest

from netns.lab import Lab, wait_for

pytestmark = pytest.mark.netns

REPOSITORY = Path(__file__).resolve().parents[2]
DRIVER = Path(os.environ.get("LEASEHOLD_BUILD", REPOSITORY / "build/release")) / "netns/forward_driver"

Seen = collections.namedtuple("Seen", "passes mark place command")
OPEN = Seen("open", 0, "", "")

# What kube-proxy's iptables mode has in table filter.
KUBE_FORWARD = """
{0} -N KUBE-FORWARD
{0} -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
{0} -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
{0} -A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
{0} -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""


@pytest.fixture(scope="module")
def lab():
    if not DRIVER.exists():
        pytest.skip(f"no {DRIVER}: run make unit-programs")
    with Lab(nodes=1, pods_per_node=1, pod_network="direct") as made:
        yield made


@pytest.fixture
def node(lab):
    node = lab.nodes[0]
    yield node
    node.nft("flush", "ruleset")
    for program in ("iptables-legacy", "ip6tables-legacy"):
        # Only where it is there: asking for the table would make it.
        family = "6" if program.startswith("ip6") else ""
        if "filter" in node.run(["cat", f"/proc/net/ip{family}_tables_names"]):
            node.run([program, "-P", "FORWARD", "ACCEPT"])
            node.run([program, "-F"])
            node.run([program, "-X"])


def look(node):
    """{"ip": Seen, "ip6": Seen} and the generation."""
    lines = [line.split("\t") for line in node.run([str(DRIVER)]).splitlines()]
    return {f: Seen(words[0], int(words[1], 0), *words[2:]) for f, *words in lines[:2]}, int(lines[2][1])


def passes(lab, node, mark=0):
    """Whether a connection that the node translates to its pod passes, with that mark."""
    pod, set_mark = lab.pods[0], f"meta mark set meta mark or {mark:#x}" if mark else ""
    node.nft(script="table ip translate { }\ndelete table ip translate\ntable ip translate {\n"
             "chain before { type nat hook prerouting priority -110;\n"
             f"ip daddr {node.ip4} tcp dport 80 {set_mark} dnat to {pod.ip4}:8080; }}\n"
             "chain behind { type nat hook postrouting priority 90; ct status dnat masquerade; }\n}\n")
    with lab.client.entered():
        import socket
        sock = socket.socket()
    with sock:
        sock.settimeout(0.4)
        try:
            sock.connect((node.ip4, 80))
        except OSError:
            return False
        return sock.recv(100).startswith(pod.name.encode())


def iptables(node, text, program="iptables"):
    if program.endswith("legacy") and "Table does not exist" in node.run(
            ["sh", "-c", f"{program} -S FORWARD 2>&1"], check=False):
        pytest.skip("this kernel has no legacy iptables")
    node.run(["sh", "-ec", text.format(program)])


ACCEPT_DNAT = "-I FORWARD -m conntrack --ctstate DNAT -j ACCEPT"
IPTABLES = Seen("", 0, "iptables chain FORWARD", f"iptables {ACCEPT_DNAT}")

ESTABLISHED = "{0} -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
# name: lines of iptables, what is seen
IPTABLES_CASES = {
    "policy accept": ("{0} -P FORWARD ACCEPT", OPEN),
    "policy drop alone": ("{0} -P FORWARD DROP", IPTABLES._replace(passes="closed")),
    "only established": ("{0} -P FORWARD DROP\n" + ESTABLISHED,
                         IPTABLES._replace(passes="closed")),
    "kube-proxy": ("{0} -P FORWARD DROP" + KUBE_FORWARD, IPTABLES._replace(passes="by mark", mark=0x4000)),
    "kube-proxy with another bit": ("{0} -P FORWARD DROP" + KUBE_FORWARD.replace("0x4000", "0x10000"),
                                    IPTABLES._replace(passes="by mark", mark=0x10000)),
    "kube-proxy behind a drop": ("{0} -P FORWARD DROP" + KUBE_FORWARD + "{0} -I FORWARD -j DROP",
                                 IPTABLES._replace(passes="closed")),
    "kube-proxy for one interface": ("{0} -P FORWARD DROP\n" + KUBE_FORWARD.replace(
        "-A FORWARD -m", "-A FORWARD -i eth0 -m"), IPTABLES._replace(passes="doubtful")),
    "final reject": (ESTABLISHED + "{0} -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
                     IPTABLES._replace(passes="closed")),
    "final reject behind kube-proxy": (KUBE_FORWARD + "{0} -A FORWARD -j REJECT",
                                       IPTABLES._replace(passes="by mark", mark=0x4000)),
    "a CNI's accepts": ("{0} -P FORWARD DROP\n{0} -A FORWARD -d 198.51.100.0/24 -j ACCEPT",
                        IPTABLES._replace(passes="doubtful")),
    "the command": ("{0} -P FORWARD DROP\n{0} " + ACCEPT_DNAT, OPEN),
    "new connections in a chain": ("{0} -P FORWARD DROP\n" + ESTABLISHED + "{0} -N NEW\n{0} -A NEW -j ACCEPT\n"
                                   "{0} -A FORWARD -m conntrack --ctstate NEW -j NEW", OPEN),
    "a chain that returns": ("{0} -P FORWARD DROP\n{0} -N ONE\n{0} -A ONE -j RETURN\n{0} -A ONE -j ACCEPT\n"
                             "{0} -A FORWARD -j ONE", IPTABLES._replace(passes="closed")),
    "pings": ("{0} -P FORWARD DROP\n{0} -A FORWARD -p icmp -j ACCEPT", IPTABLES._replace(passes="closed")),
    "not invalid": ("{0} -P FORWARD DROP\n{0} -A FORWARD -m conntrack ! --ctstate INVALID -j ACCEPT", OPEN),
}


@pytest.mark.parametrize("program", ["iptables", "iptables-legacy"])
@pytest.mark.parametrize("case", IPTABLES_CASES)
def test_iptables(lab, node, program, case):
    text, want = IPTABLES_CASES[case]
    iptables(node, text, program)
    seen, _ = look(node)
    assert seen["ip"] == want._replace(place=want.place.replace("iptables", program),
                                       command=want.command.replace("iptables", program))
    assert seen["ip6"] == OPEN
    prove(lab, node, seen["ip"])


def prove(lab, node, seen):
    """Packets fare as was seen; in doubt they may do either."""
    if seen.passes != "doubtful":
        assert passes(lab, node) == (seen.passes == "open")
    if seen.mark:
        assert passes(lab, node, seen.mark)


@pytest.mark.parametrize("program", ["ip6tables", "ip6tables-legacy"])
def test_ip6tables(node, program):
    iptables(node, "{0} -P FORWARD DROP" + KUBE_FORWARD, program)
    seen, _ = look(node)
    assert seen["ip"] == OPEN
    assert seen["ip6"] == Seen("by mark", 0x4000, f"{program} chain FORWARD", f"{program} {ACCEPT_DNAT}")


def chain(rules, family="inet", policy="drop", extra=""):
    return (f"table {family} filter {{ {extra}\n"
            f"chain forward {{ type filter hook forward priority 0; policy {policy};\n{rules}\n}}\n}}\n")


NFT = Seen("", 0, "nft chain inet filter forward", "nft insert rule inet filter forward ct status dnat accept")

BY_MARK = NFT._replace(passes="by mark", mark=0x4000)

NFT_CASES = {
    "policy drop": (chain(""), NFT._replace(passes="closed")),
    "policy accept": (chain("", policy="accept"), OPEN),
    "states": (chain("ct state established,related accept; ct state invalid drop"), NFT._replace(passes="closed")),
    "new": (chain("ct state established accept; ct state new accept"), OPEN),
    "translated": (chain("ct status dnat accept"), OPEN),
    "not translated": (chain("ct status dnat drop; accept", policy="accept"), NFT._replace(passes="closed")),
    "mark": (chain("ct state established accept; meta mark & 0x4000 == 0x4000 accept"), BY_MARK),
    "mark, the other way to write it": (chain("ct state established accept; meta mark & 0x4000 != 0 accept"), BY_MARK),
    "exact mark": (chain("meta mark 0x4000 accept"), NFT._replace(passes="doubtful")),
    "another family": (chain("meta nfproto ipv6 accept"), NFT._replace(passes="closed")),
    "this family": (chain("meta nfproto ipv4 accept"), OPEN),
    "interface": (chain('iifname "eth0" accept'), NFT._replace(passes="doubtful")),
    "verdict map": (chain('iifname vmap { "eth0" : accept, "lo" : accept }'), NFT._replace(passes="doubtful")),
    "states in a set": (chain("ct state { established, related } accept"), NFT._replace(passes="closed")),
    "new in a set": (chain("ct state { established, new } accept"), OPEN),
    "states in a verdict map": (chain("ct state vmap { established : accept, related : accept, invalid : drop }"),
                                NFT._replace(passes="closed")),
    "new in a verdict map": (chain("ct state vmap { established : accept, new : jump other }",
                                   extra="chain other { accept; }"), OPEN),
    "new in a verdict map, dropped": (chain("ct state vmap { established : accept, new : drop }; accept"),
                                      NFT._replace(passes="closed")),
    "states of some": (chain('iifname "eth0" ct state { established, new } accept'), NFT._replace(passes="doubtful")),
    "another protocol": (chain("meta l4proto icmp accept"), NFT._replace(passes="closed")),
    "one protocol": (chain("meta l4proto tcp accept"), NFT._replace(passes="doubtful")),
    "reject at the end": (chain("ct state established,related accept; reject", policy="accept"),
                          NFT._replace(passes="closed")),
    "goto": (chain("goto other; accept", extra="chain other { ct state established accept; }"),
             NFT._replace(passes="closed")),
    "jump": (chain("jump other", extra="chain other { counter accept; }"), OPEN),
    "limited": (chain("limit rate 10/second accept"), NFT._replace(passes="doubtful")),
    "logged": (chain('log prefix "x" counter accept'), OPEN),
    "two chains": (chain("ct status dnat accept")
                   + "table ip other {\nchain f { type filter hook forward priority 5; policy drop; }\n}\n",
                   Seen("closed", 0, "nft chain ip other f", "nft insert rule ip other f ct status dnat accept")),
    "bridge": (chain("", family="bridge"), OPEN),
}


@pytest.mark.parametrize("case", NFT_CASES)
def test_nft(lab, node, case):
    ruleset, want = NFT_CASES[case]
    node.nft(script=ruleset)
    seen, _ = look(node)
    assert seen["ip"] == want
    if case != "bridge":
        prove(lab, node, seen["ip"])


@pytest.mark.parametrize("case", ["policy drop", "two chains"])
def test_the_command_mends_it(lab, node, case):
    node.nft(script=NFT_CASES[case][0])
    seen, _ = look(node)
    node.run(seen["ip"].command.split())
    assert look(node)[0]["ip"] == OPEN
    assert passes(lab, node)


def test_our_own_table_is_not_looked_at(node):
    node.nft(script="table inet leasehold {\nchain router { type filter hook forward priority 0; policy drop; }\n}\n")
    assert look(node)[0]["ip"] == OPEN


def test_the_generation_tells_of_changes(node):
    _, before = look(node)
    assert look(node)[1] == before
    node.nft(script=chain(""))
    assert look(node)[1] != before


def test_asking_makes_no_legacy_table():
    with Lab(nodes=1, pods_per_node=0) as lab:
        node = lab.nodes[0]
        assert look(node)[0]["ip"] == OPEN
        assert "filter" not in node.run(["cat", "/proc/net/ip_tables_names"]).split()


def test_many_rules_are_a_matter_of_doubt(node):
    """Beyond its bounds it does not know; it neither fails nor takes long."""
    rules = "\n".join(f"ip saddr 198.18.{i // 256}.{i % 256} counter" for i in range(6000))
    node.nft(script=chain(rules))
    assert look(node)[0]["ip"] == NFT._replace(passes="doubtful")
    node.nft("flush", "ruleset")
    chains = "".join(f"chain c{i} {{ {f'jump c{i - 1}' if i else 'counter'}; }}\n" for i in range(15))
    node.nft(script=chain("jump c14", extra=chains))
    assert look(node)[0]["ip"] == NFT._replace(passes="closed")
    wide = "".join(f"chain w{i} {{ counter; }}\n" for i in range(100))
    node.nft("flush", "ruleset")
    node.nft(script=chain("\n".join(f"jump w{i}" for i in range(100)), extra=wide))
    assert look(node)[0]["ip"] == NFT._replace(passes="doubtful")
