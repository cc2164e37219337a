"""That the kernel does what agent/core/sysctl_rules.h says of its sysctls: each claim with the value that the rules call
wrong, and with the one that they advise."""

import contextlib
import socket
import struct
import time

import pytest

from netns.lab import Lab, LabError, wait_for

pytestmark = pytest.mark.netns

IN_SUBNET, OUTSIDE, STRANGER = "192.0.2.200", "198.19.1.7", "198.19.0.9"
OTHER_MAC = bytes.fromhex("020000005301")
ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=1, pods_per_node=1, pod_network="direct") as made:
        yield made


@pytest.fixture
def node(lab):
    """The node, with a second interface that the default route leaves by."""
    node = lab.nodes[0]
    node.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    for link in ("other0", "other1"):
        node.ip("link", "set", link, "up")
    node.ip("address", "add", "198.51.100.241/28", "dev", "other0")
    node.ip("route", "add", "default", "via", "198.51.100.242", "dev", "other0", "metric", "1")
    yield node
    node.ip("link", "del", "other0")
    for address in (IN_SUBNET, OUTSIDE):
        with contextlib.suppress(LabError):
            node.ip("address", "del", f"{address}/32", "dev", "eth0")
    for name in ("rp_filter", "arp_ignore", "arp_filter", "arp_announce", "drop_gratuitous_arp", "proxy_arp", "proxy_arp_pvlan"):
        for where in ("eth0", "all"):
            set_to(node, f"{where}.{name}", 0)
    set_to(node, "eth0.forwarding", 1)


def set_to(node, name, value, family="ipv4"):
    node.run(["sysctl", "-w", f"net.{family}.conf.{name}={value}"])


def have(node, vip):
    node.ip("address", "add", f"{vip}/32", "dev", "eth0")


@contextlib.contextmanager
def arp_socket(host):
    with host.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    with sock:
        sock.bind(("eth0", 0x0806))
        sock.settimeout(0.3)
        yield sock


def heard(sock, wanted, seconds):
    """The first ARP packet (operation, sha, spa, tpa) that is wanted, None after that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            fields = ARP.unpack(sock.recv(2048)[:ARP.size])
            seen = fields[7], fields[8], socket.inet_ntoa(fields[9]), socket.inet_ntoa(fields[11])
            if wanted(*seen):
                return seen
    return None


def send_arp(sock, operation, mac, sender, target, target_mac=bytes(6)):
    sock.send(ARP.pack(b"\xff" * 6, mac, 0x0806, 1, 0x0800, 6, 4, operation, mac, socket.inet_aton(sender), target_mac,
                       socket.inet_aton(target)))


def answers(lab, vip, sender=None):
    """Whether an ARP request for the VIP is answered, asked for three times."""
    client = lab.client
    mac = bytes.fromhex(client.mac.replace(":", ""))
    with arp_socket(client) as sock:
        for _ in range(3):
            send_arp(sock, 1, mac, sender or client.ip4, vip)
            if heard(sock, lambda operation, _sha, spa, _tpa: operation == 2 and spa == vip, 0.5):
                return True
    return False


@pytest.mark.parametrize("where", ["eth0", "all"])
def test_arp_ignore_8_answers_nobody(lab, node, where):
    have(node, IN_SUBNET)
    assert answers(lab, IN_SUBNET)
    set_to(node, f"{where}.arp_ignore", 8)
    assert not answers(lab, IN_SUBNET)
    set_to(node, f"{where}.arp_ignore", 1)
    assert answers(lab, IN_SUBNET)


def test_arp_ignore_2_answers_those_in_a_subnet_with_the_vip(lab, node):
    for vip in (IN_SUBNET, OUTSIDE):
        have(node, vip)
        assert answers(lab, vip)
    set_to(node, "eth0.arp_ignore", 2)
    assert answers(lab, IN_SUBNET) and not answers(lab, OUTSIDE)
    set_to(node, "eth0.arp_ignore", 1)
    assert answers(lab, OUTSIDE)


@pytest.mark.parametrize("where", ["eth0", "all"])
def test_arp_filter_is_silent_where_the_way_back_leaves_elsewhere(lab, node, where):
    have(node, OUTSIDE)
    assert answers(lab, OUTSIDE, STRANGER)
    set_to(node, f"{where}.arp_filter", 1)
    assert not answers(lab, OUTSIDE, STRANGER)
    assert answers(lab, OUTSIDE)  # from the interface's own subnet


@pytest.fixture
def behind_a_router(lab):
    """The client has an address that the node has no route of its own to."""
    lab.client.ip("address", "add", f"{STRANGER}/32", "dev", "eth0")
    yield
    lab.client.ip("address", "del", f"{STRANGER}/32", "dev", "eth0")


def arrives(lab, node):
    """Whether a packet from there to a VIP gets to the node's sockets."""
    with node.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with lab.client.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind((IN_SUBNET, 5353))
        server.settimeout(0.5)
        client.bind((STRANGER, 0))
        for _ in range(3):
            client.sendto(b"x", (IN_SUBNET, 5353))
            with contextlib.suppress(TimeoutError):
                return server.recv(16) == b"x"
    return False


