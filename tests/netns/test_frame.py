"""The frame of the table "inet leasehold" in a real kernel: made, mended, changed with the options, brought over from
another layout, printed by nft and read by nft again.  What its rules do to packets, test_dataplane.py shows; what stands
in its maps, test_plan.py."""

import contextlib
import errno
import json

import pytest

from netns.asking import SCTP, TCP, UDP, VIP4, VIP6, ask_udp, frontend, hold, open_tcp, release, still_answers
from netns.driver import BUILD, BUILT, Driver, DriverError, Net
from netns.lab import ECHO_PORT, Lab, wait_for

ALL_OPTIONS = ("counters mark=16384 unmatched=drop public=eth0 public=eth1.100 admin=198.51.100.0/25 admin=2001:db8::/33"
               " allow=ssh allow=bgp allow=icmp allow=vrrp")

pytestmark = [pytest.mark.netns, pytest.mark.skipif(not BUILT, reason=f"no drivers in {BUILD}")]


@pytest.fixture
def net():
    with contextlib.closing(Net()) as made:
        yield made


def wanted(sticky6=0):
    """Chains and elements of every kind.  nft 1.0.6 prints the rules of IPv6 clients that return but cannot read them."""
    four, six = [("198.51.100.1", 80), ("198.51.100.2", 81)], [("2001:db8:1::1", 80), ("2001:db8:1:2:3:4:5:6", 65535)]
    return [*(f"member vip {vip}" for vip in (VIP4, VIP6)), f"member home {VIP4} 1", f"member home {VIP6} 1",
            f"member keep {VIP4}", f"member keep {VIP6}", "member hairpin 198.51.100.1", "member hairpin 2001:db8:1::1",
            "member local 198.51.100.1", f"member routed {VIP6}", f"member guard 2001:db8:1:2:3:4:5:6 {SCTP} 443",
            *(f"member {kind} {ip} {TCP} 80" for kind in ("received", "sent", "backend", "opened") for ip in (VIP4, VIP6)),
            frontend(VIP4, TCP, 80, four), frontend(VIP6, TCP, 80, six, n_slots=13, firewall="default/web"),
            frontend(VIP4, UDP, 53, four, balance="random", n_slots=13), frontend(VIP6, UDP, 53, six, balance="source"),
            frontend(VIP4, SCTP, 9, four, balance="turn", n_slots=2),
            frontend(VIP6, SCTP, 9, six, balance="turn", n_slots=2),
            frontend(VIP4, TCP, 81, four, balance="source", sticky=600, firewall="default/web"),
            frontend(VIP6, TCP, 81, six, balance="source", sticky=sticky6),
            "firewall default/web 1 restricted from=203.0.113.0/24 from=198.51.100.7/32 from=0.0.0.0/0 from=2001:db8::/32"
            " from=2001:db8:8000::/33 packets=100 bytes=1000000 connections=5"]


def handles(net):
    """{chain: handles of its rules}."""
    found = {}
    for o in json.loads(net.nft("-j", "-a", "list", "table", "inet", "leasehold"))["nftables"]:
        if "chain" in o:
            found.setdefault(o["chain"]["name"], [])
        if "rule" in o:
            found[o["rule"]["chain"]].append(o["rule"]["handle"])
    return found


def table(net):
    """Its lines, sorted: a chain or map that was made anew stands elsewhere in the listing."""
    return sorted(net.nft("-s", "list", "table", "inet", "leasehold").splitlines())


@pytest.mark.parametrize("options", ["", ALL_OPTIONS, "unmatched=accept"])
def test_ensure_again_sends_nothing(net, options):
    net.drive(f"nat-ensure {options}")
    net.drive.want(*wanted(sticky6=600))
    listing, before = net.nft("-a", "list", "ruleset"), net.generation()
    net.drive(f"nat-ensure {options}")
    assert net.generation() == before
    assert net.nft("-a", "list", "ruleset") == listing


