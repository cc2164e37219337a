# SPDX-License-Identifier: Apache-2.0
"""The API client without memory: what the Lease channel asks for itself is there before, and what fails elsewhere is a
failed attempt and no more."""

import pytest
from e2e.starvation import OWN, Starvation, reason_not_to
from fakekube import transcript

from unit.kube.live import DRIVER, Driver, write

pytestmark = [pytest.mark.fake, pytest.mark.netns,
              pytest.mark.skipif(bool(reason_not_to(DRIVER)), reason=reason_not_to(DRIVER))]


@pytest.fixture
def hunger(tmp_path):
    """Not begun yet."""
    return Starvation(tmp_path / "flag")


@pytest.fixture
def reserved(plane, proxy, hunger, leases, api):
    """A client with two requests for Leases reserved, none used before."""
    with Driver(plane.servers[0].netns, "--kubeconfig", proxy.admin_kubeconfig, prefix=hunger.prefix) as made:
        made.do("reserve", 2)
        assert made.wait(None, what="reserved")["good"]
        # What the driver itself keeps of requests under way; these have another channel's handles.
        for number in [made.send("GET", leases) for _ in range(3)]:
            made.wait(None, what="reply", id=number)
        yield made


def put(driver, api, path, **how):
    """Renews."""
    lease = api.get(path)
    lease["spec"]["holderIdentity"] = "me"
    return driver.ask("PUT", path, lease, channel="lease", **how)["status"]


def test_lease_requests_take_no_memory_of_ours(reserved, hunger, api, leases):
    path = f"{leases}/a"
    old = api.get(path)
    with hunger.during(OWN):
        assert [put(reserved, api, path) for _ in range(4)] == [200] * 4
        assert reserved.ask("GET", path, channel="lease")["status"] == 200
        assert reserved.ask("PUT", path, old, channel="lease")["status"] == 409
        assert put(reserved, api, f"{leases}/b") == 200
        assert hunger.refused() == 0, f"asked for at {hunger.last_caller()}"


def test_a_new_connection_takes_none_either(reserved, hunger, proxy, api, leases):
    """The attempt after one that was never answered."""
    path = f"{leases}/a"
    proxy.rule("drop_request", verb="PUT", path=path, count=2, then="hang")
    with hunger.during(OWN):
        assert put(reserved, api, path, timeout_ms=300) == 0
        assert put(reserved, api, path, timeout_ms=300) == 0
        assert put(reserved, api, path) == 200
        assert hunger.refused() == 0, f"asked for at {hunger.last_caller()}"


def test_other_requests_fail_and_hurt_nothing(reserved, hunger, api, leases):
    """Also the proof that the library works."""
    path = f"{leases}/a"
    with hunger.during(OWN):
        number = reserved.send("GET", leases)
        assert "Cannot allocate" in reserved.wait(None, what="not_started", id=number)["error"]
        assert put(reserved, api, path) == 200
        assert hunger.refused() > 0
    assert reserved.ask("GET", leases)["status"] == 200


def test_a_watch_comes_back(reserved, hunger, proxy, api, leases):
    """A watch that breaks without memory is in doubt; with memory it is whole again."""
    view = reserved.watch(leases, channel="lease")
    since = reserved.mark()
    with hunger.during(OWN):
        proxy.cut()
        reserved.wait(None, since, what="live", watch=0, live=False)
    write(api, leases, "c", "someone")
    api.create(leases, transcript.lease("d"))
    view.wait_equal(api, leases)
