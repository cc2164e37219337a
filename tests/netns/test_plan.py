"""What netlink/ makes of a plan in a real kernel: elements, chains that come and go, counters, notifications,
conntrack.  What is there is looked at with nft and read back by netlink/ itself.  The C side is plan_driver.c."""

import contextlib
import errno
import json
import random
import subprocess

import pytest

from netns.driver import BUILD, BUILT, DriverError, Net
from netns.lab import wait_for

VIP4, VIP6 = "192.0.2.200", "2001:db8::c8"
TCP, UDP, SCTP = 6, 17, 132
CLASSES = (13, 61, 251, 1021, 5003)

pytestmark = [pytest.mark.netns, pytest.mark.skipif(not BUILT, reason=f"no drivers in {BUILD}")]


@pytest.fixture
def net():
    with contextlib.closing(Net()) as made:
        yield made


def frontend(vip, proto, port, *backends, balance="hash", n_slots=13, sticky=0, firewall="-", salt=0):
    ends = " ".join(f"{address} {backend_port}" for address, backend_port in backends)
    return f"frontend {vip} {proto} {port} {balance} {n_slots} {sticky} {firewall} {salt} {ends}"


def elements(net, name):
    """The elements of a set or map as nft has them: {key text: value}."""
    found = {}
    for part in json.loads(net.nft("-j", "list", "table", "inet", "leasehold"))["nftables"]:
        for kind in ("set", "map"):
            if part.get(kind, {}).get("name") == name:
                for elem in part[kind].get("elem", []):
                    key, value = elem if kind == "map" else (elem, None)
                    if isinstance(key, dict) and "elem" in key:
                        key = key["elem"]["val"]
                    found[text_of(key)] = text_of(value)
    return found


def text_of(value):
    if isinstance(value, dict) and "concat" in value:
        return " . ".join(str(part) for part in value["concat"])
    if isinstance(value, dict) and "goto" in value:
        return value["goto"]["target"]
    return value if value is None else str(value)


def chains(net):
    return {part["chain"]["name"] for part in json.loads(net.nft("-j", "list", "chains", "inet"))["nftables"]
            if part.get("chain", {}).get("table") == "leasehold"}


def own_chains(net):
    """Those that come and go with their users."""
    return {c for c in chains(net) if c.startswith(("turn-", "sources-", "return-")) or c.count("-") > 1 and
            c.startswith("source-") or c.startswith("firewall-") and "/" in c}


def right(net):
    """The kernel has what is wanted: members, frontends with digests and firewalls, every slot."""
    return net.drive("nat-check") == []


# ---- round trips ------------------------------------------------------------------------------

def every_kind(classes=CLASSES):
    wanted = []
    for ip in (VIP4, VIP6):
        other = "198.51.100.1" if ip == VIP4 else "2001:db8:1:2:3:4:5:6"
        wanted += [f"member vip {ip}", f"member local {other}", f"member home {ip} 1", f"member keep {ip}",
                   f"member hairpin {other}", f"member routed {ip}"]
        for proto, port in ((TCP, 1), (UDP, 65535), (SCTP, 443)):
            wanted += [f"member guard {other} {proto} {port}", f"member received {ip} {proto} {port}"]
    for i, n_slots in enumerate(classes):
        for j, balance in enumerate(("hash", "random", "source")):
            ends4 = [("198.51.100.1", 1), ("198.51.100.2", 65535)]
            ends6 = [("2001:db8:1::1", 1), ("2001:db8:1:2:3:4:5:6", 65535)]
            proto, port = (TCP, UDP, SCTP)[i % 3], (1, 443, 8080, 32768, 65535)[i] - j if i else 1 + j
            wanted.append(frontend(VIP4, proto, port, *ends4, balance=balance, n_slots=n_slots))
            if n_slots < 1000:
                wanted.append(frontend(VIP6, proto, port, *ends6, balance=balance, n_slots=n_slots,
                                       sticky=600 if balance == "source" else 0))
    wanted += [frontend(VIP6, TCP, 7000, ("2001:db8::1", 80), ("2001:db8::2", 80), balance="turn", n_slots=2),
               frontend(VIP4, UDP, 7000, ("198.51.100.1", 80), balance="turn", n_slots=1, firewall="default/web"),
               "firewall default/web 1 restricted from=203.0.113.0/24 from=2001:db8::/32 packets=100 connections=5"]
    return wanted


COUNTED = pytest.mark.parametrize("counters", ["", " counters"], ids=["uncounted", "counted"])


def sums(net):
    """Elements of the sets of members that carry a protocol and a port, both families together."""
    return [len(elements(net, f"{name}4")) + len(elements(net, f"{name}6"))
            for name in ("guards", "backends", "opened", "received", "sent")]


