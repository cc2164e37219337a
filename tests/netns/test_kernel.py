"""What netlink/ does to a real kernel: tables, maps, packets, addresses, announcements and the watch
over interfaces, each in network namespaces and each looked at with another program (nft, ip, sockets)
than the one that did it.  The C side is kernel_driver.c."""

import contextlib
import errno
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA
from scapy.layers.l2 import ARP, Ether

from netns.lab import ECHO_PORT, Lab, wait_for

DRIVER = os.environ.get("LEASEHOLD_KERNEL_DRIVER",
                        str(Path(__file__).parents[2] / "build/release/netns/kernel_driver"))
VIP4, VIP6 = "192.0.2.200", "2001:db8::c8"
TCP, UDP, SCTP = 6, 17, 132
CLASSES = (13, 61, 251, 1021, 5003)

pytestmark = [pytest.mark.netns,
              pytest.mark.skipif(not os.access(DRIVER, os.X_OK), reason=f"no driver at {DRIVER}")]


class DriverError(Exception):
    def __init__(self, number, text):
        super().__init__(f"{errno.errorcode.get(number, number)}: {text}")
        self.errno, self.text = number, text


class Driver:
    """kernel_driver in a host, or behind a prefix of words (unshare ...)."""

    def __init__(self, host=None, prefix=()):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        argv = [*prefix, DRIVER]
        self.host = host
        self.process = host.spawn(argv, **pipes) if host else subprocess.Popen(argv, **pipes)

    def __call__(self, *lines):
        """Run one command (its further lines, too) and return the lines it printed."""
        self.process.stdin.write("".join(line + "\n" for line in lines))
        self.process.stdin.flush()
        out = []
        for line in self.process.stdout:
            if line == "ok\n":
                return out
            if line.startswith("error "):
                _, number, text = line.rstrip("\n").split(" ", 2)
                raise DriverError(int(number), text)
            out.append(line.rstrip("\n"))
        raise AssertionError(f"the driver ended after {lines[0]!r}: {self.process.wait()}")

    def apply(self, *groups):
        lines = [line for group in groups for line in (*group, "group")]
        return self("nat-apply", *lines, "end")

    def end(self):
        """Ends the driver by the end of its input: it must free all and say nothing (sanitizers)."""
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0
        self.process.stdout.close()


class Net:
    """A bare namespace without a lab: for what needs no packets."""

    def __init__(self):
        self.anchor = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo up; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.anchor.stdout.readline() == "up\n"
        self.enter = ["nsenter", "-t", str(self.anchor.pid), "-n"]
        self.drive = Driver(prefix=self.enter)

    def run(self, *argv, check=True, script=None):
        done = subprocess.run([*self.enter, *argv], input=script, text=True, capture_output=True,
                              timeout=60)
        if check:
            assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done

    def nft(self, *argv, script=None):
        return self.run("nft", *(("-f", "-") if script is not None else argv), script=script).stdout

    def ip(self, *argv, script=None):
        return self.run("ip", *argv, script=script).stdout

    def generation(self):
        """The number of nf_tables transactions so far (NFT_MSG_GETGEN)."""
        code = ("import socket,struct;s=socket.socket(16,3,12);"
                "s.send(struct.pack('=IHHIIBBH',20,(10<<8)|16,1,1,0,0,0,0));"
                "d=s.recv(4096);print(struct.unpack('>I',d[24:28])[0])")
        return int(self.run("/usr/bin/python3", "-I", "-S", "-c", code).stdout)

    def close(self):
        try:
            self.drive.end()
        finally:
            self.anchor.stdin.close()
            self.anchor.wait(timeout=20)
            self.anchor.stdout.close()


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


def index_of(host, dev="eth0"):
    return host.ip_json("link", "show", "dev", dev)[0]["ifindex"]


def frontend(vip, proto, port, backends, balance="hash", n_slots=13):
    """The ops of a frontend whose slots the backends take in turn."""
    return [*(f"slot-add {vip} {proto} {port} {i} {' '.join(backends[i % len(backends)])}"
              for i in range(n_slots)),
            f"frontend-add {vip} {proto} {port} {balance} {n_slots}"]