@pytest.mark.parametrize("damage", [
    "flush chain {t} services",
    "insert rule {t} nat-prerouting accept",
    "add rule {t} hash-61 drop",
    "flush chain {t} hash-13; add rule {t} hash-13 drop comment \"layout 0\"",
    "flush chain {t} nat-output; flush chain {t} nat-postrouting; delete chain {t} nat-postrouting",
    "flush chain {t} random-1021; delete chain {t} random-1021",
    "flush chain {t} services; flush map {t} dispatch6; delete map {t} dispatch6",
    "flush chain {t} guard-prerouting",
    "flush chain {t} zone-prerouting; flush chain {t} guard-prerouting; delete set {t} guards6",
    "flush chain {t} nat-postrouting; flush chain {t} guard-prerouting; delete set {t} homes4;"
    "add rule {t} nat-postrouting masquerade comment \"layout 1\"",
    "flush chain {t} count-output; delete chain {t} count-output",
    "flush chain {t} router-input; add rule {t} router-input accept",
    "flush chain {t} guard-prerouting; delete counter {t} drop-invalid",
    "flush chain {t} filter-forward; delete chain {t} user-forward",
    "flush chain {t} turn-2-192.0.2.200-sctp-9",
    "add rule {t} source-61-600s drop",
    "insert rule {t} return-61-600s-ip6 accept comment \"layout 4\"",
    "flush chain {t} source-61-600s; add rule {t} source-61-600s drop comment \"layout 5\"",
    "delete table {t}",
])
def test_ensure_mends_the_frame(net, damage):
    net.drive(f"nat-ensure {ALL_OPTIONS}")
    if "600s" in damage or "turn-" in damage:
        net.drive.want(*wanted(sticky6=600))
    whole = table(net)
    net.nft(script=damage.replace("{t}", "inet leasehold"))
    assert table_or_none(net) != whole
    net.drive(f"nat-ensure {ALL_OPTIONS}")
    assert table(net) == whole


def table_or_none(net):
    with contextlib.suppress(AssertionError):
        return table(net)


def test_other_options_change_just_the_chains_that_depend_on_them(net):
    net.drive("nat-ensure")
    net.drive.want(*wanted(sticky6=600))
    plain, first = handles(net), table(net)
    elements = net.drive("nat-read")
    net.drive(f"nat-ensure {ALL_OPTIONS}")
    full = handles(net)
    assert full.keys() - plain.keys() == {
        "mark-prerouting", "count-prerouting", "count-output", "unmark-postrouting", "router-input", "router-forward"}
    changed = {name for name in plain if full[name] != plain[name]}
    assert changed == {"nat-postrouting", "nat-input", "filter-input", "filter-forward"}
    before = net.generation()
    net.drive("nat-ensure unmatched=accept")
    assert net.generation() == before + 1  # in one transaction
    assert handles(net).keys() == plain.keys() - {"filter-input"}
    net.drive("nat-ensure")
    assert table(net) == first
    assert net.drive("nat-read") == elements


def test_the_users_chain_is_made_empty_and_left_alone(net):
    net.drive("nat-ensure")
    assert handles(net)["user-forward"] == []
    net.nft("add rule inet leasehold user-forward ip saddr 198.51.100.1 counter drop comment \"layout 0\"")
    mine = handles(net)["user-forward"]
    for options in (ALL_OPTIONS, "", "unmatched=drop"):
        net.drive(f"nat-ensure {options}")
        assert handles(net)["user-forward"] == mine


def former(net):
    """The elements of former4 and former6 with their timeouts in ms."""
    found = {}
    for name in ("former4", "former6"):
        text = net.nft("-j", "list", "set", "inet", "leasehold", name)
        for part in json.loads(text)["nftables"]:
            for elem in part.get("set", {}).get("elem", []):
                found[elem["elem"]["val"]] = (elem["elem"]["timeout"], elem["elem"]["expires"])
    return found


def test_backends_of_a_former_holder_expire_and_are_no_part_of_the_reading(net):
    net.drive("nat-ensure")
    net.drive.want("member vip 192.0.2.200")
    net.drive("nat-former 600000 198.51.100.1 2001:db8::1 198.51.100.2")
    assert {a: t for a, (t, _) in former(net).items()} == {"198.51.100.1": 600, "2001:db8::1": 600, "198.51.100.2": 600}
    assert net.drive("nat-read") == ["member vip 192.0.2.200"]
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


# ---- other layouts, other people --------------------------------------------------------------

