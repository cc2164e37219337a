"""What netlink/ does to a real kernel: addresses, announcements and the watch over interfaces, each in network
namespaces and each looked at with another program (ip, sockets) than the one that did it.  The C side is
kernel_driver.c.  The data plane is test_frame.py's, test_plan.py's and test_dataplane.py's."""

import contextlib
import errno
import re
import socket
import subprocess
import time

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA
from scapy.layers.l2 import ARP, Ether

from netns.asking import VIP4, VIP6, family_of, hold, index_of, release
from netns.driver import BUILD, BUILT, KERNEL_DRIVER, Driver, DriverError, Net
from netns.lab import Lab, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.skipif(not BUILT, reason=f"no drivers in {BUILD}")]


@pytest.fixture
def net():
    with contextlib.closing(Net()) as made:
        yield made


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2) as made:
        yield made


@pytest.fixture
def drivers(lab):
    """One driver a node; what the tests added is taken away."""
    made = [Driver(node) for node in lab.nodes]
    yield made
    for drive in made:
        drive("nat-remove")
        for ip in (VIP4, VIP6):
            drive(f"addr-del {index_of(drive.host)} {ip}")
        drive.end()
    for host in (lab.client, *lab.nodes):
        host.flush_neighbours()


def test_without_the_right_capability_the_error_is_eperm(net):
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", "--"]
    drive = Driver(prefix=[*net.enter, *drop])
    for command in ("nat-ensure", "nat-remove", f"addr-put 1 {VIP4} 5"):
        with pytest.raises(DriverError) as e:
            drive(command)
        assert e.value.errno == errno.EPERM
    drive.end()
    done = net.run("setpriv", "--bounding-set=-net_raw", "--inh-caps=-all", "--", str(KERNEL_DRIVER), check=False)
    assert done.returncode == 1
    assert "CAP_NET_RAW" in done.stderr


# ---- addresses --------------------------------------------------------------------------------

def with_link(net, *addresses):
    """One end of a veth pair, d0, with these addresses; its index."""
    net.ip("-batch", "-", script="link add d0 type veth peer d0peer\nlink set d0peer up\nlink set d0 up\n" +
           "".join(f"addr add {a} dev d0 nodad\n" if ":" in a else f"addr add {a} dev d0\n"
                   for a in addresses))
    return int(net.ip("-o", "link", "show", "d0").split(":")[0])


@pytest.mark.parametrize("vip, shape", [
    (VIP4, r"inet 192\.0\.2\.200/32 metric 19528 scope global dynamic noprefixroute d0\\"
           r"\s+valid_lft (29|30)sec preferred_lft (29|30)sec"),
    (VIP6, r"inet6 2001:db8::c8/128 metric 19528 scope global nodad deprecated dynamic noprefixroute \\"
           r"\s+valid_lft (29|30)sec preferred_lft 0sec"),
])
def test_a_vip_is_a_host_address_with_a_lifetime(net, vip, shape):
    index = with_link(net)
    routes = net.ip("route"), net.ip("-6", "route", "show", "table", "main")
    net.drive(f"addr-put {index} {vip} 30")
    assert re.search(shape, net.ip("-o", "addr", "show", "d0"))
    assert f"addr {index} {vip}/{128 if ':' in vip else 32} ours" in net.drive("addr-dump")
    assert net.ip("route") == routes[0]
    net.drive(f"addr-put {index} {vip} 30")
    net.drive(f"addr-refresh {index} {vip} 30")
    net.drive(f"addr-del {index} {vip}")
    net.drive(f"addr-del {index} {vip}")
    assert vip not in net.ip("addr")
    assert net.ip("-6", "route", "show", "table", "main") == routes[1]


def changes(net, index, valid_s, *what):
    """(errno of each, text of the error) of changes ("add", IP), ..., made in one exchange."""
    *results, error = net.drive(f"addr-change {index} {valid_s} " + " ".join(f"{verb} {ip}" for verb, ip in what))
    return [int(result) for result in results], error


