#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs fuzz targets for some seconds each, as many at a time as there are CPUs, two at most: `make fuzz`.

New inputs that reach new code are kept in BUILD/corpus-X, for the next run; those worth keeping go to tests/fuzz/X/corpus by
hand (libFuzzer's -merge=1).  A finding is kept in BUILD/found-X, its report is printed, and the exit status is 1.
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
OPTIONS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=8192", "-print_final_stats=1")


def command(name, build, seconds):
    found, corpus = build / f"found-{name}", build / f"corpus-{name}"
    found.mkdir(parents=True, exist_ok=True)
    corpus.mkdir(exist_ok=True)
    words = FUZZ / name / "words"
    return [str(build / f"fuzz_{name}"), f"-max_total_time={seconds}", f"-artifact_prefix={found}/", *OPTIONS,
            *([f"-dict={words}"] if words.exists() else []), str(corpus), str(FUZZ / name / "corpus")]


def fuzz(name, build, seconds):
    """(name, what to say, the report of a finding or "")."""
    began = time.monotonic()
    try:
        child = subprocess.run(command(name, build, seconds), capture_output=True, text=True, errors="replace",
                               timeout=seconds + 120, check=False)
    except subprocess.TimeoutExpired:
        return name, "did not end", f"still running {seconds + 120} s after its start"
    runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)", child.stderr)
    cover = re.findall(r"cov: (\d+)", child.stderr)
    took = time.monotonic() - began
    said = f"{runs[-1] if runs else 0} runs in {took:.0f} s, {cover[-1] if cover else 0} edges"
    return name, said, "\n".join(child.stderr.splitlines()[-80:]) if child.returncode else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, required=True, help="where the programs are, fuzz_X each")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        jobs = [pool.submit(fuzz, name, arguments.build, arguments.seconds) for name in arguments.names]
        for job in concurrent.futures.as_completed(jobs):
            name, said, report = job.result()
            bad += bool(report)
            print(f"  {'FAILED' if report else 'ok    '} fuzz {name}: {said}", flush=True)
            if report:
                print("\n".join("    " + line for line in report.splitlines()), flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