@COUNTED
def test_what_is_applied_is_read_back(net, counters):
    net.drive("nat-ensure" + counters)
    assert net.drive("nat-read") == []
    wanted = every_kind()
    net.drive.want(*wanted)
    assert right(net)
    slots = elements(net, "slots4")
    assert slots[f"{VIP4} . tcp . 1 . 12"] == "198.51.100.1 . 1"
    assert slots[f"{VIP4} . tcp . 1 . 11"] == "198.51.100.2 . 65535"
    assert elements(net, "dispatch6")[f"{VIP6} . tcp . 7000"] == "turn-2-2001.db8..c8-tcp-7000"
    assert elements(net, "firewalls4") == {f"{VIP4} . udp . 7000": "firewall-default/web"}
    assert sums(net) == ([6, 6, 6, 6, 6] if counters else [6, 0, 0, 6, 0])
    before = net.generation()
    assert net.drive.want(*wanted) == 0
    assert net.generation() == before
    net.drive.want()
    assert net.drive("nat-read") == []
    assert sums(net) == [0] * 5
    names = ("slots", "turns", "dispatch", "firewalls", "vips", "returns")
    assert not any(elements(net, f"{name}{family}") for name in names for family in (4, 6))


def service(rng, vip, port, name):
    """A random Service's lines."""
    family = 4 if "." in vip else 6
    proto = rng.choice((TCP, UDP, SCTP))
    pods = [(f"198.51.100.{i}" if family == 4 else f"2001:db8:1::{i}", 8080) for i in range(1, 30)]
    backends = rng.sample(pods, rng.randint(1, 6))
    balance = rng.choice(("hash", "random", "source", "turn"))
    n_slots = rng.choice((13, 61)) if balance != "turn" else rng.randint(1, 12)
    firewall = name if rng.random() < 0.3 else "-"
    lines = [frontend(vip, proto, port, *backends, balance=balance, n_slots=n_slots, firewall=firewall,
                      sticky=rng.choice((0, 60, 600)) if balance == "source" else 0, salt=rng.randint(0, 5)),
             f"member vip {vip}", f"member received {vip} {proto} {port}",
             *(f"member guard {a} {proto} {p}" for a, p in backends)]
    if firewall != "-":
        lines.append(f"firewall {name} {rng.randint(0, 3)} connections={rng.randint(1, 9)}")
    return lines


def listing_wanted(lines):
    """What nft should list of the maps of slots, of slots by turns, and of the dispatch maps for these lines."""
    slots, turns, dispatch = {}, {}, {}
    names = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}
    for line in lines:
        words = line.split()
        if words[0] != "frontend":
            continue
        vip, proto, port, balance, n_slots, sticky = words[1], names[int(words[2])], *words[3:7]
        ends = sorted(zip(words[9::2], words[10::2], strict=True),
                      key=lambda end: [int(part, 16 if ":" in end[0] else 10)
                                       for part in end[0].replace("::", ":").replace(":", ".").split(".")])
        for i in range(int(n_slots)):
            there = turns if balance == "turn" else slots
            there[f"{vip} . {proto} . {port} . {i}"] = " . ".join(ends[(i + int(words[8])) % len(ends)])
        dispatch[f"{vip} . {proto} . {port}"] = (
            f"turn-{n_slots}-{vip.replace(':', '.')}-{proto}-{port}" if balance == "turn" else
            f"source-{n_slots}-{sticky}s{'-ip6' if ':' in vip else ''}" if balance == "source" and sticky != "0" else
            f"{balance}-{n_slots}")
    return slots, turns, dispatch


def counted_wanted(lines):
    """What should stand in guards, backends and opened, and what in received and sent."""
    names = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}
    keys = {"guard": set(), "received": set()}
    for words in map(str.split, lines):
        if words[0] == "member" and words[1] in keys:
            keys[words[1]].add(f"{words[2]} . {names[int(words[3])]} . {words[4]}")
    return keys["guard"], keys["received"]


def spoil(net, rng, lines):
    """Somebody deletes elements of counted sets, and adds others."""
    guards, received = counted_wanted(lines)
    script = ""
    for keys, names in ((guards, ("guards", "backends", "opened")), (received, ("received", "sent"))):
        for key in sorted(keys):
            family = 6 if ":" in key else 4
            script += "".join(f"delete element inet leasehold {name}{family} {{ {key} }}\n"
                              for name in names if rng.random() < 0.1)
        script += "".join(f"add element inet leasehold {name}4 {{ 203.0.113.{rng.randint(1, 9)} . udp . 9 }}\n"
                          for name in names if rng.random() < 0.3)
    if script:
        net.nft(script=script)


@pytest.mark.parametrize("seed", range(4))
def test_random_services_come_and_go(net, seed):
    rng = random.Random(seed)
    counters = seed % 2 == 1
    net.drive("nat-ensure counters" if counters else "nat-ensure")
    services = {}
    lines = []
    for step in range(25):
        for _ in range(rng.randint(1, 6)):
            i = rng.randrange(24)
            vip = f"192.0.2.{i}" if i % 3 else f"2001:db8::{i + 1}"
            if rng.random() < 0.25:
                services.pop(i, None)
            else:
                services[i] = service(rng, vip, 80 + i, f"default/s{i}")
        if rng.random() < 0.2: # as after a restart: known is what the kernel tells, and slots are not
            if counters:
                spoil(net, rng, lines)
            net.drive("nat-adopt")
        lines = [line for s in services.values() for line in s]
        net.drive.want(*lines)
        assert right(net), f"seed {seed}, step {step}"
    slots, turns, dispatch = listing_wanted(lines)
    assert elements(net, "slots4") | elements(net, "slots6") == slots
    assert elements(net, "turns4") | elements(net, "turns6") == turns
    assert elements(net, "dispatch4") | elements(net, "dispatch6") == dispatch
    guards, received = counted_wanted(lines)
    for name, keys in (("guards", guards), ("backends", guards if counters else set()), ("received", received),
                       ("opened", guards if counters else set()), ("sent", received if counters else set())):
        assert set(elements(net, f"{name}4") | elements(net, f"{name}6")) == keys, name
    net.drive("nat-ensure counters" if counters else "nat-ensure")
    assert right(net)
    net.drive.want()
    assert net.drive("nat-read") == []
    assert sums(net) == [0] * 5
    assert own_chains(net) == set()


