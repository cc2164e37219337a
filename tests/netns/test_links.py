"""The watch over interfaces (netlink/link_watch.c, through kernel_driver.c) says what `ip -j -d link` says, on links of every
kind that the kernel can make, while they are renamed, get another MAC, become ports, lose their carrier, go and come back.  A
kind that the kernel cannot make is a skip with the kernel's own words."""

import contextlib
import json
import subprocess
import time

import pytest

from netns.driver import BUILD, BUILT, Net
from netns.lab import wait_for

pytestmark = [pytest.mark.netns, pytest.mark.skipif(not BUILT, reason=f"no drivers in {BUILD}")]

KINDS = {"vlan": "vlan", "bond": "bond", "team": "bond", "bridge": "bridge", "macvlan": "macvlan", "vrf": "vrf"}
MADE = {
    "veth": "type veth peer name x0peer",
    "bridge": "type bridge",
    "macvlan": "link d0 type macvlan mode bridge",
    "vlan": "link d0 type vlan id 7",
    "bond": "type bond mode active-backup miimon 20",
    "vrf": "type vrf table 100",
    "team": "type team",
}


@pytest.fixture
def net():
    """A namespace with two pairs of veth, d0 and d1, whose other ends are d0peer and d1peer, all up."""
    with contextlib.closing(Net()) as made:
        made.ip("-batch", "-", script="".join(
            f"link add {d} type veth peer name {d}peer\nlink set {d}peer up\nlink set {d} up\n" for d in ("d0", "d1")))
        made.drive("watch 0")
        yield made


