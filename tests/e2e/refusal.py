# SPDX-License-Identifier: Apache-2.0
"""Lets the kernel refuse a program the removal of addresses, by the library of refuse.c."""

import mmap
import os
import struct
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("LEASEHOLD_REFUSE_SO", REPOSITORY / "build/release/e2e/refuse.so"))
SIZE = struct.calcsize("=II")


def reason_not_to(program):
    """Why a program cannot be refused anything, "" where it can."""
    for file in (Path(program), LIBRARY):
        if not file.exists():
            return f"no {file}: run make unit-programs all"
    if b"__asan_init" in Path(program).read_bytes():
        return f"{program} has a sanitizer, which wants to be loaded first"
    return ""


class Refusal:
    """What one program shares with the library; put `prefix` before its command."""

    def __init__(self, path):
        path = Path(path)
        path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SIZE)
        self.prefix = ["env", f"LD_PRELOAD={LIBRARY}", f"LEASEHOLD_REFUSE={path}"]

    def begin(self):
        """From now on no address is removed."""
        self._shared[0:4] = struct.pack("=I", 1)

    def refused(self):
        """How often the program was refused so far."""
        return struct.unpack("=II", self._shared[:])[1]