def removal(ops):
    return [op.replace("-add", "-del") for op in reversed(ops)]


# ---- the table and its elements ---------------------------------------------------------------

def every_kind(classes=CLASSES):
    """Groups with every class, balance, family and protocol, and ports at both ends."""
    groups = [[f"vip-add {VIP4}", f"vip-add {VIP6}", "vip-add 203.0.113.255"],
              [f"guard-add 198.51.100.1 {TCP} 1", f"guard-add 198.51.100.1 {UDP} 65535",
               f"guard-add 2001:db8:1:2:3:4:5:6 {SCTP} 443"],
              [f"home-add {VIP4} 1", f"home-add {VIP6} 1"],
              ["local-add 198.51.100.2", "local-add 2001:db8:1::1"]]
    for i, n_slots in enumerate(classes):
        for balance in ("hash", "random"):
            four = [("198.51.100.1", "1"), ("198.51.100.2", "65535")]
            six = [("2001:db8:1::1", "1"), ("2001:db8:1:2:3:4:5:6", "65535")]
            proto = (TCP, UDP, SCTP)[i % 3]
            port = (1, 443, 8080, 32768, 65535)[i] if balance == "hash" else 7000 + i
            groups.append(frontend(VIP4 if balance == "hash" else "203.0.113.255", proto, port, four,
                                   balance, n_slots))
            groups.append(frontend(VIP6, proto, port, six, balance, n_slots)
                          if n_slots < 1000 else [])
    return [g for g in groups if g]


def test_what_is_applied_is_read_back(net):
    groups = every_kind()
    net.drive("nat-ensure")
    assert net.drive("nat-dump") == []
    total = sum(map(len, groups))
    assert net.drive.apply(*groups) == [f"done {total} of {total}"]
    assert sorted(net.drive("nat-dump")) == sorted(op for g in groups for op in g)
    gone = [removal(g) for g in reversed(groups)]
    net.drive.apply(*gone)
    assert net.drive("nat-dump") == []


def test_a_value_changes_in_one_transaction(net):
    ops = frontend(VIP4, TCP, 80, [("198.51.100.1", "80")])
    net.drive("nat-ensure")
    net.drive.apply(ops)
    before = net.generation()
    net.drive.apply([f"slot-del {VIP4} 6 80 4 198.51.100.1 80", f"slot-add {VIP4} 6 80 4 198.51.100.9 81"])
    assert net.generation() == before + 1
    ops[4] = f"slot-add {VIP4} 6 80 4 198.51.100.9 81"
    assert sorted(net.drive("nat-dump")) == sorted(ops)


def test_applying_again_and_deleting_what_is_gone_are_no_errors(net):
    ops = frontend(VIP4, TCP, 80, [("198.51.100.1", "80")], n_slots=61)
    net.drive("nat-ensure")
    net.drive.apply(ops)
    net.drive.apply(ops)
    net.nft("delete element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 7 }")
    net.nft("delete element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 60 }")
    net.nft("delete element inet leasehold dispatch4 { 192.0.2.200 . tcp . 80 }")
    assert net.drive.apply(removal(ops)) == ["done 62 of 62"]
    assert net.drive("nat-dump") == []


def test_ensure_again_sends_nothing(net):
    net.drive("nat-ensure")
    net.drive.apply(*every_kind(CLASSES[:2]))
    listing, before = net.nft("-a", "list", "ruleset"), net.generation()
    net.drive("nat-ensure")
    assert net.generation() == before
    assert net.nft("-a", "list", "ruleset") == listing


