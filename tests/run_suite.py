#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pytest, with what became of each case in a file: `run_suite.py OUTCOMES ONLY PYTEST-ARGUMENTS...`.

OUTCOMES gets lines of JSON while the suite runs: a case's exact name, what became of it ("passed", "failed", "skipped" or
"", nothing new), what pytest has to say of it: why it failed or was skipped, what a failed one printed, and the seconds that it
took, fixtures included (once it is over).
ONLY is a JSON list of such names, to run nothing else; "[]" runs all.  Names are compared, never parsed: they hold spaces.
"""

import collections
import json
import sys

import pytest


class Outcomes:
    """A plugin that writes down every outcome."""

    def __init__(self, file, only):
        self.file, self.only, self.failed, self.seconds = file, set(only), set(), collections.Counter()

    def write(self, case, outcome, text, seconds=0):
        self.file.write(json.dumps({"case": case, "outcome": outcome, "text": text, "seconds": seconds}) + "\n")
        self.file.flush()  # a suite that is killed leaves what it has

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        if not self.only:
            return
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in self.only])
        items[:] = [item for item in items if item.nodeid in self.only]

    def pytest_collectreport(self, report):
        """A file that cannot be read, or says that all of it is to be skipped."""
        if not report.passed:
            self.write(report.nodeid, report.outcome, why(report))

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)
        if report.failed or report.skipped or report.when == "call":
            self.write(report.nodeid, report.outcome, "" if report.passed else why(report))
        if report.when == "teardown":
            printed = report.sections if report.nodeid in self.failed else []
            self.write(report.nodeid, "", "".join(f"--- {title} ---\n{text}\n" for title, text in printed),
                       self.seconds[report.nodeid])


def why(report):
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext + "\n"


def main():
    outcomes, only, *arguments = sys.argv[1:]
    with open(outcomes, "w", encoding="utf-8") as file:
        return pytest.main(arguments, plugins=[Outcomes(file, json.loads(only))])


if __name__ == "__main__":
    sys.exit(main())