def test_a_change_is_one_transaction_of_what_differs(net):
    net.drive("nat-ensure")
    ends = [(f"198.51.100.{i}", 80) for i in range(1, 14)]
    net.drive.want(frontend(VIP4, TCP, 80, *ends))
    before = net.generation()
    # One backend of thirteen has another port: one slot is deleted and added, and so is the element with the digest.
    assert net.drive.want(frontend(VIP4, TCP, 80, *ends[:12], ("198.51.100.13", 81))) == 4
    assert net.generation() == before + 1
    assert right(net)


# ---- what others have done meanwhile ----------------------------------------------------------

def test_deleting_what_is_gone_is_no_error(net):
    net.drive("nat-ensure")
    wanted = [f"member vip {VIP4}", frontend(VIP4, TCP, 80, ("198.51.100.1", 80), n_slots=61)]
    net.drive.want(*wanted)
    net.nft("delete element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 7 }")
    net.nft("delete element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 60 }")
    net.nft("delete element inet leasehold dispatch4 { 192.0.2.200 . tcp . 80 }")
    net.nft("delete element inet leasehold vips4 { 192.0.2.200 }")
    assert net.drive.want() == 59 # what was left of 63
    assert net.drive("nat-read") == []
    assert elements(net, "slots4") == {}


def test_what_is_there_with_another_value_is_replaced(net):
    net.drive("nat-ensure")
    net.nft(script="add element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 5 : 198.51.100.250 . 1 }\n"
                   "add element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 6 : 198.51.100.1 . 80 }\n"
                   "add element inet leasehold dispatch4 { 192.0.2.200 . tcp . 80 : goto random-61 }\n"
                   "add element inet leasehold dispatch6 { 2001:db8::c8 . tcp . 80 : goto hash-13 }\n")
    net.drive.want(frontend(VIP4, TCP, 80, ("198.51.100.1", 80)), frontend(VIP6, TCP, 80, ("2001:db8::1", 80)))
    assert right(net) # the digest of the second, too, whose verdict was right
    # An element that goes elsewhere, as it is found after a restart.
    net.nft(script="delete element inet leasehold dispatch4 { 192.0.2.200 . tcp . 80 }\n"
                   "add element inet leasehold dispatch4 { 192.0.2.200 . tcp . 80 : accept }\n"
                   "add element inet leasehold firewalls4 { 192.0.2.200 . tcp . 80 : drop }\n")
    assert net.drive("nat-read")[0] == f"frontend {VIP4} 6 80 - 0 0  {0:016x}"
    net.drive("nat-adopt")
    net.drive.want(frontend(VIP4, TCP, 80, ("198.51.100.1", 80)), frontend(VIP6, TCP, 80, ("2001:db8::1", 80)))
    assert right(net)
    assert elements(net, "firewalls4") == {}


def test_slots_that_are_not_right_are_found(net):
    net.drive("nat-ensure")
    lines = [frontend(f"203.0.113.{i}", TCP, 80, (f"198.51.100.{i}", 80), n_slots=(13, 61, 251)[i % 3])
             for i in range(1, 60)]
    lines += [frontend(VIP6, TCP, p, ("2001:db8::1", 80), n_slots=13) for p in range(1, 9)]
    net.drive.want(*lines)
    assert right(net)
    net.nft("delete element inet leasehold slots4 { 203.0.113.7 . tcp . 80 . 0 }")
    net.nft("delete element inet leasehold slots4 { 203.0.113.8 . tcp . 80 . 250 }")
    net.nft("delete element inet leasehold slots4 { 203.0.113.59 . tcp . 80 . 12 }")
    net.nft(script="delete element inet leasehold slots6 { 2001:db8::c8 . tcp . 8 . 12 }\n"
                   "add element inet leasehold slots6 { 2001:db8::c8 . tcp . 8 . 12 : 2001:db8::1 . 81 }\n")
    assert [line.split()[2:5] for line in net.drive("nat-check")] == [
        ["203.0.113.7", "6", "80"], ["203.0.113.8", "6", "80"], ["203.0.113.59", "6", "80"], [VIP6, "6", "8"]]
    net.drive("nat-adopt")
    net.drive.want(*lines)
    assert right(net)