@pytest.mark.parametrize("damage", [
    "flush chain inet leasehold services",
    "insert rule inet leasehold nat-prerouting accept",
    "add rule inet leasehold hash-61 drop",
    "flush chain inet leasehold hash-13; add rule inet leasehold hash-13 drop comment \"layout 0\"",
    "add chain inet leasehold old; add rule inet leasehold old drop comment \"layout 0\";"
    "delete chain inet leasehold old",
    "flush chain inet leasehold nat-output; flush chain inet leasehold nat-postrouting;"
    "delete chain inet leasehold nat-postrouting",
    "flush chain inet leasehold random-1021; delete chain inet leasehold random-1021",
    "flush chain inet leasehold services; flush map inet leasehold dispatch6;"
    "delete map inet leasehold dispatch6",
    "flush chain inet leasehold guard-prerouting",
    "flush chain inet leasehold zone-prerouting; flush chain inet leasehold guard-prerouting;"
    "delete set inet leasehold guards6",
    "flush chain inet leasehold nat-postrouting; flush chain inet leasehold guard-prerouting;"
    "delete set inet leasehold homes4;"
    "add rule inet leasehold nat-postrouting masquerade comment \"layout 1\"",
    "flush chain inet leasehold nat-postrouting; delete set inet leasehold former4;"
    "delete set inet leasehold former6; add rule inet leasehold nat-postrouting masquerade comment \"layout 2\"",
    "delete table inet leasehold",
])
def test_ensure_mends_the_frame(net, damage):
    net.drive("nat-ensure")
    whole = sorted(net.nft("list", "table", "inet", "leasehold").splitlines())
    net.nft(script=damage)
    net.drive("nat-ensure")
    # A chain or map that was made anew stands elsewhere in the listing, with the same lines.
    assert sorted(net.nft("list", "table", "inet", "leasehold").splitlines()) == whole


def former(net):
    """The elements of former4 and former6 with their timeouts in ms."""
    found = {}
    for name in ("former4", "former6"):
        text = net.nft("-j", "list", "set", "inet", "leasehold", name)
        for part in json.loads(text)["nftables"]:
            for elem in part.get("set", {}).get("elem", []):
                found[elem["elem"]["val"]] = (elem["elem"]["timeout"], elem["elem"]["expires"])
    return found


def test_backends_of_a_former_holder_expire_and_are_no_part_of_the_dump(net):
    net.drive("nat-ensure")
    net.drive.apply(["vip-add 192.0.2.200"])
    net.drive("nat-former 600000 198.51.100.1 2001:db8::1 198.51.100.2")
    assert {a: t for a, (t, _) in former(net).items()} == {"198.51.100.1": 600, "2001:db8::1": 600, "198.51.100.2": 600}
    assert net.drive("nat-dump") == ["vip-add 192.0.2.200"]
    # Others instead, and a new time for one that stays.
    net.drive("nat-former 900000 198.51.100.2 198.51.100.3")
    now = former(net)
    assert set(now) == {"198.51.100.2", "198.51.100.3"}
    assert all(timeout == 900 and expires > 700 for timeout, expires in now.values())
    net.drive("nat-ensure")
    assert set(former(net)) == set(now)
    net.drive("nat-former 0")
    assert former(net) == {}
    net.drive("nat-former 100 198.51.100.1 2001:db8::1")
    wait_for(lambda: former(net) == {}, what="the elements to expire")


def test_backends_of_a_former_holder_must_expire(net):
    with pytest.raises(DriverError) as e:
        net.drive("nat-former 1000 198.51.100.1")
    assert e.value.errno == errno.ENOENT
    net.drive("nat-ensure")
    with pytest.raises(DriverError) as e:
        net.drive("nat-former 0 198.51.100.1")
    assert e.value.errno == errno.EINVAL
    assert former(net) == {}


def test_another_layouts_rules_go_and_everybody_elses_stay(net):
    net.nft(script="table inet leasehold { chain user-forward { ct state new counter; };\n"
                   "chain old { drop comment \"layout 0\"; accept comment \"mine\"; }; }\n"
                   "table inet other { chain c { type nat hook prerouting priority -100; accept; }; }\n"
                   "table ip leasehold { chain nat-prerouting { drop; }; }\n")
    net.drive("nat-ensure")
    listing = net.nft("list", "ruleset")
    assert "layout 0" not in listing
    for kept in ('accept comment "mine"', "ct state new counter", "table inet other",
                 "table ip leasehold {\n\tchain nat-prerouting {\n\t\tdrop\n"):
        assert kept in listing
    net.drive("nat-remove")
    listing = net.nft("list", "ruleset")
    assert "inet leasehold" not in listing
    assert "table inet other" in listing and "table ip leasehold" in listing


