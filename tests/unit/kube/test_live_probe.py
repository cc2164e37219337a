# SPDX-License-Identifier: Apache-2.0
"""Checks of API servers: what each way of being well or ill is called, that nobody but the true server at the
address asked passes, and that no check takes longer than it may."""

import contextlib
import time

import pytest
from fakekube import support
from kube.cluster import ControlPlane
from kube.pki import Authority
from kube.process import in_netns, run, wait_until

from unit.kube.live import DRIVER, Driver, PORTS, numbers, requests

pytestmark = [pytest.mark.netns, pytest.mark.skipif(not DRIVER.exists(), reason=f"no {DRIVER}: run make unit-programs")]

# Nobody who has it: an address that the certificates of this plane do not name.
OTHER_ADDRESS = "192.0.2.101"
TIMEOUT_MS = 1000


def check(driver, address=support.ADDRESS, port=PORTS[0], timeout_ms=TIMEOUT_MS):
    """(verdict, why) of one check; it must be there in time."""
    number = next(numbers)
    began = time.monotonic()
    driver.do("probe", number, address, port, timeout_ms)
    told = driver.wait(None, what="verdict", id=number, seconds=timeout_ms / 1000 + 10)
    # Far more than the time limit: a busy machine is no failure, waiting for TCP would be.
    assert time.monotonic() - began < timeout_ms / 1000 + 5
    return told["verdict"], told["why"]


@contextlib.contextmanager
def rules(netns, text):
    """nftables rules of a table of their own in the namespace."""
    run(in_netns(netns, ["nft", f"table inet probing {{ {text} }};"]))
    try:
        yield
    finally:
        run(in_netns(netns, ["nft", "delete table inet probing"]))


@pytest.mark.fake
def test_verdicts(plane, proxies, driver):
    """Well; not ready, with what is not; refused; silent in two ways."""
    proxy = proxies[0]
    assert check(driver) == ("good", "")
    proxy.rule("answer", path="/readyz", code=503)
    verdict, why = check(driver)
    assert verdict == "bad" and "503" in why
    proxy.clear()
    proxy.rule("drop_request", path="/readyz", then="reset", count=2)   # libcurl tries an old connection once more
    assert check(driver)[0] == "bad"
    proxy.clear()
    assert check(driver) == ("good", "")
    proxy.mode("refuse")
    assert check(driver)[0] == "refused"
    proxy.mode("pass")
    assert check(driver) == ("good", "")
    proxy.mode("black_hole")
    for _ in range(2):
        assert check(driver)[0] == "silent"
    proxy.mode("pass")
    assert check(driver) == ("good", "")
    proxy.rule("drop_request", path="/readyz", then="hang")
    assert check(driver)[0] == "silent"         # on the connection that was there
    assert check(driver)[0] == "bad"            # it shakes hands, so it lives
    proxy.clear()
    with rules(plane.servers[0].netns,
               f"chain c {{ type filter hook output priority 0; tcp dport {PORTS[0]} drop; }};"):
        assert check(driver)[0] == "silent"
    assert check(driver, port=PORTS[1]) == ("good", "")


@pytest.mark.fake
def test_does_not_move_the_other_requests(proxies, driver_of_two, leases):
    """A check of an ill server is nobody's reason to leave it, and is no request in the metrics."""
    driver = driver_of_two
    proxies[0].rule("answer", path="/readyz", code=503)
    assert driver.ask("GET", leases)["server"] == proxies[0].url
    before = len(driver.events(what="done"))
    for _ in range(3):
        assert check(driver)[0] == "bad"
    assert len(driver.events(what="done")) == before
    assert driver.ask("GET", leases)["server"] == proxies[0].url
    # Nor does one wait for them.
    proxies[1].rule("drop_request", path=leases, then="hang")
    proxies[0].rule("drop_request", path=leases, then="hang")
    driver.do("burst", 60, "general", 5000, leases)
    assert check(driver, port=PORTS[1]) == ("good", "")


@pytest.mark.fake
def test_only_the_true_server_at_that_address_passes(plane, proxy, tmp_path):
    """The certificate must be of our authority and name the address dialled, whatever name the kubeconfig gives."""
    netns = plane.servers[0].netns
    token = plane.token_for_serviceaccount("default", "prober")
    good, stranger, named = (tmp_path / name for name in ("good", "stranger", "named"))
    for path, authority, cluster in ((good, plane.ca_file, ""),
                                     (stranger, Authority(tmp_path / "other").ca_file, ""),
                                     (named, plane.ca_file, "\n    tls-server-name: kubernetes")):
        path.write_text(f"""apiVersion: v1
kind: Config
current-context: x
contexts: [{{name: x, context: {{cluster: x, user: x}}}}]
clusters:
- name: x
  cluster:
    server: {proxy.url}
    certificate-authority: {authority}{cluster}
users: [{{name: x, user: {{token: {token}}}}}]
""")
    with Driver(netns, "--kubeconfig", stranger) as driver:
        before = len(requests(proxy, path="/readyz"))
        verdict, why = check(driver)
        assert verdict == "bad" and "certificate" in why.lower()
        assert len(requests(proxy, path="/readyz")) == before       # it never saw our token
    with rules(netns, "chain c { type nat hook output priority -100; "
               f"ip daddr {OTHER_ADDRESS} tcp dport {PORTS[0]} dnat ip to {support.ADDRESS}; }};"):
        run(["ip", "-n", netns, "route", "add", f"{OTHER_ADDRESS}/32", "dev", "lo"])
        try:
            for config in (good, named):
                with Driver(netns, "--kubeconfig", config) as driver:
                    assert check(driver) == ("good", "")
                    verdict, why = check(driver, address=OTHER_ADDRESS)
                    assert verdict == "bad" and OTHER_ADDRESS in why
        finally:
            run(["ip", "-n", netns, "route", "delete", f"{OTHER_ADDRESS}/32", "dev", "lo"])


@pytest.mark.kube
@pytest.mark.skipif(not support.real_is_built(), reason="Kubernetes is not built: tests/kube/build.sh")
def test_real_servers(tmp_path):
    """kube-apiserver without anonymous users: ready, frozen, without its etcd, killed."""
    with support.own_netns() as netns:
        with ControlPlane(netns, support.ADDRESS, tmp_path, server_flags=["--anonymous-auth=false"]) as plane, \
             Driver(netns, "--kubeconfig", plane.admin_kubeconfig) as driver:
            assert check(driver, port=6443, timeout_ms=5000) == ("good", "")
            plane.freeze()
            for _ in range(3):
                assert check(driver, port=6443)[0] == "silent"
            plane.thaw()
            plane.etcd.freeze()
            # It asks etcd for 2 s before it says that it is not ready: late, but not gone.
            wait_until(lambda: check(driver, port=6443, timeout_ms=5000)[0] != "good", 30, "the first failure")
            verdicts = [check(driver, port=6443, timeout_ms=1900)[0] for _ in range(5)]
            assert ("silent", "silent") not in zip(verdicts, verdicts[1:]), verdicts
            verdict, why = check(driver, port=6443, timeout_ms=20000)
            assert verdict == "bad" and "etcd" in why, why
            plane.etcd.thaw()
            plane.kill()
            assert check(driver, port=6443)[0] == "refused"
