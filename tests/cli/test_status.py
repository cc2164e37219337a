# SPDX-License-Identifier: Apache-2.0
"""`leasehold status` without an agent: its flags, an agent that is of another version, and that the documentation has every
name that `--json` prints and every code of a problem.

Needs neither an API server nor root.
"""

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LEASEHOLD_BIN", str(TOP / "build/release/leasehold"))


def run(*arguments):
    return subprocess.run([PROGRAM, "status", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)


# ---- the documentation ----

def section():
    text = (TOP / "docs/configuration.md").read_text()
    return text[text.index("\n### Status\n"):text.index("\n### Exit codes\n")]


def named(head):
    """The names in the first column of the table with that heading."""
    table = re.search(rf"^\| {head} \| \|\n\|---\|---\|\n((?:\|.*\n)+)", section(), re.MULTILINE)[1]
    return [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def paths(value, path=""):
    """The names of all members that have no members themselves; what a reason of a drop is called stands for itself."""
    if isinstance(value, dict):
        members = [("REASON" if path == "traffic.drops" else key, v) for key, v in value.items()]
        return set().union(*(paths(v, f"{path}.{key}" if path else key) for key, v in members)) | {path}
    if isinstance(value, list):
        return set().union(*(paths(v, f"{path}[]") for v in value)) if value else set()
    return {path}


def inner(names):
    """What only holds others: it is documented by them."""
    return {n[:i] for n in names for i in range(len(n)) if n[i] in ".["} | {""}


def told(value):
    found = paths(value)
    return found - inner(found)


def test_every_name_is_documented():
    documented = named("name")
    assert len(documented) == len(set(documented))
    shown = told(json.loads((TOP / "tests/golden/status/names.json").read_text()))
    assert len(shown) > 60 and shown - set(documented) == set()


def test_every_code_is_documented():
    source = (TOP / "agent/status_problems.c").read_text()
    codes = set(re.findall(r'STATUS_(?:ERROR|WARNING|NOTE), "(\w+)"', source))
    assert len(codes) > 20 and codes == set(named("code"))


# ---- flags ----

@pytest.mark.parametrize("words", [
    ["--what"], ["--watch=1"], ["--watch=10ms"], ["--watch", "5"], ["--color", "red"], ["--color"], ["--state-dir"],
    ["pools"], ["vips", "a", "b"], ["vips", "web"], ["vips", "leases"], ["services", "web"], ["--service", "web"],
    ["--service=a b/c"], ["leases", "a\tb"], ["leases", "x" * 400],
])
def test_wrong_flags(words, tmp_path):
    r = run(*words, *([] if words == ["--state-dir"] else ["--state-dir", tmp_path]))
    assert r.returncode == 2 and r.stdout == "" and r.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--json"], ["vips", "2001:DB8::1"], ["--service", "a/b", "--color=always"]])
def test_no_agent(words, tmp_path):
    r = run(*words, "--state-dir", tmp_path)
    assert r.returncode == 4 and r.stdout == "" and str(tmp_path) in r.stderr


# ---- an agent of another version ----

class Stub(threading.Thread):
    """Answers on the status socket as told: a table of lines and answers; anything else is closed without a word."""

    def __init__(self, directory, answers):
        super().__init__(daemon=True)
        self.answers, self.asked = answers, []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(directory / "agent.sock"))
        self.socket.listen()
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            line = client.recv(15).decode()   # what older agents read at once
            self.asked.append(line)
            client.sendall(self.answers.get(line, b""))
            client.close()


def test_an_older_agent_is_asked_in_its_words(tmp_path):
    stub = Stub(tmp_path, {"json\n": b"{}\n", "text\n": b"Node node1\n"})
    assert run("--state-dir", tmp_path).stdout == "Node node1\n"
    assert stub.asked == ["text width=100\n", "text\n"]
    assert run("--json", "--state-dir", tmp_path).stdout == "{}\n"
    # It cannot show a part; the whole is not what was asked for.
    r = run("vips", "--state-dir", tmp_path)
    assert r.returncode == 1 and r.stdout == "" and "no answer" in r.stderr


def test_an_answer_that_breaks_off_is_an_error(tmp_path):
    Stub(tmp_path, {"json\n": b'{"node":"node1",', "text width=100\n": b"node1: fi"})
    for words in ([], ["--json"]):
        r = run(*words, "--state-dir", tmp_path)
        assert r.returncode == 1 and r.stdout == "" and "amid" in r.stderr
