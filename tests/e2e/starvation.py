# SPDX-License-Identifier: Apache-2.0
"""Lets a program's allocations fail, by the library of starve.c."""

import contextlib
import mmap
import os
import struct
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("LEASEHOLD_STARVE_SO", REPOSITORY / "build/release/e2e/starve.so"))
SIZE = struct.calcsize("=IIQQ")
FED, ALL, OWN, SOME = range(4)  # as in starve.c


def reason_not_to(program):
    """Why a program cannot be starved, "" where it can."""
    for file in (Path(program), LIBRARY):
        if not file.exists():
            return f"no {file}: run make unit-programs all"
    if b"__asan_init" in Path(program).read_bytes():
        return f"{program} has a sanitizer, with an allocator of its own"
    return ""


class Starvation:
    """What one program shares with the library; put `prefix` before its command."""

    def __init__(self, path):
        path = Path(path)
        path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SIZE)
        self.prefix = ["env", f"LD_PRELOAD={LIBRARY}", f"LEASEHOLD_STARVE={path}"]

    def begin(self, mode):
        """From now on allocations fail: ALL of them, those of the program's OWN text, or SOME of these."""
        self._shared[0:4] = struct.pack("=I", mode)

    def end(self):
        """From now on all get what they ask for."""
        self.begin(FED)

    @contextlib.contextmanager
    def during(self, mode):
        """As begin() and end()."""
        self.begin(mode)
        try:
            yield self
        finally:
            self.end()

    def refused(self):
        """How many allocations failed so far."""
        return struct.unpack("=IIQQ", self._shared[:])[2]

    def last_caller(self):
        """Where in the program the last of them was asked for, as addr2line takes it."""
        return hex(struct.unpack("=IIQQ", self._shared[:])[3])
