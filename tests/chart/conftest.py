"""Fixtures of the chart's tests."""

import pytest

from kube.cluster import NotBuilt, kube_directory

from chart.chart import BINARY, Helm


def pytest_configure(config):
    config.addinivalue_line("markers", "chart: the Helm chart, manifests, image and systemd unit")


@pytest.fixture(scope="session")
def helm(tmp_path_factory):
    try:
        program = kube_directory() / "helm"
    except NotBuilt as reason:
        pytest.skip(str(reason))
    return Helm(program, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def binary():
    if not BINARY.exists():
        pytest.skip(f"no agent at {BINARY}: run make, or set LEASEHOLD_BIN")
    return BINARY