def test_a_refused_element_leaves_out_its_frontend_alone(net):
    """The chain that some go to has been deleted behind our back."""
    net.drive("nat-ensure")
    net.nft(script="flush chain inet leasehold random-61; delete chain inet leasehold random-61")
    lines = [frontend(f"203.0.113.{i}", TCP, 80, (f"198.51.100.{i}", 80), n_slots=61,
                      balance="random" if i in (4, 18, 40) else "hash") for i in range(1, 41)]
    with pytest.raises(DriverError) as e:
        net.drive.want(*lines, *(f"member vip 203.0.113.{i}" for i in range(1, 41)))
    assert e.value.errno == errno.ENOENT
    assert "203.0.113.4 . tcp . 80 : random-61 (map dispatch4)" in e.value.text
    assert [line.split()[1:3] for line in net.drive("nat-check")[:3]] == [
        ["frontend", f"203.0.113.{i}"] for i in (4, 18, 40)]
    assert len(elements(net, "slots4")) == 37 * 61
    assert len(elements(net, "vips4")) == 40
    # With the chain mended the rest fits.
    net.drive("nat-ensure")
    net.drive("nat-adopt")
    net.drive.want(*lines, *(f"member vip 203.0.113.{i}" for i in range(1, 41)))
    assert right(net)


def test_what_stands_for_several_elements_is_whole_or_not_there(net):
    net.drive("nat-ensure counters")
    guards = [f"member guard 198.51.100.{i} 6 80" for i in range(1, 6)]
    ports = [f"member received {VIP4} 6 {p}" for p in (80, 81, 82)]
    net.drive.want(*guards, *ports)
    assert right(net)
    assert sums(net) == [5, 5, 5, 3, 3]
    net.nft(script="delete element inet leasehold backends4 { 198.51.100.1 . tcp . 80 }\n"
                   "delete element inet leasehold opened4 { 198.51.100.2 . tcp . 80 }\n"
                   "delete element inet leasehold guards4 { 198.51.100.3 . tcp . 80 }\n"
                   "delete element inet leasehold backends4 { 198.51.100.4 . tcp . 80 }\n"
                   "delete element inet leasehold opened4 { 198.51.100.4 . tcp . 80 }\n"
                   "delete element inet leasehold sent4 { 192.0.2.200 . tcp . 80 }\n"
                   "delete element inet leasehold received4 { 192.0.2.200 . tcp . 81 }\n")
    broken = [f"partial {line}" for line in (*guards[:4], *ports[:2])]
    assert net.drive("nat-read") == [guards[4], ports[2], *broken]
    assert net.drive("nat-check") == [f"missing {line}" for line in (*guards[:4], *ports[:2])] + broken
    # What is wanted becomes whole, what is not goes, all of it.
    net.drive("nat-adopt")
    net.drive.want(*guards[1:], *ports[1:])
    assert right(net)
    assert sums(net) == [4, 4, 4, 2, 2]
    # Nothing is counted any more, and then again.
    net.drive("nat-ensure")
    assert sorted({line.split()[1] for line in net.drive("nat-read")}) == ["backend", "guard", "opened", "received", "sent"]
    net.drive("nat-adopt")
    net.drive.want(*guards[1:])
    assert right(net)
    assert sums(net) == [4, 0, 0, 0, 0]
    net.drive("nat-ensure counters")
    assert net.drive("nat-check") == [f"missing {line}" for line in guards[1:]] + [f"partial {line}" for line in guards[1:]]
    net.drive("nat-adopt")
    net.drive.want(*guards[1:], *ports)
    assert right(net)
    assert sums(net) == [4, 4, 4, 3, 3]


def test_a_member_that_is_added_again_goes_on_counting(net):
    net.drive("nat-ensure counters")
    net.nft(script="add element inet leasehold backends4 { 198.51.100.1 . tcp . 80 counter packets 7 bytes 700 }\n"
                   "add element inet leasehold guards4 { 198.51.100.1 . tcp . 80 }\n"
                   f"add element inet leasehold received4 {{ {VIP4} . tcp . 80 counter packets 8 bytes 800 }}\n")
    net.drive("nat-adopt")
    net.drive.want("member guard 198.51.100.1 6 80", f"member received {VIP4} 6 80")
    assert right(net)
    assert net.drive("nat-count 100")[:4] == [f"received {VIP4} 6 80 8 800", f"sent {VIP4} 6 80 0 0",
                                              "backend 198.51.100.1 6 80 7 700", "opened 198.51.100.1 6 80 0 0"]


def test_a_refused_element_leaves_out_no_other(net):
    """One of the sets that a guard's elements stand in is of somebody else's making."""
    net.drive("nat-ensure counters")
    net.nft(script="flush chain inet leasehold nat-postrouting; flush chain inet leasehold nat-input\n"
                   "delete set inet leasehold opened4\n"
                   "add set inet leasehold opened4 { type ipv4_addr . inet_proto . inet_service; size 2; }\n")
    guards = [f"member guard 198.51.100.{i} 6 80" for i in range(1, 6)]
    with pytest.raises(DriverError, match="opened4") as e:
        net.drive.want(*guards)
    assert e.value.errno == errno.ENFILE
    assert sums(net) == [5, 5, 2, 0, 0]


