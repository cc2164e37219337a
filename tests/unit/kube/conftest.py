# SPDX-License-Identifier: Apache-2.0
"""What the live tests of the API client share: an in-memory API server in a namespace of its own, behind two
fault proxies, and clients that go through them."""

import contextlib

import pytest
from fakekube import support, transcript
from fakekube.fault_proxy import FaultProxy

from unit.kube.live import LEASES, PORTS, Driver, numbers


@pytest.fixture(scope="session")
def plane(tmp_path_factory):
    """The in-memory API server in a namespace of its own."""
    with support.control_plane("fake", tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture(scope="session")
def two_proxies(plane, tmp_path_factory):
    """Two ways to the server, each with faults of its own."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FaultProxy(plane.servers[0].netns, f"{support.ADDRESS}:{port}", plane,
                                              tmp_path_factory.mktemp(f"proxy{port}"))) for port in PORTS]


@pytest.fixture
def proxies(two_proxies, plane):
    """The two, without faults before and after."""
    yield two_proxies
    for one in two_proxies:
        one.clear()
        one.mode("pass")
    plane.control("serve")
    plane.control("set", watchList=True, goneAsHttp=False, bookmarkSeconds=60)


@pytest.fixture
def proxy(proxies):
    """The first."""
    return proxies[0]


@pytest.fixture
def api(plane):
    """The server itself, without any proxy."""
    return plane.api


@pytest.fixture
def leases(api):
    """The path of the Leases of a new namespace with the Leases a, b and c."""
    namespace = f"live-{next(numbers)}"
    api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    path = LEASES.format(namespace)
    for name in ("a", "b", "c"):
        api.create(path, transcript.lease(name))
    return path


@pytest.fixture
def driver(plane, proxy):
    """A client that goes through the first proxy."""
    with Driver(plane.servers[0].netns, "--kubeconfig", proxy.admin_kubeconfig) as made:
        yield made


@pytest.fixture
def driver_of_two(plane, proxies):
    """A client that knows both."""
    with Driver(plane.servers[0].netns, "--kubeconfig", proxies[0].admin_kubeconfig,
                "--server", proxies[0].url, "--server", proxies[1].url) as made:
        yield made