def test_several_changes_are_each_for_itself(net):
    index = with_link(net, "192.0.2.7/32", "2001:db8::7/128")
    results, error = changes(net, index, 30, ("add", VIP4), ("add", "192.0.2.7"), ("add", VIP6), ("add", "2001:db8::7"),
                             ("drop", "192.0.2.99"), ("refresh", "192.0.2.201"))
    # What somebody else has is to be looked at, what is gone may go, and the others are there.
    assert results == [0, errno.EEXIST, 0, errno.EEXIST, 0, 0] and error == ""
    ours = {line.split()[2].partition("/")[0] for line in net.drive("addr-dump") if line.endswith(" ours")}
    assert ours == {VIP4, VIP6, "192.0.2.201"}
    results, error = changes(net, index, 30, ("drop", VIP4), ("refresh", VIP6), ("drop", "192.0.2.201"))
    assert results == [0, 0, 0] and error == ""
    assert [line.split()[2] for line in net.drive("addr-dump") if line.endswith(" ours")] == [f"{VIP6}/128"]


def test_the_first_change_that_fails_is_named(net):
    index = with_link(net)
    net.run("sysctl", "-qw", "net.ipv6.conf.d0.disable_ipv6=1")
    results, error = changes(net, index, 30, ("add", VIP4), ("add", VIP6), ("drop", VIP6), ("add", "2001:db8::c9"))
    assert results == [0, errno.EACCES, 0, errno.EACCES]
    assert f"adding {VIP6} on interface {index}: IPv6 is off there (disable_ipv6)" in error
    assert VIP4 in net.ip("addr")
    # No such interface: all of them, and the socket goes on.
    results, error = changes(net, index + 7, 30, ("add", VIP4), ("drop", VIP4), ("refresh", VIP4))
    assert results == [errno.ENODEV, 0, errno.ENODEV] and f"adding {VIP4} on interface {index + 7}" in error
    assert f"addr {index} {VIP4}/32 ours" in net.drive("addr-dump")


def test_as_many_changes_as_go_at_once(net):
    index = with_link(net)
    vips = [f"198.51.100.{i}" for i in range(1, 65)]
    assert changes(net, index, 30, *(("add", vip) for vip in vips)) == ([0] * 64, "")
    assert sum(line.endswith(" ours") for line in net.drive("addr-dump")) == 64
    assert changes(net, index, 30, *(("drop", vip) for vip in vips)) == ([0] * 64, "")
    assert not any(line.endswith(" ours") for line in net.drive("addr-dump"))


def test_an_address_that_nobody_refreshes_expires(net):
    index = with_link(net)
    for vip in (VIP4, VIP6):
        net.drive(f"addr-put {index} {vip} 1")
    wait_for(lambda: VIP4 not in net.ip("addr") and VIP6 not in net.ip("addr"), timeout_s=60,
             what="the end of the addresses")