def make(net, kind, name="x0", index=None):
    numbered = ["index", str(index)] if index else []
    words = MADE[kind].replace("x0", name).split()
    on = words[:words.index("type")]
    done = net.run("ip", "link", "add", *on, "name", name, *numbered, *words[len(on):], check=False)
    if done.returncode != 0 and "Unknown device type" in done.stderr:
        pytest.skip(f"this kernel has no {kind}: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


# ---- two views --------------------------------------------------------------------------------

def by_ip(net):
    """{name: what `ip` says}, with the names of master and lower link."""
    links = {}
    for link in json.loads(net.ip("-j", "-d", "link")):
        info, flags = link.get("linkinfo", {}), link["flags"]
        kind, ethernet = info.get("info_kind"), link["link_type"] == "ether"
        links[link["ifname"]] = {
            "index": link["ifindex"], "mac": link["address"] if ethernet else "00:00:00:00:00:00", "ethernet": ethernet,
            "up": "UP" in flags, "carrier": "LOWER_UP" in flags, "loopback": "LOOPBACK" in flags,
            "kind": KINDS.get(kind, "plain" if ethernet else "other"), "pair": kind == "veth",
            "master": link.get("master"), "port": "master" in link and info.get("info_slave_kind") != "vrf",
            "lower": link.get("link") if kind in ("vlan", "macvlan") else None}
    return links


def by_watch(net, timeout_ms=0):
    """The same of the watch, and by name what `ip` does not know: (born, announcements)."""
    links, counts, names = {}, {}, {0: None}
    lines = [line.split() for line in net.drive(f"watch {timeout_ms}")]
    for _, index, name, mac, *flags in (words for words in lines if words[0] == "link"):
        names[int(index)] = name
        links[name] = {"index": int(index), "mac": mac, **{f: f in flags for f in ("ethernet", "up", "carrier", "loopback")}}
    for _, index, kind, *words in (words for words in lines if words[0] == "kind"):
        name, value = names[int(index)], dict(zip(words[-8::2], map(int, words[-7::2])))
        links[name] |= {"kind": kind, "port": "port" in words, "pair": "pair" in words, "master": names[value["master"]],
                        "lower": names[value["lower"]]}
        counts[name] = value["born"], value["announcements"]
    return links, counts


def agree(net, timeout_s=10):
    """Waits until both say the same, and returns the watch's view."""
    until = time.monotonic() + timeout_s
    while True:
        said, counts = by_watch(net, 100)
        wanted = by_ip(net)
        if said == wanted:
            return said, counts
        different = {name: (said.get(name), wanted.get(name)) for name in said.keys() | wanted.keys()
                     if said.get(name) != wanted.get(name)}
        assert time.monotonic() < until, f"watch and ip: {different}"


# ---- every kind -------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", MADE)
def test_the_life_of_a_link_of_each_kind(net, kind):
    make(net, kind)
    said, _ = agree(net)
    assert said["x0"]["kind"] == KINDS.get(kind, "plain")
    index = said["x0"]["index"]
    net.ip("link", "set", "x0", "up")
    agree(net)
    net.ip("link", "set", "x0", "address", "00:00:5e:00:53:07")
    assert agree(net)[0]["x0"]["mac"] == "00:00:5e:00:53:07"
    net.ip("-batch", "-", script="link set x0 down\nlink set x0 name x1\nlink set x1 up\n")
    said, counts = agree(net)
    assert said["x1"]["index"] == index and "x0" not in said
    net.ip("link", "del", "x1")
    assert "x1" not in agree(net)[0]
    make(net, kind, "x1", index)
    said, after = agree(net)
    assert said["x1"]["index"] == index
    assert after["x1"][0] != counts["x1"][0], "the same index, and another link"


def test_a_link_that_goes_and_returns_unseen_is_another(net):
    """Between two looks: only the number of its birth tells."""
    make(net, "macvlan")
    said, before = agree(net)
    for _ in range(3):
        net.ip("link", "del", "x0")
        make(net, "macvlan", index=said["x0"]["index"])
        _, after = agree(net)
        assert after["x0"][0] != before["x0"][0]
        before = after


@pytest.mark.parametrize("kind", ["bridge", "bond", "team"])
def test_ports_come_and_go(net, kind):
    make(net, kind)
    net.ip("link", "set", "d0", "down")  # a bond takes no port that is up
    net.ip("link", "set", "d0", "master", "x0")
    said, _ = agree(net)
    assert said["d0"]["port"] and said["d0"]["master"] == "x0" and not said["x0"]["port"]
    make(net, kind, "x1")
    net.ip("-batch", "-", script="link set d0 nomaster\nlink set d0 down\nlink set d0 master x1\n")
    assert agree(net)[0]["d0"]["master"] == "x1"
    net.ip("link", "set", "d0", "nomaster")
    assert not agree(net)[0]["d0"]["port"]
    net.ip("-batch", "-", script="link set d0 down\nlink set d0 master x1\nlink del x1\n")
    assert agree(net)[0]["d0"]["master"] is None


def test_a_link_in_a_vrf_is_no_port(net):
    make(net, "vrf")
    net.ip("link", "set", "d0", "master", "x0")
    said, _ = agree(net)
    assert said["d0"]["master"] == "x0" and not said["d0"]["port"]
    net.ip("link", "del", "x0")
    assert agree(net)[0]["d0"]["master"] is None


@pytest.mark.parametrize("kind", ["macvlan", "vlan", "bridge", "bond"])
def test_the_carrier_below_is_the_carrier_above(net, kind):
    make(net, kind)
    if kind in ("bridge", "bond"):
        net.ip("link", "set", "d0", "down")
        net.ip("link", "set", "d0", "master", "x0")
    net.ip("-batch", "-", script="link set d0 up\nlink set x0 up\n")
    wait_for(lambda: agree(net)[0]["x0"]["carrier"], what="the carrier")
    net.ip("link", "set", "d0peer", "down")
    wait_for(lambda: not agree(net)[0]["x0"]["carrier"], what="no carrier")
    net.ip("link", "set", "d0peer", "up")
    wait_for(lambda: agree(net)[0]["x0"]["carrier"], what="the carrier again")


# ---- what asks for announcements --------------------------------------------------------------

def test_a_bridge_whose_uplink_returns_is_to_announce(net):
    """It has had its carrier all the time, by another port.  A container's port means nothing."""
    make(net, "bridge")
    make(net, "macvlan", "up0")
    net.ip("-batch", "-", script="link set x0 up\nlink set d1 master x0\nlink set up0 master x0\nlink set up0 up\n")
    wait_for(lambda: agree(net)[0]["up0"]["carrier"], what="the uplink's carrier")
    _, before = agree(net)
    net.ip("-batch", "-", script="link set d1 nomaster\nlink set d1 master x0\nlink set d1peer down\nlink set d1peer up\n")
    wait_for(lambda: agree(net)[0]["d1"]["carrier"], what="the container's carrier")
    assert agree(net)[1]["x0"] == before["x0"]
    net.ip("link", "set", "d0", "down")
    wait_for(lambda: not agree(net)[0]["up0"]["carrier"], what="no carrier")
    assert agree(net)[0]["x0"]["carrier"] and agree(net)[1]["x0"] == before["x0"]
    net.ip("link", "set", "d0", "up")
    wait_for(lambda: agree(net)[1]["x0"] != before["x0"], what="the bridge to ask for announcements")
    assert agree(net)[1]["x0"][0] == before["x0"][0]


def test_a_bond_that_fails_over_is_to_announce(net):
    """As well as a VLAN on it, and the bridge that it is a port of."""
    make(net, "bond")
    net.ip("-batch", "-", script="".join(f"link set {d} down\nlink set {d} master x0\n" for d in ("d0", "d1")) +
           "link set x0 up\n")
    make(net, "bridge", "br0")
    net.ip("-batch", "-", script="link set br0 up\nlink set x0 master br0\n")
    wait_for(lambda: agree(net)[0]["br0"]["carrier"], what="the bond's carrier")
    for dev, other in (("d0peer", "d1"), ("d1peer", "d0")):
        net.ip("link", "set", f"{other}peer", "up")
        net.ip("link", "set", "x0", "type", "bond", "active_slave", dev.removesuffix("peer"))
        _, before = agree(net)
        net.ip("link", "set", dev, "down")
        wait_for(lambda b=before: all(agree(net)[1][name] != b[name] for name in ("x0", "br0")), what="the announcements")
        assert agree(net)[0]["x0"]["carrier"]
        net.ip("link", "set", dev, "up")


# ---- default routes -----------------------------------------------------------------------------

def test_a_next_hop_that_returns_leads_again(net):
    """The kernel marks next hops as dead, and as alive again, without a word."""
    net.ip("-batch", "-", script="addr add 192.0.2.10/24 dev d0\naddr add 198.51.100.10/24 dev d1\n"
           "route add default nexthop via 192.0.2.1 nexthop via 198.51.100.1\n")
    first, second = (by_ip(net)[name]["index"] for name in ("d0", "d1"))

    def leads():
        return int(net.drive("watch 100")[-1].split()[1])

    wait_for(lambda: leads() == first, what="the first next hop")
    net.ip("link", "set", "d0", "down")
    wait_for(lambda: leads() == second, what="the second next hop")
    net.ip("link", "set", "d0", "up")
    wait_for(lambda: leads() == first, what="the first next hop again")


# ---- many -------------------------------------------------------------------------------------

def test_containers_come_and_go(net):
    """Hundreds of pairs, some of them ports, some gone again, seen in one look or in many: what is left is right."""
    make(net, "bridge")
    names = [f"v{i}" for i in range(300)]
    for some in (names[:100], names[100:200], names[200:]):
        net.ip("-batch", "-", script="".join(f"link add {n} type veth peer name {n}p\nlink set {n} up master x0\n" for n in some))
        said, _ = agree(net, timeout_s=60)
        assert said[some[0]]["port"]
    net.ip("-batch", "-", script="".join(f"link del {n}\n" for n in names[:-10]))
    said, _ = agree(net, timeout_s=60)
    assert len(said) == 6 + 20


def told_while(net, script):
    """How often the watch says "changed" in the three seconds in which `ip` works through the script."""
    net.drive("watch 1500")
    with subprocess.Popen([*net.enter, "ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as working:
        working.stdin.write(script)
        working.stdin.close()
        told = int(net.drive("watch-count 3000")[0].split()[1])
    assert working.returncode == 0
    return told


def test_containers_do_not_keep_the_agent_busy(net):
    """The ends of containers are told of once a second at most; an interface that has an address at once, each time."""
    containers = "".join(f"link add v{i} type veth peer name v{i}p\nlink set v{i} up\nlink set v{i}p up\n" for i in range(100))
    assert 1 <= told_while(net, containers) <= 5
    agree(net, timeout_s=60)
    net.ip("addr", "add", "192.0.2.10/24", "dev", "d0")
    net.drive("watch-count 100")
    for i in range(5):
        net.ip("link", "set", "d0", "address", f"00:00:5e:00:53:{i:02x}")
        assert net.drive("watch-count 100") != ["told 0"]