def test_without_the_table_errors_say_so_and_removal_is_done(net):
    net.drive.want() # nothing
    net.drive("nat-ensure")
    net.drive.want(f"member vip {VIP4}", frontend(VIP4, TCP, 80, ("198.51.100.1", 80)))
    net.nft("delete", "table", "inet", "leasehold")
    with pytest.raises(DriverError, match="reading slots of table inet leasehold") as e:
        net.drive("nat-verify")
    assert e.value.errno == errno.ENOENT
    net.drive("nat-remove")
    for command in ("nat-read", "nat-count 10"):
        with pytest.raises(DriverError) as e:
            net.drive(command)
        assert e.value.errno == errno.ENOENT
    # All at once, not one refused step after the other.
    with pytest.raises(DriverError, match="it has gone") as e:
        net.drive.want(f"member vip {VIP4}", *[frontend(VIP4, TCP, port, ("198.51.100.1", 80)) for port in range(1, 200)])
    assert e.value.errno == errno.ENOENT
    net.drive("nat-ensure")
    net.drive("nat-remove")
    assert net.nft("list", "ruleset") == ""


@pytest.mark.parametrize("frontends, n_slots", [(770, 13), (10, 1021), (3, 5003)])
def test_ten_thousand_slots(net, frontends, n_slots):
    net.drive("nat-ensure")
    lines = net.drive(f"nat-load {frontends} {n_slots}")
    assert lines[0].startswith(f"applied {frontends * (n_slots + 1)} in ")
    assert lines[1].startswith("checked in ") # and found right


def test_a_reading_beside_other_peoples_transactions_is_whole(net):
    """Every commit of anybody interrupts dumps (the generation changes); readings must still end."""
    net.drive("nat-ensure")
    net.drive("nat-load 700 13")
    busy = subprocess.Popen([*net.enter, "sh", "-c",
                             "nft add table ip other; while nft add set ip other s '{ type ipv4_addr; }'"
                             " && nft delete set ip other s; do :; done"])
    try:
        started = net.generation()
        wait_for(lambda: net.generation() > started + 4, what="transactions of others")
        for _ in range(10):
            with contextlib.suppress(DriverError):
                assert right(net)
                break
        else:
            pytest.fail("no reading of ten came through")
    finally:
        busy.kill()
        busy.wait()


# ---- chains that come and go ------------------------------------------------------------------

def test_hundreds_of_frontends_in_turn_have_chains_of_their_own(net):
    net.drive("nat-ensure")
    lines = [frontend(f"203.0.113.{i % 250 + 1}", TCP if i < 250 else UDP, 80, ("198.51.100.1", 80), ("198.51.100.2", 80),
                      balance="turn", n_slots=2) for i in range(400)]
    net.drive.want(*lines)
    assert right(net)
    assert len(own_chains(net)) == 400
    rules = json.loads(net.nft("-j", "list", "chain", "inet", "leasehold", "turn-2-203.0.113.1-tcp-80"))["nftables"]
    once = len([part for part in rules if "rule" in part])
    # Other backends: the chain stays and has its rules once.
    net.drive.want(*(line.replace("198.51.100.2", "198.51.100.3") for line in lines))
    assert right(net)
    rules = json.loads(net.nft("-j", "list", "chain", "inet", "leasehold", "turn-2-203.0.113.1-tcp-80"))["nftables"]
    assert len([part for part in rules if "rule" in part]) == once
    # Half of them with another number: other chains.  The rest goes.
    half = [line.replace("turn 2", "turn 4") for line in lines[:200]]
    net.drive.want(*half)
    assert right(net)
    assert own_chains(net) == {f"turn-4-203.0.113.{i + 1}-tcp-80" for i in range(200)}
    # Another process finds them, and those that nothing uses.
    net.nft("delete element inet leasehold dispatch4 { 203.0.113.1 . tcp . 80 }")
    with contextlib.closing(Net.__new__(Net)) as other:
        other.__dict__.update(net.__dict__)
        other.anchor, other.drive = net.anchor, type(net.drive)(prefix=net.enter)
        other.drive("nat-ensure")
        other.drive("nat-adopt")
        other.drive.want(*half[1:])
        assert right(other)
        assert len(own_chains(net)) == 199
        other.drive.want()
        assert own_chains(net) == set()
        other.close = lambda: other.drive.end()


def test_a_chain_of_several_users_goes_with_the_last(net):
    net.drive("nat-ensure")
    ends = ("198.51.100.1", 80), ("198.51.100.2", 80)
    lines = [frontend(VIP4, TCP, p, *ends, balance="source", sticky=10800) for p in (80, 81, 82)]
    net.drive.want(*lines)
    assert own_chains(net) == {"source-13-10800s", "return-13-10800s"}
    # Each leads where clients are remembered; one that does not is found, and made anew.
    assert elements(net, "returns4") == {f"{VIP4} . tcp . {p}": "return-13-10800s" for p in (80, 81, 82)}
    net.nft("delete element inet leasehold returns4 { 192.0.2.200 . tcp . 81 }")
    assert [line.split()[2:5] for line in net.drive("nat-check")] == [[VIP4, "6", "81"]]
    net.drive("nat-adopt")
    net.drive.want(*lines)
    assert right(net)
    assert len(elements(net, "returns4")) == 3
    net.drive.want(*lines[:1])
    assert own_chains(net) == {"source-13-10800s", "return-13-10800s"}
    net.drive.want(frontend(VIP4, TCP, 80, *ends, balance="source", sticky=60))
    assert own_chains(net) == {"source-13-60s", "return-13-60s"}
    net.drive.want()
    assert own_chains(net) == set()