@pytest.mark.parametrize("command", ["addr-put", "addr-refresh"])
def test_a_refreshed_address_is_never_gone(net, command):
    index = with_link(net)
    for vip in (VIP4, VIP6):
        net.drive(f"addr-put {index} {vip} 2")
    monitor = subprocess.Popen([*net.enter, "ip", "-o", "monitor", "address"],
                               stdout=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            for vip in (VIP4, VIP6):
                net.drive(f"{command} {index} {vip} 2")
            time.sleep(0.25)
        net.ip("addr", "add", "192.0.2.99/32", "dev", "d0")
        seen = []
        for line in monitor.stdout:
            if "192.0.2.99" in line:
                break
            seen.append(line)
        assert not [line for line in seen if line.startswith("Deleted")]
        assert "valid_lft forever" not in net.ip("addr", "show", "d0", "to", VIP4)
    finally:
        monitor.kill()
        monitor.wait()
        monitor.stdout.close()


@pytest.mark.parametrize("theirs", [f"{VIP4}/24", f"{VIP4}/32", f"{VIP6}/64", f"{VIP6}/128"])
def test_an_address_of_somebody_else_is_refused_and_left(net, theirs):
    index = with_link(net, theirs)
    vip = theirs.partition("/")[0]
    before = net.ip("-o", "addr", "show", "d0")
    with pytest.raises(DriverError, match="not from Leasehold") as e:
        net.drive(f"addr-put {index} {vip} 5")
    assert e.value.errno == errno.EEXIST
    net.drive(f"addr-del {index} {vip}")
    assert net.ip("-o", "addr", "show", "d0") == before


def test_only_the_vip_among_others_is_removed(net):
    index = with_link(net, "192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64")
    before = net.ip("-o", "-4", "addr", "show", "d0"), net.ip("-6", "route", "show", "table", "main")
    for vip in (VIP4, VIP6):
        net.drive(f"addr-put {index} {vip} 30")
        net.drive(f"addr-del {index} {vip}")
    assert (net.ip("-o", "-4", "addr", "show", "d0"),
            net.ip("-6", "route", "show", "table", "main")) == before


def test_the_metric_marks_an_address_where_the_kernel_knows_no_protocol(net):
    """Before Linux 5.18 IFA_PROTO is dropped: such an address carries the metric alone."""
    index = with_link(net)
    net.ip("addr", "add", f"{VIP4}/32", "dev", "d0", "metric", "19528", "noprefixroute")
    net.ip("addr", "add", f"{VIP6}/128", "dev", "d0", "metric", "19528", "noprefixroute", "nodad")
    assert {f"addr {index} {VIP4}/32 ours", f"addr {index} {VIP6}/128 ours"} <= set(net.drive("addr-dump"))
    for vip in (VIP4, VIP6):
        net.drive(f"addr-put {index} {vip} 30")
        assert "valid_lft forever" not in net.ip("addr", "show", "d0", "to", vip)
        net.drive(f"addr-del {index} {vip}")
        assert vip not in net.ip("addr")


def test_errors_of_addresses_name_the_place(net):
    with pytest.raises(DriverError, match=r"192\.0\.2\.200 on interface 4711") as e:
        net.drive(f"addr-put 4711 {VIP4} 5")
    assert e.value.errno == errno.ENODEV
    net.drive(f"addr-del 4711 {VIP4}")
    net.drive(f"addr-del 4711 {VIP6}")
    index = with_link(net)
    net.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/d0/disable_ipv6")
    with pytest.raises(DriverError, match="IPv6 is off") as e:
        net.drive(f"addr-put {index} {VIP6} 5")
    assert e.value.errno == errno.EACCES


# ---- announcements ----------------------------------------------------------------------------

def test_announcements_go_out_in_both_forms_and_move_caches(lab, drivers):
    for vip in (VIP4, VIP6):
        with lab.client.entered():
            sock = socket.socket(family_of(vip), socket.SOCK_DGRAM)
        with sock:
            hold(drivers[0], [vip])
            sock.sendto(b"x", (vip, 9))
            wait_for(lambda: neighbour(lab.client, vip) == lab.nodes[0].mac, what="the first holder")
            release(drivers[0], [vip])
            with listening(lab.client) as tap:
                frames = drivers[1](f"announce eth0 {vip} {int(vip == VIP6)}")
                assert frames == ["frames 2" if vip == VIP4 else "frames 1"]
                wait_for(lambda: neighbour(lab.client, vip) == lab.nodes[1].mac, what="the announced one")
                check = check_arp if vip == VIP4 else check_na
                check(frames_from(tap), lab.nodes[1].mac)


def listening(host, dev="eth0"):
    """A socket that hears all frames of a device."""
    with host.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.bind((dev, 3))
    tap.setblocking(False)
    return tap


def frames_from(tap):
    frames = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frames.append(Ether(tap.recv(2048)))
    return frames


def neighbour(host, ip):
    return next((n.get("lladdr") for n in host.ip_json("neigh", "show", "to", ip)), None)


def check_arp(frames, mac):
    request, reply = [f for f in frames if ARP in f and f[ARP].psrc == VIP4]
    for frame in (request, reply):
        assert (frame.src, frame.dst) == (mac, "ff:ff:ff:ff:ff:ff")
        assert (frame[ARP].hwsrc, frame[ARP].pdst) == (mac, VIP4)
    assert (request[ARP].op, request[ARP].hwdst) == (1, "00:00:00:00:00:00")
    assert (reply[ARP].op, reply[ARP].hwdst) == (2, mac)


def check_na(frames, mac):
    frame, = [f for f in frames if ICMPv6ND_NA in f and f[ICMPv6ND_NA].tgt == VIP6]
    assert (frame.src, frame.dst) == (mac, "33:33:00:00:00:01")
    na = frame[ICMPv6ND_NA]
    assert (na.R, na.S, na.O) == (1, 0, 1)
    assert na.payload.lladdr == mac


def test_announcing_where_it_cannot_be_is_an_error(net):
    with pytest.raises(DriverError, match="lo is not an Ethernet interface") as e:
        net.drive(f"announce lo {VIP4} 0")
    assert e.value.errno == errno.EPFNOSUPPORT
    with_link(net)
    net.drive("watch 0")
    net.ip("link", "set", "d0", "down")
    with pytest.raises(DriverError) as e:
        net.drive(f"announce d0 {VIP4} 0")
    assert e.value.errno == errno.ENETDOWN
    net.ip("link", "del", "d0")
    with pytest.raises(DriverError) as e:
        net.drive(f"announce d0 {VIP4} 0")
    assert e.value.errno in (errno.ENXIO, errno.ENODEV)


# ---- the watch --------------------------------------------------------------------------------

def seen(net, line, present=True, timeout_ms=5000):
    """The watch's state once it has (or lacks) that line."""
    until = time.monotonic() + timeout_ms / 1000
    while True:
        lines = net.drive("watch 200")
        if (line in lines) == present:
            return lines
        assert time.monotonic() < until, f"{line!r} {'not ' if present else ''}in {lines}"


def test_the_watch_follows_links_addresses_and_routes(net):
    index = with_link(net, "192.0.2.10/24", "2001:db8::10/64")
    net.ip("link", "set", "d0", "address", "00:00:5e:00:53:01")
    link = f"link {index} d0 00:00:5e:00:53:01 ethernet up carrier"
    lines = seen(net, link)
    assert {f"addr {index} 192.0.2.10/24 others", f"addr {index} 2001:db8::10/64 others",
            "default 0 0"} <= set(lines)
    assert net.drive("watch 0")[0] == "same"

    net.drive(f"addr-put {index} {VIP4} 30")
    seen(net, f"addr {index} {VIP4}/32 ours")
    net.drive(f"addr-refresh {index} {VIP4} 30")
    assert net.drive("watch 200")[0] == "same"
    net.ip("addr", "add", f"{VIP4}/24", "dev", "d0")
    net.drive("watch 200")
    assert [x for x in net.drive("watch 0") if VIP4 in x] == [f"addr {index} {VIP4}/32 ours"]
    net.drive(f"addr-del {index} {VIP4}")
    seen(net, f"addr {index} {VIP4}/24 others")

    net.ip("route", "add", "default", "via", "192.0.2.1", "metric", "200")
    seen(net, f"default {index} 0")
    net.ip("-6", "route", "add", "default", "via", "2001:db8::1", "proto", "ra", "metric", "1024")
    seen(net, f"default {index} {index} ra")

    net.ip("link", "set", "d0", "down")
    lines = seen(net, "default 0 0")
    assert f"link {index} d0 00:00:5e:00:53:01 ethernet" in lines
    net.ip("link", "set", "d0", "up")
    seen(net, link)
    net.ip("link", "set", "d0", "down")
    net.ip("link", "set", "d0", "name", "d1")
    seen(net, f"link {index} d1 00:00:5e:00:53:01 ethernet")
    net.ip("link", "del", "d1")
    lines = seen(net, f"link {index} d1 00:00:5e:00:53:01 ethernet", present=False)
    assert not [x for x in lines if x.startswith(f"addr {index} ")]


def test_the_watch_prefers_the_lowest_metric_and_the_main_table(net):
    first = with_link(net, "192.0.2.10/24")
    net.ip("-batch", "-", script="link add d2 type veth peer d2peer\nlink set d2peer up\nlink set d2 up\naddr add 198.51.100.10/24 dev d2\n"
                                 "route add default via 198.51.100.1 metric 50 table 100\n"
                                 "route add default via 192.0.2.1 metric 200\n")
    second = int(net.ip("-o", "link", "show", "d2").split(":")[0])
    seen(net, f"default {first} 0")
    net.ip("route", "add", "default", "via", "198.51.100.1", "metric", "100")
    seen(net, f"default {second} 0")
    net.ip("route", "replace", "default", "via", "192.0.2.1", "metric", "100")
    seen(net, f"default {first} 0")
    net.ip("route", "replace", "default", "metric", "100", "nexthop", "via", "198.51.100.1",
           "nexthop", "via", "192.0.2.1")
    seen(net, f"default {second} 0")
    net.ip("addr", "del", "198.51.100.10/24", "dev", "d2")
    seen(net, f"default {first} 0")


def test_a_port_that_leaves_its_bridge_is_still_a_link(net):
    net.ip("-batch", "-", script="link add br0 type bridge\nlink add d0 type veth peer d0peer\nlink set d0 up master br0\n")
    index = int(net.ip("-o", "link", "show", "d0").split(":")[0])
    net.drive("watch 200")
    net.ip("link", "set", "d0", "nomaster")
    assert [x for x in net.drive("watch 200") if x.startswith(f"link {index} d0 ")]


def test_the_watch_recovers_when_notifications_are_lost(net):
    """More changes than the socket's queue holds while nobody reads: ENOBUFS, and all is read anew."""
    index = with_link(net)
    many = [f"198.18.{i >> 8}.{i & 255}/32" for i in range(5000)]
    net.drive("watch 0")
    net.ip("-batch", "-", script="".join(f"addr add {a} dev d0\n" for a in many))
    net.ip("-batch", "-", script="".join(f"addr del {a} dev d0\n" for a in many[10:]))
    assert_overrun(net)
    lines = seen(net, f"addr {index} {many[9]} others")
    assert sorted(x for x in lines if x.startswith(f"addr {index} 198.18")) == \
        sorted(f"addr {index} {a} others" for a in many[:10])


def assert_overrun(net):
    """The kernel did drop notifications for a socket of the driver (/proc/net/netlink, column Drops)."""
    rows = [line.split() for line in net.run("cat", "/proc/net/netlink").stdout.splitlines()[1:]]
    assert any(row[1] == "0" and int(row[8]) > 0 for row in rows), rows


# ---- sysctls ----------------------------------------------------------------------------------

def test_sysctls_are_read_and_written(net):
    net.ip("-batch", "-", script="link add d0.10 type veth peer d0peer\n")
    assert net.drive("sysctl-get 4 d0.10") == ["net.ipv4.conf.d0/10.forwarding 0"]
    net.drive("sysctl-set 4 d0.10 1")
    assert net.run("sysctl", "-n", "net.ipv4.conf.d0/10.forwarding").stdout == "1\n"
    net.drive("sysctl-set 6 all 1")
    assert net.drive("sysctl-get 6 d0.10") == ["net.ipv6.conf.d0/10.forwarding 1"]
    for name in ("none", "..", "a/b", "d0.10/../all"):
        with pytest.raises(DriverError):
            net.drive(f"sysctl-get 4 {name}")


def test_a_sysctl_that_cannot_be_written_says_why(net):
    readonly = Driver(prefix=["unshare", "-nm", "sh", "-c", 'mount -o bind,ro /proc/sys /proc/sys && exec "$0"'])
    with pytest.raises(DriverError, match="net.ipv4.conf.lo.forwarding: /proc/sys is read-only") as e:
        readonly("sysctl-set 4 lo 1")
    assert e.value.errno == errno.EROFS
    readonly.end()