def test_another_layouts_rules_and_chains_go_and_everybody_elses_stay(net):
    net.nft(script="table inet leasehold { chain user-forward { ct state new counter; };\n"
                   "chain old { drop comment \"layout 0\"; accept comment \"mine\"; };\n"
                   "chain gone { drop comment \"layout 2\"; };\n"
                   "chain used { drop comment \"layout 2\"; };\n"
                   "chain theirs { jump used; };\n"
                   "chain anchor { type nat hook prerouting priority -110; accept comment \"layout 2\"; };\n"
                   "chain sent-input { type filter hook input priority 110; drop comment \"layout 4 options 0\"; };\n"
                   "chain hooked { type filter hook input priority 1; drop comment \"layout 2\"; accept; }; }\n"
                   "table inet other { chain c { type nat hook prerouting priority -100; accept; }; }\n"
                   "table ip leasehold { chain nat-prerouting { drop; }; }\n")
    net.drive("nat-ensure")
    listing = net.nft("list", "ruleset")
    assert "layout 0" not in listing and "layout 2" not in listing and "sent-input" not in listing
    for kept in ('accept comment "mine"', "ct state new counter", "table inet other", "jump used", "chain used {",
                 "chain anchor {", "chain hooked {", "table ip leasehold {\n\tchain nat-prerouting {\n\t\tdrop\n"):
        assert kept in listing
    assert "chain gone {" not in listing
    net.drive("nat-remove")
    listing = net.nft("list", "ruleset")
    assert "inet leasehold" not in listing
    assert "table inet other" in listing and "table ip leasehold" in listing


def test_a_firewall_of_another_layout_is_written_anew(net):
    """Its rules go with the layout; what is read then says that it has none, and the next plan writes them."""
    net.drive("nat-ensure")
    net.drive.want(*wanted())
    whole = table(net)
    rules = net.nft("-s", "list", "chain", "inet", "leasehold", "firewall-default/web")
    assert rules.count("layout 4 digest") == 5
    net.nft(script="flush chain inet leasehold firewall-default/web\n" + rules.replace("layout 4", "layout 5"))
    net.drive("nat-ensure")
    assert handles(net)["firewall-default/web"] == []
    net.drive("nat-adopt")
    net.drive.want(*wanted())
    assert table(net) == whole


LAYOUT_3 = """table inet leasehold {
	set vips4 { type ipv4_addr; elements = { 192.0.2.200 }; }
	set vips6 { type ipv6_addr; }
	set guards4 { type ipv4_addr . inet_proto . inet_service; }
	map dispatch4 { type ipv4_addr . inet_proto . inet_service : verdict;
		elements = { 192.0.2.200 . tcp . 80 : goto hash-13, 192.0.2.200 . udp . 80 : goto hash-13 }; }
	map dispatch6 { type ipv6_addr . inet_proto . inet_service : verdict; }
	map slots4 { typeof ip daddr . meta l4proto . th dport . numgen random mod 5003 : ip daddr . th dport;
		elements = { SLOTS }; }
	chain hash-13 {
		dnat ip to ip daddr . meta l4proto . th dport . jhash ip saddr . th sport mod 13 seed 0x4c48 map @slots4 \\
			comment "layout 3"
	}
	chain services {
		ip daddr . meta l4proto . th dport vmap @dispatch4 comment "layout 3"
		ip6 daddr . meta l4proto . th dport vmap @dispatch6 comment "layout 3"
	}
	chain nat-prerouting { type nat hook prerouting priority -110; jump services comment "layout 3"; }
	chain nat-output { type nat hook output priority -110; jump services comment "layout 3"; }
	chain nat-postrouting { type nat hook postrouting priority 90;
		ct status dnat ct original ip daddr @vips4 masquerade comment "layout 3"; }
	chain sent-postrouting { type filter hook postrouting priority 110; ip saddr @vips4 comment "layout 3"; }
	chain filter-input { type filter hook input priority 0;
		ip daddr @vips4 ct status ! dnat meta l4proto tcp reject with tcp reset comment "layout 3"; }
}
"""


def layout_3(pod):
    slots = ", ".join(f"192.0.2.200 . {proto} . 80 . {i} : {pod.ip4} . {ECHO_PORT}"
                      for proto in ("tcp", "udp") for i in range(13))
    return LAYOUT_3.replace("SLOTS", slots)