def test_firewalls_are_written_anew_and_removed(net):
    net.drive("nat-ensure")
    one, two = frontend(VIP4, TCP, 80, ("198.51.100.1", 80), firewall="default/web"), "firewall default/web 1 packets=50"
    net.drive.want(one, two)
    assert right(net)
    assert "limit rate" in net.nft("list", "chain", "inet", "leasehold", "firewall-default/web")
    net.drive.want(one, "firewall default/web 1 restricted from=203.0.113.0/24 connections=7")
    assert right(net)
    text = net.nft("list", "chain", "inet", "leasehold", "firewall-default/web")
    assert "limit rate" not in text
    assert "ct count over 7" in text
    # Found after a restart by its digest, emptied and with a stranger's rule.
    net.drive("nat-adopt")
    assert net.drive.want(one, "firewall default/web 1 restricted from=203.0.113.0/24 connections=7") > 0
    assert right(net)
    net.nft("add rule inet leasehold firewall-default/web accept")
    assert net.drive("nat-check") == ["missing firewall default/web"]
    net.drive("nat-ensure")
    net.drive("nat-adopt")
    net.drive.want(one, two)
    assert right(net)
    net.nft("insert rule inet leasehold firewall-default/web accept")
    assert net.drive("nat-check") == ["missing firewall default/web"]
    net.nft("flush chain inet leasehold firewall-default/web")
    assert net.drive("nat-check") == ["missing firewall default/web"]
    net.drive("nat-adopt")
    net.drive.want(one, two)
    assert right(net)
    net.drive("nat-ensure")
    net.drive("nat-adopt")
    net.drive.want(one, two)
    assert right(net)
    net.drive.want(one.replace("default/web", "-"))
    assert right(net)
    assert own_chains(net) == set()


def handles(net, chain):
    listing = json.loads(net.nft("-j", "list", "chain", "inet", "leasehold", chain))["nftables"]
    return [part["rule"]["handle"] for part in listing if "rule" in part]


def test_rules_that_a_firewall_lacks_are_missed(net):
    net.drive("nat-ensure")
    wanted = [frontend(VIP4, TCP, 80, ("198.51.100.1", 80), firewall="default/web"),
              "firewall default/web 1 restricted from=203.0.113.0/24 from=2001:db8::/32 packets=50 bytes=100 connections=5"]
    net.drive.want(*wanted)
    firewall, sources = "firewall-default/web", "sources-default/web"
    for chain, n in ((firewall, 5), (sources, 3)):
        for i in range(n):
            assert len(handles(net, firewall)) == 5 and len(handles(net, sources)) == 3
            net.nft("delete", "rule", "inet", "leasehold", chain, "handle", str(handles(net, chain)[i]))
            assert net.drive("nat-check") == ["missing firewall default/web"], (chain, i)
            net.drive("nat-adopt")
            net.drive.want(*wanted)
            assert right(net)
    for damage in (f"flush chain inet leasehold {sources}", f"insert rule inet leasehold {sources} return"):
        net.nft(damage)
        assert net.drive("nat-check") == ["missing firewall default/web"], damage
        net.drive("nat-adopt")
        net.drive.want(*wanted)
        assert right(net)


# ---- notifications ----------------------------------------------------------------------------

def watch(net):
    """What the watch says of all that has come until now."""
    said = net.drive("nat-watch 0")[0]
    while said != "silent":
        more = net.drive("nat-watch 0")[0]
        if more == "silent":
            break
        said = "changed" if "changed" in (said, more) else said
    return said


def test_our_own_changes_are_not_heard(net):
    net.drive("nat-ensure")
    assert watch(net) == "silent"
    net.drive.want(*every_kind(CLASSES[:3]))
    net.drive.want()
    net.drive("nat-ensure unmatched=drop")
    assert watch(net) == "silent"


@pytest.mark.parametrize("damage", [
    "delete element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 0 }",
    "delete element inet leasehold dispatch4 { 192.0.2.200 . tcp . 80 }",
    "delete element inet leasehold vips4 { 192.0.2.200 }",
    "add element inet leasehold vips4 { 192.0.2.201 }",
    "flush set inet leasehold vips4",
    "flush chain inet leasehold services",
    "insert rule inet leasehold nat-prerouting accept",
    "add rule inet leasehold turn-1-192.0.2.200-tcp-81 drop",
    "add rule inet leasehold firewall-default/web accept",
    "flush table inet leasehold",
    "delete table inet leasehold",
    "flush ruleset",
])
def test_changes_of_others_are_heard(net, damage):
    net.drive("nat-ensure")
    net.drive.want(f"member vip {VIP4}", frontend(VIP4, TCP, 80, ("198.51.100.1", 80), firewall="default/web"),
                   frontend(VIP4, TCP, 81, ("198.51.100.1", 80), balance="turn", n_slots=1),
                   "firewall default/web 1 packets=5")
    assert watch(net) == "silent"
    net.nft(script=damage)
    assert watch(net) == "changed"


