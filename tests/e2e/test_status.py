# SPDX-License-Identifier: Apache-2.0
"""`leasehold status`: what it tells is what is so, on the holder and on the others, for programs and for people."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

from netns.lab import wait_for

from cli import test_status as names
from e2e.agents import BINARY, PATIENCE_S

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def command(agent, *words):
    return [BINARY, "status", *words, "--state-dir", str(agent.state_dir)]


def text_of(agent, *words):
    return agent.node.run(command(agent, *words))


def wait_status(agent, good, what):
    return wait_for(lambda: (s := agent.status()) if good(agent.status()) else None, PATIENCE_S, 0.2,
                    lambda: f"{what} in {agent}'s status, which is {json.dumps(agent.status())}")


def answered(status):
    return {v["address"] for v in status["vips"] if v["state"] == "answers"}


class Watch:
    """`leasehold status --watch` whose output is a file, or a terminal of 100 columns."""

    def __init__(self, agent, *words, terminal=None):
        self.text, self.at = "", 0
        argv = ["nsenter", f"--net=/run/netns/{agent.node.netns}", *command(agent, "--watch", "100ms", *words)]
        if terminal:
            self.fd, child = pty.openpty()
            fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", *terminal, 0, 0))
        else:
            self.fd, child = os.pipe()
        self.process = subprocess.Popen(argv, stdout=child, stderr=child, stdin=subprocess.DEVNULL,
                                        env={**os.environ, "TERM": "xterm", "NO_COLOR": ""})
        os.close(child)
        os.set_blocking(self.fd, False)

    def read(self):
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self.fd, 65536):
                self.text += data.decode()
        return self.text

    def wait(self, pattern):
        """Wait for a pattern in what comes after what was waited for last; returns all up to its end."""
        found = wait_for(lambda: re.compile(pattern, re.MULTILINE).search(self.read(), self.at), PATIENCE_S, 0.05,
                         lambda: f"{pattern} after {self.text[self.at:][-3000:]}")
        start, self.at = self.at, found.end()
        return self.text[start:self.at]

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(PATIENCE_S)
        self.read()
        os.close(self.fd)
        return status


def test_json_through_a_handover(cluster):
    _, vips, holder = cluster.serve()
    other, third = cluster.others(holder)
    told = wait_status(holder, lambda s: answered(s) == set(vips) and all(v["announced"] > 0 for v in s["vips"]),
                       "both VIPs, announced")
    assert (told["schema"], told["node"], told["role"]) == (1, holder.name, "holder")
    assert told["ready"] and told["problems"] == []
    assert told["counts"] == {"leases": 1, "leases_held": 1, "vips": 2, "vips_answered": 2, "services": 1}
    lease, = told["leases"]
    assert told["lease"] == lease and lease["held_here"] and lease["state"] == "leading" and lease["vips"] == 2
    assert 0 < lease["deadline_in_ms"] <= lease["duration_ms"] == 2000
    assert 0 <= lease["changed_ago_ms"] < 2000 and 0 <= lease["renewed_ago_ms"] < 2000
    for vip in told["vips"]:
        assert vip["live"] and vip["holder"] == holder.name and vip["lease"] == lease["name"] and vip["interface"] == "eth0"
        place, = vip["interfaces"]
        assert place["name"] == "eth0" and place["usable"] and place["gate"] and place["announced"] == vip["announced"]
        assert 0 <= place["next_in_ms"] < 120_000 and 0 < vip["gate_open_for_ms"] <= 2000
    for agent in (other, third):
        told = wait_status(agent, lambda s: [v["holder"] for v in s["vips"]] == [holder.name] * 2, "the holder")
        assert told["role"] == "candidate" and told["counts"]["leases_held"] == 0
        assert {v["state"] for v in told["vips"]} == {"standby"} and not any(v["live"] for v in told["vips"])
        assert all(v["gate_open_for_ms"] == 0 for v in told["vips"])
        lease, = told["leases"]
        assert not lease["held_here"] and "deadline_in_ms" not in lease and 0 <= lease["changed_ago_ms"] < 2000

    cluster.handover("--to", other.name)
    for agent, state in ((holder, "standby"), (other, "answers"), (third, "standby")):
        told = wait_status(agent, lambda s, state=state: {v["state"] for v in s["vips"]} == {state}
                           and {v["holder"] for v in s["vips"]} == {other.name}, f"{state}, and {other.name}")
        assert told["leases"][0]["transitions"] >= 1
    # One agent's death: the others see its record age, then somebody else.
    other.kill9()
    seen = wait_status(third, lambda s: s["leases"][0]["holder"] not in (other.name, ""), "another holder")
    assert seen["leases"][0]["holder"] in (holder.name, third.name)


def test_every_name_is_documented(cluster):
    """Nothing is printed that the documentation has not; and what it has is printed here, or by the unit tests."""
    service, _, holder = cluster.serve()
    wait_status(holder, lambda s: s["traffic"].get("backends"), "counters")
    part = json.loads(text_of(holder, "--service", f"default/{service.name}", "--json"))
    shown = names.told(holder.status()) | names.told(part)
    documented = set(names.named("name"))
    elsewhere = names.told(json.loads((names.TOP / "tests/golden/status/names.json").read_text()))
    # "lease" is one of "leases"; empty lists have no members to be named.
    assert {n for n in shown - documented if not n.startswith("lease.") and f"{n}[]" not in names.inner(documented)} == set()
    assert documented - shown - elsewhere - {"lease", "vips[].claimed_by"} == set()


def test_parts_and_names(cluster):
    service, vips, holder = cluster.serve()
    cluster.service("second", policy="SingleStack", families=["IPv4"]).wait_vips(1)
    part = json.loads(text_of(holder, "vips", vips[0], "--json"))
    assert [v["address"] for v in part["vips"]] == [vips[0]] and part["services"] == [] and part["leases"] == []
    part = json.loads(text_of(holder, "services", f"default/{service.name}", "--json"))
    found, = part["services"]
    assert found["name"] == service.name and part["vips"] == []
    for frontend in found["frontends"]:
        assert len(frontend["to"]) == frontend["backends"] == len(cluster.lab.pods)
        assert sum(b["slots"] for b in frontend["to"]) == frontend["to"][0]["of_slots"]
    part = json.loads(text_of(holder, "leases", "leasehold-group-0", "--json"))
    assert [lease["name"] for lease in part["leases"]] == ["leasehold-group-0"] and part["vips"] == part["services"] == []
    text = text_of(holder, "--service", f"default/{service.name}")
    assert text == text_of(holder, "services", f"default/{service.name}") or "SENT" in text
    assert vips[0] in text and "default/second" not in text and cluster.lab.pods[0].ip4 in text
    assert "LEASE" in text_of(holder, "leases") and "SERVICE" not in text_of(holder, "leases")
    assert "nothing named default/none" in text_of(holder, "services", "default/none")


def test_the_table_for_people(cluster):
    _, vips, holder = cluster.serve()
    wait_status(holder, lambda s: answered(s) == set(vips), "both VIPs")
    text = text_of(holder)
    first = text.splitlines()[0]
    assert first == f"{holder.name}: fine; holds 1 of 1 Lease, answers for 2 of 2 VIPs", text
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 100
    for other in cluster.others(holder):
        first = text_of(other).splitlines()[0]
        assert first == f"{other.name}: fine; holds no Lease, answers for no VIP, could take over"
        assert re.search(rf"^{re.escape(vips[0])} +{holder.name} +standby ", text_of(other), re.MULTILINE)
    coloured = text_of(holder, "--color", "always")
    assert "\x1b[" in coloured and len(ESCAPE.sub("", coloured).splitlines()) == len(text.splitlines())
    assert "\x1b" not in text_of(holder, "--color=never")


def test_what_is_wrong_comes_first(cluster):
    _, vips, holder = cluster.serve()
    other = cluster.others(holder)[0]
    other.stop()
    other.start(interface="eth9").wait_ready()
    told = wait_status(other, lambda s: {v["state"] for v in s["vips"]} == {"no_interface"}, "no interface")
    assert "no_interface" in {p["code"] for p in told["problems"]} and all(v["why"] for v in told["vips"])
    text = text_of(other)
    assert re.match(rf"{other.name}: \d problems?; holds no Lease, answers for no VIP\n", text)
    assert text.index("warning") < text.index("LEASE") and vips[0] in text[:text.index("LEASE")]
    assert max(map(len, text.splitlines())) <= 100


def test_watch_shows_changes(cluster):
    _, vips, holder = cluster.serve()
    other = cluster.others(holder)[0]
    watch = Watch(other)
    watch.wait(rf"^{other.name}: fine; holds no Lease")
    cluster.handover("--to", other.name)
    watch.wait(rf"^{other.name}: fine; holds 1 of 1 Lease, answers for 2 of 2 VIPs")
    # The agent goes away and comes back: so does what is shown.
    other.stop()
    watch.wait(r"no agent runs with the state directory .*; waiting$")
    other.start().wait_ready()
    watch.wait(rf"^{other.name}: .*holds")
    assert watch.interrupt() == 0
    assert "\x1b" not in watch.text and watch.text.count("waiting") == 1
    assert re.search(rf"^{re.escape(vips[0])} +", watch.text, re.MULTILINE)

    lines = Watch(other, "--json")
    lines.wait(r"\n.*\n")
    assert lines.interrupt() == 0
    for line in lines.text.splitlines()[:-1]:
        assert json.loads(line)["node"] == other.name


def test_watch_on_a_terminal(cluster):
    _, _, holder = cluster.serve()
    watch = Watch(holder, terminal=(12, 100))
    watch.wait(re.escape("\x1b[H"))
    screen = watch.wait(r"\x1b\[J")
    watch.wait(r"\x1b\[J")
    assert "\x1b[32mfine" in watch.text and "the rest does not fit here" in watch.text
    holder.stop()
    watch.wait("waiting for it; Ctrl-C ends this")
    assert watch.interrupt() == 0
    for drawn in ESCAPE.sub("", screen).split("the rest does not fit here"):
        assert len(drawn.splitlines()) <= 12


def test_an_old_command_and_a_stubborn_client(cluster):
    """What a command before this one says is understood; clients that do not read hold nothing up."""
    import socket
    _, vips, holder = cluster.serve()

    def say(line, read=True):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE_S)
        with contextlib.suppress(() if read else OSError):   # more than are taken at once
            s.connect(str(holder.state_dir / "agent.sock"))
            s.sendall(line)
        if not read:
            return s
        text = b""
        with contextlib.suppress(ConnectionResetError):
            while data := s.recv(65536):
                text += data
        s.close()
        return text

    assert json.loads(say(b"json\n"))["node"] == holder.name
    assert say(b"text\n").startswith(holder.name.encode())
    assert say(b"text new-word what=ever vips\n").startswith(b"VIP")
    for nonsense in (b"\n", b"yaml\n", b"x" * 600, b"text width=7\n"):
        assert say(nonsense) == b""
    lazy = [say(b"json\n", read=False) for _ in range(7)]
    assert vips[0] in text_of(holder)
    halves = [say(b"js", read=False) for _ in range(20)]
    wait_for(lambda: holder.http("/readyz")[0] == 200, PATIENCE_S, what="the agent to go on")
    for s in lazy + halves:
        s.close()
    wait_for(lambda: subprocess.run(command(holder), capture_output=True, check=False).returncode == 0, PATIENCE_S, 0.1,
             "an answer once they are gone")
    assert holder.running()
