"""What all Python tests share: leftovers of killed runs are removed, and a reason for each skip."""

import os
import signal
import sys

import pytest

from netns import lab as lab_module

sys.dont_write_bytecode = True


def pytest_configure(config):
    del config
    # A terminated run still leaves its `with` blocks, so its labs are removed at once.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


def pytest_collection_modifyitems(items):
    if os.geteuid() == 0:
        return
    for item in items:
        if any(item.get_closest_marker(m) for m in ("netns", "fake", "kube", "nodes")):
            item.add_marker(pytest.mark.skip(reason="needs root: makes network namespaces"))


@pytest.fixture
def make_lab():
    """A function that builds a lab and removes it at the end of the test."""
    labs = []

    def make(**kwargs):
        lab = lab_module.Lab(**kwargs)
        labs.append(lab)
        lab.open()
        return lab

    yield make
    for lab in reversed(labs):
        lab.close()