@pytest.mark.usefixtures("behind_a_router")
@pytest.mark.parametrize("where", ["eth0", "all"])
def test_rp_filter_strict_drops_clients_behind_routers(lab, node, where):
    """And 2 on the interface is above 1 of all."""
    have(node, IN_SUBNET)
    assert arrives(lab, node)
    set_to(node, f"{where}.rp_filter", 1)
    assert not arrives(lab, node)
    set_to(node, "eth0.rp_filter", 2)
    assert arrives(lab, node)


@pytest.mark.usefixtures("behind_a_router")
def test_rp_filter_strict_lets_in_what_may_leave_there_as_well(lab, node):
    """Routed VIPs, on lo: what comes in by eth0 is dropped while the way back is another alone, and not where it is one of two."""
    node.ip("address", "add", f"{IN_SUBNET}/32", "dev", "lo")
    try:
        assert arrives(lab, node)
        set_to(node, "eth0.rp_filter", 1)
        assert not arrives(lab, node)
        node.ip("route", "replace", "default", "metric", "1", "nexthop", "via", "198.51.100.242", "dev", "other0",
                "nexthop", "via", lab.client.ip4, "dev", "eth0")
        assert arrives(lab, node)
        node.ip("route", "del", "default", "metric", "1")
        node.ip("route", "add", "default", "via", "198.51.100.242", "dev", "other0", "metric", "1")
        set_to(node, "eth0.rp_filter", 2)
        assert arrives(lab, node)
    finally:
        node.ip("address", "del", f"{IN_SUBNET}/32", "dev", "lo")


@pytest.mark.parametrize("value, sender", [(0, IN_SUBNET), (2, "192.0.2.11")])
def test_arp_announce_asks_in_the_name_of_a_vip(lab, node, value, sender):
    have(node, IN_SUBNET)
    set_to(node, "eth0.arp_announce", value)
    node.flush_neighbours()
    with arp_socket(lab.client) as sock:
        with node.entered():
            talker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with talker:
            talker.bind((IN_SUBNET, 0))
            talker.sendto(b"x", ("192.0.2.99", 9))
        seen = heard(sock, lambda operation, _sha, _spa, tpa: operation == 1 and tpa == "192.0.2.99", 5)
    assert seen and seen[2] == sender


@pytest.mark.parametrize("where", ["eth0", "all"])
def test_drop_gratuitous_arp_hears_of_no_move(lab, node, where):
    def entry():
        return [n["lladdr"] for n in node.ip_json("neigh", "show", "dev", "eth0") if n["dst"] == "192.0.2.77" and "lladdr" in n]

    def announced():
        with arp_socket(lab.client) as sock:
            send_arp(sock, 1, OTHER_MAC, "192.0.2.77", "192.0.2.77")
            send_arp(sock, 2, OTHER_MAC, "192.0.2.77", "192.0.2.77", OTHER_MAC)
            # Behind it, and answered: the others were read by then.
            send_arp(sock, 1, bytes.fromhex(lab.client.mac.replace(":", "")), lab.client.ip4, node.ip4)
            assert heard(sock, lambda operation, _sha, spa, _tpa: operation == 2 and spa == node.ip4, 5)
    node.ip("neigh", "replace", "192.0.2.77", "lladdr", "02:00:00:00:53:09", "dev", "eth0", "nud", "stale")
    set_to(node, f"{where}.drop_gratuitous_arp", 1)
    announced()
    assert entry() == ["02:00:00:00:53:09"]
    set_to(node, f"{where}.drop_gratuitous_arp", 0)
    announced()
    wait_for(lambda: entry() == ["02:00:00:00:53:01"], what="the new MAC")


@pytest.mark.parametrize("where", ["eth0", "all"])
def test_proxy_arp_answers_for_what_is_routed_elsewhere(lab, node, where):
    assert not answers(lab, OUTSIDE)
    set_to(node, f"{where}.proxy_arp", 1)
    # "proxy_delay": up to 0.8 s (net/ipv4/arp.c: arp_tbl)
    wait_for(lambda: answers(lab, OUTSIDE), what="an answer for a VIP that is not here")


def test_forwarding_is_that_of_the_interface_a_packet_comes_in_on(lab, node):
    def refused():
        """The kernel's word on a packet from the client to a pod."""
        line = node.run(["ip", "route", "get", lab.pods[0].ip4, "from", lab.client.ip4, "iif", "eth0"], check=False)
        return lab.pods[0].ip4 not in line
    assert not refused()
    set_to(node, "eth0.forwarding", 0)
    assert refused()
    set_to(node, "eth0.forwarding", 1)
    assert not refused()


def test_disable_ipv6_takes_no_address(node):
    set_to(node, "other0.disable_ipv6", 1, "ipv6")
    with pytest.raises(LabError, match="disabled|denied"):
        node.ip("address", "add", "2001:db8:2::1/128", "dev", "other0", "nodad")
