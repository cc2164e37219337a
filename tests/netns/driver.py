"""The drivers of netlink/ from Python: kernel_driver.c (addresses, announcements, interfaces, sysctls) and plan_driver.c
(the data plane, conntrack), both behind one Driver; and Net, a bare namespace with a Driver in it."""

import errno
import ipaddress
import os
import subprocess
from pathlib import Path

BUILD = Path(os.environ.get("LEASEHOLD_NETNS_BUILD", str(Path(__file__).parents[2] / "build/release/netns")))
KERNEL_DRIVER, PLAN_DRIVER = BUILD / "kernel_driver", BUILD / "plan_driver"
BUILT = all(os.access(path, os.X_OK) for path in (KERNEL_DRIVER, PLAN_DRIVER))


class DriverError(Exception):
    def __init__(self, number, text):
        super().__init__(f"{errno.errorcode.get(number, number)}: {text}")
        self.errno, self.text = number, text


class Driver:
    """The drivers in a host, or behind a prefix of words (nsenter ...); each is started when it is first needed."""

    def __init__(self, host=None, prefix=()):
        self.host, self.prefix, self.processes, self.wanted = host, prefix, {}, ()

    def _process(self, path):
        if path not in self.processes:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            argv = [*self.prefix, str(path)]
            self.processes[path] = self.host.spawn(argv, **pipes) if self.host else subprocess.Popen(argv, **pipes)
        return self.processes[path]

    def __call__(self, *lines):
        """Run one command (its further lines, too) and return the lines it printed."""
        process = self._process(PLAN_DRIVER if lines[0].startswith(("nat-", "ct-")) else KERNEL_DRIVER)
        process.stdin.write("".join(line + "\n" for line in lines))
        process.stdin.flush()
        out = []
        for line in process.stdout:
            if line == "ok\n":
                return out
            if line.startswith("error "):
                _, number, text = line.rstrip("\n").split(" ", 2)
                raise DriverError(int(number), text)
            out.append(line.rstrip("\n"))
        raise AssertionError(f"the driver ended after {lines[0]!r}: {process.wait()}")

    def want(self, *lines, forget=False):
        """Applies the difference between these lines (plan_driver.c) and those wanted before; how many elements and
        chains were changed."""
        self.wanted = lines
        return int(self("nat-want forget" if forget else "nat-want", *in_order(lines), "end")[0].removeprefix("done "))

    def want_more(self, *lines):
        """The same for what was wanted before and these."""
        return self.want(*self.wanted, *lines)

    def end(self):
        """Ends the drivers by the end of their input: they must free all and say nothing (sanitizers)."""
        for process in self.processes.values():
            process.stdin.close()
            assert process.wait(timeout=20) == 0
            process.stdout.close()


KINDS = ("vip", "local", "home", "guard", "keep", "hairpin", "routed", "received", "sent", "backend", "opened")


def address_key(text):
    address = ipaddress.ip_address(text)
    return address.version, address.packed


def in_order(lines):
    """As netlink/ is given them: members by kind, address, protocol, port, interface; frontends by address, protocol, port;
    firewalls by name; each once."""
    def key(line):
        words = line.split()
        if words[0] == "member":
            numbers = [int(word) for word in words[3:]]
            return 0, KINDS.index(words[1]), address_key(words[2]), numbers
        if words[0] == "frontend":
            return 1, address_key(words[1]), int(words[2]), int(words[3])
        return 2, words[1]
    return sorted(set(lines), key=key)


class Net:
    """A bare namespace without a lab: for what needs no packets."""

    def __init__(self):
        self.anchor = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo up; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.anchor.stdout.readline() == "up\n"
        self.enter = ["nsenter", "-t", str(self.anchor.pid), "-n"]
        self.drive = Driver(prefix=self.enter)

    def run(self, *argv, check=True, script=None):
        done = subprocess.run([*self.enter, *argv], input=script, text=True, capture_output=True,
                              timeout=60)
        if check:
            assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done

    def nft(self, *argv, script=None):
        return self.run("nft", *(("-f", "-") if script is not None else argv), script=script).stdout

    def ip(self, *argv, script=None):
        return self.run("ip", *argv, script=script).stdout

    def generation(self):
        """The number of nf_tables transactions so far (NFT_MSG_GETGEN)."""
        code = ("import socket,struct;s=socket.socket(16,3,12);"
                "s.send(struct.pack('=IHHIIBBH',20,(10<<8)|16,1,1,0,0,0,0));"
                "d=s.recv(4096);print(struct.unpack('>I',d[24:28])[0])")
        return int(self.run("/usr/bin/python3", "-I", "-S", "-c", code).stdout)

    def close(self):
        try:
            self.drive.end()
        finally:
            self.anchor.stdin.close()
            self.anchor.wait(timeout=20)
            self.anchor.stdout.close()
