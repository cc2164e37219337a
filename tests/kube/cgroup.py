# SPDX-License-Identifier: Apache-2.0
"""One control group per test node: a subtree that kubelet takes for the machine's root.

With cgroup v1 that is a directory in each hierarchy, with v2 a single one; with both, all of them.
"""

import os
from pathlib import Path

from .process import wait_until

ROOT = Path("/sys/fs/cgroup")
PREFIX = "leasehold-node"


def _hierarchies():
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [path for path in sorted(ROOT.iterdir())
            if not path.is_symlink() and (path / "cgroup.procs").exists()]


def _remove_tree(top):
    """True if the group and those below it are gone; not while processes are in one of them."""
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def _remove_orphans():
    """Removes the groups of earlier runs whose process is no more."""
    for hierarchy in _hierarchies():
        for path in hierarchy.glob(f"{PREFIX}-*-*"):
            if not Path(f"/proc/{path.name.split('-')[2]}").exists():
                _remove_tree(path)


def _enable_controllers(hierarchy):
    """v2: lets the groups below use every controller.  Beside v1 hierarchies there is none."""
    names = (hierarchy / "cgroup.controllers").read_text().split()
    if names:
        (hierarchy / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))


class Group:
    """The groups of one node.  name is the path that kubelet's cgroupRoot takes."""

    def __init__(self, node):
        self._directory = f"{PREFIX}-{os.getpid()}-{node}"
        self.name = f"/{self._directory}"

    def make(self):
        _remove_orphans()
        for hierarchy in _hierarchies():
            path = hierarchy / self._directory
            path.mkdir(exist_ok=True)
            if (path / "cgroup.controllers").exists():
                _enable_controllers(hierarchy)
            elif (path / "cpuset.cpus").exists():
                # In v1 a new cpuset is empty, and nothing can run in it.
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (path / name).write_text((hierarchy / name).read_text())

    def remove(self):
        """For a node whose processes have ended."""
        for hierarchy in _hierarchies():
            wait_until(lambda h=hierarchy: _remove_tree(h / self._directory), 10,
                       f"the end of the processes in {hierarchy / self._directory}")
