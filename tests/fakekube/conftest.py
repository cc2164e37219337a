"""Control planes for the tests of this directory: one of each kind for the whole run."""

import contextlib

import pytest

from . import support


@pytest.fixture(scope="session")
def planes(tmp_path_factory):
    """A function that starts the control plane of a kind on first use and returns it."""
    started = {}
    with contextlib.ExitStack() as stack:
        def get(kind):
            if kind not in started:
                if kind == "kube" and not support.real_is_built():
                    pytest.skip("the real Kubernetes is not built: run tests/kube/build.sh")
                started[kind] = stack.enter_context(
                    support.control_plane(kind, tmp_path_factory.mktemp(kind)))
            return started[kind]

        yield get


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.fake),
                        pytest.param("kube", marks=pytest.mark.kube)])
def plane(request, planes):
    """Each of the two kinds of control plane: what holds for one must hold for the other."""
    return planes(request.param)


@pytest.fixture
def fake(planes):
    """The in-memory control plane, for what only it can be told to do."""
    return planes("fake")


@pytest.fixture
def namespace(request):
    """The name of a new namespace on the test's control plane."""
    name = "plane" if "plane" in request.fixturenames else "fake"
    chosen = request.getfixturevalue(name)
    made = support.unique("t")
    chosen.api.create("/api/v1/namespaces", {"metadata": {"name": made}})
    return made