def test_a_map_of_another_shape_is_refused_and_left(net):
    net.nft(script="table inet leasehold { map slots4 { type ipv4_addr : ipv4_addr; }; }\n")
    with pytest.raises(DriverError, match="slots4 has another shape") as e:
        net.drive("nat-ensure")
    assert e.value.errno == errno.EEXIST
    assert "type ipv4_addr : ipv4_addr" in net.nft("list", "ruleset")


def test_nft_prints_the_table_and_reads_its_own_listing(net):
    net.drive("nat-ensure")
    net.drive.apply(*every_kind(CLASSES[:3]))
    net.drive.apply(frontend("203.0.113.1", UDP, 53, [("198.51.100.7", "5353")]))
    listing = net.nft("list", "ruleset")
    for line in ("203.0.113.1 . udp . 53 . 12 : 198.51.100.7 . 5353",
                 "203.0.113.1 . udp . 53 : goto hash-13",
                 "2001:db8::c8 . tcp . 1 : goto hash-13",
                 "ip daddr . meta l4proto . th dport vmap @dispatch4 comment \"layout 3\"",
                 "dnat ip6 to ip6 daddr . meta l4proto . th dport . jhash ip6 saddr . th sport mod 61"
                 " seed 0x4c48 map @slots6 comment \"layout 3\"",
                 "192.0.2.200 . \"lo\"", "2001:db8:1:2:3:4:5:6 . sctp . 443",
                 "ct status dnat ct original ip daddr . iif @homes4 ct original ip daddr . oif @homes4"
                 " snat ip to ct original ip daddr comment",
                 "ct status dnat ct original ip6 daddr . iif @homes6 ip6 daddr @locals6"
                 " snat ip6 to ct original ip6 daddr comment",
                 "ct status dnat ct original ip daddr @vips4 ip daddr @former4 tcp flags syn / syn,ack masquerade",
                 "ct status dnat ct original ip6 daddr @vips6 ip6 daddr @former6 meta l4proto != tcp masquerade",
                 "ct status dnat ct original ip daddr @vips4 masquerade",
                 "ip saddr @vips4 ip daddr . meta l4proto . th dport @guards4 ct zone set 19528",
                 "ip6 daddr @vips6 ip6 saddr . meta l4proto . th sport @guards6 fib daddr type != local"
                 " ct zone set 19528",
                 "ip6 daddr @vips6 ct state invalid fib daddr type local drop",
                 "ip daddr @vips4 ct state new ip daddr . iif @homes4 fib daddr type != local drop",
                 "ip daddr @vips4 ct state new ip saddr . meta l4proto . th sport @guards4 drop",
                 "ip daddr @vips4 ct status ! dnat meta l4proto tcp reject with tcp reset",
                 "ip6 daddr @vips6 ct status ! dnat meta l4proto udp reject with icmpv6 port-unreachable"):
        assert line in " ".join(listing.split())
    assert net.nft("list", "ruleset") == listing
    checked = net.run("nft", "-c", "-f", "-", script="flush ruleset\n" + listing)
    assert checked.stderr == ""
    with contextlib.closing(Net()) as fresh:
        fresh.nft(script=listing)
        assert sorted(fresh.nft("list", "ruleset").split()) == sorted(listing.split())
        # The kernel's view, too: our own reader takes what nft wrote for ours.
        assert sorted(fresh.drive("nat-dump")) == sorted(net.drive("nat-dump"))
        before = fresh.generation()
        fresh.drive("nat-ensure")
        assert fresh.generation() == before