def test_established_connections_live_on_when_the_layout_changes():
    with Lab(nodes=1) as lab:
        node, pod = lab.nodes[0], lab.pods[0]
        drive = Driver(node)
        hold(drive, (VIP4,))
        node.nft(script=layout_3(pod))
        opened = [open_tcp(lab.client, VIP4) for _ in range(4)]
        assert {name for _, name, _ in opened} == {pod.name}
        drive("nat-ensure counters")
        listing = node.nft("list", "table", "inet", "leasehold")
        assert "layout 3" not in listing and "sent-postrouting" not in listing
        assert all(still_answers(sock, name) for sock, name, _ in opened)
        drive("nat-adopt")
        drive.want(f"member vip {VIP4}",
                   *(frontend(VIP4, proto, 80, [(lab.pods[1].ip4, ECHO_PORT)]) for proto in (TCP, UDP)))
        assert ask_udp(lab.client, VIP4)[0] == lab.pods[1].name
        assert drive("nat-check") == []
        assert all(still_answers(sock, name) for sock, name, _ in opened)
        for sock, _, _ in opened:
            sock.close()
        release(drive, (VIP4,))
        drive.end()


@pytest.mark.parametrize("theirs, name", [
    ("map slots4 { type ipv4_addr : ipv4_addr; }", "slots4"),
    ("set vips6 { type ipv4_addr; }", "vips6"),
    ("map dispatch4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr; }", "dispatch4"),
])
def test_a_set_of_another_shape_is_refused_and_left(net, theirs, name):
    net.nft(script=f"table inet leasehold {{ {theirs}; }}\n")
    before = net.nft("list", "ruleset")
    with pytest.raises(DriverError, match=f"{name} has another shape") as e:
        net.drive("nat-ensure")
    assert e.value.errno == errno.EEXIST
    assert net.nft("list", "ruleset") == before


# ---- nft --------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", ["", ALL_OPTIONS])
def test_nft_prints_the_table_and_reads_its_own_listing(net, options):
    net.drive(f"nat-ensure {options}")
    net.drive.want(*wanted())
    listing = net.nft("list", "ruleset")
    assert net.nft("list", "ruleset") == listing
    checked = net.run("nft", "-c", "-f", "-", script="flush ruleset\n" + listing)
    assert checked.stderr == ""
    with contextlib.closing(Net()) as fresh:
        fresh.nft(script=listing)
        assert sorted(fresh.nft("list", "ruleset").split()) == sorted(listing.split())
        # The kernel's view, too: our own reader takes what nft wrote for ours.
        before = fresh.generation()
        fresh.drive(f"nat-ensure {options}")
        assert fresh.generation() == before
        assert fresh.drive("nat-read") == net.drive("nat-read")