@pytest.mark.parametrize("other", [
    "table inet other { map slots4 { type ipv4_addr : ipv4_addr; elements = { 192.0.2.1 : 192.0.2.2 }; }; }",
    "table ip leasehold { set vips4 { type ipv4_addr; elements = { 192.0.2.1 }; }; }",
    "add rule inet leasehold user-forward drop",
    "add rule inet leasehold user-forward drop; flush chain inet leasehold user-forward",
    "add chain inet leasehold mine; add rule inet leasehold mine drop",
    "add set inet leasehold mine { type ipv4_addr; }; add element inet leasehold mine { 192.0.2.1 }",
    "add element inet leasehold former4 { 198.51.100.1 timeout 100ms }",
])
def test_what_is_nobodys_business_is_left(net, other):
    net.drive("nat-ensure")
    assert watch(net) == "silent"
    net.nft(script=other)
    assert watch(net) == "unchanged"
    if "timeout" in other:
        wait_for(lambda: elements(net, "former4") == {}, what="the element to expire")
        assert watch(net) == "silent"


def test_more_than_the_queue_holds_counts_as_a_change(net):
    net.drive("nat-ensure")
    assert watch(net) == "silent"
    script = "".join("add chain inet other c%d; add rule inet other c%d drop; " % (i, i) for i in range(20000))
    net.nft(script="add table inet other; " + script)
    assert watch(net) == "changed"


# ---- counters, and what rules do themselves ---------------------------------------------------

def test_counters_of_an_idle_table(net):
    net.drive("nat-ensure counters")
    net.drive.want(*every_kind(CLASSES[:1]))
    lines = net.drive("nat-count 1000000")
    assert len([line for line in lines if line.split()[0] in ("received", "sent", "backend", "opened")]) == 4 * 2 * 3
    assert f"frontend {VIP4} 6 1 0" in lines
    assert lines[-6:] == [f"drop {why} 0 0" for why in ("invalid", "source-range", "rate", "connections", "unmatched",
                                                        "router")]
    few = net.drive("nat-count 3")
    assert len(few) == 3 + 3 + 6


ANSWER = """
import select, socket, sys
sockets = []
for address in sys.argv[1:]:
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 5353))
    sockets.append(s)
print("ready", flush=True)
while True:
    for s in select.select([*sockets, sys.stdin], [], [])[0]:
        if s is sys.stdin:
            sys.exit()
        data, peer = s.recvfrom(100)
        s.sendto(s.getsockname()[0].encode(), peer)
"""
ASK = """
import socket, sys
vip, port, sources = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
for source in sources:
    address, own = source.rsplit("@", 1)
    s = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.bind((address, int(own)))
    s.sendto(b"?", (vip, port))
    print(s.recv(100).decode())
"""
PODS4, PODS6 = ("198.51.100.1", "198.51.100.2"), ("2001:db8:1::1", "2001:db8:1::2")
CLIENTS4, CLIENTS6 = [f"203.0.113.{i}" for i in range(1, 9)], [f"2001:db8:2::{i}" for i in range(1, 9)]