def test_a_refused_element_leaves_out_its_group_alone(net):
    net.drive("nat-ensure")
    groups = [frontend(f"203.0.113.{i}", TCP, 80, [(f"198.51.100.{i}", "80")]) for i in range(1, 41)]
    bad = (3, 17, 39)
    foreign = [f"203.0.113.{i + 1} . tcp . 80 . 5 : 198.51.100.250 . 1" for i in bad]
    net.nft("add element inet leasehold slots4 { " + ", ".join(foreign) + " }")
    with pytest.raises(DriverError) as e:
        net.drive.apply(*groups)
    assert e.value.errno in (errno.EEXIST, errno.EBUSY)
    assert "203.0.113.4 . tcp . 80 . 5 : 198.51.100.4 . 80 (map slots4)" in e.value.text
    dump = net.drive("nat-dump")
    orphans = [line for line in dump if line.startswith("orphan")]
    assert sorted(orphans) == sorted(f"orphan 11 203.0.113.{i + 1} 6 80 5" for i in bad)
    good = [op for i, g in enumerate(groups) if i not in bad for op in g]
    assert sorted(set(dump) - set(orphans)) == sorted(good)
    # What the dump calls orphans is deleted by the ops that it gives, and then all fits.
    net.drive.apply([f"slot-del 203.0.113.{i + 1} 6 80 5 192.0.2.1 1" for i in bad])
    net.drive.apply(*groups)
    assert sorted(net.drive("nat-dump")) == sorted(op for g in groups for op in g)


def test_an_op_that_cannot_be_is_named_and_the_rest_applied(net):
    net.drive("nat-ensure")
    good = frontend(VIP4, TCP, 80, [("198.51.100.1", "80")])
    with pytest.raises(DriverError, match=r"192\.0\.2\.201 \. tcp \. 80 : hash-14") as e:
        net.drive.apply([f"frontend-add 192.0.2.201 {TCP} 80 hash 14"], good)
    assert e.value.errno == errno.EINVAL
    assert sorted(net.drive("nat-dump")) == sorted(good)


def test_elements_that_belong_to_no_frontend_are_reported(net):
    net.drive("nat-ensure")
    ops = frontend(VIP4, TCP, 80, [("198.51.100.1", "80")])
    net.drive.apply(ops)
    net.nft(script="add element inet leasehold slots4 { 192.0.2.200 . tcp . 80 . 13 : 198.51.100.1 . 1 }\n"
                   "add element inet leasehold slots6 { 2001:db8::1 . udp . 53 . 0 : 2001:db8::2 . 1 }\n"
                   "add element inet leasehold dispatch4 { 192.0.2.77 . tcp . 1 : accept }\n"
                   "add element inet leasehold dispatch4 { 192.0.2.78 . tcp . 1 : jump hash-13 }\n")
    dump = net.drive("nat-dump")
    assert sorted(line for line in dump if line.startswith("orphan")) == sorted([
        "orphan 11 192.0.2.200 6 80 13", "orphan 11 2001:db8::1 17 53 0",
        "orphan 9 192.0.2.77 6 1 0", "orphan 9 192.0.2.78 6 1 0"])
    assert sorted(line for line in dump if not line.startswith("orphan")) == sorted(ops)


def test_without_the_table_errors_say_so_and_removal_is_done(net):
    net.drive("nat-remove")
    with pytest.raises(DriverError) as e:
        net.drive("nat-dump")
    assert e.value.errno == errno.ENOENT
    with pytest.raises(DriverError) as e:
        net.drive.apply([f"vip-add {VIP4}"])
    assert e.value.errno == errno.ENOENT
    net.drive("nat-ensure")
    net.drive("nat-remove")
    assert net.nft("list", "ruleset") == ""


def test_without_the_right_capability_the_error_is_eperm(net):
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", "--"]
    drive = Driver(prefix=[*net.enter, *drop])
    for command in ("nat-ensure", "nat-remove", f"addr-put 1 {VIP4} 5"):
        with pytest.raises(DriverError) as e:
            drive(command)
        assert e.value.errno == errno.EPERM
    drive.end()
    done = net.run("setpriv", "--bounding-set=-net_raw", "--inh-caps=-all", "--", DRIVER, check=False)
    assert done.returncode == 1
    assert "CAP_NET_RAW" in done.stderr


@pytest.mark.parametrize("frontends, n_slots", [(770, 13), (10, 1021), (3, 5003)])
def test_ten_thousand_elements(net, frontends, n_slots, capsys):
    net.drive("nat-ensure")
    lines = net.drive(f"nat-bench {frontends} {n_slots}")
    assert "equal" in lines
    with capsys.disabled():
        print(f"\n{frontends} frontends of {n_slots}: {'; '.join(lines)}")