@pytest.mark.parametrize("line", [
    "198.51.100.1 . 80", "192.0.2.200 . tcp . 80 counter packets 0 bytes 0 comment \"digest DIGEST\" : goto hash-61",
    "2001:db8::c8 . sctp . 9 counter packets 0 bytes 0 comment \"digest DIGEST\" : goto turn-2-2001.db8..c8-sctp-9",
    "2001:db8::c8 . tcp . 80 : goto firewall-default/web", "192.0.2.200 . tcp . 81 : goto return-61-600s",
    "192.0.2.200 . \"lo\"", "2001:db8:1:2:3:4:5:6 . sctp . 443",
    "ip daddr . meta l4proto . th dport vmap @dispatch4 comment \"layout 4\"",
    "dnat ip6 to ip6 daddr . meta l4proto . th dport . jhash ip6 saddr . th sport mod 61 seed 0x4c48 map @slots6",
    "dnat ip6 to ip6 daddr . meta l4proto . th dport . jhash ip6 saddr mod 61 seed 0x4c48 map @slots6",
    "dnat ip to ip daddr . meta l4proto . th dport . numgen inc mod 2 map @turns4",
    "dnat ip6 to ip6 daddr . meta l4proto . th dport . ip6 saddr map @clients6",
    "meta l4proto tcp ct original ip6 daddr . meta l4proto . ct original proto-dst vmap @returns6",
    "meta l4proto sctp update @clients6 { ct original ip6 daddr . meta l4proto . ct original proto-dst"
    " . ct original ip6 saddr timeout 10m : ct reply ip6 saddr . ct reply proto-src }",
    "ct original ip daddr . iif @homes4 ct original ip daddr . oif @homes4 snat ip to ct original ip daddr",
    "ct original ip6 daddr . iif @homes6 ip6 daddr @locals6 snat ip6 to ct original ip6 daddr",
    "ct original ip daddr @vips4 ip daddr @former4 tcp flags syn / syn,ack masquerade",
    "ct original ip6 daddr @vips6 ip6 daddr @former6 meta l4proto != tcp masquerade",
    "ct original ip daddr @keeps4 ip saddr . ip daddr @hairpins4 masquerade",
    "ct original ip6 daddr @keeps6 fib saddr type local masquerade",
    "ct original ip daddr @keeps4 accept", "ct original ip daddr @vips4 masquerade",
    "ip saddr @vips4 ip daddr . meta l4proto . th dport @guards4 ct zone set 19528",
    "ip6 daddr @vips6 ip6 saddr . meta l4proto . th sport @guards6 fib daddr type != local ct zone set 19528",
    "priority mangle; policy accept; ct state established,related return",
    "ct state invalid ip6 daddr @vips6 fib daddr type local counter name \"drop-invalid\" drop",
    "ct state new ip daddr . iif @homes4 fib daddr type != local counter name \"drop-invalid\" drop",
    "ct state new ip daddr @vips4 ip saddr . meta l4proto . th sport @guards4 counter name \"drop-invalid\" drop",
    "ip daddr . meta l4proto . th dport vmap @firewalls4",
    "ct state new jump sources-default/web", "limit rate over 100/second counter name \"drop-rate\" drop",
    "ct state new add @connections6-default/web { ip6 saddr ct count over 5 } counter name \"drop-connections\" drop",
    "ip saddr 0.0.0.0/0 return", "ip saddr 203.0.113.0/24 return", "ip6 saddr 2001:db8:8000::/33 return",
    "ct state new ip6 daddr @vips6 meta mark set meta mark | 0x00004000",
    "meta mark & 0x00004000 != 0x00000000 ct status dnat ct original ip daddr @vips4 meta mark set meta mark & 0xffffbfff",
    "ct direction original ct original ip daddr @vips4 ip daddr . meta l4proto . th dport @opened4",
    "priority 90; policy accept; ct status ! dnat return", "priority -90; policy accept; ct status ! dnat return",
    "iiftype loopback return", "ct direction reply goto sent", "goto received",
    "meta l4proto tcp ct original ip daddr . meta l4proto . ct original proto-dst @received4 goto backends",
    "ip6 daddr . meta l4proto . th dport @backends6",
    "meta l4proto sctp ct original ip6 daddr . meta l4proto . ct original proto-dst @sent6 return",
    "ct status dnat ct original ip daddr @vips4 goto user-forward",
    "priority filter; policy accept; ct state established,related return",
    "ip daddr @vips4 ct status ! dnat ct state invalid,new,untracked meta l4proto tcp counter name \"drop-unmatched\""
    " reject with tcp reset",
    "ip6 daddr @routed6 ct status ! dnat ct state invalid,new,untracked meta l4proto != ipv6-icmp"
    " counter name \"drop-unmatched\" reject with icmpv6 port-unreachable",
    "iifname != \"eth0\" iifname != \"eth1.100\" return", "ip6 saddr 2001:db8::/33 return", "icmpv6 type 130-136 return",
    "icmp type destination-unreachable icmp code frag-needed return", "meta l4proto vrrp return", "tcp dport 179 return",
])
def test_nft_prints_in_words(printed, line):
    assert line in printed


@pytest.fixture(scope="module")
def printed():
    with contextlib.closing(Net()) as net:
        net.drive("nat-ensure " + ALL_OPTIONS.replace("unmatched=drop", "unmatched=reject"))
        net.drive.want(*wanted(sticky6=600))
        words = net.nft("list", "ruleset").split()
    return " ".join("DIGEST\"" if words[i - 1] == "\"digest" else word for i, word in enumerate(words))
