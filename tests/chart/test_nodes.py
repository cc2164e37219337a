"""That the opt-in container that turns forwarding on works on a real node, without being privileged,
and leaves a node alone that would lose its default route by it."""

import os
import subprocess

import pytest

from chart.chart import CHART, NAMESPACE
from kube.cluster import ALL_CONTROLLERS, ControlPlane, NotBuilt
from kube.images import BUSYBOX_IMAGE
from kube.nodes import NodePlace, Nodes
from netns.lab import Lab, wait_for

pytestmark = [pytest.mark.chart, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(300)]

SWITCHES = {"4": "ipv4/ip_forward", "6": "ipv6/conf/all/forwarding"}
ADVERTISE = """
from scapy.all import Ether, ICMPv6ND_RA, IPv6, get_if_hwaddr, sendp
from scapy.utils6 import in6_mactoifaceid
mac = get_if_hwaddr("eth0")
router = "fe80::" + in6_mactoifaceid(mac)
sendp(Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=router, dst="ff02::1", hlim=255) /
      ICMPv6ND_RA(routerlifetime=1800), iface="eth0", verbose=False)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(lab, control plane): one node without forwarding, in the lab's first node's namespace."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with Lab(nodes=1, pods_per_node=0, echo=False, forwarding=False) as lab:
        try:
            plane = ControlPlane(lab.api.netns, lab.api.ip4, tmp_path_factory.mktemp("plane"),
                                 controllers=ALL_CONTROLLERS, scheduler=True)
        except NotBuilt as reason:
            pytest.skip(str(reason))
        host = lab.nodes[0]
        with plane, Nodes(plane, [NodePlace(host.name, host.netns, host.ip4)],
                          tmp_path_factory.mktemp("nodes"), kube_proxy=False):
            yield lab, plane


def test_forwarding_container(site):
    lab, plane = site
    node = lab.nodes[0]

    def switches():
        return {family: node.sysctl_read(path) for family, path in SWITCHES.items()}

    def pod():
        pods = plane.api.list(f"/api/v1/namespaces/{NAMESPACE}/pods",
                              labelSelector="app.kubernetes.io/name=leasehold")
        return pods[0] if pods else {}

    def state():
        statuses = pod().get("status", {}).get("initContainerStatuses") or [{}]
        return statuses[0].get("state", {}), statuses[0].get("lastState", {})

    def ended(status):
        return any(s.get("terminated", {}).get("exitCode") == status for s in state())

    # kubelet or a CNI may have turned them on for itself.
    node.sysctls({**dict.fromkeys(SWITCHES.values(), 0), "ipv6/conf/eth0/accept_ra": 1})
    with lab.client.entered():
        subprocess.run(["/usr/bin/python3", "-c", ADVERTISE], check=True, timeout=60)
    wait_for(lambda: "proto ra" in node.ip("-6", "route", "show", "default"), 10, 0.05,
             "the default route of the router advertisement")

    repository, tag = BUSYBOX_IMAGE.rsplit(":", 1)
    plane.helm("install", "leasehold", str(CHART), "--namespace", NAMESPACE, "--set",
               "pool={203.0.113.0/28,2001:db8:1::/120},sysctlInit.enabled=true,"
               f"sysctlInit.image={BUSYBOX_IMAGE},image.repository={repository},image.pullPolicy=Never",
               "--set-string", f"image.tag={tag}")
    wait_for(lambda: ended(1), 90, 0.2, lambda: f"the container's refusal: {pod()}")
    said = plane.kubectl("logs", "-n", NAMESPACE, pod()["metadata"]["name"], "-c", "forwarding")
    assert "the default route of eth0 comes from router advertisements" in said
    assert switches() == {"4": "1", "6": "0"}

    # Without that route it does its work, when kubelet tries again.
    node.sysctls({"ipv6/conf/eth0/accept_ra": 0})
    node.ip("-6", "route", "del", "default")
    wait_for(lambda: switches() == {"4": "1", "6": "1"}, 90, 0.2,
             lambda: f"forwarding: {switches()}, {pod()}")
    wait_for(lambda: ended(0), 30, 0.2, lambda: f"the container's success: {pod()}")