@pytest.fixture
def traffic(net):
    """VIPs, backends and clients are all addresses of the one namespace; a backend answers with its own."""
    net.ip("-b", "-", script="".join(f"addr add {a}/{32 if '.' in a else 128} dev lo\n"
                          for a in (VIP4, VIP6, *PODS4, *PODS6, *CLIENTS4, *CLIENTS6)) + "link set lo up\n")
    answer = subprocess.Popen([*net.enter, "/usr/bin/python3", "-I", "-S", "-c", ANSWER, *PODS4, *PODS6],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert answer.stdout.readline() == "ready\n"
    net.drive("nat-ensure counters")
    net.ask = lambda vip, *sources: net.run("/usr/bin/python3", "-I", "-S", "-c", ASK, vip, "53", *sources).stdout.split()
    yield net
    answer.stdin.close()
    assert answer.wait(timeout=20) == 0
    answer.stdout.close()


def pods(vip):
    return [(address, 5353) for address in (PODS4 if "." in vip else PODS6)]


def test_connections_are_counted(traffic):
    frontends = [frontend(vip, UDP, 53, *pods(vip), balance="turn", n_slots=2) for vip in (VIP4, VIP6)]
    members = [f"member vip {VIP4}", f"member vip {VIP6}"]
    traffic.drive.want(*frontends, *members)
    assert traffic.ask(VIP4, *(f"{CLIENTS4[0]}@{p}" for p in range(4001, 4007))) == [*PODS4] * 3
    assert traffic.ask(VIP6, f"{CLIENTS6[0]}@4001") == [PODS6[0]]
    counts = traffic.drive("nat-count 100")
    assert f"frontend {VIP4} 17 53 6" in counts
    assert f"frontend {VIP6} 17 53 1" in counts
    # A reading takes nothing away; a frontend whose backends change counts anew.
    assert traffic.drive("nat-count 100") == counts


def test_clients_return_until_their_backend_goes(traffic):
    drive, members = traffic.drive, [f"member vip {VIP4}", f"member vip {VIP6}"]

    def wanted(n, sticky=600):
        return [*members, *(frontend(vip, UDP, 53, *pods(vip)[:n], balance="source", sticky=sticky) for vip in (VIP4, VIP6))]

    drive.want(*wanted(2))
    assert watch(traffic) == "silent"
    asked = {vip: traffic.ask(vip, *(f"{a}@4001" for a in clients)) for vip, clients in ((VIP4, CLIENTS4), (VIP6, CLIENTS6))}
    assert set(asked[VIP4]) == set(PODS4) and set(asked[VIP6]) == set(PODS6)
    assert elements(traffic, "clients4") == {
        f"{VIP4} . udp . 53 . {a}": f"{pod} . 5353" for a, pod in zip(CLIENTS4, asked[VIP4], strict=True)}
    assert watch(traffic) == "silent" # what rules add is no news
    drive.want(*wanted(1), forget=True)
    for vip, clients, name in ((VIP4, CLIENTS4, "clients4"), (VIP6, CLIENTS6, "clients6")):
        kept = [a for a, pod in zip(clients, asked[vip], strict=True) if pod == pods(vip)[0][0]]
        assert set(elements(traffic, name)) == {f"{vip} . udp . 53 . {a}" for a in kept}
    # Backends come back: clients that were not forgotten have theirs; all are forgotten with the frontend.
    drive.want(*wanted(2), forget=True)
    assert traffic.ask(VIP4, *(f"{a}@4002" for a in CLIENTS4)) == asked[VIP4]
    drive.want(*members, forget=True)
    assert elements(traffic, "clients4") == elements(traffic, "clients6") == {}
    # They expire by themselves, and that is no news either.
    drive.want(*wanted(2, sticky=1))
    assert watch(traffic) == "silent"
    traffic.ask(VIP4, *(f"{a}@4003" for a in CLIENTS4))
    wait_for(lambda: elements(traffic, "clients4") == {}, what="clients to expire")
    assert watch(traffic) == "silent"


def test_after_a_restart_clients_are_forgotten_too(traffic):
    """What backends there were before is not known then, just those there are."""
    wanted = [f"member vip {VIP4}", frontend(VIP4, UDP, 53, *pods(VIP4), balance="source", sticky=600)]
    traffic.drive.want(*wanted)
    asked = traffic.ask(VIP4, *(f"{a}@4001" for a in CLIENTS4))
    traffic.drive("nat-adopt")
    traffic.drive.want(wanted[0], frontend(VIP4, UDP, 53, *pods(VIP4)[1:], balance="source", sticky=600), forget=True)
    kept = [a for a, pod in zip(CLIENTS4, asked, strict=True) if pod == PODS4[1]]
    assert set(elements(traffic, "clients4")) == {f"{VIP4} . udp . 53 . {a}" for a in kept}


def flows(net, vip):
    """Backends of the connections to a VIP, sorted."""
    lines = net.run("conntrack", "-L", "-f", "ipv4" if "." in vip else "ipv6", "-d", vip, check=False).stdout.splitlines()
    return sorted([word for word in line.split() if word.startswith("src=")][1].removeprefix("src=") for line in lines)


def test_flows_to_a_backend_that_has_gone_are_deleted(traffic):
    drive = traffic.drive
    drive.want(f"member vip {VIP4}", f"member vip {VIP6}",
               *(frontend(vip, UDP, 53, *pods(vip), balance="turn", n_slots=2) for vip in (VIP4, VIP6)))
    for vip, source in ((VIP4, CLIENTS4[0]), (VIP6, CLIENTS6[0])):
        traffic.ask(vip, *(f"{source}@{p}" for p in range(4001, 4007)))
    assert flows(traffic, VIP4) == sorted([*PODS4] * 3) and flows(traffic, VIP6) == sorted([*PODS6] * 3)
    # None of these is theirs: another backend, port, protocol or VIP.
    for other in (f"{VIP4} 17 53 198.51.100.3 5353", f"{VIP4} 17 54 {PODS4[0]} 5353", f"{VIP4} 17 53 {PODS4[0]} 5354",
                  f"{VIP4} 6 53 {PODS4[0]} 5353", f"192.0.2.201 17 53 {PODS4[0]} 5353"):
        assert drive(f"ct-gone {other}") == ["deleted 0"]
    assert drive(f"ct-gone {VIP4} 17 53 {PODS4[0]} 5353") == ["deleted 3"]
    assert flows(traffic, VIP4) == [PODS4[1]] * 3 and flows(traffic, VIP6) == sorted([*PODS6] * 3)
    # Several at once, of both families, with little in common.
    assert drive(f"ct-gone {VIP4} 17 54 {PODS4[1]} 5353 192.0.2.201 6 53 {PODS4[1]} 5353") == ["deleted 0"]
    assert drive(f"ct-gone {VIP6} 17 53 {PODS6[1]} 5353 {VIP4} 6 80 {PODS4[0]} 80 192.0.2.201 17 53 {PODS4[0]} 5353 "
                 f"{VIP4} 17 53 {PODS4[1]} 5353 2001:db8::c9 132 1 {PODS6[0]} 1") == ["deleted 6"]
    assert flows(traffic, VIP4) == [] and flows(traffic, VIP6) == [PODS6[0]] * 3
    # One of IPv6 alone: no address of its may be in the kernel's filter.
    assert drive(f"ct-gone {VIP6} 17 53 {PODS6[0]} 5353") == ["deleted 3"]
    assert drive("ct-gone") == ["deleted 0"]