def test_a_dump_beside_other_peoples_transactions_is_whole(net):
    """Every commit of anybody interrupts dumps (the generation changes); readings must still end."""
    net.drive("nat-ensure")
    net.drive("nat-bench 700 13")
    busy = subprocess.Popen([*net.enter, "sh", "-c",
                             "nft add table ip other; while nft add set ip other s '{ type ipv4_addr; }'"
                             " && nft delete set ip other s; do :; done"])
    try:
        started = net.generation()
        wait_for(lambda: net.generation() > started + 4, what="transactions of others")
        for _ in range(10):
            with contextlib.suppress(DriverError):
                lines = net.drive("nat-dump")
                assert len([x for x in lines if x.startswith("frontend-add")]) in (700, 701)
                assert len([x for x in lines if x.startswith("slot-add")]) == 700 * 13
                break
        else:
            pytest.fail("no reading of ten came through")
    finally:
        busy.kill()
        busy.wait()


# ---- packets ----------------------------------------------------------------------------------

def backends_of(pods, family):
    return [(pod.ip4 if family == 4 else pod.ip6, str(ECHO_PORT)) for pod in pods]


def serve(drive, pods, proto=None, balance="hash", n_slots=61, vips=(VIP4, VIP6)):
    """Load the VIPs' port 80 with these pods, and put the VIPs on the node."""
    drive("nat-ensure")
    groups = [[f"vip-add {vip}" for vip in vips]]
    for vip in vips:
        for p in (proto,) if proto else (TCP, UDP):
            family = 6 if ":" in vip else 4
            groups.append(frontend(vip, p, 80, backends_of(pods, family), balance, n_slots))
    drive.apply(*groups)
    hold(drive, vips)


def hold(drive, vips=(VIP4, VIP6)):
    for vip in vips:
        drive(f"addr-put {index_of(drive.host)} {vip} 60")


def release(drive, vips=(VIP4, VIP6)):
    for vip in vips:
        drive(f"addr-del {index_of(drive.host)} {vip}")


def family_of(ip):
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def ask_tcp(host, vip, port=80):
    """A connection to the VIP, with a line there and back; (backend's name, the client it saw)."""
    with host.entered():
        sock = socket.socket(family_of(vip), socket.SOCK_STREAM)
    with sock:
        sock.settimeout(5)
        sock.connect((vip, port))
        with sock.makefile("rwb") as f:
            name, seen, _ = f.readline().decode().split()
            f.write(b"there and back\n")
            f.flush()
            assert f.readline() == f"{name} there and back\n".encode()
    return name, seen


