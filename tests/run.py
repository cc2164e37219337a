#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the test suites and counts: `run.py check` (no root, under 20 s) or `run.py test` (everything).

Each suite is one command.  A suite that counts its own cases (cmocka, pytest) is counted by case, any other is one
case.  The last line is "N passed, N failed, N skipped"; the exit status is 0 only when nothing failed and something ran.
"""

import concurrent.futures
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
SECOND_TRIES_MAX = 5  # more that fail at once are no accident
SLOWEST = 20  # that many cases are named with their time


class Counts:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.failures, self.skips, self.second_tries = [], [], []
        self.seconds = []  # (seconds, case)

    def fail(self, name):
        self.failed += 1
        self.failures.append(name)

    def add(self, other):
        self.passed, self.failed, self.skipped = (self.passed + other.passed, self.failed + other.failed,
                                                  self.skipped + other.skipped)
        self.failures += other.failures
        self.skips += other.skips
        self.second_tries += other.second_tries
        self.seconds += other.seconds


def run(command, timeout, env=None):
    """Exit status and output (also shown); a command that outlives its time is ended with its group and fails, and so does
    one that cannot be run: its program was not built."""
    try:
        child = subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 errors="replace", start_new_session=True, env={**os.environ, **(env or {})})
    except OSError as reason:
        return 127, f"{reason}\n"
    try:
        out, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 15)
        try:
            out, _ = child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            out, _ = child.communicate()
        out += f"\nended after {timeout} s\n"
        return 124, out
    return child.returncode, out


def one(counts, name, command, timeout=300, env=None):
    began = time.monotonic()
    status, out = run(command, timeout, env)
    took = time.monotonic() - began
    cases = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", out, re.M))
    bad = re.findall(r"^\[  FAILED  \] (?!\d+ test)(.+)$", out, re.M)
    if status == 0:
        counts.passed += max(cases, 1)
        tell(f"  ok     {name} ({max(cases, 1)}, {took:.1f} s)")
        return
    counts.passed += cases
    for b in sorted(set(bad)) or [""]:
        counts.fail(f"{name} {b}".strip())
    tell(f"  FAILED {name} (status {status}, {took:.1f} s)", indented("\n".join(out.splitlines()[-60:])))


def read_outcomes(file):
    """{case: ("passed" | "failed" | "skipped", what pytest said of it, its seconds)}, as run_suite.py wrote it."""
    found = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError):  # the last line of one that was killed
            entry = json.loads(line)
            outcome, text, seconds = found.get(entry["case"], ("", "", 0))
            if outcome != "failed":  # a case may pass, and its fixture then fail
                outcome = entry["outcome"] or outcome
            found[entry["case"]] = outcome, text + entry["text"], seconds + entry["seconds"]
    return found


def pytest_once(arguments, timeout, env, only=()):
    with tempfile.TemporaryDirectory() as tmp:
        outcomes = Path(tmp) / "outcomes"
        status, out = run([PYTHON, "tests/run_suite.py", str(outcomes), json.dumps(only), "-c", "tests/pytest.ini", "-q",
                           *arguments], timeout, env)
        return status, out, read_outcomes(outcomes)


def failed_of(found):
    return [case for case, (outcome, *_) in found.items() if outcome == "failed"]


def pytest(counts, name, arguments, timeout, env=None):
    """One suite.  On a machine too busy for its clocks a case may fail once: a few failed cases are tried a second time,
    and are named in the output, with all that the first try said, whatever comes of it."""
    began = time.monotonic()
    status, out, found = pytest_once(arguments, timeout, env)
    again, first_try = failed_of(found), found
    if status == 1 and 0 < len(again) <= SECOND_TRIES_MAX:
        status, out2, second = pytest_once(arguments, timeout, env, again)
        out += "\nSECOND TRY\n" + out2
        counts.second_tries += [f"{name}: {case}" for case in again]
        found = {**found, **second}
    else:
        again = []
    for case, (outcome, text, seconds) in found.items():
        counts.seconds.append((seconds, f"{name}: {case}"))
        if outcome == "failed":
            counts.fail(f"{name}: {case}")
        elif outcome == "passed":
            counts.passed += 1
        else:
            counts.skipped += 1
            counts.skips.append(f"{name}: {case}: {text}")
    if not found or status not in (0, 1) or (status == 1 and counts.failed == 0):
        counts.fail(f"{name}: pytest ended with status {status}")
    tell(f"  {'FAILED' if counts.failed else 'ok    '} {name} ({counts.passed} passed, {counts.failed} failed,"
         f" {counts.skipped} skipped, {time.monotonic() - began:.1f} s)",
         *[indented(f"first try of {case}\n{first_try[case][1]}") for case in again],
         *[indented("\n".join(out.splitlines()[-200:]))] * bool(counts.failed))


def tell(*texts):
    """Prints what belongs together; other threads print, too."""
    with TELLING:
        print(*texts, sep="\n", flush=True)


def indented(text):
    return "\n".join("    " + line for line in text.splitlines())


def build(counts, what, *arguments, timeout=900):
    one(counts, f"build {what}", ["make", "-j2", "WERROR=1", *arguments], timeout)


def unit_tests(counts, flavour, env=None):
    """As many at a time as there are processors: they share nothing."""
    def run_program(program):
        mine = Counts()
        one(mine, f"{flavour} {program.relative_to(TOP / 'build' / flavour)}", [str(program)], 120, env)
        return mine

    found = sorted((TOP / "build" / flavour / "unit").rglob("test_*"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for mine in pool.map(run_program, (p for p in found if p.is_file() and os.access(p, os.X_OK))):
            counts.add(mine)


def check(counts, seeds="500"):
    build(counts, "release, gcc, warnings are errors", "all", "unit-programs", "build/release/sim")
    unit_tests(counts, "release")
    one(counts, f"simulation, {seeds} seeds", ["build/release/sim", "--seeds", seeds], 240)
    one(counts, "layers and purity", ["make", "check-layers"])


def everything(counts):
    check(counts, "10000")
    one(counts, "gate, frame by frame", ["build/release/netns/gate_frames"])
    one(counts, "simulation, mutants", ["build/release/sim", "--mutants"], 240)
    one(counts, "layers and purity, broken on purpose", ["make", "check-layers", "LAYERS_FLAGS=--self-test"], 600)
    build(counts, "release, clang, warnings are errors", "CC=clang", "all", "unit-programs")
    build(counts, "sanitizers", "FLAVOUR=asan", "all", "unit-programs", "build/asan/sim")
    unit_tests(counts, "asan", ASAN)
    one(counts, "fuzzers, half a minute each", ["make", "fuzz", "FUZZ_SECONDS=30"], 1200)
    one(counts, "sanitizers: simulation", ["build/asan/sim", "--seeds", "200"], 600, ASAN)
    # The suites wait more than they compute, and each makes namespaces of its own.
    with concurrent.futures.ThreadPoolExecutor(SUITES_AT_ONCE) as pool:
        for mine in pool.map(run_suite, SUITES):
            counts.add(mine)


def run_suite(suite):
    name, arguments, timeout, env = suite
    mine = Counts()
    try:
        pytest(mine, name, arguments, timeout, env)
    except Exception as error:  # the other suites are to end
        mine.fail(f"{name}: {error!r}")
    return mine


TELLING = threading.Lock()
ASAN = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1"}

SUITES_AT_ONCE = 2
# name, pytest arguments, seconds, environment; the longest first, the two on the real API server apart.
SUITES = [
    ("end to end, real API server", ["tests/e2e", "-m", "kube and not slow"], 2400, None),
    # The slow cases run on the real server alone.
    ("end to end, in-memory API server", ["tests/e2e", "-m", "fake and not slow"], 2400, None),
    ("kernel, laboratory", ["tests/netns"], 1200, None),
    ("end to end, real API server, slow cases", ["tests/e2e", "-m", "kube and slow"], 2400, None),
    ("end to end, sanitizers", [f"tests/e2e/test_{name}.py" for name in ("agent", "failover", "service", "handover", "groups")] +
     ["-m", "fake and not slow"], 1500, {**ASAN, "LEASEHOLD_BIN": str(TOP / "build/asan/leasehold")}),
    ("real nodes", ["tests/kube", "tests/nodes", "-m", "nodes"], 1200, None),
    ("Kubernetes client", ["tests/unit/kube"], 600, None),
    ("real API server", ["tests/kube", "-m", "not nodes"], 900, None),
    ("in-memory API server", ["tests/fakekube"], 900, None),
    ("chaos, a minute", ["tests/chaos"], 300, None),
    ("chart", ["tests/chart"], 900, None),
    ("command line", ["tests/cli"], 300, None),
]


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("check", "test"):
        sys.exit("usage: run.py check|test")
    counts = Counts()
    began = time.monotonic()
    if sys.argv[1] == "check":
        check(counts)
    else:
        if os.geteuid() != 0:
            sys.exit("make test needs root: it makes network namespaces")
        everything(counts)
    for seconds, case in sorted(counts.seconds, reverse=True)[:SLOWEST]:
        print(f"  {seconds:5.1f} s {case}")
    for skip in counts.skips:
        print(f"  skipped {skip}")
    for case in counts.second_tries:
        print(f"  tried twice {case}")
    for failure in counts.failures:
        print(f"  failed  {failure}")
    print(f"  {time.monotonic() - began:.0f} s")
    print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped", flush=True)
    sys.exit(0 if counts.failed == 0 and counts.passed > 0 else 1)


if __name__ == "__main__":
    main()
