#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pytest, with what became of each case in a file: `run_suite.py OUTCOMES ONLY PYTEST-ARGUMENTS...`.

OUTCOMES gets lines of JSON while the suite runs: a case's exact name, what became of it ("passed", "failed", "skipped" or
"", nothing new), and what pytest has to say of it: why it failed or was skipped, what a failed one printed.
ONLY is a JSON list of such names, to run nothing else; "[]" runs all.  Names are compared, never parsed: they hold spaces.
"""

import json
import sys

import pytest


class Outcomes:
    """A plugin that writes down every outcome."""

    def __init__(self, file, only):
        self.file, self.only, self.failed = file, set(only), set()

    def write(self, case, outcome, text):
        self.file.write(json.dumps({"case": case, "outcome": outcome, "text": text}) + "\n")
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
        if report.failed:
            self.failed.add(report.nodeid)
        if report.failed or report.skipped or report.when == "call":
            self.write(report.nodeid, report.outcome, "" if report.passed else why(report))
        if report.when == "teardown" and report.nodeid in self.failed:
            self.write(report.nodeid, "", "".join(f"--- {title} ---\n{text}\n" for title, text in report.sections))


def why(report):
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext + "\n"


def main():
    outcomes, only, *arguments = sys.argv[1:]
    with open(outcomes, "w", encoding="utf-8") as file:
        return pytest.main(arguments, plugins=[Outcomes(file, json.loads(only))])


if __name__ == "__main__":
    sys.exit(main())
