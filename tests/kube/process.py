# SPDX-License-Identifier: Apache-2.0
"""Processes in network namespaces that cannot outlive the test run.

Each process is started with a parent-death signal, so that a killed test runner takes everything
with it, and leaves a file with its pid, so that the next run in the same directory ends what that
did not reach.  Only pids recorded here are ever signalled.
"""

import os
import signal
import subprocess
import time
from pathlib import Path


class Timeout(Exception):
    """A fact did not come true within its time."""


def wait_until(fact, seconds, what):
    """Calls fact() until it returns something true, and returns that.

    An exception of fact() counts as "not yet"; the last one is named when the time is over.
    """
    deadline = time.monotonic() + seconds
    pause = 0.01
    while True:
        problem = None
        try:
            result = fact()
            if result:
                return result
        except Exception as error:  # pylint: disable=broad-except
            problem = error
        if time.monotonic() > deadline:
            detail = f": {problem}" if problem else ""
            raise Timeout(f"{what}: not within {seconds} s{detail}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


def in_netns(netns, command):
    """The command that runs command in a named network namespace.

    Not `ip netns exec`: that mounts a new /sys, which hides the cgroup hierarchies below it.
    """
    return ["nsenter", f"--net=/run/netns/{netns}", "--", *command]


def run(command, **options):
    """Runs a command to its end and returns its output; a failure names both."""
    options.setdefault("timeout", 60)
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}: "
                           f"{done.stdout.strip()[-2000:]}")
    return done.stdout


def _command_line(pid):
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode(errors="replace")


class Process:
    """A program that runs until it is told to end.

    The kernel counts the starting *thread* as the parent: start from one that lives on.
    """

    def __init__(self, name, command, workdir, netns=None, forks=False):
        """command runs in workdir and must name it somewhere: so a leftover is recognised.

        forks: command is a wrapper that runs the program as its only child and waits for it.
        """
        self.name = name
        self._forks = forks
        self.workdir = Path(workdir)
        self.command = [str(word) for word in command]
        if netns:
            self.command = in_netns(netns, self.command)
        self.log = self.workdir / f"{name}.log"
        self._pid_file = self.workdir / f"{name}.pid"
        self._popen = None
        self._frozen = False

    def start(self):
        if self.alive():
            raise RuntimeError(f"{self.name} is running already")
        self.end_leftover()
        # setpriv and nsenter each replace themselves, so this pid is the program's.
        with open(self.log, "ab") as log:
            self._popen = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.command],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           cwd=self.workdir, start_new_session=True)
        self._frozen = False
        self._pid_file.write_text(str(self._popen.pid))

    def end_leftover(self):
        """Ends the process that an earlier run in this directory left behind."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return
        if str(self.workdir) not in _command_line(pid):
            return
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _command_line(pid), 10, f"the end of an old {self.name}")

    @property
    def pid(self):
        """The program's pid, None before it runs or after its end."""
        if not self.alive():
            return None
        if not self._forks:
            return self._popen.pid
        wrapper = self._popen.pid
        children = Path(f"/proc/{wrapper}/task/{wrapper}/children").read_text().split()
        return int(children[0]) if children else None

    def alive(self):
        return self._popen is not None and self._popen.poll() is None

    def frozen(self):
        return self._frozen

    def signal(self, number):
        if not self.alive():
            return
        if self._forks:
            wait_until(lambda: self.pid or not self.alive(), 10, f"the start of {self.name}")
        pid = self.pid
        if pid:
            os.kill(pid, number)

    def freeze(self):
        self.signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self):
        # A wrapper stops itself when its child stops.
        if self._forks and self.alive():
            self._popen.send_signal(signal.SIGCONT)
        self.signal(signal.SIGCONT)
        self._frozen = False

    def kill(self):
        """SIGKILL, as in a crash."""
        self.signal(signal.SIGKILL)
        if self._forks and self._frozen:
            self._popen.send_signal(signal.SIGCONT)
        self._reap(10)

    def stop(self, seconds=10):
        """SIGTERM, and SIGKILL if that does not end it within seconds."""
        self.thaw()
        self.signal(signal.SIGTERM)
        try:
            self._reap(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _reap(self, seconds):
        if self._popen is not None:
            self._popen.wait(seconds)
        self._frozen = False
        self._pid_file.unlink(missing_ok=True)

    def require_alive(self):
        """Raises with the end of the log if the program has ended."""
        if not self.alive():
            raise RuntimeError(f"{self.name} ended; the end of {self.log}:\n{self.log_tail()}")

    def log_tail(self, lines=15):
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def rss_kib(self):
        """Resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0