def ask_udp(host, vip, port=80, source_port=0):
    with host.entered():
        sock = socket.socket(family_of(vip), socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(3)
        sock.bind(("::" if ":" in vip else "0.0.0.0", source_port))
        sock.connect((vip, port))
        sock.send(b"there and back")
        text, name, seen, _ = sock.recv(4096).decode().split("|")
        assert text == "there and back"
    return name, seen


def assert_refused(ask, host, vip, port=80, **kwargs):
    """The kernel holds back ICMP errors to a peer that it has just sent some (or redirects), so a
    UDP client may have to ask more than once before it hears."""
    with pytest.raises(ConnectionRefusedError):
        for _ in range(5):
            with contextlib.suppress(TimeoutError):
                answer = ask(host, vip, port, **kwargs)
                pytest.fail(f"answered by {answer}")


def answers_pings(host, ip):
    """An echo request and its reply, as ping sends and reads them."""
    six = ":" in ip
    with host.entered():
        sock = socket.socket(family_of(ip), socket.SOCK_RAW,
                             socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    with sock:
        sock.settimeout(5)
        sock.connect((ip, 0))
        sock.send(bytes(ICMPv6EchoRequest(id=7)) if six else bytes(ICMP(id=7)))
        while True:
            data = sock.recv(2048)
            if six and data[0] == 129 or not six and data[20] == 0:
                return True


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("ask", [ask_tcp, ask_udp])
@pytest.mark.parametrize("balance", ["hash", "random"])
def test_a_client_reaches_backends_on_both_nodes(lab, drivers, vip, ask, balance):
    here, there = lab.pods[0], lab.pods[2]
    assert (here.node, there.node) == tuple(lab.nodes)
    serve(drivers[0], [here, there], balance=balance)
    seen = [ask(lab.client, vip) for _ in range(40)]
    assert {name for name, _ in seen} == {here.name, there.name}
    # Masqueraded: the backend saw an address of the node, never the VIP and never the client.
    assert not {address for _, address in seen} & {vip, lab.client.ip4, lab.client.ip6}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_backend_reaches_itself_through_the_vip(lab, drivers, vip):
    pod = lab.pods[0]
    serve(drivers[0], [pod])
    assert ask_tcp(pod, vip)[0] == pod.name
    assert ask_udp(pod, vip)[0] == pod.name


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_client_on_the_holder_reaches_local_and_remote_backends(lab, drivers, vip):
    """Its source address is the VIP itself (v4), so replies need the masquerade."""
    for pod in (lab.pods[0], lab.pods[2]):
        serve(drivers[0], [pod])
        assert ask_tcp(lab.nodes[0], vip)[0] == pod.name
        assert ask_udp(lab.nodes[0], vip)[0] == pod.name
        drivers[0]("nat-remove")
        release(drivers[0])


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_pods_of_either_node_reach_the_vip(lab, drivers, vip):
    serve(drivers[0], [lab.pods[0], lab.pods[2]])
    for pod in lab.pods:
        assert ask_tcp(pod, vip)[0] in (lab.pods[0].name, lab.pods[2].name)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_vips_other_ports_are_refused_and_the_nodes_own_are_not(lab, drivers, vip):
    serve(drivers[0], [lab.pods[0]])
    node = lab.nodes[0]
    own = lab.start_echo(node)
    try:
        for ask in (ask_tcp, ask_udp):
            assert_refused(ask, lab.client, vip, ECHO_PORT)
            client = lab.client.ip6 if ":" in vip else lab.client.ip4
            assert ask(lab.client, node.ip6 if ":" in vip else node.ip4, ECHO_PORT) == ("node1", client)
        assert answers_pings(lab.client, vip)
    finally:
        own.kill9()


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_udp_client_that_was_early_reaches_the_backends_later(lab, drivers, vip):
    """Its datagrams must not be answered by the node meanwhile: conntrack would keep that up."""
    drivers[0]("nat-ensure")
    drivers[0].apply([f"vip-add {VIP4}", f"vip-add {VIP6}"])
    hold(drivers[0])
    own = lab.start_echo(lab.nodes[0], ports=(80,))
    try:
        assert_refused(ask_udp, lab.client, vip, source_port=20100)
        serve(drivers[0], [lab.pods[2]])
        assert ask_udp(lab.client, vip, source_port=20100)[0] == lab.pods[2].name
    finally:
        own.kill9()


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_both_nodes_choose_the_same_slot_for_a_connection(lab, drivers, vip):
    pods = [lab.pods[0], lab.pods[1], lab.pods[2], lab.pods[3]]
    ports = range(20000, 20030)  # below the ephemeral ones: no earlier test's connection has them
    chosen = []
    for drive in drivers:
        serve(drive, pods, proto=UDP)
        lab.client.flush_neighbours()
        chosen.append([ask_udp(lab.client, vip, source_port=p)[0] for p in ports])
        release(drive)
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) >= 3


def test_a_port_without_an_element_is_no_balancing(lab, drivers):
    """A frontend whose slot is missing is refused, and hurts no other."""
    drivers[0]("nat-ensure")
    drivers[0].apply([f"vip-add {VIP4}", *(f"frontend-add {VIP4} {p} 81 hash 13" for p in (TCP, UDP))])
    serve(drivers[0], [lab.pods[0]])
    for ask in (ask_tcp, ask_udp):
        assert_refused(ask, lab.client, VIP4, 81)
    assert ask_tcp(lab.client, VIP4)[0] == lab.pods[0].name


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
